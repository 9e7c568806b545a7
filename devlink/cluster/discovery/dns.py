"""The cluster's domain, and who answers for it."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from devlink.cluster.discovery.cluster import Cluster
from devlink.cluster.discovery.facts import Fact, by_version
from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.prefixes import Cover, IPAddress, IPNetwork
from devlink.core.profile_checks import domain_can_be_split
from devlink.core.reserved import objection_to_address

DEFAULT_DOMAIN = DomainName.parse("cluster.local")
"""kubelet's and kubeadm's."""
MAX_SERVERS = 8
"""CoreDNS on each node's own network may have thousands; a laptop asks one, and the next when that is silent."""
MAX_ENDPOINTS = 4
"""Pods of the cluster's DNS: on two nodes one is not on the gateway, and some may be gone."""

Servers = Fact[tuple[IPAddress, ...]]


def find_domain(cluster: Cluster) -> tuple[Fact[DomainName], tuple[Finding, ...]]:
    """The domain that CoreDNS serves and that pods search; a guess where nothing says any."""
    served, searched = _domains(cluster.dns_config.served), _domains(cluster.dns_config.searched)
    if not served and not searched:
        return Fact(value=DEFAULT_DOMAIN, source="Kubernetes' default", is_guess=True), ()
    both = [(name, source) for name, source in served if searched and name == searched[0][0]]
    name, source = (both or served or searched)[0]
    findings = []
    if served and searched and not both:
        findings.append(
            Finding(
                code="DL-DNS-DOMAIN-DIFFERS",
                severity=Severity.WARNING,
                title="CoreDNS answers for another domain than the one that pods search.",
                evidence=f"{name} by {source}; {searched[0][0]} by {searched[0][1]}",
                fix="correct the zones of its kubernetes plugin: kubectl -n kube-system edit configmap coredns",
            )
        )
    return Fact(value=name, source=source), tuple(findings)


def _domains(zones: Iterable[tuple[str, str]]) -> list[tuple[DomainName, str]]:
    return [(name, source) for zone, source in zones if (name := _domain(zone)) is not None]


def _domain(zone: str) -> DomainName | None:
    try:
        name = DomainName.parse(zone)
    except ValueError:
        return None
    return None if any(True for _ in domain_can_be_split(name)) else name


def find_servers(cluster: Cluster) -> Servers | None:
    """The addresses that a laptop asks; None where nothing is known."""
    return next((fact for source in SERVERS if (fact := source(cluster)) is not None), None)


def find_endpoints(cluster: Cluster, servers: Servers | None, pods: Collection[IPNetwork] = ()) -> Servers | None:
    """Pods behind the servers, on as many nodes as may be; none where the servers themselves are on the nodes' network.

    Those that are ready, by the Service's EndpointSlices; else the pods that run. One outside `pods`, where those are
    known, is left out: a profile must not send a laptop anywhere else.
    """
    on_nodes = _addresses_of_nodes(cluster)
    if servers is None or any(address in on_nodes for address in servers.value):
        return None
    of_dns = [pod for pod in cluster.pods if pod.is_dns]
    service = cluster.dns_service
    found = service.endpoints if service is not None else ()
    source = service.endpoints_source if service is not None else ""
    if not found:
        found = tuple(address for pod in of_dns for address in pod.addresses)
        source = ", ".join(pod.source for pod in of_dns[:2])
    hosts = {address: pod.hosts[:1] for pod in of_dns for address in pod.addresses}
    cover = Cover(pods)
    usable = [
        address
        for address in by_version(found)
        if address not in on_nodes
        and not objection_to_address(address)
        and (not pods or cover.find_address(address) is not None)
    ]
    versions = {address.version for address in usable}
    chosen = [
        address
        for version in sorted(versions)
        for address in _spread([a for a in usable if a.version == version], hosts)[: MAX_ENDPOINTS // len(versions)]
    ]
    return Fact(value=by_version(chosen), source=source) if chosen else None


def _spread(addresses: list[IPAddress], hosts: Mapping[IPAddress, tuple[IPAddress, ...]]) -> list[IPAddress]:
    """One of each node first; of those whose node is not known, each counts as on a node of its own."""
    turns: dict[object, int] = {}
    ranked: list[tuple[int, int, IPAddress]] = []
    for address in addresses:
        host = hosts.get(address) or address
        ranked.append((turns.setdefault(host, 0), len(ranked), address))
        turns[host] += 1
    return [address for _, _, address in sorted(ranked, key=lambda each: each[:2])]


def _addresses_of_nodes(cluster: Cluster) -> set[IPAddress]:
    """Those of nodes, and of the DNS pods on their network."""
    of_nodes = {address for node in cluster.nodes for address in (*node.reported, *node.addresses.values())}
    return of_nodes | {a for pod in cluster.pods if pod.is_dns and pod.on_host_network for a in pod.addresses}


def _on_nodes(cluster: Cluster) -> Servers | None:
    """CoreDNS on the nodes' own network: then a node's address is nearer than a ClusterIP, and needs no SNAT."""
    service = cluster.dns_service
    if service is None or not service.endpoints:
        return None
    if not _addresses_of_nodes(cluster).issuperset(service.endpoints):
        return None
    return _servers(service.endpoints, f"{service.endpoints_source} (on the nodes' network)")


def _host_pods(cluster: Cluster) -> Servers | None:
    """CoreDNS on the nodes' own network without any Service."""
    pods = [pod for pod in cluster.pods if pod.is_dns and pod.on_host_network]
    if cluster.dns_service is not None and cluster.dns_service.cluster_ips and cluster.dns_service.endpoints:
        return None
    return _servers([a for pod in pods for a in pod.addresses], ", ".join(pod.source for pod in pods[:2]))


def _cluster_ip(cluster: Cluster) -> Servers | None:
    service = cluster.dns_service
    return Fact(value=service.cluster_ips, source=service.source) if service and service.cluster_ips else None


def _kubelet(cluster: Cluster) -> Servers | None:
    """What pods are told to ask, unless that is a cache on each node."""
    found = [address for address in cluster.dns_config.kubelet_servers if not objection_to_address(address)]
    return Fact(value=tuple(found), source=cluster.dns_config.kubelet_source) if found else None


SERVERS = (_on_nodes, _host_pods, _cluster_ip, _kubelet)
"""The best first."""


def _servers(found: "list[IPAddress] | tuple[IPAddress, ...]", source: str) -> Servers | None:
    return Fact(value=by_version(found)[:MAX_SERVERS], source=source) if found else None


def node_local_servers(cluster: Cluster) -> Iterator[IPAddress]:
    """Those that answer on their own node only (nodelocaldns)."""
    return (address for address in cluster.dns_config.kubelet_servers if address.is_link_local)
