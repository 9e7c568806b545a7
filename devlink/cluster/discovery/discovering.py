"""From API objects to a profile, fact by fact, with the source of each."""

from collections.abc import Iterable, Mapping
from typing import Any

from devlink.cluster.discovery.admission import admit
from devlink.cluster.discovery.cluster import read_cluster
from devlink.cluster.discovery.diagnosis import Subject, diagnose
from devlink.cluster.discovery.dns import DEFAULT_DOMAIN, find_domain, find_servers
from devlink.cluster.discovery.facts import Fact
from devlink.cluster.discovery.gateways import find_gateways
from devlink.cluster.discovery.nodes import Owner, find_owners
from devlink.cluster.discovery.objects import Objects
from devlink.cluster.discovery.overlay import find_mtu, network_carries_blocks
from devlink.cluster.discovery.pods import find_pods
from devlink.cluster.discovery.reports import guesses, missing, refusals, unread_parts
from devlink.cluster.discovery.result import Discovery, Unread, Wishes
from devlink.cluster.discovery.services import KINDS, find_services
from devlink.core.findings import Finding
from devlink.core.prefixes import IPNetwork
from devlink.core.profile import API_VERSION, KIND, Node


def discover(
    objects: Iterable[object], wishes: Wishes, *, unread: Iterable[Unread] = (), ca: str | None = None
) -> Discovery:
    """The profile that these API objects describe, with findings.

    `objects`: any, with kind and apiVersion, in any order; unknown kinds and odd shapes are passed over. `unread`:
    what could not be read, for the report. `ca`: the certificates (PEM) by which the API was checked, for a profile's
    identity where no ConfigMap kube-root-ca.crt is among the objects.
    """
    index = Objects(objects)
    cluster = read_cluster(index)
    skipped = tuple(unread)

    pods, pod_findings = find_pods(cluster)
    services, service_findings = find_services(cluster)
    prefixes = (pods.value if pods else ()) + (services.value if services else ())
    versions = {prefix.version for prefix in prefixes} or {4, 6}
    owners: Fact[tuple[Owner, ...]] | None = None
    owner_findings: tuple[Finding, ...] = ()
    if pods and pods.value and not network_carries_blocks(cluster):
        owners, owner_findings = find_owners(cluster, pods.value)
    gateways = find_gateways(cluster, versions, wishes.gateways)
    mtu = find_mtu(cluster) if prefixes else None
    servers = find_servers(cluster)
    domain, domain_findings = find_domain(cluster)
    if domain is None:
        domain = Fact(value=DEFAULT_DOMAIN, source="Kubernetes' default", is_guess=True)
    identity = Fact(value=cluster.ca, source=cluster.ca_source) if cluster.ca else None
    if identity is None and ca:
        identity = Fact(value=ca, source="the CA by which the API server was checked")

    # What goes where in the profile, and where it came from.
    spec: dict[str, Any] = {}
    facts: dict[str, Fact[Any]] = {}
    if pods:
        facts["pods"] = pods
        spec |= {"pods": list(map(str, pods.value))} if pods.value else {}
    if services:
        facts["services"] = services
        spec["services"] = list(map(str, services.value))
    if gateways and prefixes:
        facts["gateways"] = gateways
        spec["gateways"] = [{"address": str(g.address), "role": g.role, "priority": g.priority} for g in gateways.value]
    if owners:
        facts["nodes"] = owners
        spec["nodes"] = [{"address": str(o.address), "pods": list(map(str, o.blocks))} for o in owners.value]
    if mtu:
        facts["mtu"] = mtu
        spec["mtu"] = mtu.value
    if servers:
        facts["dns.servers"], facts["dns.domain"] = servers, domain
        spec["dns"] = {
            "domain": str(domain.value),
            "servers": [{"address": str(address), "transport": wishes.transport.value} for address in servers.value],
            **({"namespaces": list(wishes.namespaces)} if wishes.namespaces is not None else {}),
        }
    if identity:
        facts["identity.ca"] = identity
        spec["identity"] = {"ca": identity.value}

    tree: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": wishes.name, "revision": wishes.revision},
        "spec": spec,
        "provenance": {key: fact.provenance for key, fact in facts.items()},
    }
    profile, refused = admit(tree)
    subject = Subject(
        cluster=cluster,
        pods=(profile.spec.pods if profile else None) or (),
        services=(profile.spec.services if profile else None) or (),
        has_owners=owners is not None,
    )
    return Discovery(
        profile=profile,
        findings=(
            *diagnose(subject),
            *missing(facts),
            *guesses(facts),
            *refusals(index.refused),
            *refused,
            *pod_findings,
            *service_findings,
            *owner_findings,
            *domain_findings,
            *unread_parts(skipped),
        ),
        unread=skipped,
    )


def discover_nodes(objects: Iterable[object], pods: Iterable[IPNetwork]) -> tuple[Node, ...]:
    """The nodes that are ready, each with the blocks of `pods` that it owns; none where the objects do not say it."""
    owners, _ = find_owners(read_cluster(Objects(objects)), pods)
    return tuple(Node(address=owner.address, pods=owner.blocks) for owner in owners.value) if owners else ()


def knows_services(objects: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the objects say, without a guess, which networks ClusterIPs are of."""
    fact, _ = find_services(read_cluster(Objects(item for item in objects if item.get("kind") in KINDS)))
    return fact is not None and not fact.is_guess
