"""Text in tones, laid out for a width in cells. PURE, and without Textual."""

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from devlink.core.text import printable

WORDS = re.compile(r"\S+|\s+")


class Span(NamedTuple):
    """A piece of text of one tone."""

    text: str
    tone: str = ""
    """ok, info, warning, error, busy, off (also: of no weight), strong, code; empty for plain text."""


Line = tuple[Span, ...]
"""One line of a screen. Its spans are fit for a terminal."""


def cells(text: str) -> int:
    """How wide it is drawn (Unicode Standard Annex #11: wide and fullwidth ones take two, combining ones none)."""
    if text.isascii():
        return len(text)
    return sum(map(_cells_of, text))


def _cells_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def plain(lines: Iterable[Line]) -> str:
    """The lines without their tones."""
    return "\n".join("".join(span.text for span in line) for line in lines)


def cut(text: str, width: int) -> str:
    """The text, or as much of it as fits before an ellipsis; on one line, and fit for a terminal."""
    text = printable(text)
    if cells(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        used += _cells_of(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + "…" if width > 0 else ""


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text, cut or filled up to exactly that width."""
    text = cut(text, width)
    blank = " " * (width - cells(text))
    return blank + text if right else text + blank


def milliseconds(value: float | None) -> str:
    """In at most seven cells below 10 s; `-` where it is not known."""
    if value is None:
        return "-"
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def clipped(line: Line, width: int) -> Line:
    """As much of the line as fits."""
    spans: list[Span] = []
    for span in line:
        room = width - sum(cells(each.text) for each in spans)
        if room > 0:
            spans.append(Span(cut(span.text, room), span.tone))
    return tuple(spans)


def wrapped(spans: Iterable[Span], width: int) -> list[Line]:
    """The spans as lines no wider than `width`: broken between words, a word that is wider than a line anywhere."""
    width = max(width, 1)
    lines: list[list[Span]] = [[]]
    used = 0
    blank = False
    for word in _words(spans):
        if word is None:
            blank = True
            continue
        room = sum(cells(part.text) for part in word)
        if used and used + blank + room > width:
            lines.append([])
            used = 0
        elif used and blank:
            lines[-1].append(Span(" ", word[0].tone if lines[-1][-1].tone == word[0].tone else ""))
            used += 1
        blank = False
        for part in word:
            for piece in _pieces(part.text, width, used):
                if used and used + cells(piece) > width:
                    lines.append([])
                    used = 0
                lines[-1].append(Span(piece, part.tone))
                used += cells(piece)
    return [_joined(line) for line in lines]


def _words(spans: Iterable[Span]) -> Iterable[list[Span] | None]:
    """Each word with its parts of one tone; None for the blank between two."""
    word: list[Span] = []
    for span in spans:
        for text in WORDS.findall(span.text):
            if text.isspace():
                if word:
                    yield word
                word = []
                yield None
            else:
                word.append(Span(printable(text), span.tone))
    if word:
        yield word


def _pieces(text: str, width: int, used: int) -> Iterable[str]:
    """The text as it is, or where no line holds it, in pieces: the first one for what is left of this line."""
    if cells(text) <= width:
        yield text
        return
    piece, room = "", width - used or width
    for character in text:
        if cells(piece) + _cells_of(character) > room:
            yield piece
            piece, room = "", width
        piece += character
    yield piece


def _joined(spans: Iterable[Span]) -> Line:
    line: list[Span] = []
    for span in spans:
        if line and line[-1].tone == span.tone:
            line[-1] = Span(line[-1].text + span.text, span.tone)
        else:
            line.append(span)
    return tuple(line)


def hanging(label: Line, text: str | Iterable[Span], width: int, tone: str = "") -> list[Line]:
    """The text behind its label, each further line below its beginning. Line ends in a plain text stay."""
    indent = sum(cells(span.text) for span in label)
    room = max(width - indent, 8)
    if isinstance(text, str):
        lines = [line for each in text.split("\n") for line in wrapped([Span(each, tone)], room)]
    else:
        lines = wrapped(text, room)
    return [_joined((*(label if number == 0 else (Span(" " * indent),)), *line)) for number, line in enumerate(lines)]
