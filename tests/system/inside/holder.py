"""Stands in for the helper and its forwarder: holds one resolver mode, and answers the cluster's names where it says.

`holder.py MODE` serves on SOCKET: one JSON line in, `{"verb": ..., ...}`, one line out. Every question that reaches the
forwarder's place is a line of LOG. Names that are not the cluster's are passed on to the mode's own upstreams, so a
loop would be one here as well. With `--old` resolved is told as if systemd were of a version before 252.
"""

import asyncio
import ipaddress
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lan  # type: ignore[import-not-found]

from devlink.core.names import DomainName
from devlink.errors import DevlinkError
from devlink.lab import standin_dns
from devlink.lab.zones import cluster_zones
from devlink.resolvers.detect import detect
from devlink.resolvers.files.client import FilesClient
from devlink.resolvers.mode import Place, ResolverMode, Telling, Tools
from devlink.resolvers.modes import all_modes, resolved
from devlink.resolvers.observe import observe

FOLDER = Path("/run/mode-holder")
SOCKET, LOG = FOLDER / "socket", FOLDER / "log"
NAMESERVER = ipaddress.ip_address("127.0.0.231")
UPSTREAM_LIMIT = 2.0


def no_files() -> socket.socket:
    raise FileNotFoundError("no process writes files here")


class Holder:
    def __init__(self, name: str) -> None:
        cls = next(mode for mode in all_modes() if mode.name == name)
        self.mode: ResolverMode = cls(Tools(nameserver=NAMESERVER, files=FilesClient(no_files)))
        self.zones = standin_dns.Zones(cluster_zones(lan.cluster()))
        self.domains: tuple[DomainName, ...] = ()
        self.listening: dict[Place, list[Any]] = {}
        self.lock = asyncio.Lock()

    async def do(self, verb: str, given: dict[str, Any]) -> Any:
        match verb:
            case "up":
                self.domains = tuple(DomainName.parse(text) for text in given.get("domains", lan.ZONES))
                telling = Telling(domains=self.domains, families=frozenset(given.get("families", [4])))
                places = await asyncio.to_thread(self.mode.prepare, telling)
                await self.listen(places)
                await asyncio.to_thread(self.mode.apply, telling)
                return [[str(place.address), place.device] for place in places]
            case "detect":
                return [[each.mode.name, each.reason] for each in detect(observe(all_modes()), all_modes())]
            case "restore" | "is_ours" | "has_remains":
                return await asyncio.to_thread(getattr(self.mode, verb))
            case "read_upstreams":
                return [str(each.address) for each in await asyncio.to_thread(self.mode.read_upstreams)]
            case "read_ways":
                return [str(each) for each in await asyncio.to_thread(self.mode.read_ways)]
        raise ValueError(verb)

    async def listen(self, places: tuple[Place, ...]) -> None:
        for place in [place for place in self.listening if place not in places or place.device]:
            for server in self.listening.pop(place):
                server.close()
        for place in places:
            if place not in self.listening:
                self.listening[place] = await self.serve(place)

    async def serve(self, place: Place) -> list[Any]:
        sockets = []
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            sock = socket.socket(socket.AF_INET if place.address.version == 4 else socket.AF_INET6, kind)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if place.device:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, place.device.encode())
            sock.bind((str(place.address), 53))
            sock.setblocking(False)
            sockets.append(sock)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: Datagrams(self.answer), sock=sockets[0])
        return [transport, await asyncio.start_server(self.stream, sock=sockets[1])]

    async def answer(self, query: bytes, over: str, limit: int | None) -> bytes | None:
        asked = ""

        def note(line: str) -> None:
            nonlocal asked
            asked = line

        reply = standin_dns.respond(self.zones, query, limit=limit, note=note)
        with LOG.open("a") as log:
            print(over, asked, file=log)
        name = DomainName.parse(asked.split(" ")[0])
        if any(name.is_within(domain) for domain in self.domains):
            return reply
        return await asyncio.to_thread(self.pass_on, query)

    def pass_on(self, query: bytes) -> bytes | None:
        for upstream in self.mode.read_upstreams():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.settimeout(UPSTREAM_LIMIT)
                try:
                    asking.sendto(query, (str(upstream.address), 53))
                    return asking.recv(65535)
                except OSError:
                    continue
        return None

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                reply = await self.answer(await reader.readexactly(size), "tcp", None)
                if reply is not None:
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        given = json.loads(await reader.readline())
        try:
            async with self.lock:
                said = {"said": await self.do(given.pop("verb"), given)}
        except DevlinkError as error:
            said = {"error": str(error)}
        writer.write(json.dumps(said).encode() + b"\n")
        writer.close()


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[..., Any]) -> None:
        self.answer = answer
        self.running: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        task = asyncio.get_running_loop().create_task(self.reply(data, addr))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def reply(self, data: bytes, addr: Any) -> None:
        reply = await self.answer(data, "udp", standin_dns.PLAIN_UDP)
        if reply is not None:
            self.transport.sendto(reply, addr)


async def main(name: str) -> None:
    holder = Holder(name)
    LOG.touch()
    server = await asyncio.start_unix_server(holder.control, str(SOCKET))
    await server.serve_forever()


if __name__ == "__main__":
    if "--old" in sys.argv:
        resolved.LOOPBACK_SINCE = 9999
    asyncio.run(main(sys.argv[1]))
