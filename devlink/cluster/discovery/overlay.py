"""Which encapsulation pods' packets travel in, and the MTU that leaves room for it."""

from collections.abc import Iterator

from devlink.cluster.discovery.calico import WIREGUARD
from devlink.cluster.discovery.cluster import Cluster
from devlink.cluster.discovery.cni import Cni
from devlink.cluster.discovery.facts import Fact
from devlink.cluster.discovery.pods import pools_in_use

ETHERNET = 1500
"""Octets: an ordinary link's MTU. A route's of more would make the laptop send what its own link cannot carry."""
NEVER = "Never"
FLANNEL_MTU = {"vxlan": 1450, "ipip": 1480, "wireguard": 1420, "extension": 1420, "udp": 1472}
"""Octets, by flannel's backend; host-gw has none, it encapsulates nothing."""
CILIUM_MTU = {"vxlan": 1450, "geneve": 1450}


def find_mtu(cluster: Cluster) -> Fact[int] | None:
    """The least MTU of the overlays in use, in octets; None where nothing is encapsulated, or nobody says.

    IPIP takes 20 octets, VXLAN 50 (70 over IPv6), WireGuard 80: what Calico and flannel take off an ordinary link.
    """
    found = [fact for fact in _overlays(cluster) if fact.value < ETHERNET]
    return min(found, key=lambda fact: fact.value, default=None)


def _overlays(cluster: Cluster) -> Iterator[Fact[int]]:
    if cluster.cni is Cni.CALICO:
        yield from _calico(cluster)
    elif cluster.cni is Cni.FLANNEL:
        backend = FLANNEL_MTU.get(cluster.flannel.backend)
        if backend is not None:
            yield Fact(value=cluster.flannel.mtu or backend, source=cluster.flannel.source)
    elif cluster.cni is Cni.CILIUM:
        overlay = CILIUM_MTU.get(cluster.cilium.tunnel)
        if cluster.cilium.has_wireguard:
            overlay = (overlay or ETHERNET) - 80
        if overlay is not None:
            yield Fact(value=cluster.cilium.mtu or overlay, source=cluster.cilium.source)


def _calico(cluster: Cluster) -> Iterator[Fact[int]]:
    for pool in pools_in_use(cluster):
        if pool.ipip != NEVER:
            yield _told(cluster, "ipipMTU", 1480, f"{pool.source} (ipipMode {pool.ipip})")
        if pool.vxlan != NEVER:
            key, usual = ("vxlanMTU", 1450) if pool.prefix.version == 4 else ("vxlanMTUV6", 1430)
            yield _told(cluster, key, usual, f"{pool.source} (vxlanMode {pool.vxlan})")
    for version, (key, usual) in {4: ("wireguardMTU", 1440), 6: ("wireguardMTUV6", 1420)}.items():
        if version in cluster.calico.wireguard:
            yield _told(cluster, key, usual, f"felixconfigurations/default ({WIREGUARD[version]})")


def _told(cluster: Cluster, key: str, usual: int, source: str) -> Fact[int]:
    """What FelixConfiguration says of an overlay's MTU, else the usual one, which `source` stands for."""
    told = cluster.calico.overlay_mtus.get(key)
    return Fact(value=usual, source=source) if told is None else Fact(value=told, source=f"felixconfigurations ({key})")
