"""What Cilium's configuration and its nodes say. Nothing here chooses."""

from collections.abc import Mapping
from dataclasses import dataclass

from devlink.cluster.discovery.objects import (
    Declared,
    Objects,
    flag,
    mappings,
    number,
    resource_of,
    source_of,
    text,
    texts,
    words,
)
from devlink.core.prefixes import IPNetwork

UNDERLAYS = ("eni", "azure", "alibabacloud")
"""Values of `ipam` with which the cloud's own network carries pods."""
REPLACES = ("true", "strict", "probe", "partial")
"""Values of `kube-proxy-replacement` with which Cilium serves ClusterIPs itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cilium:
    """Cilium, as far as it is configured."""

    is_there: bool
    pools: Declared
    """`cluster-pool-ipv4-cidr` and `-ipv6-cidr`."""
    blocks: Mapping[str, tuple[IPNetwork, ...]]
    """Pod prefixes by the node's name, of its CiliumNode."""
    blocks_source: str
    underlay: str
    """The IPAM that gives pods addresses of a cloud's own network (`eni`); empty for others."""
    is_chained: bool
    """It stands behind another CNI, which gives out the addresses (`cni-chaining-mode`)."""
    tunnel: str
    """vxlan or geneve; empty where it routes natively."""
    has_wireguard: bool
    mtu: int | None
    """Octets, where one is set."""
    replaces_kube_proxy: bool
    serves_external: bool
    """ClusterIPs are served to hosts outside (`bpf-lb-external-clusterip`)."""
    source: str


def read_cilium(objects: Objects) -> Cilium:
    """All that is said of Cilium."""
    item = objects.config_map("kube-system/cilium-config", "cilium/cilium-config")
    data = item.get("data")
    members = objects.of("CiliumNode", "cilium.io")
    ranges = words(text(data, "cluster-pool-ipv4-cidr")) + words(text(data, "cluster-pool-ipv6-cidr"))
    # The agent gives pods out of these only where they are the IPAM's.
    pooled = text(data, "ipam") in ("cluster-pool", "cluster-pool-v2beta", "multi-pool", "")
    blocks = {}
    for member in members:
        listed = texts(member, "spec", "ipam", "podCIDRs")
        for pool in mappings(member, "spec", "ipam", "pools", "allocated"):
            listed += texts(pool, "cidrs")
        blocks[text(member, "metadata", "name")] = objects.prefixes(member, listed)
    return Cilium(
        is_there=bool(item or members),
        pools=objects.declared(item, ranges if pooled else (), "cluster-pool"),
        blocks={name: prefixes for name, prefixes in blocks.items() if prefixes},
        blocks_source=resource_of(members[0]) if members else "",
        underlay=text(data, "ipam") if text(data, "ipam") in UNDERLAYS else "",
        is_chained=text(data, "cni-chaining-mode") not in ("", "none"),
        tunnel=_tunnel(data) if item else "",
        has_wireguard=bool(flag(data, "enable-wireguard")),
        mtu=number(data, "mtu") or None,
        replaces_kube_proxy=text(data, "kube-proxy-replacement").lower() in REPLACES,
        serves_external=bool(flag(data, "bpf-lb-external-clusterip")),
        source=source_of(item),
    )


def _tunnel(data: object) -> str:
    """Since 1.14 `routing-mode` and `tunnel-protocol`; before, `tunnel`; VXLAN where nothing is said."""
    older = text(data, "tunnel")
    if text(data, "routing-mode") == "native" or older == "disabled":
        return ""
    return text(data, "tunnel-protocol") or older or "vxlan"
