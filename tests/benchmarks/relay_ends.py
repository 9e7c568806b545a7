"""What the relay's bench has at both ends of a connection: a server in a pod, and clients on the laptop.

Both do as little as they can, so that what lies between them is what is measured. What a client says first is what it
wants: `give N` gets N octets, `take N` sends N octets and gets one.
"""

import json
import resource
import selectors
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable

CHUNK = 1 << 20
WISH = 32
"""Octets of what a client says first, blanks included: what follows it may come with it."""
ONE = b"give 1".ljust(WISH)


def serve(port: int) -> None:
    """Until killed."""
    listener = socket.create_server(("", port), backlog=4096)
    print("ready", flush=True)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if sock is listener:
                sock, _ = listener.accept()
                selector.register(sock, selectors.EVENT_READ)
                continue
            try:
                said = sock.recv(WISH, socket.MSG_WAITALL)
            except ConnectionError:
                said = b""
            if said == ONE:
                sock.sendall(b".")
                continue
            selector.unregister(sock)
            if said:
                threading.Thread(target=_transfer, args=(sock, said.split()), daemon=True).start()
            else:
                sock.close()


def _transfer(sock: socket.socket, wish: list[bytes]) -> None:
    way, size = wish[0], int(wish[1])
    with sock:
        if way == b"give":
            _send(sock, size)
        else:
            _receive(sock, size)
            sock.sendall(b".")
        sock.recv(1)  # its end: some ways to here lose what is on its way when this end is first


def _send(sock: socket.socket, size: int) -> None:
    chunk = bytes(CHUNK)
    for _ in range(size // CHUNK):
        sock.sendall(chunk)


def _receive(sock: socket.socket, size: int) -> None:
    buffer, left = bytearray(CHUNK), size
    while left:
        count = sock.recv_into(buffer, min(CHUNK, left))
        if not count:
            raise ConnectionError(f"{left} of {size} octets have not come")
        left -= count


def first_bytes(host: str, port: int, count: int) -> dict[str, float]:
    """One connection after the other: milliseconds from before it to the answer's first octet."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        with socket.create_connection((host, port)) as sock:
            sock.sendall(ONE)
            assert sock.recv(1) == b"."
            times.append((time.perf_counter() - began) * 1000)
        time.sleep(0.01)  # the end of one is not in the way of the next
    return {"median_ms": statistics.median(times)}


def transfer(host: str, port: int, way: str, size: int) -> dict[str, float]:
    """Megabytes a second of one transfer, `give` or `take`."""
    with socket.create_connection((host, port)) as sock:
        began = time.perf_counter()
        sock.sendall(f"{way} {size}".encode().ljust(WISH))
        if way == "give":
            _receive(sock, size)
        else:
            _send(sock, size)
            assert sock.recv(1) == b"."
        return {"mb_per_s": size / (time.perf_counter() - began) / 1e6}


def at_once(host: str, port: int, count: int, hold: int) -> dict[str, float]:
    """All are opened, and each asks: how many are answered, and the seconds until the last is.

    With `hold`, all stay open after that until stdin ends.
    """
    selector = selectors.DefaultSelector()
    socks = []
    began = time.perf_counter()
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((host, port))
        selector.register(sock, selectors.EVENT_WRITE)
        socks.append(sock)
    answered = failed = 0
    while answered + failed < count and (ready := selector.select(20.0)):
        for key, events in ready:
            assert isinstance(key.fileobj, socket.socket)
            try:
                if events & selectors.EVENT_WRITE:
                    key.fileobj.send(ONE)
                    selector.modify(key.fileobj, selectors.EVENT_READ)
                    continue
                has_answered = key.fileobj.recv(1) == b"."
            except OSError:
                has_answered = False
            answered += has_answered
            failed += not has_answered
            selector.unregister(key.fileobj)
    took = time.perf_counter() - began
    if hold:
        print(answered, flush=True)
        sys.stdin.read()
    return {"answered": answered, "seconds": took}


def main(what: str, *arguments: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if what == "serve":
        serve(int(arguments[0]))
    host, port, *others = arguments
    clients: dict[str, Callable[[], dict[str, float]]] = {
        "first": lambda: first_bytes(host, int(port), int(others[0])),
        "transfer": lambda: transfer(host, int(port), others[0], int(others[1])),
        "many": lambda: at_once(host, int(port), int(others[0]), 0),
        "hold": lambda: at_once(host, int(port), int(others[0]), 1),
    }
    print(json.dumps(clients[what]()))


if __name__ == "__main__":
    main(*sys.argv[1:])
