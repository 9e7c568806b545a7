"""Which networks pods have addresses of."""

import ipaddress
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace

from devlink.cluster.discovery.calico import Pool
from devlink.cluster.discovery.cluster import Cluster
from devlink.cluster.discovery.cni import Cni, is_disproved
from devlink.cluster.discovery.facts import Fact, Prefixes, Source, choose, declared, without_nested
from devlink.cluster.discovery.kubernetes import lan_of
from devlink.cluster.discovery.nodes import OF_NODES, Owned, given_out
from devlink.cluster.discovery.objects import Declared
from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import Cover, IPAddress, IPNetwork, PrefixTable, collapse, is_within, span
from devlink.core.text import listed

MAX_GUESSED = 64
"""Prefixes that a guess may have."""
NOBODY_CHOSE = (ipaddress.ip_network("10.0.0.0/8"),)
"""Cilium's default pool: all that an office may have of its own lies in it."""
K3S_PODS = ipaddress.ip_network("10.42.0.0/16")
"""What k3s and RKE2 give out of where nobody chose."""
NARROWED = ", what nodes have of it"
"""At the end of the source of pod networks of which others are a part, too."""
SITE = {4: 16, 6: 48}
"""Length of the prefix that a data centre or a cloud's private network is taken to have, by IP version."""


def find_pods(cluster: Cluster, services: Sequence[IPNetwork]) -> tuple[Prefixes | None, tuple[Finding, ...]]:
    """The pod networks; an empty value where pods live in the nodes' own LAN, None where nothing is known.

    `services`: the networks of ClusterIPs, which no pod has an address of.
    """
    # Live pods, and blocks that were given out, show whether a declaration is kept to.
    owned, source = given_out(cluster)
    blocks = () if source == OF_NODES else tuple(block for mine in owned.values() for block in mine)
    witnesses = (*cluster.pod_addresses, *(block.network_address for block in blocks))
    fact, findings = choose("pods", SOURCES, cluster, lambda prefixes: is_disproved(prefixes, witnesses))
    if fact is None:
        return None, findings
    if not fact.value:
        in_lan = not fact.is_guess or NodeLan(cluster).has_all(cluster.pod_addresses)
        return fact, (*findings, _underlay(fact.source, Severity.INFO if in_lan else Severity.WARNING))
    fact, told = _less_what_is_others(replace(fact, value=without_nested(fact.value)), owned, services, cluster)
    return fact, (*findings, *told, *([_grows(fact)] if fact.is_sum and fact.value else ()))


def _less_what_is_others(
    fact: Prefixes, owned: Owned, services: Sequence[IPNetwork], cluster: Cluster
) -> tuple[Prefixes, tuple[Finding, ...]]:
    """The pod networks without those that others have addresses of, too, who could not be reached any more.

    Of such a network what the nodes have for their pods is left, where that is known.
    """
    node_lan = NodeLan(cluster)
    blocks = [block for mine in owned.values() for block in mine]
    left: list[IPNetwork] = []
    told: list[Finding] = []
    source, is_sum = fact.source, fact.is_sum
    for prefix in fact.value:
        is_lan = node_lan.holds(prefix)
        if not is_lan and prefix not in NOBODY_CHOSE and not any(is_within(each, prefix) for each in services):
            left.append(prefix)
            continue
        routed = collapse(block for block in blocks if is_within(block, prefix) and not node_lan.holds(block))
        if routed:
            left += routed
            told.append(_narrowed(fact, prefix))
            source, is_sum = f"{fact.source}{NARROWED}", True
        elif is_lan and node_lan.is_all_of(prefix, cluster.pod_addresses):
            told.append(_underlay(f"{prefix} by {fact.source} holds addresses of nodes", Severity.INFO))
        else:
            told.append(_too_wide(fact, prefix))
    return replace(fact, value=tuple(left), source=source, is_sum=is_sum), tuple(told)


def pools_in_use(cluster: Cluster) -> tuple[Pool, ...]:
    """Calico's pools that are enabled, or that are not and still have blocks."""
    if not any(pool.is_disabled for pool in cluster.calico.pools):
        return cluster.calico.pools
    table = PrefixTable((pool.prefix, pool.prefix) for pool in cluster.calico.pools)
    busy = {prefix for block in cluster.calico.blocks for prefix in table.around(block.prefix)}
    return tuple(pool for pool in cluster.calico.pools if not pool.is_disabled or pool.prefix in busy)


def _ip_pools(cluster: Cluster) -> Prefixes | None:
    pools = pools_in_use(cluster) if cluster.cni is Cni.CALICO else ()
    prefixes = tuple(pool.prefix for pool in pools)
    return Fact(value=prefixes, source=", ".join(pool.source for pool in pools)) if prefixes else None


def _flannel_network(cluster: Cluster) -> Prefixes | None:
    return declared(cluster.flannel.network) if cluster.cni is Cni.FLANNEL else None


def _cilium_pools(cluster: Cluster) -> Prefixes | None:
    return declared(cluster.cilium.pools) if cluster.cni is Cni.CILIUM else None


def _cilium_underlay(cluster: Cluster) -> Prefixes | None:
    if cluster.cni is not Cni.CILIUM or not cluster.cilium.underlay:
        return None
    return Fact(value=(), source=f"{cluster.cilium.source} (ipam: {cluster.cilium.underlay})")


def _k3s_default(cluster: Cluster) -> Prefixes | None:
    """k3s and RKE2 say with which arguments they were started: nobody chose, and the nodes have prefixes of it."""
    given = collapse(prefix for node in cluster.nodes for prefix in node.pod_prefixes)
    source = cluster.node_arguments
    if not source or cluster.node_argument_pods.prefixes or not given or not all(is_within(p, K3S_PODS) for p in given):
        return None
    return Fact(value=(K3S_PODS,), source=f"{source}, which name no --cluster-cidr: the default")


def _cilium_blocks(cluster: Cluster) -> Prefixes | None:
    if cluster.cni is not Cni.CILIUM or not cluster.cilium.blocks:
        return None
    blocks = (prefix for prefixes in cluster.cilium.blocks.values() for prefix in prefixes)
    return Fact(value=collapse(blocks), source=cluster.cilium.blocks_source, is_sum=True)


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
    if cluster.cni is not Cni.CALICO or cluster.calico.pools or not cluster.calico.blocks:
        return None
    blocks = collapse(block.prefix for block in cluster.calico.blocks)
    return Fact(value=blocks, source=cluster.calico.blocks_source, is_sum=True)


def _node_prefixes(cluster: Cluster) -> Prefixes | None:
    """Kubernetes gives each node a prefix whether the CNI uses it or not; Calico's IPAM never does."""
    prefixes = collapse(prefix for node in cluster.nodes for prefix in node.pod_prefixes)
    if cluster.cni is Cni.CALICO or not prefixes:
        return None
    return Fact(value=prefixes, source=OF_NODES, is_sum=True)


def _live_pods(cluster: Cluster) -> Prefixes | None:
    """A guess from some pods: the networks around their addresses; none where these are the nodes' own LAN."""
    in_use = cluster.pod_addresses
    around = dict.fromkeys(lan_of(address) for address in in_use)
    if not around:
        return None
    node_lan = NodeLan(cluster)
    beside = [prefix for prefix in around if not node_lan.holds(prefix) and not node_lan.is_of_their_site(prefix)]
    source = f"the addresses of {len(in_use)} running pods"
    if not beside:
        return Fact(value=(), source=f"{source} are of the nodes' own LAN", is_guess=True)
    return Fact(value=collapse(beside[:MAX_GUESSED]), source=source, is_guess=True)


SOURCES = (
    Source(find=_ip_pools),
    Source(find=_flannel_network),
    Source(find=_cilium_pools),
    Source(find=_cilium_underlay),
    Source(find=lambda cluster: declared(cluster.kubeadm_pods), is_only_declared=True),
    Source(find=lambda cluster: declared(cluster.node_argument_pods), is_only_declared=True),
    Source(find=lambda cluster: declared(cluster.controller_manager_pods), is_only_declared=True),
    Source(find=_proxy_cluster_cidr, is_only_declared=True),
    Source(find=_k3s_default, is_only_declared=True),
    Source(find=_calico_blocks),
    Source(find=_cilium_blocks),
    Source(find=_node_prefixes, is_only_declared=True),
    Source(find=_live_pods),
)
"""The best first."""


class NodeLan:
    """Where the nodes themselves are: what of the network needs no route because it is their LAN."""

    def __init__(self, cluster: Cluster) -> None:
        of_nodes = {address for node in cluster.nodes for address in (*node.addresses.values(), *node.reported)}
        hosts = {address for pod in cluster.pods for address in pod.hosts} - of_nodes  # where nodes may not be read
        self._inside = {(a.version, int(a)) for node in cluster.nodes for a in node.addresses.values()}
        self._addresses = sorted((address.version, int(address)) for address in of_nodes | hosts)
        self._lans = Cover((*(lan for node in cluster.nodes for lan in node.lans), *map(lan_of, hosts)))

    def holds(self, prefix: IPNetwork) -> bool:
        """Whether a node has an address of `prefix`, or right beside it."""
        version, first, last = span(prefix)
        place = bisect_left(self._addresses, (version, first))
        has_node = place < len(self._addresses) and self._addresses[place] <= (version, last)
        return has_node or self._lans.find(prefix) is not None

    def has_all(self, addresses: Iterable[IPAddress]) -> bool:
        """Whether all of these are in the LANs that nodes are on."""
        return all(self._lans.find_address(address) is not None for address in addresses)

    def is_all_of(self, prefix: IPNetwork, in_use: Iterable[IPAddress]) -> bool:
        """Whether nothing is known of a network but such LANs: it is no wider, or pods are seen nowhere else in it."""
        seen = [address for address in in_use if address in prefix]
        return self._lans.find(prefix) is not None or (bool(seen) and self.has_all(seen))

    def is_of_their_site(self, prefix: IPNetwork) -> bool:
        """Whether all nodes are in one site, and it is as well: clouds have many subnets, with nodes and pods in each.

        By the addresses that nodes have within: those outside are anywhere.
        """
        version, first, _ = span(prefix)
        host_bits = prefix.max_prefixlen - SITE[version]
        return {number >> host_bits for v, number in self._inside if v == version} == {first >> host_bits}


def _narrowed(fact: Prefixes, prefix: IPNetwork) -> Finding:
    return Finding(
        code="DL-POD-NARROWED",
        severity=Severity.WARNING,
        title="A pod network holds others' addresses, too: only what nodes have of it now goes to the cluster.",
        evidence=f"{prefix} by {fact.source} holds nodes, services, or all that an office may have",
        fix="write the whole network into the profile if nothing else is in it, else trust each edition that has more",
    )


def _too_wide(fact: Prefixes, prefix: IPNetwork) -> Finding:
    return Finding(
        code="DL-POD-WIDE",
        severity=Severity.WARNING,
        title="A pod network holds others' addresses, too, and was left out: what pods have of it is not known.",
        evidence=f"{prefix} by {fact.source}",
        fix="let the account list what nodes have of it (ciliumnodes.cilium.io), or write it into the profile by hand",
    )


def _grows(fact: Prefixes) -> Finding:
    return Finding(
        code="DL-POD-SUM",
        severity=Severity.INFO,
        title="The pod networks are the sum of what the nodes have now: a new node claims more, which must be trusted.",
        evidence=f"{listed(fact.value)} by {fact.source}",
        fix="write the whole network into the profile where you know it",
    )


def _underlay(evidence: str, severity: Severity) -> Finding:
    return Finding(
        code="DL-POD-UNDERLAY",
        severity=severity,
        title="Pods have addresses of the nodes' own LAN: whoever reaches the nodes reaches them, without a route.",
        evidence=evidence,
        fix="write pods into the profile by hand if it is not so",
    )
