"""docs/configuration.md, made of the code: `python -m tests.cli.reference docs` (make reference).

Keys, types and defaults are those of the dataclasses that decode the files; the words are those below their fields.
"""

import ast
import dataclasses
import functools
import inspect
import ipaddress
import itertools
import re
import sys
import types
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from devlink.agent.config import Config, ProfileConfig
from devlink.cli import settings
from devlink.core.checks import key_of
from devlink.core.codec import encode, field_types
from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.core.profile import BridgeProfile, ClusterDns, DnsServer, Gateway, Identity, Metadata, Node, Spec
from devlink.core.trust import TrustRecord
from devlink.helper.policy import DnsPolicy, NamedUpstream, Policy, RoutesPolicy

NAME = "configuration.md"
WORDS: tuple[tuple[Any, str], ...] = (
    (str, "text"), (bool, "true or false"), (int, "whole number"), (float, "number"),
    (IPAddress, "IP address"), (IPNetwork, "prefix"), (DomainName, "domain name"),
)  # fmt: skip
PLURALS = {"text": "texts", "IP address": "IP addresses", "prefix": "prefixes", "domain name": "domain names"}
CHAPTERS: tuple[tuple[str, str, tuple[tuple[str, type], ...]], ...] = (
    (
        "config.toml",
        "The user's settings: `~/.config/devlink/config.toml`. It is read at each command that needs it, and need not "
        "be there.\n\n```toml\ndefault = \"qa\"\n\n[profiles.qa]\nexclude = [\"10.20.99.0/24\"]\n```",
        (("", Config), ("profiles.NAME", ProfileConfig)),
    ),
    (
        "A profile",
        "What a cluster tells laptops of its networks: YAML or JSON, in `~/.config/devlink/profiles/`, in a file "
        "that is named, or published in the cluster as the ConfigMap `kube-public/devlink-profile`. `devlink profile "
        "schema` prints its JSON Schema, `devlink profile validate FILE` names every fault. `profiles/` has samples.",
        (
            ("", BridgeProfile), ("metadata", Metadata), ("spec", Spec), ("spec.gateways[]", Gateway),
            ("spec.nodes[]", Node), ("spec.dns", ClusterDns), ("spec.dns.servers[]", DnsServer),
            ("spec.identity", Identity),
        ),
    ),
    (
        "policy.toml",
        "The machine's settings, which only root may write: `/etc/devlink/policy.toml`. The helper reads it when it "
        "starts: `sudo systemctl restart devlink-helper`.\n\n```toml\nlease_grace = 30\n\n[dns]\n"
        'query_log = "all"\nupstreams = [{address = "9.9.9.9", tls_name = "dns.quad9.net"}]\n```',
        (("", Policy), ("dns", DnsPolicy), ("dns.upstreams[]", NamedUpstream), ("routes", RoutesPolicy)),
    ),
    (
        "Trust records",
        "What the machine's owner lets a profile claim: JSON, one file `NAME.json` for each profile. `devlink trust` "
        "has them written to `/var/lib/devlink/trust/`; configuration management lays the same down in "
        "`/etc/devlink/trust.d/`, which is only read, and goes first.",
        (("", TrustRecord),),
    ),
)  # fmt: skip
"""Each with its heading, what is said first, and its tables: the path to it, and the dataclass."""


def document() -> str:
    """The whole page. Raises ValueError where a field has no words."""
    parts = [
        "# Configuration",
        "Every file and variable that devlink heeds. Nothing of it is needed: what is left out has the value that the "
        "table shows. A key that is not known is an error, with a suggestion, not a surprise.",
        "<!-- Made of the code: `make reference` writes it, and a test holds it to be current. -->",
    ]
    for heading, first, tables in CHAPTERS:
        parts += [f"## {heading}", first]
        for path, cls in tables:
            parts += [f"### `{path}`" if path else "", _table(cls)]
    for heading, rows, columns in (
        ("Environment", settings.ENVIRONMENT, ("variable", "meaning")),
        ("Files", settings.FILES, ("file", "meaning")),
    ):
        parts += [f"## {heading}", _rows(columns, ((f"`{name}`", words) for name, words in rows.items()))]
    codes = ((str(code), words) for code, words in settings.EXIT_STATUS.items())
    parts += ["## Exit codes", _rows(("code", "meaning"), codes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(cls: Any) -> str:
    kinds, words = field_types(cls), _words_of(cls)
    rows = []
    for field in dataclasses.fields(cls):
        kind = kinds[field.name]
        meaning = words.get(field.name) or _first(_inner(kind))
        if not meaning:
            raise ValueError(f"{cls.__name__}.{field.name} has no words below it")
        rows.append((f"`{key_of(field)}`", f"{_kind(kind)}{_limits(field)}", _default(field), meaning))
    return _rows(("key", "value", "default", "meaning"), rows)


def _rows(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(columns)
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


@functools.cache
def _tree_of(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text("utf-8"))


def _words_of(cls: type) -> Mapping[str, str]:
    """The text below each attribute of a class, by the attribute."""
    tree = _tree_of(inspect.getfile(cls))
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__]
    found = {}
    for node, below in itertools.pairwise(body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
        if isinstance(targets[0], ast.Name) and isinstance(text, str):
            found[targets[0].id] = " ".join(text.split())
    return found


def _first(cls: Any) -> str:
    """The first sentence that a class of ours says of itself."""
    text = inspect.getdoc(cls) or "" if isinstance(cls, type) and cls.__module__ != "builtins" else ""
    return " ".join(re.split(r"(?<=\.)\s", text, maxsplit=1)[0].split())


def _inner(kind: Any) -> Any:
    """What a type is of: the `X` of `X | None`, and of a tuple or a mapping of them."""
    if kind in (IPAddress, IPNetwork):
        return kind
    arguments = [each for each in get_args(kind) if each not in (type(None), Ellipsis)]
    return _inner(arguments[-1]) if arguments else kind


def _kind(kind: Any) -> str:
    for known, word in WORDS:
        if kind == known:
            return word
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        (one,) = [each for each in get_args(kind) if each is not type(None)]
        return _kind(one)
    if origin is tuple:
        word = _kind(get_args(kind)[0])
        return f"list of {PLURALS.get(word, 'tables')}"
    if origin is not None:
        return "table of texts" if get_args(kind)[1] is str else "tables by name"
    if issubclass(kind, Enum):
        words = {name: text.removesuffix(".") for name, text in _words_of(kind).items()}
        return "; ".join(f"`{each.value}`" + (f": {words[each.name]}" if each.name in words else "") for each in kind)
    return "table"


def _limits(field: "dataclasses.Field[Any]") -> str:
    limits = field.metadata.get("schema", {})
    if "minimum" in limits:
        return f", {limits['minimum']} to {limits['maximum']}"
    if "const" in limits:
        return f": `{limits['const']}`"
    return ""


def _default(field: "dataclasses.Field[Any]") -> str:
    value = field.default
    if value is dataclasses.MISSING:
        if field.default_factory is dataclasses.MISSING:
            return "must be given"
        value = field.default_factory()
    if value is None or value in ("", (), {}) or dataclasses.is_dataclass(value):
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address | float | int):
        return f"`{value}`"
    return f"`{encode(value)}`"


if __name__ == "__main__":
    (Path(sys.argv[1]) / NAME).write_text(document(), "utf-8")
