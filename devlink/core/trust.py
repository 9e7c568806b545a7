"""Trust records: what one profile may claim of the machine's network, and whether a record covers a claim."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from devlink.core.names import DomainName, reverse_prefix
from devlink.core.neighbours import addressed, connected
from devlink.core.network import ObservedNetwork
from devlink.core.plan import Zone
from devlink.core.prefixes import Cover, IPAddress, IPNetwork, PrefixTable, collapse, host_prefix, is_within
from devlink.core.profile import BridgeProfile
from devlink.core.reserved import objection_to_address, objection_to_prefix, objection_to_search

PRIVATE: tuple[IPNetwork, ...] = tuple(
    ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
"""RFC 1918 and RFC 4193. Anything else is worth a remark when trust is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a session wants of the machine's network."""

    name: str
    """The profile's `metadata.name`."""
    prefixes: tuple[IPNetwork, ...] = ()
    domains: tuple[DomainName, ...] = ()
    """Forward domains only; reverse zones are claimed as prefixes are."""
    search: tuple[str, ...] = ()
    """Namespaces: the names of two labels that end in one are the cluster's."""
    next_hops: tuple[IPAddress, ...] = ()
    dns_servers: tuple[IPAddress, ...] = ()
    ca: str = ""
    """SHA-256 of the cluster's CA certificates (the PEM text), hex; empty where the profile has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRecord:
    """What the machine's owner lets one profile claim. The file form of it is `/var/lib/devlink/trust/NAME.json`."""

    name: str
    """The profile's `metadata.name`."""
    prefixes: tuple[IPNetwork, ...] = ()
    """Within which its routes and reverse zones may be."""
    domains: tuple[DomainName, ...] = ()
    """Whose names may be asked of the cluster's DNS."""
    next_hops: tuple[IPNetwork, ...] = ()
    """The on-link prefixes that contained the next hops when trust was given, else their host prefixes."""
    dns_servers: tuple[IPNetwork, ...] = ()
    """Host prefixes of DNS servers outside `prefixes`."""
    search: tuple[str, ...] = ()
    """Namespaces in which names of two labels may end."""
    ca: str = ""
    """SHA-256 of the cluster's CA certificates (the PEM text), hex; empty where the profile has none."""


def claim_of_profile(profile: BridgeProfile) -> Claim:
    """All that a profile could ever ask for."""
    spec = profile.spec
    hops = [g.address for g in spec.gateways or ()] + [n.address for n in spec.nodes or ()]
    return Claim(
        name=profile.metadata.name,
        prefixes=collapse(spec.prefixes),
        domains=(spec.dns.domain,) if spec.dns else (),
        search=spec.dns.search or () if spec.dns else (),
        next_hops=tuple(dict.fromkeys(hops)),
        dns_servers=tuple(s.address for s in spec.dns.servers) if spec.dns else (),
        ca=spec.identity.ca_hash if spec.identity else "",
    )


def claim_of_plan(
    name: str, destinations: Iterable[IPNetwork], next_hops: Iterable[IPAddress], zones: Iterable[Zone], ca: str
) -> Claim:
    """What a plan asks for now: this, not the profile, is what the helper checks."""
    zones = tuple(zones)
    forward, reverse = [], []
    for zone in zones:
        prefix = reverse_prefix(zone.suffix)
        if prefix is None:
            forward.append(zone.suffix)
        else:
            reverse.append(prefix)
    return Claim(
        name=name,
        prefixes=collapse([*destinations, *reverse]),
        domains=tuple(dict.fromkeys(forward)),
        search=tuple(dict.fromkeys(namespace for zone in zones for namespace in zone.search)),
        next_hops=tuple(dict.fromkeys(next_hops)),
        dns_servers=tuple(dict.fromkeys(server.address for zone in zones for server in zone.servers)),
        ca=ca,
    )


def record_of(claim: Claim, observed: ObservedNetwork) -> TrustRecord:
    """The record that covers a claim on this laptop: next hops by the on-link prefix that contains them now."""
    links = PrefixTable((prefix, prefix) for prefix, _ in addressed(observed))
    near = PrefixTable((prefix, prefix) for prefix, _ in connected(observed))
    hops = [links.longest(hop) or near.longest(hop) or host_prefix(hop) for hop in claim.next_hops]
    claimed = Cover(claim.prefixes)
    return TrustRecord(
        name=claim.name,
        prefixes=collapse(claim.prefixes),
        domains=claim.domains,
        search=claim.search,
        next_hops=collapse(hops),
        dns_servers=collapse(host_prefix(a) for a in claim.dns_servers if claimed.find_address(a) is None),
        ca=claim.ca,
    )


def uncovered(record: TrustRecord, claim: Claim) -> tuple[str, ...]:
    """What a claim wants beyond the record, one text for each; empty where it is covered."""
    wants = []
    if claim.name != record.name:
        wants.append(f"the name {claim.name}")
    prefixes, next_hops, dns_servers = Cover(record.prefixes), Cover(record.next_hops), Cover(record.dns_servers)
    for prefix in claim.prefixes:
        if prefixes.find(prefix) is None:
            wants.append(f"prefix {prefix}")
    for domain in claim.domains:
        if not any(domain.is_within(trusted) for trusted in record.domains):
            wants.append(f"domain {domain}")
    wants += [f"names like NAME.{namespace}" for namespace in claim.search if namespace not in record.search]
    for hop in claim.next_hops:
        if next_hops.find_address(hop) is None:
            wants.append(f"next hop {hop}")
    for server in claim.dns_servers:
        if prefixes.find_address(server) is None and dns_servers.find_address(server) is None:
            wants.append(f"DNS server {server}")
    if claim.ca != record.ca:
        wants.append("another cluster CA")
    return tuple(wants)


def forbidden(claim: Claim) -> tuple[str, ...]:
    """What no record can allow, one text for each."""
    refused = [f"prefix {p} ({why})" for p in claim.prefixes if (why := objection_to_prefix(p))]
    for domain in claim.domains:
        if len(domain.labels) < 2:
            refused.append(f"domain {domain} (the root, or a whole top-level domain)")
    refused += [f"names like NAME.{ns} ({ns} {why})" for ns in claim.search if (why := objection_to_search(ns))]
    addresses = claim.next_hops + claim.dns_servers
    refused += [f"address {a} ({why})" for a in addresses if (why := objection_to_address(a))]
    return tuple(refused)


def remarks(claim: Claim) -> tuple[str, ...]:
    """What a person should look at twice before giving trust: public space, and domains other than cluster.local."""
    notes = [f"{p} is not private address space" for p in claim.prefixes if not any(is_within(p, s) for s in PRIVATE)]
    notes += [f"{d} is not cluster.local: every name below it will go to the cluster" for d in claim.domains
              if str(d) != "cluster.local"]  # fmt: skip
    notes += [f"NAME.{namespace} will go to the cluster, also where .{namespace} is a top-level domain of the Internet"
              for namespace in claim.search]  # fmt: skip
    if not claim.ca:
        notes.append("the profile carries no cluster CA, so nothing tells this cluster from one that poses as it")
    return tuple(notes)
