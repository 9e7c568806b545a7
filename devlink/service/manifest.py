"""What was laid down on the machine, to be taken away again: a file beside it, written before the first of them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devlink.core.codec import DecodeError, decode, encode
from devlink.errors import HelperError, reason
from devlink.service import effects, owned
from devlink.service.laying import LIB, PLACES

PATH = f"{LIB}/manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All of it. While an install is under way, or after one that ended half done: what there may be."""

    version: str
    digest: str
    """Sources.digest."""
    python: str
    programs: str
    """The folder of the programs, LIB/VERSION."""
    units: tuple[str, ...] = ()
    """All of them, also those that systemd only starts for others."""
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By their absolute path: the SHA-256 of each content that was written there, in hexadecimal."""
    folders: tuple[str, ...] = ()
    """Those that were not there before, each before what lies in it."""
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Those that were not there before."""
    members: tuple[str, ...] = ()
    """Who was made a member of the group devlink."""

    def with_old(self, old: "Manifest | None") -> "Manifest":
        """Both, for the time in which either may be there."""
        if old is None:
            return self
        files = {path: (*old.files.get(path, ()), *self.files.get(path, ())) for path in (*old.files, *self.files)}
        return Manifest(
            version=self.version, digest=self.digest, python=self.python, programs=self.programs,
            units=_both(old.units, self.units),
            files={path: tuple(dict.fromkeys(sums)) for path, sums in files.items()},
            folders=tuple(sorted({*old.folders, *self.folders})),
            users=_both(old.users, self.users), groups=_both(old.groups, self.groups),
            members=_both(old.members, self.members),
        )  # fmt: skip


def _both(old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*old, *new)))


def read_manifest(root: Path = Path("/"), *, owner: int = 0) -> Manifest | None:
    """What is installed; None where nothing is. Raises HelperError for a file that cannot be read, that another than
    `owner` (a uid) could have written, or that names what no install writes: root removes what it says."""
    path = root / PATH.lstrip("/")
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeError) as error:
        raise HelperError(f"{path} cannot be read.", why=reason(error), next_step=_mend(path)) from error
    found = owned.weakness(PATH, root=root, owner=owner)
    if found is not None:
        raise found.error(f"{path} is not believed: another than root could change it.")
    try:
        manifest = decode(Manifest, json.loads(text))
        foreign = next(_foreign(manifest), None)
        if foreign is not None:
            raise ValueError(f"no install writes {foreign!r}")
    except (DecodeError, ValueError) as error:
        raise HelperError(f"{path} is not what devlink wrote.", why=reason(error), next_step=_mend(path)) from error
    return manifest


def _foreign(manifest: Manifest) -> Iterator[str]:
    """What it names that cannot be ours."""
    places = (f"{LIB}/", *PLACES.values())
    for path in (*manifest.files, manifest.programs):
        if not path.startswith(places) or "devlink" not in path or ".." in path.split("/"):
            yield path
    for folder in manifest.folders:
        if not f"{folder}/".startswith(places) and not any(place.startswith(f"{folder}/") for place in places):
            yield folder
    yield from (n for n in (*manifest.units, *manifest.users, *manifest.groups) if not n.startswith("devlink"))


def write_manifest(manifest: Manifest, root: Path = Path("/")) -> None:
    """Put it in place, whole or not at all, on the disk before this returns. Raises OSError."""
    effects.write(root / PATH.lstrip("/"), json.dumps(encode(manifest), indent=1))


def _mend(path: Path) -> str:
    return f"Look at {path}, which says what `devlink helper install` has written; without it, take that away by hand."
