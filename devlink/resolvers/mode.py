"""What every way of telling the operating system about the forwarder can do."""

from typing import Protocol

from devlink.core.plan import Upstream
from devlink.core.prefixes import IPAddress


class ResolverMode(Protocol):
    """One way of telling. Every method blocks for some seconds at most, and raises HelperError if it cannot."""

    @property
    def name(self) -> str:
        """For people: `direct`."""

    @property
    def can_split(self) -> bool:
        """Whether the OS itself sends only the clusters' names to the forwarder; else the forwarder gets them all."""

    def read_upstreams(self) -> tuple[Upstream, ...]:
        """The servers that the OS asks without us, in order of preference; never an address of ours."""

    def read_ways(self) -> tuple[IPAddress, ...]:
        """The servers that are asked in the end, those behind a stub of the OS included: their way must stay."""

    def apply(self, address: IPAddress) -> None:
        """Make the forwarder at `address`, port 53, the OS's nameserver. May be repeated."""

    def restore(self) -> None:
        """Give back what was there before. May be repeated; leaves alone what another program wrote meanwhile."""

    def has_remains(self) -> bool:
        """Whether anything of ours is left for `restore`: what the OS is told, or a backup of it."""

    def is_ours(self) -> bool:
        """Whether the OS is told of the forwarder now, by us."""
