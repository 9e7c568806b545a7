"""A server for a pod and clients for the laptop, which speak of nothing but streams of octets.

A client's first line says what it wants: `echo` gets back what it sends, `take` sends all until its FIN and gets the
hash, `give N` gets N octets, `late` gets its octets back so late that a runtime would have cut it off after its FIN.
"""

import asyncio
import hashlib
import resource
import sys
from collections.abc import Callable, Coroutine, Iterator

CHUNK = 1 << 16
LATE = 1.5
"""Seconds; containerd ends both ways one second after the first has ended."""


def octets(size: int) -> Iterator[bytes]:
    """Always the same, and no two chunks alike: what is lost, repeated or swapped changes the hash."""
    for number in range(0, size, CHUNK):
        yield (number.to_bytes(8, "big") * (CHUNK // 8))[: size - number]


def digest(size: int) -> str:
    """Of `octets(size)`."""
    whole = hashlib.sha256()
    for chunk in octets(size):
        whole.update(chunk)
    return whole.hexdigest()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        match (await reader.readline()).decode().split():
            case ["echo"]:
                while chunk := await reader.read(CHUNK):
                    writer.write(chunk)
                    await writer.drain()
            case ["late"]:
                said = await reader.readline()
                await asyncio.sleep(LATE)
                writer.write(said)
            case ["take", size]:
                whole = hashlib.sha256()
                left = int(size)
                while left and (chunk := await reader.read(CHUNK)):
                    whole.update(chunk)
                    left -= len(chunk)
                writer.write(f"{whole.hexdigest()}\n".encode())
            case ["give", size]:
                for chunk in octets(int(size)):
                    writer.write(chunk)
                    await writer.drain()
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    except ConnectionError:
        pass  # some clients are about that


async def serve(port: int) -> None:
    server = await asyncio.start_server(_serve, port=port, backlog=4096)
    print("ready", flush=True)
    await server.serve_forever()


async def take(host: str, port: int, size: int) -> None:
    """Send `size` octets; print what the server says of them."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"take {size}\n".encode())
    for chunk in octets(size):
        writer.write(chunk)
        await writer.drain()
    print((await reader.readline()).decode().strip())


async def give(host: str, port: int, size: int) -> None:
    """Receive `size` octets; print their hash."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"give {size}\n".encode())
    whole = hashlib.sha256()
    while chunk := await reader.read(CHUNK):
        whole.update(chunk)
    print(whole.hexdigest())


async def late(host: str, port: int) -> None:
    """Say all, then FIN; print what comes after it."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"late\nsaid before the FIN\n")
    writer.write_eof()
    print((await reader.read()).decode().strip())


async def many(host: str, port: int, count: int) -> None:
    """`count` at once, of which the first is never read; print how many of the others were answered."""
    stalled, asking = await asyncio.open_connection(host, port, limit=1)
    asking.write(f"give {1 << 30}\n".encode())
    del stalled

    async def one(number: int) -> bool:
        reader, writer = await asyncio.open_connection(host, port)
        said = f"{number}\n".encode()
        writer.write(b"echo\n" + said)
        answered = await reader.readline() == said
        ready.append(number)
        if len(ready) == count - 1:
            everybody.set()
        await everybody.wait()
        writer.close()
        return answered

    ready: list[int] = []
    everybody = asyncio.Event()
    answers = await asyncio.gather(*(one(number) for number in range(count - 1)), return_exceptions=True)
    print(sum(answer is True for answer in answers))


async def hold(host: str, port: int) -> None:
    """One connection, each line of stdin by it to the server and back to stdout; `broken` where it ends."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"echo\n")
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            writer.write(line.encode())
            print((await reader.readline()).decode().strip() or "ended", flush=True)
        except ConnectionError as error:
            print("broken", type(error).__name__, flush=True)


def main(what: str, *arguments: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    programs: dict[str, Callable[..., Coroutine[None, None, None]]] = {
        "take": take,
        "give": give,
        "late": late,
        "many": many,
        "hold": hold,
    }
    if what == "serve":
        asyncio.run(serve(int(arguments[0])))
        return
    host, *numbers = arguments
    asyncio.run(programs[what](host, *map(int, numbers)))


if __name__ == "__main__":
    main(*sys.argv[1:])
