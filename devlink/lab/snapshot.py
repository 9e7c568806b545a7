"""Everything on the laptop that devlink may touch, at one moment: comparable, and readable where two differ."""

import difflib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

RESOLVER = "/etc/resolv.conf"
LISTED = ("/etc", "/run/devlink", "/var/lib/devlink")
"""Folders whose entries are listed; what lies below /etc only in `devlink`."""
TIMES = frozenset({"valid_life_time", "preferred_life_time", "expires"})
"""What runs down by itself: seconds that a lease or a router's announcement is still good for."""
SEPARATOR = "\x1e"
COMMANDS = (
    "ip -j -4 route show table all",
    "ip -j -6 route show table all",
    "ip -j -4 rule",
    "ip -j -6 rule",
    "ip -j nexthop",
    "ip -j address",
    "nft list ruleset",
    "ss -Hlntu",
)
Run = Callable[[list[str]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One line a thing, sorted where the order means nothing."""

    routes: tuple[str, ...]
    """Of all tables and both families, as `ip -j` gives them."""
    rules: tuple[str, ...]
    nexthops: tuple[str, ...]
    """Nexthop objects."""
    links: tuple[str, ...]
    """Links with their flags, state and addresses, without counters and without what is left of a lease."""
    packet_filter: tuple[str, ...]
    """The nftables ruleset."""
    resolver: tuple[str, ...]
    """/etc/resolv.conf: kind, mode, owner, target if it is a link, then its lines."""
    files: tuple[str, ...]
    """Entries of /etc, and everything in /etc/devlink, /run/devlink and /var/lib/devlink: path, kind, mode, owner."""
    listening: tuple[str, ...]
    """Listening TCP and UDP sockets."""

    def diff(self, other: "Snapshot") -> list[str]:
        """What `other` lacks (`-`) and has more (`+`), each with the part that it belongs to; empty when equal."""
        return [
            f"{field.name}: {line}"
            for field in fields(self)
            for line in difflib.unified_diff(
                getattr(self, field.name), getattr(other, field.name), n=0, lineterm="", fromfile="", tofile=""
            )
            if not line.startswith(("---", "+++", "@@"))
        ]


def take_snapshot(run: Run, anchor: int) -> Snapshot:
    """Look at the host whose namespaces process `anchor` (outer PID) holds; `run` runs a program on it."""
    script = f"; printf '{SEPARATOR}'; ".join(COMMANDS)
    routes4, routes6, rules4, rules6, nexthops, links, packet_filter, listening = run(
        ["sh", "-ec", script]
    ).split(SEPARATOR)  # fmt: skip
    root = Path(f"/proc/{anchor}/root")
    return Snapshot(
        routes=_objects(routes4) + _objects(routes6),
        rules=_objects(rules4) + _objects(rules6),
        nexthops=_objects(nexthops),
        links=_objects(links),
        packet_filter=tuple(packet_filter.splitlines()),
        resolver=_resolver(root, run),
        files=_files(root),
        listening=tuple(sorted(" ".join(line.split()) for line in listening.splitlines())),
    )


def _objects(text: str) -> tuple[str, ...]:
    items: list[dict[str, Any]] = json.loads(text or "[]", object_hook=_timeless)
    return tuple(sorted(json.dumps(item, sort_keys=True) for item in items if item))


def _timeless(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in TIMES}


def describe(path: Path, name: str) -> str:
    """One entry of a folder, with all that `ls -l` tells but size and time."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return f"{name} missing"
    target = f" -> {os.readlink(path)}" if stat.S_ISLNK(status.st_mode) else ""
    return f"{name} {stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}{target}"


def _resolver(root: Path, run: Run) -> tuple[str, ...]:
    path = root / RESOLVER.removeprefix("/")
    first = describe(path, RESOLVER)
    # Through the host itself: a symbolic link is to be followed in its root, not in ours.
    content = run(["sh", "-c", f"cat {RESOLVER} 2>/dev/null || true"])
    return (first, *content.splitlines(keepends=True))


def _files(root: Path) -> tuple[str, ...]:
    found = []
    for folder in LISTED:
        for below, folders, names in os.walk(root / folder.removeprefix("/")):
            here = "/" + str(Path(below).relative_to(root))
            if here == "/etc":
                found += [describe(Path(below, name), f"/etc/{name}") for name in (*folders, *names)]
                folders[:] = [name for name in folders if name == "devlink"]
            else:
                found.append(describe(Path(below), here))
                found += [describe(Path(below, name), f"{here}/{name}") for name in names]
    return tuple(sorted(found))
