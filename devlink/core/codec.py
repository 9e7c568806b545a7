"""Frozen dataclasses to JSON-like trees and back: strict, with one fault for each thing that is wrong.

Used for every message on our sockets, for the journal, the trust records and the profile. msgspec, which is faster,
stops at the first fault and takes no union of two address classes; a person who wrote a profile wants all the faults.
"""

import dataclasses
import difflib
import functools
import ipaddress
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin

from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress, IPNetwork

T = TypeVar("T")
MAX_FAULTS = 50
"""A hostile document with a million faults must not become a million lines."""


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


class _RejectedError(Exception):
    """A value was refused, and its faults are noted already."""


def parse_prefix(text: str) -> IPNetwork:
    """A prefix in CIDR form, as strictly as a route needs it. Raises ValueError(problem, hint)."""
    if len(text.split()) == 2:
        address, _, mask = text.replace("/", " ").partition(" ")
        hint = f"write {text.split()[0]}"
        if "/" not in text:
            try:
                hint = f"write {ipaddress.ip_network(f'{address}/{mask.strip()}', strict=False)}"
            except ValueError:
                hint = "write ADDRESS/LENGTH"
        raise ValueError(f"{text!r} is not one prefix in CIDR form", hint)
    if "/" not in text:
        raise ValueError(f"{text!r} has no prefix length", f"one address alone is {text}/{128 if ':' in text else 32}")
    if not text.rpartition("/")[2].isdecimal():
        raise ValueError(f"{text!r} is not a prefix in CIDR form", "write ADDRESS/LENGTH, as in 10.20.0.0/16")
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        try:
            loose = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is not an IP prefix", "write ADDRESS/LENGTH, as in 10.20.0.0/16") from None
    raise ValueError(f"{text!r} has host bits set", f"the network is {loose}; check the address for a typing error")


def parse_address(text: str) -> IPAddress:
    """One address, no prefix length, no zone. Raises ValueError with problem and hint."""
    if "/" in text:
        raise ValueError(f"{text!r} is a prefix where one address is wanted", f"write {text.partition('/')[0]}")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address", "a name cannot be used here") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise ValueError(f"{text!r} has a zone", "link-local addresses cannot be used here")
    return address


def _parse_name(text: str) -> DomainName:
    try:
        return DomainName.parse(text)
    except ValueError as error:
        raise ValueError(str(error), "write a domain name such as cluster.local") from None


_LEAVES: dict[Any, Callable[[str], Any]] = {
    IPNetwork: parse_prefix,
    IPAddress: parse_address,
    ipaddress.IPv4Network: parse_prefix,
    ipaddress.IPv6Network: parse_prefix,
    ipaddress.IPv4Address: parse_address,
    ipaddress.IPv6Address: parse_address,
    DomainName: _parse_name,
}
_WORDS = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    float: "a number",
    list: "a list",
    dict: "a mapping",
}


def key_of(field: "dataclasses.Field[Any]") -> str:
    """The key of a field in a document: its name, or the one that the field's metadata gives."""
    return str(field.metadata.get("key", field.name))


@functools.cache
def field_types(cls: type) -> Mapping[str, Any]:
    """The resolved annotation of each field of a dataclass."""
    return typing.get_type_hints(cls)


def decode(cls: type[T], tree: object, path: str = "") -> T:
    """Build a `cls` (a dataclass, or any type that a field of one may have) from a tree of dict, list, str, int, bool.

    A field with a default may be left out; a key that no field has is a fault with a suggestion. Raises DecodeError.
    """
    faults: list[Fault] = []
    try:
        value = _decode(cls, tree, path, faults)
    except _RejectedError:
        value = None
    if faults:
        raise DecodeError(tuple(faults[:MAX_FAULTS]))
    return typing.cast(T, value)


def _decode(kind: Any, tree: object, path: str, faults: list[Fault]) -> Any:
    def reject(problem: str, hint: str = "") -> typing.NoReturn:
        if len(faults) <= MAX_FAULTS:
            faults.append(Fault(path, problem, hint))
        raise _RejectedError

    if kind in _LEAVES:
        if not isinstance(tree, str):
            reject(f"{_show(tree)} is not a text", "put it in quotes")
        try:
            return _LEAVES[kind](tree)
        except ValueError as error:
            reject(*error.args)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if tree is None and type(None) in get_args(kind):
            return None
        choices = [choice for choice in get_args(kind) if choice is not type(None)]
        return _decode(choices[0] if len(choices) == 1 else Union[tuple(choices)], tree, path, faults)  # noqa: UP007
    if origin is tuple:
        return _decode_items(get_args(kind)[0], tree, path, faults, reject)
    if origin in (dict, Mapping):
        if not isinstance(tree, dict):
            reject(f"{_show(tree)} is not a mapping")
        key_kind, value_kind = get_args(kind)
        result = {}
        for key, value in tree.items():
            try:
                place = f"{path}.{key}" if path else str(key)
                result[_decode(key_kind, key, place, faults)] = _decode(value_kind, value, place, faults)
            except _RejectedError:
                continue
        return result
    if kind is Any or kind is object:
        return tree
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(typing.cast(type, kind), tree, path, faults, reject)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(tree)
        except ValueError:
            words = [str(member.value) for member in kind]
            near = difflib.get_close_matches(str(tree), words, 1)
            reject(f"{_show(tree)} is none of {', '.join(words)}", f"did you mean {near[0]}?" if near else "")
    if kind is float and isinstance(tree, int) and not isinstance(tree, bool):
        return float(tree)
    if not isinstance(tree, kind) or (isinstance(tree, bool) and kind is not bool):
        reject(f"{_show(tree)} is not {_WORDS.get(kind, kind)}", "put it in quotes" if kind is str else "")
    return tree


def _decode_items(
    kind: Any, tree: object, path: str, faults: list[Fault], reject: Callable[..., typing.NoReturn]
) -> Any:
    if not isinstance(tree, list | tuple):
        reject(f"{_show(tree)} is not a list", "write [" + str(tree) + "]" if isinstance(tree, str) else "")
    items = []
    for index, item in enumerate(tree):
        if len(faults) > MAX_FAULTS:
            break
        try:
            items.append(_decode(kind, item, f"{path}[{index}]", faults))
        except _RejectedError:
            continue
    return tuple(items)


def _decode_dataclass(
    cls: type, tree: object, path: str, faults: list[Fault], reject: Callable[..., typing.NoReturn]
) -> Any:
    if not isinstance(tree, dict):
        reject(f"{_show(tree)} is not a mapping")
    hints = field_types(cls)
    fields = {key_of(field): field for field in dataclasses.fields(cls)}
    before = len(faults)
    for key in tree:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(fields)}"
            faults.append(Fault(f"{path}.{key}" if path else str(key), "unknown key", hint))
    values: dict[str, Any] = {}
    for key, field in fields.items():
        place = f"{path}.{key}" if path else key
        if key in tree:
            try:
                values[field.name] = _decode(hints[field.name], tree[key], place, faults)
            except _RejectedError:
                continue
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            faults.append(Fault(place, "missing", str(field.metadata.get("hint", ""))))
    if len(faults) > before:
        raise _RejectedError
    try:
        return cls(**values)
    except DecodeError as error:  # a check of the class itself, with paths below this place
        for fault in error.faults:
            faults.append(Fault(".".join(part for part in (path, fault.path) if part), fault.problem, fault.hint))
    except ValueError as error:
        faults.append(Fault(path, str(error)))
    raise _RejectedError


def _show(tree: object) -> str:
    if tree is None:
        return "nothing"
    if isinstance(tree, dict | list):
        return "a mapping" if isinstance(tree, dict) else "a list"
    text = repr(tree)
    return text if len(text) <= 80 else text[:77] + "..."


def encode(value: Any) -> Any:
    """The tree of a value; what equals its field's default is left out, so that a tree is canonical."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type | DomainName):
        tree = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
            if default is dataclasses.MISSING or item != default:
                tree[key_of(field)] = encode(item)
        return tree
    if isinstance(value, tuple | list | frozenset | set):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {encode(key): encode(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, DomainName | ipaddress._BaseAddress | ipaddress._BaseNetwork):
        return str(value)
    return value
