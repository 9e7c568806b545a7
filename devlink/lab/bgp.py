"""BGP in a world: who speaks with whom, as data, and what BIRD 2 is told for it. PURE."""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from devlink.core.prefixes import IPNetwork

TIMERS = "connect delay time 1; connect retry time 1; error wait time 1, 2;"
"""Seconds, the least that BIRD takes: its own five and more would be most of a world's start."""


class NextHop(StrEnum):
    """Which next hop a speaker gives to a peer for a route that it has from another (Calico's `nextHopMode`)."""

    AUTO = "auto"
    """RFC 4271 section 5.1.3: the owner's, within an AS and between neighbours on one link; else the speaker's own."""
    SELF = "self"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The other end of one session, as this end is told of it."""

    name: str
    address: IPv4Address
    as_number: int
    is_client: bool = False
    """This end reflects routes to it (RFC 4456)."""
    is_multihop: bool = False
    """eBGP with a peer that is not taken for a neighbour on the link, wherever it is."""
    next_hop: NextHop = NextHop.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """What one host says by BGP. IPv4: the routes of the other family stay those of `Host.routes`."""

    router_id: IPv4Address
    as_number: int
    peers: tuple[Peer, ...]
    announces: tuple[IPNetwork, ...] = ()
    """Pod blocks and service networks of its own."""
    ignores: tuple[IPNetwork, ...] = ()
    """What it passes on and does not put into its kernel: to a node the service networks are its own kube-proxy's."""
    cluster_id: IPv4Address | None = None
    """Of a route reflector."""
    device: str = ""
    """Where every route that it learns leads, whatever the next hop: the tunnel of an overlay."""


def expected(speaker: Speaker, others: tuple[Speaker, ...]) -> tuple[IPNetwork, ...]:
    """The prefixes that `speaker` puts into its kernel once `others` and it have told each other everything."""
    known = {*speaker.announces, *speaker.ignores}
    return tuple(dict.fromkeys(prefix for each in others for prefix in each.announces if prefix not in known))


def bird_config(speaker: Speaker) -> str:
    """BIRD's configuration."""
    refused = f" && !(net ~ {_set(speaker.ignores)})" if speaker.ignores else ""
    # A next hop on the tunnel would have to be an address there; a way straight into it is what `dev tunl0` says, too.
    device = f'ifname = "{speaker.device}"; ' if speaker.device else ""
    return (
        f"log stderr all;\nrouter id {speaker.router_id};\n"
        # Each scan wakes BIRD, which may leave work lying until something does: for three seconds otherwise.
        "protocol device { scan time 1; }\n"
        # Next hops within an AS are resolved by these.
        "protocol direct { ipv4; }\n"
        "protocol kernel { scan time 1; ipv4 { import none; "
        f"export filter {{ if source = RTS_BGP{refused} then {{ {device}accept; }} reject; }}; }}; }}\n"
        "protocol static { ipv4; " + "".join(f"route {prefix} blackhole; " for prefix in speaker.announces) + "}\n"
        + "".join(_session(speaker, peer) for peer in speaker.peers)
    )  # fmt: skip


def _session(speaker: Speaker, peer: Peer) -> str:
    reflects = "rr client; " if peer.is_client else ""
    if peer.is_client and speaker.cluster_id is not None:
        reflects += f"rr cluster id {speaker.cluster_id}; "
    # As in Calico's mesh one of the two waits to be called: two that call each other at once both hang up for a while.
    passive = "passive; " if speaker.router_id < peer.address else ""
    multihop = "multihop; " if peer.is_multihop else ""
    next_hop = "" if peer.next_hop is NextHop.AUTO else f"next hop {peer.next_hop}; "
    return (
        f"protocol bgp {peer.name} {{ local as {speaker.as_number}; neighbor {peer.address} as {peer.as_number}; "
        f"{reflects}{multihop}{passive}{TIMERS} "
        f"ipv4 {{ {next_hop}import all; export where source ~ [ RTS_STATIC, RTS_BGP ]; }}; }}\n"
    )


def _set(prefixes: tuple[IPNetwork, ...]) -> str:
    return "[ " + ", ".join(f"{prefix}+" for prefix in prefixes) + " ]"
