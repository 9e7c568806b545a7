"""What a machine's owner has set about names stays in force while it is up: options, search lists, nsswitch.conf."""

import pytest

from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.world import Link, machine, snapshot

pytestmark = pytest.mark.system
FILE = f"""\
# a person wrote this
search corp.example lab.corp.example
options ndots:2 rotate edns0 timeout:3
sortlist 172.16.0.0/255.255.255.0
nameserver {lan.OFFICE_DNS}
nameserver {lan.OFFICE_DNS_2}
"""
SWITCHES = {
    "mdns before dns": "files mdns4_minimal [NOTFOUND=return] dns",
    "mdns before resolve": "files mdns4_minimal [NOTFOUND=return] resolve [!UNAVAIL=return] dns",
    "dns alone": "dns",
    "resolve alone": "files resolve",
    "myhostname between": "files myhostname resolve [!UNAVAIL=return] dns",
}


def up_and_down(laptop: Machine) -> str:
    """Names of all kinds while it is up, and everything as before after that; the mode."""
    before = snapshot(laptop)
    laptop.devlink("up", "qa")
    assert laptop.run("getent", "hosts", lan.WEB_NAME).stdout.split()[0] == lan.WEB
    assert laptop.run("getent", "hosts", lan.WIKI).stdout
    mode = laptop.run("/usr/bin/devlink", "helper", "status").stdout.split()[1]
    laptop.devlink("down", "qa")
    assert before.diff(snapshot(laptop)) == []
    return mode


def test_the_lines_of_a_plain_file_that_are_not_about_servers_stay_in_force() -> None:
    with machine("bookworm", Link.STATIC, resolv_conf=FILE) as laptop:
        laptop.devlink("up", "qa")
        lines = laptop.read("/etc/resolv.conf").splitlines()
        for line in FILE.splitlines()[1:4]:
            assert line in lines
        assert laptop.run("getent", "hosts", "wiki").stdout.split()[-1] == lan.WIKI, "the search list"
        laptop.devlink("down", "qa")
        assert laptop.read("/etc/resolv.conf") == FILE


@pytest.mark.parametrize("hosts", SWITCHES.values(), ids=SWITCHES)
def test_beside_resolved_names_come_by_whatever_nsswitch_says(hosts: str) -> None:
    files = {"/etc/nsswitch.conf": f"passwd: files systemd\nhosts: {hosts}\n"}
    with machine("trixie", Link.NETWORKD, files=files) as laptop:
        assert up_and_down(laptop) == "systemd-resolved"


@pytest.mark.parametrize("hosts", ["files mdns4_minimal [NOTFOUND=return] dns", "dns files"])
def test_with_a_plain_file_too(hosts: str) -> None:
    files = {"/etc/nsswitch.conf": f"passwd: files\nhosts: {hosts}\n"}
    with machine("bookworm", Link.STATIC, resolv_conf=FILE, files=files) as laptop:
        assert up_and_down(laptop) == "direct"


def test_where_libc_asks_no_dns_at_all_up_fails_with_the_reason_and_changes_nothing() -> None:
    files = {"/etc/nsswitch.conf": "passwd: files\nhosts: files\n"}
    with machine("bookworm", Link.STATIC, resolv_conf=FILE, files=files, settled=False) as laptop:
        before = snapshot(laptop)
        done = laptop.devlink("up", "qa", check=False)
        assert done.returncode == 4
        assert "hosts: files" in done.stderr
        assert before.diff(snapshot(laptop)) == []
