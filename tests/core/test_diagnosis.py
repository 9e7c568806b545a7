"""What came back, and what it says: each row is a case that was measured in namespaces."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.diagnosis import Outcome, PodSeen, Seen, ServerSeen, diagnose
from devlink.core.findings import Severity
from devlink.core.prefixes import IPAddress
from devlink.core.profile import RoutingMode

OK, HANGS, SILENT, REFUSED = Outcome.ANSWERED, Outcome.HANGS, Outcome.SILENT, Outcome.REFUSED
GATEWAY, WORKER = ip_address("172.16.0.13"), ip_address("172.16.0.19")
SERVICE, POD, LOCAL = ip_address("10.254.0.2"), ip_address("10.20.120.130"), ip_address("10.20.73.66")
REMOTE = PodSeen(address=POD, node=WORKER, by=GATEWAY, tcp=OK, udp=OK)
SERVER = ServerSeen(address=SERVICE, is_service=True, by=GATEWAY, tcp=OK, udp=OK)
HEALTHY = Seen(mode=RoutingMode.GATEWAY, server=SERVER, pods=(REMOTE,))


def case(tcp: Outcome = OK, udp: Outcome = OK, *, stray: bool = False, pod: tuple[Outcome, Outcome] = (OK, OK)) -> Seen:
    """Service TCP and UDP, whether a pod's own address answered, pod TCP and UDP."""
    server = replace(SERVER, tcp=tcp, udp=udp, strays=(POD,) if stray else ())
    return replace(HEALTHY, server=server, pods=(replace(REMOTE, tcp=pod[0], udp=pod[1]),))


def codes(seen: Seen) -> list[str]:
    return [finding.code for finding in diagnose(seen)]


TABLE = {
    "healthy": (case(), []),
    "R2": (case(pod=(HANGS, OK)), ["DL-POD-HANGS"]),
    "R3": (case(SILENT, SILENT, stray=True), ["DL-SERVICE-NO-RETURN"]),
    "R3 behind a laptop that takes no stray answers": (case(SILENT, SILENT), ["DL-SERVICE-SILENT"]),
    "R3, and one pod of two is on the gateway": (case(stray=True), ["DL-SERVICE-NO-RETURN"]),
    "R4": (case(pod=(SILENT, SILENT)), ["DL-POD-SILENT"]),
    "not forwarding": (case(SILENT, SILENT, pod=(SILENT, SILENT)), ["DL-NOT-FORWARDING"]),
    "rejected": (case(REFUSED, REFUSED, pod=(REFUSED, REFUSED)), ["DL-NOT-FORWARDING"]),
    "no endpoints": (case(REFUSED, REFUSED), ["DL-SERVICE-REFUSED"]),
    "no endpoints, and the profile names no pods": (
        replace(case(REFUSED, REFUSED), pods=()),
        ["DL-SERVICE-REFUSED"],
    ),
    "another port": (case(REFUSED, SILENT), ["DL-SERVICE-REFUSED"]),
    "R1": (
        replace(case(SILENT, SILENT, pod=(SILENT, SILENT)), mode=RoutingMode.ROUTER, off_link=(GATEWAY,)),
        ["DL-R1-OFFLINK"],
    ),
    "R1, and the network carries": (replace(case(), mode=RoutingMode.ROUTER, off_link=(GATEWAY,)), []),
    "R1, and the network carries some": (
        replace(case(SILENT, SILENT), mode=RoutingMode.ROUTER, off_link=(GATEWAY,)),
        ["DL-SERVICE-SILENT"],
    ),
    "UDP 53 blocked": (case(udp=SILENT, pod=(OK, SILENT)), ["DL-UDP53-BLOCKED"]),
    "R2 and UDP 53 blocked": (case(udp=SILENT, pod=(HANGS, SILENT)), ["DL-POD-HANGS", "DL-UDP53-BLOCKED"]),
    "R2 and R3": (case(SILENT, SILENT, stray=True, pod=(HANGS, OK)), ["DL-SERVICE-NO-RETURN", "DL-POD-HANGS"]),
    "only UDP to the pod": (case(pod=(SILENT, OK)), ["DL-POD-SILENT"]),
    "the pod's address is another's now": (case(pod=(REFUSED, REFUSED)), ["DL-NO-ENDPOINT-ELSEWHERE"]),
    "nothing was sent": (case(Outcome.NO_WAY, Outcome.NO_WAY), []),
}


@pytest.mark.parametrize(("seen", "expected"), TABLE.values(), ids=TABLE)
def test_the_table(seen: Seen, expected: list[str]) -> None:
    assert codes(seen) == expected


def test_each_finding_has_evidence_and_a_way_out() -> None:
    for seen, _ in TABLE.values():
        for finding in diagnose(seen):
            assert finding.title.endswith(".")
            assert finding.evidence
            assert finding.fix or finding.severity is Severity.INFO


def test_the_evidence_names_who_was_asked_by_which_way_and_what_they_did() -> None:
    (finding,) = diagnose(case(pod=(HANGS, OK)))
    assert finding.evidence == (
        "10.254.0.2 (by way of 172.16.0.13): TCP answered, UDP answered; "
        "10.20.120.130 (on 172.16.0.19, by way of 172.16.0.13): TCP connects, then nothing comes, UDP answered"
    )
    (finding,) = diagnose(case(SILENT, SILENT, stray=True))
    assert finding.evidence.startswith("a question to 10.254.0.2 was answered by 10.20.120.130;")


def test_where_the_profile_asks_over_tcp_alone_udp_is_not_missed() -> None:
    seen = case(udp=SILENT)
    assert codes(replace(seen, server=replace(seen.server, wants_udp=False))) == []


def test_where_none_of_the_pods_is_heard_they_may_all_be_gone_and_it_is_no_warning() -> None:
    """A rollout of the DNS gives each of them a new address, and the profile keeps the old ones for a while."""
    (finding,) = diagnose(case(pod=(SILENT, SILENT)))
    assert (finding.code, finding.severity) == ("DL-POD-SILENT", Severity.INFO)
    assert "devlink profile publish" in finding.fix
    assert "rp_filter" in finding.fix, "that it is R4 cannot be excluded"
    (finding,) = diagnose(case(pod=(SILENT, OK)))
    assert finding.severity is Severity.WARNING, "it is there: UDP comes back"


@pytest.mark.parametrize("outcome", [REFUSED, Outcome.NO_WAY, Outcome.NOT_OURS])
def test_why_no_pod_elsewhere_could_be_asked_is_told_of_each(outcome: Outcome) -> None:
    local = PodSeen(address=LOCAL, node=GATEWAY, by=GATEWAY, tcp=OK, udp=OK)
    (finding,) = diagnose(replace(HEALTHY, pods=(local, replace(REMOTE, tcp=outcome, udp=outcome))))
    assert finding.code == "DL-NO-ENDPOINT-ELSEWHERE"
    assert finding.evidence.startswith(f"{POD} (on {WORKER}")
    assert finding.evidence.endswith(outcome.value)


def test_one_silent_pod_beside_one_that_answers_may_be_gone() -> None:
    seen = case(pod=(SILENT, SILENT))
    (finding,) = diagnose(replace(seen, pods=(*seen.pods, replace(REMOTE, address=ip_address("10.20.120.131")))))
    assert (finding.code, finding.severity) == ("DL-POD-SILENT", Severity.INFO)
    assert "10.20.120.131" not in finding.evidence


def test_a_pod_on_the_gateway_itself_does_not_excuse_those_elsewhere() -> None:
    seen = case(pod=(SILENT, SILENT))
    local = PodSeen(address=LOCAL, node=GATEWAY, by=GATEWAY, tcp=OK, udp=OK)
    (finding,) = diagnose(replace(seen, pods=(*seen.pods, local)))
    assert (finding.code, finding.severity) == ("DL-POD-SILENT", Severity.WARNING)


def test_through_a_gateway_it_is_told_where_no_pod_elsewhere_is_known() -> None:
    local = PodSeen(address=LOCAL, node=GATEWAY, by=GATEWAY, tcp=OK, udp=OK)
    for pods, words in (((), "names no pod"), ((local,), "are on 172.16.0.13")):
        (finding,) = diagnose(replace(HEALTHY, pods=pods))
        assert (finding.code, finding.severity) == ("DL-NO-ENDPOINT-ELSEWHERE", Severity.INFO)
        assert words in finding.evidence
        assert "services" in finding.title
        (finding,) = diagnose(replace(HEALTHY, pods=pods, api=True))
        assert "services" not in finding.title, "the API's ClusterIP has answered, and its pod is elsewhere"
    for mode in (RoutingMode.PER_NODE, RoutingMode.ROUTER):
        assert codes(replace(HEALTHY, pods=(), mode=mode)) == []


def test_a_silent_dns_beside_an_api_that_answers_is_the_dnss_own_trouble() -> None:
    silent = replace(case(SILENT, SILENT, pod=(SILENT, SILENT)), api=True)
    assert codes(silent)[0] == "DL-SERVICE-SILENT"
    assert "pod that is ready" in diagnose(silent)[0].fix


@pytest.mark.parametrize(("by", "words"), [(GATEWAY, "On 172.16.0.13"), (None, "the network's router")])
def test_who_does_not_forward_is_named_as_far_as_it_is_known(by: IPAddress | None, words: str) -> None:
    seen = case(SILENT, SILENT, pod=(SILENT, SILENT))
    (finding,) = diagnose(replace(seen, server=replace(seen.server, by=by)))
    assert words in finding.fix


@given(
    outcomes=st.tuples(*(st.sampled_from(Outcome) for _ in range(4))),
    stray=st.booleans(),
    api=st.sampled_from([None, True, False]),
    mode=st.sampled_from(RoutingMode),
)
def test_whatever_came_back_silence_of_all_is_said_only_where_nobody_was_heard(
    outcomes: tuple[Outcome, ...], stray: bool, api: bool | None, mode: RoutingMode
) -> None:
    seen = replace(case(*outcomes[:2], stray=stray, pod=(outcomes[2], outcomes[3])), api=api, mode=mode)
    found = codes(seen)
    heard = stray or bool(api) or OK in outcomes or HANGS in outcomes
    assert not ("DL-NOT-FORWARDING" in found and heard)
    assert not (outcomes[:2] == (OK, OK) and {"DL-SERVICE-SILENT", "DL-UDP53-BLOCKED"} & set(found))
    assert len(found) == len(set(found))
