"""The text of resolv.conf: what libc reads in it (resolv.conf(5), glibc's res_init.c), and ours in its place. Pure."""

import ipaddress
import re
from dataclasses import dataclass, replace

from devlink.core.prefixes import IPAddress

MAX_LINES = 1000
"""What comes after is not looked at: a file that long is no resolver's configuration."""
MAX_NAMESERVERS = 3
"""MAXNS of glibc and musl: later ones are never asked."""
BACKUP_NAME = "resolv.conf.before-devlink"
STAGE_NAME = ".resolv.conf.devlink-new"
"""Where our text grows before it is renamed. Made by O_EXCL and locked by who made it, so it also keeps a second
process out; the kernel frees the lock of a killed one, and the next comer removes its remains."""

_KEPT = ("search", "domain", "options", "sortlist")
_MARK = re.compile(r"# devlink: nameserver=(\S+) before=(file|none)")
_BEFORE = "# nameserver "
"""How a nameserver from before stands in ours: out of force, and there should the file from before get lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What our file says about itself."""

    address: IPAddress
    """The forwarder's address, as we wrote it."""
    had_file: bool
    """Whether there was a file before ours, which the backup then is."""
    servers: tuple[IPAddress, ...] = ()
    """The nameservers of the file from before, when ours was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvConf:
    """What devlink needs to know of one resolv.conf."""

    nameservers: tuple[IPAddress, ...] = ()
    """In their order, all of them; IPv6 addresses may have a zone."""
    search: tuple[str, ...] = ()
    """Of the last `search` or `domain` line."""
    kept: tuple[str, ...] = ()
    """The lines that are not about nameservers and that libc heeds, as they were."""
    header: Header | None = None
    """If devlink wrote this text."""

    @property
    def is_ours(self) -> bool:
        """Whether devlink wrote this and the forwarder's address still stands in it."""
        return self.header is not None and self.header.address in self.nameservers


def parse(text: str) -> ResolvConf:
    """Read a resolv.conf as glibc does: a keyword counts at the line's very beginning. Never raises."""
    nameservers: list[IPAddress] = []
    search: tuple[str, ...] = ()
    kept: list[str] = []
    header = None
    for number, raw in enumerate(text.split("\n")[:MAX_LINES]):
        line = raw.rstrip(" \t\r")
        if line.startswith(("#", ";")):
            if header is None and number < 10:
                header = _parse_mark(line)
            elif header is not None and line.startswith(_BEFORE):
                server = _parse_nameserver(line.removeprefix(_BEFORE))
                header = replace(header, servers=(*header.servers, *([server] if server is not None else [])))
            continue
        keyword, _, value = line.replace("\t", " ").partition(" ")
        if keyword == "nameserver":
            address = _parse_nameserver(value)
            if address is not None:
                nameservers.append(address)
        elif keyword in _KEPT and value.strip():
            kept.append(line)
            if keyword in ("search", "domain"):
                names = value.split()
                search = tuple(names[:1] if keyword == "domain" else names)
    return ResolvConf(nameservers=tuple(nameservers), search=search, kept=tuple(kept), header=header)


def _parse_nameserver(value: str) -> IPAddress | None:
    words = re.split(r"[;# ]", value.lstrip(" "), maxsplit=1)
    try:
        address = ipaddress.ip_address(words[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None
    return mapped or address  # one address in one form, or we would not know our own


def _parse_mark(line: str) -> Header | None:
    match = _MARK.fullmatch(line)
    if match is None:
        return None
    address = _parse_nameserver(match[1])
    return Header(address=address, had_file=match[2] == "file") if address is not None else None


def render(address: IPAddress, before: ResolvConf, *, had_file: bool) -> str:
    """Our resolv.conf: `address` alone as nameserver, everything else of `before` that libc heeds.

    Where `before` is ours already, what it says of the file from before stays.
    """
    servers = before.header.servers if before.is_ours and before.header is not None else before.nameservers
    place = f" The file from before is {BACKUP_NAME}." if had_file else " There was no file before."
    lines = [
        f"# Written by devlink: the names of Kubernetes clusters are answered at {address}, all others as before.",
        "# `devlink down` undoes this; after a crash, `devlink helper restore` does." + place,
        f"# devlink: nameserver={address} before={'file' if had_file else 'none'}",
        *(f"{_BEFORE}{server}" for server in servers),
        f"nameserver {address}",
        *before.kept,
    ]
    return "\n".join(lines) + "\n"


def render_before(ours: ResolvConf) -> str:
    """In place of a file from before that is lost: the same for libc, by what our own text says of it."""
    lines = [
        f"# Written again by devlink: somebody had removed {BACKUP_NAME}, the file from before.",
        *(f"nameserver {server}" for server in (ours.header.servers if ours.header is not None else ())),
        *ours.kept,
    ]
    return "\n".join(lines) + "\n"
