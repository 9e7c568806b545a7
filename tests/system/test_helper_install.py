"""devlink from alice's virtual environment on a system without our package: installed, used, gone without a trace."""

import importlib.metadata
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devlink import __version__
from devlink.service import laying
from tests.system import install
from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.world import Link, address, machine, snapshot, until

pytestmark = pytest.mark.system
VENV = "/home/alice/venv"
DEVLINK = f"{VENV}/bin/devlink"
SITE = f"{VENV}/lib/python3.11/site-packages"
CLICK = f"{SITE}/click/core.py"
BY_SUDO = ("env", "SUDO_UID=1000", "SUDO_USER=alice")
"""As alice's sudo leaves it."""
COMMAND = f"#!{VENV}/bin/python\nfrom devlink.cli import main\nmain()\n"
LISTING = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log \
    -o -path /var/cache -o -path /home/alice -o -path '/var/lib/*' \) -prune -o -not -name '*-' -not -name '.pwd.lock' \
    -printf '%p %y %m %u:%g %l' \( -type d -o -printf ' %s' \) -printf '\n' | sort
cat /etc/passwd /etc/group /etc/shadow /etc/gshadow
find /var/lib -maxdepth 1 | sort
"""
"""The whole file system but what others write at any time; the databases of users by what they say."""
WRITABLE = r"""
import os, pwd, subprocess, sys

def units():
    names = subprocess.run(["systemctl", "list-unit-files", "--no-legend", "--plain", "devlink-*"],
                           capture_output=True, text=True, check=True).stdout.split("\n")
    return [name.split()[0] for name in names if name.strip() and not name.startswith("devlink-lab")]

paths = set()
for unit in units():
    shown = subprocess.run(["systemctl", "show", "-p", "FragmentPath,DropInPaths,MainPID", unit],
                           capture_output=True, text=True, check=True).stdout
    fields = dict(line.split("=", 1) for line in shown.splitlines())
    paths |= {fields["FragmentPath"], *fields["DropInPaths"].split()}
    text = open(fields["FragmentPath"]).read()
    for line in text.splitlines():
        if line.startswith("Exec"):
            paths |= {word for word in line.partition("=")[2].split() if word.startswith("/")}
    pid = fields.get("MainPID", "0")
    if pid != "0":
        maps = {line.split(None, 5)[5].strip() for line in open(f"/proc/{pid}/maps") if len(line.split(None, 5)) == 6}
        paths |= {path for path in maps if path.startswith("/") and "memfd" not in path}
        paths.add(os.readlink(f"/proc/{pid}/exe"))
        print("process", unit, file=sys.stderr)
base = os.path.dirname(os.path.dirname([path for path in paths if path.endswith("/run.py")][0]))
python = [path for path in paths if "/python3" in path and "/bin/" in path][0]
imported = subprocess.run([python, "-I", "-S", "-c", f'''
import sys
sys.path.insert(0, {base!r})
import devlink.cli, devlink.cli.root, devlink.cli.helper, devlink.helper.server, devlink.core.profile_document
import devlink.dns.server, devlink.resolvers.files.__main__
from devlink.resolvers.modes import all_modes
all_modes()
print(*(module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)), sep="\\n")
print(*(module.__cached__ for module in sys.modules.values() if getattr(module, "__cached__", None)), sep="\\n")
print(*sys.path, sep="\\n")
'''], capture_output=True, text=True, check=True, env={}).stdout
paths |= set(imported.split())
for folder, folders, files in os.walk("/usr/local/lib/devlink"):
    paths |= {folder, *(os.path.join(folder, name) for name in folders + files)}
parts = set()
for path in paths:
    path = os.path.realpath(path)
    while path not in parts:
        parts.add(path)
        path = os.path.dirname(path)
for part in sorted(parts):
    try:
        found = os.lstat(part)
    except FileNotFoundError:
        continue
    if found.st_uid != 0 or found.st_mode & 0o022 or found.st_mode & 0o6000 and "/devlink" in part:
        print(part, found.st_uid, oct(found.st_mode))
print(len(parts), "looked at", file=sys.stderr)
"""
"""Prints each part of what the units run, map or import that somebody else than root could change."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=install.SOURCES, check=True, capture_output=True, timeout=60)
    (found,) = folder.glob("*.whl")
    return found


def site(wheel: Path) -> bytes:
    """A tar of site-packages: the wheel, and the pinned libraries as this checkout's environment has them."""
    pins = (install.SOURCES / "packaging/requirements/runtime.txt").read_text()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar, zipfile.ZipFile(wheel) as unpacked:
        for name in re.findall(r"^([\w.-]+)==", pins, re.MULTILINE):
            try:
                files = importlib.metadata.files(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue  # for another system
            for file in files:
                if ".." not in file.parts and file.suffix != ".pyc":
                    tar.add(file.locate(), str(file), filter=_alices)
        for info in unpacked.infolist():
            member = tarfile.TarInfo(info.filename)
            member.size, member.mode = info.file_size, 0o664
            tar.addfile(_alices(member), io.BytesIO(unpacked.read(info)))
    return packed.getvalue()


def _alices(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 1000
    member.uname = member.gname = ""
    return member


@pytest.fixture(scope="module")
def laptop(wheel: Path) -> Iterator[Machine]:
    """It has never seen a package of ours; alice, who is in no group, has devlink in a virtual environment."""
    with machine("bookworm", Link.NETWORKD, installed=False, trusted=False) as booted:
        assert booted.run("sh", "-c", "getent passwd devlink; getent group devlink", check=False).stdout == ""
        booted.run("python3", "-m", "venv", "--without-pip", VENV, user="alice")
        unpack = booted.enter_argv("tar", "--extract", "--directory", SITE)
        subprocess.run(unpack, input=site(wheel), check=True, timeout=60)
        booted.write(DEVLINK, COMMAND, mode=0o755)
        booted.run("chown", "-R", "alice:alice", VENV)
        yield booted


@pytest.fixture
def bare(laptop: Machine) -> Iterator[Machine]:
    """The same before and after."""
    before, listing = snapshot(laptop), laptop.run("sh", "-c", LISTING).stdout.splitlines()
    yield laptop
    laptop.run(laying.COMMAND, "helper", "uninstall", "--yes", check=False)
    assert before.diff(snapshot(laptop)) == []
    after = laptop.run("sh", "-c", LISTING).stdout.splitlines()
    assert sorted(set(after) ^ set(listing)) == []


def install_helper(laptop: Machine, *more: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    return laptop.run(*BY_SUDO, DEVLINK, "helper", "install", "--yes", *more, check=check, timeout=60)


def end_agent(laptop: Machine) -> None:
    """It would go on as the version that it was started as."""
    laptop.run("pkill", "--uid", "alice", "--full", "devlink.agent", check=False)
    until(lambda: laptop.run("pgrep", "--uid", "alice", "--full", "devlink.agent", check=False).stdout, "")


def test_from_a_virtual_environment_to_names_that_resolve_and_back_to_nothing(bare: Machine) -> None:
    laptop = bare
    said = laptop.run(DEVLINK, "helper", "install", user="alice", check=False)
    assert said.returncode == 6
    assert f"sudo {DEVLINK} helper install" in said.stderr
    said = install_helper(laptop)
    assert "alice becomes a member" in said.stderr
    laptop.run(DEVLINK, "trust", "/home/alice/.config/devlink/profiles/qa.yaml", "--yes")
    laptop.run(DEVLINK, "up", "qa", user="alice", timeout=40)
    assert address(laptop, lan.WEB_NAME) == lan.WEB
    assert "installed" in laptop.run(DEVLINK, "helper", "status", user="alice").stdout
    looked = laptop.run("python3", "-c", WRITABLE)
    assert looked.stdout == ""
    assert "process devlink-helper.service" in looked.stderr
    assert "process devlink-forwarder.service" in looked.stderr
    laptop.run(DEVLINK, "down", "--all", user="alice")
    laptop.run(DEVLINK, "up", "qa", user="alice")
    laptop.run("mv", VENV, "/home/alice/gone")
    try:
        laptop.run(laying.COMMAND, "helper", "uninstall", "--yes", timeout=60)
    finally:
        laptop.run("mv", "/home/alice/gone", VENV)
        end_agent(laptop)
    assert address(laptop, lan.WEB_NAME) == ""


@pytest.mark.matrix
def test_another_build_takes_the_place_of_the_older_and_the_session_comes_back_by_itself(bare: Machine) -> None:
    laptop = bare
    install_helper(laptop)
    laptop.run(DEVLINK, "trust", "/home/alice/.config/devlink/profiles/qa.yaml", "--yes")
    laptop.run(DEVLINK, "up", "qa", user="alice")
    before = laptop.pid("devlink-helper.service")
    laptop.run("sh", "-c", f"echo '# built anew' >>{SITE}/devlink/faults.py", user="alice")
    assert f"takes the place of {__version__} " in install_helper(laptop).stderr
    until(lambda: laptop.pid("devlink-helper.service") not in (0, before))
    until(lambda: address(laptop, lan.WEB_NAME), lan.WEB)
    assert "built anew" in laptop.read(f"{laying.LIB}/{__version__}/devlink/faults.py")
    laptop.run(DEVLINK, "down", "--all", user="alice")


@pytest.mark.matrix
def test_a_newer_version_leaves_nothing_of_the_older(bare: Machine) -> None:
    laptop = bare
    install_helper(laptop)
    newer = f"{__version__}.post1"
    init = f"{SITE}/devlink/__init__.py"
    end_agent(laptop)
    laptop.run("sed", "-i", f"s/{__version__}/{newer}/", init, user="alice")
    try:
        install_helper(laptop)
        assert laptop.run("ls", laying.LIB).stdout.split() == [newer, "devlink", "manifest.json"]
        laptop.run(DEVLINK, "trust", "/home/alice/.config/devlink/profiles/qa.yaml", "--yes")
        laptop.run(DEVLINK, "up", "qa", user="alice")
        assert f"helper {newer}" in laptop.run(DEVLINK, "--version", user="alice").stdout
        laptop.run(DEVLINK, "down", "--all", user="alice")
    finally:
        laptop.run("sed", "-i", f"s/{newer}/{__version__}/", init, user="alice")
        end_agent(laptop)


@pytest.mark.parametrize(
    ("spoil", "mend", "why"),
    [
        ("chmod g+w /usr/local/lib", "chmod g-w /usr/local/lib", "sudo chmod g-w /usr/local/lib"),
        ("chown bob /etc/systemd/network", "chown root /etc/systemd/network", "belongs to user bob"),
        (f"chown bob {CLICK}", f"chown alice {CLICK}", "belongs to user bob, not to root or alice"),
        (f"ln -s /etc/shadow {SITE}/devlink/x", f"rm {SITE}/devlink/x", "symbolic link"),
        ("chmod o+w /usr/lib/python3.11/os.py", "chmod o-w /usr/lib/python3.11/os.py", "no Python"),
        (
            "touch /usr/lib/systemd/system/devlink-helper.service",
            "rm /usr/lib/systemd/system/devlink-helper.service", "by a package",
        ),
    ],
)  # fmt: skip
def test_what_another_could_change_is_refused_before_anything_is_written(
    bare: Machine, spoil: str, mend: str, why: str
) -> None:
    bare.run("sh", "-c", spoil)
    try:
        done = install_helper(bare, check=False)
        assert not bare.run("sh", "-c", "ls -d /usr/local/lib/devlink /etc/sysusers.d", check=False).stdout
    finally:
        bare.run("sh", "-c", mend)
    assert done.returncode in (5, 6), done.stderr
    assert why in done.stderr


def test_what_could_not_be_written_is_mended_or_taken_away(bare: Machine) -> None:
    # As where /usr is an image: what is missing there cannot be removed either.
    bare.run("sh", "-ec", "cp -a /usr/local /run/local; mount --bind /usr /usr; mount -o remount,bind,ro /usr")
    bare.run("mount", "--bind", "/run/local", "/usr/local")
    try:
        done = install_helper(bare, check=False)
        assert done.returncode == 6
        assert "Read-only file system" in done.stderr
        bare.run(*BY_SUDO, DEVLINK, "helper", "uninstall", "--yes")
        assert bare.run("test", "-e", laying.LIB, check=False).returncode == 1
    finally:
        bare.run("sh", "-ec", "umount --lazy /usr/local /usr; rm -r /run/local")


def test_without_a_terminal_and_without_yes_nothing_is_installed(bare: Machine) -> None:
    done = bare.run(*BY_SUDO, DEVLINK, "helper", "install", check=False)
    assert done.returncode == 6
    assert "/etc/systemd/system/devlink-helper.service\n" in done.stderr, "shown all the same"
    assert "no terminal" in done.stderr
