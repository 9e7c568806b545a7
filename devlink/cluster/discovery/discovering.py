"""From API objects to a profile, fact by fact, with the source of each."""

from collections.abc import Iterable, Mapping
from typing import Any

from devlink.cluster.discovery.admission import admit
from devlink.cluster.discovery.cluster import read_cluster
from devlink.cluster.discovery.diagnosis import Subject, diagnose
from devlink.cluster.discovery.dns import find_domain, find_endpoints, find_servers
from devlink.cluster.discovery.facts import Fact
from devlink.cluster.discovery.gateways import find_gateways, find_switches
from devlink.cluster.discovery.identity import find_ca
from devlink.cluster.discovery.nodes import find_owners, follow_owners
from devlink.cluster.discovery.objects import Objects
from devlink.cluster.discovery.overlay import find_mtu
from devlink.cluster.discovery.pods import find_pods
from devlink.cluster.discovery.reports import guesses, missing, refusals, unread_parts
from devlink.cluster.discovery.result import Discovery, Unread, Wishes
from devlink.cluster.discovery.services import KINDS, find_services
from devlink.core.codec import encode
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

    services, service_findings = find_services(cluster)
    pods, pod_findings = find_pods(cluster, services.value if services else ())
    prefixes = (pods.value if pods else ()) + (services.value if services else ())
    switches = find_switches(cluster, pods.value if pods else ())
    owners, owner_findings = find_owners(cluster, pods.value if pods else (), switches)
    servers = find_servers(cluster)
    domain, domain_findings = find_domain(cluster)
    everything: dict[str, Fact[Any] | None] = {
        "pods": pods,
        "services": services,
        "gateways": find_gateways(cluster, switches, {prefix.version for prefix in prefixes}, wishes.gateways),
        "nodes": owners,
        "mtu": find_mtu(cluster) if prefixes else None,
        "dns.domain": domain if servers else None,
        "dns.servers": servers,
        "dns.endpoints": find_endpoints(cluster, servers, pods.value if pods else ()),
        "identity.ca": find_ca(cluster, ca),
    }
    facts = {key: fact for key, fact in everything.items() if fact is not None}
    profile, refused = admit(_document(facts, wishes))
    subject = Subject(
        cluster=cluster,
        switches=switches,
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


def discover_nodes(objects: Iterable[object], pods: Iterable[IPNetwork], present: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes as they are now, of a profile that had `present`: those that are ready, with their blocks of `pods`.

    None where the objects do not say it.
    """
    blocks = (block for node in present for block in node.pods)
    owners = follow_owners(read_cluster(Objects(objects)), pods, blocks)
    return tuple(Node(address=owner.address, pods=owner.pods) for owner in owners)


def _document(facts: Mapping[str, Fact[Any]], wishes: Wishes) -> dict[str, Any]:
    """The profile as a tree, not yet checked."""
    trees: dict[str, Any] = {
        key: encode(fact.value) for key, fact in facts.items() if fact.value
    }  # no pods: they need no route
    spec: dict[str, Any] = {key: trees[key] for key in ("pods", "services", "gateways", "nodes", "mtu") if key in trees}
    if "dns.servers" in trees:
        servers = [{"address": address, "transport": wishes.transport.value} for address in trees["dns.servers"]]
        spec["dns"] = {"domain": trees["dns.domain"], "servers": servers}
        if "dns.endpoints" in trees:
            spec["dns"]["endpoints"] = trees["dns.endpoints"]
        if wishes.namespaces is not None:
            spec["dns"]["namespaces"] = list(wishes.namespaces)
        if wishes.search is not None:
            spec["dns"]["search"] = list(wishes.search)
    if "identity.ca" in trees:
        spec["identity"] = {"ca": trees["identity.ca"]}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": wishes.name, "revision": wishes.revision},
        "spec": spec,
        "provenance": {key: fact.provenance for key, fact in facts.items()},
    }


def knows_services(objects: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the objects say, without a guess, which networks ClusterIPs are of."""
    fact, _ = find_services(read_cluster(Objects(item for item in objects if item.get("kind") in KINDS)))
    return fact is not None and not fact.is_guess
