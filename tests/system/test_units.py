"""The units as they are packaged: systemd has nothing to say against them, and they expose little."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.system import install
from tests.system.machine import Machine
from tests.system.world import Link, machine, snapshot

pytestmark = pytest.mark.system
UNITS = sorted(path.name for path in (install.SOURCES / "devlink/service/layout/usr/lib/systemd/system").iterdir())
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


def test_no_number_of_deaths_keeps_a_socket_from_starting_its_service(laptop: Machine) -> None:
    limits = ("--property=TriggerLimitIntervalUSec", "--property=StartLimitIntervalUSec")
    sockets = [unit for unit in UNITS if unit.endswith(".socket")]
    assert set(laptop.run("systemctl", "show", "--value", *limits, *sockets).stdout.split()) == {"0"}


def test_what_was_installed_is_taken_back_before_anyone_looks_up_a_name(laptop: Machine) -> None:
    later = laptop.run("systemctl", "show", "--property=Before", "--value", "devlink-restore.service").stdout.split()
    wanted = {"network-pre.target", "sysinit.target", "systemd-resolved.service", "devlink-helper.service"}
    assert wanted <= set(later)


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.endswith(".service")])
def test_they_expose_little(laptop: Machine, unit: str) -> None:
    laptop.run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", unit)


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.endswith(".service")])
def test_a_unit_gives_the_reason_for_whatever_it_leaves_open(laptop: Machine, unit: str) -> None:
    said = laptop.run("systemd-analyze", "security", "--offline=true", "--no-pager", unit).stdout
    left = [line.split()[1].rpartition("~")[2].replace("(", "") for line in said.splitlines() if line.startswith("✗")]
    settings = {match[0] for each in left if (match := re.match(r"@?[A-Za-z_]*[A-Za-z]", each))}
    assert settings
    explained = [unit, *(["devlink-helper.service"] if unit == "devlink-restore.service" else [])]
    text = "".join(laptop.read(f"/usr/lib/systemd/system/{each}") for each in explained)
    comments = " ".join(line for line in text.splitlines() if line.startswith("#"))
    assert [each for each in sorted(settings) if each not in comments] == []


def test_the_folders_that_the_services_share_are_the_helpers_before_it_has_run(laptop: Machine) -> None:
    laptop.run("systemctl", "stop", "devlink-helper.service")
    folders = ("/run/devlink", "/var/lib/devlink")
    laptop.run("chown", "root:root", *folders)
    laptop.run("systemd-tmpfiles", "--create", "devlink.conf")
    assert set(laptop.run("stat", "--format=%U:%G %a", *folders).stdout.splitlines()) == {"devlink:devlink 755"}


def test_root_may_restore_before_the_helper_has_ever_run(laptop: Machine) -> None:
    laptop.run("systemctl", "stop", "devlink-helper.socket", "devlink-helper.service")
    laptop.run("rm", "-r", "/run/devlink/lock", "/var/lib/devlink/trust")
    laptop.devlink("helper", "restore", user="root")
    made = laptop.run("stat", "--format=%U:%G", "/run/devlink/lock", "/var/lib/devlink/trust").stdout
    laptop.run("systemctl", "start", "devlink-helper.socket")
    assert laptop.devlink("helper", "status", user="root").returncode == 0
    assert set(made.split()) == {"devlink:devlink"}


def test_an_image_whose_users_are_made_at_its_first_boot_has_all_from_then_on() -> None:
    with machine("bookworm", Link.STATIC) as laptop:
        forget = "for file in passwd shadow group gshadow; do sed -i /^devlink/d /etc/$file; done"
        laptop.run("sh", "-ec", f"{forget}; rm -rf /var/lib/devlink /etc/.updated; touch /usr")
        laptop.shut_down()
        laptop.boot()
        assert laptop.run("systemctl", "list-units", "--failed", "--no-legend", "devlink*").stdout == ""
        assert laptop.run("systemctl", "show", "--property=Result", "--value", "devlink-restore").stdout == "success\n"
        folders = ("/run/devlink", "/var/lib/devlink")
        assert set(laptop.run("stat", "--format=%U:%G %a", *folders).stdout.splitlines()) == {"devlink:devlink 755"}
        laptop.run("usermod", "--append", "--groups", "devlink", "alice")
        laptop.devlink("up", "qa")
        laptop.devlink("down", "--all")


def test_what_was_installed_is_taken_back_where_nothing_can_be_written(laptop: Machine) -> None:
    laptop.run("systemctl", "stop", "devlink-helper.service")
    laptop.run("sh", "-ec", "mount --bind /var/lib/devlink /var/lib/devlink; mount -o remount,bind,ro /var/lib/devlink")
    laptop.run("ip", "route", "add", "10.98.0.0/16", "via", "172.16.0.13", "proto", "231", "metric", "50")
    try:
        laptop.run("systemctl", "restart", "devlink-restore.service")
        assert laptop.run("ip", "route", "show", "proto", "231").stdout == ""
    finally:
        laptop.run("umount", "/var/lib/devlink")


@pytest.mark.parametrize("user", ["devlink", "devlink-dns"])
def test_nobody_can_log_in_as_one_of_the_services(laptop: Machine, user: str) -> None:
    assert laptop.run("getent", "shadow", user).stdout.split(":")[1].startswith("!")
    home, shell = laptop.run("getent", "passwd", user).stdout.strip().split(":")[5:]
    assert (shell, home.startswith("/home")) == ("/usr/sbin/nologin", False)


@pytest.mark.parametrize(("socket", "status"), [("helper", 0), ("forwarder", 1), ("files", 1)])
def test_only_the_helper_can_be_reached_by_everyone(laptop: Machine, socket: str, status: int) -> None:
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect('/run/devlink/{socket}')"
    done: subprocess.CompletedProcess[str] = laptop.run("python3", "-c", connect, user="bob", check=False)
    assert done.returncode == status, done.stderr


RESOLVED = ("org.freedesktop.resolve1", "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager")
NETWORK_MANAGER = (
    "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager",
)  # fmt: skip
ASKED = {
    "SetLinkDNS": (*RESOLVED, "SetLinkDNS", "ia(iay)", "{link}", "1", "2", "4", "172", "16", "0", "53"),
    "SetLinkDomains": (*RESOLVED, "SetLinkDomains", "ia(sb)", "{link}", "1", "cluster.local", "true"),
    "SetLinkDefaultRoute": (*RESOLVED, "SetLinkDefaultRoute", "ib", "{link}", "false"),
    "SetLinkLLMNR": (*RESOLVED, "SetLinkLLMNR", "is", "{link}", "no"),
    "SetLinkMulticastDNS": (*RESOLVED, "SetLinkMulticastDNS", "is", "{link}", "no"),
    "SetLinkDNSSEC": (*RESOLVED, "SetLinkDNSSEC", "is", "{link}", "no"),
    "SetLinkDNSOverTLS": (*RESOLVED, "SetLinkDNSOverTLS", "is", "{link}", "no"),
    "RevertLink": (*RESOLVED, "RevertLink", "i", "{link}"),
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


REFUSED = {
    "Reload": (*NETWORK_MANAGER, "Reload", "u", "1"),
    "SetLinkDNSSECNegativeTrustAnchors": (*RESOLVED, "SetLinkDNSSECNegativeTrustAnchors", "ias", "{link}", "0"),
}


@pytest.mark.parametrize("method", REFUSED)
def test_polkit_lets_the_helper_do_nothing_else_there(managed: Machine, method: str) -> None:
    link = managed.read("/sys/class/net/devlink9/ifindex").strip()
    call = [word.format(link=link) for word in REFUSED[method]]
    command = ("systemd-run", "--quiet", "--collect", "--pipe", "--wait", "--uid=devlink")
    done = managed.run(*command, "busctl", "call", "--allow-interactive-authorization=no", *call, check=False)
    assert done.returncode != 0
    assert any(word in done.stderr.lower() for word in ("denied", "authoriz", "authentication")), done.stderr


def test_network_manager_and_networkd_leave_a_link_of_devlinks_alone(managed: Machine) -> None:
    assert "devlink9:unmanaged" in managed.run("nmcli", "--terse", "--fields=DEVICE,STATE", "device").stdout
    networkd = managed.run("networkctl", "--no-legend", "list", "devlink9", check=False).stdout
    assert "unmanaged" in networkd or not networkd


def kill_unit(managed: Machine, uid: str, verb: str, unit: str) -> "subprocess.CompletedProcess[str]":
    call = {"KillUnit": ("KillUnit", "ssi", unit, "all", "9"), "StopUnit": ("StopUnit", "ss", unit, "replace")}[verb]
    manager = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
    command = ("systemd-run", "--quiet", "--collect", "--pipe", "--wait", f"--uid={uid}")
    asking = ("busctl", "call", "--allow-interactive-authorization=no")
    return managed.run(*command, *asking, *manager, *call, check=False)


def test_polkit_lets_the_helper_kill_the_forwarder_and_nothing_else_and_nobody_else_does(managed: Machine) -> None:
    managed.run("systemctl", "start", "devlink-forwarder.service")
    forwarder = "devlink-forwarder.service"
    assert kill_unit(managed, "devlink", "KillUnit", forwarder).returncode == 0
    for uid, verb, unit in (
        ("devlink", "StopUnit", forwarder),
        ("devlink", "KillUnit", "devlink-lab.service"),
        ("bob", "KillUnit", forwarder),
    ):
        assert kill_unit(managed, uid, verb, unit).returncode != 0, (uid, verb, unit)


HELPERS_WORK = """
import fcntl, os, socket, struct, subprocess, sys

def ip(*words):
    subprocess.run(["ip", *words], check=True)

tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"devlink0", 0x1001))
ip("link", "set", "devlink0", "up")
ip("address", "add", "169.254.53.53/32", "dev", "devlink0")
ip("route", "add", "10.98.0.0/16", "via", "172.16.0.13", "proto", "231")
ip("rule", "add", "pref", "5200", "table", "231")
ip("nexthop", "add", "id", "231", "via", "172.16.0.13", "dev", "eth0")
subprocess.run(["nft", "add table inet devlink; delete table inet devlink"], check=True)
for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
    sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"devlink0")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 231)
    sock.bind(("169.254.53.53", 53))
open("/proc/sys/net/ipv6/conf/devlink0/disable_ipv6", "w").write("1")
open("/var/lib/devlink/here", "w").close()
open("/run/devlink/here", "w").close()
subprocess.run(["getent", "hosts", "localhost"], check=True)
for path in ("/etc/here", "/usr/here", "/run/here", "/home/alice/.profile"):
    try:
        open(path, "a")
    except OSError:
        continue
    sys.exit(f"{path} could be written")
"""
"""What it must be able to do as uid `devlink` in its sandbox, and what not."""
FILES_WORK = """
import os, subprocess

open("/etc/of-another", "w").close()
os.chown("/etc/of-another", 1000, 1000)
os.chmod("/etc/of-another", 0o600)
os.rename("/etc/of-another", "/etc/moved")
open("/etc/moved", "a").close()
os.unlink("/etc/moved")
open("/run/here", "w").close()
os.unlink("/run/here")
"""


def in_sandbox(machine: Machine, unit: str, program: str) -> None:
    """Run a program as the unit would run its own, once. Fails with what it said."""
    machine.write("/usr/local/lib/work.py", program)
    machine.write(
        f"/run/systemd/system/{unit}.d/work.conf",
        "[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart=/usr/bin/python3 -P /usr/local/lib/work.py\n"
        "ExecStopPost=\n",
    )
    machine.run("systemctl", "daemon-reload")
    done = machine.run("systemctl", "start", unit, check=False)
    assert done.returncode == 0, machine.journal("-u", unit)


@pytest.mark.parametrize("image", ["bookworm", "trixie", "sid"])
def test_the_helpers_sandbox_lets_it_do_its_work_and_no_more(image: str) -> None:
    with machine(image, Link.NETWORK_MANAGER) as laptop:
        in_sandbox(laptop, "devlink-helper.service", HELPERS_WORK)


@pytest.mark.parametrize(
    ("image", "link"), [("trixie", Link.NETWORKD), ("openresolv", Link.DHCPCD), ("resolvconf", Link.DHCLIENT)]
)
def test_the_sandbox_of_files_lets_it_write_files_of_anyone_and_call_resolvconf(image: str, link: Link) -> None:
    with machine(image, link) as laptop:
        work = FILES_WORK
        if image in ("openresolv", "resolvconf"):
            work += """
text = "nameserver 127.0.0.231\\n"
exclusive = ["-x", "-m", "0"] if "openresolv" in open("/usr/sbin/resolvconf").read() else []
subprocess.run(["resolvconf", *exclusive, "-a", "lo.devlink"], input=text, text=True, check=True)
assert "127.0.0.231" in open("/etc/resolv.conf").read(), open("/etc/resolv.conf").read()
subprocess.run(["resolvconf", "-d", "lo.devlink"], check=True)
assert "127.0.0.231" not in open("/etc/resolv.conf").read(), open("/etc/resolv.conf").read()
"""
        before = snapshot(laptop)
        in_sandbox(laptop, "devlink-files.service", work)
        assert before.diff(snapshot(laptop)) == []
