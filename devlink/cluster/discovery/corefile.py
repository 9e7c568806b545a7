"""Which zones CoreDNS answers from the API: the `kubernetes` plugin's, in a Corefile."""

from collections.abc import Iterator

MAX_COREFILE = 1 << 20
"""Characters; a Corefile of more is no configuration that a person wrote."""


def kubernetes_zones(corefile: str) -> tuple[str, ...]:
    """The zones of the `kubernetes` plugin, as they are written, without reverse zones; each once, in order.

    A plugin without zones has those of its server block (coredns.io/plugins/kubernetes). Names of the environment
    (`{$ZONE}`) are not known here, and passed over.
    """
    found: dict[str, None] = {}
    for keys, directive, arguments in _directives(corefile[:MAX_COREFILE]):
        if directive == "kubernetes":
            found |= dict.fromkeys(zone for zone in map(_zone, arguments or keys) if zone)
    return tuple(found)


def _directives(corefile: str) -> Iterator[tuple[list[str], str, list[str]]]:
    """Each plugin's line directly within a server block: the block's keys, the plugin, its arguments."""
    keys: list[str] = []
    depth = 0
    for line in corefile.splitlines():
        tokens: list[str] = []
        for token in line.split():
            if token.startswith("#"):
                break
            tokens.append(token.strip('"'))
        if not tokens:
            continue
        if tokens == ["}"]:
            depth = max(depth - 1, 0)
            keys = keys if depth else []
            continue
        opens = tokens[-1] == "{"
        head = tokens[:-1] if opens else tokens
        if depth == 0:
            keys = [*keys, *(key.rstrip(",") for key in head)]
        elif depth == 1 and head:
            yield keys, head[0], head[1:]
        depth += opens


def _zone(key: str) -> str:
    """The zone of a server block's key or of an argument: no scheme, port, last dot; empty for a reverse zone."""
    zone = key.rpartition("://")[2].partition(":")[0].rstrip(".").lower()
    is_one = zone != "arpa" and not zone.endswith(".arpa") and not set(zone) & set("/{}()")
    return zone if is_one else ""
