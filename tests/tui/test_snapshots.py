"""How the dashboard looks in its main states. `make snapshots` draws the pictures anew: look at what git shows then."""

import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_textual_snapshot import SVGImageExtension
from textual.message import Message
from textual.pilot import Pilot

from devlink.tui import app as app_module
from devlink.tui.app import Dashboard
from devlink.tui.link import Link
from devlink.tui.messages import Contact, ContactChanged, DnsCounted, EventsTold, PathSeen, StatusTold
from tests.tui.scripted import (
    ScriptedAgent,
    dns_stats,
    event,
    finding,
    gateway,
    path,
    relayed_path,
    relayed_session,
    session,
    status,
)
from tests.tui.shoot import plain

pytestmark = pytest.mark.slow
NOW = 1_790_000_100.0
"""Unix seconds: the scripted agent's events are a hundred older."""
SVGImageExtension.file_extension = "svg"  # which viewers know; this version of the plugin names it as old syrupy did
LIMIT = 1000
"""Looks, of a hundredth of a second at least, until all is told."""
SETTLED = 0.3
"""Seconds in which what ends with the agent is told as well."""
Scene = Callable[[ScriptedAgent], Awaitable[None]]
Compare = Callable[..., bool]
ALL = {StatusTold, PathSeen, DnsCounted, EventsTold}


class Pictured(Dashboard):
    """The dashboard beside an agent that has said everything, and ends with it."""

    CSS_PATH = str(Path(app_module.__file__).with_name("looks.tcss"))

    def __init__(self, agent: ScriptedAgent | None, scene: Scene, *, light: bool = False) -> None:
        super().__init__(Link({}), light=light)
        self._agent, self._scene = agent, scene
        self.heard: list[Message] = []
        post = self.main.post_message

        def note(message: Message) -> bool:
            self.heard.append(message)
            return post(message)

        self.main.post_message = note  # type: ignore[method-assign]

    async def run_async(self, **options: Any) -> int | None:
        if self._agent is None:
            return await super().run_async(**options)
        await self._scene(self._agent)
        await self._agent.start()
        try:
            return await super().run_async(**options)
        finally:
            await self._agent.end()

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        return plain(super().export_screenshot(title=title, simplify=simplify))

    def has_heard(self, *kinds: type[Message]) -> bool:
        return all(any(type(message) is kind for message in self.heard) for kind in kinds)


async def until(pilot: Pilot[Any], true: Callable[[], object], what: str) -> None:
    for _ in range(LIMIT):
        if true():
            await pilot.pause()
            return
        await pilot.pause(0.01)
    raise AssertionError(f"it did not come true that {what}")


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the dashboard's own modules: Textual's and asyncio's go on."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("NO_COLOR", raising=False)
    time.tzset()
    stopped = SimpleNamespace(
        monotonic=lambda: 1000.0, time=lambda: NOW, strftime=time.strftime, localtime=time.localtime, gmtime=time.gmtime
    )
    for name, module in list(sys.modules.items()):
        if name.startswith("devlink.tui") and getattr(module, "time", None) is time:
            monkeypatch.setattr(module, "time", stopped)
    assert vars(app_module)["time"] is stopped


async def _up(agent: ScriptedAgent) -> None:
    await agent.tell("Status", status(session("qa")))
    await agent.tell("FollowPath", path())
    await _dns_and_events(agent, event("qa: up"))


async def _dns_and_events(agent: ScriptedAgent, *events: dict[str, Any]) -> None:
    await agent.tell("FollowDnsStats", dns_stats())
    await agent.tell("FollowEvents", {"events": list(events)})
    await agent.tell("FollowDnsLog", {"records": [], "lost": 0, "restarted": False, "zones": None})
    row = {"next_hop": "172.16.0.13", "oif": "eth0", "owner": "qa", "state": "installed"}
    agent.answers["ListRoutes"] = {
        "routes": [{"destination": each, **row} for each in ("10.20.0.0/16", "10.254.0.0/16", "172.16.0.14/32")]
    }


async def _down(agent: ScriptedAgent) -> None:
    await agent.tell("Status", status())
    await _dns_and_events(agent, event("qa: down"))


async def _connecting(agent: ScriptedAgent) -> None:
    telling = session("qa", state="connecting", since=1.5, route_count=0, gateways=[], reason="")
    await agent.tell("Status", status(telling))
    await agent.tell("FollowPath", path(legs=path()["legs"][:2], gateways=[]))
    await _dns_and_events(agent)


async def _degraded(agent: ScriptedAgent) -> None:
    silent = gateway(state="silent", carries=False, rtt_ms=None)
    standby = gateway("172.16.0.14", rtt_ms=1.2)
    failed = finding("DL-SERVER-SILENT", "error", title="The cluster's DNS server 10.254.0.2 does not answer.")
    telling = session("qa", state="degraded", gateways=[silent, standby], findings=[finding(), failed])
    legs = path()["legs"]
    legs[3] |= {"state": "silent", "text": "its DNS does not answer", "rtt_ms": None}
    await agent.tell("Status", status(telling, session("staging", gateways=[])))
    await agent.tell("FollowPath", path(legs=legs, gateways=[silent, standby]))
    await _dns_and_events(agent, event("qa: up"), event("qa: 172.16.0.13 is silent", "warning"))


async def _conflict(agent: ScriptedAgent) -> None:
    taken = finding(
        "DL-ROUTE-TAKEN", "error", title="10.20.0.0/16 is routed by another program (docker0).",
        evidence="10.20.0.0/16 dev docker0 proto kernel", fix="devlink up qa --exclude 10.20.0.0/16",
    )  # fmt: skip
    await agent.tell("Status", status(session("qa", state="degraded", findings=[taken])))
    await agent.tell("FollowPath", path())
    await _dns_and_events(agent, event("qa: a route of ours was taken", "error"))


async def _relayed(agent: ScriptedAgent) -> None:
    hint = finding(
        "DL-RELAYED", "info", title="It is relayed through the API server: TCP and names, nothing else.",
        evidence="no next hop is on a link here", fix="",
    )  # fmt: skip
    await agent.tell("Status", status(relayed_session(findings=[hint])))
    await agent.tell("FollowPath", relayed_path())
    await _dns_and_events(agent, event("qa: up, relayed"))


@pytest.mark.parametrize(
    ("scene", "size"),
    [
        pytest.param(_down, (120, 40), id="down"),
        pytest.param(_connecting, (120, 40), id="connecting"),
        pytest.param(_up, (120, 40), id="up"),
        pytest.param(_degraded, (120, 40), id="degraded"),
        pytest.param(_conflict, (120, 40), id="conflict"),
        pytest.param(_relayed, (120, 40), id="relayed"),
        pytest.param(_degraded, (80, 24), id="80x24"),
        pytest.param(_degraded, (40, 10), id="40x10"),
        pytest.param(_degraded, (240, 60), id="240x60"),
    ],
)
def test_a_state_looks_as_it_did(
    snap_compare: Compare, agent_socket: Path, scene: Scene, size: tuple[int, int]
) -> None:
    app = Pictured(ScriptedAgent(agent_socket), scene)

    async def all_told(pilot: Pilot[Any]) -> None:
        kinds = ALL - {PathSeen} if scene is _down else ALL
        await until(pilot, lambda: app.has_heard(*kinds), "all is told")

    assert snap_compare(app, terminal_size=size, run_before=all_told), "if it is meant: make snapshots"


def test_light_looks_as_it_did(snap_compare: Compare, agent_socket: Path) -> None:
    app = Pictured(ScriptedAgent(agent_socket), _degraded, light=True)

    async def all_told(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: app.has_heard(*ALL), "all is told")

    assert snap_compare(app, terminal_size=(120, 40), run_before=all_told), "if it is meant: make snapshots"


def test_an_agent_that_went_away_looks_as_it_did(snap_compare: Compare, agent_socket: Path) -> None:
    agent = ScriptedAgent(agent_socket)
    app = Pictured(agent, _up)

    async def gone(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: app.has_heard(*ALL), "all is told")
        await agent.end()
        await until(pilot, lambda: _lost(app), "the loss is seen")
        await pilot.pause(SETTLED)

    assert snap_compare(app, terminal_size=(80, 24), run_before=gone), "if it is meant: make snapshots"


def _lost(app: Pictured) -> bool:
    return any(isinstance(message, ContactChanged) and message.contact is Contact.LOST for message in app.heard)


def test_no_agent_looks_as_it_did(snap_compare: Compare, agent_socket: Path) -> None:
    app = Pictured(None, _up)

    async def absent(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: app.has_heard(ContactChanged), "its absence is seen")
        await pilot.pause(SETTLED)

    assert snap_compare(app, terminal_size=(80, 24), run_before=absent), "if it is meant: make snapshots"
