"""What must be true before a session counts as up, in its parts that need no network."""

import asyncio
import cProfile
import errno
import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.agent.verify import check_paths, choose_samples, verify
from devlink.core.diagnosis import Outcome, PodSeen, Seen, ServerSeen
from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.network import (
    OVERRIDE_PREFERENCE,
    OVERRIDE_TABLE,
    PROTOCOL,
    ObservedNetwork,
    ObservedRoute,
    Path,
    Route,
    Rule,
)
from devlink.core.plan import Desired, Detour, Plan, make_plan
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.core.profile import BridgeProfile, RoutingMode
from devlink.core.profile_document import decode_profile
from devlink.dns.client import Answer
from devlink.doctor.identity import Proof
from devlink.errors import VerificationError
from tests.core.profiles import SAMPLE

GATEWAY = ip_address("172.16.0.13")
BY_GATEWAY = Path(oif="eth0", next_hop=GATEWAY)


def route(destination: str, hop: str = "172.16.0.13") -> Route:
    return Route(destination=ip_network(destination), next_hop=ip_address(hop), oif="eth0")


def wanted(*routes: Route, detours: tuple[Detour, ...] = ()) -> Desired:
    return Desired(session="qa", routes=routes, detours=detours)


def kernel(*routes: Route, foreign: tuple[str, ...] = ()) -> ObservedNetwork:
    """Ours as they are once installed, and others' of these destinations."""
    ours = [
        ObservedRoute(
            destination=r.destination, next_hop=r.next_hop, oif=r.oif, metric=r.metric, protocol=PROTOCOL,
            table=r.table, kind=r.kind,
        )
        for r in routes
    ]  # fmt: skip
    theirs = [ObservedRoute(destination=ip_network(text), oif="docker0", protocol=2) for text in foreign]
    return ObservedNetwork(routes=(*theirs, *ours))


def test_a_route_is_tried_with_the_first_address_that_a_host_can_have() -> None:
    pods, host = route("10.20.0.0/16"), route("10.30.0.7/32")
    assert choose_samples((pods, host), kernel(pods, host)) == {
        pods: ip_address("10.20.0.1"),
        host: ip_address("10.30.0.7"),
    }


def test_a_narrower_route_of_another_is_no_failure_of_ours() -> None:
    pods = route("10.20.0.0/16")
    samples = choose_samples((pods,), kernel(pods, foreign=("10.20.0.0/24", "10.20.1.0/32", "0.0.0.0/0", "10.0.0.0/8")))
    assert samples == {pods: ip_address("10.20.1.1")}


def test_a_route_that_others_take_out_wholly_is_not_tried() -> None:
    pods = route("10.20.0.0/16")
    assert choose_samples((pods,), kernel(pods, foreign=("10.20.0.0/17", "10.20.128.0/17"))) == {}


def test_a_narrower_route_in_whatever_table_is_no_failure_of_ours() -> None:
    pods = route("10.20.0.0/16")
    vpn = ObservedRoute(destination=ip_network("10.20.0.0/24"), oif="tailscale0", table=52, protocol=3)
    observed = replace(kernel(pods), routes=(vpn, *kernel(pods).routes))
    assert choose_samples((pods,), observed) == {pods: ip_address("10.20.1.0")}


def test_an_override_is_tried_beside_what_it_leaves_to_others_and_whatever_the_main_table_has() -> None:
    pods = replace(route("10.20.0.0/16"), table=OVERRIDE_TABLE)
    kept = Route(destination=ip_network("10.20.0.0/24"), oif="", table=OVERRIDE_TABLE, kind="throw")
    services = route("10.254.0.0/16")
    observed = kernel(pods, kept, services, foreign=("10.20.1.0/24",))
    samples = choose_samples((pods, kept, services), observed)
    assert samples == {pods: ip_address("10.20.1.0"), services: ip_address("10.254.0.1")}
    there = Path(oif="eth0", next_hop=GATEWAY)
    check_paths(samples, wanted(pods, kept, services), ObservedNetwork(paths=dict.fromkeys(samples.values(), there)))


@pytest.mark.parametrize(
    ("rule", "destination"),
    [
        (Rule(version=4, priority=5270, table=52), "10.20.64.0/18"),
        (Rule(version=4, priority=100, table=52, destination=ip_network("10.20.64.0/18")), "0.0.0.0/0"),
        (Rule(version=4, priority=100, action="prohibit", destination=ip_network("10.20.64.0/18")), "192.0.2.0/24"),
    ],
    ids=["by its table", "by the rule", "by the rule alone"],
)
def test_what_another_table_takes_of_the_pod_network_is_not_tried(rule: Rule, destination: str) -> None:
    """A node's block inside it belongs to the other one as well; blocks beside it are tried as ever."""
    pods, inside, beside = route("10.20.0.0/16"), route("10.20.73.64/26"), route("10.20.200.0/26")
    vpn = ObservedRoute(destination=ip_network(destination), oif="ts0", table=52, protocol=3)
    rules = (rule, Rule(version=4, priority=32766, table=254))
    observed = kernel(pods, inside, beside)
    observed = replace(observed, routes=(vpn, *observed.routes), rules=rules)
    assert choose_samples((pods, inside, beside), observed) == {
        pods: ip_address("10.20.0.1"),
        beside: ip_address("10.20.200.1"),
    }
    won = tuple(replace(each, table=OVERRIDE_TABLE) for each in (pods, inside, beside))
    overriding = replace(kernel(*won), routes=(vpn, *kernel(*won).routes), rules=rules)
    assert (inside.destination in {each.destination for each in choose_samples(won, overriding)}) is (
        rule.priority > OVERRIDE_PREFERENCE
    )


def test_a_network_that_another_table_takes_as_a_whole_is_tried() -> None:
    pods = route("10.20.0.0/16")
    vpn = ObservedRoute(destination=ip_network("10.0.0.0/8"), oif="ts0", table=52, protocol=3)
    rules = (Rule(version=4, priority=5270, table=52), Rule(version=4, priority=32766, table=254))
    observed = replace(kernel(pods), routes=(vpn, *kernel(pods).routes), rules=rules)
    assert choose_samples((pods,), observed) == {pods: ip_address("10.20.0.1")}


DESTINATIONS: list[IPNetwork] = [
    *ip_network("10.20.0.0/26").subnets(new_prefix=29),
    *ip_network("10.20.0.0/26").subnets(new_prefix=28),
    ip_network("10.20.0.0/26"),
    ip_network("10.20.0.0/27"),
    ip_network("10.20.0.16/32"),
    ip_network("0.0.0.0/0"),
    ip_network("fd00:20::/64"),
    ip_network("fd00:20::/126"),
]


@pytest.mark.parametrize("table", [254, 5230], ids=["main", "override"])
def test_the_laptops_own_address_is_no_sample(table: int) -> None:
    pods = replace(route("10.20.0.0/16"), table=table)
    own = ObservedRoute(destination=ip_network("10.20.0.1"), kind="local", table=255, protocol=2, oif="br0")
    assert choose_samples((pods,), ObservedNetwork(routes=(own,))) == {pods: ip_address("10.20.0.2")}


@given(
    ours=st.lists(st.sampled_from(DESTINATIONS[:-3]), min_size=1, unique=True),
    foreign=st.lists(st.sampled_from(DESTINATIONS), unique=True),
)
def test_a_sample_is_an_address_that_only_its_own_route_carries(
    ours: list[IPNetwork], foreign: list[IPNetwork]
) -> None:
    routes = tuple(route(str(destination)) for destination in ours)
    observed = kernel(*routes, foreign=tuple(map(str, foreign)))
    samples = choose_samples(routes, observed)
    for each in routes:
        narrower = [
            r.destination
            for r in observed.routes
            if r.destination.version == 4 and r.destination.prefixlen > each.destination.prefixlen
        ]
        free = [a for a in each.destination if not any(a in prefix for prefix in narrower)]
        if each in samples:
            assert samples[each] in free
        else:  # the network's own address is no host's, so it counts for nothing where it alone is free
            assert free in ([], [each.destination.network_address])


@pytest.mark.parametrize("taken", [Path(oif="tun0"), Path(oif="eth0", next_hop=ip_address("172.16.0.1")), Path()])
def test_a_kernel_that_chooses_another_way_fails_the_verification_and_is_quoted(taken: Path) -> None:
    pods = route("10.20.0.0/16")
    address = ip_address("10.20.0.1")
    with pytest.raises(VerificationError) as failure:
        check_paths({pods: address}, wanted(pods), ObservedNetwork(paths={address: taken}))
    assert "10.20.0.0/16" in failure.value.what
    assert (taken.oif or "no way at all") in failure.value.why
    assert f"ip route get {address}" in failure.value.next_step


def test_a_block_of_ours_inside_the_pod_network_is_expected_to_win_there() -> None:
    pods, block = route("10.20.0.0/16"), route("10.20.0.0/26", hop="172.16.0.14")
    address = ip_address("10.20.0.1")
    observed = ObservedNetwork(paths={address: Path(oif="eth0", next_hop=ip_address("172.16.0.14"))})
    check_paths({pods: address}, wanted(pods, block), observed)
    with pytest.raises(VerificationError):
        check_paths({pods: address}, wanted(pods), observed)


def test_while_packets_go_by_a_detour_the_kernel_is_expected_to_send_them_there() -> None:
    pods, block = route("10.20.0.0/16"), route("10.20.0.0/26", hop="172.16.0.14")
    via = ip_address("172.16.0.16")
    desired = wanted(pods, block, detours=(Detour(next_hop=GATEWAY, via=via, oif="eth1"),))
    inside, outside = ip_address("10.20.0.1"), ip_address("10.20.0.65")
    detour, direct = Path(oif="eth1", next_hop=via), Path(oif="eth0", next_hop=ip_address("172.16.0.14"))
    samples = {pods: outside, block: inside}
    check_paths(samples, desired, ObservedNetwork(paths={outside: detour, inside: direct}))
    with pytest.raises(VerificationError):
        check_paths(samples, desired, ObservedNetwork(paths={outside: Path(oif="eth0", next_hop=GATEWAY)}))


@pytest.mark.slow
def test_ten_times_the_blocks_cost_about_ten_times_the_work_to_sample_and_check() -> None:
    def calls(count: int) -> int:
        """Of functions, Python's own too: a clock would count what else the machine does."""
        blocks = list(ipaddress.IPv4Network("10.0.0.0/11").subnets(new_prefix=26))[:count]
        pods, ours = route("10.0.0.0/8"), tuple(replace(route("10.0.0.0/8"), destination=block) for block in blocks)
        observed = kernel(pods, *ours)
        paths = {pods.destination[1]: Path(oif="eth0", next_hop=GATEWAY)}
        with cProfile.Profile() as counted:
            samples = choose_samples((pods, *ours), observed)
            paths |= {address: Path(oif="eth0", next_hop=GATEWAY) for address in samples.values()}
            check_paths(samples, wanted(pods, *ours), ObservedNetwork(paths=paths))
        assert len(samples) == count + 1
        assert samples[pods] == blocks[-1].broadcast_address + 1
        return sum(entry.callcount for entry in counted.getstats())

    # Quadratic work in either would make it a hundred times.
    assert calls(5_000) < 12 * calls(500)


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

    def getent(self, name: str) -> set[str]:
        self.looked_up.append(name)
        return self._libc


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
        monkeypatch.setattr("devlink.agent.verify._getent", cluster.getent)
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
