"""What anybody may have written, and spans, fit for a terminal. Every command's start pays for what it imports."""

from collections.abc import Iterable

LISTED = 6
"""How many items a message names."""
MARKS = {"ok": "✓", "info": "·", "warning": "!", "error": "✗", "skipped": "-", "follows": "-", "busy": "…", "off": "○"}
"""How something goes, as a sign: a colour never says it alone."""


def printable(text: str) -> str:
    """Fit for one line of a terminal: anybody may ask for, or answer with, whatever octets they like."""
    return "".join(character if character.isprintable() else "?" for character in text)


def printable_lines(text: str) -> str:
    """Each line `printable`; the line ends stay."""
    return "\n".join(map(printable, text.split("\n")))


def listed(items: Iterable[object]) -> str:
    """The first six of `items`, fit for a terminal, and how many there are besides."""
    texts = list(dict.fromkeys(map(str, items)))
    return shortened(texts[:LISTED], len(texts))


def shortened(first: Iterable[object], count: int) -> str:
    """`listed` for `count` items, all different, of which the `first` six are at hand: the others cost no text."""
    shown = ", ".join(printable(str(item)) for item in first)
    return f"{shown} and {count - LISTED} more" if count > LISTED else shown


def host_and_port(host: object, port: int) -> str:
    """`HOST:PORT`, an IPv6 address in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def duration(seconds: float) -> str:
    """A span as people say it: `12 s`, `3 min`, `2 h 5 min`, `4 d`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d"
