"""Which networks ClusterIPs are given out of."""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import replace

from devlink.cluster.discovery.cluster import Cluster
from devlink.cluster.discovery.facts import Fact, Prefixes, Source, choose, declared
from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import Cover, IPAddress, IPNetwork, is_within
from devlink.core.text import listed

KNOWN_DEFAULTS = tuple(
    ipaddress.ip_network(text)
    for text in ("10.96.0.0/12", "10.43.0.0/16", "10.233.0.0/18", "10.152.183.0/24", "34.118.224.0/20")
)
"""What kubeadm, k3s and RKE2, kubespray, MicroK8s and GKE give out of where nobody chose."""
SHORTEST_GUESS = {4: 12, 6: 108}
"""Prefix lengths, by IP version: Kubernetes itself allows no larger IPv6 range, and no common default is larger."""
LIKELY = {4: 16, 6: 112}


def find_services(cluster: Cluster) -> tuple[Prefixes | None, tuple[Finding, ...]]:
    """The ClusterIP ranges, the one of the `kubernetes` Service first; None where nothing is known.

    A range that all ClusterIPs in use lie in, else the one of the `kubernetes` Service, and what is outside is told.
    """

    def lacks_any(prefixes: Sequence[IPNetwork]) -> bool:
        return next(_outside(cluster, prefixes), None) is not None

    def lacks_the_first(prefixes: Sequence[IPNetwork]) -> bool:
        return _kubernetes(cluster) in {None, *(address for address, _ in _outside(cluster, prefixes))}

    fact, findings = choose("services", SOURCES, cluster, lacks_any)
    if fact is None or fact.is_guess:
        fact, findings = choose("services", SOURCES, cluster, lacks_the_first)
    if fact is None:
        return None, findings
    return replace(fact, value=_in_order(fact.value, cluster)), (*findings, *_told_outside(cluster, fact))


def _outside(cluster: Cluster, prefixes: Sequence[IPNetwork]) -> Iterator[tuple[IPAddress, str]]:
    """The ClusterIPs in use that lie in none of the prefixes."""
    cover = Cover(prefixes)
    return ((address, source) for address, source in cluster.cluster_ips if cover.find_address(address) is None)


def _kubernetes(cluster: Cluster) -> IPAddress | None:
    """The address of the `kubernetes` Service: the first of the first range."""
    return next((address for address, source in cluster.cluster_ips if source == KUBERNETES), None)


def _told_outside(cluster: Cluster, fact: Prefixes) -> Iterator[Finding]:
    outside = [f"{address} of {source}" for address, source in _outside(cluster, fact.value)]
    if outside:
        yield Finding(
            code="DL-SERVICE-OUTSIDE",
            severity=Severity.WARNING,
            title="ClusterIPs in use lie outside the network of ClusterIPs that was found: they will have no route.",
            evidence=f"{listed(outside)}; {listed(fact.value)} by {fact.source}",
            fix="see which networks there are (kubectl get servicecidrs), and add them to services",
        )


def _service_cidrs(cluster: Cluster) -> Prefixes | None:
    prefixes = tuple(prefix for found in cluster.service_cidrs for prefix in found.prefixes)
    sources = ", ".join(found.source for found in cluster.service_cidrs if found.prefixes)
    return Fact(value=prefixes, source=sources) if prefixes else None


def _around_cluster_ips(cluster: Cluster) -> Prefixes | None:
    """A guess: the first address of a range is the `kubernetes` Service's, and the others in use lie in it too."""
    guessed: list[IPNetwork] = []
    for version in (4, 6):
        in_use = [(address, source) for address, source in cluster.cluster_ips if address.version == version]
        if in_use:
            first = next((a for a, source in in_use if source == KUBERNETES), None)
            prefix = _around(first, [address for address, _ in in_use])
            guessed += [prefix] if prefix is not None else []
    sources = ", ".join(dict.fromkeys(source for _, source in cluster.cluster_ips[:4]))
    return Fact(value=tuple(guessed), source=f"ClusterIPs in use: {sources}", is_guess=True) if guessed else None


KUBERNETES = "services/default/kubernetes"
KINDS = ("ServiceCIDR", "BGPConfiguration", "ConfigMap", "Pod", "Service", "Status")
"""Kinds that say something of services: not the nodes (k3s's arguments apart) and blocks, of which there are many."""
SOURCES = (
    Source(find=_service_cidrs),
    Source(find=lambda cluster: declared(cluster.calico.services), is_only_declared=True),
    Source(find=lambda cluster: declared(cluster.kubeadm_services), is_only_declared=True),
    Source(find=lambda cluster: declared(cluster.api_server_services), is_only_declared=True),
    Source(find=lambda cluster: declared(cluster.controller_manager_services), is_only_declared=True),
    Source(find=lambda cluster: declared(cluster.node_argument_services), is_only_declared=True),
    Source(find=lambda cluster: declared(cluster.valid_range)),
    Source(find=_around_cluster_ips),
)
"""The best first."""


def _around(kubernetes: IPAddress | None, in_use: Sequence[IPAddress]) -> IPNetwork | None:
    """The range that these ClusterIPs are probably of; None where they lie too far apart for any."""
    for default in KNOWN_DEFAULTS:
        is_its_first = kubernetes is None or kubernetes == default.network_address + 1
        if is_its_first and all(address in default for address in in_use):
            return default
    version, width = in_use[0].version, in_use[0].max_prefixlen
    likely = LIKELY[version]
    start = int(min(in_use, key=int)) >> (width - likely) << (width - likely)
    if kubernetes is not None:
        start = int(kubernetes) - 1
    # A range begins at a multiple of its size, so its beginning bounds it.
    widest = max(SHORTEST_GUESS[version], width - _trailing_zeros(start, width))
    for length in range(max(likely, widest), widest - 1, -1):
        if all(start <= int(address) < start + (1 << (width - length)) for address in in_use):
            first = ipaddress.IPv4Address(start) if version == 4 else ipaddress.IPv6Address(start)
            return ipaddress.ip_network((first, length))
    return None


def _trailing_zeros(value: int, width: int) -> int:
    return (value & -value).bit_length() - 1 if value else width


def _in_order(prefixes: tuple[IPNetwork, ...], cluster: Cluster) -> tuple[IPNetwork, ...]:
    """None within another, and the one first whose first address is the `kubernetes` Service's.

    ServiceCIDRs may nest. Where a later one holds the first, what is left of it stands beside the first, which proves
    the cluster's identity by its first address.
    """
    kubernetes = _kubernetes(cluster)
    ordered = sorted(prefixes, key=lambda prefix: kubernetes is not None and prefix.network_address + 1 != kubernetes)
    kept: list[IPNetwork] = []
    for prefix in ordered:
        kept += _less(prefix, kept)
    return tuple(kept)


def _less(prefix: IPNetwork, taken: Sequence[IPNetwork]) -> list[IPNetwork]:
    """What of a prefix is in none of the others."""
    left = [prefix]
    for other in taken:
        left = [part for one in left for part in _minus(one, other)]
    return left


def _minus(prefix: IPNetwork, other: IPNetwork) -> list[IPNetwork]:
    if is_within(prefix, other):
        return []
    if is_within(other, prefix):
        return list(prefix.address_exclude(other))  # type: ignore[arg-type]  # of one version, or neither is within
    return [prefix]
