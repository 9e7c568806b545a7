"""A helper that notes what is asked of it and fails on request, and the agent's sessions on top of it."""

import asyncio
import dataclasses
import ipaddress
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

import pytest

from devlink.agent import failovers, keeping, restoring
from devlink.agent import sessions as module
from devlink.agent.session import Wish
from devlink.agent.supervisor import Supervisor
from devlink.agent.surroundings import Surroundings, Way
from devlink.core.detours import pairs, with_detour
from devlink.core.findings import Finding
from devlink.core.network import ObservedNetwork, ObservedRoute, Path, Rule
from devlink.core.plan import Desired, Detour, Plan, addresses_of_interest
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, RoutingMode
from devlink.core.profile_document import decode_profile
from devlink.core.relay import RelayListener
from devlink.errors import (
    DevlinkError,
    HelperError,
    NotUpError,
    VerificationError,
)
from tests.core.profiles import SAMPLE
from tests.helper.fakes import watch_the_kernel

LIMIT = 10.0
AWAY = HelperError("The helper is away.")
QA = decode_profile(SAMPLE)
ROUTER, CLUSTER = ipaddress.ip_address("192.168.1.1"), ipaddress.ip_address("10.254.0.2")
PROD = dataclasses.replace(QA, metadata=dataclasses.replace(QA.metadata, name="prod"))


class FakeLink:
    """The line to a helper that has what was applied."""

    def __init__(self, *, lost: Callable[[HelperError], None], returned: Callable[[], Awaitable[None]]) -> None:
        self.lost, self.returned = lost, returned
        self.is_connected, self.version = True, "1"
        self.calls: list[str] = []
        self.held: dict[str, str] = {}
        self.desired: dict[str, Desired] = {}
        """What was applied last, and how it was switched since."""
        self.routes: dict[str, list[str]] = {}
        self.missing: list[str] = []
        self.resolver, self.forwarder = "direct", "serving"
        self.contests: dict[str, dict[str, Any]] = {}
        """By session: what is `fought` and what is `occupied`."""
        self.failures: dict[str, DevlinkError] = {}
        self.slow: asyncio.Event | None = None
        self.no_tcp = 0
        """Packets that were refused because they were no TCP."""

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call in self.failures:
            raise self.failures.pop(call)

    async def ready(self) -> None:
        if "ready" in self.failures:
            raise self.failures.pop("ready")

    async def greet(self) -> None:
        await self.ready()

    async def apply(self, desired: Desired, replace: tuple[str, ...] = ()) -> Mapping[str, Any]:
        if self.slow is not None:
            await self.slow.wait()
        self._note(f"apply {desired.session}" + (f" for {','.join(replace)}" if replace else ""))
        for name in replace:
            self.held.pop(name, None)
        self.held[desired.session] = "applied"
        self.desired[desired.session] = desired
        self.routes[desired.session] = [str(route) for route in desired.routes]
        return {"routes": self.routes[desired.session], "resolver": "direct", "resolver_reason": "", "upstreams": []}

    async def switch(self, session: str, next_hop: IPAddress, by: IPAddress) -> Detour | None:
        self._note(f"switch {session} {next_hop} to {by}")
        detour = Detour(next_hop=next_hop, via=by, oif="eth0") if by != next_hop else None
        self.desired[session] = with_detour(self.desired[session], next_hop, detour)
        return detour

    async def open_relay(self, session: str) -> tuple[tuple[RelayListener, ...], tuple[int, ...]]:
        self._note(f"open {session}")
        return (RelayListener(purpose="redirected", address=ipaddress.ip_address("127.0.0.1"), port=1),), (os.dup(0),)

    async def count_relay(self, session: str) -> int:
        self._note(f"count {session}")
        return self.no_tcp

    async def confirm(self, session: str) -> None:
        self._note(f"confirm {session}")
        self.held[session] = "up"

    async def release(self, session: str) -> None:
        self._note(f"release {session}")
        if self.held.pop(session, None) is None:
            raise NotUpError(f"Session {session} is not up.")

    async def state(self) -> Mapping[str, Any]:
        self._note("list")
        if self.slow is not None:
            await self.slow.wait()
        sessions = [
            {
                "name": name,
                "state": state,
                "held": state != "orphaned",
                "routes": self.routes.get(name, []),
                "missing": self.missing,
                **self.contests.get(name, {}),
            }
            for name, state in self.held.items()
        ]
        return {
            "sessions": sessions, "resolver": self.resolver, "resolver_reason": "", "forwarder": self.forwarder,
        }  # fmt: skip

    def close(self) -> None:
        self.calls.append("close")


class FakeClock:
    """It jumps when the test says so."""

    def __init__(self, jumped: Callable[[], None]) -> None:
        self.jumped = jumped
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class World:
    """A supervisor, its line, and a verification that fails on request."""

    def __init__(self, folder: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.steps: list[tuple[str, bool]] = []
        self.verification: list[BaseException | asyncio.Event] = []
        self.verified: list[RoutingMode] = []
        """In which mode, each time that it was verified."""
        self.on_link = self.is_connected = True
        self.away: set[IPAddress] = set()
        """Who is not on the link though it is the cluster's."""
        self.foreign: tuple[ObservedRoute, ...] = ()
        self.rules: tuple[Rule, ...] = ()
        monkeypatch.setattr(module, "HelperLink", FakeLink)
        monkeypatch.setattr(module, "observe", self._observe)
        monkeypatch.setattr("devlink.agent.verify.verify", self._verify)
        for where in (keeping, restoring):
            monkeypatch.setattr(where, "look_around", self._look_around)
        # Where nobody could take over, a test says itself what is heard of the gateway.
        monkeypatch.setattr(failovers, "watched", lambda session: any(session.candidates.values()))
        monkeypatch.setattr(keeping, "OFFLINE_LIMIT", 0.05)
        monkeypatch.setattr(keeping, "HELPER_TIME", 0)
        self.monitors = watch_the_kernel(monkeypatch)
        self.clocks: list[FakeClock] = []
        monkeypatch.setattr(keeping, "WallClock", self._clock)
        self.gateway, self.is_offline = "aa", False
        self.supervisor = self.again()

    def again(self) -> Supervisor:
        """Another agent, as it is after a restart."""
        self.supervisor = Supervisor(self.folder)
        link = self.supervisor._sessions.link
        assert isinstance(link, FakeLink)
        self.link = link
        return self.supervisor

    def _clock(self, jumped: Callable[[], None]) -> "FakeClock":
        self.clocks.append(FakeClock(jumped))
        return self.clocks[-1]

    def _observe(self, addresses: Iterable[IPAddress] = ()) -> ObservedNetwork:
        if not self.on_link:
            return ObservedNetwork(paths={a: Path(oif="eth0", next_hop=ROUTER) for a in addresses})
        paths = {a: Path(oif="eth0", next_hop=ROUTER if a in self.away else None) for a in addresses}
        return ObservedNetwork(paths=paths, routes=self.foreign, rules=self.rules)

    def _look_around(
        self, profile: BridgeProfile, _: Collection[IPAddress] = ()
    ) -> tuple[ObservedNetwork, Surroundings]:
        observed = self._observe(addresses_of_interest(profile))
        way = Way(address=CLUSTER, oif="eth0", next_hop=ROUTER, link_address=self.gateway)
        hops = tuple(observed.paths.values())
        return observed, Surroundings(hops=hops, ways=(way,), addresses=(), is_offline=self.is_offline)

    async def told(self) -> None:
        """The kernel says that the network has changed; returns when what comes of it at once has come."""
        self.monitors[-1].changed()
        await self.looked()

    async def told_nobody(self) -> None:
        """The same, where nobody may listen any more."""
        if not self.monitors[-1].is_closed:
            await self.told()

    async def looked(self) -> None:
        looking = self.supervisor._keeper._watch._looking
        if looking is not None:
            await asyncio.wait([looking])

    async def _verify(self, profile: BridgeProfile, plan: Plan, **_: Any) -> tuple[Finding, ...]:
        self.verified.append(plan.mode)
        if plan.desired.zones or plan.desired.routes:
            assert self.link.held[profile.metadata.name] in ("applied", "up"), "what is verified is installed"
            assert pairs(plan.desired) == pairs(self.link.desired[profile.metadata.name]), "as is who carries it"
        if self.verification:
            outcome = self.verification.pop(0)
            if isinstance(outcome, BaseException):
                raise outcome
            await outcome.wait()
        return ()

    async def progress(self, step: str, done: bool) -> None:
        self.steps.append((step, done))

    async def up(self, profile: BridgeProfile, *, replace: bool = False, **wish: Any) -> Mapping[str, Any]:
        return await self.supervisor.up(Wish(profile=profile, **wish), replace=replace, progress=self.progress)

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)

    @property
    def states(self) -> dict[str, str]:
        return {session["name"]: session["state"] for session in self.supervisor.status()["sessions"]}

    @property
    def codes(self) -> set[str]:
        """Of the findings that are shown of the only session."""
        (session,) = self.supervisor.status()["sessions"]
        return {finding["code"] for finding in session["findings"]}

    @property
    def kept(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []


Run = Callable[[Callable[[World], Awaitable[None]]], None]
DEAD = VerificationError("The cluster's DNS does not answer.", why="no answer")
