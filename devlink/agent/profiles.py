"""The user's profiles by name or by path: the files in the configuration folder, and what clusters gave."""

import difflib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devlink.agent import cache
from devlink.agent.cache import Kept, Origin
from devlink.agent.config import config_folder, read_config
from devlink.core.profile import BridgeProfile
from devlink.core.profile_document import MAX_BYTES, decode_profile
from devlink.errors import DevlinkError, ProfileError, UsageError, reason

MAX_SHOWN = 120
"""Characters of a name that a message repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProfile:
    """One file in the folder of profiles, or the copy of what a cluster gave."""

    path: Path
    name: str
    """`metadata.name`; the file's name without its ending where it is broken."""
    profile: BridgeProfile | None = None
    error: DevlinkError | None = None
    """Why `profile` is None."""
    kept: Kept | None = None
    """What its cluster gave; None for a file of the user's."""

    @property
    def fault(self) -> str | None:
        """The same in a line: the first of a profile's faults."""
        if isinstance(self.error, ProfileError) and self.error.faults:
            return self.error.faults[0]
        return str(self.error) if self.error is not None else None

    @property
    def origin(self) -> Origin | None:
        """The cluster that gave it; None for a file of the user's."""
        return self.kept.origin if self.kept is not None else None

    @property
    def fetched(self) -> float:
        """When it did, Unix seconds; 0 for a file."""
        return self.kept.fetched if self.kept is not None else 0.0


def read_profile(path: Path) -> BridgeProfile:
    """The profile in one file. Raises UsageError where it cannot be read, ProfileError where it is invalid."""
    try:
        # A pipe without a writer would hang us, here or in the agent.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _unreadable(path, "It is not a regular file.")
            text = file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise _unreadable(path, "It is not a regular file: it is a folder.") from None
    except (OSError, ValueError) as error:  # ValueError: an octet 0 in the name
        raise _unreadable(path, reason(error)) from error
    return decode_profile(text, name=shown(str(path)))


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{shown(str(path))} cannot be read.",
        why=why,
        next_step="`devlink profile list` shows the known profiles.",
    )


def shown(text: str) -> str:
    """What a user typed, in a length and in characters that a message can carry."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return printable if len(printable) <= MAX_SHOWN else f"{printable[:MAX_SHOWN]}…"


def known_profiles() -> tuple[KnownProfile, ...]:
    """Every profile that `up` knows by its name: the files in the user's folder, and what clusters gave.

    A file goes before what a cluster gave under the same name.
    """
    files = in_folder()
    names = {known.name for known in files}
    given = (_given(kept) for kept in cache.by_name() if kept.name not in names)
    return tuple(sorted((*files, *given), key=lambda known: (known.name, known.path)))


def named(name: str, why: str = "") -> KnownProfile:
    """The profile of that name: the user's file, else what a cluster gave; of several clusters', what was fetched last.

    Raises UsageError where there is none or there are two files, and the error of a file that is broken. `why`: where
    the name comes from, if its user did not give it.
    """
    check_argument(name)
    files = [known for known in in_folder() if known.name == name]
    if len(files) > 1:
        places = ", ".join(str(known.path) for known in files)
        raise UsageError(
            f"Two profiles are named {name}.", why=f"They are in {places}.", next_step="Rename one, or give the path."
        )
    if files:
        return _usable(files[0])
    kept = cache.named(name)
    if kept is not None:
        return _given(kept)
    known = known_profiles()
    near = difflib.get_close_matches(name[:MAX_SHOWN], [candidate.name for candidate in known], 1)
    raise UsageError(
        f"There is no profile {shown(name)}.",
        why=" ".join(part for part in (why, f"Known: {_names(known)}." if known else "None is known.") if part),
        next_step=f"Did you mean {near[0]}?" if near else f"A file is named by its path, as in ./{shown(name)}.yaml.",
    )


def in_folder() -> tuple[KnownProfile, ...]:
    """Every profile in the user's folder, by name; broken ones too."""
    folder = config_folder() / "profiles"
    found = []
    for path in (*folder.glob("*.yaml"), *folder.glob("*.yml")):
        if not path.is_file():
            continue
        try:
            profile = read_profile(path)
        except (UsageError, ProfileError) as error:
            found.append(KnownProfile(path=path, name=path.stem, error=error))
        else:
            found.append(KnownProfile(path=path, name=profile.metadata.name, profile=profile))
    return tuple(sorted(found, key=lambda known: (known.name, known.path)))


def load(name_or_path: str) -> BridgeProfile:
    """The profile of that name in the folder, or in that file: what has a slash or ends in .yaml or .yml is a path.

    Raises UsageError where there is none or there are two, ProfileError where it is invalid.
    """
    if is_path(name_or_path):
        return read_profile(Path(name_or_path))
    return _opened(named(name_or_path))


def is_path(argument: str) -> bool:
    """Whether an argument means a file, not a profile's name."""
    return "/" in argument or argument.endswith((".yaml", ".yml"))


def default_profile() -> BridgeProfile:
    """What is meant where no profile is named and no cluster is asked. Raises UsageError.

    `default` of config.toml, else the only file, else, without files, the only one that a cluster gave.
    """
    default = configured_default()
    if default is not None:
        return _opened(default)
    for only in (in_folder(), tuple(map(_given, cache.every()))):
        if len(only) == 1:
            return _opened(only[0])
        if only:
            break
    known = known_profiles()
    if not known:
        raise UsageError(
            "There is no profile yet.",
            why=f"{config_folder() / 'profiles'} holds none, and no cluster gave one.",
            next_step="Fetch it from a cluster (`devlink profile fetch`), put a file there, or name one: "
            "`devlink up ./FILE.yaml`.",
        )
    raise UsageError(
        "Which profile?",
        why=f"{_names(known)} are known, and no default is set.",
        next_step=f'Name one, or write default = "{known[0].name}" into {config_folder() / "config.toml"}.',
    )


def choose(name_or_path: str) -> BridgeProfile:
    """What a command means by its argument: `load` it, or the default where it is empty."""
    return load(name_or_path) if name_or_path else default_profile()


def given_by(context: str) -> BridgeProfile:
    """What the cluster of that context gave last. Raises UsageError."""
    kept = cache.of_context(context)
    if kept is None:
        raise UsageError(
            f"No cluster of a context {shown(context)} has given a profile yet.",
            next_step=f"devlink profile fetch --context {shown(context)}",
        )
    return kept.profile


def check_argument(name_or_path: str | None) -> None:
    """Raise UsageError where an argument can mean neither a profile's name nor its file."""
    if name_or_path is None:
        return
    if not name_or_path.strip():
        raise UsageError(
            "The profile's name is empty.", next_step="Name a profile or a file, or leave it out for the default one."
        )
    if name_or_path in (".", "..", "-"):
        what = "The standard input" if name_or_path == "-" else f"The folder {name_or_path}"
        raise UsageError(
            f"{what} is no profile.", next_step="Name one that `devlink profile list` shows, or a file: ./FILE.yaml"
        )
    if len(name_or_path) > MAX_SHOWN and "/" not in name_or_path:
        raise UsageError(
            f"No profile has a name of {len(name_or_path)} characters: {shown(name_or_path)}",
            next_step="`devlink profile list` shows the known profiles.",
        )


def configured_default() -> KnownProfile | None:
    """What `default` of config.toml names, if it names one. Raises UsageError where either cannot be used."""
    name = read_config().default
    return named(name, why=f"It is the default in {config_folder() / 'config.toml'}.") if name is not None else None


def default_name(known: Iterable[KnownProfile]) -> str | None:
    """Which of the `known_profiles` a bare `up` means, as far as files say: `default` of config.toml, else the only
    file. Raises UsageError where config.toml cannot be used."""
    files = [one.name for one in known if one.origin is None]
    return read_config().default or (files[0] if len(files) == 1 else None)


def absolute(name_or_path: str | None) -> str:
    """An argument in a form that means the same to a process with another working directory; empty for none."""
    text = name_or_path or ""
    return str(Path(text).absolute()) if is_path(text) else text


def _names(known: Iterable[KnownProfile]) -> str:
    return ", ".join(dict.fromkeys(candidate.name for candidate in known))


def _given(kept: Kept) -> KnownProfile:
    return KnownProfile(path=cache.path_of(kept), name=kept.name, profile=kept.profile, kept=kept)


def _usable(known: KnownProfile) -> KnownProfile:
    if known.profile is None:
        assert known.error is not None
        raise known.error
    return known


def _opened(known: KnownProfile) -> BridgeProfile:
    profile = _usable(known).profile
    assert profile is not None
    return profile
