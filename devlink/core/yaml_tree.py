"""YAML text to a tree of dict, list, str, int, bool and None: a small, safe part of YAML, read with care.

Plain scalars are read much as in YAML 1.2's core schema: `no`, `1:20`, `010` and a time are texts, unlike in PyYAML.
Aliases, anchors and tags are refused on the event stream, before anything is built from them.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from devlink.core.checks import MAX_FAULTS, DecodeError, Fault, show

MAX_BYTES = 4 * 1024 * 1024
"""Of a document; a profile of 20,000 pod blocks takes about 2 MiB."""
MAX_DEPTH = 12
"""Levels of nesting; a profile has 6."""
MAX_VALUES = 500_000
"""Keys, scalars and collections of a document; a profile of 20,000 pod blocks has about 140,000."""
MAX_KEY = 128
"""Characters of a key."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def parse_yaml(text: str | bytes) -> tuple[Any, tuple[Fault, ...]]:
    """The tree of the only document in `text`, with faults that leave the tree whole (a key twice: the first counts).

    Raises DecodeError for what cannot be read at all: too large or deep, not UTF-8, not YAML, anchors, tags.
    """
    decoded = _decode_text(text)
    try:
        with contextlib.closing(_Builder(decoded)) as builder:
            return builder.document(), tuple(builder.faults)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        said = "; ".join(part for part in (error.context, error.problem) if part)
        begun = f"begun in line {error.context_mark.line + 1}" if error.context_mark else ""
        raise DecodeError((Fault(where, f"not YAML: {said}", begun),)) from None
    except yaml.YAMLError as error:
        raise DecodeError((Fault("", f"not YAML: {show(str(error).splitlines()[0])[1:-1]}"),)) from None


def _decode_text(text: str | bytes) -> str:
    try:
        raw = text.encode() if isinstance(text, str) else text
        if len(raw) > MAX_BYTES:
            raise DecodeError((Fault("", f"larger than {MAX_BYTES >> 20} MiB", "is this the right file?"),))
        decoded = raw.decode("utf-8-sig")
    except UnicodeError:
        raise DecodeError((Fault("", "not text in UTF-8", "save the file as UTF-8"),)) from None
    if "\0" in decoded:
        raise DecodeError((Fault("", "NUL bytes: not a text file", "if it is UTF-16, save the file as UTF-8"),))
    return decoded


class _Builder:
    """One document, built event by event."""

    def __init__(self, text: str) -> None:
        self._loader = _LOADER(text)
        self._values = 0
        self.faults: list[Fault] = []

    def close(self) -> None:
        self._loader.dispose()

    def document(self) -> Any:
        self._next(yaml.StreamStartEvent)
        start = self._loader.get_event()
        if isinstance(start, yaml.StreamEndEvent):
            return None
        if getattr(start, "tags", None):
            self._stop(start, "a %TAG directive", "tags are not used here")
        tree = self._value(self._loader.get_event(), 0)
        self._next(yaml.DocumentEndEvent)
        after = self._loader.get_event()
        if not isinstance(after, yaml.StreamEndEvent):
            self._stop(after, "a second document", "one profile in one file")
        return tree

    def _next(self, kind: type) -> None:
        event = self._loader.get_event()
        assert isinstance(event, kind), event

    def _value(self, event: Any, depth: int) -> Any:
        self._admit(event, depth)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(item, depth + 1) for item in self._until(yaml.SequenceEndEvent)]
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_event in self._until(yaml.MappingEndEvent):
            key = self._key(key_event, depth + 1)
            value = self._value(self._loader.get_event(), depth + 1)
            line = key_event.start_mark.line + 1
            if key not in result:
                result[key], lines[key] = value, line
            elif len(self.faults) < MAX_FAULTS:
                self.faults.append(Fault(f"line {line}", f"key {key} for the second time", f"see line {lines[key]}"))
        return result

    def _until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := self._loader.get_event(), end):
            yield event

    def _key(self, event: Any, depth: int) -> str:
        self._admit(event, depth)
        if not isinstance(event, yaml.ScalarEvent):
            self._stop(event, "a key that is not a text")
        key = str(event.value)
        if key == "<<" and event.implicit[0]:
            self._stop(event, "a merge key", "write the keys out")
        if len(key) > MAX_KEY or not key.isprintable():
            self._stop(event, f"{show(key)} cannot be a key")
        return key

    def _scalar(self, event: Any) -> str | int | bool | None:
        text = str(event.value)
        if not event.implicit[0] or event.style:  # quoted, or a block: a text, whatever it looks like
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            return int(text)
        return text

    def _admit(self, event: Any, depth: int) -> None:
        """Refuse what a profile has no use for and an attacker has."""
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._stop(event, "an anchor or alias (& or *)", "write the value out; put it in quotes if it is a text")
        if event.tag is not None and event.tag != "!":
            self._stop(event, f"a tag, {show(event.tag)}", "tags (!) are not used here")
        if depth > MAX_DEPTH:
            self._stop(event, f"nested more than {MAX_DEPTH} deep")
        self._values += 1
        if self._values > MAX_VALUES:
            self._stop(event, f"more than {MAX_VALUES} values", "is this the right file?")

    def _stop(self, event: Any, problem: str, hint: str = "") -> NoReturn:
        mark = event.start_mark
        raise DecodeError((Fault(f"line {mark.line + 1}, column {mark.column + 1}", problem, hint),))
