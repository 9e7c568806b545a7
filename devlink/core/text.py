"""What anybody may have written, fit for a terminal. Every command's start pays for what it imports."""

from collections.abc import Iterable


def printable(text: str) -> str:
    """Fit for one line of a terminal: anybody may ask for, or answer with, whatever octets they like."""
    return "".join(character if character.isprintable() else "?" for character in text)


def printable_lines(text: str) -> str:
    """Each line `printable`; the line ends stay."""
    return "\n".join(map(printable, text.split("\n")))


def listed(items: Iterable[object]) -> str:
    """The first six of `items`, fit for a terminal, and how many there are besides."""
    texts = [printable(text) for text in dict.fromkeys(map(str, items))]
    return ", ".join(texts[:6]) + (f" and {len(texts) - 6} more" if len(texts) > 6 else "")
