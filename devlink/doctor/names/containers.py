"""What containers ask for names: each has a resolv.conf of its own, copied when it started and never again."""

import asyncio
import contextlib
import io
import os
import subprocess
import tarfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import IPAddress
from devlink.core.text import listed, printable
from devlink.doctor.case import Case
from devlink.doctor.check import Seen, skipped
from devlink.doctor.names.forwarder import has_names
from devlink.helper.policy import Policy
from devlink.resolvers.managers.resolve1 import UPLINKS
from devlink.resolvers.reading import RESOLV_CONF, read, read_conf
from devlink.resolvers.resolv_conf import BACKUP_NAME, MAX_NAMESERVERS, MORE, OWN, parse

SOCKET = Path("/var/run/docker.sock")
"""Docker's own of this laptop: what DOCKER_HOST or a context names may run elsewhere. Podman's and rootless Docker's
containers are among the processes of their user."""
ANSWER_LIMIT, DOCKER_LIMIT = 1.5, 4.0
"""Seconds for one answer of Docker, and for all of them: the command waits at its end for whom it has started."""
MOST = 8
"""Containers of Docker that are looked into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """Processes that see another resolv.conf than this laptop's."""

    name: str
    """For people: Docker's name of it, or a process in it."""
    nameservers: tuple[IPAddress, ...]
    has_network: bool
    """It has a network of its own, in which the laptop's loopback is not."""


async def look(case: Case) -> Seen:
    """Look at the files of all containers that this user may see."""
    seen, ordinary = await asyncio.to_thread(_see, case.environ)
    if not seen:
        return skipped("no container of yours is seen")
    # Names that are up for another user are for all programs of the machine.
    is_up = has_names(case) or bool(case.resolver)
    return judge(seen, own=frozenset({*OWN, *MORE, Policy().nameserver}), ordinary=ordinary, is_up=is_up)


def judge(
    containers: Collection[Container], *, own: frozenset[IPAddress], ordinary: frozenset[IPAddress], is_up: bool
) -> Seen:
    """Pure. `own`: the forwarder's addresses; `ordinary`: the servers of this laptop for all other names."""
    stale, without = [], []
    for each in containers:
        asked = each.nameservers[:MAX_NAMESERVERS]
        ours = own.intersection(asked)
        # One on the loopback of its own network refuses at once, and the next is asked; the others are waited for.
        is_waited_for = bool(ours) and (len(ours) == len(set(asked)) or any(not each.is_loopback for each in ours))
        if is_waited_for and (each.has_network or not is_up):
            stale.append(each)
        elif is_up and asked and each.has_network and ordinary.issuperset(asked):
            without.append(each)
    findings = []
    if stale:
        findings.append(
            Finding(
                code="DL-CONTAINER-STALE-DNS",
                severity=Severity.WARNING,
                title="Containers that run ask for names where devlink does not answer.",
                evidence=_told(stale),
                fix="restart them: they get this laptop's servers of now",
            )
        )
    if without:
        findings.append(
            Finding(
                code="DL-CONTAINER-NO-NAMES",
                severity=Severity.INFO,
                title="Containers on the engine's default network find no cluster names.",
                evidence=_told(without),
                fix="where they shall, start them in a network of your own (network create), or with --network host",
            )
        )
    text = f"{len(containers)} seen" + (f", {len(stale)} with servers of before" if stale else "")
    return Seen(text=text, findings=tuple(findings))


def _told(containers: Iterable[Container]) -> str:
    return "; ".join(f"{each.name}: nameserver {listed(each.nameservers)}" for each in containers)


def _see(environ: Mapping[str, str]) -> tuple[tuple[Container, ...], frozenset[IPAddress]]:
    named = tuple(in_docker(environ, time.monotonic() + DOCKER_LIMIT))
    known = {(each.nameservers, each.has_network) for each in named}
    others = (each for each in in_processes() if (each.nameservers, each.has_network) not in known)
    conf = read_conf(RESOLV_CONF)
    names = set(conf.nameservers) | set(conf.header.servers if conf.header is not None else ())
    for path in (RESOLV_CONF.with_name(BACKUP_NAME), UPLINKS):
        names |= set(read_conf(path).nameservers)
    return (*named, *others), frozenset(names)


# By the processes that this user may look into, without any engine


def in_processes(proc: Path = Path("/proc")) -> Iterator[Container]:
    """One for each file that is neither this laptop's nor a link: what engines give is a plain file, mounted."""
    here = _namespace(proc / "self", "mnt"), _namespace(proc / "self", "net")
    known = {_identity(RESOLV_CONF)}
    looked_into = {here[0], ""}
    for folder in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        mount = _namespace(folder, "mnt")
        if mount in looked_into:
            continue
        looked_into.add(mount)
        path = folder / "root/etc/resolv.conf"
        identity = _identity(path)
        if identity is None or identity in known:
            continue
        known.add(identity)
        has_network = _namespace(folder, "net") != here[1]
        if has_network and not _goes_out(folder):  # a sandbox, which asks nobody
            continue
        with contextlib.suppress(OSError):
            text = read(None, str(path))
            if text is not None:
                name = f"{_command(folder)} ({folder.name})"
                yield Container(name=name, nameservers=parse(text).nameservers, has_network=has_network)


def _namespace(folder: Path, kind: str) -> str:
    """Empty where it is not this user's to see."""
    try:
        return os.readlink(folder / "ns" / kind)
    except OSError:
        return ""


def _goes_out(folder: Path) -> bool:
    """Whether its network has a default route (proc(5), /proc/PID/net)."""
    try:
        lines = [line.split() for line in (folder / "net/route").read_text().splitlines()]
        lines6 = [line.split() for line in (folder / "net/ipv6_route").read_text().splitlines()]
    except OSError:
        return False
    by_4 = any(line[1] == line[7] == "0" * 8 for line in lines[1:])
    return by_4 or any(line[:2] == ["0" * 32, "00"] and line[-1] != "lo" for line in lines6)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _command(folder: Path) -> str:
    try:
        return printable((folder / "comm").read_text().strip())
    except OSError:
        return "process"


# By Docker, which may show what is root's to those whom it lets


def in_docker(environ: Mapping[str, str], until: float) -> Iterator[Container]:
    """Those that run, where Docker answers this user; nobody is asked after `until` (monotonic seconds)."""
    if not os.access(SOCKET, os.W_OK):
        return
    env = {key: value for key, value in environ.items() if key != "DOCKER_CONTEXT"}
    env["DOCKER_HOST"] = f"unix://{SOCKET}"
    listing = _run(env, until, "docker", "ps", "--format", "{{.ID}} {{.Names}} {{.Networks}}")
    for line in listing.decode(errors="replace").splitlines()[:MOST]:
        number, name, networks = (*line.split(" ", 2), "", "")[:3]
        text = first_file(_run(env, until, "docker", "cp", f"{number}:{RESOLV_CONF}", "-"))
        if text:
            yield Container(
                name=printable(f"docker {name}"),
                nameservers=parse(text).nameservers,
                has_network="host" not in networks.split(","),
            )


def _run(env: Mapping[str, str], until: float, *command: str) -> bytes:
    """What it wrote; nothing where it is not there, refuses, or is late."""
    left = min(ANSWER_LIMIT, until - time.monotonic())
    if left <= 0:
        return b""
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=left, check=False, env=dict(env)
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""


def first_file(archive: bytes) -> str:
    """Of a tar archive."""
    with contextlib.suppress(tarfile.TarError, OSError), tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for member in opened:
            file = opened.extractfile(member) if member.isreg() else None
            if file is not None:
                return file.read(1 << 16).decode(errors="replace")
    return ""
