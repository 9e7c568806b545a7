"""Who owns a route that is not ours, in words for a person."""

from devlink.core.network import LOCAL_TABLE, MAIN_TABLE, PROTOCOL, ObservedRoute
from devlink.kernel.observe import link_kind

PROTOCOLS = {
    0: "unspec", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 8: "gated", 9: "ra", 10: "mrt", 11: "zebra",
    12: "bird", 13: "dnrouted", 14: "xorp", 15: "ntk", 16: "dhcp", 17: "mrouted", 18: "keepalived", 42: "babel",
    84: "ovn", 99: "openr", 186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp",
}  # fmt: skip
"""`rtm_protocol` by the names of iproute2's rt_protos (linux/rtnetlink.h, RTPROT_*)."""

_DAEMONS = {
    1: "an ICMP redirect",
    8: "the routing daemon GateD",
    9: "a router advertisement of the network",
    11: "the routing daemon Zebra (FRR)",
    12: "the routing daemon BIRD",
    14: "the routing daemon XORP",
    16: "the DHCP client",
    17: "the multicast routing daemon",
    18: "keepalived",
    42: "the routing daemon Babel",
    84: "OVN",
    99: "the routing daemon Open/R",
    186: "a BGP routing daemon",
    187: "an IS-IS routing daemon",
    188: "an OSPF routing daemon",
    189: "a RIP routing daemon",
    192: "an EIGRP routing daemon",
}
"""Protocols that name their program better than the link does."""
_TABLES = {52: "Tailscale", 51820: "WireGuard (wg-quick)"}
"""Tables that a program has made its own by habit: Tailscale's `tailscaleRouteTable`, wg-quick's first choice."""
_NAMES = (
    ("docker", "Docker"),
    ("br-", "Docker"),
    ("podman", "Podman"),
    ("cni", "a container network (CNI)"),
    ("virbr", "libvirt"),
    ("lxcbr", "LXC"),
    ("lxdbr", "LXD"),
    ("incusbr", "Incus"),
    ("vmnet", "VMware"),
    ("vboxnet", "VirtualBox"),
    ("tailscale", "Tailscale"),
    ("nebula", "the VPN Nebula"),
    ("zt", "ZeroTier"),
    ("cscotun", "the VPN Cisco Secure Client"),
    ("gpd", "the VPN GlobalProtect"),
    ("wg", "the VPN WireGuard"),
    ("ppp", "a PPP or VPN connection"),
    ("tun", "a VPN"),
    ("tap", "a VPN or a virtual machine"),
)
"""How programs name their links."""
_KINDS = {
    "wireguard": "the VPN WireGuard",
    "tun": "a VPN",
    "xfrm": "an IPsec VPN",
    "vti": "an IPsec VPN",
    "bridge": "a bridge",
    "vxlan": "an overlay network (VXLAN)",
    "ppp": "a PPP or VPN connection",
}
"""IFLA_INFO_KIND."""


def owner_of(route: ObservedRoute) -> str:
    """Who owns `route`: a phrase that fits after "belongs to". Asks the kernel for the kind of the route's link."""
    return owner(route, link_kind(route.oif) if route.oif is not None else "")


def owner(route: ObservedRoute, kind: str) -> str:
    """`owner_of` for a link of that kind (IFLA_INFO_KIND; empty for none). Pure."""
    if route.protocol == PROTOCOL:
        return "devlink"
    if route.protocol in _DAEMONS:
        return _DAEMONS[route.protocol]
    if route.table == LOCAL_TABLE:
        return "the kernel (the machine's own addresses)"
    who = _TABLES.get(route.table) or _owner_of_link(route.oif, kind)
    if who is not None:
        return f"{who} (interface {route.oif})" if route.oif is not None else who
    if route.protocol == 2:
        return f"the kernel (the network that interface {route.oif} is on)" if route.oif else "the kernel"
    if route.protocol == 3:
        return "whoever ran `ip route` or a script (protocol boot)"
    if route.protocol == 4:
        return "the administrator's configuration (protocol static)"
    return f"a program that marks its routes with protocol {PROTOCOLS.get(route.protocol, route.protocol)}"


def _owner_of_link(name: str | None, kind: str) -> str | None:
    if name is None:
        return None
    for prefix, who in _NAMES:
        # Docker's user-defined networks are `br-` and 12 digits; another `br-lan` is only a bridge.
        if name.startswith(prefix) and (prefix != "br-" or (len(name) == 15 and _is_hex(name[3:]))):
            return who
    return _KINDS.get(kind)


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdef" for c in text)


def as_ip_route(route: ObservedRoute) -> str:
    """The route as `ip route` writes it."""
    parts = [] if route.kind == "unicast" else [route.kind]
    parts.append("default" if route.destination.prefixlen == 0 else str(route.destination))
    if route.next_hop is not None:
        parts.append(f"via {route.next_hop}")
    if route.oif is not None:
        parts.append(f"dev {route.oif}")
    parts.append(f"proto {PROTOCOLS.get(route.protocol, route.protocol)}")
    if route.source is not None:
        parts.append(f"src {route.source}")
    if route.metric:
        parts.append(f"metric {route.metric}")
    if route.table != MAIN_TABLE:
        parts.append(f"table {route.table}")
    if route.mtu is not None:
        parts.append(f"mtu {route.mtu}")
    return " ".join(parts)
