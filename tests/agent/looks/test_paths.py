"""Who looks at a path shares one look with all others; where nobody may be asked, nothing is sent."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from devlink.agent.looks import path as path_module
from devlink.agent.looks import paths, relayed, timing
from devlink.agent.looks.path import PathLook, why_not_sent
from devlink.agent.looks.paths import Paths
from devlink.agent.looks.relayed import RelaySeen
from devlink.agent.probes import Probes
from devlink.agent.session import Refusal, Session, State, Wish
from devlink.agent.surroundings import Surroundings
from devlink.core.findings import Finding, Severity
from devlink.core.legs import Answer
from devlink.core.network import Link, ObservedNetwork
from devlink.core.network import Path as Way
from devlink.core.plan import Relaying, addresses_of_interest, make_plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import RoutingMode
from devlink.core.profile_document import decode_profile
from devlink.core.relay import Pod, RelayChain, RelayState
from devlink.errors import NotUpError, UsageError
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import Call
from tests.core.profiles import SAMPLE

LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""
FOUND = Finding(code="DL-SUSPENDED", severity=Severity.WARNING, title="Another cluster answers.")


def session_in(state: State = State.UP) -> Session:
    """One that goes by gateways."""
    profile = decode_profile(SAMPLE.replace('"fd00:16::13"', "172.16.0.16", 1))
    ways = {address: Way(oif="eth0") for address in addresses_of_interest(profile)}
    session = Session(wish=Wish(profile=profile), plan=make_plan(profile, ObservedNetwork(paths=ways)), applied=True)
    session.enter(state, 1.0)
    return session


class Counted:
    """Looks that take no time, and are counted."""

    made: "list[Counted]" = []  # noqa: RUF012 - anew for each test

    def __init__(self, session: Session, resolve: object = None) -> None:
        self.session = session
        self.looks = 0
        self.is_closed = False
        self.made.append(self)

    def is_of(self, session: Session) -> bool:
        return self.session is session

    async def look(self, room: int) -> Mapping[str, Any]:
        self.looks += 1
        self.room = room
        return {"legs": [], "gateways": [], "number": self.looks}

    def close(self) -> None:
        self.is_closed = True


class Watcher:
    """One who looks."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    async def send(self, parameters: Mapping[str, Any]) -> None:
        self.told.put_nowait(parameters)


class World:
    def __init__(self) -> None:
        self.sessions = {"qa": session_in()}
        self._changed = asyncio.Event()
        self.paths = Paths(self.sessions.get, self.changed)

    async def changed(self) -> None:
        await self._changed.wait()

    def tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def join(self, watcher: Watcher, interval: float | None = None, name: str = "qa") -> "asyncio.Task[Any]":
        call = Call("io.devlink.Agent.FollowPath", {"session": name, "interval": interval}, more=True)
        return spawn(self.paths.follow(watcher, call), name="follow")  # type: ignore[arg-type]  # it sends, and no more


def in_world(monkeypatch: pytest.MonkeyPatch, body: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    monkeypatch.setattr(paths, "PathLook", Counted)
    monkeypatch.setattr(paths, "SHORTEST", 0.01)
    monkeypatch.setattr(paths, "SLICE", 0.02)
    Counted.made = []

    async def run() -> None:
        async with asyncio.timeout(LIMIT):
            await body(World())

    asyncio.run(run())


async def until(true: Callable[[], object]) -> None:
    while not true():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0)


def test_all_who_look_share_one_look_which_ends_with_the_last_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        watchers = [Watcher() for _ in range(3)]
        tasks = [world.join(watcher, 0.01) for watcher in watchers]
        for watcher in watchers:
            for _ in range(3):
                await watcher.told.get()
        (look,) = Counted.made
        for task in tasks[:2]:
            task.cancel()
        await asyncio.gather(*tasks[:2], return_exceptions=True)
        while watchers[2].told.qsize():
            watchers[2].told.get_nowait()
        await watchers[2].told.get()
        assert [look.is_closed for look in Counted.made] == [False]
        tasks[2].cancel()
        await asyncio.gather(tasks[2], return_exceptions=True)
        await until(lambda: look.is_closed)
        before = look.looks
        await asyncio.sleep(0.05)
        assert look.looks == before

    in_world(monkeypatch, body)


def test_who_looks_seldom_is_told_seldom_while_another_looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        seldom, often = Watcher(), Watcher()
        tasks = [world.join(seldom, 60.0), world.join(often, 0.01)]
        for _ in range(4):
            await often.told.get()
        assert seldom.told.qsize() == 1
        for task in tasks:
            task.cancel()

    in_world(monkeypatch, body)


def test_who_looks_once_gets_no_old_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        watcher = Watcher()
        following = world.join(watcher, 60.0)
        first = await watcher.told.get()
        call = Call("io.devlink.Agent.FollowPath", {"session": "qa"})
        seen = await world.paths.follow(Watcher(), call)  # type: ignore[arg-type]  # nothing is sent
        assert (first["number"], seen["number"]) == (1, 2)
        assert len(Counted.made) == 1
        following.cancel()

    in_world(monkeypatch, body)


def test_a_session_that_ends_ends_the_looking_and_one_that_is_brought_up_anew_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body(world: World) -> None:
        watcher = Watcher()
        following = world.join(watcher, 60.0)
        await watcher.told.get()
        world.sessions["qa"] = session_in()
        world.tell()
        await until(lambda: len(Counted.made) > 1 and Counted.made[1].looks)
        assert Counted.made[0].is_closed
        del world.sessions["qa"]
        world.tell()
        with pytest.raises(NotUpError, match="qa is not up"):
            await following
        assert Counted.made[1].is_closed

    in_world(monkeypatch, body)


@pytest.mark.parametrize("befall", ["down", "suspended"])
def test_what_is_on_its_way_when_nothing_may_be_sent_any_more_is_given_up(
    monkeypatch: pytest.MonkeyPatch, befall: str
) -> None:
    class Lasting(Counted):
        """Asks somebody who is silent."""

        given_up = False

        async def look(self, room: int) -> Mapping[str, Any]:
            seen = await super().look(room)
            if not why_not_sent(self.session):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.given_up = True
                    raise
            return seen

    async def body(world: World) -> None:
        monkeypatch.setattr(paths, "PathLook", Lasting)
        watcher = Watcher()
        following = world.join(watcher)
        await until(lambda: Counted.made and Counted.made[0].looks)
        look = Counted.made[0]
        assert isinstance(look, Lasting)
        world.tell()
        await asyncio.sleep(0.01)
        assert not look.given_up, "nothing speaks against it"
        if befall == "down":
            del world.sessions["qa"]
        else:
            world.sessions["qa"].enter(State.SUSPENDED, 2.0)
        world.tell()
        await until(lambda: look.given_up)
        if befall == "down":
            with pytest.raises(NotUpError):
                await following
        else:
            assert (await watcher.told.get())["number"] == 2
            following.cancel()

    in_world(monkeypatch, body)


def test_it_is_looked_again_at_once_when_the_state_changes_and_not_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        watcher = Watcher()
        following = world.join(watcher, 60.0)
        await watcher.told.get()
        (look,) = Counted.made
        world.tell()
        await asyncio.sleep(0.05)
        assert look.looks == 1
        world.sessions["qa"].enter(State.SUSPENDED, 2.0)
        world.tell()
        await until(lambda: look.looks > 1)
        following.cancel()

    in_world(monkeypatch, body)


def test_gateways_of_several_sessions_share_the_room_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        world.sessions["other"] = session_in()
        watchers = [Watcher(), Watcher()]
        tasks = [world.join(watcher, 0.01, name) for watcher, name in zip(watchers, world.sessions, strict=True)]
        for watcher in watchers:
            for _ in range(2):
                await watcher.told.get()
        assert [look.room for look in Counted.made] == [path_module.MAX_ASKED // 2] * 2
        for task in tasks:
            task.cancel()

    in_world(monkeypatch, body)


def test_what_is_malformed_or_not_up_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        for parameters in ({}, {"session": 1}, {"session": "qa", "interval": "2"}, {"session": "qa", "interval": True}):
            with pytest.raises(UsageError):
                await world.paths.follow(Watcher(), Call("FollowPath", parameters))  # type: ignore[arg-type]  # unused
        with pytest.raises(NotUpError):
            await world.join(Watcher(), name="nobody")
        assert Counted.made == []

    in_world(monkeypatch, body)


@pytest.mark.parametrize(
    ("interval", "taken"), [(None, 2.0), (0, 0.5), (-1e9, 0.5), (1, 1), (1e9, 60.0), (float("nan"), 60.0)]
)
def test_an_interval_is_neither_too_short_nor_too_long(interval: float | None, taken: float) -> None:
    parameters = {"session": "qa", "interval": interval}
    assert paths._parameters(Call("FollowPath", parameters)) == ("qa", taken)


AROUND = Surroundings(hops=(), ways=(), addresses=(), is_offline=False)


def refused(session: Session) -> None:
    session.wish = replace(session.wish, refusal=Refusal(around=AROUND, trouble=FOUND))
    session.enter(State.SUSPENDED, 2.0)


def offline(session: Session) -> None:
    session.around = replace(AROUND, is_offline=True)
    session.enter(State.SUSPENDED, 2.0)


def elsewhere(session: Session) -> None:
    session.enter(State.SUSPENDED, 2.0)


def connecting(session: Session) -> None:
    session.enter(State.CONNECTING, 2.0)


def lost(session: Session) -> None:
    session.lose(2.0, FOUND)


@pytest.mark.parametrize(
    ("befall", "why"),
    [
        (refused, "suspended: another cluster answers here"),
        (offline, "suspended: no way to its gateways"),
        (elsewhere, "suspended: its cluster is not here"),
        (connecting, "connecting: it is not verified yet"),
        (lost, "nothing of it is installed"),
    ],
)
def test_not_a_packet_is_sent_where_nothing_is_verified_and_it_is_said_why(
    monkeypatch: pytest.MonkeyPatch, befall: Callable[[Session], None], why: str
) -> None:
    session = session_in()
    befall(session)
    hop = session.plan.desired.next_hops[0]
    seen = ObservedNetwork(
        links=(Link(index=2, name="eth0", mtu=1500, up=True),),
        paths={hop: Way(oif="eth0", source=ip_address("172.16.0.50"))},
    )

    def sent(*_: object, **__: object) -> None:
        raise AssertionError("something was sent")

    for module, name in ((path_module, "Probes"), (timing, "_socket"), (timing, "ask_machine"), (timing, "ask_dns")):
        monkeypatch.setattr(module, name, sent)
    monkeypatch.setattr(path_module, "observe_paths", lambda _: seen)
    told = asyncio.run(PathLook(session).look())
    laptop, *others = told["legs"]
    assert (laptop["about"], laptop["state"], laptop["text"]) == ("eth0 172.16.0.50", "ok", why)
    assert len(why) <= 40
    assert [each["name"] for each in others] == ["next hop", "gateway", "cluster"]
    assert {(each["state"], each["rtt_ms"]) for each in others} == {("unknown", None)}


def test_not_a_packet_goes_to_a_gateway_behind_which_another_cluster_is(monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_in()
    hop = session.plan.desired.next_hops[0]
    session.strangers = {hop: FOUND}

    def sent(*_: object, **__: object) -> None:
        raise AssertionError("something was sent")

    for module, name in ((Probes, "ask"), (timing, "_socket"), (timing, "ask_machine")):
        monkeypatch.setattr(module, name, sent)
    link = Link(index=2, name="eth0", mtu=1500, up=True, addresses=((ip_address("172.16.0.50"), 24),))
    monkeypatch.setattr(path_module, "observe_paths", lambda _: ObservedNetwork(links=(link,)))
    told = asyncio.run(PathLook(session).look())
    assert [(each["state"], each["text"]) for each in told["legs"]] == [
        ("ok", "link is up"),
        *[("unknown", "another cluster answers behind it")] * 3,
    ]


def test_where_others_routes_take_the_packets_the_cluster_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_in()
    dns = session.wish.profile.spec.dns
    assert dns is not None
    target = dns.servers[0].address

    async def answers(*_: object) -> Answer:
        return Answer(rtt=0.001, is_there=True)

    async def forwards(_: PathLook, vias: tuple[IPAddress, ...]) -> dict[IPAddress, Answer]:
        return dict.fromkeys(vias, Answer(rtt=0.002, is_there=True))

    def sent(*_: object) -> None:
        raise AssertionError("the cluster was asked by another way")

    monkeypatch.setattr(PathLook, "_ask_hop", answers)
    monkeypatch.setattr(PathLook, "_ask_by", forwards)
    monkeypatch.setattr(timing, "ask_dns", sent)
    link = Link(index=2, name="eth0", mtu=1500, up=True, addresses=((ip_address("172.16.0.50"), 24),))
    for way, text in ((Way(oif="tun0"), "other routes take its packets"), (Way(), "no route")):
        network = ObservedNetwork(links=(link,), paths={target: way})
        monkeypatch.setattr(path_module, "observe_paths", lambda _, network=network: network)
        told = asyncio.run(PathLook(session).look())
        assert [each["state"] for each in told["legs"]] == ["ok", "ok", "ok", "down"]
        assert told["legs"][-1]["text"] == text


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (0.001, Answer(rtt=0.001, is_there=True)),
        (ConnectionRefusedError(), Answer()),
        (TimeoutError(), Answer(is_there=False)),
    ],
)
def test_without_dns_a_handshake_with_the_api_tells_who_forwards_unless_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, outcome: float | Exception, expected: Answer
) -> None:
    session = session_in()
    profile = session.wish.profile
    session.wish = Wish(profile=replace(profile, spec=replace(profile.spec, dns=None)))
    asked: list[tuple[IPAddress, IPAddress]] = []

    class OneSocket:
        async def socket_by(self, via: IPAddress, target: IPAddress) -> str:
            asked.append((via, target))
            return "socket"

    async def handshake(_: object, __: IPAddress) -> float:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(timing, "handshake", handshake)
    look = PathLook(session)
    look._probes = OneSocket()  # type: ignore[assignment]  # it has what is used
    via = session.plan.desired.next_hops[0]
    assert asyncio.run(look._ask_by((via,))) == {via: expected}
    assert asked == [(via, profile.spec.api)]


def test_what_is_up_may_be_asked() -> None:
    assert [why_not_sent(session_in(state)) for state in (State.UP, State.DEGRADED)] == ["", ""]


class Answering:
    """Probes of a cluster whose DNS has no IPv6 address; each gateway answers at once."""

    made: "list[Answering]" = []  # noqa: RUF012 - anew for each test
    unput = frozenset[IPAddress]()
    is_lost = is_closed = False

    def __init__(self, _: str, __: object, answered: Callable[[IPAddress, float], None]) -> None:
        self.answered = answered
        self.asked: set[IPAddress] = set()
        self.made.append(self)

    def can_ask(self, via: IPAddress) -> bool:
        return via.version == 4

    def ask(self, via: IPAddress, _: int) -> None:
        self.asked.add(via)
        self.answered(via, 0.001)

    async def neighbour(self, _: IPAddress) -> bool:
        return True

    def close(self) -> None:
        self.is_closed = True


def test_a_gateway_of_a_family_in_which_there_is_no_dns_is_not_silent() -> None:
    look, one, other = PathLook(session_in()), ip_address("172.16.0.13"), ip_address("fd00:16::13")
    look._probes = Answering("qa", None, look._answered)  # type: ignore[assignment]  # it has what is used
    told = asyncio.run(look._ask_by((one, other)))
    assert told == {one: Answer(rtt=0.001, is_there=True), other: Answer()}


def test_a_look_that_gets_less_room_gives_back_the_ways_that_it_has_at_the_helper(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = session_in()
    every = [{"address": f"172.16.1.{n}", "state": "healthy", "since": 1.0, "rtt_ms": 1.0} for n in range(1, 17)]
    session.show_gateways = lambda: every

    async def answers(*_: object) -> Answer:
        return Answer(rtt=0.001, is_there=True)

    monkeypatch.setattr(path_module, "Probes", Answering)
    monkeypatch.setattr(PathLook, "_ask_hop", answers)
    monkeypatch.setattr(path_module, "observe_paths", lambda _: ObservedNetwork())
    Answering.made = []

    async def body() -> list[tuple[int, bool]]:
        look = PathLook(session)
        for room in (16, 16, 8, 8, 16):
            assert len((await look.look(room))["gateways"]) == room
        return [(len(each.asked), each.is_closed) for each in Answering.made]

    assert asyncio.run(body()) == [(17, True), (17, False)]


def test_a_relayed_session_is_looked_at_by_its_relay_and_sends_nothing_to_a_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = session_in()
    desired = replace(session.plan.desired, relay=Relaying())
    session.plan = replace(session.plan, mode=RoutingMode.RELAY, desired=desired)
    chain = RelayChain(pod=Pod(namespace="kube-system", name="dns-1", port=53, node="node-a"))
    at = ip_address("192.0.2.10")

    async def see(server: str, *_: object) -> RelaySeen:
        assert server == "https://api.example:6443"
        answer = Answer(rtt=0.01, is_there=True)
        return RelaySeen(server=answer, at=at, chain=chain, dns=answer)

    async def resolve(_: IPAddress, __: int) -> RelayChain:
        return chain

    monkeypatch.setattr(relayed, "see", see)
    ways = {at: Way(oif="wlan0", source=ip_address("192.0.2.50"))}
    links = (Link(name="wlan0", index=2, up=True, mtu=1500),)
    monkeypatch.setattr(path_module, "observe_paths", lambda _: ObservedNetwork(paths=ways, links=links))
    Answering.made = []
    monkeypatch.setattr(path_module, "Probes", Answering)

    async def body() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        look = PathLook(session, resolve)
        before = await look.look()
        session.relay = RelayState(server="https://api.example:6443")
        return before, await look.look()

    before, told = asyncio.run(body())
    assert [(leg["name"], leg["state"]) for leg in before["legs"]] == [("API server", "unknown")]
    assert [(leg["name"], leg["about"], leg["state"]) for leg in told["legs"]] == [
        ("laptop", "wlan0 192.0.2.50", "ok"), ("API server", "api.example:6443", "ok"), ("node", "node-a", "ok"),
        ("pod", "kube-system/dns-1", "ok"),
    ]  # fmt: skip
    assert (told["gateways"], Answering.made) == ([], [])
