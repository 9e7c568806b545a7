"""The nftables table that leads TCP to a relay, as nft(8) reads it: rendered whole, from all that is relayed. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from devlink.core.prefixes import IPAddress, IPNetwork, collapse, is_within, subtract
from devlink.core.text import host_and_port

TABLE = "devlink"
"""Of family inet."""
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
"""Where `redirect` leads a packet of this machine's own, by IP version."""
_WORDS = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """Where containers on one bridge come in."""

    bridge: str
    address: IPAddress
    """The bridge's own, on which somebody listens."""
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """What is redirected for one session, and to where."""

    session: str
    uid: int
    """Whose packets."""
    destinations: tuple[IPNetwork, ...] = ()
    """None while it drains: then nothing new is redirected."""
    ports: Mapping[int, int] = field(default_factory=dict)
    """Of the loopback listeners, by IP version."""
    names_port: int = 0
    """Of the listener on 127.0.0.1 that leads to the cluster's DNS."""
    entrances: tuple[Entrance, ...] = ()


def ruleset(relayed: Sequence[Relayed], *, forwarder_uid: int) -> str:
    """The body of the table, and of its own: other tables are not named.

    The kernel goes on translating the packets of what was redirected only while there is a chain of type nat, and a
    rule that has it track connections: so both are there though nothing new is redirected. Of several sessions of one
    user the longest prefix wins.
    """
    places = [(number, each, _own_part(each, relayed)) for number, each in enumerate(relayed)]
    sets = [line for number, _, prefixes in places for line in _sets(number, prefixes)]
    counters = [f"counter {counter(number)} {{\n}}" for number, _, _ in places]
    outgoing = [line for number, each, prefixes in places for line in _outgoing(number, each, prefixes)]
    refused = [line for number, each, prefixes in places for line in _refused(number, each, prefixes)]
    guards = [line for each in relayed for line in _guards(each, forwarder_uid)]
    incoming = [line for number, each, prefixes in places for line in _incoming(number, each, prefixes)]
    forwarded = [line for number, each, prefixes in places for line in _forwarded(number, each, prefixes)]
    chains = [
        # One before the usual place (NF_IP_PRI_NAT_DST): of several translations of one connection the first is made.
        *_chain("outgoing", "nat hook output priority -101", outgoing),
        *_chain("refused", "filter hook output priority 0", [_TRANSLATED, *refused, *guards]),
    ]
    if incoming:
        chains += _chain("incoming", "nat hook prerouting priority -101", incoming)
        chains += _chain("forwarded", "filter hook forward priority -1", forwarded)
    return "\n".join([*counters, *sets, *chains, ""])


def counter(number: int) -> str:
    """The name of the counter of what is refused of the session in that place, because it is no TCP."""
    return f"refused-{number}"


def _own_part(each: Relayed, relayed: Iterable[Relayed]) -> tuple[IPNetwork, ...]:
    """Its destinations without what another session of its user has within them."""
    others = [d for other in relayed if other is not each and other.uid == each.uid for d in other.destinations]
    return tuple(
        part
        for prefix in each.destinations
        for part in subtract([prefix], (o for o in others if o != prefix and is_within(o, prefix)))
    )


def _versions(prefixes: Iterable[IPNetwork]) -> list[int]:
    return sorted({prefix.version for prefix in prefixes})


def _sets(number: int, prefixes: tuple[IPNetwork, ...]) -> Iterator[str]:
    for version in _versions(prefixes):
        elements = ", ".join(str(prefix) for prefix in collapse(prefixes) if prefix.version == version)
        kind = _WORDS[version][1]
        yield f"set relayed-{number}-{version} {{\ntype {kind}; flags interval; elements = {{ {elements} }};\n}}"


def _to(number: int, version: int) -> str:
    return f"{_WORDS[version][0]} daddr @relayed-{number}-{version}"


def _outgoing(number: int, each: Relayed, prefixes: tuple[IPNetwork, ...]) -> Iterator[str]:
    for version in _versions(prefixes):
        yield f"meta skuid {each.uid} {_to(number, version)} meta l4proto tcp redirect to :{each.ports[version]}"


def _refused(number: int, each: Relayed, prefixes: tuple[IPNetwork, ...]) -> Iterator[str]:
    for version in _versions(prefixes):
        # A connection from before: what the chain of type nat has not seen begin, it does not translate.
        yield f"meta skuid {each.uid} {_to(number, version)} meta l4proto tcp reject with tcp reset"
        yield f'meta skuid {each.uid} {_to(number, version)} counter name "{counter(number)}" {_PROHIBITED}'


_TRANSLATED = "ct status dnat accept"
_PROHIBITED = "reject with icmpx type admin-prohibited"


def _guards(each: Relayed, forwarder_uid: int) -> Iterator[str]:
    """Nobody else reaches the listeners; whoever has their sockets says what was redirected and what was not."""
    for version, port in sorted(each.ports.items()):
        yield _guard(version, port, str(each.uid))
    if each.names_port:
        yield _guard(4, each.names_port, f"{{ {', '.join(map(str, sorted({each.uid, forwarder_uid})))} }}")


def _guard(version: int, port: int, uids: str) -> str:
    at = f"{_WORDS[version][0]} daddr {LOOPBACK[version]}"
    return f"{at} tcp dport {port} meta skuid != {uids} reject with tcp reset"


def _incoming(number: int, each: Relayed, prefixes: tuple[IPNetwork, ...]) -> Iterator[str]:
    for entrance in each.entrances:
        version = entrance.address.version
        if version in _versions(prefixes):
            family = _WORDS[version][0]
            at = host_and_port(entrance.address, entrance.port)
            yield f'iifname "{entrance.bridge}" {_to(number, version)} meta l4proto tcp dnat {family} to {at}'


def _forwarded(number: int, each: Relayed, prefixes: tuple[IPNetwork, ...]) -> Iterator[str]:
    for bridge in dict.fromkeys(entrance.bridge for entrance in each.entrances):
        for version in _versions(prefixes):
            yield f'iifname "{bridge}" {_to(number, version)} counter name "{counter(number)}" {_PROHIBITED}'


def _chain(name: str, kind: str, rules: Iterable[str]) -> list[str]:
    return [f"chain {name} {{", f"type {kind}; policy accept;", *rules, "}"]
