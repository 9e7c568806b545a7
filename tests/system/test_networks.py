"""Where the laptop goes: other DHCP servers, a second network, and names that a system's own settings make special."""

import pytest

from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.setups import SETUPS, Setup, params
from tests.system.world import Link, leaks, offer_dns, plug, plug_in, unplug, until, wait_for_names

pytestmark = pytest.mark.system
DYNAMIC = params(*(name for name, setup in SETUPS.items() if setup.link is not Link.STATIC))
RESOLVED = params(*(name for name, setup in SETUPS.items() if setup.mode == "systemd-resolved"))
IN_OFFICE = {server: lan.ORDINARY[server][lan.WIKI] for server in (lan.OFFICE_DNS, lan.OFFICE_DNS_2)}


def renew(laptop: Machine, link: Link) -> None:
    """Have the link go down and come up again, as in another network."""
    if link is Link.NETWORK_MANAGER:
        laptop.run("nmcli", "device", "disconnect", "eth0")
        laptop.run("nmcli", "device", "connect", "eth0")
    elif link is Link.DHCLIENT:
        laptop.run("ifdown", "eth0")
        laptop.run("ifup", "eth0")
    else:
        unplug(laptop)
        plug_in(laptop)


@pytest.mark.parametrize("setup", DYNAMIC, indirect=True)
def test_other_servers_that_dhcp_names_are_asked_while_it_is_up_and_after_that(laptop: Machine, setup: Setup) -> None:
    laptop.devlink("up", "qa")
    wait_for_names(laptop, lan.WIKI, IN_OFFICE[lan.OFFICE_DNS])
    offer_dns(laptop, lan.OFFICE_DNS_2)
    renew(laptop, setup.link)
    wait_for_names(laptop, lan.WIKI, IN_OFFICE[lan.OFFICE_DNS_2])
    until(lambda: laptop.devlink("status", check=False).returncode, 0)  # whoever asks before may be led astray
    wait_for_names(laptop, lan.WEB_NAME, lan.WEB)
    laptop.devlink("down", "qa")
    wait_for_names(laptop, lan.WIKI, IN_OFFICE[lan.OFFICE_DNS_2])
    assert leaks(laptop) == []
    assert leaks(laptop, lan.OFFICE_DNS_2) == []


@pytest.mark.parametrize("setup", RESOLVED, indirect=True)
def test_a_second_network_brings_its_names_and_takes_none_of_ours(up: Machine) -> None:
    plug(up)
    wait_for_names(up, lan.NAS)
    wait_for_names(up, lan.WEB_NAME, lan.WEB)
    unplug(up, "eth1")
    wait_for_names(up, lan.WEB_NAME, lan.WEB)
    assert leaks(up) == []
    assert leaks(up, lan.HOME_DNS) == []
    up.run("ip", "link", "delete", "eth1")


NETWORKD = params(*(name for name, setup in SETUPS.items() if setup.link is Link.NETWORKD))


@pytest.mark.parametrize("setup", NETWORKD, indirect=True)
def test_a_vpn_that_takes_all_ordinary_names_comes_and_goes(up: Machine) -> None:
    """As wg-quick and openvpn do it beside resolved: servers of its own, and `~.`."""
    up.run("sh", "-c", "ip link add vpn0 type bridge && ip address add 192.0.2.9/32 dev vpn0 && ip link set vpn0 up")
    up.run("resolvectl", "dns", "vpn0", lan.OFFICE_DNS_2)
    up.run("resolvectl", "domain", "vpn0", "~.")
    wait_for_names(up, lan.WIKI, IN_OFFICE[lan.OFFICE_DNS_2])
    wait_for_names(up, lan.WEB_NAME, lan.WEB)
    up.run("ip", "link", "delete", "vpn0")
    wait_for_names(up, lan.WIKI, IN_OFFICE[lan.OFFICE_DNS])
    wait_for_names(up, lan.WEB_NAME, lan.WEB)
    assert leaks(up) == []
    assert leaks(up, lan.OFFICE_DNS_2) == []
