"""Whoever may carry packets is looked behind before it does: over loopback, with handshakes that are real."""

import asyncio
import dataclasses
import ipaddress
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath

import pytest

from devlink.agent import strangers
from devlink.agent.session import Session, Wish
from devlink.agent.sessions import Sessions
from devlink.agent.strangers import AT_ONCE, learn, look_behind, to_prove
from devlink.core.findings import Finding, Severity
from devlink.core.network import ObservedNetwork, Path
from devlink.core.plan import Plan, addresses_of_interest, make_plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, Gateway, Node, RoutingMode
from devlink.core.ways import Ways
from devlink.doctor.path.identity import NAME, Proof
from devlink.errors import IdentityError, VerificationError
from tests.certificates import Authority
from tests.doctor.path.test_identity import CLUSTER, NODE, OTHER, THIRD, USED, leading, run, serving, with_gateways

STRANGER = Authority.another()


@pytest.fixture
def session() -> Session:
    return session_of(with_gateways())


def session_of(wanted: BridgeProfile) -> Session:
    paths = {address: Path(oif="eth0") for address in addresses_of_interest(wanted)}
    return Session(wish=Wish(profile=wanted), plan=make_plan(wanted, ObservedNetwork(paths=paths)))


def finding_of(gateway: IPAddress) -> Finding:
    return Finding(code="DL-GATEWAY-IDENTITY", severity=Severity.ERROR, title=f"Behind gateway {gateway} is another.")


def told_of(session: Session) -> list[IPAddress]:
    """The strangers that `status` tells of."""
    session.applied = True
    titles = [each["title"] for each in session.shown(0.0)["findings"] if each["code"] == "DL-GATEWAY-IDENTITY"]
    return [gateway for gateway in (USED, OTHER, THIRD) for title in titles if f"gateway {gateway} " in title]


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> "Ports":
    return Ports(monkeypatch)


class Ports(dict[IPAddress, int | None]):
    """Where each gateway leads; and how often that was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.asked = 0
        monkeypatch.setattr(strangers, "ProbeLine", lambda _: self)

    async def open(self, via: IPAddress, target: IPAddress, kind: str) -> socket.socket:
        self.asked += 1
        assert kind == "tcp"
        return await leading(self)(via, target)

    def close(self) -> None:
        pass


def test_one_that_leads_to_the_cluster_is_looked_behind_once(
    session: Session, ports: Ports, tmp_path: FilePath
) -> None:
    async def body() -> None:
        async with serving(CLUSTER.issue(NAME), tmp_path) as ports[OTHER]:
            await look_behind(session, OTHER)
            await look_behind(session, OTHER)
        assert session.proven == {OTHER}
        assert ports.asked == 1

    run(body)


def test_one_behind_which_another_cluster_answers_is_refused_and_told(
    session: Session, ports: Ports, tmp_path: FilePath
) -> None:
    async def body() -> None:
        async with serving(STRANGER.issue(NAME), tmp_path) as ports[OTHER]:
            for _ in range(2):
                with pytest.raises(IdentityError, match="Nothing goes by"):
                    await look_behind(session, OTHER)
        assert set(session.strangers) == {OTHER}
        assert session.proven == set()
        assert told_of(session) == [OTHER]

    run(body)


def test_one_that_was_a_stranger_and_is_silent_now_is_refused_until_it_shows_the_clusters_certificate(
    session: Session, ports: Ports, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.strangers = {OTHER: finding_of(OTHER)}
    ports[OTHER] = None

    async def body() -> None:
        for _ in range(2):
            with pytest.raises(IdentityError):
                await look_behind(session, OTHER)
        monkeypatch.setattr(strangers, "FRUITLESS", 0.0)
        async with serving(CLUSTER.issue(NAME), tmp_path) as ports[OTHER]:
            assert told_of(session) == [OTHER]
            await look_behind(session, OTHER)
        assert session.strangers == {}
        assert told_of(session) == []

    run(body)


def test_a_stranger_that_the_profile_names_no_more_is_not_told_of(session: Session) -> None:
    session.strangers = {OTHER: finding_of(OTHER)}
    assert told_of(session) == [OTHER]
    alternatives = dict.fromkeys(session.plan.alternatives, ())
    session.plan = dataclasses.replace(session.plan, alternatives=alternatives)
    assert told_of(session) == []


def test_one_behind_which_nobody_was_ever_seen_may_carry_packets_and_many_of_its_hops_cost_one_wait(
    session: Session, ports: Ports, tmp_path: FilePath
) -> None:
    async def body() -> None:
        async with serving(None, tmp_path) as nobody:
            pass  # its port, which nobody has now
        ports.update({OTHER: nobody, THIRD: None})
        for _ in range(10):
            await look_behind(session, OTHER)
            await look_behind(session, THIRD)
        assert ports.asked == 2
        assert session.proven == set()

    run(body)


@pytest.mark.parametrize("lacking", [{"identity": None}, {"services": None}])
def test_nobody_is_asked_where_the_profile_does_not_say_how(lacking: dict[str, None], ports: Ports) -> None:
    async def body() -> None:
        wanted = with_gateways()
        spec = dataclasses.replace(wanted.spec, **lacking)  # type: ignore[arg-type]  # both may be None
        await look_behind(session_of(dataclasses.replace(wanted, spec=spec)), OTHER)
        assert ports.asked == 0

    run(body)


def test_a_proof_that_says_nothing_of_a_stranger_does_not_clear_it(session: Session) -> None:
    learn(session, Proof(answered=True, proven=(USED,), strangers={OTHER: finding_of(OTHER)}))
    learn(session, Proof(answered=True, proven=(USED,)))
    assert set(session.strangers) == {OTHER}
    learn(session, Proof(answered=True, proven=(USED, OTHER)))
    assert session.strangers == {}
    assert session.proven == {USED, OTHER}
    learn(session, Proof(answered=True, strangers={OTHER: finding_of(OTHER)}))
    assert set(session.strangers) == {OTHER}
    assert session.proven == {USED}


def numbered(first: int, count: int) -> Iterator[IPAddress]:
    return (ipaddress.ip_address(f"172.16.0.{number}") for number in range(first, first + count))


def test_all_who_may_take_over_are_to_be_proven_gateways_first_and_nodes_that_may_take_the_services() -> None:
    wanted = with_gateways()
    nodes = tuple(
        Node(address=address, pods=(ipaddress.ip_network(f"10.20.{number}.0/26"),))
        for number, address in enumerate(numbered(19, 20))
    )
    ranked = tuple(Gateway(address=address, priority=priority) for priority, address in ((2, OTHER), (1, USED)))
    spec = dataclasses.replace(wanted.spec, gateways=ranked, nodes=nodes, routing=RoutingMode.PER_NODE)
    session = session_of(dataclasses.replace(wanted, spec=spec))
    asked = to_prove(session.wish.profile, session.plan)
    assert set(asked[:2]) == {USED, OTHER}
    may_take_over = {via for hop in session.plan.desired.next_hops for via, _ in session.plan.candidates(hop)}
    assert NODE in may_take_over
    assert may_take_over <= set(asked)


def test_who_is_asked_at_once_is_bounded_in_a_cluster_where_every_node_is_a_gateway() -> None:
    wanted = with_gateways()
    many = tuple(Gateway(address=address, priority=n) for n, address in enumerate(numbered(20, 200), 1))
    sixes = tuple(Gateway(address=ipaddress.ip_address(f"fd00:16::{n}"), priority=0) for n in range(1, 100))
    spec = dataclasses.replace(wanted.spec, gateways=(*sixes, *many), nodes=None)
    session = session_of(dataclasses.replace(wanted, spec=spec))
    assert session.plan.mode is RoutingMode.GATEWAY
    assert to_prove(session.wish.profile, session.plan) == tuple(numbered(20, AT_ONCE)), "of the API's family, the best"


class World:
    """A session of which the kernel takes our routes or not, and proofs as they come."""

    def __init__(self, folder: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
        sample = with_gateways()
        profile = dataclasses.replace(sample, spec=dataclasses.replace(sample.spec, dns=None))
        paths = {address: Path(oif="eth0") for address in addresses_of_interest(profile)}
        plan = make_plan(profile, ObservedNetwork(paths=paths))
        self.session = Session(wish=Wish(profile=profile), plan=plan)
        self.folder = folder
        self.proofs: list[Proof | IdentityError] = []
        self.is_ours = True
        monkeypatch.setattr("devlink.agent.verify.observe", self._observe)
        monkeypatch.setattr("devlink.agent.verify.prove", self._prove)

    def _observe(self, addresses: Iterable[IPAddress] = ()) -> ObservedNetwork:
        ways = Ways(self.session.plan.desired)
        return ObservedNetwork(
            paths={each: ways.to(each) or Path() if self.is_ours else Path(oif="tun0") for each in addresses}
        )

    async def _prove(self, _: BridgeProfile, __: Plan, **___: object) -> Proof:
        proof = self.proofs.pop(0)
        if isinstance(proof, IdentityError):
            raise proof
        return proof

    def verify(self, *proofs: Proof | IdentityError) -> None:
        async def nothing() -> None:
            pass

        async def main() -> None:
            sessions = Sessions(self.folder, told=lambda: None, lost=lambda _: None, returned=nothing)
            await sessions.verify(self.session, self.session.plan)

        self.proofs.extend(proofs)
        asyncio.run(main())


@pytest.fixture
def world(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_a_stranger_stays_one_through_verifications_that_say_nothing_of_it_until_it_is_proven(world: World) -> None:
    session = world.session
    world.verify(Proof(answered=True, proven=(USED,), strangers={OTHER: finding_of(OTHER)}))
    assert set(session.strangers) == {OTHER}
    world.is_ours = False
    with pytest.raises(VerificationError, match="the kernel does not use it"):
        world.verify()
    assert set(session.strangers) == {OTHER}, "it did not come to a proof"
    world.is_ours = True
    with pytest.raises(IdentityError):
        world.verify(IdentityError("Another cluster."))
    assert set(session.strangers) == {OTHER}
    world.verify(Proof(answered=True, proven=(USED,)))
    assert set(session.strangers) == {OTHER}, "it was silent"
    assert told_of(session) == [OTHER]
    world.verify(Proof(answered=True, proven=(USED, OTHER)))
    assert session.strangers == {}
    assert told_of(session) == []


def test_what_was_proven_before_holds_no_longer_when_it_is_verified_again(world: World) -> None:
    world.verify(Proof(answered=True, proven=(USED, OTHER)))
    assert world.session.proven == {USED, OTHER}
    world.is_ours = False
    with pytest.raises(VerificationError):
        world.verify()
    assert world.session.proven == set(), "the network may be another one"
