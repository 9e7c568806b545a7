"""What every way of telling the operating system of the forwarder can do, and what it must see to be the right one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from devlink.core.names import DomainName
from devlink.core.plan import Upstream
from devlink.core.prefixes import IPAddress
from devlink.kernel.tun import Hold, Tun
from devlink.resolvers.facts import Facts, ResolvConfFile
from devlink.resolvers.files.client import FilesClient
from devlink.resolvers.resolv_conf import MORE, OWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a mode works with; each takes what it needs."""

    nameserver: IPAddress
    """The loopback address that is the forwarder's by policy.toml. What else a mode makes is the mode's affair."""
    files: FilesClient
    """The one who may write root's files."""
    link: Callable[[], Tun | Hold] = Tun
    """What makes the link `devlink0`, or gives a part in the one that is there."""

    @property
    def own(self) -> frozenset[IPAddress]:
        """All that any mode names the forwarder by, never an upstream: another mode, or helper, may have left it."""
        return OWN | {self.nameserver, *MORE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the forwarder is to listen, on port 53, UDP and TCP."""

    address: IPAddress
    device: str = ""
    """Bound to this link alone (SO_BINDTODEVICE); empty: to none."""
    index: int = 0
    """Of that link: sockets bound to one that was made anew are dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What the operating system is to know."""

    domains: tuple[DomainName, ...]
    """The zones that the forwarder answers for, those of addresses (reverse) among them."""
    families: frozenset[int]
    """4, 6: the families of the cluster's addresses; an interface of ours has no address of another (AI_ADDRCONFIG)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What may change under a mode in force."""

    files: tuple[Path, ...] = ()
    """Written, replaced, removed or made; they need not be there, their folders may come and go."""
    objects: tuple[tuple[str, str], ...] = ()
    """D-Bus names and paths: that somebody else owns the name (a restart), or that a property of that very object
    changed. Not of all its objects: NetworkManager tells of every change of a signal's strength."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusQuery:
    """Properties of a D-Bus object that a decision rests on."""

    service: str
    path: str
    interface: str
    properties: tuple[str, ...]
    is_wanted: Callable[[ResolvConfFile], bool] = lambda _: False
    """Whether the service is started for it, since the machine's file rests on it. Else only who runs is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table by which the way is chosen (`detect`)."""

    rank: int
    """The lower, the sooner it is tried. 10: libc asks a resolver that splits; 20: a manager that splits; 40: a program
    that merges resolv.conf from parts; 90: the file itself; 95: who else can write it, where /etc is read-only."""
    reason: Callable[[Facts], str]
    """Why this mode fits, for people, as `NetworkManager writes resolv.conf`; empty where it does not. Pure."""


class ResolverMode(Protocol):
    """One way of telling. Every method blocks for some seconds at most, and raises HelperError if it cannot.

    The order is: `prepare`, then the forwarder listens there, then `apply`, then it is proved through libc. Each may be
    repeated, with the same or with other domains. Whatever happened before, `restore` undoes all of it.
    A mode is made anew by every helper, and must find what an earlier one left by the machine itself.
    """

    name: ClassVar[str]
    """For people and in the journal: `systemd-resolved`."""
    can_split: ClassVar[bool]
    """Whether the OS itself sends only the clusters' names to the forwarder; else the forwarder gets them all."""
    rows: ClassVar[tuple[Row, ...]]
    queries: ClassVar[tuple[BusQuery, ...]]
    programs: ClassVar[tuple[str, ...]]
    """Names of programs to be looked for in the system's own folders."""

    def __init__(self, tools: Tools) -> None: ...

    def prepare(self, telling: Telling) -> tuple[Place, ...]:
        """Make what must be there before the forwarder listens. The first place is one that every program reaches."""

    def apply(self, telling: Telling) -> None:
        """Have the OS ask the forwarder, and forget what it kept of these names. If it fails, the OS's own is as it
        was, and what it was told by us before may be gone."""

    def nss_services(self) -> tuple[str, ...]:
        """nsswitch services by which the proof goes as well, beside the machine's own order: `dns` where programs that
        read resolv.conf themselves come to the forwarder by another way than libc does."""

    def restore(self) -> None:
        """Give back what was there before; leave alone what another program wrote meanwhile. Needs no bus where the
        bus is not there yet (at boot)."""

    def has_remains(self) -> bool:
        """Whether anything of ours is left for `restore`: what the OS is told, a link, or a backup. Cheap; no bus."""

    def is_ours(self) -> bool:
        """Whether the OS is told of the forwarder now, by us, as `apply` did it last."""

    def read_upstreams(self) -> tuple[Upstream, ...]:
        """The servers that the OS asks without us, in order of preference; never an address of ours. None where it
        names nobody."""

    def read_ways(self) -> tuple[IPAddress, ...]:
        """The servers that are asked in the end, those behind a stub of the OS included: their way must stay."""

    def watched(self) -> Watched:
        """What to look at while in force: a change of it is followed by `is_ours` (if not, `apply`) and by
        `read_upstreams`."""
