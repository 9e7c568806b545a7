"""devlink's package on Debian: installed, used, upgraded, removed and purged, and then there is no trace of it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devlink import __version__
from devlink.core.codec import encode
from tests.certificates import Authority
from tests.system import install
from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.world import PLAIN, TRUST, Link, address, machine, snapshot, until, wait_for_names

pytestmark = pytest.mark.system
IMAGES = ["bookworm", "trixie", pytest.param("sid", marks=pytest.mark.matrix)]
ONE_OF_THEM = ["trixie", *(pytest.param(image, marks=pytest.mark.matrix) for image in ("bookworm", "sid"))]
NEXT = f"{__version__}+next"
"""The version of the package that comes after the present one: another build of the same devlink."""
INSTALL_LIMIT = 100.0
"""Seconds; most of it goes into compiling."""
OTHERS = {
    "proc|sys|run|dev|tmp": "the kernel's, or gone with the power",
    "root/[.]config/.*": "the test's own",
    "home/.*": "what is a person's: no package touches it",
    "var/lib/dpkg(/.*)?": "dpkg's own notes",
    "var/log/(dpkg|alternatives)[.]log": "dpkg's log",
    "var/tmp/systemd-private-.*": "what services that come and go have for themselves",
    "var/log/journal(/.*)?": "the journal",
    "var/log/(lastlog|wtmp|btmp|wtmp[.]db)|var/lib/wtmpdb(/.*)?": "who logged in",
    "etc/(passwd|group|shadow|gshadow|subuid|subgid)-": "the copies that the programs which add users keep",
    "etc/[.]pwd[.]lock": "their lock",
    "var/(lib|log)/devlink-lab(/.*)?|usr/lib/devlink-lab(/.*)?": "the network that the machine is plugged into",
    "var/lib/systemd/(timers|timesync|random-seed|network)(/.*)?": "systemd's own notes",
}
"""What may change on a disk while devlink comes and goes, as regular expressions, and why."""
LIST = r"find / -xdev -printf '%P\t%y\t%M %U:%G %l\t%s\n'"
END = """\
import datetime, sys
sys.path.insert(0, "/usr/share/devlink")
from devlink.cluster.access import Credentials
from devlink.cluster.answers import expired
print(expired(Credentials(certificate=sys.stdin.read(), key="key"), datetime.datetime.now(datetime.UTC)))
"""
"""Asks Debian's cryptography, which is older than the one in .venv, for a certificate's end."""
ECHO = f"""\
import socket
server = socket.create_server(("{lan.WEB_POD}", 9999))
while True:
    stream, _ = server.accept()
    while data := stream.recv(4096):
        stream.sendall(data)
"""
TALK = f"""\
import itertools, socket, time
stream = socket.create_connection(("{lan.WEB_POD}", 9999), timeout=20)
for number in itertools.count(1):
    stream.sendall(b"%d\\n" % number)
    assert stream.recv(4096) == b"%d\\n" % number
    with open("/run/said", "w") as said:
        said.write(str(number))
    time.sleep(0.02)
"""


def disk(machine: Machine) -> dict[str, str]:
    """Each file, folder and link on the disk, with mode, owner and a link's target; of a file also size and content.

    The content only of what was written since the machine was made: what lies in the layers below it cannot change.
    """
    skipped = re.compile("|".join(f"(?:{each})" for each in OTHERS))
    found = {}
    for line in machine.run("sh", "-c", LIST).stdout.splitlines():
        path, kind, shown, size = line.split("\t")
        if skipped.fullmatch(path):
            continue
        # The size of a folder is its file system's affair.
        found[path] = f"{kind} {shown} {size}" if kind == "f" else f"{kind} {shown}"
        if kind == "f" and (machine.disk / path).is_file():
            found[path] += f" {_digest(machine.disk / path)}"
    return found


def changed(machine: Machine, before: dict[str, str]) -> dict[str, tuple[str, str]]:
    """What is there now and was not, or the other way round, or differs: path → how it was, and how it is."""
    now = disk(machine)
    found = {}
    for path in sorted({*before, *now}):
        was, is_now = before.get(path, ""), now.get(path, "")
        if was and is_now.startswith(f"{was} "):
            # It was written for the first time; what was there before still lies below.
            below = next(layer / path for layer in machine.lower if (layer / path).is_file())
            was += f" {_digest(below)}"
        if was != is_now:
            found[path] = was, is_now
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def install_package(machine: Machine, version: str = "") -> None:
    """Bring it there and have dpkg install it, which must not say a word of warning."""
    script = "cat >/tmp/devlink.deb; dpkg --force-unsafe-io --install /tmp/devlink.deb"
    with install.package(version).open("rb") as package:
        done = subprocess.run(
            machine.enter_argv("sh", "-ec", script),
            stdin=package, capture_output=True, text=True, timeout=INSTALL_LIMIT, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout + done.stderr


def admit(laptop: Machine) -> None:
    """What the administrator does once: alice may use devlink, and the profile is trusted."""
    laptop.run("usermod", "--append", "--groups", "devlink", "alice")
    laptop.write("/etc/devlink/trust.d/qa.json", json.dumps(encode(TRUST)))


def processes(laptop: Machine) -> str:
    """Those that run devlink's programs."""
    return laptop.run("pgrep", "--list-full", "--full", "/usr/(share/devlink/|bin/)devlink", check=False).stdout


def is_well(laptop: Machine) -> None:
    """dpkg has nothing to say of the files, and systemd nothing of the units."""
    assert laptop.run("dpkg", "--verify", "devlink").stdout == ""
    assert laptop.run("systemctl", "list-units", "--failed", "--no-legend").stdout == ""
    assert laptop.run("dpkg", "--audit").stdout == ""


@pytest.fixture(params=IMAGES)
def bare(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """devlink was never there."""
    with machine(request.param, Link.NETWORKD, trusted=False, installed=False) as booted:
        yield booted


@pytest.fixture(params=IMAGES)
def laptop(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """devlink is installed, and `qa` is up."""
    with machine(request.param, Link.NETWORKD) as booted:
        booted.devlink("up", "qa")
        yield booted


def test_purged_while_a_session_is_up_it_leaves_no_trace(bare: Machine) -> None:
    # Whoever logs in for the first time leaves files.
    bare.run("true", user="alice")
    files, network = disk(bare), snapshot(bare)
    install_package(bare)
    is_well(bare)
    assert bare.run("sh", "-c", "devlink --version", user="bob").stdout.startswith("devlink "), "not iproute2's"
    certificate = Authority().issue(subject="alice", expired=True).certificate
    assert "expired at" in bare.run("python3", "-I", "-c", END, input=certificate).stdout
    admit(bare)
    bare.devlink("up", "qa")
    assert address(bare, lan.WEB_NAME) == lan.WEB
    is_well(bare)
    bare.run("dpkg", "--purge", "devlink", timeout=INSTALL_LIMIT)
    assert processes(bare) == ""
    assert network.diff(snapshot(bare)) == []
    assert changed(bare, files) == {}
    assert bare.run("test", "-e", "/run/devlink", check=False).returncode == 1
    assert bare.run("systemctl", "list-units", "--all", "--no-legend", "devlink-[!l]*").stdout == ""


@pytest.mark.parametrize("laptop", ONE_OF_THEM, indirect=True)
def test_removed_while_a_session_is_up_it_takes_all_back_and_installed_again_it_is_as_before(laptop: Machine) -> None:
    laptop.devlink("down", "qa")
    before = snapshot(laptop)
    laptop.devlink("up", "qa")
    laptop.run("dpkg", "--remove", "devlink", timeout=INSTALL_LIMIT)
    assert processes(laptop) == ""
    # The helper's sockets were there before `up`, and are not without it.
    left = before.diff(snapshot(laptop))
    assert [line for line in left if not line.startswith("files: -/run/devlink")] == []
    install_package(laptop)
    is_well(laptop)
    # Its users, the group's members and what is trusted were kept.
    laptop.devlink("up", "qa")
    assert address(laptop, lan.WEB_NAME) == lan.WEB


@pytest.mark.matrix
def test_it_is_not_removed_while_the_machine_could_not_be_restored() -> None:
    with machine("trixie", Link.STATIC, resolv_conf=PLAIN) as laptop:
        laptop.devlink("up", "qa")
        laptop.run("systemctl", "mask", "--runtime", "--now", "devlink-files.service")
        done = laptop.run("dpkg", "--purge", "devlink", timeout=INSTALL_LIMIT, check=False)
        assert done.returncode == 1
        assert "devlink stays" in done.stderr
        laptop.run("systemctl", "unmask", "--runtime", "devlink-files.service")
        laptop.run("dpkg", "--purge", "devlink", timeout=INSTALL_LIMIT)
        assert laptop.read("/etc/resolv.conf") == PLAIN


@pytest.mark.parametrize("laptop", ONE_OF_THEM, indirect=True)
def test_an_upgrade_keeps_the_sessions_and_a_stream_to_a_pod(laptop: Machine) -> None:
    laptop.devlink("service", "install", "--profile", "qa")
    for unit, namespace, program in (("echo", ("ip", "netns", "exec", "node"), ECHO), ("talk", (), TALK)):
        laptop.run("systemd-run", "--quiet", f"--unit={unit}", *namespace, "python3", "-c", program)
        laptop.run("sh", "-c", f"until systemctl is-active -q {unit}; do sleep .05; done")
    wait_for_more(laptop, 10)
    parts = ("devlink-helper.service", "devlink-forwarder.service")
    old = [laptop.pid(part) for part in parts]
    install_package(laptop, NEXT)
    is_well(laptop)
    assert NEXT in laptop.run("dpkg-query", "--show", "devlink").stdout
    wait_for_names(laptop, lan.WEB_NAME, lan.WEB)
    assert laptop.devlink("status").returncode == 0
    assert laptop.devlink("--version").stdout.count(NEXT) == 3, "command, agent and helper are of one version"
    for part, pid in zip(parts, old, strict=True):
        assert laptop.pid(part) not in (0, pid), part
    wait_for_more(laptop, 10)
    assert laptop.run("systemctl", "is-active", "talk").stdout == "active\n", laptop.journal("-u", "talk")


def wait_for_more(laptop: Machine, number: int) -> None:
    """The stream goes on."""

    def said() -> int:
        return int(laptop.run("cat", "/run/said", check=False).stdout or 0)

    enough = said() + number
    until(lambda: said() >= enough)


def script(machine: Machine, name: str, *arguments: str, root: str = "") -> int:
    """Run one of the package's scripts as dpkg does, with DPKG_ROOT where it works on another `root`; its exit code."""
    text = (install.SOURCES / "packaging/deb" / name).read_text()
    environment = ("env", *([f"DPKG_ROOT={root}"] if root else []))
    return machine.run(*environment, "sh", "-s", *arguments, input=text, check=False).returncode


@pytest.mark.parametrize("bare", ["trixie"], indirect=True)
def test_a_person_who_has_the_name_of_a_services_user_keeps_account_and_rights(bare: Machine) -> None:
    assert script(bare, "preinst", "install") == 0
    bare.run("useradd", "--shell", "/bin/bash", "devlink")
    assert script(bare, "preinst", "install") == 1
    assert script(bare, "preinst", "upgrade", __version__) == 0, "what is installed can still be mended"
    bare.run("usermod", "--shell", "/usr/sbin/nologin", "devlink")
    assert script(bare, "preinst", "install") == 0
    # A purge in another system's tree takes nothing of this one, and all of that one.
    bare.run(
        "sh", "-ec", "mkdir -p /srv/var/lib/devlink /srv/etc /var/lib/devlink; cp /etc/passwd /etc/group /srv/etc/"
    )
    assert script(bare, "postrm", "purge", root="/srv") == 0
    assert bare.run("ls", "/srv/var/lib").stdout == ""
    assert "devlink" not in bare.read("/srv/etc/passwd") + bare.read("/srv/etc/group")
    bare.run("ls", "/var/lib/devlink")
    bare.run("getent", "passwd", "devlink")
    assert script(bare, "postrm", "purge") == 0
    assert script(bare, "postrm", "purge") == 0
    assert bare.run("getent", "passwd", "devlink", check=False).returncode == 2


@pytest.mark.skipif(
    shutil.which("lintian") is None and os.environ.get("CI") != "true", reason="needs lintian (apt install lintian)"
)
def test_lintian_finds_nothing() -> None:
    # Whether each command has its page is the manual's own test's to say.
    command = ("lintian", "--allow-root", "--fail-on", "error,warning", "--suppress-tags", "no-manual-page")
    done = subprocess.run((*command, install.package()), capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.matrix
def test_the_same_sources_make_the_same_package(tmp_path: Path) -> None:
    script = install.SOURCES / "packaging/deb/make_deb.py"
    made = []
    for name, umask in (("one", 0o022), ("two", 0o077)):
        command = (sys.executable, script, "--quick", "--output", tmp_path / name)
        subprocess.run(command, stdout=subprocess.DEVNULL, umask=umask, timeout=100, check=True)
        (package,) = (tmp_path / name).iterdir()
        made.append(_digest(package))
    assert made[0] == made[1]
