"""Routes on macOS, as its manual pages describe them: the outputs are written after netstat(1) and route(8) of macOS 14
and examples of them. None of it was run there."""

from ipaddress import ip_address, ip_network

import pytest

from devlink.core.network import Route
from devlink.errors import ConflictError, HelperError
from devlink.kernel.macos import Entry, Way, add, ask, changes, delete, parse_table, parse_way

INET = """\
Routing tables

Internet:
Destination        Gateway            Flags               Netif Expire
default            192.168.79.1       UGScg                 en0
default            link#18            UCSIg               utun3
10.20/16           172.16.0.13        UG1Sc                 en7
10.20.73.64/26     172.16.0.16        UG1Sc                 en7
127                127.0.0.1          UCS                   lo0
127.0.0.1          127.0.0.1          UH                    lo0
169.254            link#12            UCS                   en0      !
192.168.79         link#12            UCS                   en0      !
192.168.79.1/32    link#12            UCS                   en0      !
192.168.79.1       0:0:d1:f0:67:9     UHLWIir               en0   1178
224.0.0/4          link#12            UmCS                  en0      !
"""
OLDER = """\
Routing tables

Internet:
Destination        Gateway            Flags        Refs      Use   Netif Expire
default            192.168.79.1       UGSc           19       13     en0
10.10.10/24        link#4             UCS             1        0     en0
"""
INET6 = """\
Routing tables

Internet6:
Destination                             Gateway                                 Flags               Netif Expire
default                                 fe80::1%en0                             UGcg                  en0
::1                                     ::1                                     UHL                   lo0
fd00:20::/56                            fd00:16::13                             UG1Sc                 en7
fe80::%lo0/64                           fe80::1%lo0                             UcI                   lo0
fe80::1%lo0                             link#1                                  UHLI                  lo0
"""
WAY = """\
   route to: 10.20.73.70
destination: 10.20.73.64
       mask: 255.255.255.192
    gateway: 172.16.0.16
  interface: en7
      flags: <UP,GATEWAY,DONE,STATIC,PRCLONING,PROTO1>
 recvpipe  sendpipe  ssthresh  rtt,msec    rttvar  hopcount      mtu     expire
       0         0         0         0         0         0      1500         0
"""
GATEWAY, OTHER = ip_address("172.16.0.13"), ip_address("172.16.0.16")


def route(destination: str, next_hop: str | None = "172.16.0.13", *, mtu: int | None = None) -> Route:
    hop = ip_address(next_hop) if next_hop else None
    return Route(destination=ip_network(destination), next_hop=hop, oif="en7", mtu=mtu)


def entry(destination: str, gateway: str | None, flags: str, interface: str = "en7") -> Entry:
    hop = ip_address(gateway) if gateway else None
    return Entry(destination=ip_network(destination), gateway=hop, interface=interface, flags=flags)


def test_the_table_is_read_with_its_shortened_destinations() -> None:
    table = parse_table(INET, 4)
    assert [str(each.destination) for each in table] == [
        "0.0.0.0/0", "0.0.0.0/0", "10.20.0.0/16", "10.20.73.64/26", "127.0.0.0/8", "127.0.0.1/32", "169.254.0.0/16",
        "192.168.79.0/24", "192.168.79.1/32", "192.168.79.1/32", "224.0.0.0/4",
    ]  # fmt: skip
    assert [(str(each.destination), str(each.gateway)) for each in table if each.is_ours] == [
        ("10.20.0.0/16", "172.16.0.13"), ("10.20.73.64/26", "172.16.0.16"),
    ]  # fmt: skip
    assert [each.gateway for each in table if each.interface == "utun3"] == [None]
    cloned = table[9]
    assert (cloned.gateway, cloned.has_the_place) == (None, False), "a link-layer address is no gateway"


def test_the_columns_of_an_older_release_are_read_as_well() -> None:
    assert [(str(each.destination), each.interface, each.flags) for each in parse_table(OLDER, 4)] == [
        ("0.0.0.0/0", "en0", "UGSc"), ("10.10.10.0/24", "en0", "UCS"),
    ]  # fmt: skip


def test_the_ipv6_table_is_read_without_its_zones() -> None:
    assert [(str(each.destination), str(each.gateway)) for each in parse_table(INET6, 6)] == [
        ("::/0", "fe80::1"), ("::1/128", "None"), ("fd00:20::/56", "fd00:16::13"), ("fe80::/64", "None"),
        ("fe80::1/128", "None"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "netstat: unknown option\n", "Kernel IP routing table\n"])
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(HelperError, match="cannot be read"):
        parse_table(text, 4)


def test_the_way_to_an_address_is_read() -> None:
    assert ask(ip_address("10.20.73.70")) == ("/sbin/route", "-n", "get", "10.20.73.70")
    assert ask(ip_address("fd00::1"))[-2:] == ("-inet6", "fd00::1")
    assert parse_way(WAY) == Way(gateway=OTHER, interface="en7")
    assert parse_way("  interface: en0\n") == Way(gateway=None, interface="en0")
    with pytest.raises(HelperError, match="no way"):
        parse_way("route: writing to routing socket: not in table\n")


def test_a_route_is_added_marked_and_deleted_only_by_its_own_gateway() -> None:
    wanted = route("10.20.0.0/16", mtu=1480)
    place = ("-inet", "-net", "10.20.0.0/16", "172.16.0.13")
    assert add(wanted) == ("/sbin/route", "-n", "add", *place, "-mtu", "1480", "-proto1")
    assert delete(wanted) == ("/sbin/route", "-n", "delete", *place)
    assert add(route("fd00:20::/56", "fd00:16::13"))[3:7] == ("-inet6", "-net", "fd00:20::/56", "fd00:16::13")
    assert add(route("fd00:20::/56", "fe80::13"))[6] == "fe80::13%en7", "of one link only"
    assert add(route("10.20.0.0/16", None))[3:8] == ("-inet", "-net", "10.20.0.0/16", "-interface", "en7")


def test_a_throw_is_refused_in_words() -> None:
    with pytest.raises(HelperError, match="throw") as refused:
        add(Route(destination=ip_network("10.20.0.0/16"), oif="", kind="throw"))
    assert "--override" in refused.value.next_step


def test_only_what_is_missing_is_added_and_only_ours_is_deleted() -> None:
    wanted = (route("10.20.0.0/16"), route("10.20.73.64/26"), route("10.254.0.0/16"))
    assert changes(wanted, parse_table(INET, 4)) == (
        delete(route("10.20.73.64/26", "172.16.0.16")),
        add(route("10.20.73.64/26")),
        add(route("10.254.0.0/16")),
    )
    assert changes((), parse_table(INET, 4)) == (
        delete(route("10.20.0.0/16")),
        delete(route("10.20.73.64/26", "172.16.0.16")),
    )


def test_what_is_there_as_wanted_is_left() -> None:
    present = (entry("10.20.0.0/16", "172.16.0.13", "UG1Sc"), entry("10.30.0.0/16", None, "U1S"))
    assert changes((route("10.20.0.0/16"), route("10.30.0.0/16", None)), present) == ()


def test_a_route_another_program_has_is_a_conflict_that_names_its_way() -> None:
    with pytest.raises(ConflictError, match=r"192\.168\.79\.1 by utun3"):
        changes([route("10.20.0.0/16")], [entry("10.20.0.0/16", "192.168.79.1", "UGSc", "utun3")])


def test_a_route_for_bound_sockets_only_and_a_cloned_one_are_no_conflict() -> None:
    present = (entry("10.20.0.0/16", None, "UCSI", "utun3"), entry("10.254.0.1/32", None, "UHW"))
    wanted = (route("10.20.0.0/16"), route("10.254.0.1/32"))
    assert changes(wanted, present) == tuple(map(add, wanted))
