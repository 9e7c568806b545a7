"""The cluster's domain, and who answers for it."""

from collections.abc import Iterable, Iterator

from devlink.cluster.discovery.cluster import Cluster
from devlink.cluster.discovery.facts import Fact, by_version
from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress
from devlink.core.profile_checks import domain_can_be_split
from devlink.core.reserved import objection_to_address

DEFAULT_DOMAIN = DomainName.parse("cluster.local")
"""kubelet's and kubeadm's."""
MAX_SERVERS = 8
"""CoreDNS on each node's own network may have thousands; a laptop asks one, and the next when that is silent."""

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


def _on_nodes(cluster: Cluster) -> Servers | None:
    """CoreDNS on the nodes' own network: then a node's address is nearer than a ClusterIP, and needs no SNAT."""
    service = cluster.dns_service
    if service is None or not service.endpoints:
        return None
    of_nodes = {address for node in cluster.nodes for address in (*node.reported, *node.addresses.values())}
    of_pods = {address for pod in cluster.pods if pod.is_dns and pod.on_host_network for address in pod.addresses}
    if not all(address in of_nodes or address in of_pods for address in service.endpoints):
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
