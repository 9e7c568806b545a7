"""What `devlink login` keeps: a bearer token in the system's keyring, or, if asked for, in a file of mode 0600."""

import importlib
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, Protocol, TypeVar

from devlink import private_files
from devlink.errors import ClusterError, reason

SERVICE = "devlink"
"""Under which name entries stand in a keyring; the user name of an entry is the login's."""
BACKENDS = (
    "keyring.backends.SecretService:Keyring",
    "keyring.backends.libsecret:Keyring",
    "keyring.backends.kwallet:DBusKeyring",
    "keyring.backends.macOS:Keyring",
)
"""Those that encrypt. Never what keyring would choose by itself: an installed keyrings.alt would win, in plain text."""
PATIENCE = 10.0
"""Seconds for a keyring to give a token: it may ask for its password in a window, and nobody may sit there."""
PATIENCE_TO_KEEP = 60.0
"""Seconds where somebody certainly sits there, and may type the keyring's password."""
MAX_TOKEN = 64 * 1024
"""Octets."""

T = TypeVar("T")


class Keyring(Protocol):
    """What we use of a backend of the keyring package."""

    def get_password(self, service: str, username: str) -> str | None: ...
    def set_password(self, service: str, username: str, password: str) -> None: ...
    def delete_password(self, service: str, username: str) -> None: ...


class AbsentError(Exception):
    """No keyring works here."""


class InKeyring:
    """Tokens in the desktop's keyring, whatever it takes: every method raises ClusterError where it cannot be used."""

    def __init__(self, open_keyring: Callable[[], Keyring] | None = None) -> None:
        self._open = open_keyring or open_best

    def keep(self, name: str, token: str) -> None:
        """Store, or replace, the token of one login."""
        _in_time(lambda: self._open().set_password(SERVICE, name, token), PATIENCE_TO_KEEP)

    def token(self, name: str) -> str | None:
        """The token of one login, if it is there."""
        return _in_time(lambda: self._open().get_password(SERVICE, name), PATIENCE, (self._open, name))

    def forget(self, name: str) -> None:
        """Remove it; no error where it is not there."""

        def remove() -> None:
            found = self._open()
            if found.get_password(SERVICE, name) is not None:
                found.delete_password(SERVICE, name)

        _in_time(remove, PATIENCE_TO_KEEP)


class InFile:
    """Tokens in plain text, each in a file that only its user may read (`--insecure-storage`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        """Where the token of one login is."""
        return self._folder / f"{name}.token"

    def keep(self, name: str, token: str) -> None:
        """Store it, or replace it as a whole."""
        write_private(self.path(name), token)

    def token(self, name: str) -> str | None:
        """Raises ClusterError for a file that others may read, or that is not a file of the user's own."""
        path = self.path(name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(path, reason(error)) from error
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise _unusable(path, "It is not a file of your own.")
            if stat.S_IMODE(found.st_mode) & 0o077:
                raise _unusable(path, f"Others may read it: its mode is {stat.S_IMODE(found.st_mode):04o}.")
            return file.read(MAX_TOKEN).decode("ascii", "replace")

    def forget(self, name: str) -> None:
        """Remove it; no error where it is not there."""
        try:
            self.path(name).unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(self.path(name), reason(error)) from error


def write_private(path: Path, text: str) -> None:
    """Put a file in place that only its user may read, whole or not at all. Raises ClusterError."""
    try:
        private_files.write_private(path, text)
    except OSError as error:
        raise ClusterError(
            f"{path} cannot be written.", why=reason(error), next_step="Look at the folder's rights and its room."
        ) from error


def open_best() -> Keyring:
    """The first keyring of `BACKENDS` that works here. Raises AbsentError where there is none."""
    for place in BACKENDS:
        module, _, name = place.partition(":")
        try:
            backend = getattr(importlib.import_module(module), name)
            if backend.priority > 0:
                keyring: Keyring = backend()
                return keyring
        except Exception:  # noqa: S112  # of whatever D-Bus library it uses: it does not work here
            continue
    raise AbsentError


_unanswered: dict[object, "Future[Any]"] = {}
_unanswered_lock = threading.Lock()


def _in_time(call: Callable[[], T], limit: float, question: object = None) -> T:
    """What a call gives, or its failure in our words; in a thread that the process's end does not wait for.

    A `question` that still waits for its answer is not asked again, but waited for anew: an agent that nobody sits at
    asks every minute, and each would open a window and hold a thread for good.
    """
    with _unanswered_lock:
        asked: Future[T] | None = _unanswered.get(question)
        if asked is None:
            asked = Future()
            if question is not None:
                _unanswered[question] = asked
            threading.Thread(target=_ask, args=(call, asked, question), name="keyring", daemon=True).start()
    if not wait([asked], limit).done:
        raise ClusterError(
            f"The keyring does not answer within {limit:g} s.",
            why="It asks for its password in a window, perhaps on another screen.",
            next_step=f"Answer it and try again. {_WAY_OUT}",
        )
    error = asked.exception()
    if error is None:
        return asked.result()
    if isinstance(error, AbsentError):
        raise ClusterError(
            "There is no keyring here that could keep a token.",
            why="Neither a Secret Service (GNOME Keyring, KeePassXC) nor KWallet answers on this session's D-Bus.",
            next_step=f"Start one. {_WAY_OUT}",
        ) from error
    if type(error).__name__ in ("KeyringLocked", "InitError"):
        raise ClusterError(
            "The keyring is locked, or has no default collection yet.",
            why=reason(error)[:300],
            next_step=f"Unlock it (sign in to the desktop, or open its program) and try again. {_WAY_OUT}",
        ) from error
    raise ClusterError(
        "The keyring cannot be used.",
        why=f"{type(error).__name__}: {reason(error)}"[:300],
        next_step=f"Look at its program. {_WAY_OUT}",
    ) from error


def _ask(call: Callable[[], T], answer: "Future[T]", question: object) -> None:
    try:
        result, error = [call()], None
    except BaseException as failure:  # anything a backend's libraries may raise; none may pass as silence
        result, error = [], failure
    with _unanswered_lock:
        _unanswered.pop(question, None)
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result[0])


_WAY_OUT = "Without a keyring: devlink login SERVER --insecure-storage keeps the token in a file that only you may read"


def _unusable(path: Path, why: str) -> ClusterError:
    return ClusterError(
        f"The token file {path} is not used.", why=why, next_step="Sign in again: devlink login SERVER"
    )  # fmt: skip
