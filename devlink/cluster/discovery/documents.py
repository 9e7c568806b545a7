"""API objects out of what `kubectl get -o json|yaml` prints: lists of kinds, and several documents."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import yaml

from devlink.errors import UsageError, reason

MAX_TEXT = 512 << 20
"""Octets or characters of a dump; 5,000 nodes and 20,000 blocks take about 60 MB."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def objects_in(documents: Iterable[object], *, within: int = 1) -> Iterator[Mapping[str, Any]]:
    """The objects of some documents: each itself, or the items of a list (`List`, or `NodeList`: its items are Nodes).

    `within`: how many lists a list may lie in, as where lists were put together. What is no object is passed over.
    """
    for document in documents:
        if not isinstance(document, Mapping):
            continue
        kind = document.get("kind")
        items = document.get("items")
        if isinstance(items, list) and (not isinstance(kind, str) or kind.endswith("List")):
            of_items = {"apiVersion": document.get("apiVersion"), "kind": str(kind or "List").removesuffix("List")}
            defaults = of_items if of_items["kind"] else {}
            found = ({**defaults, **item} for item in items if isinstance(item, Mapping))
            yield from objects_in(found, within=within - 1) if within else found
        else:
            yield document


def too_large(name: str) -> UsageError:
    """The error for a dump of more than MAX_TEXT."""
    return UsageError(
        f"{name} is larger than {MAX_TEXT >> 20} MB.", next_step="Leave out what discovery does not read."
    )


def documents_in(
    text: str, *, name: str = "The dump", each: Callable[[dict[str, Any]], object] | None = None
) -> Iterator[object]:
    """The documents of a text in JSON (one after the other) or YAML. Raises UsageError where it is neither.

    `each`: what becomes of each mapping of a JSON text as soon as it is read, inner ones first, so that the whole
    never stands in memory.
    """
    if len(text) > MAX_TEXT:
        raise too_large(name)
    try:
        if text.lstrip()[:1] in ("{", "["):
            yield from _json_documents(text, each)
        else:
            yield from yaml.load_all(text, Loader=_LOADER)  # a safe loader, in C where there is one
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        why = reason(error).splitlines()[0][:200]
        step = "Give what kubectl prints with -o json or -o yaml, as it is."
        raise UsageError(f"{name} is neither JSON nor YAML.", why=why, next_step=step) from None


def _json_documents(text: str, each: Callable[[dict[str, Any]], object] | None) -> Iterator[object]:
    decoder = json.JSONDecoder(object_hook=each)
    place, end = 0, len(text.rstrip())
    while place < end:
        while text[place].isspace():
            place += 1
        document, place = decoder.raw_decode(text, place)
        yield from document if isinstance(document, list) else [document]
