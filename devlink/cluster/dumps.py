"""A cluster as kubectl has printed it: the command for it, the objects cut down as discovery reads them, what lacks."""

import codecs
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from devlink.cluster.discovery import documents_in, objects_in
from devlink.cluster.discovery.objects import resource_of
from devlink.cluster.reads import READS, Read, kept
from devlink.core.findings import Finding, Severity
from devlink.core.text import listed
from devlink.errors import UsageError

MAX_MESSAGE = 300
"""Characters of a failed call's message that a finding repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """What some files hold."""

    objects: tuple[Mapping[str, Any], ...] = field(repr=False)
    findings: tuple[Finding, ...]


def _resource(path: str) -> str:
    """A collection's path as kubectl names it: `ippools.crd.projectcalico.org`; core ones have no group."""
    parts = path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    plural = rest[2] if rest[0] == "namespaces" else rest[0]
    return f"{plural}.{group}" if group else plural


_BY_RESOURCE: dict[str, Read] = {}
for _read in READS:
    for _path in _read.paths:
        _name = _resource(_path)
        # An object that does not say its version is taken for what its kind says.
        _BY_RESOURCE |= {_name: _read, _name.partition(".")[0]: _read}
# Where two groups serve the same objects, the last one is the storage, which is always there.
RESOURCES = tuple(dict.fromkeys(_resource(read.paths[-1]) for read in READS))
"""All that discovery reads, as kubectl names it."""
KUBECTL = (
    f"for kind in {' '.join(RESOURCES)}; do kubectl get $kind -A -o json; done | devlink profile discover --from -"
)
"""The whole command. One kind after the other: kubectl prints nothing at all where the cluster lacks one of several."""


def read_dumps(names: Iterable[str], read: Callable[[str], bytes]) -> Dump:
    """The objects of what `read` gives for each name, and what is to be said of them. Raises UsageError."""
    objects = tuple(item for name in names for item in _objects(name, read))
    return Dump(objects=objects, findings=(*_failed(objects), *_lacking(objects)))


def _objects(name: str, read: Callable[[str], bytes]) -> list[Mapping[str, Any]]:
    """Cut down while they are read: of a text of 60 MB one tenth is looked at."""
    documents = documents_in(_text(name, read(name)), name=name, each=_trimmed)  # and neither octets nor text are kept
    # The items of a typed list, such as a NodeList, say what they are by their list only.
    return [_trimmed(item) for item in objects_in(documents)]


def _text(name: str, octets: bytes) -> str:
    # What an editor or a shell of Windows has written says so by its first octets.
    encoding = "utf-16" if octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return octets.decode(encoding)
    except UnicodeDecodeError:
        raise UsageError(
            f"{name} is no text in UTF-8.", next_step="Give what kubectl prints with -o json or -o yaml, as it is."
        ) from None


def _trimmed(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object as it is kept of an API; what is none, or of another kind, as it is."""
    read = _read_for(item)
    return kept(item, read.keep) if read is not None and isinstance(item.get("metadata"), dict) else item


def _read_for(item: Mapping[str, Any]) -> Read | None:
    """The line of the table that reads such objects."""
    kind, version = item.get("kind"), item.get("apiVersion")
    if not isinstance(kind, str):
        return None
    return _read_of(kind, version if isinstance(version, str) else None)


@functools.lru_cache(maxsize=256)
def _read_of(kind: str, version: str | None) -> Read | None:
    return _BY_RESOURCE.get(resource_of({"kind": kind, "apiVersion": version}))


def _failed(objects: Iterable[Mapping[str, Any]]) -> Iterable[Finding]:
    """Answers of an API that are no objects, and why: what `kubectl get --raw` or curl prints of a refusal."""
    statuses = [item for item in objects if item.get("kind") == "Status" and item.get("status") == "Failure"]
    # The refusal of a Service that could not be is one of the sources.
    messages = [str(item.get("message") or item.get("reason")) for item in statuses if item.get("code") != 422]
    if messages:
        shown = ("".join(c if c.isprintable() else " " for c in text[:MAX_MESSAGE]) for text in messages)
        yield Finding(
            code="DL-DUMP-FAILED",
            severity=Severity.WARNING,
            title="A part of the dump is the answer to a call that failed; there are no objects in it.",
            evidence=listed(dict.fromkeys(shown)),
            fix="make that part again, with an account that may read it",
        )


def _lacking(objects: Iterable[Mapping[str, Any]]) -> Iterable[Finding]:
    """What discovery reads and the dump holds nothing of: nobody else can say whether the cluster has none."""
    paths = {read.paths[-1] for item in objects if (read := _read_for(item)) is not None}
    there = set(map(_resource, paths))
    absent = [name for name in RESOURCES if name not in there]
    if absent:
        is_everywhere = any("." not in name for name in absent)
        yield Finding(
            code="DL-NOT-IN-DUMP",
            severity=Severity.WARNING if is_everywhere else Severity.INFO,
            title="The dump holds nothing of some kinds that discovery reads; what they say is not in the profile.",
            evidence=f"no {', '.join(absent)}",
            fix=f"nothing, if they were asked for and the cluster has none; to ask for all: {KUBECTL}",
        )
