"""What the helper tells the forwarder, read from the tree that came: `core.plan.ForwarderConfig` as the codec has it.

Read here and not by the codec: the forwarder imports little, so that it is back at once after a kill and stays small.
"""

import socket
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from devlink.dns.wire import name_of
from devlink.errors import ProtocolError

CACHE_BYTES = 8 << 20
"""Octets of cached answers, where nothing else is said: some 20,000 names."""


class Server(NamedTuple):
    """Where a server is asked."""

    host: str
    """An address as text; a link-local one with its link behind `%`."""
    port: int = 53
    tls_name: str = ""
    """If given, it is asked over TLS, and its certificate must be valid for this name."""

    def __str__(self) -> str:
        return f"{self.host}#{self.port}" + (" tls" if self.tls_name else "")


class Upstream(NamedTuple):
    """A server, and how it may be asked."""

    server: Server
    transport: str = "auto"
    """udp, tcp or auto; means nothing where TLS is asked for."""


class Zone(NamedTuple):
    """Names that go to a cluster: all at or below `suffix`."""

    suffix: bytes
    """Uncompressed, lower-cased."""
    text: str
    """The suffix as the helper wrote it."""
    servers: tuple[Upstream, ...]
    namespaces: frozenset[bytes] | None = None
    search: frozenset[bytes] = frozenset()


class Private(NamedTuple):
    """A prefix, as the address bits that it fixes."""

    size: int
    """Octets in its addresses: 4 or 16."""
    network: int
    shift: int
    """Bits that it leaves open."""


class Config(NamedTuple):
    """All that the forwarder knows."""

    zones: tuple[Zone, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    proofs: tuple[tuple[bytes, bytes], ...] = ()
    """Names that are answered here, and with which address (4 or 16 octets)."""
    tls_ca: str = ""
    """PEM certificates."""
    case_randomization: bool = False
    private: tuple[Private, ...] = ()
    cache_bytes: int = CACHE_BYTES


def read_config(tree: Mapping[str, Any]) -> Config:
    """Raises ProtocolError where the helper writes another language: versions differ."""
    try:
        return _read(tree)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise ProtocolError(
            f"The forwarder cannot read its configuration: {error!r}.",
            why="The helper is probably of another version.",
            next_step="Run `devlink --version`, and restart the part that differs.",
        ) from error


_KEYS = frozenset(Config._fields)


def _read(tree: Mapping[str, Any]) -> Config:
    unknown = set(tree) - _KEYS
    if unknown:
        raise ValueError(f"{sorted(unknown)[0]} is unknown")
    zones = tuple(
        Zone(
            name_of(zone["suffix"]),
            zone["suffix"],
            _upstreams(zone["servers"]),
            None if zone.get("namespaces") is None else _labels(zone["namespaces"]),
            _labels(zone.get("search") or ()),
        )
        for zone in tree.get("zones") or ()
    )
    proofs = tuple((name_of(proof["name"]), packed(proof["address"])) for proof in tree.get("proofs") or ())
    cache_bytes = tree.get("cache_bytes")
    return Config(
        zones=zones,
        upstreams=_upstreams(tree.get("upstreams") or ()),
        proofs=proofs,
        tls_ca=str(tree.get("tls_ca") or ""),
        case_randomization=tree.get("case_randomization") is True,
        private=tuple(_prefix(text) for text in tree.get("private") or ()),
        cache_bytes=CACHE_BYTES if cache_bytes is None else int(cache_bytes),
    )


def _upstreams(trees: Sequence[Mapping[str, Any]]) -> tuple[Upstream, ...]:
    found = []
    for tree in trees:
        host, tls_name, transport = tree["address"], tree.get("tls_name") or "", tree.get("transport") or "auto"
        packed(host)
        if transport not in ("udp", "tcp", "auto"):
            raise ValueError(f"{transport} is no transport")
        port = tree.get("port")
        found.append(Upstream(Server(host, 53 if port is None else int(port), tls_name), transport))
    return tuple(found)


def _labels(texts: Sequence[str]) -> frozenset[bytes]:
    return frozenset(text.lower().encode("ascii") for text in texts)


def packed(text: str) -> bytes:
    """An address as octets; a link behind `%` is left out. Raises OSError where it is none."""
    text = text.partition("%")[0]
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def _prefix(text: str) -> Private:
    address, _, length = text.partition("/")
    octets = packed(address)
    shift = 8 * len(octets) - int(length)
    return Private(len(octets), int.from_bytes(octets, "big") >> shift, shift)
