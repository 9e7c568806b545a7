"""Which node owns which pod blocks: what a laptop on the nodes' LAN routes to each of them itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from devlink.cluster.discovery.cluster import Cluster
from devlink.cluster.discovery.cni import Cni, is_disproved
from devlink.cluster.discovery.facts import Fact
from devlink.cluster.discovery.gateways import Switch, know_everything
from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import Cover, IPAddress, IPNetwork
from devlink.core.text import listed

OF_NODES = "nodes (spec.podCIDRs)"
Owned = Mapping[str, Sequence[IPNetwork]]
"""Blocks by the node's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A node by one address, with its pod blocks of that family, as a profile has it."""

    address: IPAddress
    pods: tuple[IPNetwork, ...]


def find_owners(
    cluster: Cluster, pods: Iterable[IPNetwork], switches: Sequence[Switch]
) -> tuple[Fact[tuple[Owner, ...]] | None, tuple[Finding, ...]]:
    """The nodes that are ready and own a block of `pods`, by address.

    None where nobody says who owns what, where pods need no route, and where a router outside the cluster learns
    all of it by BGP: of that router's IP version.
    """
    by_switch = {version for version in (4, 6) if know_everything(switches, cluster, version)}
    networks = tuple(prefix for prefix in pods if prefix.version not in by_switch)
    if not networks:
        return None, ()
    owned, source = given_out(cluster)
    owners, outside = _owners(cluster, owned, networks)
    outside = [block for block in outside if block.version not in by_switch]
    silent = [node.name for node in cluster.nodes if not node.is_ready and owned.get(node.name)]
    findings = []
    if silent:
        findings.append(
            Finding(
                code="DL-NODE-NOT-READY",
                severity=Severity.INFO,
                title="Nodes that are not ready are left out; what lies on them goes by a gateway.",
                evidence=listed(silent),
                fix="kubectl get nodes",
            )
        )
    if outside:
        findings.append(
            Finding(
                code="DL-BLOCK-OUTSIDE",
                severity=Severity.WARNING,
                title="Pod blocks lie outside the cluster's pod networks, and were left out.",
                evidence=listed(outside),
                fix="add their network to pods if pods still have addresses of it",
            )
        )
    return Fact(value=owners, source=source) if owners else None, tuple(findings)


def follow_owners(cluster: Cluster, pods: Iterable[IPNetwork], present: Iterable[IPNetwork]) -> tuple[Owner, ...]:
    """The nodes that own a block of `pods` now, where the blocks that a profile had of them were `present`.

    Of their IP versions, and by what knows the most of them: what else there is, was passed over for a reason.
    """
    known = frozenset(present)
    versions = {block.version for block in known}
    by_cni = {node.name: node.pod_prefixes for node in cluster.nodes}
    sources = (given_out(cluster)[0], _of_calico(cluster), cluster.cilium.blocks, by_cni)
    owned = max(sources, key=lambda owned: sum(block in known for blocks in owned.values() for block in blocks))
    return _owners(cluster, owned, [prefix for prefix in pods if prefix.version in versions])[0]


def _owners(cluster: Cluster, owned: Owned, networks: Iterable[IPNetwork]) -> tuple[tuple[Owner, ...], list[IPNetwork]]:
    """The nodes that are ready with their blocks of some networks, by address; and their blocks outside."""
    cover = Cover(networks)
    outside: list[IPNetwork] = []
    owners: list[Owner] = []
    for node in cluster.ready_nodes:
        blocks: dict[int, list[IPNetwork]] = {}
        for block in owned.get(node.name, ()):
            if cover.find(block) is None:
                outside.append(block)
            elif block.version in node.addresses:
                blocks.setdefault(block.version, []).append(block)
        owners += (Owner(address=node.addresses[v], pods=_sorted(mine)) for v, mine in sorted(blocks.items()))
    return tuple(sorted(owners, key=lambda owner: (owner.address.version, int(owner.address)))), outside


def given_out(cluster: Cluster) -> tuple[Owned, str]:
    """Who owns what, by the CNI's own word where it has one, and the source."""
    if cluster.cni is Cni.CALICO:
        return _of_calico(cluster), cluster.calico.blocks_source
    if cluster.cni is Cni.CILIUM and cluster.cilium.blocks:
        return cluster.cilium.blocks, cluster.cilium.blocks_source
    # Kubernetes gives nodes prefixes, whether pods get addresses of them or not.
    of_nodes = [prefix for node in cluster.nodes for prefix in node.pod_prefixes]
    unused = cluster.cni is not Cni.FLANNEL and is_disproved(of_nodes, cluster.pod_addresses)
    if unused or (cluster.cni is Cni.CILIUM and cluster.cilium.pools.prefixes):
        return {}, OF_NODES
    return {node.name: node.pod_prefixes for node in cluster.nodes if node.pod_prefixes}, OF_NODES


def _of_calico(cluster: Cluster) -> Owned:
    blocks: dict[str, list[IPNetwork]] = {}
    for block in cluster.calico.blocks:
        blocks.setdefault(block.node, []).append(block.prefix)
    return blocks


def _sorted(blocks: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    return tuple(sorted(set(blocks), key=lambda block: (int(block.network_address), block.prefixlen)))
