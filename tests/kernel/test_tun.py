"""The helper's own link, in a network namespace of the test's own."""

import ipaddress
import os
import signal
import socket
import time

import pytest

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.kernel import tun
from devlink.kernel.tun import NAME, SharedTun, Tun
from tests.kernel.private_network import in_private_network, ip, ip_json

pytestmark = pytest.mark.lab
V4: IPAddress = ipaddress.ip_address("169.254.53.53")
V6: IPAddress = ipaddress.ip_address("fd00:5353::53")


def addresses() -> set[str]:
    return {
        f"{info['local']}/{info['prefixlen']} {info['scope']}"
        for shown in ip_json("address", "show", "dev", NAME)
        for info in shown.get("addr_info", ())
    }


def links() -> set[str]:
    return {shown["ifname"] for shown in ip_json("link", "show")}


def test_the_link_has_the_addresses_that_were_given_and_none_by_itself() -> None:
    def body() -> None:
        link = Tun()
        assert link.exists()
        for wanted, expected in (
            ([V4], {"169.254.53.53/32 global"}),
            ([V4], {"169.254.53.53/32 global"}),
            ([V6, V4], {"169.254.53.53/32 global", "fd00:5353::53/128 global"}),
            ([V6], {"fd00:5353::53/128 global"}),
        ):
            link.set_addresses(wanted)
            assert addresses() == expected
        (shown,) = ip_json("link", "show", "dev", NAME)
        assert {"UP", "LOWER_UP"} <= set(shown["flags"])
        assert "MULTICAST" not in shown["flags"]
        assert shown["ifindex"] == link.index
        # An IPv6 address that is still being checked could not be bound, and resolved would not look at it.
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
            bound.bind((str(V6), 53))
        link.close()
        link.close()
        assert NAME not in links()
        assert not link.exists()

    in_private_network(body)


def test_what_others_took_from_the_link_comes_back() -> None:
    def body() -> None:
        link = Tun()
        link.set_addresses([V4])
        ip("address", "flush", "dev", NAME)
        ip("link", "set", NAME, "down")
        link.set_addresses([V4])
        assert addresses() == {"169.254.53.53/32 global"}
        assert "UP" in ip_json("link", "show", "dev", NAME)[0]["flags"]
        ip("link", "delete", NAME)
        assert not link.exists()
        with pytest.raises(HelperError):
            link.set_addresses([V4])
        other = Tun()  # though the descriptor of the deleted one is still open
        assert other.exists()
        assert not link.exists()

    in_private_network(body)


def test_the_link_dies_with_its_process() -> None:
    def body() -> None:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            link = Tun()
            link.set_addresses([V4])
            os.write(writing, b".")
            signal.pause()
        os.read(reading, 1)
        assert NAME in links()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert NAME not in links()

    in_private_network(body)


@pytest.mark.parametrize("kind", ["another kind", "persistent", "held by a process"])
def test_a_link_of_somebody_else_is_left_alone_and_said(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tun, "BUSY_LIMIT", 0.1)

    def body() -> None:
        other = None
        if kind == "another kind":
            ip("link", "add", NAME, "type", "bridge")
        elif kind == "persistent":
            ip("tuntap", "add", NAME, "mode", "tun")
        else:
            other = Tun()
        before = ip_json("-details", "link", "show", "dev", NAME)
        with pytest.raises(HelperError, match="There is a link of that name"):
            Tun()
        assert ip_json("-details", "link", "show", "dev", NAME) == before
        if other is not None:
            other.close()

    in_private_network(body)


def test_the_link_of_a_helper_that_is_just_ending_is_waited_for() -> None:
    def body() -> None:
        child = os.fork()
        if child == 0:
            Tun()
            time.sleep(0.2)
            os._exit(0)
        while NAME not in links():
            time.sleep(0.01)
        link = Tun()
        assert link.exists()
        os.waitpid(child, 0)

    in_private_network(body)


def test_packets_that_are_sent_to_the_link_are_dropped_and_hold_nobody_up() -> None:
    def body() -> None:
        link = Tun()
        link.set_addresses([V4])
        ip("route", "add", "198.51.100.0/24", "dev", NAME)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            sending.settimeout(2)
            # One that waits would hold its octets against the sender's buffer, and in the end block it.
            sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            for _ in range(2000):
                sending.sendto(bytes(1000), ("198.51.100.1", 9))
        (shown,) = ip_json("-statistics", "link", "show", "dev", NAME)
        assert shown["txqlen"] == tun.QUEUE_LENGTH
        assert shown["stats64"]["tx"]["dropped"] >= 1900

    in_private_network(body)


def test_a_shared_link_is_there_while_somebody_holds_it_with_the_addresses_of_all() -> None:
    def body() -> None:
        shared = SharedTun()
        one, other = shared.hold(known=False), shared.hold()
        one.set_addresses([V4])
        other.set_addresses([V6])
        assert addresses() == {"169.254.53.53/32 global", "fd00:5353::53/128 global"}
        assert one.index == other.index
        one.close()
        one.close()
        assert addresses() == {"fd00:5353::53/128 global"}
        assert other.exists()
        other.close()
        assert NAME not in links()

    in_private_network(body)


def test_what_others_know_of_a_shared_link_goes_with_who_told_them() -> None:
    def body() -> None:
        shared = SharedTun()
        quiet, known = shared.hold(known=False), shared.hold()
        quiet.set_addresses([V4])
        known.set_addresses([V6])
        before = known.index
        known.close()
        assert quiet.exists()
        assert quiet.index != before
        assert addresses() == {"169.254.53.53/32 global"}

    in_private_network(body)


def test_who_held_a_link_that_was_deleted_does_not_hold_the_next_one() -> None:
    def body() -> None:
        shared = SharedTun()
        old = shared.hold()
        ip("link", "del", NAME)
        assert not old.exists()
        new = shared.hold()
        new.set_addresses([V4])
        old.close()
        assert new.exists()
        assert addresses() == {"169.254.53.53/32 global"}

    in_private_network(body)
