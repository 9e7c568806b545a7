"""Laptops on which openresolv, or Debian's resolvconf, merges resolv.conf from what DHCP says."""

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.modes import OURS, drive, driver, nameservers
from tests.system.world import Link, leaks, machine, make_etc_read_only, offer_dns, snapshot, until, wait_for_names

pytestmark = pytest.mark.system
SYSTEMS = {"openresolv": ("openresolv", Link.DHCPCD), "debian_resolvconf": ("resolvconf", Link.DHCLIENT)}
RENEW = {
    "openresolv": ("dhcpcd", "--rebind", "eth0"),
    "debian_resolvconf": (
        "sh",
        "-c",
        "kill $(cat /run/dhclient.eth0.pid); dhclient -1 -pf /run/dhclient.eth0.pid eth0",
    ),
}
OTHER = lan.OFFICE_DNS_2
MORE = ["127.53.53.54", "127.53.53.55"]


def told(mode: str, *behind: str) -> list[str]:
    """What the file names while it is told of us; openresolv's goes on where libc does not look."""
    return [OURS, *MORE, *behind] if mode == "openresolv" else [OURS]


@pytest.fixture(params=sorted(SYSTEMS))
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def laptop(mode: str) -> Iterator[Machine]:
    image, link = SYSTEMS[mode]
    with machine(image, link) as booted:
        if mode == "debian_resolvconf":  # else it comes after `direct`
            make_etc_read_only(booted)
        yield booted


def test_names_work_while_it_is_up_follow_the_network_and_all_is_as_it_was_afterwards(
    laptop: Machine, mode: str
) -> None:
    before = snapshot(laptop)
    laptop.devlink("up", "qa")
    assert drive(laptop, mode)["is_ours"]
    assert laptop.run("getent", "hosts", lan.WEB_NAME, user="bob").stdout.split()[0] == lan.WEB
    assert laptop.run("getent", "hosts", lan.WIKI).stdout.split()[0] == lan.ORDINARY[lan.OFFICE_DNS][lan.WIKI]
    laptop.devlink("down", "qa")
    assert before.diff(snapshot(laptop)) == []

    laptop.devlink("up", "qa")
    offer_dns(laptop, OTHER)
    laptop.run(*RENEW[mode])
    wait_for_names(laptop, lan.WIKI, lan.ORDINARY[OTHER][lan.WIKI])
    wait_for_names(laptop, lan.WEB_NAME, lan.WEB)
    until(lambda: nameservers(laptop), told(mode, OTHER))
    assert drive(laptop, mode)["is_ours"]
    laptop.run("resolvconf", "-u")  # as any other program's update; openresolv's leaves out what is behind us
    until(lambda: nameservers(laptop), told(mode, OTHER))
    laptop.devlink("down", "qa")
    assert nameservers(laptop) == [OTHER]
    assert leaks(laptop) == []
    assert leaks(laptop, OTHER) == []


def test_it_is_told_renewed_with_other_servers_and_forgotten(laptop: Machine, mode: str) -> None:
    before = snapshot(laptop)
    said = drive(laptop, mode, "apply")
    assert said == {"is_ours": True, "has_remains": True, "upstreams": [lan.OFFICE_DNS]}
    assert nameservers(laptop) == told(mode, lan.OFFICE_DNS)
    drive(laptop, mode, "apply")
    said = drive(laptop, mode, "restore")
    assert said == {"is_ours": False, "has_remains": False, "upstreams": [lan.OFFICE_DNS]}
    assert before.diff(snapshot(laptop)) == []

    drive(laptop, mode, "apply")
    offer_dns(laptop, OTHER, lan.OFFICE_DNS)
    laptop.run(*RENEW[mode])
    until(lambda: drive(laptop, mode)["upstreams"], [OTHER, lan.OFFICE_DNS])
    assert nameservers(laptop) == told(mode), "still"
    if not drive(laptop, mode)["is_ours"]:  # what it must say beside the servers has changed
        drive(laptop, mode, "apply")
    assert drive(laptop, mode)["is_ours"]
    assert nameservers(laptop) == told(mode, OTHER, lan.OFFICE_DNS)
    drive(laptop, mode, "restore")
    assert nameservers(laptop) == [OTHER, lan.OFFICE_DNS]


def test_a_files_process_that_is_killed_in_the_middle_leaves_nothing_half_done(laptop: Machine, mode: str) -> None:
    before = snapshot(laptop)
    kill = "systemctl kill --signal=KILL devlink-files.service"
    for verb in ("apply", "restore"):
        for delay in (0.0, 0.02, 0.05, 0.1, 0.2):
            asked = subprocess.Popen(
                laptop.enter_argv(*driver(mode, verb)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            time.sleep(delay)
            laptop.run("sh", "-c", kill, check=False)
            asked.communicate(timeout=30)  # it may have failed: the second process can be killed, too
            drive(laptop, mode, verb)
            assert (nameservers(laptop) == told(mode, lan.OFFICE_DNS)) == (verb == "apply")
    assert before.diff(snapshot(laptop)) == []


def test_after_a_power_cut_it_is_put_right(laptop: Machine, mode: str) -> None:
    drive(laptop, mode, "apply")
    laptop.power_cut()
    laptop.boot()
    drive(laptop, mode, "restore")
    wait_for_names(laptop)
    assert nameservers(laptop) == [lan.OFFICE_DNS]
    assert not drive(laptop, mode)["has_remains"]


def test_after_a_power_cut_openresolvs_file_is_put_right_though_its_records_are_gone() -> None:
    with machine("openresolv", Link.STATIC) as laptop:
        record = f"search corp.example\nnameserver {lan.OFFICE_DNS}\noptions rotate\n"
        laptop.run("resolvconf", "-a", "eth0.test", input=record)
        before = laptop.read("/etc/resolv.conf")
        drive(laptop, "openresolv", "apply")
        laptop.power_cut()
        laptop.boot()
        # A plain file outlives what it was made of; before the network comes up it is made anew, of nothing yet.
        assert not drive(laptop, "openresolv")["has_remains"]
        assert nameservers(laptop) == []
        laptop.run("resolvconf", "-a", "eth0.test", input=record)
        assert laptop.read("/etc/resolv.conf") == before
