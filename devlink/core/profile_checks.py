"""What must hold across the fields of a profile; the limits of single fields stand with the fields (core.profile)."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from devlink.core.checks import Fault, show
from devlink.core.names import IN_ADDR_ARPA, IP6_ARPA, DomainName
from devlink.core.prefixes import Cover, IPAddress, IPNetwork, span
from devlink.core.reserved import objection_to_address, objection_to_prefix, objection_to_search

Prefixes = tuple[IPNetwork, ...] | None
Place = tuple[str, IPNetwork]
"""A prefix and its path in the document."""
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]*$"
"""Text that moves no cursor, turns no reading direction, and that YAML carries as it is."""
MAX_PROVENANCE = 256
MAX_SOURCE = 1024
"""Of the provenance: entries, and characters of a value."""
PROVENANCE_KEY = r"[A-Za-z0-9_.\[\]/-]{1,128}"
IPV6_MIN_MTU = 1280
"""RFC 8200 section 5, in octets."""


class Addressed(Protocol):
    """A gateway, a node or a DNS server, as far as these checks look at it."""

    @property
    def address(self) -> IPAddress: ...


class Owner(Addressed, Protocol):
    """A node with its pod blocks."""

    @property
    def pods(self) -> tuple[IPNetwork, ...]: ...


class Answering(Protocol):
    """The cluster's DNS, with the pods behind it."""

    @property
    def endpoints(self) -> tuple[IPAddress, ...] | None: ...


def overlaps(places: Iterable[Place]) -> Iterator[tuple[Place, Place]]:
    """Each prefix that lies in another one, with that other; n log n, since prefixes nest or are apart."""
    spans = sorted(((span(place[1]), place) for place in places), key=lambda item: (item[0][:2], -item[0][2]))
    outer: list[tuple[int, int, Place]] = []
    for (version, first, last), place in spans:
        while outer and (outer[-1][0] != version or outer[-1][1] < first):
            outer.pop()
        if outer:
            yield place, outer[-1][2]
        outer.append((version, last, place))


def prefixes_can_be_routed(key: str, prefixes: Prefixes) -> Iterator[Fault]:
    """No default route or part of it, loopback, link-local or multicast among pods or services."""
    for index, prefix in enumerate(prefixes or ()):
        if objection := objection_to_prefix(prefix):
            yield Fault(f"{key}[{index}]", f"{prefix} {objection}", "devlink never routes this")


def networks_are_apart(pods: Prefixes, services: Prefixes) -> Iterator[Fault]:
    """No prefix of pods or services lies in another."""
    places = [(f"pods[{i}]", p) for i, p in enumerate(pods or ())]
    places += [(f"services[{i}]", p) for i, p in enumerate(services or ())]
    for (path, prefix), (other_path, other) in overlaps(places):
        where = f"lies in {other}" if prefix != other else "stands"
        same_list = path.partition("[")[0] == other_path.partition("[")[0]
        hint = "leave one of them out" if same_list else "pods and services never share addresses: check both"
        yield Fault(path, f"{prefix} {where}{' of' if prefix != other else ' also as'} {other_path}", hint)


def address_is_usable(address: IPAddress) -> Iterator[Fault]:
    """A node, gateway or DNS server has an ordinary unicast address."""
    if objection := objection_to_address(address):
        link_local = "nodelocaldns answers on its node only: take the ClusterIP" if address.is_link_local else ""
        yield Fault("address", f"{address} {objection}", link_local or "take an address that a laptop can reach")


def gateways_are_distinct(gateways: Sequence[Addressed] | None) -> Iterator[Fault]:
    """No gateway twice."""
    yield from _twice("gateways[{}].address", (g.address for g in gateways or ()), "leave one of them out")


def nodes_are_distinct(nodes: Sequence[Addressed] | None) -> Iterator[Fault]:
    """No node twice."""
    yield from _twice("nodes[{}].address", (n.address for n in nodes or ()), "put the blocks into one list")


def gateways_are_outside(gateways: Sequence[Addressed] | None, pods: Prefixes, services: Prefixes) -> Iterator[Fault]:
    """No gateway has an address that would be routed through the gateway."""
    yield from _inside("gateways", [g.address for g in gateways or ()], pods, services)


def nodes_are_outside(nodes: Sequence[Addressed] | None, pods: Prefixes, services: Prefixes) -> Iterator[Fault]:
    """No node has an address that would be routed through a node."""
    yield from _inside("nodes", [n.address for n in nodes or ()], pods, services)


def blocks_are_pods(nodes: Sequence[Owner] | None, pods: Prefixes) -> Iterator[Fault]:
    """Each node's blocks lie in the pod networks."""
    if nodes and pods is None:
        yield Fault("nodes", "pod blocks without pods", "add the pod networks under pods, or leave nodes out")
        return
    cover = Cover(pods or ())
    for place, block in _blocks(nodes):
        if cover.find(block) is None:
            yield Fault(place, f"{block} is outside pods", "add its network to pods, or check it for a typing error")


def blocks_are_apart(nodes: Sequence[Owner] | None) -> Iterator[Fault]:
    """No two nodes own the same pod address."""
    for (path, block), (other_path, other) in overlaps(_blocks(nodes)):
        problem = f"{block} is also {other_path}" if block == other else f"{block} lies in {other} of {other_path}"
        yield Fault(path, problem, "a block has one owner")


def blocks_are_of_the_nodes_family(address: IPAddress, pods: tuple[IPNetwork, ...]) -> Iterator[Fault]:
    """A route's next hop is of the route's family."""
    for index, block in enumerate(pods):
        if block.version != address.version:
            hint = f"list the node once more by its IPv{block.version} address, with these blocks"
            yield Fault(f"pods[{index}]", f"{block} cannot be reached via {address}: not the same IP version", hint)


def routing_has_its_next_hops(
    routing: str,
    gateways: Sequence[Addressed] | None,
    nodes: Sequence[Owner] | None,
    pods: Prefixes,
    services: Prefixes,
) -> Iterator[Fault]:
    """A mode that is asked for by name has what it needs."""
    if routing == "per-node" and not nodes:
        yield Fault("routing", "per-node without nodes", "list the nodes and their pod blocks, or say auto")
    if routing == "gateway" and not gateways:
        yield Fault("routing", "gateway without gateways", "list the nodes that forward, or say auto")
    elif routing == "gateway":
        have = {g.address.version for g in gateways or ()}
        for version in sorted({p.version for p in (pods or ()) + (services or ())} - have):
            yield Fault("gateways", f"none has an IPv{version} address, and there are IPv{version} prefixes", "add one")


def mtu_fits_ipv6(mtu: int | None, pods: Prefixes, services: Prefixes) -> Iterator[Fault]:
    """IPv6 needs links of 1280 octets."""
    if mtu is not None and mtu < IPV6_MIN_MTU and any(p.version == 6 for p in (pods or ()) + (services or ())):
        yield Fault("mtu", f"{mtu} is less than {IPV6_MIN_MTU}", "the least that IPv6 may have (RFC 8200)")


def something_is_claimed(pods: Prefixes, services: Prefixes, dns: object | None) -> Iterator[Fault]:
    """A profile is for something."""
    if pods is None and services is None and dns is None:
        yield Fault("", "neither pods, services nor dns", "such a profile would do nothing: give at least one of them")


def domain_can_be_split(domain: DomainName) -> Iterator[Fault]:
    """Never the root, a top-level domain or a reverse zone; no address where a name is wanted."""
    if len(domain.labels) < 2:
        what = "has one label: a whole top-level domain" if domain.labels else "is the root: every name there is"
        yield Fault("domain", f"{show(str(domain))} {what}", "the cluster's domain is usually cluster.local")
    elif domain.is_within(IN_ADDR_ARPA) or domain.is_within(IP6_ARPA):
        yield Fault("domain", f"{show(str(domain))} is a reverse zone", "say reverse: true; the zones follow from pods")
    elif domain.labels[-1].isdigit():
        yield Fault("domain", f"{show(str(domain))} ends in a number", "write a name such as cluster.local")


def servers_are_distinct(servers: Sequence[Addressed]) -> Iterator[Fault]:
    """No DNS server twice."""
    yield from _twice("servers[{}].address", (s.address for s in servers), "leave one of them out")


def endpoints_are_usable(endpoints: tuple[IPAddress, ...] | None) -> Iterator[Fault]:
    """No pod twice, and each has an ordinary unicast address."""
    yield from _twice("endpoints[{}]", endpoints or (), "leave one of them out")
    for index, address in enumerate(endpoints or ()):
        if objection := objection_to_address(address):
            yield Fault(f"endpoints[{index}]", f"{address} {objection}", "take the addresses of the cluster DNS's pods")


def endpoints_are_pods(dns: Answering | None, pods: Prefixes) -> Iterator[Fault]:
    """Each pod behind the DNS is in the pod networks: who confirms a profile is shown these, not single pods.

    Where pods need no route there is nothing to hold them against; verification then asks on the laptop's links only.
    """
    cover = Cover(pods or ())
    for index, address in enumerate((dns.endpoints if dns is not None else None) or ()):
        if pods is not None and cover.find_address(address) is None:
            hint = "take the addresses of the cluster DNS's pods, or add their network to pods"
            yield Fault(f"dns.endpoints[{index}]", f"{address} is outside pods", hint)


def namespaces_are_distinct(namespaces: tuple[str, ...] | None) -> Iterator[Fault]:
    """No namespace twice."""
    yield from _twice("namespaces[{}]", namespaces or (), "leave one of them out")


def search_is_possible(search: tuple[str, ...] | None, namespaces: tuple[str, ...] | None) -> Iterator[Fault]:
    """No namespace twice, none that is not asked for, and no top-level domain that is full of others' names."""
    yield from _twice("search[{}]", search or (), "leave one of them out")
    for index, namespace in enumerate(search or ()):
        if objection := objection_to_search(namespace):
            yield Fault(f"search[{index}]", f"{namespace} {objection}", "take its services' whole names")
        if namespaces is not None and namespace not in namespaces:
            hint = "add it to namespaces, or leave it out here"
            yield Fault(f"search[{index}]", f"{namespace} is not in namespaces, so nothing in it is asked for", hint)


def ca_is_certificates(ca: str) -> Iterator[Fault]:
    """PEM certificates and nothing else; a private key is refused loudly, and never repeated."""
    if "PRIVATE KEY" in ca:
        yield Fault("ca", "A PRIVATE KEY", "profiles are public: take it out, count the key as stolen and replace it")
        return
    blocks = _pem_blocks(ca)
    if not blocks:
        yield Fault("ca", "no PEM certificate in it", "-----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----")
    for label, body in blocks:
        if label != "CERTIFICATE":
            yield Fault("ca", f"a PEM block of another kind, {show(label)}", "only CERTIFICATE belongs here")
        elif not _is_der_sequence(body):
            yield Fault("ca", "a certificate that is cut off or damaged", "copy it again, line by line")


def canonical_pem(ca: str) -> str:
    """The same certificates without comments and in lines of 64 (RFC 7468), so that equal ones have one hash."""
    lines = []
    for label, body in _pem_blocks(ca):
        text = "".join(body.split())
        wrapped = (text[start : start + 64] for start in range(0, len(text), 64))
        lines += [f"-----BEGIN {label}-----", *wrapped, f"-----END {label}-----"]
    return "".join(line + "\n" for line in lines)


def provenance_is_bounded(provenance: Mapping[str, str]) -> Iterator[Fault]:
    """Paths and free text, but not a file's worth of it, and nothing that plays with a terminal."""
    if len(provenance) > MAX_PROVENANCE:
        yield Fault(
            "provenance", f"{len(provenance)} entries, more than {MAX_PROVENANCE}", "one for each fact is enough"
        )
        return
    for key, value in provenance.items():
        if not re.fullmatch(PROVENANCE_KEY, key):
            yield Fault("provenance", f"{show(key)} is not a path in spec", "such as pods or dns.domain")
        elif len(value) > MAX_SOURCE or not re.fullmatch(PRINTABLE, value):
            yield Fault(f"provenance.{key}", f"{show(value)} is not one line of at most {MAX_SOURCE} characters")


def _blocks(nodes: Sequence[Owner] | None) -> Iterator[Place]:
    for i, node in enumerate(nodes or ()):
        for j, block in enumerate(node.pods):
            yield f"nodes[{i}].pods[{j}]", block


def _inside(key: str, addresses: list[IPAddress], pods: Prefixes, services: Prefixes) -> Iterator[Fault]:
    for name, prefixes in (("pods", pods), ("services", services)):
        cover = Cover(prefixes or ())
        for index, address in enumerate(addresses):
            if (prefix := cover.find_address(address)) is not None:
                hint = f"the way to {name} cannot go through one of them: take the node's own address"
                yield Fault(f"{key}[{index}].address", f"{address} lies in {name} {prefix}", hint)


def _twice(path: str, values: Iterable[object], hint: str) -> Iterator[Fault]:
    seen: dict[object, int] = {}
    for index, value in enumerate(values):
        first = seen.setdefault(value, index)
        if first != index:
            yield Fault(path.format(index), f"{value} stands also as {path.format(first)}", hint)


def _pem_blocks(text: str) -> list[tuple[str, str]]:
    """Label and body of each PEM block."""
    return [
        (match["label"], match["body"])
        for match in re.finditer(
            r"-----BEGIN (?P<label>[^\n-]{1,64})-----(?P<body>[^-]*)-----END (?P=label)-----", text
        )
    ]


def _is_der_sequence(body: str) -> bool:
    """Whether base64 text holds one whole ASN.1 SEQUENCE, as a certificate is (X.690 section 8.1)."""
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    if len(der) < 2 or der[0] != 0x30:
        return False
    if der[1] < 0x80:
        return len(der) == 2 + der[1]
    count = der[1] & 0x7F
    return len(der) >= 2 + count and len(der) == 2 + count + int.from_bytes(der[2 : 2 + count])
