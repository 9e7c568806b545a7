"""What a node's packet filter does with ClusterIPs and pods, as nftables rules: kube-proxy's and flannel's work."""

import ipaddress
from collections.abc import Iterable

from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.lab.spec import Masquerade, NodeBlocks, Port, WorldSpec

MARK = "0x4000"
"""The mark that kube-proxy gives to packets which it will masquerade."""
POSTROUTING = "type nat hook postrouting priority srcnat;"


def ruleset(spec: WorldSpec) -> str:
    """kube-proxy's rules, the same on each node, for `nft -f`, both families.

    After kube-proxy's nftables mode: DNAT where a packet enters or is sent, masquerade for sources outside the pod
    ranges, no other port answers (reject), ClusterIPs that nobody owns are dropped.
    """
    return "".join(_table(spec, version) for version in (4, 6) if _of(version, spec.cluster.services))


def masquerading(spec: WorldSpec, node: NodeBlocks) -> str:
    """flannel's rules of one node, for `nft -f`, whoever does kube-proxy's work; empty where there is no flannel."""
    if spec.cluster.masquerade is not Masquerade.FLANNEL:
        return ""
    return "".join(_flannel(spec, node, version) for version in (4, 6) if _of(version, spec.cluster.pods))


def _flannel(spec: WorldSpec, node: NodeBlocks, version: int) -> str:
    """As `--ip-masq` has them."""
    ip, multicast = ("ip", "224.0.0.0/4") if version == 4 else ("ip6", "ff00::/8")
    pods, own = _set(_of(version, spec.cluster.pods)), _set(_of(version, node.pods))
    rules = [
        f"{ip} saddr {pods} {ip} daddr {pods} return",
        f"{ip} saddr {pods} {ip} daddr != {multicast} masquerade",
        f"{ip} saddr != {pods} {ip} daddr {own} return",
        f"{ip} saddr != {pods} {ip} daddr {pods} masquerade",
    ]
    return f"table {ip} flannel {{\n" + _chain("postrouting", POSTROUTING, rules) + "}\n"


def _of(version: int, prefixes: Iterable[IPNetwork]) -> list[str]:
    return [str(prefix) for prefix in prefixes if prefix.version == version]


def _set(items: Iterable[str]) -> str:
    return "{ " + ", ".join(items) + " }"


def _table(spec: WorldSpec, version: int) -> str:
    cluster = spec.cluster
    ip = "ip" if version == 4 else "ip6"
    pods, services = _set(_of(version, cluster.pods)), _set(_of(version, cluster.services))
    dnat = [
        _dnat(ip, address, port, [e for e in spec.endpoint_addresses(service) if e.version == version])
        for service in cluster.service_objects
        for address in service.cluster_ips
        if address.version == version
        for port in service.ports
    ]
    mark = [f"{ip} daddr {services} {ip} saddr != {pods} meta mark set {MARK}"] if cluster.snat_services else []
    forward = ["ct state invalid drop"] if cluster.drop_invalid else []
    # What still wears a ClusterIP after DNAT asked for a port or an address that is not there.
    known = [str(a) for s in cluster.service_objects for a in s.cluster_ips if a.version == version]
    forward += [f"{ip} daddr {_set(known)} reject", f"{ip} daddr {services} drop"]
    return (
        f"table {ip} kube-proxy {{\n"
        + _chain("services", "", dnat)
        + _chain("prerouting", "type nat hook prerouting priority dstnat;", [*mark, "jump services"])
        + _chain("output", "type nat hook output priority -100;", [*mark, "jump services"])
        + _chain("postrouting", POSTROUTING, [f"meta mark {MARK} masquerade"])
        + _chain("forward", "type filter hook forward priority filter;", forward)
        + "}\n"
    )


def _chain(name: str, hook: str, rules: list[str]) -> str:
    return f"  chain {name} {{\n" + "".join(f"    {line}\n" for line in (hook, *rules) if line) + "  }\n"


def _dnat(ip: str, address: IPAddress, port: Port, endpoints: list[IPAddress]) -> str:
    match = f"{ip} daddr {address} {port.protocol} dport {port.port}"
    # The first takes all: where kube-proxy would draw lots, a test of the lab shall know whom it asks.
    return f"{match} dnat to {_socket(endpoints[0], port.target)}"


def _socket(address: IPAddress, port: int) -> str:
    return f"[{address}]:{port}" if isinstance(address, ipaddress.IPv6Address) else f"{address}:{port}"
