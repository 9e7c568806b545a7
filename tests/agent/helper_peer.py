"""A helper at its real socket that counts names as the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from devlink.agent import helper_link
from devlink.errors import DevlinkError, HelperError
from devlink.helper.policy import Paths
from devlink.rpc.listening import bind_private
from devlink.rpc.server import Server, Session
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import Call

RECORD: Mapping[str, Any] = {
    "time": 1_790_000_000.25, "name": "web.default.svc.cluster.local.", "qtype": 1, "zone": "cluster.local",
    "source": "cache", "server": None, "rcode": 0, "ms": 0.1, "reason": None,
}  # fmt: skip
IDLE = HelperError("The forwarder serves nothing.", next_step="Bring a profile up.")


class HelperPeer:
    """Its verbs of names, and its account of sessions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.counted = self.lines = 0
        """How often it was asked for its counts, and how many are connected."""
        self.failure: DevlinkError | None = None
        self.state: Mapping[str, Any] = {"sessions": []}
        self.log: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.followers = 0
        self._server: Server | None = None

    async def start(self) -> None:
        self._listener = bind_private(self._path)
        verbs = {
            "GetDnsStats": self._count, "FlushDns": self._flush, "FollowDnsLog": self._follow, "List": self._list,
        }  # fmt: skip
        self._server = Server("io.devlink.Helper", verbs)
        self._accepting = spawn(self._server.serve(self._listener), name="accept")

    async def end(self) -> None:
        """Die, and take every connection along."""
        assert self._server is not None
        self._accepting.cancel()
        await self._server.close()
        self._listener.close()
        self._path.unlink()

    @property
    def connections(self) -> int:
        assert self._server is not None
        return self._server.connections

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def _count(self, _: Session, __: Call) -> Mapping[str, Any]:
        self._check()
        self.counted += 1
        return {
            "nameserver": "127.0.0.153", "stats": {"queries": self.counted}, "upstreams": [], "loop_probe": None,
        }  # fmt: skip

    async def _flush(self, _: Session, __: Call) -> Mapping[str, Any]:
        self._check()
        return {"entries": 7}

    async def _list(self, _: Session, __: Call) -> Mapping[str, Any]:
        self._check()
        return self.state

    async def _follow(self, caller: Session, call: Call) -> Mapping[str, Any]:
        self._check()
        assert call.more
        self.followers += 1
        try:
            await caller.send({"records": [], "lost": 0, "restarted": False, "zones": None})
            while True:
                await caller.send(await self.log.get())
        finally:
            self.followers -= 1


@asynccontextmanager
async def helper_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HelperPeer]:
    """The agent's helper while the block runs."""
    monkeypatch.setattr(helper_link, "Paths", partial(Paths, run=folder))
    peer = HelperPeer(Paths(run=folder).socket)
    await peer.start()
    try:
        yield peer
    finally:
        await peer.end()


Body = Callable[[HelperPeer], Awaitable[None]]
