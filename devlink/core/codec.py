"""Frozen dataclasses to JSON-like trees and back: strict, with one fault for each thing that is wrong.

Used for every message on our sockets, for the journal, the trust records and the profile. msgspec, which is faster,
stops at the first fault and takes no union of two address classes; a person who wrote a profile wants all the faults.
"""

import contextlib
import dataclasses
import difflib
import functools
import ipaddress
import re
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin

from devlink.core.checks import MAX_FAULTS, MAX_SHOWN, faults_of, key_of, show
from devlink.core.checks import DecodeError as DecodeError
from devlink.core.checks import Fault as Fault
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress, IPNetwork

T = TypeVar("T")


class _RejectedError(Exception):
    """A value was refused, and its faults are noted already."""


def parse_prefix(text: str) -> IPNetwork:
    """A prefix in CIDR form, as strictly as a route needs it. Raises ValueError(problem, hint)."""
    _, slash, length = text.partition("/")
    if len(text.split()) != 1 or not slash or not re.fullmatch("0|[1-9][0-9]{0,2}", length):
        raise ValueError(*_not_a_prefix(text))
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        try:
            loose = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{show(text)} is not an IP prefix", _CIDR) from None
    raise ValueError(f"{show(text)} has host bits set", f"the network is {loose}; check the address for a typing error")


_CIDR = "write ADDRESS/LENGTH, as in 10.20.0.0/16"


def _not_a_prefix(text: str) -> tuple[str, str]:
    """Problem and hint for a text that has not even the form of a prefix."""
    words = text.split()
    if len(words) == 2 and "/" in words[0]:
        return f"{show(text)} has a prefix length and a mask", f"write {show(words[0])[1:-1]} alone"
    try:
        written = ipaddress.ip_network("/".join(words), strict=False)
    except ValueError:
        return f"{show(text)} is not a prefix in CIDR form", _CIDR
    if len(words) == 2 or "/" in text:
        return f"{show(text)} is not a prefix in CIDR form", f"write {written}"
    return f"{show(text)} has no prefix length", f"one address alone is {written}"


def parse_address(text: str) -> IPAddress:
    """One address, no prefix length. Raises ValueError with problem and hint.

    A zone (`fe80::1%eth0`) is taken: home routers announce such DNS servers. Profiles refuse all link-local addresses.
    """
    if "/" in text:
        raise ValueError(f"{show(text)} is a prefix where one address is wanted", "leave out the slash and the length")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{show(text)} is not an IP address", "a name cannot be used here") from None
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
            reject(f"{show(tree)} is not a text", _quotes(tree))
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
        return _decode_items(get_args(kind), tree, path, faults, reject)
    if origin in (dict, Mapping):
        if not isinstance(tree, dict):
            reject(f"{show(tree)} is not a mapping")
        key_kind, value_kind = get_args(kind)
        result = {}
        for key, value in tree.items():
            try:
                place = _join(path, str(key))
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
            near = difflib.get_close_matches(str(tree)[:MAX_SHOWN], words, 1)
            reject(f"{show(tree)} is none of {', '.join(words)}", f"did you mean {near[0]}?" if near else "")
    if kind is float and isinstance(tree, int) and not isinstance(tree, bool):
        return float(tree)
    if not isinstance(tree, kind) or (isinstance(tree, bool) and kind is not bool):
        hint = _quotes(tree) if kind is str else ""
        if kind is int and isinstance(tree, str):
            hint = (
                "write it without quotes" if re.fullmatch("0|[1-9][0-9]{0,17}", tree) else "write plain decimal digits"
            )
        reject(f"{show(tree)} is not {_WORDS.get(kind, kind)}", hint)
    return tree


def _quotes(tree: object) -> str:
    return "put it in quotes" if isinstance(tree, bool | int | float) else ""


def _decode_items(
    kinds: tuple[Any, ...], tree: object, path: str, faults: list[Fault], reject: Callable[..., typing.NoReturn]
) -> Any:
    if not isinstance(tree, list | tuple):
        if isinstance(tree, str) and kinds[0] in _LEAVES:
            with contextlib.suppress(_RejectedError):  # the text itself may be wrong too
                _decode(kinds[0], tree, path, faults)
        reject(f"{show(tree)} is not a list", "put it in [ ]" if isinstance(tree, str) else "")
    endless = kinds[-1] is Ellipsis
    if not endless and len(tree) != len(kinds):
        reject(f"{len(tree)} items, not {len(kinds)}")
    items = []
    for index, item in enumerate(tree):
        if len(faults) > MAX_FAULTS:
            break
        try:
            items.append(_decode(kinds[0 if endless else index], item, f"{path}[{index}]", faults))
        except _RejectedError:
            continue
    return tuple(items)


def _decode_dataclass(
    cls: type, tree: object, path: str, faults: list[Fault], reject: Callable[..., typing.NoReturn]
) -> Any:
    if not isinstance(tree, dict):
        reject(f"{show(tree)} is not a mapping")
    hints = field_types(cls)
    fields = {key_of(field): field for field in dataclasses.fields(cls)}
    before = len(faults)
    for key in tree:
        if key not in fields and len(faults) <= MAX_FAULTS:
            name = str(key) if len(str(key)) < MAX_SHOWN and str(key).isprintable() else show(key)
            known = {known.lower(): known for known in fields}
            near = difflib.get_close_matches(name.lower(), known, 1)
            hint = f"did you mean {known[near[0]]}?" if near else f"known here: {', '.join(fields)}"
            faults.append(Fault(_join(path, name), "unknown key", hint))
    values: dict[str, Any] = {}
    for key, field in fields.items():
        place = _join(path, key)
        clean = len(faults)
        if key in tree:
            try:
                value = _decode(hints[field.name], tree[key], place, faults)
            except _RejectedError:
                continue
            if len(faults) == clean:
                values[field.name] = value
        elif field.default is not dataclasses.MISSING:
            values[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            values[field.name] = field.default_factory()
        else:
            faults.append(Fault(place, "missing", str(field.metadata.get("hint", ""))))
    if len(faults) > before:  # what can be said of the fields that are right is said in the same breath
        found = faults_of(cls, values)
    else:
        try:
            return cls(**values)
        except DecodeError as error:
            found = list(error.faults)
        except ValueError as error:
            found = [Fault("", str(error))]
    faults += (Fault(_join(path, fault.path), fault.problem, fault.hint) for fault in found)
    raise _RejectedError


def _join(path: str, below: str) -> str:
    return f"{path}.{below}" if path and below else path or below


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
