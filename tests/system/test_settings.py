"""What a machine's owner has set about names stays in force while it is up: options, search lists, nsswitch.conf."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.world import Link, machine, snapshot, wait_for_names

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


NSSWITCH = "/etc/nsswitch.conf"


@pytest.fixture(scope="module")
def beside_resolved() -> Iterator[Machine]:
    with machine("trixie", Link.NETWORKD) as laptop:
        yield laptop


@pytest.fixture(scope="module")
def plain() -> Iterator[Machine]:
    with machine("bookworm", Link.STATIC, resolv_conf=FILE) as laptop:
        yield laptop


@contextmanager
def switched(laptop: Machine, hosts: str) -> Iterator[None]:
    """While the block runs its libc finds hosts so."""
    former = laptop.read(NSSWITCH)
    laptop.write(NSSWITCH, f"passwd: files systemd\nhosts: {hosts}\n")
    try:
        yield
    finally:
        laptop.write(NSSWITCH, former)


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


def test_the_lines_of_a_plain_file_that_are_not_about_servers_stay_in_force(plain: Machine) -> None:
    plain.devlink("up", "qa")
    lines = plain.read("/etc/resolv.conf").splitlines()
    for line in FILE.splitlines()[1:4]:
        assert line in lines
    assert plain.run("getent", "hosts", "wiki").stdout.split()[-1] == lan.WIKI, "the search list"
    plain.devlink("down", "qa")
    assert plain.read("/etc/resolv.conf") == FILE


@pytest.mark.parametrize("hosts", SWITCHES.values(), ids=SWITCHES)
def test_beside_resolved_names_come_by_whatever_nsswitch_says(beside_resolved: Machine, hosts: str) -> None:
    with switched(beside_resolved, hosts):
        wait_for_names(beside_resolved)
        assert up_and_down(beside_resolved) == "systemd-resolved"


@pytest.mark.parametrize("hosts", ["files mdns4_minimal [NOTFOUND=return] dns", "dns files"])
def test_with_a_plain_file_too(plain: Machine, hosts: str) -> None:
    with switched(plain, hosts):
        wait_for_names(plain)
        assert up_and_down(plain) == "direct"


def test_where_libc_asks_no_dns_at_all_up_fails_with_the_reason_and_changes_nothing(plain: Machine) -> None:
    with switched(plain, "files"):
        before = snapshot(plain)
        done = plain.devlink("up", "qa", check=False)
        assert done.returncode == 4
        assert "hosts: files" in done.stderr
        assert before.diff(snapshot(plain)) == []
