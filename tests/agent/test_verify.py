"""What must be true before a session counts as up, in its parts that need no network."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from devlink.agent.verify import verify
from devlink.core.diagnosis import Outcome, PodSeen, Seen, ServerSeen
from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.network import (
    ObservedNetwork,
    Path,
    Route,
)
from devlink.core.plan import Desired, Plan, make_plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, RoutingMode
from devlink.core.profile_document import decode_profile
from devlink.dns.client import Answer
from devlink.doctor.names.libc import Found
from devlink.doctor.path.identity import Proof
from devlink.errors import IdentityError, VerificationError
from tests.core.profiles import SAMPLE

GATEWAY = ip_address("172.16.0.13")
BY_GATEWAY = Path(oif="eth0", next_hop=GATEWAY)


def route(destination: str, hop: str = "172.16.0.13") -> Route:
    return Route(destination=ip_network(destination), next_hop=ip_address(hop), oif="eth0")


# The cluster's DNS

KUBERNETES = "kubernetes.default.svc.cluster.local"
A, AAAA = ip_address("10.254.0.1"), ip_address("fd00:254::1")
NXDOMAIN, EMPTY = Answer(rcode="NXDOMAIN"), Answer(rcode="NOERROR")
KNOWN, KNOWN6 = Answer(rcode="NOERROR", addresses=(A,)), Answer(rcode="NOERROR", addresses=(AAAA,))
SILENT = TimeoutError()


class Cluster:
    """A cluster's DNS that answers by the type of the question, and a libc that finds what it is told."""

    def __init__(self, answers: Mapping[str, Answer | OSError], libc: set[str]) -> None:
        self._answers = answers
        self._libc = libc
        self.asked: set[str] = set()
        self.looked_up: list[str] = []
        self.seen: tuple[Seen, ...] = ()

    def ask(self, _: IPAddress, name: DomainName, qtype: str, *, port: int, transport: str, timeout: float) -> Answer:
        assert (str(name), port) == (KUBERNETES, 53)
        assert transport in ("udp", "tcp")
        assert timeout > 0
        self.asked.add(qtype)
        answer = self._answers[qtype]
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def look(self, _: BridgeProfile, __: Plan) -> tuple[Seen, ...]:
        return self.seen

    def getent(self, name: str, *_: object) -> Found:
        self.looked_up.append(name)
        return Found(addresses=frozenset(map(ip_address, self._libc)))


Verified = tuple[tuple[Finding, ...], Cluster]


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Verified]:
    """Verifies the sample, with services of one or both families; what the kernel does with routes is not looked at."""
    monkeypatch.setattr("devlink.agent.verify.observe", lambda _=(): ObservedNetwork())
    monkeypatch.setattr("devlink.agent.verify.check_paths", lambda *_: None)

    def run(
        *services: str,
        names: bool = True,
        routes: tuple[Route, ...] = (),
        namespaces: tuple[str, ...] | None = None,
        libc: tuple[str, ...] = (str(A), str(AAAA)),
        seen: tuple[Seen, ...] = (),
        learn: Callable[[Proof], None] | None = None,
        path: Path = BY_GATEWAY,
        **answers: Answer | OSError,
    ) -> Verified:
        cluster = Cluster(answers, set(libc))
        cluster.seen = seen

        def observe_ways(addresses: Iterable[IPAddress]) -> ObservedNetwork:
            return ObservedNetwork(paths=dict.fromkeys(addresses, path))

        monkeypatch.setattr("devlink.agent.verify.observe_ways", observe_ways)
        monkeypatch.setattr("devlink.agent.verify.ask", cluster.ask)
        monkeypatch.setattr("devlink.doctor.names.libc._getent", cluster.getent)
        monkeypatch.setattr("devlink.agent.verify.look", cluster.look)
        sample = decode_profile(SAMPLE)
        assert sample.spec.dns is not None
        dns = replace(sample.spec.dns, namespaces=namespaces)
        ranges = tuple(map(ip_network, services)) or None
        profile = replace(sample, spec=replace(sample.spec, services=ranges, dns=dns))
        plan = make_plan(profile, ObservedNetwork(), with_routes=False, with_dns=names)
        plan = replace(plan, desired=replace(plan.desired, routes=routes))
        return asyncio.run(verify(profile, plan, learn=learn)), cluster

    return run


V4, V6 = "10.254.0.0/16", "fd00:254::/112"


@pytest.mark.parametrize(
    ("services", "answers"),
    [
        ((V4,), {"A": KNOWN}),
        ((V6,), {"AAAA": KNOWN6}),
        ((V4, V6), {"A": KNOWN, "AAAA": EMPTY}),
        ((V4, V6), {"A": EMPTY, "AAAA": KNOWN6}),
        ((V4, V6), {"A": KNOWN, "AAAA": SILENT}),
        ((), {"A": KNOWN, "AAAA": EMPTY}),
    ],
    ids=["IPv4", "IPv6", "dual, first IPv4", "dual, first IPv6", "dual, one type lost", "services unknown"],
)
def test_a_cluster_that_knows_its_own_service_is_verified_by_the_services_families(
    verified: Callable[..., Verified], services: tuple[str, ...], answers: dict[str, Answer]
) -> None:
    findings, cluster = verified(*services, **answers)
    assert findings == ()
    assert cluster.asked == set(answers)
    assert cluster.looked_up == [KUBERNETES]


@pytest.mark.parametrize(
    ("services", "answers", "words"),
    [
        ((V4,), {"A": NXDOMAIN}, "NXDOMAIN"),
        ((V4,), {"A": EMPTY}, "NOERROR"),
        ((V6,), {"AAAA": EMPTY}, "NOERROR"),
        ((V4, V6), {"A": NXDOMAIN, "AAAA": NXDOMAIN}, "NXDOMAIN"),
        ((V4, V6), {"A": EMPTY, "AAAA": EMPTY}, "NOERROR"),
    ],
)
@pytest.mark.parametrize("namespaces", [None, ("qa",)])
def test_a_cluster_that_does_not_know_its_own_service_has_another_domain(
    verified: Callable[..., Verified],
    services: tuple[str, ...],
    answers: dict[str, Answer],
    words: str,
    namespaces: tuple[str, ...] | None,
) -> None:
    with pytest.raises(VerificationError) as failure:
        verified(*services, namespaces=namespaces, **answers)
    assert failure.value.what == f"The cluster's DNS does not know {KUBERNETES}."
    assert words in failure.value.why
    assert "dns.domain is probably wrong (kubelet's clusterDomain)" in failure.value.why


@pytest.mark.parametrize("answer", [SILENT, Answer(rcode="SERVFAIL")])
def test_a_cluster_whose_dns_gives_no_answer_is_not_verified(
    verified: Callable[..., Verified], answer: Answer | OSError
) -> None:
    with pytest.raises(VerificationError, match="does not answer"):
        verified(V4, A=answer)
    with pytest.raises(VerificationError, match="does not answer"):
        verified(V4, V6, A=EMPTY, AAAA=answer)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (Path(), "This laptop has no way there at all"),
        (Path(oif="ts0"), "takes packets to 10.254.0.2"),
        (BY_GATEWAY, "Does the network's router have routes"),
    ],
)
def test_whether_this_laptop_has_a_way_is_asked_of_the_kernel_and_not_of_the_routers_on_it(
    verified: Callable[..., Verified], path: Path, words: str
) -> None:
    unreachable = OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
    with pytest.raises(VerificationError, match="does not answer") as failure:
        verified(V4, A=unreachable, path=path, routes=(route("10.254.0.0/16"),))
    assert words in failure.value.next_step


def seen(tcp: Outcome, udp: Outcome, *strays: str, pod: Outcome = Outcome.ANSWERED) -> Seen:
    """One server, and one pod on another node than the gateway."""
    node, address = ip_address("172.16.0.19"), ip_address("10.20.120.130")
    return Seen(
        mode=RoutingMode.GATEWAY,
        server=ServerSeen(
            address=ip_address("10.254.0.2"), is_service=True, by=GATEWAY, tcp=tcp, udp=udp,
            strays=tuple(map(ip_address, strays)),
        ),
        pods=(PodSeen(address=address, node=node, by=GATEWAY, tcp=pod, udp=pod),),
    )  # fmt: skip


def test_a_session_whose_names_work_stays_with_a_warning_where_pods_hang(verified: Callable[..., Verified]) -> None:
    hanging = seen(Outcome.ANSWERED, Outcome.ANSWERED, pod=Outcome.HANGS)
    (finding,), _ = verified(V4, seen=(hanging,), A=KNOWN)
    assert (finding.code, finding.severity) == ("DL-POD-HANGS", Severity.WARNING)


def test_a_session_whose_dns_answers_only_at_times_stays_with_a_warning(verified: Callable[..., Verified]) -> None:
    (finding,), _ = verified(V4, seen=(seen(Outcome.ANSWERED, Outcome.ANSWERED, "10.20.120.130"),), A=KNOWN)
    assert (finding.code, finding.severity) == ("DL-SERVICE-NO-RETURN", Severity.WARNING)


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        (seen(Outcome.SILENT, Outcome.SILENT, "10.20.120.130"), "DL-SERVICE-NO-RETURN", "clusterCIDR"),
        (seen(Outcome.SILENT, Outcome.SILENT), "DL-SERVICE-SILENT", "kube-proxy"),
        (seen(Outcome.SILENT, Outcome.SILENT, pod=Outcome.SILENT), "DL-NOT-FORWARDING", "On 172.16.0.13: is"),
    ],
)
def test_where_the_dns_does_not_answer_the_exchange_of_data_says_why(
    verified: Callable[..., Verified], told: Seen, code: str, words: str
) -> None:
    with pytest.raises(VerificationError, match="does not answer") as failure:
        verified(V4, seen=(told,), A=SILENT)
    assert code in failure.value.why
    assert words in failure.value.next_step


def test_what_was_seen_of_the_data_is_no_reason_for_a_wrong_domain(verified: Callable[..., Verified]) -> None:
    with pytest.raises(VerificationError, match="does not know") as failure:
        verified(V4, seen=(seen(Outcome.SILENT, Outcome.SILENT),), A=NXDOMAIN)
    assert "DL-" not in failure.value.why


def test_names_of_a_namespace_that_is_left_out_are_not_asked_of_libc(verified: Callable[..., Verified]) -> None:
    assert verified(V4, namespaces=("qa",), A=KNOWN)[1].looked_up == []


def test_a_libc_that_does_not_find_it_fails_the_verification(verified: Callable[..., Verified]) -> None:
    with pytest.raises(VerificationError, match="Programs on this laptop do not find"):
        verified(V4, A=KNOWN, libc=("192.0.2.1",))


def test_where_the_network_is_to_carry_everything_a_silent_cluster_is_not_up(
    verified: Callable[..., Verified],
) -> None:
    with pytest.raises(VerificationError, match="does not answer"):
        verified(V4, names=False, A=SILENT)


@pytest.mark.parametrize(
    ("answer", "code"),
    [(SILENT, "DL-DNS-SILENT"), (Answer(rcode="SERVFAIL"), "DL-DNS-SILENT"), (NXDOMAIN, "DL-DNS-DOMAIN")],
)
def test_where_no_names_are_asked_for_trouble_with_them_is_a_warning(
    verified: Callable[..., Verified], answer: Answer | OSError, code: str
) -> None:
    (finding,), cluster = verified(V4, names=False, routes=(route("10.254.0.0/16"),), A=answer)
    assert (finding.code, finding.severity) == (code, Severity.WARNING)
    assert KUBERNETES in finding.title
    assert finding.evidence
    assert finding.fix
    assert cluster.looked_up == []


STRANGER = Finding(code="DL-GATEWAY-IDENTITY", severity=Severity.ERROR, title="Behind it another cluster answers.")


def test_what_came_of_the_proof_is_told_also_where_the_names_fail(
    verified: Callable[..., Verified], monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = Proof(answered=True, proven=(GATEWAY,), strangers={ip_address("172.16.0.16"): STRANGER})

    async def prove(_: BridgeProfile, __: Plan, **___: object) -> Proof:
        return proof

    monkeypatch.setattr("devlink.agent.verify.prove", prove)
    told: list[Proof] = []
    verified(V4, A=KNOWN, learn=told.append)
    with pytest.raises(VerificationError):
        verified(V4, A=SILENT, learn=told.append)
    assert told == [proof, proof]


# Whose cluster it is, by a relay

NOT_SAID = Finding(code="DL-UNAUTHENTICATED", severity=Severity.WARNING, title="Nothing proves it.")


@pytest.mark.parametrize(("told", "findings"), [(True, ()), (NOT_SAID, (NOT_SAID,)), (False, None)])
def test_where_its_api_shows_anothers_certificate_a_relay_has_the_clusters_own_word(
    monkeypatch: pytest.MonkeyPatch, told: Finding | bool, findings: tuple[Finding, ...] | None
) -> None:
    async def prove(*_: object, **__: object) -> Proof:
        raise IdentityError("Another cluster.")

    async def attest() -> Finding | bool:
        return told

    monkeypatch.setattr("devlink.agent.verify.prove", prove)
    sample = decode_profile(SAMPLE)
    profile = replace(sample, spec=replace(sample.spec, dns=None))
    plan = Plan(desired=Desired(session="qa"), mode=RoutingMode.RELAY, reason="")
    learnt: list[Proof] = []
    if findings is None:
        with pytest.raises(IdentityError):
            asyncio.run(verify(profile, plan, learn=learnt.append, attest=attest))
    else:
        assert asyncio.run(verify(profile, plan, learn=learnt.append, attest=attest)) == findings
    assert [proof.answered for proof in learnt] == {True: [True], NOT_SAID: [None], False: []}[told]
    with pytest.raises(IdentityError):
        asyncio.run(verify(profile, plan))
