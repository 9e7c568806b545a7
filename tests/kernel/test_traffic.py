"""The kernel tells where packets go, in a network of our own."""

import ipaddress
import select
import socket
import subprocess
import time

import pytest

from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.errors import HelperError
from devlink.kernel import nft
from devlink.kernel.probe import mark_of
from devlink.kernel.traffic import FEW, RATE, Traffic, destinations
from tests.kernel.private_network import in_private_network, ip, make_links

PODS, PODS_6 = ipaddress.ip_network("10.20.0.0/16"), ipaddress.ip_network("fd00:10:20::/48")
MANY = [ipaddress.ip_network(f"10.{n}.0.0/16") for n in (20, *range(101, 101 + FEW))]
MANY_6 = [ipaddress.ip_network(f"fd00:10:{n}::/48") for n in (20, *range(101, 101 + FEW))]


def send(address: str, mark: int = 0) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        sock.sendto(b"x", (address, 9))


def hear(watch: Traffic, patience: float = 5.0) -> tuple[IPAddress, ...]:
    readable, _, _ = select.select([watch], [], [], patience)
    return watch.take() if readable else ()


def prepare() -> None:
    make_links()
    ip("route", "add", "10.20.0.0/16", "via", "192.0.2.9")
    ip("route", "add", "10.99.0.0/16", "via", "192.0.2.9")
    ip("route", "add", "10.20.7.0/24", "via", "192.0.2.10")
    ip("route", "add", "fd00:10:20::/48", "via", "2001:db8::9")


def rules() -> str:
    return subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout


@pytest.mark.lab
@pytest.mark.parametrize("networks", [[PODS, PODS_6], [*MANY, *MANY_6]], ids=["few", "many"])
def test_the_first_packet_of_either_family_is_told_with_where_it_goes(networks: list[IPNetwork]) -> None:
    def body() -> None:
        prepare()
        watch = Traffic(networks)
        send("10.20.1.1")
        assert [str(a) for a in hear(watch)] == ["10.20.1.1"]
        send("fd00:10:20::7")
        assert [str(a) for a in hear(watch)] == ["fd00:10:20::7"]
        watch.close()
        watch.close()
        assert rules() == ""

    in_private_network(body)


@pytest.mark.lab
@pytest.mark.parametrize("networks", [[PODS], MANY], ids=["few", "many"])
def test_packets_elsewhere_and_probes_are_not_told(networks: list[IPNetwork]) -> None:
    def body() -> None:
        prepare()
        watch = Traffic(networks)
        send("10.99.0.1")
        send("fd00:10:20::7")
        send("10.20.1.2", mark=mark_of(7))
        send("10.20.1.1")
        assert [str(a) for a in hear(watch)] == ["10.20.1.1"]
        watch.close()

    in_private_network(body)


@pytest.mark.lab
def test_packets_that_go_on_are_told_of_again() -> None:
    def body() -> None:
        prepare()
        watch = Traffic([PODS])
        for _ in range(3):
            deadline = time.monotonic() + 5.0
            while not hear(watch, 0.02):
                send("10.20.1.1")
                assert time.monotonic() < deadline
        watch.close()

    in_private_network(body)


@pytest.mark.lab
def test_packets_that_cannot_be_ours_meet_as_few_rules_as_may_be() -> None:
    def body() -> None:
        prepare()
        watch = Traffic([PODS])
        assert "table ip devlink-traffic" in rules()
        assert "set networks" not in rules()
        assert "ip6" not in rules()
        watch.close()
        watch = Traffic([*MANY_6])
        assert "set networks" in rules()
        assert "table ip " not in rules()
        assert rules().count("ip6 daddr") == 1
        watch.close()

    in_private_network(body)


@pytest.mark.lab
def test_a_flood_wakes_nobody_more_often_than_the_rate_and_hides_no_other_next_hop() -> None:
    def body() -> None:
        prepare()
        watch = Traffic([PODS])
        began, told, others = time.monotonic(), 0, False
        while time.monotonic() - began < 1.0:
            for last in range(1, 100):
                send(f"10.20.1.{last}")
            if not others:
                send("10.20.7.1")
            heard = hear(watch, 0)
            told += sum(str(a) != "10.20.7.1" for a in heard)
            others = others or "10.20.7.1" in map(str, heard)
        assert 1 <= told <= RATE * (time.monotonic() - began) + 2
        assert others
        watch.close()

    in_private_network(body)


@pytest.mark.lab
def test_a_group_that_another_program_has_is_left_to_it() -> None:
    def body() -> None:
        prepare()
        one, other = Traffic([PODS]), Traffic([PODS])
        send("10.20.1.1")
        assert hear(one)
        assert hear(other)
        one.close()
        assert "devlink-traffic-232" in rules()
        other.close()

    in_private_network(body)


@pytest.mark.lab
def test_the_rules_end_with_a_process_that_is_killed() -> None:
    def body() -> None:
        prepare()
        code = (
            "import ipaddress, os\nfrom devlink.kernel.traffic import Traffic\n"
            "watch = Traffic([ipaddress.ip_network('10.20.0.0/16')])\nprint('ready', flush=True)\ninput()"
        )
        import sys

        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "ready\n"
            assert "devlink-traffic" in rules()
            other.kill()
        assert rules() == ""

    in_private_network(body)


@pytest.mark.lab
def test_without_libnftables_it_is_an_error_that_says_what_is_done_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "LIBRARY", "libnftables-that-is-not-there.so")

    def body() -> None:
        make_links()
        with pytest.raises(HelperError, match="does not tell") as caught:
            Traffic([PODS])
        assert "asked every ten seconds" in caught.value.next_step

    in_private_network(body)


@pytest.mark.parametrize("data", [b"", b"\x00" * 15, b"\xff" * 64, bytes(range(200))])
def test_what_is_no_message_tells_nothing(data: bytes) -> None:
    assert list(destinations(data)) == []
