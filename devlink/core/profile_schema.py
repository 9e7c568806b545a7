"""The JSON Schema of a profile, made from the same dataclasses that decode it."""

import dataclasses
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any, Union, get_args, get_origin

from devlink.core import codec
from devlink.core.checks import key_of
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.core.profile import (
    API_VERSION,
    BridgeProfile,
    ClusterDns,
    DnsServer,
    Gateway,
    Identity,
    Metadata,
    Node,
    Spec,
)

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
DESCRIPTIONS: dict[type, dict[str, str]] = {
    BridgeProfile: {
        "api_version": "`devlink/v1alpha1`.",
        "kind": "`BridgeProfile`.",
        "provenance": "Where each fact came from, by the path in `spec`.",
    },
    Metadata: {
        "name": "A DNS label (RFC 1123): trust records match by it.",
        "revision": "When it was made, RFC 3339; only shown and compared for equality.",
    },
    Spec: {
        "pods": "The networks of the cluster's pods; left out where pods need no route.",
        "services": "The ClusterIP ranges. The first address of the first one is the `kubernetes` service.",
        "routing": "Who carries the packets; `auto` chooses by what the laptop sees.",
        "gateways": "Nodes that forward for all pods and services.",
        "nodes": "Pod blocks by owner, for per-node routing. Kept in the order of their addresses.",
        "mtu": "Of routes to pods and services, in octets: IPIP takes 20, VXLAN 50.",
        "dns": "Left out: no names.",
        "identity": "Left out: the cluster is not told from one that poses as it.",
    },
    Gateway: {
        "address": "On a link of the laptop's, or devlink cannot use it (the kernel asks that of a next hop).",
        "role": "For people: `route-reflector`, `gateway`.",
        "priority": "The lowest that is healthy carries the traffic.",
    },
    Node: {
        "address": "The node's own, where the laptop reaches it.",
        "pods": "The blocks, each within the pod networks.",
    },
    ClusterDns: {
        "domain": "`cluster.local` nearly everywhere; kubelet's `clusterDomain`.",
        "servers": "In order of preference.",
        "namespaces": "Only services of these are asked for; left out, of all.",
        "search": "Namespaces whose services are also found as `NAME.NAMESPACE`, as in a pod. One that is a top-level "
        "domain too hides that domain's names of two labels.",
        "reverse": "Whether PTR questions for pods and services go to the cluster too.",
        "endpoints": "Pods behind these servers, for verification only: with them it tells whether pods on other nodes "
        "answer. They are within the pod networks, claim nothing, and one that has gone meanwhile harms nothing. Kept "
        "in order.",
    },
    DnsServer: {
        "address": "A ClusterIP, a pod's or a node's address.",
        "transport": "`tcp` where a firewall stops UDP.",
    },
    Identity: {
        "ca": "The cluster's CA certificates, PEM: what `kubernetes.default.svc` is checked with. Never a key.",
    },
}
"""What the schema says of each field: the text under the attribute itself, which a program without its source lacks."""


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
    described = DESCRIPTIONS[cls]
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
