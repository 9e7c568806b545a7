"""What will not work, or not as people expect, before anyone tries: a table of checks over a cluster."""

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from devlink.cluster.discovery.calico import Peer, Pool
from devlink.cluster.discovery.cluster import Cluster
from devlink.cluster.discovery.cni import Cni
from devlink.cluster.discovery.dns import node_local_servers
from devlink.cluster.discovery.gateways import Switch, has_reflectors, silent_reflectors
from devlink.cluster.discovery.overlay import NEVER
from devlink.cluster.discovery.pods import pools_in_use
from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import IPNetwork, is_within, overlap
from devlink.core.text import listed

MAX_FIXES = 8
"""Commands in one fix."""
MESH_LIMIT = 100
"""Nodes above which Calico's documentation asks for route reflectors."""
EDIT_PROXY = (
    "kubectl -n kube-system edit configmap kube-proxy && kubectl -n kube-system rollout restart daemonset kube-proxy"
)
HOME_NETWORKS = (
    (ipaddress.ip_network("192.168.0.0/16"), "the network of most homes"),
    (ipaddress.ip_network("172.17.0.0/16"), "Docker's own network on most laptops"),
)
PRIVATE = tuple(ipaddress.ip_network(t) for t in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A cluster, with what was found of it."""

    cluster: Cluster
    switches: tuple[Switch, ...]
    pods: tuple[IPNetwork, ...]
    services: tuple[IPNetwork, ...]
    has_owners: bool
    """Each block's node is known, so that a laptop on their LAN needs no gateway for pods."""


def diagnose(subject: Subject) -> tuple[Finding, ...]:
    """All that the checks of the table say."""
    return tuple(finding for check in CHECKS for finding in check(subject))


def _overlay_always(subject: Subject) -> Iterator[Finding]:
    if subject.cluster.cni is not Cni.CALICO:
        return
    for key, device, mode_of in (("ipipMode", "tunl0", _ipip), ("vxlanMode", "vxlan.calico", _vxlan)):
        # IPv6 has no such check.
        in_use = [pool for pool in pools_in_use(subject.cluster) if pool.prefix.version == 4]
        pools = [pool for pool in in_use if mode_of(pool) == "Always"]
        if pools:
            yield Finding(
                code="DL-R4-OVERLAY",
                severity=Severity.WARNING,
                title="Through a gateway, pods on other nodes are silent where these check reverse paths strictly.",
                evidence=f"{key} Always in {listed(pool.source for pool in pools)}: packets from outside come out of "
                f"{device}, and their way back is another link; rp_filter=1 drops them",
                fix=f"{_across_subnets(pools, key)}; or on each node: "
                f"sysctl -w net.ipv4.conf.{device.replace('.', '/')}.rp_filter=2",
            )


def _across_subnets(pools: Iterable[Pool], key: str) -> str:
    """How to have only those packets encapsulated that cross a router."""
    by_operator = [str(pool.prefix) for pool in pools if pool.is_operators]
    by_hand = [_patch(pool.source, f'"{key}":"CrossSubnet"') for pool in pools if not pool.is_operators]
    overlay = {"ipipMode": "IPIPCrossSubnet", "vxlanMode": "VXLANCrossSubnet"}[key]
    edit = (
        f"kubectl edit installation default: encapsulation: {overlay} in calicoNetwork.ipPools, {listed(by_operator)}"
    )
    return "; ".join(by_hand + [edit] * bool(by_operator))


def _ipip(pool: Pool) -> str:
    return pool.ipip


def _vxlan(pool: Pool) -> str:
    return pool.vxlan


def _invalid_drop(subject: Subject) -> Iterator[Finding]:
    """R2. flannel masquerades what comes from outside, which makes the way back the same."""
    proxy, cluster = subject.cluster.kube_proxy, subject.cluster
    spared = not subject.pods or cluster.cni is Cni.FLANNEL or _without_kube_proxy(cluster)
    if proxy is None or spared or proxy.mode != "iptables" or proxy.tcp_be_liberal:
        return
    routed = " Routes to each node are not concerned." if subject.has_owners else ""
    yield Finding(
        code="DL-R2-INVALID-DROP",
        severity=Severity.WARNING,
        title=f"Through a gateway node, connections to pods on other nodes open and then hang.{routed}",
        evidence=f"{proxy.source}: mode iptables without conntrack.tcpBeLiberal drops what it sees only half of",
        fix=f"set conntrack.tcpBeLiberal: true (or mode: nftables) in kube-proxy's configuration: {EDIT_PROXY}",
    )


def _no_snat(subject: Subject) -> Iterator[Finding]:
    """R3."""
    proxy, cluster = subject.cluster.kube_proxy, subject.cluster
    if proxy is None or _without_kube_proxy(cluster) or proxy.masquerade_all:
        return
    if proxy.detect_local_mode != "ClusterCIDR" or proxy.cluster_cidr:
        return
    helped = cluster.cni is Cni.FLANNEL
    yield Finding(
        code="DL-R3-NO-SNAT",
        severity=Severity.WARNING if helped else Severity.ERROR,
        title="ClusterIPs time out from outside where their endpoint is on another node than the gateway."
        + (" flannel's --ip-masq, where it is on, makes up for it." if helped else ""),
        evidence=f"{proxy.source}: detectLocalMode ClusterCIDR with an empty clusterCIDR, so kube-proxy does no SNAT",
        fix=f"set {_local_detection(subject)} in kube-proxy's configuration: {EDIT_PROXY}",
    )


def _local_detection(subject: Subject) -> str:
    """kube-proxy takes one clusterCIDR of each IP version, and ends itself where it is given more."""
    versions = [prefix.version for prefix in subject.pods]
    if subject.pods and len(set(versions)) == len(versions):
        return f"clusterCIDR: {','.join(map(str, subject.pods))}"
    if subject.cluster.cni is Cni.CALICO:
        return "detectLocalMode: InterfaceNamePrefix and detectLocal.interfaceNamePrefix: cali"
    return "clusterCIDR: to one network that holds all pods"


def _cluster_ips_refused(subject: Subject) -> Iterator[Finding]:
    """R6."""
    cilium = subject.cluster.cilium
    if cilium.replaces_kube_proxy and not cilium.serves_external:
        yield Finding(
            code="DL-R6-CLUSTERIP",
            severity=Severity.ERROR,
            title="Cilium refuses ClusterIPs to hosts outside the cluster: services and cluster DNS will be silent.",
            evidence=f"{cilium.source}: kube-proxy-replacement without bpf-lb-external-clusterip",
            fix="cilium config set bpf-lb-external-clusterip true (Helm: bpf.lbExternalClusterIP=true)",
        )


def _ebpf(subject: Subject) -> Iterator[Finding]:
    if subject.cluster.calico.has_ebpf and subject.cluster.cni is Cni.CALICO:
        yield Finding(
            code="DL-CALICO-EBPF",
            severity=Severity.INFO,
            title="Calico's eBPF data plane serves ClusterIPs, also to hosts outside; kube-proxy's settings are moot.",
            evidence="FelixConfiguration default: bpfEnabled true; between nodes it needs UDP port 4789",
        )


def _full_mesh(subject: Subject) -> Iterator[Finding]:
    cluster = subject.cluster
    by_bgp = any(pool.vxlan == NEVER for pool in pools_in_use(cluster))
    if cluster.cni is Cni.CALICO and by_bgp and cluster.calico.has_mesh and not has_reflectors(cluster):
        large = len(cluster.nodes) > MESH_LIMIT
        yield Finding(
            code="DL-FULL-MESH",
            severity=Severity.WARNING if large else Severity.INFO,
            title="Every node speaks BGP with every other: there is no route reflector, and any node is a gateway.",
            evidence=f"{cluster.calico.configuration or 'no BGPConfiguration'}: the node-to-node mesh is on, "
            f"{len(cluster.nodes)} nodes",
            fix=f"above {MESH_LIMIT} nodes Calico asks for route reflectors" if large else "",
        )


def _services_not_told(subject: Subject) -> Iterator[Finding]:
    if subject.switches and subject.services and not subject.cluster.calico.services.prefixes:
        cidrs = ",".join(f'{{"cidr":"{prefix}"}}' for prefix in subject.services)
        change = f'"serviceClusterIPs":[{cidrs}]'
        switch, configuration = subject.switches[0], subject.cluster.calico.configuration
        yield Finding(
            code="DL-SERVICES-NOT-ADVERTISED",
            severity=Severity.WARNING,
            title="The switch knows the way to pods, and none to ClusterIPs.",
            evidence=f"{switch.peer.source} peers with {switch.address}, and BGPConfiguration has no serviceClusterIPs",
            fix=_patch(configuration, change) if configuration else _create_configuration(switch.peer, change),
        )


def _create_configuration(peer: Peer, change: str) -> str:
    """The command that makes the BGPConfiguration that is not there, by the API that has the peer."""
    tree = f'{{"apiVersion":"{peer.api_version}","kind":"BGPConfiguration","metadata":{{"name":"default"}},"spec":'
    return f"echo '{tree}{{{change}}}}}' | kubectl create -f -"


def _next_hop_is_the_reflector(subject: Subject) -> Iterator[Finding]:
    """R2 once more: where some nodes speak with no switch, it sends what is theirs to those that do."""
    changing = [switch for switch in subject.switches if not switch.peer.keeps_next_hop]
    mute = {node.name for node in subject.cluster.nodes}.difference(*(one.speakers for one in subject.switches))
    if changing and mute:
        told = sorted(frozenset().union(*(switch.speakers for switch in changing)))
        yield Finding(
            code="DL-BGP-NEXT-HOP",
            severity=Severity.WARNING,
            title="The switch may send packets for every pod to the route reflectors instead of the pod's node.",
            evidence=f"{listed(switch.peer.source for switch in changing)}: {listed(one.address for one in changing)} "
            f"peers with {listed(told)} alone, and in a multihop session their own address is the next hop",
            fix="; ".join(_patch(switch.peer.source, '"keepOriginalNextHop":true') for switch in changing[:MAX_FIXES]),
        )


def _left_behind(subject: Subject) -> Iterator[Finding]:
    cluster = subject.cluster
    if cluster.left_behind:
        names = " and ".join(cni.value for cni in cluster.left_behind)
        yield Finding(
            code="DL-CNI-LEFT",
            severity=Severity.INFO,
            title=f"Objects of {names} are there, and pods have addresses of {cluster.cni.value}: it was believed.",
            evidence=f"addresses in use: {listed(cluster.pod_addresses)}",
            fix=f"remove what is left of {names} where it no longer runs",
        )


def _silent_reflectors(subject: Subject) -> Iterator[Finding]:
    silent = silent_reflectors(subject.cluster)
    if silent:
        yield Finding(
            code="DL-REFLECTOR-NOT-READY",
            severity=Severity.WARNING,
            title="Route reflectors that are not ready are no gateways of this profile.",
            evidence=listed(silent),
            fix="discover and publish again when they are: kubectl get nodes",
        )


def _nat_outgoing(subject: Subject) -> Iterator[Finding]:
    pools = [pool for pool in pools_in_use(subject.cluster) if pool.nat_outgoing]
    if pools and subject.cluster.cni is Cni.CALICO:
        yield Finding(
            code="DL-NAT-OUTGOING",
            severity=Severity.INFO,
            title="What pods open towards laptops comes from their node's address; what laptops open is not concerned.",
            evidence=f"natOutgoing in {listed(pool.source for pool in pools)}",
        )


def _external_nodes(subject: Subject) -> Iterator[Finding]:
    if subject.cluster.calico.external_nodes:
        admitted = listed(one[:64] for one in subject.cluster.calico.external_nodes)
        yield Finding(
            code="DL-EXTERNAL-NODES",
            severity=Severity.INFO,
            title="Calico's nodes take encapsulated packets from hosts outside, too; devlink encapsulates nothing.",
            evidence=f"FelixConfiguration default: externalNodesList {admitted}",
        )


def _disabled_pools(subject: Subject) -> Iterator[Finding]:
    used = [pool for pool in pools_in_use(subject.cluster) if pool.is_disabled]
    if used and subject.cluster.cni is Cni.CALICO:
        yield Finding(
            code="DL-POOL-DISABLED",
            severity=Severity.INFO,
            title="Pods still have addresses of a pool that gives out none any more; it was taken along.",
            evidence=listed(f"{pool.prefix} by {pool.source}" for pool in used),
            fix="discover and publish again when its pods are gone",
        )


def _node_local_dns(subject: Subject) -> Iterator[Finding]:
    found = list(node_local_servers(subject.cluster))
    if found:
        yield Finding(
            code="DL-NODE-LOCAL-DNS",
            severity=Severity.INFO,
            title="Pods ask a DNS cache on their own node, which no laptop can ask; laptops ask the cluster's DNS.",
            evidence=f"{subject.cluster.dns_config.kubelet_source}: {listed(found)}",
        )


def _collisions(subject: Subject) -> Iterator[Finding]:
    for theirs, what in HOME_NETWORKS:
        ours = [prefix for prefix in subject.pods + subject.services if overlap(prefix, theirs)]
        if ours:
            yield Finding(
                code="DL-HOME-LAN",
                severity=Severity.INFO,
                title=f"The cluster's addresses are those of {what}: there, both cannot be reached.",
                evidence=f"{listed(ours)} and {theirs}",
                fix="devlink keeps the laptop's own network and says so; another pod network would end it",
            )


def _public(subject: Subject) -> Iterator[Finding]:
    public = [p for p in subject.pods + subject.services if not any(is_within(p, space) for space in PRIVATE)]
    if public:
        yield Finding(
            code="DL-PUBLIC-PREFIX",
            severity=Severity.WARNING,
            title="The cluster uses addresses that are not private: laptops lose whatever else has them.",
            evidence=listed(public),
            fix="look whether they are really the cluster's; `devlink trust` shows them once more",
        )


def _patch(source: str, change: str) -> str:
    """The command that changes the object `source`, a resource and a name."""
    return f"kubectl patch {source.replace('/', ' ')} --type merge -p '{{\"spec\":{{{change}}}}}'"


def _without_kube_proxy(cluster: Cluster) -> bool:
    """Something else serves ClusterIPs, so that kube-proxy's configuration is a leftover."""
    return cluster.cilium.replaces_kube_proxy or (cluster.calico.has_ebpf and cluster.cni is Cni.CALICO)


CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    _no_snat,
    _cluster_ips_refused,
    _silent_reflectors,
    _overlay_always,
    _invalid_drop,
    _next_hop_is_the_reflector,
    _services_not_told,
    _public,
    _full_mesh,
    _ebpf,
    _nat_outgoing,
    _external_nodes,
    _disabled_pools,
    _left_behind,
    _node_local_dns,
    _collisions,
)
"""What will not work first."""
