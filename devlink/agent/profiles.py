"""The user's profiles: the files in the configuration folder, found by name or by path."""

import difflib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from devlink.core.profile import BridgeProfile
from devlink.core.profile_document import MAX_BYTES, decode_profile
from devlink.errors import DevlinkError, ProfileError, UsageError, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProfile:
    """One file in the folder of profiles."""

    path: Path
    name: str
    """`metadata.name`; the file's name without its ending where it is broken."""
    profile: BridgeProfile | None = None
    error: DevlinkError | None = None
    """Why `profile` is None."""


def config_folder() -> Path:
    """Where `config.toml` and `profiles/` are; it may not exist."""
    return Path(platformdirs.user_config_dir("devlink"))


def read_profile(path: Path) -> BridgeProfile:
    """The profile in one file. Raises UsageError where it cannot be read, ProfileError where it is invalid."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read.",
            why=f"{error.strerror or error}.",
            next_step="`devlink profile list` shows the known profiles.",
        ) from error
    return decode_profile(text, name=str(path))


def known_profiles() -> tuple[KnownProfile, ...]:
    """Every profile in the user's folder, by name; broken ones too."""
    folder = config_folder() / "profiles"
    found = []
    for path in (*folder.glob("*.yaml"), *folder.glob("*.yml")):
        if not path.is_file():  # a pipe of that name would hang us
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
    if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        return read_profile(Path(name_or_path))
    return _named(name_or_path, known_profiles())


def default_profile() -> BridgeProfile:
    """What a bare `devlink up` means: `default` of config.toml, else the only known profile. Raises UsageError."""
    known = known_profiles()
    name = configured_default()
    if name is not None:
        return _named(name, known, why=f"It is the default in {config_folder() / 'config.toml'}.")
    if len(known) == 1:
        return _opened(known[0])
    if not known:
        raise UsageError(
            "There is no profile yet.",
            why=f"{config_folder() / 'profiles'} holds none.",
            next_step="Put the cluster's profile there, or name its file: `devlink up ./FILE.yaml`.",
        )
    raise UsageError(
        "Which profile?",
        why=f"{_names(known)} are known, and no default is set.",
        next_step=f'Name one, or write default = "{known[0].name}" into {config_folder() / "config.toml"}.',
    )


def choose(name_or_path: str) -> BridgeProfile:
    """What a command means by its argument: `load` it, or the default where it is empty."""
    return load(name_or_path) if name_or_path else default_profile()


def absolute(name_or_path: str | None) -> str:
    """An argument in a form that means the same to a process with another working directory; empty for none."""
    text = name_or_path or ""
    return str(Path(text).absolute()) if "/" in text or text.endswith((".yaml", ".yml")) else text


def configured_default() -> str | None:
    """`default` of config.toml, if there is such a file and it says so. Raises UsageError where it cannot be used."""
    path = config_folder() / "config.toml"
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"{path} cannot be read.", why=reason(error), next_step="Correct the file.") from error
    name = config.get("default")
    if name is not None and not isinstance(name, str):
        raise UsageError(f"{path}: default is no text.", next_step='Write it as in default = "qa".')
    return name


def _named(name: str, known: tuple[KnownProfile, ...], why: str = "") -> BridgeProfile:
    found = [candidate for candidate in known if candidate.name == name]
    if len(found) == 1:
        return _opened(found[0])
    if found:
        files = ", ".join(str(candidate.path) for candidate in found)
        raise UsageError(
            f"Two profiles are named {name}.", why=f"They are in {files}.", next_step="Rename one, or give the path."
        )
    near = difflib.get_close_matches(name, [candidate.name for candidate in known], 1)
    raise UsageError(
        f"There is no profile {name}.",
        why=" ".join(part for part in (why, f"Known: {_names(known)}." if known else "None is known.") if part),
        next_step=f"Did you mean {near[0]}?" if near else f"A file is named by its path, as in ./{name}.yaml.",
    )


def _names(known: Iterable[KnownProfile]) -> str:
    return ", ".join(dict.fromkeys(candidate.name for candidate in known))


def _opened(known: KnownProfile) -> BridgeProfile:
    if known.profile is None:
        assert known.error is not None
        raise known.error
    return known.profile
