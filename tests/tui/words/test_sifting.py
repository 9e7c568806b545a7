"""Which routes a text means."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from devlink.tui.records import RouteRow
from devlink.tui.words.sifting import Sieve, command_for, extent_of


def row(destination: str, state: str = "installed", **changes: str) -> RouteRow:
    return RouteRow(**{
        "destination": destination, "next_hop": "172.16.0.13", "oif": "eth0", "owner": "devlink", "state": state,
        **changes,
    })  # fmt: skip


ROWS = [
    row("10.20.0.0/16"),
    row("10.20.3.0/26"),
    row("10.20.3.64/26", "missing"),
    row("10.254.0.0/16", next_hop="10.20.3.7"),
    row("10.20.9.0/24", "foreign", owner="OpenVPN", oif="tun0"),
    row("fd00:10::/32"),
    row("fd00:10:1::/64", note="the Sieve of Eratosthenes"),
    row("10.21.0.0/24", "taken", owner="docker0"),
]


def found(text: str) -> list[str]:
    return [each.destination for each in Sieve(ROWS).sift(text)]


def test_an_address_finds_the_routes_that_cover_it_the_longest_prefix_first_and_those_by_way_of_it() -> None:
    assert found("10.20.3.7") == ["10.20.3.0/26", "10.20.0.0/16", "10.254.0.0/16"]
    assert found("10.20.3.63") == ["10.20.3.0/26", "10.20.0.0/16"]
    assert found("10.20.3.64") == ["10.20.3.64/26", "10.20.0.0/16"]
    assert found("fd00:10:1::5") == ["fd00:10:1::/64", "fd00:10::/32"]


def test_a_prefix_finds_what_shares_an_address_with_it_above_and_below() -> None:
    assert found("10.20.3.0/24") == ["10.20.3.64/26", "10.20.0.0/16", "10.20.3.0/26"]
    assert found("10.20.3.9/24") == found("10.20.3.0/24")


def test_words_are_found_anywhere_in_a_row_and_each_of_them_must_be_there() -> None:
    assert found("openvpn") == ["10.20.9.0/24"]
    assert found("ERATOSTHENES fd00") == ["fd00:10:1::/64"]
    assert found("missing tun0") == []
    assert found("10.20.3.") == ["10.20.3.64/26", "10.20.3.0/26", "10.254.0.0/16"]


def test_what_is_missing_or_taken_stands_first() -> None:
    assert found("")[:2] == ["10.20.3.64/26", "10.21.0.0/24"]


def test_routes_are_counted_by_whose_they_are() -> None:
    assert Sieve(ROWS).count() == "5 ours, 1 of others, 1 missing, 1 taken"
    assert Sieve([row("10.0.0.0/8")] * 1200).count() == "1,200 ours"
    assert Sieve().count() == ""


def test_what_is_no_destination_is_never_found_by_an_address_and_does_no_harm() -> None:
    odd = [row(text) for text in ("default", "", "10.1.2", "10.1.2.x/24", "fd00:1/64", "10.1.2.0/x", "::g")]
    assert Sieve(odd).sift("0.0.0.0/0") == []
    assert Sieve(odd).sift("::/0") == []


NETWORKS = st.one_of(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(lambda x: ipaddress.ip_network(x, strict=False)),
    st.tuples(st.integers(2**32, 2**128 - 1), st.integers(0, 128)).map(
        lambda x: ipaddress.ip_network((x[0].to_bytes(16, "big"), x[1]), strict=False)
    ),
)


@given(NETWORKS)
def test_a_destination_is_read_as_the_library_reads_it(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    wanted = (network.version, int(network.network_address), int(network.broadcast_address))
    assert extent_of(str(network)) == wanted


def test_a_copy_asks_the_kernel_for_the_address_that_is_looked_for_else_it_is_the_destination() -> None:
    assert command_for(ROWS[0], "10.20.3.7") == "ip route get 10.20.3.7"
    assert command_for(ROWS[0], "devlink") == "10.20.0.0/16"
    assert command_for(None, "") == ""
