"""The JSON Schema of a profile, made from the same dataclasses that decode it."""

import ast
import dataclasses
import inspect
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any, Union, get_args, get_origin

from devlink.core import codec
from devlink.core.checks import key_of
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.core.profile import API_VERSION, BridgeProfile

_V4 = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"
_V6 = r"[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"
_LEAVES: tuple[tuple[Any, dict[str, Any]], ...] = (
    (str, {"type": "string"}),
    (bool, {"type": "boolean"}),
    (int, {"type": "integer"}),
    (IPAddress, {"type": "string", "pattern": f"^({_V4}|{_V6})$"}),
    (IPNetwork, {"type": "string", "pattern": f"^({_V4}/[0-9]{{1,2}}|{_V6}/[0-9]{{1,3}})$"}),
    (DomainName, {"type": "string", "pattern": r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\.?$", "maxLength": 254}),
)


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12. What it allows may still be wrong across fields; what it forbids is always wrong."""
    definitions: dict[str, Any] = {}
    root = _of_class(BridgeProfile, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{API_VERSION.replace('/', ':')}:{BridgeProfile.__name__}",
        "title": BridgeProfile.__name__,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _of_class(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    described = _descriptions(cls)
    hints = codec.field_types(cls)
    properties, required = {}, []
    for field in dataclasses.fields(cls):
        entry = _limited(_of_type(hints[field.name], definitions), field.metadata.get("schema", {}))
        if field.name in described:
            entry["description"] = described[field.name]
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(key_of(field))
        elif isinstance(field.default, str | int):  # an enumeration's members are texts too
            entry["default"] = codec.encode(field.default)
        properties[key_of(field)] = entry
    return {
        "description": (cls.__doc__ or "").strip(),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _limited(entry: dict[str, Any], limits: Mapping[str, Any]) -> dict[str, Any]:
    """A type's entry with a field's limits; a limit's title is for our own faults, the key says enough here."""
    result = entry | {key: value for key, value in limits.items() if key not in ("title", "items")}
    if "items" in limits:
        result["items"] = _limited(entry["items"], limits["items"])
    return result


def _of_type(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    for leaf, entry in _LEAVES:
        if kind == leaf:
            return dict(entry)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):  # null is not a value here: a key is given or left out
        return _of_type(Union[tuple(a for a in arguments if a is not type(None))], definitions)  # noqa: UP007
    if origin is tuple:
        return {"type": "array", "items": _of_type(arguments[0], definitions)}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _of_type(arguments[1], definitions)}
    if issubclass(kind, Enum):
        return {"type": "string", "enum": [member.value for member in kind]}
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}
        definitions[kind.__name__] = _of_class(kind, definitions)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _descriptions(cls: type) -> dict[str, str]:
    """The text under each attribute; none where the source is not at hand (a frozen program)."""
    try:
        body = ast.parse(inspect.getsource(cls)).body[0]
    except (OSError, SyntaxError):
        return {}
    assert isinstance(body, ast.ClassDef)
    return {
        target.target.id: " ".join(str(text.value.value).split())
        for target, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(target, ast.AnnAssign)
        and isinstance(target.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }
