"""What is wrong on the way to an address."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from devlink.core.diagnosis import Outcome
from devlink.core.explain import Claim, Kind, Place, place_of
from devlink.core.findings import Severity
from devlink.core.judging import Reached, Winner, judge_data, judge_next_hop, judge_way
from devlink.core.network import ObservedRoute
from devlink.core.plan import make_plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import RoutingMode
from tests.core.plans import GATEWAY, GATEWAY6, PROFILE, seen, theirs

PLAN = make_plan(PROFILE, seen(GATEWAY, GATEWAY6))
QA = Claim(profile=PROFILE, plan=PLAN)
POD, SERVICE = ip_address("10.20.73.70"), ip_address("10.254.0.10")


def won(destination: str, **more: object) -> Winner:
    route = theirs(destination, **more)
    return Winner(route=route, shown=f"{destination} dev tun0", owner="a VPN (interface tun0)")


@pytest.mark.parametrize(
    ("winner", "code"),
    [
        (won("10.20.73.64/28"), "DL-ROUTE-KEPT"),
        (won("10.20.73.64/26"), "DL-ROUTE-TAKEN"),
        (won("0.0.0.0/0", table=52), "DL-POLICY-WINS"),
        (won("0.0.0.0/0"), "DL-ROUTES-GONE"),
        (None, "DL-ROUTES-GONE"),
    ],
)
def test_who_wins_over_a_sessions_route_gives_the_code(winner: Winner | None, code: str) -> None:
    finding = judge_way(POD, place_of(POD, (QA,)), winner, is_lost=True)
    assert finding is not None
    assert (finding.code, finding.severity) == (code, Severity.ERROR)
    if code.startswith(("DL-ROUTE-", "DL-POLICY")):
        assert "a VPN (interface tun0)" in finding.evidence
        assert "--override 10.20.73.64/2" in finding.fix


def test_a_way_that_is_as_it_shall_be_or_is_nobodys_has_nothing_wrong() -> None:
    ours = Winner(route=ObservedRoute(destination=ip_network("10.20.73.64/26"), protocol=231), shown="", owner="")
    place = place_of(POD, (QA,))
    assert judge_way(POD, place, ours, is_lost=False) is None
    assert judge_way(ip_address("192.0.2.80"), place_of(ip_address("192.0.2.80"), (QA,)), ours, is_lost=False) is None


def test_where_no_route_leads_is_told_for_every_address() -> None:
    finding = judge_way(ip_address("192.0.2.80"), Place(kind=Kind.OTHER), None, is_lost=False)
    assert finding is not None
    assert finding.code == "DL-NO-ROUTE"


def test_an_address_of_the_session_without_a_route_is_missing_one_unless_the_network_carries_it() -> None:
    no_routes = replace(PLAN, desired=replace(PLAN.desired, routes=()))
    place = place_of(POD, (replace(QA, plan=no_routes),))
    finding = judge_way(POD, place, won("0.0.0.0/0"), is_lost=False)
    assert finding is not None
    assert finding.code == "DL-ROUTE-MISSING"
    carried = place_of(POD, (replace(QA, plan=replace(no_routes, mode=RoutingMode.ROUTER)),))
    assert judge_way(POD, carried, won("0.0.0.0/0"), is_lost=False) is None


def test_a_next_hop_that_nobody_knows_is_down_and_one_that_the_agent_hears_nothing_by_is_silent() -> None:
    down = judge_next_hop(ip_address("172.16.0.13"), "eth0", "", is_silent=True)
    silent = judge_next_hop(ip_address("172.16.0.13"), "eth0", "02:00:00:00:00:01", is_silent=True)
    assert (down and down.code, silent and silent.code) == ("DL-GATEWAY-DOWN", "DL-GATEWAYS-SILENT")
    assert judge_next_hop(ip_address("172.16.0.13"), "eth0", "02:00:00:00:00:01", is_silent=False) is None
    itself = judge_next_hop(ip_address("172.16.0.13"), "eth0", "", is_silent=False, is_target=True)
    assert itself is not None
    assert itself.code == "DL-HOST-DOWN"


# What comes back

OTHER = ip_address("192.0.2.80")


def judged(address: IPAddress, *outcomes: Outcome, is_asked: bool) -> tuple[str, Severity] | None:
    tried = [Reached(port=port, outcome=outcome) for port, outcome in enumerate(outcomes, 8080)]
    finding = judge_data(address, place_of(address, (QA,)), tried, by=ip_address("172.16.0.13"), is_asked=is_asked)
    assert finding is None or "172.16.0.13" in finding.evidence
    return (finding.code, finding.severity) if finding is not None else None


@pytest.mark.parametrize(
    ("address", "outcome", "code"),
    [
        (POD, Outcome.HANGS, "DL-POD-HANGS"),
        (POD, Outcome.SILENT, "DL-POD-SILENT"),
        (POD, Outcome.UNREACHABLE, "DL-POD-SILENT"),
        (POD, Outcome.REFUSED, "DL-PORT-REFUSED"),
        (SERVICE, Outcome.HANGS, "DL-SERVICE-SILENT"),
        (SERVICE, Outcome.SILENT, "DL-SERVICE-SILENT"),
        (SERVICE, Outcome.REFUSED, "DL-SERVICE-REFUSED"),
        (OTHER, Outcome.HANGS, "DL-PORT-SILENT"),
        (OTHER, Outcome.SILENT, "DL-PORT-SILENT"),
        (OTHER, Outcome.REFUSED, "DL-PORT-REFUSED"),
        (POD, Outcome.ANSWERED, None),
        (SERVICE, Outcome.ANSWERED, None),
    ],
)
def test_of_a_port_that_was_named_only_an_answer_will_do(
    address: IPAddress, outcome: Outcome, code: str | None
) -> None:
    assert judged(address, outcome, is_asked=True) == ((code, Severity.ERROR) if code else None)


@pytest.mark.parametrize("address", [POD, SERVICE, OTHER])
def test_of_ports_that_nobody_named_one_refusal_shows_that_packets_come_back(address: IPAddress) -> None:
    assert judged(address, Outcome.SILENT, Outcome.REFUSED, is_asked=False) is None


def test_a_connection_that_hangs_is_told_though_another_port_answers() -> None:
    assert judged(POD, Outcome.REFUSED, Outcome.HANGS, is_asked=False) == ("DL-POD-HANGS", Severity.ERROR)


def test_silence_at_ports_that_nobody_named_proves_nothing_of_a_clusterip_and_little_of_a_stranger() -> None:
    assert judged(SERVICE, Outcome.SILENT, Outcome.SILENT, is_asked=False) is None
    assert judged(OTHER, Outcome.SILENT, Outcome.SILENT, is_asked=False) == ("DL-PORT-SILENT", Severity.WARNING)
    assert judged(OTHER, Outcome.SILENT, Outcome.UNREACHABLE, is_asked=False) == ("DL-PORT-SILENT", Severity.ERROR)
    assert judged(POD, Outcome.SILENT, Outcome.SILENT, is_asked=False) == ("DL-POD-SILENT", Severity.ERROR)


def test_what_its_user_excluded_is_judged_as_a_strangers() -> None:
    place = place_of(POD, (replace(QA, exclude=(ip_network("10.20.0.0/16"),)),))
    tried = (Reached(port=80, outcome=Outcome.SILENT),)
    finding = judge_data(POD, place, tried, by=None, is_asked=True)
    assert finding is not None
    assert finding.code == "DL-PORT-SILENT"
    assert "without --exclude" in finding.fix
