"""Calico's label selectors, as BGPPeers choose nodes by them."""

import re
from collections.abc import Callable, Mapping

Labels = Mapping[str, str]
Selector = Callable[[Labels], bool]
MAX_SELECTOR = 4096
"""Characters; a selector is written by hand."""
MAX_DEPTH = 32
"""Levels of parentheses and negations."""

_TOKEN = re.compile(r"""\s*('[^']*'|"[^"]*"|==|!=|&&|\|\||[!(){},]|[A-Za-z0-9_./-]+)""")


def parse_selector(text: str) -> Selector:
    """A selector as a function of a node's labels. Raises ValueError.

    The grammar: `all()`, `has(k)`, `k == 'v'`, `k != 'v'`, `k in {'v', ...}`, `k not in {...}`, `k contains 'v'`,
    `k starts with 'v'`, `k ends with 'v'`, `!`, `&&`, `||`, parentheses (docs.tigera.io, "Selectors").
    """
    if len(text) > MAX_SELECTOR:
        raise ValueError(f"a selector of {len(text)} characters")
    parser = _Parser(_tokens(text))
    selector = parser.either(0)
    parser.end()
    return selector


def _tokens(text: str) -> list[str]:
    tokens, place = [], 0
    text = text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"not a selector: {text[place : place + 20]!r}")
        tokens.append(match[1])
        place = match.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._place = 0

    def _next(self) -> str:
        token = self._tokens[self._place] if self._place < len(self._tokens) else ""
        self._place += 1
        return token

    def _take(self, *wanted: str) -> bool:
        """Go past the tokens `wanted` if they come now."""
        there = tuple(self._tokens[self._place : self._place + len(wanted)]) == wanted
        self._place += len(wanted) if there else 0
        return there

    def _expect(self, *wanted: str) -> None:
        if not self._take(*wanted):
            raise ValueError(f"{' '.join(wanted)} is missing in a selector")

    def end(self) -> None:
        if self._place < len(self._tokens):
            raise ValueError(f"{self._tokens[self._place]!r} cannot stand where it does in a selector")

    def either(self, depth: int) -> Selector:
        parts = [self._both(depth)]
        while self._take("||"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else lambda labels: any(part(labels) for part in parts)

    def _both(self, depth: int) -> Selector:
        parts = [self._one(depth)]
        while self._take("&&"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else lambda labels: all(part(labels) for part in parts)

    def _one(self, depth: int) -> Selector:
        if depth > MAX_DEPTH:
            raise ValueError("a selector that is nested too deep")
        if self._take("!"):
            inner = self._one(depth + 1)
            return lambda labels: not inner(labels)
        if self._take("("):
            inner = self.either(depth + 1)
            self._expect(")")
            return inner
        if self._take("all", "(", ")") or self._take("global", "(", ")"):
            return lambda labels: True
        if self._take("has", "("):
            name = self._name()
            self._expect(")")
            return lambda labels: name in labels
        return self._comparison(self._name())

    def _comparison(self, name: str) -> Selector:
        if self._take("=="):
            value = self._value()
            return lambda labels: labels.get(name) == value
        if self._take("!="):
            value = self._value()
            return lambda labels: labels.get(name) != value
        if self._take("contains"):
            value = self._value()
            return lambda labels: value in labels.get(name, "") and name in labels
        if self._take("starts", "with"):
            value = self._value()
            return lambda labels: name in labels and labels[name].startswith(value)
        if self._take("ends", "with"):
            value = self._value()
            return lambda labels: name in labels and labels[name].endswith(value)
        negated = self._take("not", "in")
        if not negated:
            self._expect("in")
        values = self._values()
        return lambda labels: (labels.get(name) in values) is not negated

    def _name(self) -> str:
        token = self._next()
        if not token or not (token[0].isalnum() or token[0] in "_./-"):
            raise ValueError(f"{token!r} where a selector wants a label")
        return token

    def _value(self) -> str:
        token = self._next()
        if token[:1] not in ("'", '"'):
            raise ValueError(f"{token!r} where a selector wants a value in quotes")
        return token[1:-1]

    def _values(self) -> frozenset[str]:
        self._expect("{")
        values: set[str] = set()
        while not self._take("}"):
            values.add(self._value())
            if not self._take(","):
                self._expect("}")
                break
        return frozenset(values)
