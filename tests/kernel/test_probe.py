"""Marked sockets go by their own gateway or nowhere, in a network of our own."""

import errno
import ipaddress
import socket
import subprocess

import pytest

from devlink.kernel import rules
from devlink.kernel.probe import delete_ways, probe_socket, put_way, rules_of, way_to
from tests.kernel.private_network import in_private_network, ip, ip_json, make_links

pytestmark = pytest.mark.lab
TARGET = ipaddress.ip_address("10.254.0.2")
VIA = ipaddress.ip_address("192.0.2.9")


def open_way(number: int) -> None:
    for rule in rules_of(number, 4):
        rules.add(rule)
    put_way(way_to(TARGET, VIA, "v0", number))


def way_of(number: int) -> str:
    mark = f"{231 << 16 | number:#x}"
    return str(ip_json("route", "get", str(TARGET), "mark", mark)[0].get("gateway"))


def test_a_marked_packet_goes_by_its_own_gateway_whatever_the_routes_say() -> None:
    def body() -> None:
        make_links()
        ip("route", "add", "10.254.0.0/16", "via", "192.0.2.8")
        open_way(1)
        assert way_of(1) == str(VIA)
        plain = ip_json("route", "get", str(TARGET))[0]
        assert plain["gateway"] == "192.0.2.8"

    in_private_network(body)


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_a_marked_packet_whose_gateway_has_no_way_goes_nowhere(kind: str) -> None:
    """Else the answer would be another gateway's."""

    def body() -> None:
        make_links()
        ip("route", "add", "10.254.0.0/16", "via", "192.0.2.8")
        open_way(1)
        with probe_socket(4, "udp" if kind == "udp" else "tcp", 2) as lost:
            assert lost.connect_ex((str(TARGET), 53)) in (errno.ENETUNREACH, errno.EHOSTUNREACH)
        with probe_socket(4, "udp", 1) as sock:
            sock.connect((str(TARGET), 53))
            assert sock.getsockname()[0] == "192.0.2.1"
            with pytest.raises(OSError, match="nreachable"):
                sock.connect(("10.254.0.3", 53))

    in_private_network(body)


def test_the_rules_are_ours_and_go_one_by_one() -> None:
    def body() -> None:
        make_links()
        open_way(1)
        for rule in rules_of(2, 4):
            rules.add(rule)
        shown = subprocess.run(["ip", "rule"], check=True, capture_output=True, text=True).stdout
        assert shown.count("proto 231") == 3
        for rule in (*rules_of(1, 4), *rules_of(2, 4)):
            rules.delete(rule)
        shown = subprocess.run(["ip", "rule"], check=True, capture_output=True, text=True).stdout
        assert "proto 231" not in shown

    in_private_network(body)


def test_a_way_can_be_put_twice_and_deleted_when_its_link_has_taken_it_along() -> None:
    def body() -> None:
        make_links()
        way = way_to(TARGET, VIA, "v0", 1)
        put_way(way)
        put_way(way)
        assert len(ip_json("route", "show", "table", "5231")) == 1
        ip("link", "delete", "v0")
        delete_ways([way])

    in_private_network(body)


def test_a_probe_socket_does_not_wait_and_is_not_inherited() -> None:
    def body() -> None:
        with probe_socket(4, "udp", 1) as sock:
            assert not sock.get_inheritable()
            assert not sock.getblocking()
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 231 << 16 | 1

    in_private_network(body)
