"""What is copied for the system services: this very package and the libraries that they import, read once."""

import hashlib
import importlib.util
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from devlink.errors import HelperError, reason
from devlink.helper.access import user_name

LIBRARIES = ("click", "inotify_simple", "jeepney", "yaml")
"""All that helper, forwarder, files and restore import besides devlink and the standard library."""
LAYOUT = "devlink/service/layout/"
"""Where the layout lies among them."""
COMPILED = (".so", ".pyd")
DOES_WITHOUT = ("yaml",)
"""Those that do the same without their compiled modules, which fit one Python only."""
PASSED_OVER = (".pyc", ".pyo")
LARGEST = 64 << 20
"""Bytes of all of them; they take three MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The content as it was read: what is shown, hashed and written is the same, whatever becomes of the files."""

    files: dict[str, bytes]
    """By the path below the folder that has the packages."""
    origin: str
    """The folder with devlink in it."""
    owners: tuple[int, ...]
    """The uids of whom the files belong to, sorted."""

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all paths and contents."""
        found = hashlib.sha256()
        for path, content in sorted(self.files.items()):
            found.update(f"{path}\0{len(content)}\0".encode() + content)
        return found.hexdigest()


def read_sources(allowed: Iterable[int], packages: Iterable[tuple[str, Path]] | None = None) -> Sources:
    """Read them. Each file must belong to one of the uids `allowed`, and nobody else may be able to write it.

    `packages` has each one's name and its folder or only file; those that this process imports where it is None.
    Raises HelperError for a file of another's, a link, or a compiled module of a library that cannot do without.
    """
    places = dict(_found() if packages is None else packages)
    users = set(allowed)
    files: dict[str, bytes] = {}
    owners: set[int] = set()
    size = 0
    for name, top in places.items():
        try:
            for path, relative in _walk(top):
                if relative.endswith(PASSED_OVER):
                    continue
                if relative.endswith(COMPILED):
                    if name in DOES_WITHOUT:
                        continue
                    raise _refused(path, "It is compiled for one Python, and the services run on the system's own.")
                content, owner = _read(path, users)
                owners.add(owner)
                size += len(content)
                if size > LARGEST:
                    raise _refused(path, f"With it they are larger than {LARGEST >> 20} MiB.")
                files[relative] = content
        except OSError as error:
            raise _refused(Path(error.filename or top), reason(error)) from error
    return Sources(files=files, origin=str(places["devlink"].parent), owners=tuple(sorted(owners)))


def _found() -> Iterator[tuple[str, Path]]:
    yield "devlink", Path(os.path.abspath(__file__)).parents[1]
    for name in LIBRARIES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise HelperError(
                f"The library {name} is not there, which the services need.",
                next_step="Install devlink again, with what it depends on.",
            )
        path = Path(spec.origin)
        yield name, path.parent if spec.submodule_search_locations is not None else path


def _walk(top: Path) -> Iterator[tuple[Path, str]]:
    """Every file, with its path below the folder that has `top`. Links to folders are files here, and refused."""
    if not top.is_dir():
        yield top, top.name
        return
    for at, folders, names in os.walk(top, onerror=_raise):
        links = [name for name in folders if Path(at, name).is_symlink()]
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted((*names, *links)):
            path = Path(at, name)
            yield path, str(path.relative_to(top.parent))


def _raise(error: OSError) -> None:
    raise error


def _read(path: Path, allowed: set[int]) -> tuple[bytes, int]:
    if path.is_symlink():
        raise _refused(
            path, "It is a symbolic link.", "Install devlink with its files copied, not linked (uv: --link-mode copy)."
        )
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise _refused(path, "It is no ordinary file.")
        if found.st_uid not in allowed:
            names = " or ".join(user_name(uid) for uid in sorted(allowed))
            raise _refused(path, f"It belongs to user {user_name(found.st_uid)}, not to {names}.")
        if found.st_mode & stat.S_IWOTH:
            raise _refused(path, "Everyone may write it.", f"chmod o-w {path}")
        return file.read(LARGEST), found.st_uid


def _refused(path: Path, why: str, next_step: str = "") -> HelperError:
    return HelperError(
        f"{path} is not copied for root to run.",
        why=why,
        next_step=next_step
        or "Install devlink anew, in an environment of your own or of root's, and run this from there.",
    )
