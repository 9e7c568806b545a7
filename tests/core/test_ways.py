"""Which way a session's packets shall go."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from devlink.core.network import OVERRIDE_TABLE, Path, Route
from devlink.core.plan import Desired, Detour
from devlink.core.ways import Ways

FIRST, SECOND = ip_address("172.16.0.13"), ip_address("172.16.0.16")
POD = ip_address("10.20.0.7")


def route(destination: str, **parts: object) -> Route:
    return replace(Route(destination=ip_network(destination), next_hop=FIRST, oif="eth0"), **parts)  # type: ignore[arg-type]


def way(*routes: Route, detours: tuple[Detour, ...] = ()) -> Path | None:
    return Ways(Desired(session="qa", routes=routes, detours=detours)).to(POD)


def test_the_narrowest_route_says_the_way_and_without_one_there_is_none() -> None:
    assert way(route("10.20.0.0/16"), route("10.20.0.0/26", next_hop=SECOND)) == Path(oif="eth0", next_hop=SECOND)
    assert way(route("10.21.0.0/16")) is None
    assert way() is None


def test_a_detour_takes_the_place_of_the_next_hop_that_it_is_for_and_of_no_other() -> None:
    detour = Detour(next_hop=FIRST, via=SECOND, oif="eth1")
    assert way(route("10.20.0.0/16"), detours=(detour,)) == Path(oif="eth1", next_hop=SECOND)
    assert way(route("10.20.0.0/16", next_hop=SECOND), detours=(detour,)) == Path(oif="eth0", next_hop=SECOND)
    assert way(route("10.20.0.0/16", next_hop=None), detours=(detour,)) == Path(oif="eth0")


def test_the_override_table_is_asked_before_the_main_one_and_a_throw_leaves_it_to_that() -> None:
    wide = route("10.20.0.0/16", table=OVERRIDE_TABLE, next_hop=SECOND)
    narrow = route("10.20.0.0/26")
    assert way(narrow, wide) == Path(oif="eth0", next_hop=SECOND)
    throw = Route(destination=ip_network("10.20.0.7/32"), oif="", table=OVERRIDE_TABLE, kind="throw")
    assert way(narrow, wide, throw) == Path(oif="eth0", next_hop=FIRST)
    assert way(wide, throw) is None


def test_a_way_is_lost_where_the_kernel_takes_another_link_or_next_hop_than_the_session_wants() -> None:
    ways = Ways(Desired(session="qa", routes=(route("10.20.0.0/16"),)))
    assert not ways.is_lost(POD, Path(oif="eth0", next_hop=FIRST))
    assert ways.is_lost(POD, Path(oif="eth0", next_hop=SECOND))
    assert ways.is_lost(POD, Path(oif="tun0", next_hop=FIRST))
    assert ways.is_lost(POD, Path())
    assert not ways.is_lost(ip_address("192.0.2.1"), Path(oif="tun0")), "that is nobody's of ours"
