"""API objects by kind, and their fields without surprises: what has an odd shape counts as absent."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from devlink.core.checks import DecodeError, show
from devlink.core.codec import parse_address, parse_prefix
from devlink.core.fields import dig as dig
from devlink.core.fields import flag as flag
from devlink.core.fields import mappings as mappings
from devlink.core.fields import number as number
from devlink.core.fields import text as text
from devlink.core.fields import texts as texts
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.core.yaml_tree import parse_yaml

Object = Mapping[str, Any]
CORE = ""
"""The API group of nodes, services, pods and ConfigMaps."""
CALICO = ("projectcalico.org", "crd.projectcalico.org")
"""Calico's groups, the served API (v3) before its storage (v1): their objects are alike."""
MAX_NAME = 253
"""Characters of a name that are kept (RFC 1123 subdomain, as Kubernetes has it)."""
MAX_JSON = 1 << 20
"""Characters of a JSON text inside an object, above which it is not read: more than etcd keeps in one object."""
_UNUSUAL = re.compile(r"[^A-Za-z0-9.:_-]")
PLURALS = {"BlockAffinity": "blockaffinities"}
"""Resource names that are not the kind's with an s."""


class Refused(NamedTuple):
    """A value that the API gave and that cannot be used."""

    source: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Prefixes that some configuration declares; none where it does not."""

    prefixes: tuple[IPNetwork, ...] = ()
    source: str = ""


def words(listed: str) -> tuple[str, ...]:
    """The items of a list that stands in one text, with commas or spaces between them."""
    return tuple(listed.replace(",", " ").split())


def json_in(tree: object, *path: str) -> Any:
    """What the JSON text there says; None where there is none."""
    found = text(tree, *path)
    try:
        return json.loads(found) if found and len(found) <= MAX_JSON else None
    except (ValueError, RecursionError):
        return None


def name_of(item: Object) -> str:
    """`metadata.name`, fit to be shown."""
    return _shown(text(item, "metadata", "name"))


def source_of(item: Object, detail: str = "") -> str:
    """Where a fact came from: `ippools.crd.projectcalico.org/default-ipv4-ippool`, `nodes/n1 (k3s.io/node-args)`."""
    kind, group = _shown(text(item, "kind")), _group(item) or CORE
    resource = PLURALS.get(kind, kind.lower() + "s") + (f".{_shown(group)}" if group else "")
    place = "/".join(part for part in (resource, _shown(text(item, "metadata", "namespace")), name_of(item)) if part)
    return f"{place} ({detail})" if detail else place


def resource_of(item: Object) -> str:
    """The kind's resource with its group: `blockaffinities.crd.projectcalico.org`."""
    return source_of({"kind": item.get("kind"), "apiVersion": item.get("apiVersion")})


def _shown(name: str) -> str:
    """Harmless on a terminal, and in a command that a person copies."""
    return _UNUSUAL.sub("?", name[:MAX_NAME])


def _group(item: Object) -> str | None:
    """The API group; None where an object does not say."""
    version = item.get("apiVersion")
    return version.rpartition("/")[0] if isinstance(version, str) else None


class Objects:
    """All objects of a run, each once, in the order of their names; and what of them had to be refused."""

    def __init__(self, objects: Iterable[object]) -> None:
        self._kinds: dict[str, dict[tuple[str | None, str, str], Object]] = {}
        self.refused: list[Refused] = []
        for item in objects:
            if isinstance(item, dict) and (kind := text(item, "kind")):
                key = (_group(item), text(item, "metadata", "namespace"), text(item, "metadata", "name"))
                self._kinds.setdefault(kind, {}).setdefault(key, item)

    def of(self, kind: str, *groups: str) -> list[Object]:
        """The objects of a kind, from the first of `groups` that has any. An object without apiVersion is of any."""
        known = self._kinds.get(kind, {})
        for group in groups:
            found = [(key[1:], item) for key, item in known.items() if key[0] in (group, None)]
            if found:
                return [item for _, item in sorted(found, key=lambda pair: pair[0])]
        return []

    def config_map(self, *names: str) -> Object:
        """The first ConfigMap of these names (`kube-system/coredns`) that is there; else an empty one."""
        for wanted in names:
            namespace, _, name = wanted.partition("/")
            for item in self.of("ConfigMap", CORE):
                if text(item, "metadata", "name") == name and text(item, "metadata", "namespace") in (namespace, ""):
                    return item
        return {}

    def yaml_in(self, item: Object, key: str) -> Any:
        """The tree of the YAML text in a ConfigMap's `data`; None where there is none that can be read."""
        found = text(item, "data", key)
        if not found:
            return None
        try:
            return parse_yaml(found)[0]
        except DecodeError as error:
            self.refuse(source_of(item, key), str(error.faults[0]))
            return None

    def prefixes(self, item: Object, found: Iterable[str], detail: str = "") -> tuple[IPNetwork, ...]:
        """The prefixes among some texts of `item`, each once; what is none is noted in `refused`."""
        parsed: dict[IPNetwork, None] = {}
        for one in found:
            try:
                parsed[parse_prefix(one.strip() if len(one) < MAX_NAME else one)] = None
            except ValueError as error:
                self.refuse(source_of(item, detail), "; ".join(map(str, error.args)))
        return tuple(parsed)

    def address(self, item: Object, found: str) -> IPAddress | None:
        """The address in a text of `item`, with or without a prefix length; noted in `refused` where it is none."""
        try:
            return parse_address(found.partition("/")[0])
        except ValueError as error:
            self.refuse(source_of(item), "; ".join(map(str, error.args)))
            return None

    def addresses(self, item: Object, found: Iterable[str]) -> tuple[IPAddress, ...]:
        """The addresses among some texts of `item`."""
        parsed = (self.address(item, one) for one in found)
        return tuple(address for address in parsed if address is not None)

    def declared(self, item: Object, found: Iterable[str], detail: str = "") -> Declared:
        """What some texts of `item` declare; `detail` says where in it they stand."""
        return Declared(prefixes=self.prefixes(item, found, detail), source=source_of(item, detail))

    def refuse(self, source: str, problem: str) -> None:
        """Note a value that cannot be used."""
        self.refused.append(Refused(source, problem if len(problem) < 4 * MAX_NAME else show(problem)))
