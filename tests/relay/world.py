"""A relay in this process, before an API server whose pods are functions; programs come in by the listener for names,
which needs no redirect."""

import asyncio
import contextlib
import ipaddress
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path

from devlink.core.codec import encode
from devlink.core.plan import Upstream
from devlink.core.relay import RelayConfig, RelayListener, RelayOptions
from devlink.relay.server import Relay
from devlink.rpc.connection import Connection
from devlink.rpc.tasks import spawn
from tests.relay.node import ApiServer

ADDRESS = "10.1.0.1"
PORT = 5432


class World:
    """The API server, the relay, and the agent's connection to it."""

    def __init__(self, relay: Relay, api: ApiServer, agent: Connection) -> None:
        self.relay, self.api, self.agent = relay, api, agent
        self.path = ""
        self.sockets: list[socket.socket] = []

    async def serve(self, *names: tuple[str, int], options: RelayOptions | None = None) -> None:
        """Have connections led to the first of these that can be reached."""
        self.config = config = RelayConfig(
            session="s",
            context="",
            prefixes=(ip_network("10.1.0.0/16"),),
            names=tuple(Upstream(address=ipaddress.ip_address(address), port=port) for address, port in names),
            options=options or RelayOptions(),
        )
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.address = listener.getsockname()
        told = RelayListener(purpose="names", address=ipaddress.ip_address("127.0.0.1"), port=self.address[1])
        with listener:
            await self.agent.call(
                "io.devlink.Relay.Serve",
                {"config": encode(config), "listeners": [encode(told)]},
                fds=(listener.fileno(),),
            )

    async def program(self, *, receive: int = 0) -> socket.socket:
        """A connection to it, non-blocking. `receive`: octets of its receive buffer."""
        sock = socket.socket()
        self.sockets.append(sock)
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.address)
        return sock

    async def connection(self) -> Connection:
        """Another one to the relay, as a second caller has it; its to close."""
        return await Connection.connect(self.path)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - of what others do, who tell nobody
                await asyncio.sleep(0.005)


def relayed(test: Callable[[World], Awaitable[None]]) -> Callable[[Path], None]:
    """A test of such a world."""

    def run(tmp_path: Path) -> None:
        async def inside() -> None:
            async with world(tmp_path) as there:
                await test(there)

        asyncio.run(inside())

    run.__name__ = test.__name__
    return run


def kubeconfig(folder: Path, port: int) -> Path:
    """One for the API server at that port."""
    path = folder / "kubeconfig"
    tree = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "one"}}],
    }
    path.write_text(json.dumps(tree))
    return path


@contextlib.asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One world, as long as it is wanted."""
    api = ApiServer()
    await api.start()
    relay = Relay({"KUBECONFIG": str(kubeconfig(tmp_path, api.port))}, connections=3000)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "relay"))
    listener.listen()
    serving = spawn(relay.server.serve(listener), name="relay")
    agent = await Connection.connect(str(tmp_path / "relay"))
    there = World(relay, api, agent)
    there.path = str(tmp_path / "relay")
    try:
        yield there
    finally:
        for sock in there.sockets:
            sock.close()
        agent.close()
        serving.cancel()
        await relay.close()
        await api.stop()
        listener.close()
