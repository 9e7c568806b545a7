"""Laptops whose /etc/resolv.conf is a file: plain, behind a symlink, mounted, read-only, immutable, with a label."""

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.modes import OURS, drive, driver, nameservers
from tests.system.world import PLAIN, Link, machine, offer_dns, snapshot, until, wait_for_names

pytestmark = pytest.mark.system
FILE = "/etc/resolv.conf"


@pytest.fixture(scope="module")
def laptop() -> Iterator[Machine]:
    with machine("bookworm", Link.STATIC, resolv_conf=PLAIN) as booted:
        yield booted


def plain(laptop: Machine) -> None:
    laptop.write(FILE, PLAIN)


def symlink(laptop: Machine) -> None:
    laptop.write("/run/made/resolv.conf", PLAIN)
    laptop.run("ln", "-sfn", "../run/made/resolv.conf", FILE)


def hard_link_of_another_owner(laptop: Machine) -> None:
    laptop.write(FILE, PLAIN, mode=0o664)
    laptop.run("ln", "-f", FILE, "/etc/the-same")
    laptop.run("chown", "bob:adm", FILE)


def mounted(laptop: Machine) -> None:
    laptop.write("/var/lib/from-outside", PLAIN, mode=0o640)
    laptop.write(FILE, "beneath\n")
    laptop.run("nsenter", "-t", "1", "-m", "mount", "--bind", "/var/lib/from-outside", FILE)


def with_attributes(laptop: Machine) -> None:
    laptop.write(FILE, PLAIN)
    laptop.run("python3", "-c", f"import os; os.setxattr('{FILE}', 'user.who', b'me')")


@pytest.fixture
def tidy(laptop: Machine) -> Iterator[Machine]:
    yield laptop
    tidy_up = f"umount {FILE}; chattr -i {FILE}; mount -o remount,bind,rw /etc; umount /etc; rm -f /etc/the-same"
    laptop.run("sh", "-c", f"({tidy_up}) 2>/dev/null", check=False)
    plain(laptop)


@pytest.mark.parametrize("begin", [plain, symlink, hard_link_of_another_owner, mounted, with_attributes])
def test_whatever_it_was_it_is_given_back_also_when_the_process_is_killed(
    tidy: Machine, begin: Callable[[Machine], None]
) -> None:
    begin(tidy)
    before = snapshot(tidy)
    said = drive(tidy, "direct", "apply")
    assert said == {"is_ours": True, "has_remains": True, "upstreams": [lan.OFFICE_DNS]}
    assert nameservers(tidy) == [OURS, OURS, OURS, lan.OFFICE_DNS]
    attributes = tidy.run("python3", "-c", f"import os; print(os.listxattr('{FILE}'))").stdout
    assert ("user.who" in attributes) == (begin is with_attributes)
    for verb in ("restore", "apply"):
        for delay in (0.0, 0.05, 0.1):
            asked = subprocess.Popen(
                tidy.enter_argv(*driver("direct", verb)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            time.sleep(delay)
            tidy.run("systemctl", "kill", "--signal=KILL", "devlink-files.service", check=False)
            asked.communicate(timeout=30)
    said = drive(tidy, "direct", "restore")
    assert (said["is_ours"], said["has_remains"]) == (False, False)
    assert before.diff(snapshot(tidy)) == []


def test_an_immutable_file_is_left_alone_and_the_error_says_what_makes_it_changeable(tidy: Machine) -> None:
    plain(tidy)
    if tidy.run("chattr", "+i", FILE, check=False).returncode != 0:
        pytest.skip("this file system knows no immutable files")
    before = snapshot(tidy)
    said = tidy.run(*driver("direct", "apply"), check=False).stderr
    assert "chattr -i" in said
    assert before.diff(snapshot(tidy)) == []


def test_a_file_that_cannot_be_written_is_left_alone_and_the_error_says_why(tidy: Machine) -> None:
    mounted(tidy)
    tidy.run("mount", "-o", "remount,bind,ro", FILE)
    tidy.run("systemctl", "stop", "devlink-files.service")  # one that still runs sees it as it was
    before = snapshot(tidy)
    said = tidy.run(*driver("direct", "apply"), check=False).stderr
    assert "read-only" in said
    assert before.diff(snapshot(tidy)) == []


def test_after_a_power_cut_the_plain_file_comes_back() -> None:
    with machine("bookworm", Link.STATIC, resolv_conf=PLAIN) as laptop:
        before = snapshot(laptop)
        drive(laptop, "direct", "apply")
        laptop.power_cut()
        laptop.boot()
        drive(laptop, "direct", "restore")
        assert before.diff(snapshot(laptop)) == []


NO_RESOLVE = "passwd: files systemd\ngroup: files systemd\nhosts: files dns myhostname\n"
UPLINKS = "/run/systemd/resolve/resolv.conf"


@pytest.mark.parametrize(
    ("image", "settings"),
    [
        ("bookworm", ""),
        pytest.param("bookworm", "DNSStubListener=no", marks=pytest.mark.matrix),
        pytest.param("trixie", "", marks=pytest.mark.matrix),
        pytest.param("sid", "", marks=pytest.mark.matrix),
    ],
)
def test_resolved_whose_uplinks_libc_asks_without_it_remembers_nothing_of_us(image: str, settings: str) -> None:
    """It takes our servers for its own while our file is there, and would keep them with its own file back."""
    files = {"/etc/nsswitch.conf": NO_RESOLVE, "/etc/systemd/resolved.conf.d/50-test.conf": f"[Resolve]\n{settings}\n"}
    with machine(image, Link.NETWORKD, files=files, settled=False) as laptop:
        laptop.run("ln", "-sfn", UPLINKS, FILE)
        wait_for_names(laptop)
        laptop.run("resolvectl", "query", lan.WIKI)  # with a current server its columns are where they stay
        before = snapshot(laptop)
        laptop.devlink("up", "qa")
        assert "direct:" in laptop.devlink("status").stdout
        assert laptop.run("getent", "hosts", lan.WEB_NAME).stdout.split()[0] == lan.WEB
        laptop.run("resolvectl", "query", lan.WIKI)
        assert OURS in laptop.run("resolvectl", "dns").stdout, "it has read our file"
        laptop.devlink("down", "qa")
        assert before.diff(snapshot(laptop)) == []
        assert OURS not in laptop.run("resolvectl", "dns").stdout

        office_2 = lan.ORDINARY[lan.OFFICE_DNS_2][lan.WIKI]
        offer(laptop, lan.OFFICE_DNS_2)
        wait_for_names(laptop, lan.WIKI, office_2)
        assert nameservers(laptop) == [lan.OFFICE_DNS_2]

        laptop.devlink("up", "qa")
        for nobody in ("172.16.0.97", "172.16.0.98", "172.16.0.99"):
            offer(laptop, nobody)
            wait_for_file(laptop, nobody)
        offer(laptop, lan.OFFICE_DNS)
        wait_for_file(laptop, lan.OFFICE_DNS)
        wait_for_names(laptop)
        wait_for_names(laptop, lan.WEB_NAME, lan.WEB)
        offer(laptop, lan.OFFICE_DNS_2)
        wait_for_file(laptop, lan.OFFICE_DNS_2)
        laptop.devlink("down", "qa")
        assert nameservers(laptop) == [lan.OFFICE_DNS_2], "none of those in between"
        wait_for_names(laptop, lan.WIKI, office_2)


def offer(laptop: Machine, address: str) -> None:
    """DHCP names this server, and eth0 has heard of it."""
    offer_dns(laptop, address)
    laptop.run("networkctl", "renew", "eth0")
    laptop.run("sh", "-c", f"until resolvectl dns eth0 | grep -q '{address}$'; do sleep .05; done")


def wait_for_file(laptop: Machine, address: str) -> None:
    """Ours is there, with this one server behind us."""
    until(lambda: nameservers(laptop), [OURS, OURS, OURS, address])


def test_after_a_power_cut_resolved_knows_nothing_of_us_either() -> None:
    with machine("sid", Link.NETWORKD, files={"/etc/nsswitch.conf": NO_RESOLVE}, settled=False) as laptop:
        laptop.run("ln", "-sfn", UPLINKS, FILE)
        wait_for_names(laptop)
        laptop.devlink("up", "qa")
        laptop.power_cut()
        laptop.boot()
        wait_for_names(laptop)
        assert laptop.run("readlink", FILE).stdout.strip() == UPLINKS
        assert nameservers(laptop) == [lan.OFFICE_DNS]
        assert OURS not in laptop.run("resolvectl", "dns").stdout
