"""A profile as a YAML document: strict on the way in, canonical on the way out."""

from collections.abc import Iterator
from typing import Any

import yaml

from devlink.core import codec
from devlink.core.checks import MAX_FAULTS, DecodeError, Fault
from devlink.core.profile import API_VERSION, KIND, BridgeProfile
from devlink.core.yaml_tree import MAX_BYTES as MAX_BYTES
from devlink.core.yaml_tree import parse_yaml
from devlink.errors import ProfileError

_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def decode_profile(text: str | bytes, *, name: str = "The profile") -> BridgeProfile:
    """The profile in a YAML (or JSON) document of at most `MAX_BYTES`. Raises ProfileError with every fault.

    `name` is what the error calls the document, such as the file's path.
    """
    private = b"PRIVATE KEY-----" if isinstance(text, bytes) else "PRIVATE KEY-----"
    if len(text) <= MAX_BYTES and private in text:  # type: ignore[operator]  # of one kind, both of them
        hint = "profiles are public: take the key out, count it as stolen and replace it"
        raise _invalid(name, [Fault("", "A PRIVATE KEY is in this document", hint)])
    faults: list[Fault] = []
    try:
        tree, found = parse_yaml(text)
        faults += found
        profile = _decode_tree(tree, faults)
    except DecodeError as error:
        raise _invalid(name, faults + list(error.faults)) from None
    if faults:
        raise _invalid(name, faults)
    return profile


def encode_profile(profile: BridgeProfile) -> str:
    """The canonical document of a profile: `decode_profile` of it is equal; defaults are left out, order is fixed."""
    tree = codec.encode(profile)
    if "provenance" in tree:
        tree["provenance"] = dict(sorted(tree["provenance"].items()))
    style: dict[str, Any] = {"sort_keys": False, "default_flow_style": None, "width": 120, "allow_unicode": True}
    return str(yaml.dump(tree, Dumper=_Dumper, **style))


def _decode_tree(tree: Any, faults: list[Fault]) -> BridgeProfile:
    if tree is None:
        raise DecodeError((Fault("", "an empty document", f"a profile begins with apiVersion: {API_VERSION}"),))
    if isinstance(tree, dict) and tree.get("kind") == "ConfigMap":
        hint = "take the text of its data, profile.yaml"
        raise DecodeError((Fault("kind", f"ConfigMap is not {KIND}", hint),))
    empty = list(_keys_without_value(tree, ""))
    faults += empty[:MAX_FAULTS]
    return codec.decode(BridgeProfile, tree)


def _keys_without_value(tree: Any, path: str) -> Iterator[Fault]:
    """A key whose value was commented out means nothing certain: "none", "all", or an accident."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            place = f"{path}.{key}" if path else key
            if value is None:
                yield Fault(place, "no value", "leave the key out, or put the text null in quotes")
            else:
                yield from _keys_without_value(value, place)
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _keys_without_value(item, f"{path}[{index}]")


def _invalid(name: str, faults: list[Fault]) -> ProfileError:
    lines = tuple(str(fault) for fault in faults[:MAX_FAULTS])
    count = "one fault" if len(lines) == 1 else f"{len(lines)} faults"
    more = " or more" if len(lines) == MAX_FAULTS else ""
    return ProfileError(
        f"{name} is invalid: {count}{more}.",
        next_step="Correct it, then look again with `devlink profile validate FILE`.",
        faults=lines,
    )


class _Dumper(_DUMPER):  # type: ignore[misc]  # chosen at run time
    """Small collections on one line, certificates as a block."""


def _represent_text(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
