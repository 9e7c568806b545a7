"""The user's configuration folder, and what `config.toml` in it says."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from devlink.core.codec import DecodeError, decode
from devlink.errors import UsageError, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What `config.toml` may say."""

    default: str | None = None
    """The profile that a bare `devlink up` means."""
    refresh_spread: float = 60.0
    """Seconds over which laptops fetch a newer profile of their cluster, each at a moment drawn by chance."""


def config_folder() -> Path:
    """Where `config.toml` and `profiles/` are; it may not exist."""
    return Path(platformdirs.user_config_dir("devlink"))


def read_config() -> Config:
    """config.toml, or what holds without it. Raises UsageError where it cannot be used."""
    path = config_folder() / "config.toml"
    try:
        return decode(Config, tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Config()
    except DecodeError as error:
        faults = "; ".join(map(str, error.faults))
        raise UsageError(f"{path} cannot be used.", why=f"{faults}.", next_step="Correct the file.") from error
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"{path} cannot be read.", why=reason(error), next_step="Correct the file.") from error
