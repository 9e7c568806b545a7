"""Which table is asked before ours, for the rules that real programs make, and for each selector."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from devlink.core.findings import Finding, Severity
from devlink.core.network import MAIN_TABLE, OVERRIDE_TABLE, PROTOCOL, ObservedNetwork, ObservedRoute, Rule
from devlink.core.plan import make_plan
from devlink.core.policy_routing import rivals
from tests.core.plans import GATEWAY, GATEWAY6, PROFILE, seen, theirs

OURS = ip_network("10.20.0.0/16")
LOCAL, MAIN, DEFAULT = (
    Rule(version=4, priority=priority, table=table) for priority, table in ((0, 255), (32766, 254), (32767, 253))
)


def rule(priority: int, **more: Any) -> Rule:
    return Rule(**{"version": 4, "priority": priority, "table": 100, **more})


def judged(*rules: Rule, routes: tuple[ObservedRoute, ...] = (), table: int = MAIN_TABLE, uid: int = 1000) -> str:
    """`whole`, `part` or nothing: what these rules, between those that every system has, take of our prefix."""
    ordered = tuple(sorted((LOCAL, *rules, MAIN, DEFAULT), key=lambda r: r.priority))
    found = rivals([OURS], ObservedNetwork(rules=ordered, routes=routes), table=table, uid=uid)
    assert [rival.is_whole for rival in found[:-1]] == [False] * (len(found) - 1)
    return "" if not found else "whole" if found[-1].is_whole else "part"


def other(destination: str, **more: Any) -> ObservedRoute:
    return theirs(destination, **{"table": 100, "oif": "tun0", **more})


TAKING = (other("0.0.0.0/0"),)


def test_on_an_ordinary_laptop_nothing_is_asked_before_the_main_table() -> None:
    assert judged(routes=TAKING) == ""
    assert rivals([OURS], ObservedNetwork(routes=TAKING)) == (), "where no rules are known, the usual ones hold"


WIREGUARD = (
    rule(32764, table=MAIN_TABLE, suppress_prefix_length=0),
    rule(32765, inverted=True, mark=0xCA6C, table=51820),
)
TAILSCALE = (
    rule(5210, mark=0x80000, mask=0xFF0000, table=MAIN_TABLE),
    rule(5230, mark=0x80000, mask=0xFF0000, table=253),
    rule(5250, mark=0x80000, mask=0xFF0000, action="unreachable"),
    rule(5270, table=52),
)


@pytest.mark.parametrize(
    ("name", "rules", "routes", "expected"),
    [
        ("wg-quick full tunnel", WIREGUARD, (other("0.0.0.0/0", table=51820),), ""),
        ("wg-quick without the look at main", WIREGUARD[1:], (other("0.0.0.0/0", table=51820),), "whole"),
        ("Tailscale alone", TAILSCALE, (other("100.100.0.7/32", table=52),), ""),
        ("Tailscale with a wider subnet", TAILSCALE, (other("10.0.0.0/8", table=52),), "whole"),
        ("Tailscale as exit node", TAILSCALE, (other("0.0.0.0/0", table=52),), "whole"),
        ("Tailscale with a part", TAILSCALE, (other("10.20.5.0/24", table=52),), "part"),
        ("Tailscale that leaves the LAN", TAILSCALE, (other("0.0.0.0/0", table=52), other("10.20.0.0/16", kind="throw",
         table=52)), ""),
        ("def1 of OpenVPN", (), (theirs("0.0.0.0/1", oif="tun0"), theirs("128.0.0.0/1", oif="tun0")), ""),
    ],
)  # fmt: skip
def test_what_real_programs_take(
    name: str, rules: tuple[Rule, ...], routes: tuple[ObservedRoute, ...], expected: str
) -> None:
    assert judged(*rules, routes=routes) == expected, name


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        ({}, "whole"),
        ({"destination": ip_network("10.0.0.0/8")}, "whole"),
        ({"destination": ip_network("10.20.0.0/16")}, "whole"),
        ({"destination": ip_network("10.20.5.0/24")}, "part"),
        ({"destination": ip_network("10.21.0.0/16")}, ""),
        ({"destination": ip_network("10.0.0.0/8"), "inverted": True}, ""),
        ({"destination": ip_network("10.20.5.0/24"), "inverted": True}, "part"),
        ({"destination": ip_network("10.21.0.0/16"), "inverted": True}, "whole"),
        ({"source": ip_network("192.168.1.5/32")}, ""),
        ({"source": ip_network("192.168.1.5/32"), "inverted": True}, "whole"),
        ({"source": ip_network("0.0.0.0/0")}, "whole"),
        ({"iif": "eth0"}, ""),
        ({"iif": "lo"}, "whole"),
        ({"oif": "tun0"}, ""),
        ({"mark": 1}, ""),
        ({"mark": 1, "inverted": True}, "whole"),
        ({"mark": 1, "mask": 0xFFFE}, "whole"),
        ({"mark": 0}, "whole"),
        ({"uids": (1000, 1000)}, "whole"),
        ({"uids": (0, 999)}, ""),
        ({"uids": (0, 999), "inverted": True}, "whole"),
        ({"other_selectors": True}, ""),
        ({"other_selectors": True, "inverted": True}, "whole"),
        ({"table": 200}, ""),
        ({"table": 0}, ""),
        ({"protocol": PROTOCOL}, ""),
        ({"action": "blackhole"}, "whole"),
        ({"action": "unreachable", "destination": ip_network("10.20.5.0/24")}, "part"),
        ({"action": "nop"}, ""),
        ({"suppress_prefix_length": 0}, ""),
        ({"version": 6}, ""),
    ],
)
def test_a_rule_counts_for_what_it_selects(selectors: dict[str, Any], expected: str) -> None:
    assert judged(rule(1000, **selectors), routes=TAKING) == expected


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ((other("10.20.0.0/16"),), "whole"),
        ((other("10.20.0.0/16", kind="blackhole", oif=None),), "whole"),
        ((other("10.20.0.0/16", kind="throw", oif=None),), ""),
        ((other("10.0.0.0/8"), other("10.20.5.0/24", kind="throw")), "part"),
        ((other("10.20.0.0/16", kind="throw"), other("10.20.5.0/24")), "part"),
        ((other("10.20.0.0/17"), other("10.20.128.0/17")), "part"),
        ((other("10.21.0.0/16"),), ""),
    ],
)
def test_what_the_table_has_decides(routes: tuple[ObservedRoute, ...], expected: str) -> None:
    assert judged(rule(1000), routes=routes) == expected


def test_a_suppressed_length_hides_that_route_and_no_narrower_one() -> None:
    suppressing = rule(1000, suppress_prefix_length=16)
    assert judged(suppressing, routes=(other("10.20.0.0/16"),)) == ""
    assert judged(suppressing, routes=(other("10.20.5.0/24"),)) == "part"
    hides_ours = rule(900, table=MAIN_TABLE, suppress_prefix_length=16)
    assert judged(hides_ours, rule(1000), routes=TAKING) == "whole"
    hides_less = rule(900, table=MAIN_TABLE, suppress_prefix_length=15)
    assert judged(hides_less, rule(1000), routes=TAKING) == ""


@pytest.mark.parametrize(("target", "expected"), [(2000, ""), (1000, "whole"), (1500, "whole")])
def test_a_goto_passes_over_what_lies_between_if_its_target_is_there(target: int, expected: str) -> None:
    rules = (rule(900, action="goto", table=target), rule(1000), rule(2000, action="nop"))
    assert judged(*rules, routes=TAKING) == expected


def test_what_comes_after_the_main_table_does_not_matter() -> None:
    assert judged(rule(40000), routes=TAKING) == ""


def test_the_table_that_wins_loses_only_to_rules_before_its_own() -> None:
    assert judged(rule(5270), routes=TAKING, table=OVERRIDE_TABLE) == ""
    assert judged(rule(5200), routes=TAKING, table=OVERRIDE_TABLE) == "whole"
    early_main = rule(100, table=MAIN_TABLE)
    assert judged(early_main, routes=(theirs("10.20.0.0/16"),), table=OVERRIDE_TABLE) == "whole"


def test_a_table_that_takes_all_is_an_error_in_the_plan_and_one_that_takes_a_part_a_warning() -> None:
    rules = (LOCAL, rule(5270, table=52), MAIN)
    for destination, severity in (("10.0.0.0/8", Severity.ERROR), ("10.20.5.0/24", Severity.WARNING)):
        observed = ObservedNetwork(
            rules=rules, routes=(other(destination, table=52),), paths=seen(GATEWAY, GATEWAY6).paths
        )
        plan = make_plan(PROFILE, observed)
        (finding,) = [f for f in plan.findings if f.code == "DL-POLICY-WINS"]
        assert finding.severity is severity
        assert plan.loses_routes is (destination == "10.0.0.0/8")
        assert f"by rule 5270, table 52: {destination} dev tun0" in finding.evidence
        assert "--override" in finding.fix
        all_ours = make_plan(PROFILE, observed, override=(ip_network("0.0.0.0/0"),))
        assert not [f for f in all_ours.findings if f.code == "DL-POLICY-WINS"]


def policy(observed: ObservedNetwork, *override: str) -> list[Finding]:
    plan = make_plan(PROFILE, observed, override=tuple(map(ip_network, override)))
    return [f for f in plan.findings if f.code == "DL-POLICY-WINS"]


def test_the_cure_that_a_finding_names_ends_it() -> None:
    rules = (LOCAL, rule(5270, table=52), MAIN)
    part = replace(seen(GATEWAY, GATEWAY6, routes=(other("10.20.64.0/18", table=52),)), rules=rules)
    (finding,) = policy(part)
    assert finding.severity is Severity.WARNING
    assert "devlink up --override 10.20.64.0/18;" in finding.fix
    assert policy(part, "10.20.64.0/18") == []
    two = replace(part, routes=(*part.routes, other("10.20.0.0/24", table=52)))
    (rest,) = policy(two, "10.20.64.0/18")
    assert rest.severity is Severity.WARNING
    assert "10.20.0.0/24" in rest.evidence
    assert "10.20.64.0/18 dev" not in rest.evidence


def test_what_takes_a_whole_rest_of_a_route_of_which_a_part_is_overridden_takes_no_whole_route() -> None:
    rules = (LOCAL, rule(5270, table=52), MAIN)
    half = replace(seen(GATEWAY, GATEWAY6, routes=(other("10.20.128.0/17", table=52),)), rules=rules)
    assert [f.severity for f in policy(half, "10.20.64.0/18")] == [Severity.WARNING]
    whole = replace(half, routes=(other("10.0.0.0/8", table=52),))
    assert Severity.ERROR in [f.severity for f in policy(whole, "10.20.64.0/18")]


def test_against_a_rule_that_comes_before_ours_no_override_is_advised() -> None:
    early = replace(
        seen(GATEWAY, GATEWAY6, routes=(other("10.20.64.0/18", table=52),)), rules=(LOCAL, rule(100, table=52), MAIN)
    )
    (finding,) = policy(early)
    assert "--override" not in finding.fix
    assert "--exclude 10.20.64.0/18" in finding.fix
