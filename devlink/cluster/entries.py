"""What an entry of a kubeconfig holds: texts, lists, flags and PEM, each checked for its kind, none told in errors."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devlink.errors import UsageError, reason

MAX_BYTES = 16 * 1024 * 1024
"""Octets of one file."""
VIEW = "See: kubectl config view"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One named cluster, user or context, with the folder of the file that it stands in."""

    values: Mapping[str, Any]
    folder: Path


def text(values: Mapping[str, Any], key: str) -> str:
    """Empty where it is left out. A number is taken for what it looks like."""
    value = values.get(key)
    if value is None:
        return ""
    if isinstance(value, str) and "\0" not in value:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UsageError(f"The kubeconfig is damaged: {key} is not a text.", next_step=VIEW)


def texts(values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of them."""
    listed = values.get(key) or []
    if not isinstance(listed, list):
        raise UsageError(f"The kubeconfig is damaged: {key} is not a list.", next_step=VIEW)
    return tuple(text({key: each}, key) for each in listed)


def mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Empty where it is left out."""
    found = values.get(key) or {}
    if not isinstance(found, dict):
        raise UsageError(f"The kubeconfig is damaged: {key} is not a mapping.", next_step=VIEW)
    return found


def flag(values: Mapping[str, Any], key: str) -> bool:
    """False where it is left out; never a guess at what a text may mean."""
    value = values.get(key)
    if value is not None and not isinstance(value, bool):
        raise UsageError(f"The kubeconfig is damaged: {key} is neither true nor false.", next_step=VIEW)
    return value is True


def pem(entry: Entry, key: str) -> str:
    """Inline data, else the file's content, else nothing."""
    data, path = text(entry.values, f"{key}-data"), text(entry.values, key)
    if not data and not path:
        return ""
    if data:
        where = f"kubeconfig's {key}-data"
        try:
            found = base64.b64decode(data, validate=False).decode("ascii", "ignore")
        except binascii.Error:
            found = ""
    else:
        where = f"file {entry.folder / path}, the kubeconfig's {key},"
        found = file_text(entry.folder / path)
    if "-----BEGIN" not in found:  # an empty one must not mean: the system's store
        raise UsageError(
            f"The {where} is damaged.",
            why="There is no PEM text in it.",
            next_step="Write it anew: kubectl config set-cluster or set-credentials, with --embed-certs",
        )
    return found


def file_text(path: Path) -> str:
    """ASCII, as all of PEM is: only remarks between the parts may hold other letters."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("ascii", "ignore")
    except OSError as error:
        raise UsageError(
            f"{path}, where certificates or a key should be, cannot be read.", why=reason(error), next_step=VIEW
        ) from error
