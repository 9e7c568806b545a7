"""Who forwards for all pods and services: a switch that speaks BGP with the cluster, route reflectors, or any node."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from devlink.cluster.discovery.calico import Peer
from devlink.cluster.discovery.cluster import Cluster
from devlink.cluster.discovery.facts import Fact
from devlink.cluster.discovery.kubernetes import ClusterNode, lan_of
from devlink.core.prefixes import IPAddress, IPNetwork

GIVEN = "given"
"""The source of gateways that a person named."""
SWITCH, REFLECTOR, NODE = "switch", "route-reflector", "gateway"
"""Roles, for people."""
STEP = 10
"""Between two priorities, so that a person can put one in between."""
MAX_GATEWAYS = 16
"""Of one kind and family; a laptop uses the first that is healthy on its link."""
NO_MACHINES = {"type": ("virtual-kubelet", "kwok"), "eks.amazonaws.com/compute-type": ("fargate",)}
"""Labels of nodes that stand for something else: AKS virtual nodes, simulated ones, a pod's own small machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarder:
    """One that forwards, as a profile names it."""

    address: IPAddress
    role: str
    priority: int


Forwarders = Fact[tuple[Forwarder, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A BGP peer outside the cluster, in another AS: one of the network's own routers."""

    address: IPAddress
    peer: Peer
    speakers: frozenset[str]
    """The nodes that speak with it, by name."""


def find_switches(cluster: Cluster, pods: Sequence[IPNetwork]) -> tuple[Switch, ...]:
    """Those that some node speaks with and tells its blocks of `pods`, of the family that they speak in."""
    own = {address for node in cluster.nodes for address in (*node.addresses.values(), *node.reported)}
    by_name = {node.name: node for node in cluster.nodes}
    found = []
    for peer in cluster.calico.peers:
        if peer.address is None or peer.address in own or peer.as_number in ("", cluster.calico.as_number):
            continue
        ours = [network for network in pods if network.version == peer.address.version]
        if ours and not any(_is_told(cluster, peer, network) for network in ours):
            continue
        speakers = frozenset(node.name for node in _with_peer(by_name, peer))
        if speakers or not cluster.nodes:
            found.append(Switch(address=peer.address, peer=peer, speakers=speakers))
    return tuple(found)


def _is_told(cluster: Cluster, peer: Peer, network: IPNetwork) -> bool:
    """Whether the filters of a peer let a pod network's blocks out; the first rule that is for them decides."""
    rules = (rule for name in peer.filters for rule in cluster.calico.filters.get(name, ()))
    return next((rule.accepts for rule in rules if rule.is_for_blocks_of(network)), True)


def know_everything(switches: Iterable[Switch], cluster: Cluster, version: int) -> bool:
    """Whether the switches of an IP version are told of all blocks: by all nodes, or by a reflector of theirs."""
    ours = [one for one in switches if one.address.version == version]
    speakers = {name for one in ours for name in one.speakers}
    everybody = {node.name for node in cluster.nodes}
    return bool(ours) and (speakers >= everybody or any(node.name in speakers for node, _ in _reflectors(cluster)))


def _with_peer(nodes: Mapping[str, ClusterNode], peer: Peer) -> Iterator[ClusterNode]:
    """Of nodes by name, those that have this peer; the one that it names costs no search."""
    candidates = filter(None, [nodes.get(peer.node)]) if peer.node else nodes.values()
    return (node for node in candidates if peer.nodes(node.labels))


def find_gateways(
    cluster: Cluster, switches: Sequence[Switch], versions: Iterable[int], given: Sequence[IPAddress] = ()
) -> Forwarders | None:
    """The gateways that have an address of one of the IP `versions`; those `given` replace all that can be found.

    Switches go first: they know every node's blocks. Then the reflectors; any node only where there is no reflector.
    """
    if given:
        return Fact(value=tuple(_ranked(given, NODE, 0)), source=GIVEN)
    found: list[Forwarder] = []
    sources: list[str] = []
    for version in sorted(set(versions)):
        by_address = {one.address: one.peer.source for one in switches if one.address.version == version}
        ours = list(_ranked(sorted(by_address, key=int), SWITCH, 0))
        ready = [(node, source) for node, source in _reflectors(cluster) if node.is_ready]
        reflectors = {node.addresses[version]: source for node, source in ready if version in node.addresses}
        if reflectors:
            ours += _ranked(sorted(reflectors, key=int), REFLECTOR, len(ours))
        else:
            ours += _any_nodes(cluster, version, len(ours))
        found += ours
        named = [*by_address.values(), *reflectors.values()]
        sources += named if reflectors else [*named, ANY_NODE]
    return Fact(value=tuple(found), source=", ".join(dict.fromkeys(sources))) if found else None


ANY_NODE = "nodes (any of them forwards)"


def _ranked(addresses: Sequence[IPAddress], role: str, before: int) -> Iterator[Forwarder]:
    """One after the other, behind `before` others."""
    for rank, address in enumerate(addresses[:MAX_GATEWAYS], before + 1):
        yield Forwarder(address=address, role=role, priority=STEP * rank)


def _any_nodes(cluster: Cluster, version: int, before: int) -> Iterator[Forwarder]:
    """Some nodes of each LAN: the first carries everyone until it fails, and the others are as good as one another."""
    lans: dict[IPNetwork, list[IPAddress]] = {}
    linux = [node for node in cluster.ready_nodes if _is_linux_machine(node)]
    for address in sorted((node.addresses[version] for node in linux if version in node.addresses), key=int):
        lans.setdefault(lan_of(address), []).append(address)
    in_turn = sorted(
        ((place, int(address), address) for lan in lans.values() for place, address in enumerate(lan[:MAX_GATEWAYS])),
        key=lambda item: item[:2],
    )
    chosen = sorted((address for _, _, address in in_turn[:MAX_GATEWAYS]), key=int)
    for rank, address in enumerate(dict.fromkeys(chosen)):
        yield Forwarder(address=address, role=NODE, priority=STEP * (before + 1 + min(rank, 1)))


def _is_linux_machine(node: ClusterNode) -> bool:
    """Others forward nothing for hosts outside: Windows, and nodes that are no machine."""
    is_virtual = any(node.labels.get(key) in values for key, values in NO_MACHINES.items())
    return node.labels.get("kubernetes.io/os", "linux") == "linux" and not is_virtual


def _reflectors(cluster: Cluster) -> Iterator[tuple[ClusterNode, str]]:
    """The nodes that reflect routes, with what says so: their annotation, or a BGPPeer that sends others to them."""
    by_peer: dict[str, str] = {}
    by_name = {node.name: node for node in cluster.nodes}
    for peer in cluster.calico.peers:
        if peer.peers is not None:
            chosen = {node.name for node in cluster.nodes if peer.peers(node.labels)}
            clients = {node.name for node in _with_peer(by_name, peer)} - chosen
            if clients:  # those who peer among themselves only are a mesh
                by_peer |= dict.fromkeys(chosen - by_peer.keys(), peer.source)
    for node in cluster.nodes:
        if node.is_reflector:
            yield node, "nodes (projectcalico.org/RouteReflectorClusterID)"
        elif node.name in by_peer:
            yield node, by_peer[node.name]


def silent_reflectors(cluster: Cluster) -> list[str]:
    """Those of them that are not ready, by name: a node that is silent forwards nothing."""
    return [node.name for node, _ in _reflectors(cluster) if not node.is_ready]


def has_reflectors(cluster: Cluster) -> bool:
    """Whether some ready node reflects routes."""
    return any(node.is_ready for node, _ in _reflectors(cluster))
