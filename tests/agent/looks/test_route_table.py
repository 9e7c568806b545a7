"""A session's routes as a table: what there is of each, and who else is there."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devlink.agent.looks import route_table
from devlink.agent.looks.route_table import MAX_FOREIGN, RELAY, RELAYED, Installed, Row, Written, in_account, rows
from devlink.core.network import OVERRIDE_TABLE, ObservedNetwork, ObservedRoute, Route, relay_table
from devlink.core.plan import Desired, Detour, Plan
from devlink.core.profile import RoutingMode
from devlink.rpc.framing import MAX_FRAME, pack
from devlink.rpc.varlink import interface_description
from tests.cli.test_session import assert_shape
from tests.core.plans import theirs

GATEWAY, OTHER = ip_address("172.16.0.13"), ip_address("172.16.0.14")
PODS, SERVICES = ip_network("10.20.0.0/16"), ip_network("10.254.0.0/16")
PODS6 = ip_network("fd00:20::/48")
PIN = Route(destination=ip_network("10.20.0.53/32"), next_hop=ip_address("172.16.0.1"), oif="eth0")


def route(destination: Any, **more: Any) -> Route:
    return Route(**{"destination": destination, "next_hop": GATEWAY, "oif": "eth0", **more})


def plan(*routes: Route, detour: bool = False) -> Plan:
    detours = (Detour(next_hop=GATEWAY, via=OTHER, oif="eth1"),) if detour else ()
    desired = Desired(session="qa", routes=routes, detours=detours)
    return Plan(desired=desired, mode=RoutingMode.GATEWAY, reason="")


def table(
    wanted: Plan, *others: ObservedRoute, pins: tuple[Route, ...] = (), is_there: bool = True, **lack: frozenset[str]
) -> Mapping[tuple[str, str], Row]:
    """By destination and owner, in the order of the table."""
    texts = [str(each) for each in (*wanted.desired.routes, *pins)]
    there = Installed(routes=texts, **lack) if is_there else None
    found = rows(wanted, there, ObservedNetwork(routes=others), lambda name: "bridge" if name == "docker0" else "")
    for row in found:
        assert_shape(row, interface_description("io.devlink.Agent"), "RouteRow")
    table = {(str(row["destination"]), str(row["owner"])): row for row in found}
    assert len(table) == len(found)
    return table


def destinations(found: Mapping[tuple[str, str], Row]) -> list[str]:
    return [destination for destination, _ in found]


@st.composite
def routes(draw: st.DrawFn) -> Route:
    destination = draw(st.ip_addresses().flatmap(lambda a: st.just(ip_network(a))))
    kind = draw(st.sampled_from(["unicast", "throw"]))
    source = st.none() | st.just(ip_address("10.0.0.1"))
    table = OVERRIDE_TABLE if kind == "throw" else draw(st.sampled_from([254, OVERRIDE_TABLE]))
    if kind == "throw":
        return Route(destination=destination, oif="", table=table, kind=kind)
    hop = draw(st.none() | st.ip_addresses(v=destination.version))
    return Route(
        destination=destination, next_hop=hop, oif=draw(st.sampled_from(["eth0", "wlp3s0", "a.b-c"])), table=table,
        mtu=draw(st.none() | st.integers(1280, 9000)), source=draw(source),
    )  # fmt: skip


@settings(max_examples=50)
@given(routes())
def test_a_route_is_read_as_it_was_written(route: Route) -> None:
    read = Written.read(str(route))
    assert (read.destination, read.kind, read.oif) == (str(route.destination), route.kind, route.oif)
    assert read.next_hop == (str(route.next_hop) if route.next_hop else None)
    assert read.table == (route.table if route.table != 254 else None)


def test_routes_come_by_family_and_number_and_not_as_texts_sort() -> None:
    nets = [PODS6, SERVICES, ip_network("10.3.0.0/16"), ip_network("9.0.0.0/9"), PODS]
    found = destinations(table(plan(*(route(net, next_hop=None) for net in nets))))
    assert found == ["9.0.0.0/9", "10.3.0.0/16", "10.20.0.0/16", "10.254.0.0/16", "fd00:20::/48"]


def test_the_next_hop_is_whom_packets_go_by_now() -> None:
    row = table(plan(route(PODS), detour=True))["10.20.0.0/16", "devlink"]
    assert (row["next_hop"], row["oif"], row["state"]) == (str(OTHER), "eth1", "installed")
    assert row["note"] == f"instead of {GATEWAY}"
    row = table(plan(route(PODS)))["10.20.0.0/16", "devlink"]
    assert (row["next_hop"], row["oif"], row["note"]) == (str(GATEWAY), "eth0", None)


def test_a_host_route_that_keeps_a_way_is_ours_and_says_so_and_has_no_detour() -> None:
    pin = replace(PIN, next_hop=GATEWAY)
    found = table(plan(route(PODS), route(ip_network("10.20.0.9/32")), detour=True), pins=(pin,))
    assert found["10.20.0.53/32", "devlink"]["note"] == "keeps the way that it had"
    assert found["10.20.0.53/32", "devlink"]["next_hop"] == str(GATEWAY)
    assert found["10.20.0.9/32", "devlink"]["next_hop"] == str(OTHER), "a route of the plan is no pin"


def test_a_prefix_that_is_relayed_says_by_what_and_for_whom() -> None:
    relayed = Route(destination=PODS, oif="devlink0", table=relay_table(1000))
    row = table(plan(relayed))["10.20.0.0/16", "devlink"]
    assert (row["next_hop"], row["oif"], row["state"], row["note"]) == (RELAY, "devlink0", "installed", RELAYED)


def test_what_the_kernel_has_not_is_missing_and_a_throw_is_left_to_the_others() -> None:
    thrown = Route(destination=ip_network("10.20.9.0/24"), oif="", table=OVERRIDE_TABLE, kind="throw")
    wanted = plan(route(PODS), route(SERVICES), thrown)
    found = table(wanted, missing=frozenset({str(route(PODS))}))
    states = {destination: row["state"] for (destination, _), row in found.items()}
    assert states == {"10.20.0.0/16": "missing", "10.254.0.0/16": "installed", "10.20.9.0/24": "left"}
    nothing = table(wanted, is_there=False)
    assert {row["state"] for row in nothing.values()} == {"missing"}


@pytest.mark.parametrize("how", ["fought", "occupied"])
def test_a_route_that_another_program_took_is_taken_and_names_who_has_its_place(how: str) -> None:
    lost = frozenset({str(route(PODS))})
    bird = theirs("10.20.0.0/16", protocol=12, metric=50, next_hop=ip_address("172.16.0.99"))
    lack = {"missing": lost, how: lost}
    wanted = plan(route(PODS), route(SERVICES))
    texts = [str(each) for each in wanted.desired.routes]
    found = rows(wanted, Installed(routes=texts, **lack), ObservedNetwork(routes=(bird,)), str)
    assert [(row["destination"], row["owner"], row["state"]) for row in found] == [
        ("10.20.0.0/16", "the routing daemon BIRD", "taken"),
        ("10.20.0.0/16", "the routing daemon BIRD", "foreign"),
        ("10.254.0.0/16", "devlink", "installed"),
    ]
    assert (found[0]["next_hop"], found[1]["next_hop"]) == (str(GATEWAY), "172.16.0.99")
    (unknown, _) = rows(wanted, Installed(routes=texts, **lack), ObservedNetwork(), str)
    assert (unknown["owner"], unknown["state"]) == ("devlink", "taken")


def test_who_is_more_specific_inside_ours_or_wins_by_its_metric_is_foreign() -> None:
    inside = theirs("10.20.7.0/24", oif="docker0", protocol=2)
    wins = theirs("10.254.0.0/16", oif="wg0", protocol=3, metric=10)
    around, elsewhere = theirs("10.0.0.0/8"), theirs("192.168.0.0/16")
    dropped = theirs("10.20.8.0/24", kind="blackhole", oif=None, protocol=4)
    found = table(plan(route(PODS), route(SERVICES)), inside, around, elsewhere, dropped)
    assert destinations(found) == ["10.20.0.0/16", "10.20.7.0/24", "10.20.8.0/24", "10.254.0.0/16"]
    docker = found["10.20.7.0/24", "Docker (interface docker0)"]
    assert (docker["state"], docker["oif"], docker["note"]) == ("foreign", "docker0", "inside 10.20.0.0/16")
    ((_, owner),) = [key for key in found if key[0] == "10.20.8.0/24"]
    assert found["10.20.8.0/24", owner]["note"] == "blackhole; inside 10.20.0.0/16"
    both = rows(plan(route(SERVICES)), Installed(routes=[str(route(SERVICES))]), ObservedNetwork(routes=(wins,)), str)
    assert [(row["state"], row["owner"]) for row in both] == [
        ("taken", "the VPN WireGuard (interface wg0)"), ("foreign", "the VPN WireGuard (interface wg0)"),
    ]  # fmt: skip


def test_twenty_thousand_routes_and_a_whole_table_of_others_fit_into_one_message() -> None:
    net, hop = (
        ip_network("fd00:1234:5678:9abc:def0:1234:5678:9abc/128"),
        ip_address("fd00:16:1234:5678:9abc:def0:1234:5678"),
    )
    wanted = plan(route(net, next_hop=hop, oif="enp0s31f6.vlan0"))
    desired = replace(wanted.desired, detours=(Detour(next_hop=hop, via=hop, oif="enp0s31f6.vlan0"),))
    wins = theirs(str(net), next_hop=hop, oif="enp0s31f6.vlan0", protocol=4, metric=10)
    texts = [str(each) for each in desired.routes]
    found = rows(replace(wanted, desired=desired), Installed(routes=texts), ObservedNetwork(routes=(wins,)), str)
    ours, foreign = (len(pack(dict(row))) for row in found)
    assert 20_000 * ours + MAX_FOREIGN * foreign < MAX_FRAME, "where all are as long as can be"


def test_a_whole_table_of_others_does_not_push_ours_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_table, "MAX_FOREIGN", 3)
    foreign = [theirs(f"10.20.{number}.0/24") for number in range(5)]
    found = destinations(shown := table(plan(route(PODS), route(SERVICES)), *foreign))
    assert found == ["10.20.0.0/16", "10.20.0.0/24", "10.20.1.0/24", "10.20.2.0/24", "10.254.0.0/16"]
    assert [row["note"] for row in shown.values() if row["state"] == "foreign"][-1] == "and 2 more of others"


def test_of_the_helpers_account_the_users_own_session_is_taken() -> None:
    told = {"name": "qa", "uid": 1000, "routes": ["r"], "missing": ["r"], "fought": None, "occupied": None}
    contest = {"routes": ["r"], "why": "another program holds their place"}
    state = {"sessions": [{**told, "uid": 1001}, {**told, "occupied": contest}]}
    found = in_account(state, "qa", 1000)
    assert found == Installed(routes=["r"], missing=frozenset("r"), occupied=frozenset("r"))
    assert in_account(state, "prod", 1000) is None
    assert in_account(state, "qa", 1002) is None
