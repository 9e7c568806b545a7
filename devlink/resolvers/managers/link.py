"""The link of ours by which a mode tells: which addresses it has, and that it is there."""

from collections.abc import Callable

from devlink.core.prefixes import IPAddress
from devlink.kernel.observe import observe as observe_network
from devlink.kernel.tun import NAME, Hold, Tun
from devlink.resolvers.resolv_conf import LINK_ADDRESSES


def families_in_use() -> frozenset[int]:
    """4, 6: those of which another link has an address that reaches beyond it."""
    return frozenset(
        address.version
        for link in observe_network().links
        if link.name != NAME
        for address, _ in link.addresses
        if not (address.is_loopback or address.is_link_local)
    )


class OwnLink:
    """`devlink0`, for as long as a mode holds it: it dies with this process, and what others know by it with it."""

    def __init__(
        self,
        *,
        make: Callable[[], Tun | Hold] = Tun,
        families: Callable[[], frozenset[int]] = lambda: families_in_use(),
    ) -> None:
        """`families` are those that the laptop has elsewhere."""
        self._make, self._families = make, families
        self._tun: Tun | Hold | None = None
        self._addresses: tuple[IPAddress, ...] = ()

    @property
    def is_held(self) -> bool:
        """Whether it was made and not closed; somebody may have deleted it under us."""
        return self._tun is not None

    @property
    def index(self) -> int:
        """Of the one that is held, else 0; the next one has another."""
        return self._tun.index if self._tun is not None else 0

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Its own, and the spare one behind it at times; none before `prepare`."""
        return self._addresses

    def exists(self) -> bool:
        """Whether it is held, and still there."""
        return self._tun is not None and self._tun.exists()

    def prepare(self, families: frozenset[int]) -> None:
        """Have it up, with an address of one of `families`, the cluster's. Raises HelperError. May be repeated: the
        address stays as long as it can, and comes back where others took it away."""
        if not self.exists():
            self.close()
            self._tun = self._make()
        if not self._addresses or self._addresses[0].version not in families:
            # A family that the laptop has nowhere else would have libc ask for addresses of no use (AI_ADDRCONFIG).
            self._addresses = LINK_ADDRESSES[min(families & self._families() or families, default=4)][:1]
        self._set(self._addresses)

    def renew_addresses(self) -> None:
        """Take its addresses away and give them again. Raises HelperError."""
        self._set(())
        self._set(self._addresses)

    def toggle_spare(self) -> None:
        """With the spare address from the next `prepare` or `renew_addresses` on, if it is without now; or without."""
        pair = LINK_ADDRESSES[self._addresses[0].version]
        self._addresses = pair if len(self._addresses) == 1 else pair[:1]

    def close(self) -> None:
        """Let it go. May be repeated."""
        tun, self._tun, self._addresses = self._tun, None, ()
        if tun is not None:
            tun.close()

    def _set(self, addresses: tuple[IPAddress, ...]) -> None:
        if self._tun is not None:
            self._tun.set_addresses(addresses)
