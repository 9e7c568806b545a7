"""stdout is data: text for people, JSON and YAML for programs."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from devlink.core import text
from devlink.core.text import printable_lines

COLOURS = {"error": "red", "warning": "yellow", "ok": "green"}
MARKS = {tone: (mark, COLOURS.get(tone)) for tone, mark in text.MARKS.items()}
"""How much something matters, as a sign and its colour."""


def output_option(*formats: str) -> Callable[[Any], Any]:
    """`-o`, with text first and default."""
    return click.option(
        "-o",
        "--output",
        "output",
        type=click.Choice(["text", *formats]),
        default="text",
        help="The form of the output.",
    )


def emit(data: Mapping[str, Any], output: str) -> None:
    """Data as JSON or YAML, whole and at once."""
    if output == "json":
        click.echo(json_text(data, indent=2))
    else:
        import yaml

        click.echo(_fit(lambda plain: yaml.safe_dump(data, sort_keys=False, allow_unicode=not plain)), nl=False)


def json_text(data: Any, *, indent: int | None = None) -> str:
    """JSON that a terminal can show: what is not printable is escaped (JSON itself lets C1 and DEL through)."""
    return _fit(lambda plain: json.dumps(data, indent=indent, ensure_ascii=plain))


def _fit(dump: Callable[[bool], str]) -> str:
    """As people read it, or, where a character could do something to a terminal, all in ASCII."""
    text = dump(False)
    return text if text.replace("\n", "").isprintable() else dump(True)


class Lines:
    """Lines that a terminal shows whole: wrapped between words, under their own beginning."""

    def __init__(self, *, err: bool = False, elsewhere: int = 0) -> None:
        """`elsewhere`: columns where the output is no terminal; 0 leaves the lines there as they are."""
        self._err = err
        stream = sys.stderr if err else sys.stdout
        self._width = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else elsewhere

    def line(self, label: str, text: str, *, colour: str | None = None) -> None:
        """One line with its label; `colour` is the label's. What others wrote in it does nothing to the terminal."""
        text = printable_lines(text)
        lines = [text]
        if self._width > len(label):
            import textwrap

            # A word that is longer than a line, such as a long name, is not cut: it would not be one to copy.
            lines = textwrap.wrap(
                text, max(self._width - len(label), 16), break_long_words=False, break_on_hyphens=False
            )
        for index, each in enumerate(lines):
            click.echo((click.style(label, fg=colour) if index == 0 else " " * len(label)) + each, err=self._err)
