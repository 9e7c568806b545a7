"""Gateways that answer or not, traffic that a test makes, and a helper that switches or refuses."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from devlink.agent import failover
from devlink.agent.failover import Failover
from devlink.agent.failovers import Failovers
from devlink.agent.session import Session, State, Wish
from devlink.core.findings import Finding, Severity
from devlink.core.health import Times
from devlink.core.network import ObservedNetwork, Path
from devlink.core.plan import Detour, addresses_of_interest, make_plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile_document import decode_profile
from devlink.errors import HelperError, VerificationError
from tests.core.profiles import SAMPLE

LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""
TWO_GATEWAYS = SAMPLE.replace('"fd00:16::13"', "172.16.0.16", 1)
THIRD = ip_address("172.16.0.20")
STRANGER = Finding(code="DL-GATEWAY-IDENTITY", severity=Severity.ERROR, title="Behind it another cluster answers.")
FAST = Times(limits=(0.03, 0.02, 0.02), pause=0.03, idle_pause=0.05, hold=0.2)


class FakeProbes:
    """Gateways that answer at once, if they do."""

    silent: "set[IPAddress]" = set()  # noqa: RUF012 - anew for each test
    refused: "set[IPAddress]" = set()  # noqa: RUF012 - anew for each test
    """By whom no question can be put: the helper gives no socket."""

    def __init__(self, session: str, profile: object, answered: Callable[[IPAddress, float], None]) -> None:
        self.answered = answered
        self.is_closed = False

    @property
    def unput(self) -> "set[IPAddress]":
        return self.refused

    def ask(self, via: IPAddress, attempt: int) -> None:
        if via not in self.silent and via not in self.refused:
            asyncio.get_running_loop().call_soon(self.answered, via, 0.0001)

    def prepare(self, via: IPAddress) -> None:
        pass

    async def neighbour(self, via: IPAddress) -> bool:
        return True

    def close(self) -> None:
        self.is_closed = True


class FakeLine:
    """Traffic that the test makes, or a helper that cannot tell of it."""

    refusal: HelperError | None = None
    failures: "list[Exception]" = []  # noqa: RUF012 - anew for each test
    """What befalls the next lines: an OSError as they are connected, a DevlinkError after that."""
    traffic: "asyncio.Queue[str]"

    @classmethod
    async def connect(cls, path: str) -> "FakeLine":
        if cls.failures and isinstance(cls.failures[0], OSError):
            raise cls.failures.pop(0)
        return cls()

    async def stream(self, method: str, parameters: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        if self.refusal is not None:
            raise self.refusal
        yield {"destinations": []}
        if self.failures:
            raise self.failures.pop(0)
        while True:
            yield {"destinations": [await FakeLine.traffic.get()]}

    def close(self) -> None:
        pass


class FakeLink:
    """Notes the switches."""

    def __init__(self) -> None:
        self.switches: list[tuple[IPAddress, IPAddress]] = []
        self.refusal: VerificationError | None = None
        self.refused: set[IPAddress] = set()
        """Next hops of which nothing may be switched."""
        self.begun = asyncio.Event()
        self.going: asyncio.Event | None = None
        """What a switch waits for when it has begun, if anything."""

    async def switch(self, session: str, next_hop: IPAddress, by: IPAddress) -> Detour | None:
        self.begun.set()
        if self.going is not None:
            await self.going.wait()
        if self.refusal is not None:
            raise self.refusal
        if next_hop in self.refused:
            raise VerificationError("It is not on the link.")
        self.switches.append((next_hop, by))
        return Detour(next_hop=next_hop, via=by, oif="eth0") if by != next_hop else None


class World:
    def __init__(self, times: Times = FAST) -> None:
        FakeLine.traffic = asyncio.Queue()
        profile = decode_profile(TWO_GATEWAYS)
        paths = {address: Path(oif="eth0") for address in addresses_of_interest(profile)}
        plan = make_plan(profile, ObservedNetwork(paths=paths))
        self.session = Session(wish=Wish(profile=profile), plan=plan, applied=True)
        self.session.enter(State.UP, 1.0)
        gateways = [gateway.address for gateway in profile.spec.gateways or ()]
        self.first, self.second = gateways[:2]
        self.link = FakeLink()
        self.told = 0
        self.failovers = Failovers(self.link, self.tell, times)  # type: ignore[arg-type]  # the fake has what is used
        self.failovers.keep([self.session])

    def tell(self) -> None:
        self.told += 1

    @property
    def running(self) -> Failover:
        (running,) = self.failovers._running.values()
        return running

    @property
    def states(self) -> dict[str, str]:
        return {each["address"]: each["state"] for each in self.session.gateways}

    @property
    def codes(self) -> list[str]:
        return [finding.code for finding in self.session.carrying]

    def with_gateways(self, *addresses: IPAddress) -> None:
        """A new edition of the profile, with the same routes."""
        profile = self.session.wish.profile
        (like, *_) = profile.spec.gateways or ()
        gateways = tuple(
            replace(like, address=address, priority=10 * number) for number, address in enumerate(addresses, 1)
        )
        profile = replace(profile, spec=replace(profile.spec, gateways=gateways))
        paths = {address: Path(oif="eth0") for address in addresses_of_interest(profile)}
        routes = self.session.plan.desired.routes
        self.session.wish = replace(self.session.wish, profile=profile)
        self.session.plan = make_plan(profile, ObservedNetwork(paths=paths))
        assert self.session.plan.desired.routes == routes

    def with_routes(self, *hops: IPAddress) -> None:
        """One route by each."""
        desired = self.session.plan.desired
        routes = tuple(
            replace(desired.routes[0], destination=ip_network(f"10.20.{number}.0/24"), next_hop=hop)
            for number, hop in enumerate(hops)
        )
        alternatives = {hop: tuple((via, "eth0") for via in (self.second, self.first) if via != hop) for hop in hops}
        plan = replace(self.session.plan, desired=replace(desired, routes=routes), alternatives=alternatives)
        self.session.plan = plan

    def send(self) -> None:
        routes = self.session.plan.desired.routes
        FakeLine.traffic.put_nowait(str(next(r.destination[1] for r in routes if r.next_hop == self.first)))

    async def until(self, true: Callable[[], bool], meanwhile: Callable[[], object] = int) -> None:
        async with asyncio.timeout(LIMIT):
            while not true():
                meanwhile()
                await asyncio.sleep(0.005)


def run(body: Callable[[World], Awaitable[None]], times: Times = FAST) -> None:
    async def main() -> None:
        world = World(times)
        try:
            await body(world)
        finally:
            world.failovers.keep([])
            await asyncio.sleep(0.01)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failover, "Probes", FakeProbes)
        patch.setattr(failover, "Connection", FakeLine)
        patch.setattr(FakeProbes, "silent", set())
        patch.setattr(FakeProbes, "refused", set())
        patch.setattr(FakeLine, "failures", [])
        asyncio.run(main())


async def wait_until_left(world: World, begun: asyncio.Event) -> None:
    """The first one is silent, and what leads to the second has `begun`."""
    world.send()
    await world.until(lambda: world.states[str(world.first)] == "healthy")
    FakeProbes.silent = {world.first}
    await world.until(begun.is_set, world.send)
