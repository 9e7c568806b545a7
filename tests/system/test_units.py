"""The units as they are packaged: systemd has nothing to say against them, and they expose little."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.system import install
from tests.system.machine import Machine
from tests.system.world import Link, machine

pytestmark = pytest.mark.system
UNITS = sorted(path.name for path in (install.SOURCES / "packaging/systemd").iterdir())
EXPOSURE = 20
"""In tenths, as `systemd-analyze security --threshold` has it."""


@pytest.fixture(scope="module", params=["bookworm", "trixie", "sid"])
def laptop(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with machine(request.param, Link.STATIC) as booted:
        yield booted


def test_systemd_has_nothing_to_say_against_them(laptop: Machine) -> None:
    # It ends with 0 even where it does not know a key.
    said = laptop.run("systemd-analyze", "verify", "--man=no", *UNITS)
    assert said.stdout + said.stderr == ""


def test_they_are_up_after_a_boot_and_none_has_failed(laptop: Machine) -> None:
    assert laptop.run("systemctl", "list-units", "--failed", "--no-legend", "devlink*").stdout == ""
    sockets = [unit for unit in UNITS if unit.endswith(".socket")]
    assert set(laptop.run("systemctl", "is-active", *sockets).stdout.split()) == {"active"}
    assert laptop.run("systemctl", "show", "--property=Result", "--value", "devlink-restore").stdout == "success\n"


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.endswith(".service")])
def test_they_expose_little(laptop: Machine, unit: str) -> None:
    laptop.run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", unit)


@pytest.mark.parametrize(("socket", "status"), [("helper", 0), ("forwarder", 1), ("files", 1)])
def test_only_the_helper_can_be_reached_by_everyone(laptop: Machine, socket: str, status: int) -> None:
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect('/run/devlink/{socket}')"
    done: subprocess.CompletedProcess[str] = laptop.run("python3", "-c", connect, user="bob", check=False)
    assert done.returncode == status, done.stderr


RESOLVED = ("org.freedesktop.resolve1", "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager")
NETWORK_MANAGER = ("org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager")
ASKED = {
    "SetLinkDNS": (*RESOLVED, "SetLinkDNS", "ia(iay)", "{link}", "1", "2", "4", "172", "16", "0", "53"),
    "SetLinkDomains": (*RESOLVED, "SetLinkDomains", "ia(sb)", "{link}", "1", "cluster.local", "true"),
    "SetLinkDefaultRoute": (*RESOLVED, "SetLinkDefaultRoute", "ib", "{link}", "false"),
    "SetLinkLLMNR": (*RESOLVED, "SetLinkLLMNR", "is", "{link}", "no"),
    "SetLinkMulticastDNS": (*RESOLVED, "SetLinkMulticastDNS", "is", "{link}", "no"),
    "SetLinkDNSSEC": (*RESOLVED, "SetLinkDNSSEC", "is", "{link}", "no"),
    "SetLinkDNSOverTLS": (*RESOLVED, "SetLinkDNSOverTLS", "is", "{link}", "no"),
    "RevertLink": (*RESOLVED, "RevertLink", "i", "{link}"),
    "Reload": (*NETWORK_MANAGER, "Reload", "u", "1"),
}


@pytest.fixture(scope="module", params=["bookworm", "trixie", "sid"])
def managed(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with machine(request.param, Link.NETWORK_MANAGER) as booted:
        booted.run("ip", "tuntap", "add", "devlink9", "mode", "tun")
        booted.run("ip", "link", "set", "devlink9", "up")
        yield booted


@pytest.mark.parametrize("method", ASKED)
def test_polkit_lets_the_helper_tell_the_managers_and_nobody_else(managed: Machine, method: str) -> None:
    link = managed.read("/sys/class/net/devlink9/ifindex").strip()
    call = [word.format(link=link) for word in ASKED[method]]

    def ask(uid: str) -> "subprocess.CompletedProcess[str]":
        command = ("systemd-run", "--quiet", "--collect", "--pipe", "--wait", f"--uid={uid}")
        return managed.run(*command, "busctl", "call", "--allow-interactive-authorization=no", *call, check=False)

    assert ask("devlink").returncode == 0, ask("devlink").stderr
    assert ask("bob").returncode != 0
    assert ask("devlink-dns").returncode != 0


def test_network_manager_and_networkd_leave_a_link_of_devlinks_alone(managed: Machine) -> None:
    assert "devlink9:unmanaged" in managed.run("nmcli", "--terse", "--fields=DEVICE,STATE", "device").stdout
    networkd = managed.run("networkctl", "--no-legend", "list", "devlink9", check=False).stdout
    assert "unmanaged" in networkd or not networkd
