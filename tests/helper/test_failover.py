"""The verbs of failover over a real socket: for whose session, by whom, and what ends with it."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Hashable, Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from devlink.core.codec import encode
from devlink.core.network import Holding, Link, ObservedNetwork, ObservedRoute, Path
from devlink.core.plan import Detour, Relaying
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.core.trust import TrustRecord
from devlink.errors import (
    HelperError,
    NotPermittedError,
    NotTrustedError,
    NotUpError,
    UsageError,
    VerificationError,
)
from devlink.helper import failover
from tests.helper.test_verbs import GATEWAY, LIMIT, PROD, QA, Run, World, run  # noqa: F401 - run is a fixture

OTHER = ip_address("172.16.0.16")
OFF_LINK = ip_address("172.16.9.9")
ROUTER = ip_address("192.168.1.1")
TARGET = "10.20.0.2"


class FakeProbes:
    """Gives one end of a pair, and keeps who holds it."""

    def __init__(self) -> None:
        self.holders: list[Hashable] = []
        self.opened: list[tuple[str, str, str, str]] = []
        self.uids: list[int] = []
        self.is_asked, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()
        FAKES.append(self)

    async def open(
        self, holder: Hashable, uid: int, via: IPAddress, oif: str, target: IPAddress, kind: str
    ) -> socket.socket:
        self.uids.append(uid)
        self.is_asked.set()
        await self.go_on.wait()
        self.holders.append(holder)
        self.opened.append((str(via), oif, str(target), kind))
        ours, theirs = socket.socketpair()
        ours.sendall(b"through")
        ours.close()
        return theirs

    async def close(self, holder: Hashable) -> None:
        self.holders = [each for each in self.holders if each is not holder]

    @contextlib.asynccontextmanager
    async def forgotten(self) -> AsyncIterator[None]:
        self.holders.clear()
        yield

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[Holding]:
        yield Holding()


FAKES: list[FakeProbes] = []


class FakeTraffic:
    """A kernel that tells when the test does."""

    failure: HelperError | None = None
    made: "list[FakeTraffic]" = []  # noqa: RUF012 - anew for each test

    def __init__(self, networks: Iterable[IPNetwork]) -> None:
        if self.failure is not None:
            raise self.failure
        self.networks = tuple(map(str, networks))
        self.reading, self.writing = socket.socketpair()
        self.is_closed = False
        self.made.append(self)

    def fileno(self) -> int:
        return self.reading.fileno()

    def send(self, address: str) -> None:
        self.writing.send(address.encode() + b" ")

    def take(self) -> tuple[IPAddress, ...]:
        return tuple(ip_address(text) for text in self.reading.recv(4096).decode().split())

    def close(self) -> None:
        self.is_closed = True
        self.reading.close()
        self.writing.close()


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    FAKES.clear()
    monkeypatch.setattr(failover, "Probes", FakeProbes)
    monkeypatch.setattr(failover, "Traffic", FakeTraffic)
    monkeypatch.setattr(FakeTraffic, "made", [])
    monkeypatch.setattr(FakeTraffic, "failure", None)

    def observe_ways(addresses: Iterable[IPAddress]) -> ObservedNetwork:
        def way(address: IPAddress) -> Path:
            return Path(oif="eth0", next_hop=GATEWAY if address == OFF_LINK else None)

        return ObservedNetwork(paths={address: way(address) for address in addresses})

    monkeypatch.setattr(failover, "observe_ways", observe_ways)


def probe(**changed: str) -> dict[str, str]:
    return {"session": "qa", "via": str(OTHER), "target": TARGET, "kind": "udp", **changed}


def switching(world: World) -> list[tuple[str, IPAddress, Detour | None]]:
    """What the machine is told from now on."""
    told: list[tuple[str, IPAddress, Detour | None]] = []

    async def switch(session: str, next_hop: IPAddress, to: Detour | None) -> None:
        assert world.machine.lock.locked()
        if world.machine.failure is not None:
            raise world.machine.failure
        told.append((session, next_hop, to))

    world.machine.switch = switch  # type: ignore[attr-defined]
    return told


def test_a_switch_goes_by_the_gateways_own_link_beside_a_vpn_that_takes_all(
    run: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def beside_a_vpn(addresses: Iterable[IPAddress]) -> ObservedNetwork:
        lan = ObservedRoute(destination=ip_network("172.16.0.0/24"), oif="eth0", protocol=9)
        links = (Link(index=2, name="eth0", mtu=1500, up=True), Link(index=3, name="tun0", mtu=1400, up=True))
        return ObservedNetwork(links=links, routes=(lan,), paths={each: Path(oif="tun0") for each in addresses})

    monkeypatch.setattr(failover, "observe_ways", beside_a_vpn)

    async def body(world: World) -> None:
        told = switching(world)
        async with world.caller() as alice:
            await alice.up(QA)
            said = await alice.call("Switch", session="qa", next_hop=str(GATEWAY), via=str(OTHER))
            assert said == {"oif": "eth0"}
            assert told == [("qa", GATEWAY, Detour(next_hop=GATEWAY, via=OTHER, oif="eth0"))]

    run(body)


def test_a_switch_is_one_order_to_the_machine_and_stays_with_the_session(run: Run) -> None:  # noqa: F811
    async def body(world: World) -> None:
        told = switching(world)
        async with world.caller() as alice:
            await alice.up(QA)
            said = await alice.call("Switch", session="qa", next_hop=str(GATEWAY), via=str(OTHER))
            assert said == {"oif": "eth0"}, "ten thousand routes are not told anew for each switch"
            detour = Detour(next_hop=GATEWAY, via=OTHER, oif="eth0")
            await alice.call("Switch", session="qa", next_hop=str(GATEWAY))
            assert told == [("qa", GATEWAY, detour), ("qa", GATEWAY, None)]
            await alice.call("Switch", session="qa", next_hop=str(GATEWAY), via=str(OTHER))
            await alice.up(PROD)
            assert world.machine.targets[-1].detours == {"qa": (detour,)}, "whatever is installed next, it stays"

    run(body)


@pytest.mark.parametrize(
    ("next_hop", "via", "error"),
    [
        ("172.16.0.99", str(OTHER), UsageError),
        (str(GATEWAY), str(OFF_LINK), NotTrustedError),
        (str(GATEWAY), "192.0.2.1", NotTrustedError),
        (str(GATEWAY), "fd00::1", UsageError),
        (str(GATEWAY), "nonsense", UsageError),
    ],
)
def test_a_switch_is_refused_where_it_may_not_be(
    run: Run, next_hop: str, via: str, error: type[Exception]  # noqa: F811
) -> None:  # fmt: skip
    async def body(world: World) -> None:
        told = switching(world)
        async with world.caller() as alice:
            await alice.up(QA)
            with pytest.raises(error):
                await alice.call("Switch", session="qa", next_hop=next_hop, via=via)
            assert not told

    run(body)


def test_a_trusted_gateway_behind_a_router_is_refused(run: Run) -> None:  # noqa: F811
    async def body(world: World) -> None:
        told = switching(world)
        record = world.trust.get("qa")
        assert isinstance(record, TrustRecord)
        wide = (*record.next_hops, ip_network("172.16.9.0/24"))
        world.trust.put(replace(record, next_hops=wide))
        async with world.caller() as alice:
            await alice.up(QA)
            with pytest.raises(VerificationError, match="not on link"):
                await alice.call("Switch", session="qa", next_hop=str(GATEWAY), via=str(OFF_LINK))
            assert not told

    run(body)


def test_a_switch_that_the_kernel_refuses_is_told_and_changes_nothing(run: Run) -> None:  # noqa: F811
    async def body(world: World) -> None:
        switching(world)
        async with world.caller() as alice:
            await alice.up(QA)
            world.machine.failure = HelperError("The kernel said no.")
            with pytest.raises(HelperError, match="said no"):
                await alice.call("Switch", session="qa", next_hop=str(GATEWAY), via=str(OTHER))
            world.machine.failure = None

    run(body)


def test_only_the_connection_of_a_session_switches_it_and_only_its_user_probes_for_it(run: Run) -> None:  # noqa: F811
    async def body(world: World) -> None:
        told = switching(world)
        async with world.caller() as alice, world.caller() as also_alice, world.caller(uid=1001) as bob:
            await alice.up(QA)
            with pytest.raises(NotUpError):
                await also_alice.call("Switch", session="qa", next_hop=str(GATEWAY), via=str(OTHER))
            for verb, parameters in (
                ("Switch", {"session": "qa", "next_hop": str(GATEWAY)}),
                ("OpenProbe", probe()),
                ("AskNeighbour", {"session": "qa", "via": str(OTHER)}),
            ):
                with pytest.raises(NotPermittedError):
                    await bob.call(verb, **parameters)
            with pytest.raises(NotUpError):
                await bob.call("OpenProbe", **probe(session="prod"))
            assert not told
            assert not FAKES[0].opened

    run(body)


def test_a_probe_is_a_descriptor_that_ends_with_its_connection(run: Run) -> None:  # noqa: F811
    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
            async with world.caller() as prober:
                _, descriptor = await prober.connection.call_for_descriptor("io.devlink.Helper.OpenProbe", probe())
                with socket.socket(fileno=descriptor) as sock:
                    assert sock.recv(100) == b"through"
                assert FAKES[0].opened == [(str(OTHER), "eth0", TARGET, "udp")]
                assert len(FAKES[0].holders) == 1
            await world.until(lambda: not FAKES[0].holders)

    run(body)


def test_probes_end_with_their_session(run: Run) -> None:  # noqa: F811
    async def body(world: World) -> None:
        async with world.caller() as alice, world.caller() as prober:
            await alice.up(QA)
            _, descriptor = await prober.connection.call_for_descriptor("io.devlink.Helper.OpenProbe", probe())
            socket.socket(fileno=descriptor).close()
            await alice.call("Release", session="qa")
            assert not FAKES[0].holders

    run(body)


def test_a_session_that_ends_while_its_probe_is_opened_leaves_nothing(run: Run) -> None:  # noqa: F811
    async def body(world: World) -> None:
        async with world.caller() as alice, world.caller() as prober:
            await alice.up(QA)
            fake = FAKES[0]
            fake.go_on.clear()
            opening = asyncio.get_running_loop().create_task(prober.call("OpenProbe", **probe()))
            await fake.is_asked.wait()
            await alice.call("Release", session="qa")
            fake.go_on.set()
            with pytest.raises(NotUpError):
                await opening
            assert not fake.holders

    run(body)


@pytest.mark.parametrize("how", ["restore", "replace"])
def test_probes_and_followers_end_with_their_session_however_that_ends(run: Run, how: str) -> None:  # noqa: F811
    async def body(world: World) -> None:
        async with world.caller() as alice, world.caller() as prober, world.caller(uid=0) as root:
            await alice.up(QA)
            _, descriptor = await prober.connection.call_for_descriptor("io.devlink.Helper.OpenProbe", probe())
            socket.socket(fileno=descriptor).close()
            async with world.caller() as follower:
                stream = follower.connection.stream("io.devlink.Helper.FollowTraffic", {"session": "qa"})
                await anext(stream)
                if how == "restore":
                    await root.call("Restore")
                else:
                    await alice.call("Apply", plan=encode(PROD), replace=["qa"])
                assert not FAKES[0].holders
                with pytest.raises(NotUpError):
                    await anext(stream)

    run(body)


def test_a_session_that_ends_while_the_watch_is_made_ends_the_following(
    run: Run, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    asked, go_on = threading.Event(), threading.Event()

    def slow(networks: Iterable[IPNetwork]) -> FakeTraffic:
        asked.set()
        assert go_on.wait(LIMIT)
        return FakeTraffic(networks)

    monkeypatch.setattr(failover, "Traffic", slow)

    async def body(world: World) -> None:
        async with world.caller() as alice, world.caller() as follower:
            await alice.up(QA)
            stream = follower.connection.stream("io.devlink.Helper.FollowTraffic", {"session": "qa"})
            first = asyncio.get_running_loop().create_task(_first(stream))
            await asyncio.to_thread(asked.wait)
            await alice.call("Release", session="qa")
            go_on.set()
            async with asyncio.timeout(LIMIT):
                assert await first == {"destinations": []}
                with pytest.raises(NotUpError):
                    await anext(stream)
            await world.until(lambda: FakeTraffic.made[0].is_closed)

    run(body)


def test_one_user_follows_so_much_and_no_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(failover, "MAX_FOLLOWS", 1)

    async def body(world: World) -> None:
        async with world.caller() as alice, world.caller() as second:
            await alice.up(QA)
            async with world.caller() as first:
                await anext(first.connection.stream("io.devlink.Helper.FollowTraffic", {"session": "qa"}))
                with pytest.raises(UsageError, match="at most 1"):
                    await anext(second.connection.stream("io.devlink.Helper.FollowTraffic", {"session": "qa"}))
            await world.until(lambda: FakeTraffic.made[0].is_closed)
            await anext(second.connection.stream("io.devlink.Helper.FollowTraffic", {"session": "qa"}))

    run(body)


@pytest.mark.parametrize("verb", ["OpenProbe", "AskNeighbour"])
def test_nobody_probes_by_a_gateway_behind_a_router(run: Run, verb: str) -> None:  # noqa: F811
    async def body(world: World) -> None:
        record = world.trust.get("qa")
        assert isinstance(record, TrustRecord)
        world.trust.put(replace(record, next_hops=(*record.next_hops, ip_network("172.16.9.0/24"))))
        parameters = probe(via=str(OFF_LINK))
        if verb == "AskNeighbour":
            parameters = {name: parameters[name] for name in ("session", "via")}
        async with world.caller() as alice:
            await alice.up(QA)
            with pytest.raises(VerificationError, match="not on link"):
                await alice.call(verb, **parameters)
            assert not FAKES[0].opened

    run(body)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"target": "192.0.2.7"}, NotPermittedError),
        ({"target": "fd00::2"}, NotPermittedError),
        ({"via": "192.0.2.1"}, NotTrustedError),
        ({"kind": "raw"}, UsageError),
    ],
)
def test_a_probe_is_refused_where_it_may_not_be(
    run: Run, changed: dict[str, str], error: type[Exception]  # noqa: F811
) -> None:  # fmt: skip
    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
            with pytest.raises(error):
                await alice.call("OpenProbe", **probe(**changed))
            assert not FAKES[0].opened

    run(body)


def test_traffic_is_told_as_it_comes_until_the_session_ends(run: Run) -> None:  # noqa: F811
    async def body(world: World) -> None:
        async with world.caller() as alice, world.caller() as follower:
            await alice.up(QA)
            stream = follower.connection.stream("io.devlink.Helper.FollowTraffic", {"session": "qa"})
            async with asyncio.timeout(LIMIT):
                assert await anext(stream) == {"destinations": []}
                (traffic,) = FakeTraffic.made
                assert traffic.networks == ("10.20.0.0/16",)
                for address in ("10.20.1.1", "10.20.1.2"):
                    traffic.send(address)
                    assert await anext(stream) == {"destinations": [address]}
                await alice.call("Release", session="qa")
                with pytest.raises(NotUpError):
                    await anext(stream)
            await world.until(lambda: traffic.is_closed)

    run(body)


def test_a_follower_that_goes_takes_the_watch_along(run: Run) -> None:  # noqa: F811
    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
            async with world.caller() as follower:
                stream = follower.connection.stream("io.devlink.Helper.FollowTraffic", {"session": "qa"})
                await anext(stream)
                await stream.aclose()
            await world.until(lambda: FakeTraffic.made[0].is_closed)

    run(body)


async def _first(stream: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    return await anext(stream)


def test_a_follower_that_goes_while_the_watch_is_made_leaves_none(
    run: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(networks: Iterable[IPNetwork]) -> FakeTraffic:
        asked.set()
        assert go_on.wait(LIMIT)
        return FakeTraffic(networks)

    monkeypatch.setattr(failover, "Traffic", slow)

    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
            async with world.caller() as follower:
                stream = follower.connection.stream("io.devlink.Helper.FollowTraffic", {"session": "qa"})
                first = asyncio.get_running_loop().create_task(_first(stream))
                await asyncio.to_thread(asked.wait)
                first.cancel()
            connections = world.helper.server
            await world.until(lambda: connections.connections == 1)
            go_on.set()
            await world.until(lambda: bool(FakeTraffic.made) and FakeTraffic.made[0].is_closed)

    run(body)


def test_where_the_kernel_cannot_tell_of_traffic_the_caller_hears_why(
    run: Run, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setattr(FakeTraffic, "failure", HelperError("It does not tell.", why="No NFLOG."))

    async def body(world: World) -> None:
        async with world.caller() as alice, world.caller() as follower:
            await alice.up(QA)
            with pytest.raises(HelperError, match="does not tell"):
                await anext(follower.connection.stream("io.devlink.Helper.FollowTraffic", {"session": "qa"}))

    run(body)


def test_a_relayed_session_is_probed_by_the_router_that_would_have_its_packets_and_by_no_other(
    run: Run, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    default = ObservedRoute(destination=ip_network("0.0.0.0/0"), next_hop=ROUTER, oif="wlan0", protocol=16)
    monkeypatch.setattr(failover, "observe", lambda: ObservedNetwork(routes=(default,)))

    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
            with pytest.raises(NotTrustedError):
                await alice.call("OpenProbe", **probe(via=str(ROUTER)))
            lease = world.helper._leases.get("qa")
            assert lease is not None
            lease.desired = replace(lease.desired, relay=Relaying())
            async with world.caller() as prober:
                _, descriptor = await prober.connection.call_for_descriptor(
                    "io.devlink.Helper.OpenProbe", probe(via=str(ROUTER))
                )
                os.close(descriptor)
            assert FAKES[0].opened == [(str(ROUTER), "wlan0", TARGET, "udp")]
            with pytest.raises(NotTrustedError):
                await alice.call("OpenProbe", **probe(via="192.0.2.1"))

    run(body)
