"""What a dataclass asks of its values: limits for one field, rules across fields, and the faults that they find."""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

MAX_FAULTS = 50
"""A hostile document with a million faults must not become a million lines."""
MAX_SHOWN = 80
"""Characters of a document that a fault repeats: it ends up on a terminal."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a document."""

    path: str
    """Where: `spec.gateways[0].address`; empty for the document itself."""
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.problem}" + (f" ({self.hint})" if self.hint else "")


class DecodeError(ValueError):
    """A tree is not what its type asks for. `faults` names each reason, the first 50."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """A check across fields of a dataclass, listed in its class variable `RULES`.

    It names the fields that it looks at, so that it still speaks where other fields of the same mapping are wrong. A
    field that breaks a rule of its own is not shown to the rules after it.
    """

    fields: tuple[str, ...]
    faults: Callable[..., Iterable[Fault]]
    """Called with the values of `fields`, in that order; the faults' paths begin at the dataclass."""


def check(value: Any) -> None:
    """For `__post_init__`: hold a dataclass to the limits of its fields and to its `RULES`. Raises DecodeError.

    Limits stand in a field's metadata under `schema` in JSON Schema's own keywords (const, minimum, maximum, minItems,
    maxItems, maxLength, pattern, items, and title: what a thing of that pattern is called), so that the schema that we
    publish and the check are one. `hint` in the metadata says what to do about it.
    """
    names = (field.name for field in dataclasses.fields(value))
    faults = faults_of(type(value), {name: getattr(value, name) for name in names})
    if faults:
        raise DecodeError(tuple(faults[:MAX_FAULTS]))


def faults_of(cls: type, values: Mapping[str, Any]) -> list[Fault]:
    """What the limits and rules of a dataclass say of those of its fields that `values` has."""
    faults: list[Fault] = []
    within = dict(values)
    for name, key, limits, hint in _limits(cls):
        if values.get(name) is not None:
            found = list(itertools.islice(_violations(values[name], limits), MAX_FAULTS))
            if found:
                faults += (Fault(key + place, problem, hint) for place, problem in found)
                del within[name]  # a rule may count on the limits, and need not be quick without them
    for rule in getattr(cls, "RULES", ()):
        if all(name in within for name in rule.fields):
            broken = list(itertools.islice(rule.faults(*(within[name] for name in rule.fields)), MAX_FAULTS))
            faults += broken
            if broken and len(rule.fields) == 1:
                del within[rule.fields[0]]  # what follows from it is no fault of its own
    return faults


def key_of(field: "dataclasses.Field[Any]") -> str:
    """The key of a field in a document: its name, or the one that the field's metadata gives."""
    return str(field.metadata.get("key", field.name))


def show(tree: object) -> str:
    """A value of a document for a fault: never long, never with a control character."""
    if tree is None:
        return "nothing"
    if isinstance(tree, dict | list | tuple):
        return "a mapping" if isinstance(tree, dict) else "a list"
    text = repr(tree[: MAX_SHOWN + 1] if isinstance(tree, str) else tree)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


@functools.cache
def _limits(cls: type) -> tuple[tuple[str, str, Mapping[str, Any], str], ...]:
    """Name, key, limits and hint of each field that has limits."""
    return tuple(
        (field.name, key_of(field), field.metadata["schema"], str(field.metadata.get("hint", "")))
        for field in dataclasses.fields(cls)
        if "schema" in field.metadata
    )


def _violations(value: Any, limits: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where below a value, and how, it breaks its limits."""
    if "const" in limits and value != limits["const"]:
        yield "", f"{show(value)} is not {limits['const']}"
    if "minimum" in limits and value < limits["minimum"]:
        yield "", f"{value} is less than {limits['minimum']}"
    if "maximum" in limits and value > limits["maximum"]:
        yield "", f"{value} is more than {limits['maximum']}"
    if isinstance(value, tuple):
        if len(value) < limits.get("minItems", 0):
            yield "", "an empty list"
        if len(value) > limits.get("maxItems", len(value)):
            yield "", f"{len(value)} entries, more than {limits['maxItems']}"
        if "items" in limits:
            for index, item in enumerate(value):
                yield from ((f"[{index}]{place}", problem) for place, problem in _violations(item, limits["items"]))
    if isinstance(value, str):
        if len(value) > limits.get("maxLength", len(value)):
            yield "", f"{len(value)} characters, more than {limits['maxLength']}"
        elif "pattern" in limits and not re.fullmatch(limits["pattern"], value):
            yield "", f"{show(value)} is not {limits.get('title', 'in the right form')}"
