"""A root of its own for each host: the machine's programs, but /etc, /run, /var/lib, /tmp and the homes are new."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devlink.lab import linux
from devlink.lab.spec import Resolver

HOME = "/root"
RUNTIME = "/run/user/0"
NEW_FOLDERS = ("/etc", "/run", "/tmp", "/var/lib", "/var/tmp", "/root", "/home")
"""Empty at first, on memory: what the machine keeps there must not leak in, and what is written leaves with us."""
NOT_BOUND = ("/dev", "/proc", "/sys", "/lost+found", *NEW_FOLDERS)
FROM_ETC = (
    "alternatives", "bash.bashrc", "ca-certificates", "crypto-policies", "debian_version", "inputrc", "iproute2",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "os-release", "pki", "protocols",
    "rpc", "services", "ssl", "terminfo",
)  # fmt: skip
"""What programs need of the machine's /etc; nothing in it says who uses the machine or where it is connected."""
USERS = (
    ("root", 0, HOME),
    ("devlink", 990, "/"),
    ("devlink-dns", 991, "/"),
    ("alice", 1000, "/home/alice"),
    ("mallory", 1001, "/home/mallory"),
    ("nobody", 65534, "/"),
)
"""Name, uid (and gid), home. Those with a home in /home are people: alice may use devlink, mallory may not."""
MEMBERS = {"devlink": ("alice",)}
"""Who is in which group beside its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootSpec:
    """What a host's root must hold."""

    hostname: str
    resolver: Resolver | None = None
    keep: tuple[str, ...] = ()
    """Absolute paths that must stay reachable, even inside one of the new folders: the interpreter, the package."""


def resolv_conf(resolver: Resolver) -> str:
    """The resolver file as a person would have written it."""
    lines = [f"nameserver {address}" for address in resolver.nameservers]
    if resolver.search:
        lines.append("search " + " ".join(str(name) for name in resolver.search))
    return "\n".join(lines) + "\n"


def enter(spec: RootSpec, stage: str) -> None:
    """Build the root on a tmpfs at `stage` and make it this process's, in a mount namespace of its own.

    Nothing of it exists outside that namespace. Raises OSError.
    """
    linux.mount("tmpfs", stage, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    _bind_machine(stage)
    for folder in NEW_FOLDERS:
        _tmpfs(stage, folder)
    for path in _outermost(spec.keep):
        if any(Path(path).is_relative_to(folder) for folder in NEW_FOLDERS):
            _bind(path, stage + path)
    _bind_kernel(stage)
    _write_etc(spec, stage + "/etc")
    for path in ("/run/user", "/var/lib/misc", "/etc/devlink"):
        os.mkdir(stage + path)
    # The mode bits count: programs refuse a runtime folder or a home that others can enter.
    os.mkdir(stage + RUNTIME, 0o700)
    os.chmod(stage + HOME, 0o700)
    os.chmod(stage + "/tmp", 0o1777)
    os.chmod(stage + "/var/tmp", 0o1777)
    _give_homes(stage)
    linux.pivot_root(stage)


def _bind_machine(stage: str) -> None:
    for entry in sorted(os.scandir("/"), key=lambda e: e.name):
        if entry.path in NOT_BOUND:
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), stage + entry.path)
        elif entry.is_dir():
            _bind(entry.path, stage + entry.path)


def _bind(source: str, target: str) -> None:
    """A read-only view of `source`: a program in the lab must not change the machine, not even as root."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
    linux.mount(source, target, None, linux.MS_BIND | linux.MS_REC)
    linux.make_read_only(target)


def _tmpfs(stage: str, folder: str) -> None:
    if not os.path.isdir(stage + folder):
        os.makedirs(stage + folder)
    linux.mount("tmpfs", stage + folder, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")


def _bind_kernel(stage: str) -> None:
    for folder in ("/dev", "/proc", "/sys"):
        os.mkdir(stage + folder)
    linux.mount("/dev", stage + "/dev", None, linux.MS_BIND | linux.MS_REC)
    if os.path.isdir("/dev/shm"):
        linux.mount("tmpfs", stage + "/dev/shm", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=1777")
    linux.mount("/proc", stage + "/proc", None, linux.MS_BIND | linux.MS_REC)
    try:
        linux.mount("sysfs", stage + "/sys", "sysfs")
    except PermissionError:
        pass  # containers that hide parts of /sys forbid a new one; nothing in the lab depends on it


def _outermost(paths: Iterable[str]) -> list[str]:
    """The paths that exist and lie in no other of them. A new folder as a whole is none: it would not be new."""
    kept: list[str] = []
    for path in sorted(set(paths) - {"/", *NEW_FOLDERS}):
        inside = any(Path(path).is_relative_to(outer) for outer in kept)
        if not inside and os.path.exists(path):
            kept.append(path)
    return kept


def _write_etc(spec: RootSpec, etc: str) -> None:
    for name in FROM_ETC:
        source, target = f"/etc/{name}", f"{etc}/{name}"
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
        elif os.path.isdir(source):
            _bind(source, target)
        elif os.path.exists(source):
            shutil.copyfile(source, target)
    files = {
        "hostname": f"{spec.hostname}\n",
        "hosts": f"127.0.0.1 localhost\n127.0.1.1 {spec.hostname}\n::1 localhost ip6-localhost ip6-loopback\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
        "passwd": "".join(f"{name}:x:{uid}:{uid}::{home}:/bin/sh\n" for name, uid, home in USERS),
        "group": "".join(f"{name}:x:{uid}:{','.join(MEMBERS.get(name, ()))}\n" for name, uid, _ in USERS),
    }
    if spec.resolver is not None:
        files["resolv.conf"] = resolv_conf(spec.resolver)
    for name, text in files.items():
        path = Path(etc, name)
        path.write_text(text)
        path.chmod(0o644)


def _give_homes(stage: str) -> None:
    """Homes and runtime folders of the ordinary users; a world without real root has no second uid to give them to."""
    for _, uid, home in USERS:
        if not home.startswith("/home/"):
            continue
        for path in (stage + home, f"{stage}/run/user/{uid}"):
            os.mkdir(path, 0o700)
            try:
                os.chown(path, uid, uid)
            except OSError:
                os.rmdir(path)
                return
