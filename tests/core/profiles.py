"""Profiles for tests: one to spoil, and a strategy for valid ones of both families."""

import base64
import ipaddress
from typing import Any

from hypothesis import strategies as st

from devlink.core.names import DomainName
from devlink.core.prefixes import IPNetwork
from devlink.core.profile import (
    API_VERSION,
    KIND,
    BridgeProfile,
    ClusterDns,
    DnsServer,
    Gateway,
    Identity,
    Metadata,
    Node,
    RoutingMode,
    Spec,
    Transport,
)
from devlink.core.reserved import objection_to_search

SAMPLE = """\
apiVersion: devlink/v1alpha1
kind: BridgeProfile
metadata: {name: qa, revision: "2026-11-20T09:00:00Z"}
spec:
  pods: [10.20.0.0/16, "fd00:20::/48"]
  services: [10.254.0.0/16, "fd00:254::/112"]
  routing: auto
  gateways:
  - {address: 172.16.0.13, role: route-reflector, priority: 10}
  - {address: "fd00:16::13", role: route-reflector, priority: 20}
  nodes:
  - {address: 172.16.0.13, pods: [10.20.73.64/26]}
  - {address: "fd00:16::13", pods: ["fd00:20:0:73::/64"]}
  mtu: 1480
  dns:
    domain: cluster.local
    servers: [{address: 10.254.0.2, transport: auto}, {address: "fd00:254::2", transport: tcp}]
    namespaces: [default, qa]
    reverse: true
provenance: {pods: "ippools.crd.projectcalico.org/default-ipv4-ippool"}
"""


def pem(body: bytes = b"x" * 300, label: str = "CERTIFICATE") -> str:
    """PEM text around an ASN.1 SEQUENCE of that body: the shape of a certificate without one."""
    der = b"\x30\x82" + len(body).to_bytes(2) + body
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n"


def _prefixes(low: int, high: int) -> st.SearchStrategy[tuple[IPNetwork, ...]]:
    """Some of the /16s 10.LOW to 10.HIGH and the /48s beside them, in any order."""
    choices: list[IPNetwork] = [ipaddress.ip_network(f"10.{number}.0.0/16") for number in range(low, high)]
    choices += [ipaddress.ip_network(f"fd00:{number}::/48") for number in range(low, high)]
    return st.lists(st.sampled_from(choices), min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def profiles(draw: Any) -> BridgeProfile:
    """Any valid profile."""
    labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
    lines = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp", "Cn"]), max_size=40)
    hosts = [*(f"172.16.0.{n}" for n in range(1, 6)), *(f"fd00:16::{n}" for n in range(1, 6))]
    addresses = st.lists(st.sampled_from([ipaddress.ip_address(host) for host in hosts]), min_size=1, unique=True)
    pods = draw(st.none() | _prefixes(1, 4))
    services = draw(_prefixes(4, 7) if pods is None else st.none() | _prefixes(4, 7))
    gateways = draw(
        st.none()
        | addresses.map(lambda chosen: tuple(Gateway(address=a, role="rr", priority=i) for i, a in enumerate(chosen)))
    )
    nodes = []
    for address in draw(addresses) if pods and draw(st.booleans()) else ():
        own = [pod for pod in pods if pod.version == address.version]
        if own:  # each node's host number is its block's number
            blocks = [list(pod.subnets(prefixlen_diff=4))[int(address) & 15] for pod in own]
            nodes.append(Node(address=address, pods=tuple(blocks)))
    namespaces = draw(st.none() | st.lists(labels, min_size=1, unique=True).map(tuple))
    some = labels if namespaces is None else st.sampled_from(namespaces)
    searched = st.lists(some.filter(lambda label: not objection_to_search(label)), unique=True)
    dns = draw(
        st.none()
        | st.builds(
            ClusterDns,
            domain=st.sampled_from([DomainName.parse(text) for text in ("cluster.local", "a.b.C-d.example")]),
            servers=addresses.map(
                lambda chosen: tuple(DnsServer(address=a, transport=draw(st.sampled_from(Transport))) for a in chosen)
            ),
            namespaces=st.just(namespaces),
            search=searched.map(lambda chosen: tuple(chosen) or None),
            reverse=st.booleans(),
            endpoints=st.none() | (addresses.map(tuple) if pods is None else st.just(tuple(pod[9] for pod in pods))),
        )
    )
    return BridgeProfile(
        api_version=API_VERSION,
        kind=KIND,
        metadata=Metadata(name=draw(labels), revision=draw(lines)),
        spec=Spec(
            pods=pods,
            services=services,
            routing=draw(st.sampled_from([RoutingMode.AUTO, RoutingMode.ROUTER, RoutingMode.RELAY])),
            gateways=gateways,
            nodes=tuple(nodes) or None,
            mtu=draw(st.none() | st.integers(1280, 65535)),
            dns=dns,
            identity=draw(st.none() | st.binary(max_size=200).map(lambda body: Identity(ca=pem(body) * 2))),
        ),
        provenance=draw(st.dictionaries(st.sampled_from(["pods", "nodes[0].pods", "dns/domain"]), lines)),
    )
