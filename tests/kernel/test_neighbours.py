"""A neighbour is there or is not, and is known by its link address, in a network of our own."""

import asyncio
import ipaddress
import subprocess
import time

import pytest

from devlink.core.network import Path
from devlink.errors import HelperError
from devlink.kernel.neighbours import is_reachable, link_address_toward, neighbour_answers
from devlink.kernel.observe import observe
from tests.kernel.private_network import in_private_network, ip, ip_json, make_links

pytestmark = pytest.mark.lab
VIA = ipaddress.ip_address("192.0.2.9")


def two_hosts() -> str:
    """The other end of the cable is another host: 192.0.2.9 and 2001:db8::9 answer, nobody else does.

    What is given back is its link address.
    """
    make_links()
    mac = str(ip_json("link", "show", "v1")[0]["address"])
    ip("address", "add", "fe80::1/64", "dev", "v0", "nodad")  # which the kernel's own questions come from
    peer = subprocess.Popen(["unshare", "-n", "sleep", "60"])
    for _ in range(500):
        done = subprocess.run(["ip", "link", "set", "v1", "netns", str(peer.pid)], capture_output=True, check=False)
        shown = subprocess.run(["ip", "link", "show", "v1"], capture_output=True, check=False)
        if done.returncode == 0 and shown.returncode != 0:
            break
    inside = ["nsenter", "-t", str(peer.pid), "-n", "ip"]
    addresses = ("192.0.2.9/24 dev v1", "2001:db8::9/64 dev v1 nodad")
    for words in ("link set lo up", "link set v1 up", *(f"address add {each}" for each in addresses)):
        subprocess.run([*inside, *words.split()], check=True)
    return mac


@pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8::9"])
def test_a_neighbour_that_is_there_answers_at_once_known_or_not(address: str) -> None:
    def body() -> None:
        two_hosts()

        async def twice() -> None:
            for _ in range(2):
                async with asyncio.timeout(2.9):  # before the kernel would give up
                    assert await neighbour_answers(ipaddress.ip_address(address), "v0")

        asyncio.run(twice())

    in_private_network(body)


def test_a_neighbour_that_is_not_there_does_not() -> None:
    def body() -> None:
        two_hosts()
        for name in ("ucast_solicit", "mcast_solicit"):
            with open(f"/proc/sys/net/ipv4/neigh/v0/{name}", "w") as file:
                file.write("1")

        async def ask() -> list[bool]:
            there, gone = ipaddress.ip_address("192.0.2.9"), ipaddress.ip_address("192.0.2.77")
            return list(await asyncio.gather(neighbour_answers(gone, "v0"), neighbour_answers(there, "v0")))

        assert asyncio.run(ask()) == [False, True]

    in_private_network(body)


@pytest.mark.parametrize("state", ["permanent", "noarp"])
@pytest.mark.parametrize("address", ["192.0.2.50", "2001:db8::50"])
def test_a_neighbour_that_is_set_by_hand_cannot_be_told_and_stays(address: str, state: str) -> None:
    def body() -> None:
        make_links()
        ip("neighbour", "add", address, "lladdr", "02:00:00:00:00:99", "dev", "v0", "nud", state)
        before = ip_json("neighbour", "show", address, "nud", "all")
        with pytest.raises(HelperError, match="cannot be told"):
            asyncio.run(neighbour_answers(ipaddress.ip_address(address), "v0"))
        assert before
        assert ip_json("neighbour", "show", address, "nud", "all") == before

    in_private_network(body)


def test_on_a_link_without_link_addresses_no_neighbour_can_be_told() -> None:
    def body() -> None:
        make_links()
        ip("link", "set", "v0", "arp", "off")
        with pytest.raises(HelperError, match="cannot be told"):
            asyncio.run(neighbour_answers(VIA, "v0"))

    in_private_network(body)


@pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8::9"])
def test_a_link_address_that_the_kernel_does_not_know_is_told_to_who_has_it_asked_for(address: str) -> None:
    def body() -> None:
        mac = two_hosts()
        target, neighbour = ipaddress.ip_address("10.9.9.9"), ipaddress.ip_address(address)
        path = Path(oif="v0", next_hop=neighbour)
        assert link_address_toward(target, path) == ""
        assert link_address_toward(target, path, ask=True) == mac
        assert link_address_toward(neighbour, Path(oif="v0")) == mac, (
            "it is known from then on, also as its own next hop"
        )

    in_private_network(body)


def test_of_nobody_no_link_address_is_told_and_soon() -> None:
    def body() -> None:
        two_hosts()
        began = time.monotonic()
        assert link_address_toward(ipaddress.ip_address("192.0.2.77"), Path(oif="v0"), ask=True) == ""
        assert time.monotonic() - began < 2.0, "the kernel itself asks for 3 s"
        for path in (Path(), Path(oif="lo", kind="local"), Path(oif="gone")):
            assert link_address_toward(ipaddress.ip_address("192.0.2.1"), path, ask=True) == ""

    in_private_network(body)


def test_on_a_tunnel_nobody_has_a_link_address() -> None:
    def body() -> None:
        make_links()
        ip("tuntap", "add", "dev", "tun9", "mode", "tun")
        ip("link", "set", "tun9", "up")
        assert {link.name for link in observe().links if link.noarp} == {"tun9"}
        assert link_address_toward(VIA, Path(oif="tun9"), ask=True) == ""

    in_private_network(body)


def test_what_the_kernel_knows_of_a_neighbour_is_told_without_asking() -> None:
    def body() -> None:
        make_links()
        assert is_reachable(VIA, "v0") is None, "nobody has asked for it"
        assert is_reachable(VIA, "nothere0") is None
        for state, known in (("reachable", True), ("stale", None)):
            ip("neighbour", "replace", str(VIA), "lladdr", "02:00:00:00:00:09", "dev", "v0", "nud", state)
            assert is_reachable(VIA, "v0") is known

    in_private_network(body)
