"""What the user chose against the profile: no route for a part, or one that wins over everybody else's."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from devlink.core.network import MAIN_TABLE, OVERRIDE_TABLE, ObservedNetwork, ObservedRoute, Route
from devlink.core.overlaps import pins
from devlink.core.overrides import ALL, check_choices, override_routes, parse_exclude, parse_override, show_override
from devlink.core.plan import Desired, make_plan
from devlink.errors import UsageError
from devlink.helper.admission import check_form
from tests.core.plans import GATEWAY, GATEWAY6, PROFILE, seen, theirs

WIDE = Route(destination=ip_network("10.20.0.0/16"), next_hop=GATEWAY, oif="eth0")
BLOCK = Route(destination=ip_network("10.20.73.64/26"), next_hop=ip_address("172.16.0.17"), oif="eth0")
SERVICES = Route(destination=ip_network("10.254.0.0/16"), next_hop=GATEWAY, oif="eth0")
OURS = (WIDE, BLOCK, SERVICES)


def overridden(*override: str, routes: tuple[ObservedRoute, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    """The plan's routes, those in the table that wins marked."""
    made = override_routes(OURS, parse_override(override), parse_exclude(exclude), ObservedNetwork(routes=routes))
    return [
        f"{'' if r.kind == 'unicast' else f'{r.kind} '}{r.destination}{'*' if r.table == OVERRIDE_TABLE else ''}"
        for r in made
    ]


def test_without_an_override_the_routes_are_as_they_were() -> None:
    assert override_routes(OURS, (), (), ObservedNetwork()) is OURS


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (("all",), ["10.20.0.0/16*", "10.20.73.64/26*", "10.254.0.0/16*"]),
        (("10.20.0.0/16",), ["10.20.0.0/16*", "10.20.73.64/26*", "10.254.0.0/16"]),
        (("10.20.73.64/26",), ["10.20.73.64/26*", "10.20.0.0/16", "10.254.0.0/16"]),
        (("10.20.5.0/24",), ["10.20.5.0/24*", "10.20.0.0/16", "10.20.73.64/26", "10.254.0.0/16"]),
        (("10.20.64.0/20",), ["10.20.73.64/26*", "10.20.64.0/20*", "10.20.0.0/16", "10.254.0.0/16"]),
        (("10.0.0.0/8",), ["10.20.0.0/16*", "10.20.73.64/26*", "10.254.0.0/16*"]),
        (("fd00:20::/48",), ["10.20.0.0/16", "10.20.73.64/26", "10.254.0.0/16"]),
    ],
)
def test_each_route_within_the_override_wins_and_a_part_of_one_gets_its_own(
    override: tuple[str, ...], expected: list[str]
) -> None:
    assert overridden(*override) == expected


def test_the_part_of_a_route_goes_by_the_same_next_hop_as_the_route_or_the_block_that_holds_it() -> None:
    made = override_routes(OURS, (ip_network("10.20.5.0/24"), ip_network("10.20.73.96/27")), (), ObservedNetwork())
    hops = {str(r.destination): r.next_hop for r in made if r.table == OVERRIDE_TABLE}
    assert hops == {"10.20.5.0/24": WIDE.next_hop, "10.20.73.96/27": BLOCK.next_hop}


def test_an_excluded_part_of_an_override_gets_no_route() -> None:
    assert overridden("10.20.4.0/23", exclude=("10.20.5.0/24",))[:1] == ["10.20.4.0/24*"]


BRIDGE = theirs("10.20.5.0/24", oif="docker0", protocol=2)
VPN = theirs("10.20.0.0/17", oif="tun0", protocol=3)
SERVER = theirs("10.20.9.9/32", next_hop=ip_address("192.168.1.1"), protocol=3)
PEER = theirs("10.20.8.8/32", oif="tailscale0", protocol=3, table=52)


def test_a_network_on_a_link_and_single_hosts_are_kept_and_a_vpns_wide_route_is_not() -> None:
    assert overridden("all", routes=(VPN, BRIDGE, SERVER, PEER))[:3] == [
        "throw 10.20.5.0/24*",
        "throw 10.20.8.8/32*",
        "throw 10.20.9.9/32*",
    ]
    assert not [text for text in overridden("all", routes=(VPN,)) if text.startswith("throw")]


def test_an_override_that_names_exactly_what_is_on_a_link_takes_it() -> None:
    assert not [text for text in overridden("10.20.5.0/24", routes=(BRIDGE,)) if text.startswith("throw")]
    assert overridden("10.20.5.0/24", "10.20.0.0/16", routes=(BRIDGE, SERVER))[:2] == [
        "throw 10.20.9.9/32*",
        "10.20.0.0/16*",
    ]


def test_a_block_that_is_the_network_of_a_link_is_left_to_the_link() -> None:
    made = overridden("all", routes=(theirs("10.20.73.64/26", oif="wlan0", protocol=2),))
    assert "throw 10.20.73.64/26*" in made
    assert "10.20.73.64/26*" not in made


@pytest.mark.parametrize("protocol", [2, 9])
def test_a_network_on_a_link_is_kept_whether_the_kernel_or_a_router_advertisement_put_it_there(protocol: int) -> None:
    assert overridden("all", routes=(replace(BRIDGE, protocol=protocol),))[0] == "throw 10.20.5.0/24*"


def check(made: tuple[Route, ...]) -> None:
    """As the helper does."""
    check_form(Desired(session="qa", routes=made))


def test_where_a_link_has_exactly_one_of_our_networks_nothing_of_ours_is_left_there_and_nothing_is_thrown() -> None:
    bridge = theirs("10.20.0.0/16", oif="br0", protocol=2)
    assert overridden("all", routes=(bridge,)) == ["10.254.0.0/16*"]
    check(override_routes(OURS, ALL, (), ObservedNetwork(routes=(bridge,))))
    findings = {f.code: f for f in make_plan(PROFILE, seen(GATEWAY, GATEWAY6, routes=(bridge,)), override=ALL).findings}
    assert "10.20.0.0/16 dev br0 in 10.20.0.0/16" in findings["DL-ROUTE-KEPT"].evidence


def test_a_network_that_is_named_is_overridden_beside_all_too() -> None:
    bridge = theirs("10.20.0.0/16", oif="br0", protocol=2)
    assert "10.20.0.0/16*" in overridden("all", "10.20.0.0/16", routes=(bridge,))
    assert overridden("all", "10.20.5.0/24", routes=(BRIDGE,)) == overridden("all")


def test_a_part_that_is_named_of_a_network_that_is_kept_is_overridden() -> None:
    wide = theirs("10.20.64.0/20", oif="br0", protocol=2)
    made = overridden("all", "10.20.66.0/24", routes=(wide,))
    assert made == ["throw 10.20.64.0/20*", "10.20.0.0/16*", "10.254.0.0/16*", "10.20.66.0/24*"]
    check(override_routes(OURS, parse_override(["all", "10.20.66.0/24"]), (), ObservedNetwork(routes=(wide,))))


def test_a_block_inside_a_network_that_is_kept_gets_no_route_and_is_told_as_lost() -> None:
    around = theirs("10.20.73.0/24", oif="br0", protocol=2)
    assert overridden("all", routes=(around,)) == ["throw 10.20.73.0/24*", "10.20.0.0/16*", "10.254.0.0/16*"]
    assert "10.20.73.64/26*" in overridden("all", "10.20.73.0/24", routes=(around,))
    findings = make_plan(PROFILE, seen(GATEWAY, GATEWAY6, routes=(around,)), override=ALL).findings
    (kept,) = [f for f in findings if f.code == "DL-ROUTE-KEPT"]
    assert f"10.20.73.0/24 dev br0 in 10.20.0.0/16 (with pods of node {GATEWAY})" in kept.evidence


def test_what_is_kept_comes_first_so_that_it_is_never_ours_for_a_moment() -> None:
    made = override_routes(OURS, ALL, (), ObservedNetwork(routes=(BRIDGE,)))
    assert [route.kind for route in made] == ["throw", "unicast", "unicast", "unicast"]


def test_addresses_that_keep_their_way_are_thrown_out_of_the_table_that_wins() -> None:
    observed = ObservedNetwork(routes=(theirs("0.0.0.0/0", next_hop=ip_address("10.20.0.1")), theirs("10.0.0.0/8")))
    winning = replace(WIDE, table=OVERRIDE_TABLE)
    (pin,) = pins([winning], [ip_address("10.20.0.1")], observed)
    assert pin == Route(destination=ip_network("10.20.0.1/32"), oif="", table=OVERRIDE_TABLE, kind="throw")
    in_both = pins(
        [WIDE, replace(winning, destination=ip_network("10.20.0.0/24"))], [ip_address("10.20.0.1")], observed
    )
    assert [(p.kind, p.table) for p in in_both] == [("throw", OVERRIDE_TABLE), ("unicast", MAIN_TABLE)]
    thrown = Route(destination=ip_network("10.20.0.0/24"), oif="", table=OVERRIDE_TABLE, kind="throw")
    assert pins([thrown, winning], [ip_address("10.20.0.1")], observed) == (), "it is thrown already"


def test_routes_of_others_that_are_overridden_are_reported() -> None:
    plan = make_plan(PROFILE, seen(GATEWAY, GATEWAY6, routes=(VPN, BRIDGE)), override=ALL)
    findings = {finding.code: finding for finding in plan.findings}
    assert findings["DL-ROUTE-OVERRIDDEN"].evidence == "10.20.0.0/17 dev tun0"
    assert "10.20.5.0/24 dev docker0 in 10.20.0.0/16" in findings["DL-ROUTE-KEPT"].evidence


def test_an_override_is_written_as_it_was_typed() -> None:
    assert show_override(parse_override(["all"])) == ["all"]
    assert show_override(parse_override(["10.20.0.0/16", "all"])) == ["all", "10.20.0.0/16"]
    assert show_override(parse_override(["10.20.0.0/16", "fd00:20::/48"])) == ["10.20.0.0/16", "fd00:20::/48"]


@pytest.mark.parametrize(
    "text", ["", "everything", "10.20.0.1", "10.20.0.1/16", "10.20.0.0/33", "10.20.0.0 255.255.0.0"]
)
def test_what_is_no_prefix_is_refused_with_a_next_step(text: str) -> None:
    for parse in (parse_exclude, parse_override):
        with pytest.raises(UsageError) as error:
            parse([text])
        assert error.value.why
        assert error.value.next_step


def test_a_choice_about_nothing_of_the_profile_is_refused() -> None:
    check_choices(PROFILE, parse_exclude(["10.20.9.0/24", "10.0.0.0/8"]), ALL)
    for exclude, override in ((["10.30.0.0/16"], []), ([], ["10.30.0.0/16"])):
        with pytest.raises(UsageError, match=r"profile qa has nothing there"):
            check_choices(PROFILE, parse_exclude(exclude), parse_override(override))
