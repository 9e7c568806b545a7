"""Who gives pods their addresses and moves their packets: by traces in the API, and by the pods that run."""

from collections.abc import Iterable, Sequence
from enum import Enum

from devlink.cluster.discovery.calico import Calico
from devlink.cluster.discovery.cilium import Cilium
from devlink.cluster.discovery.flannel import Flannel
from devlink.cluster.discovery.kubernetes import ClusterNode
from devlink.core.prefixes import Cover, IPAddress, IPNetwork


class Cni(Enum):
    """A network that discovery knows."""

    CALICO = "Calico"
    FLANNEL = "flannel"
    CILIUM = "Cilium"
    UNKNOWN = "unknown"


def traces_of(calico: Calico, flannel: Flannel, cilium: Cilium, nodes: Sequence[ClusterNode]) -> tuple[Cni, ...]:
    """Those that left traces, the likeliest first.

    Canal has Calico's pools and flannel's network, and no block of Calico's. Nodes keep flannel's annotations for
    ever; a Cilium that is chained behind another one gives out nothing.
    """
    traces = (
        (Cni.CALICO, bool(calico.blocks)),
        (Cni.CILIUM, cilium.is_there and not cilium.is_chained),
        (Cni.FLANNEL, flannel.runs),
        (Cni.CALICO, bool(calico.pools) or any(node.has_calico for node in nodes)),
    )
    return tuple(dict.fromkeys(cni for cni, seen in traces if seen))


def networks_of(
    cni: Cni, calico: Calico, flannel: Flannel, cilium: Cilium, nodes: Iterable[ClusterNode]
) -> Iterable[IPNetwork]:
    """What pods of such a network have addresses of; nothing where no object says it."""
    match cni:
        case Cni.CALICO:
            return tuple(item.prefix for item in calico.blocks or calico.pools)
        case Cni.CILIUM:
            return (*cilium.pools.prefixes, *(prefix for blocks in cilium.blocks.values() for prefix in blocks))
        case Cni.FLANNEL:
            return flannel.network.prefixes or tuple(prefix for node in nodes for prefix in node.pod_prefixes)
        case _:
            return ()


def is_disproved(networks: Iterable[IPNetwork], in_use: Sequence[IPAddress]) -> bool:
    """Whether networks are known, addresses are in use, and all of these lie elsewhere."""
    known = tuple(networks)
    cover = Cover(known if in_use else ())
    return bool(known and in_use) and all(cover.find_address(address) is None for address in in_use)
