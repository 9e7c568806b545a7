"""The machines themselves: a power cut keeps the disk and nothing else, and nothing is left of a machine."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import systems
from tests.system import install
from tests.system.inside import lan
from tests.system.machine import CGROUPS, Machine
from tests.system.world import (
    PLAIN,
    Link,
    machine,
    offer_dns,
    plug,
    plug_in,
    questions,
    snapshot,
    unplug,
    wait_for_link,
    wait_for_names,
)

pytestmark = pytest.mark.system


def test_a_layer_that_another_checkout_booted_half_an_hour_ago_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systems, "folder", lambda: tmp_path)
    monkeypatch.setattr(install, "_digest", lambda _: "ours")
    monkeypatch.setattr(install, "_make", lambda _, target, installed: target.mkdir())
    now = time.time()
    for name, age in (("theirs", 1800), ("old", 7200)):
        (tmp_path / "sid.installed" / name).mkdir(parents=True)
        os.utime(tmp_path / "sid.installed" / name, (now - age, now - age))
    ours = install.layer("sid")
    assert {path.name for path in ours.parent.iterdir() if path.is_dir()} == {"ours", "theirs"}


def leftovers(name: str) -> list[str]:
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if f"/{name}-" in line]
    groups = [str(path) for path in (cgroup / name for cgroup in CGROUPS) if path.exists()]
    processes = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if name.encode() in path.read_bytes().split(b"\0"):
                processes.append(str(path))
        except OSError:
            pass  # it has just ended
    return mounts + groups + processes


@pytest.fixture
def laptop() -> Iterator[Machine]:
    with machine("bookworm", Link.STATIC, resolv_conf=PLAIN) as booted:
        yield booted


def test_a_power_cut_keeps_the_disk_and_loses_what_was_in_memory(laptop: Machine) -> None:
    laptop.write("/etc/kept", "on the disk\n")
    laptop.write("/run/lost", "in memory\n")
    asked = questions(laptop).count(f"{lan.WIKI}. A")
    assert asked
    laptop.power_cut()
    assert leftovers(laptop.name) == []
    laptop.boot()
    assert laptop.read("/etc/kept") == "on the disk\n"
    assert laptop.run("test", "-e", "/run/lost", check=False).returncode == 1
    wait_for_names(laptop)
    assert questions(laptop).count(f"{lan.WIKI}. A") > asked


def test_nothing_is_left_of_a_machine_whose_test_fails() -> None:
    laptop = machine("bookworm", Link.STATIC)

    def fail() -> None:
        with laptop:
            laptop.run("systemd-run", "--quiet", "sleep", "1000")
            laptop.run("systemctl", "freeze", "user.slice")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert leftovers(laptop.name) == []
    assert not os.path.exists(laptop.folder)


def test_a_user_has_what_a_login_gives(laptop: Machine) -> None:
    assert laptop.run("sh", "-c", "echo $XDG_RUNTIME_DIR $HOME $PWD; id -Gn", user="alice").stdout.splitlines() == [
        "/run/user/1000 /home/alice /home/alice",
        "alice devlink",
    ]
    assert "devlink" not in laptop.run("id", "-Gn", user="bob").stdout
    assert laptop.run("cat", user="bob", input="said\n").stdout == "said\n"
    assert "/user-1001.slice/" in laptop.run("cat", "/proc/self/cgroup", user="bob").stdout
    assert laptop.run("false", user="bob", check=False).returncode == 1


def test_two_snapshots_of_a_machine_at_rest_are_equal_and_a_change_is_seen(laptop: Machine) -> None:
    before = snapshot(laptop)
    assert before.diff(snapshot(laptop)) == []
    laptop.run("ip", "route", "add", "10.99.0.0/16", "via", lan.OFFICE_ROUTER)
    assert [line[:9] for line in before.diff(snapshot(laptop))] == ["routes: +"]


@pytest.mark.parametrize(
    ("image", "link"),
    [
        ("bookworm", Link.NETWORKD), ("trixie", Link.NETWORK_MANAGER), ("openresolv", Link.DHCPCD),
        *(
            pytest.param(*each, marks=pytest.mark.matrix)
            for each in (
                ("bookworm", Link.NETWORK_MANAGER), ("trixie", Link.NETWORKD), ("sid", Link.NETWORKD),
                ("sid", Link.NETWORK_MANAGER), ("resolvconf", Link.DHCLIENT),
            )
        ),
    ],
)  # fmt: skip
def test_each_system_learns_its_dns_servers_by_dhcp(image: str, link: Link) -> None:
    with machine(image, link) as laptop:
        assert laptop.state() == "running", laptop.run("systemctl", "--failed").stdout
        wait_for_names(laptop, address=lan.ORDINARY[lan.OFFICE_DNS][lan.WIKI])
        offer_dns(laptop, lan.OFFICE_DNS_2)
        unplug(laptop)
        if link is Link.NETWORK_MANAGER:  # it waits for some seconds before it believes that a cable was pulled
            laptop.run("nmcli", "device", "disconnect", "eth0")
        elif link is Link.DHCLIENT:  # which knows no carrier
            laptop.run("ifdown", "eth0")
        laptop.run("sh", "-c", "while ip -4 -o address show dev eth0 scope global | grep -q .; do sleep .05; done")
        plug_in(laptop)
        if link is Link.NETWORK_MANAGER:
            laptop.run("nmcli", "device", "connect", "eth0")
        elif link is Link.DHCLIENT:
            laptop.run("ifup", "eth0")
        wait_for_names(laptop, address=lan.ORDINARY[lan.OFFICE_DNS_2][lan.WIKI])


@pytest.mark.parametrize("link", [Link.NETWORKD, Link.NETWORK_MANAGER])
def test_a_second_network_is_plugged_in(link: Link) -> None:
    with machine("trixie", link) as laptop:
        plug(laptop)
        wait_for_link(laptop, "eth1")
        assert lan.LAPTOP_HOME in laptop.run("ip", "address", "show", "dev", "eth1").stdout
        laptop.run("sh", "-c", f"until resolvectl dns eth1 | grep -q {lan.HOME_DNS}; do sleep .05; done")
