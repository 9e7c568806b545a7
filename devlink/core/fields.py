"""Fields of a tree that somebody else made (JSON, YAML), without surprises: what has an odd shape counts as absent."""

from collections.abc import Iterator, Mapping
from typing import Any


def dig(tree: object, *path: str) -> Any:
    """What is below `path`; None where any step of it is missing."""
    for key in path:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(key)
    return tree


def text(tree: object, *path: str) -> str:
    """The text there, else an empty one."""
    found = dig(tree, *path)
    return found if isinstance(found, str) else ""


def texts(tree: object, *path: str) -> tuple[str, ...]:
    """The texts of the list there; anything else in it is passed over."""
    found = dig(tree, *path)
    return tuple(item for item in found if isinstance(item, str)) if isinstance(found, list | tuple) else ()


def mappings(tree: object, *path: str) -> Iterator[Mapping[str, Any]]:
    """The mappings of the list there."""
    found = dig(tree, *path)
    return (item for item in (found if isinstance(found, list | tuple) else ()) if isinstance(item, dict))


def flag(tree: object, *path: str) -> bool | None:
    """True or false, also as a text (ConfigMaps and Calico's CRDs have `"true"`); None for anything else."""
    found = dig(tree, *path)
    if isinstance(found, str):
        return {"true": True, "false": False}.get(found.lower())
    return found if isinstance(found, bool) else None


def number(tree: object, *path: str) -> int | None:
    """A whole number from 0, also as a text; None for anything else."""
    found = dig(tree, *path)
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 19:
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None
