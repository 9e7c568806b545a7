"""A relay that serves its interface within this process, and notes what its agent says."""

import asyncio
import dataclasses
import itertools
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from devlink.agent import relays, restoring, supervisor
from devlink.agent.session import Wish
from devlink.core.codec import decode, encode
from devlink.core.prefixes import IPAddress
from devlink.core.relay import RelayConfig, RelayListener, RelayState
from devlink.errors import DevlinkError
from devlink.rpc.listening import bind_private
from devlink.rpc.server import Server, Session
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import Call
from tests.agent.fakes import World


class FakeRelay:
    """One process, as its agent sees it."""

    def __init__(self, farm: "Farm", environ: Mapping[str, str]) -> None:
        self._farm = farm
        self.environ = environ
        self.served: list[RelayConfig] = []
        self.listeners: list[tuple[RelayListener, ...]] = []
        self.checked = 0
        """How often it was to look whether its connections are there still."""
        self.is_draining = self.has_ended = False
        self.state = RelayState(server="https://api.example:6443")
        self._news = asyncio.Event()
        self._end = threading.Event()
        self._server = Server(
            "io.devlink.Relay",
            {"Serve": self._serve, "Drain": self._drain, "Follow": self._follow},
            closed=lambda _: self._left(),
            descriptors=4,
        )
        path = farm.folder / str(next(farm.numbers))
        self._listener = bind_private(path)
        self.socks = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2)]
        for sock in self.socks:
            sock.connect(str(path))
        self.pid = 1
        farm.relays.append(self)
        farm.loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        self._accepting = spawn(self._server.serve(self._listener), name="relay")

    def end(self) -> None:
        """As of `relays.Child`."""
        self._end.wait(1.0)

    async def die(self) -> None:
        self._accepting.cancel()
        await self._server.close()
        self._listener.close()

    def tell(self, state: RelayState) -> None:
        self.state = state
        self._news.set()

    def _left(self) -> None:
        self.has_ended = True
        self._end.set()
        self._accepting.cancel()
        self._listener.close()

    async def _serve(self, caller: Session, call: Call) -> Mapping[str, Any]:
        for descriptor in caller.take_descriptors():
            os.close(descriptor)
        if "listeners" not in call.parameters:
            self.checked += 1
            return {}
        if self._farm.unfit is not None:
            raise self._farm.unfit
        self.served.append(decode(RelayConfig, call.parameters["config"]))
        self.environ = call.parameters["environment"]
        self.listeners.append(tuple(decode(RelayListener, each) for each in call.parameters["listeners"]))
        return {}

    async def _drain(self, _: Session, __: Call) -> Mapping[str, Any]:
        self.is_draining = True
        return {}

    async def _follow(self, caller: Session, call: Call) -> Mapping[str, Any]:
        while call.more and not caller.finished:
            self._news.clear()
            await caller.send({"state": encode(self.state)})
            await self._news.wait()
        return {"state": encode(self.state)}


class Farm:
    """All relays that were started, and what the cluster allows."""

    def __init__(self, world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.numbers = itertools.count()
        self.loop = asyncio.get_running_loop()
        self.relays: list[FakeRelay] = []
        self.obstacle: DevlinkError | None = None
        self.unfit: DevlinkError | None = None
        """What each of them says to what it is to serve."""
        self.asked: list[Mapping[str, str]] = []
        """In which environment it was asked what the cluster allows, each time."""
        self.pins: tuple[IPAddress, ...] = ()
        self.is_carried = False
        monkeypatch.setattr(relays, "Child", lambda environ: FakeRelay(self, environ))
        for where in (supervisor, restoring):
            monkeypatch.setattr(where, "permitted", self._permitted)
        for place in ("devlink.agent.supervisor.is_carried", "devlink.agent.keeping.is_carried"):
            monkeypatch.setattr(place, self._is_carried)

    async def _permitted(self, wish: Wish, environ: Mapping[str, str]) -> Wish:
        self.asked.append(environ)
        if self.obstacle is not None:
            raise self.obstacle
        return dataclasses.replace(wish, relayed=True, pins=self.pins)

    async def _is_carried(self, _: object) -> bool:
        return self.is_carried

    @property
    def last(self) -> FakeRelay:
        return self.relays[-1]
