"""What is known of how this machine resolves names, before it is decided how to tell it of the forwarder. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devlink.core.prefixes import IPAddress
from devlink.resolvers.resolv_conf import ResolvConf


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvConfFile:
    """/etc/resolv.conf; where devlink wrote it, the file from before."""

    leads_to: str = ""
    """Where a symlink ends, as an absolute path; empty for a plain file."""
    content: ResolvConf = field(default_factory=ResolvConf)
    owner: str = ""
    """Who writes it, by its leading comments: `systemd-resolved`, `NetworkManager`, `resolvconf`; empty: none says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that was looked for and found."""

    path: str
    """Where its symlinks end."""
    exit_code: int | None = None
    """Of `--version`; None where it could not be run to its end."""
    output: str = ""
    """Of `--version`, both streams, the first 4 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What `observe` has seen, and all that a decision may rest on."""

    file: ResolvConfFile = field(default_factory=ResolvConfFile)
    hosts: tuple[str, ...] = ("files", "dns")
    """The words of nsswitch.conf's `hosts:` line, actions in brackets as one word each; glibc's default if none."""
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """D-Bus names that somebody owns, with the properties that a mode asked for and that could be read, by
    `interface.Property`."""
    programs: Mapping[str, Program] = field(default_factory=dict)
    """By the name that was looked for."""

    @property
    def nameservers(self) -> tuple[IPAddress, ...]:
        """Those of resolv.conf."""
        return self.file.content.nameservers

    def names_only(self, servers: frozenset[IPAddress]) -> bool:
        """Whether resolv.conf names servers, and none but these."""
        return bool(self.nameservers) and servers.issuperset(self.nameservers)

    def comes_before_dns(self, service: str) -> bool:
        """Whether libc asks this nsswitch service, and asks it before `dns`."""
        words = [word for word in self.hosts if not word.startswith("[")]
        return service in words and ("dns" not in words or words.index(service) < words.index("dns"))
