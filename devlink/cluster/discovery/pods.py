"""Which networks pods have addresses of."""

import ipaddress
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from devlink.cluster.discovery.calico import Pool
from devlink.cluster.discovery.cluster import Cluster, Cni
from devlink.cluster.discovery.facts import Fact, Prefixes, Source, choose, declared, without_nested
from devlink.cluster.discovery.kubernetes import lan_of
from devlink.cluster.discovery.objects import Declared
from devlink.core.findings import Finding, Severity
from devlink.core.plan import listed
from devlink.core.prefixes import Cover, IPNetwork, collapse, span

OF_NODES = "nodes (spec.podCIDRs)"
MAX_GUESSED = 64
"""Prefixes that a guess may have."""


def find_pods(cluster: Cluster) -> tuple[Prefixes | None, tuple[Finding, ...]]:
    """The pod networks; an empty value where pods live in the nodes' own LAN, None where nothing is known."""
    # Live pods, and blocks that were given out, show whether a declaration is kept to.
    witnesses = (*cluster.pod_addresses, *(block.prefix.network_address for block in cluster.calico.blocks))

    def is_disproved(prefixes: Sequence[IPNetwork]) -> bool:
        cover = Cover(prefixes)
        return bool(witnesses) and all(cover.find_address(address) is None for address in witnesses)

    fact, findings = choose("pods", SOURCES, cluster, is_disproved)
    if fact is None:
        return None, findings
    if not fact.value:
        return fact, (*findings, _underlay(fact.source))
    if fact.source == OF_NODES:
        findings = (*findings, _grows(fact.value))
    node_lan = NodeLan(cluster)
    prefixes = without_nested(fact.value)
    beside = [prefix for prefix in prefixes if not node_lan.holds(prefix)]
    if len(beside) == len(prefixes):
        return replace(fact, value=prefixes), findings
    lan = [prefix for prefix in prefixes if prefix not in beside]
    source = fact.source if beside else f"{fact.source}, and that is the nodes' own LAN"
    findings = (*findings, _underlay(f"{listed(lan)} by {fact.source} holds addresses of nodes"))
    return Fact(value=tuple(beside), source=source, is_guess=fact.is_guess), findings


def pools_in_use(cluster: Cluster) -> tuple[Pool, ...]:
    """Calico's pools that are enabled, or that are not and still have blocks."""
    if not any(pool.is_disabled for pool in cluster.calico.pools):
        return cluster.calico.pools
    disabled = Cover(pool.prefix for pool in cluster.calico.pools if pool.is_disabled)
    busy = {disabled.find(block.prefix) for block in cluster.calico.blocks}
    return tuple(p for p in cluster.calico.pools if not p.is_disabled or disabled.find(p.prefix) in busy)


def _ip_pools(cluster: Cluster) -> Prefixes | None:
    pools = pools_in_use(cluster) if cluster.cni is Cni.CALICO else ()
    prefixes = tuple(pool.prefix for pool in pools)
    return Fact(value=prefixes, source=", ".join(pool.source for pool in pools)) if prefixes else None


def _flannel_network(cluster: Cluster) -> Prefixes | None:
    return declared(cluster.flannel.network) if cluster.cni is Cni.FLANNEL else None


def _cilium_pools(cluster: Cluster) -> Prefixes | None:
    return declared(cluster.cilium.pools) if cluster.cni is Cni.CILIUM else None


def _cilium_blocks(cluster: Cluster) -> Prefixes | None:
    if cluster.cni is not Cni.CILIUM or not cluster.cilium.blocks:
        return None
    blocks = (prefix for prefixes in cluster.cilium.blocks.values() for prefix in prefixes)
    return Fact(value=collapse(blocks), source=cluster.cilium.blocks_source)


def _proxy_cluster_cidr(cluster: Cluster) -> Prefixes | None:
    proxy = cluster.kube_proxy
    if proxy is None:
        return None
    try:
        prefixes = tuple(ipaddress.ip_network(one.strip()) for one in proxy.cluster_cidr.split(",") if one.strip())
    except ValueError:
        return None
    return declared(Declared(prefixes=prefixes, source=f"{proxy.source} (clusterCIDR)"))


def _calico_blocks(cluster: Cluster) -> Prefixes | None:
    """Where the pools may not be read, what has been given out of them."""
    blocks = collapse(block.prefix for block in cluster.calico.blocks)
    return Fact(value=blocks, source=cluster.calico.blocks_source) if blocks and not cluster.calico.pools else None


def _node_prefixes(cluster: Cluster) -> Prefixes | None:
    """Kubernetes gives each node a prefix whether the CNI uses it or not; Calico's IPAM never does."""
    prefixes = collapse(prefix for node in cluster.nodes for prefix in node.pod_prefixes)
    if cluster.cni is Cni.CALICO or not prefixes:
        return None
    return Fact(value=prefixes, source=OF_NODES)


def _live_pods(cluster: Cluster) -> Prefixes | None:
    """A guess from some pods: the networks around their addresses; none where these are the nodes' own LAN."""
    in_use = cluster.pod_addresses
    around = dict.fromkeys(lan_of(address) for address in in_use)
    if not around:
        return None
    node_lan = NodeLan(cluster)
    beside = [prefix for prefix in around if not node_lan.holds(prefix)]
    source = f"the addresses of {len(in_use)} running pods"
    if not beside:
        return Fact(value=(), source=f"{source} are of the nodes' own LAN", is_guess=True)
    return Fact(value=collapse(beside[:MAX_GUESSED]), source=source, is_guess=True)


SOURCES = (
    Source(find=_ip_pools),
    Source(find=_flannel_network),
    Source(find=_cilium_pools),
    Source(find=_cilium_blocks),
    Source(find=lambda cluster: declared(cluster.kubeadm_pods), is_only_declared=True),
    Source(find=lambda cluster: declared(cluster.node_argument_pods), is_only_declared=True),
    Source(find=lambda cluster: declared(cluster.controller_manager_pods), is_only_declared=True),
    Source(find=_proxy_cluster_cidr, is_only_declared=True),
    Source(find=_calico_blocks),
    Source(find=_node_prefixes, is_only_declared=True),
    Source(find=_live_pods),
)
"""The best first."""


class NodeLan:
    """Where the nodes themselves are: what of the network needs no route because it is their LAN."""

    def __init__(self, cluster: Cluster) -> None:
        self._nodes = sorted((a.version, int(a)) for node in cluster.nodes for a in node.addresses.values())

    def holds(self, prefix: IPNetwork) -> bool:
        """Whether a node has an address of `prefix`, or right beside it."""
        lan = lan_of(prefix.network_address)
        version, first, last = span(lan if prefix.prefixlen > lan.prefixlen else prefix)
        place = bisect_left(self._nodes, (version, first))
        return place < len(self._nodes) and self._nodes[place] <= (version, last)


def _grows(prefixes: Sequence[IPNetwork]) -> Finding:
    return Finding(
        code="DL-POD-SUM",
        severity=Severity.INFO,
        title="The pod networks are the sum of what the nodes have now: a new node claims more, which must be trusted.",
        evidence=f"{listed(prefixes)} by {OF_NODES}; nothing says of which network they are",
        fix="write the whole network into the profile where you know it (k3s: --cluster-cidr, 10.42.0.0/16 by default)",
    )


def _underlay(evidence: str) -> Finding:
    return Finding(
        code="DL-POD-UNDERLAY",
        severity=Severity.INFO,
        title="Pods have addresses of the nodes' own LAN: whoever reaches the nodes reaches them, without a route.",
        evidence=evidence,
        fix="write pods into the profile by hand if it is not so",
    )
