"""Detours change who carries a plan's packets, and go along into the next plan as far as they can."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from devlink.core.detours import kept, with_detour
from devlink.core.network import ObservedNetwork, Path, Route
from devlink.core.plan import Desired, Detour, Plan
from devlink.core.profile import RoutingMode

A, B, C = (ip_address(f"172.16.0.{n}") for n in (13, 16, 17))
PODS, SERVICES, OWN = (ip_network(text) for text in ("10.20.0.0/16", "10.254.0.0/16", "10.20.7.0/26"))
BY_A = tuple(Route(destination=each, next_hop=A, oif="eth0") for each in (PODS, SERVICES))
BY_C = Route(destination=OWN, next_hop=C, oif="eth0")
QA = Desired(session="qa", routes=(*BY_A, BY_C))
BY_B = Detour(next_hop=A, via=B, oif="eth1")
HERE = ObservedNetwork(paths={B: Path(oif="eth1")})


def test_there_is_one_detour_for_a_next_hop_and_none_after_it_is_taken_back() -> None:
    twice = with_detour(with_detour(QA, A, BY_B), A, replace(BY_B, via=C, oif="eth0"))
    assert [detour.via for detour in twice.detours] == [C]
    assert with_detour(twice, A, None) == QA


def plan(desired: Desired) -> Plan:
    return Plan(desired=desired, mode=RoutingMode.GATEWAY, reason="", alternatives={A: ((B, "eth1"),)})


def test_a_new_plan_keeps_the_detours_of_the_one_before() -> None:
    before = plan(with_detour(QA, A, BY_B))
    assert kept(plan(QA), before, HERE).desired.detours == (BY_B,)


@pytest.mark.parametrize(
    "paths", [{}, {B: Path()}, {B: Path(oif="eth0")}, {B: Path(oif="eth1", next_hop=C)}],
    ids=["unknown", "no way", "another link", "behind a router"],
)  # fmt: skip
def test_a_detour_by_who_is_not_on_that_link_any_more_is_not_kept(paths: dict[object, Path]) -> None:
    before = plan(with_detour(QA, A, BY_B))
    assert kept(plan(QA), before, ObservedNetwork(paths=paths)) == plan(QA)  # type: ignore[arg-type]


def test_a_detour_by_who_is_no_candidate_of_the_new_plan_is_not_kept() -> None:
    without = replace(plan(QA), alternatives={A: ((C, "eth0"),)})
    assert kept(without, plan(with_detour(QA, A, BY_B)), HERE) == without


def test_a_detour_for_a_next_hop_that_no_route_prefers_any_more_is_not_kept() -> None:
    before = plan(with_detour(QA, A, BY_B))
    without = plan(replace(QA, routes=(BY_C,)))
    assert kept(without, before, HERE) == without
