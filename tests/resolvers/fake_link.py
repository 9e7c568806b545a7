"""A link that is no link, for the modes that hold one."""

from collections.abc import Iterable

from devlink.core.prefixes import IPAddress


class Link:
    """As `devlink.kernel.tun.Tun`, without a kernel."""

    made = 2

    def __init__(self) -> None:
        Link.made += 1
        self.index = Link.made
        self.addresses: list[IPAddress] = []
        self.there = True

    def exists(self) -> bool:
        return self.there

    def set_addresses(self, addresses: Iterable[IPAddress]) -> None:
        self.addresses = list(addresses)

    def close(self) -> None:
        self.there = False
