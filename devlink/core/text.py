"""What anybody may have written, fit for a terminal. It imports nothing: the start of every command pays for it."""


def printable(text: str) -> str:
    """Fit for one line of a terminal: anybody may ask for, or answer with, whatever octets they like."""
    return "".join(character if character.isprintable() else "?" for character in text)


def printable_lines(text: str) -> str:
    """Each line `printable`; the line ends stay."""
    return "\n".join(map(printable, text.split("\n")))
