"""Where the laptop is, as far as it can be seen without asking the cluster: the ways to it, and who is next on them."""

from collections.abc import Collection
from dataclasses import dataclass

from devlink.core.network import ObservedNetwork, Path
from devlink.core.plan import addresses_of_interest
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile
from devlink.kernel.neighbours import link_address_toward
from devlink.kernel.observe import observe


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How packets go to one address of the cluster."""

    address: IPAddress
    oif: str | None
    next_hop: IPAddress | None
    link_address: str
    """Of the next hop, or of the address itself where it is on the link; empty where nobody says it is that one. A
    tunnel's link has no such addresses: there it is the link's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Two that are equal are the same place, as far as anybody can see."""

    hops: tuple[Path, ...]
    """The way to each next hop of the profile, and to its DNS servers."""
    ways: tuple[Way, ...]
    """To the cluster's API and its DNS servers."""
    addresses: tuple[str, ...]
    """The laptop's own on the links that these ways take."""
    is_offline: bool
    """No next hop can be reached at all: there is no way, or its link is down."""

    @property
    def is_known(self) -> bool:
        """Whether it is seen by whom the packets go: else an equal one may be another place."""
        return all(way.link_address for way in self.ways if way.oif is not None)


def look_around(profile: BridgeProfile, api: Collection[IPAddress] = ()) -> tuple[ObservedNetwork, Surroundings]:
    """The network with the ways that a plan needs, and what of it makes the place. Blocks. Raises HelperError.

    `api`: what a relay needs a way to, and nothing else; none where nothing is relayed.
    """
    near, far = addresses_of_interest(profile), (*_cluster_addresses(profile), *api)
    observed = observe((*near, *far))
    wanted = api or near
    up = {link.name for link in observed.links if link.up}
    tunnels = {link.name for link in observed.links if link.noarp}
    ways = tuple(_way(address, observed.paths[address], tunnels) for address in far)
    oifs = {way.oif for way in ways} | {observed.paths[address].oif for address in near}
    return observed, Surroundings(
        hops=tuple(observed.paths[address] for address in near),
        ways=ways,
        addresses=tuple(
            f"{address}/{length} dev {link.name}"
            for link in observed.links
            for address, length in link.addresses
            if link.name in oifs and link.name != "lo" and not address.is_link_local
        ),
        is_offline=bool(wanted) and not any(observed.paths[address].oif in up for address in wanted),
    )


def _cluster_addresses(profile: BridgeProfile) -> tuple[IPAddress, ...]:
    spec = profile.spec
    api = [spec.api] if spec.api is not None else []
    servers = [server.address for server in spec.dns.servers] if spec.dns else []
    return tuple(dict.fromkeys([*api, *servers]))


def _way(address: IPAddress, path: Path, tunnels: Collection[str]) -> Way:
    is_tunnel = path.oif in tunnels and path.kind == "unicast"
    known = path.oif if is_tunnel else link_address_toward(address, path, ask=True)
    return Way(address=address, oif=path.oif, next_hop=path.next_hop, link_address=known or "")
