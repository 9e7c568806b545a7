"""What `login` keeps of a cluster beside the token: its name, its server and its CA; one file each, without secrets."""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from devlink.cluster.access import Access, Credentials
from devlink.cluster.credentials import InFile, InKeyring, write_private
from devlink.core.codec import DecodeError, decode, encode
from devlink.errors import ClusterError, UsageError, reason

MAX_BYTES = 1024 * 1024
"""Octets of one record."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Storage(StrEnum):
    """Where a login's token is."""

    KEYRING = "keyring"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One cluster to which its user has signed in."""

    name: str
    server: str
    """https://HOST[:PORT][/PATH]"""
    ca: str = ""
    """PEM certificates that the server is checked with; empty: the system's store."""
    storage: Storage = Storage.KEYRING


def parse_server(text: str) -> str:
    """The URL of an API, from HOST, HOST:PORT or a URL. Raises UsageError: a token goes nowhere but over TLS."""
    server = text.strip()
    server = (server if "://" in server else f"https://{server}").rstrip("/")
    try:
        parts = urlsplit(server)
        usable = (
            parts.scheme == "https" and bool(parts.hostname) and (parts.port is None or parts.port > 0)
            and parts.username is None and not parts.query and not parts.fragment
            and server.isascii() and server.isprintable() and " " not in server
        )  # fmt: skip
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            "That is no server to sign in to.",
            why="It is HOST, HOST:PORT or https://HOST:PORT; without TLS anyone on the way could read the token.",
            next_step="kubectl cluster-info, or the cluster's people, say which it is.",
        )
    return server


def parse_name(text: str) -> str:
    """A login's name. Raises UsageError: it also names a file."""
    if not _NAME.fullmatch(text):
        raise UsageError(
            "A login cannot be named so.",
            why="A name has letters, digits, dots, hyphens and underscores, 63 of them at most.",
            next_step="Choose another: --name NAME",
        )
    return text


def default_name(server: str) -> str:
    """What a login to a server is called where nobody says: its host."""
    host = urlsplit(server).hostname or ""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", host).strip("-._")[:63] or "cluster"


def folder() -> Path:
    """Where the records are."""
    return Path(platformdirs.user_config_dir("devlink")) / "logins"


def names() -> tuple[str, ...]:
    """All logins."""
    return tuple(sorted(path.stem for path in folder().glob("*.json") if _NAME.fullmatch(path.stem)))


def find(name: str) -> Login | None:
    """The login of that name, if there is one. Raises UsageError for a record that cannot be used."""
    if not _NAME.fullmatch(name):
        return None
    path = _path(name)
    try:
        with path.open("rb") as file:
            login = decode(Login, json.loads(file.read(MAX_BYTES)))
        if login.name != name:
            raise ValueError(f"it is of {login.name[:63]!r}")
        parse_server(login.server)
    except FileNotFoundError:
        return None
    except DecodeError as error:
        raise _damaged(path, "; ".join(map(str, error.faults))) from error
    except (OSError, ValueError, RecursionError, UsageError) as error:
        raise _damaged(path, reason(error)) from error
    return login


def keep(login: Login, token: str) -> None:
    """Note a login and its token. Raises ClusterError where the place for the token cannot be used: then neither is."""
    try:
        before = find(login.name)
    except UsageError:  # damaged: it is written anew
        before = None
    _store(login.storage).keep(login.name, token)
    write_private(_path(login.name), f"{json.dumps(encode(login), indent=2)}\n")
    if before is not None and before.storage is not login.storage:
        try:
            _store(before.storage).forget(login.name)
        except ClusterError:
            pass  # an old token in a keyring that cannot be opened: nobody will ask for it


def forget(login: Login) -> None:
    """Remove the record, then the token. Raises ClusterError where the token is out of reach, and says so."""
    _path(login.name).unlink(missing_ok=True)
    try:
        _store(login.storage).forget(login.name)
    except ClusterError as error:
        raise ClusterError(
            f"The login {login.name} is forgotten, but its token may still be in the keyring.",
            why=reason(error),
            next_step=f"Remove the entry `devlink`, {login.name}, with the keyring's own program; and end the token in "
            "the cluster if others use this account.",
        ) from error


def access(login: Login) -> Access:
    """How to reach its cluster as its user. Raises ClusterError where the token cannot be had."""
    token = _store(login.storage).token(login.name)
    if not token:
        raise ClusterError(
            f"The token of login {login.name} is gone from {_PLACES[login.storage]}.",
            next_step=f"Sign in again: devlink login {login.server} --name {login.name}",
        )
    return access_with(login, token.strip())


def access_with(login: Login, token: str) -> Access:
    """The same with a token that is at hand, and perhaps not kept yet."""
    return Access(name=login.name, server=login.server, ca=login.ca or None, credentials=Credentials(token=token))


_PLACES = {Storage.KEYRING: "the keyring", Storage.FILE: "its file"}


def _store(storage: Storage) -> InKeyring | InFile:
    return InKeyring() if storage is Storage.KEYRING else InFile(folder())


def _path(name: str) -> Path:
    return folder() / f"{name}.json"


def _damaged(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path} cannot be used.", why=why[:300], next_step="Remove it and sign in again: devlink login SERVER"
    )  # fmt: skip
