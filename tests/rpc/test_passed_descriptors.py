"""Descriptors that come along with a call."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from devlink.errors import ProtocolError
from devlink.rpc.connection import Connection
from devlink.rpc.server import Server, Session
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import Call


async def take(session: Session, _: Call) -> Mapping[str, Any]:
    """What the files say that came along."""
    texts = []
    for descriptor in session.take_descriptors():
        texts.append(os.read(descriptor, 100).decode())
        os.close(descriptor)
    return {"texts": texts}


async def leave(_: Session, __: Call) -> Mapping[str, Any]:
    return {}


def served(path: Path, descriptors: int, body: Callable[[Connection], Awaitable[None]]) -> None:
    async def inside() -> None:
        server = Server("io.devlink.Test", {"Take": take, "Leave": leave}, descriptors=descriptors)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path / "s"))
            listener.listen()
            serving = spawn(server.serve(listener), name="serve")
            caller = await Connection.connect(str(path / "s"))
            try:
                await body(caller)
            finally:
                caller.close()
                serving.cancel()
                await server.close()

    asyncio.run(inside())


def pipe_with(text: str) -> int:
    """Something to read, whose other end is closed."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    return reading


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_they_come_with_their_call_in_order_and_once(tmp_path: Path) -> None:
    async def body(caller: Connection) -> None:
        fds = pipe_with("a"), pipe_with("b")
        assert await caller.call("io.devlink.Test.Take", fds=fds) == {"texts": ["a", "b"]}
        assert await caller.call("io.devlink.Test.Take") == {"texts": []}
        for fd in fds:
            os.close(fd)

    served(tmp_path, 2, body)


def test_one_more_than_is_taken_ends_the_connection_and_none_stays_open(tmp_path: Path) -> None:
    before = open_descriptors()

    async def body(caller: Connection) -> None:
        fds = tuple(pipe_with("x") for _ in range(3))
        with pytest.raises(ProtocolError):
            await caller.call("io.devlink.Test.Take", fds=fds)
        for fd in fds:
            os.close(fd)

    served(tmp_path, 2, body)
    assert open_descriptors() == before


@pytest.mark.parametrize("descriptors", [0, 2])
def test_what_no_handler_takes_is_closed(tmp_path: Path, descriptors: int) -> None:
    before = open_descriptors()

    async def body(caller: Connection) -> None:
        fd = pipe_with("x")
        assert await caller.call("io.devlink.Test.Leave", fds=(fd,)) == {}
        os.close(fd)

    served(tmp_path, descriptors, body)
    assert open_descriptors() == before
