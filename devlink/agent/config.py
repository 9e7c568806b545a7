"""The user's configuration folder, and what `config.toml` in it says."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from devlink.core.codec import DecodeError, decode
from devlink.core.overrides import check_choices, parse_exclude, parse_override
from devlink.core.prefixes import IPNetwork, collapse
from devlink.core.profile import BridgeProfile, RoutingMode
from devlink.core.relay import RelayOptions
from devlink.errors import UsageError, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileConfig:
    """The table `[profiles.NAME]`: what holds at each `up` of that profile."""

    exclude: tuple[str, ...] = ()
    """Prefixes that get no route, as `devlink up --exclude` takes them."""
    override: tuple[str, ...] = ()
    """Prefixes whose routes win over others', as `devlink up --override` takes them."""

    routing: RoutingMode | None = None
    """Who carries the packets, as `devlink up --routing` takes it; else as the profile says."""
    relay_undeclared_ports: bool = False
    """Where it is relayed: ports too that neither a Service nor a containerPort declares."""
    relay_host_network: bool = False
    """Where it is relayed: pods in their node's own network too, of which the node's loopback is reached."""
    relay_containers: tuple[str, ...] = ()
    """Where it is relayed: bridges of this laptop, such as docker0, whose containers are let in."""

    def __post_init__(self) -> None:
        try:
            parse_exclude(self.exclude)
            parse_override(self.override)
        except UsageError as error:
            raise ValueError(error.what.removeprefix("--").removesuffix(".")) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What `config.toml` may say."""

    default: str | None = None
    """The profile that a bare `devlink up` means."""
    refresh_spread: float = 60.0
    """Seconds over which laptops fetch a newer profile of their cluster, each at a moment drawn by chance."""
    notifications: bool = True
    """Whether the desktop, where there is one, is told when a session degrades or is back."""
    profiles: Mapping[str, ProfileConfig] = field(default_factory=dict)
    """By the profile's name."""


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


def choices(
    profile: BridgeProfile, exclude: Iterable[str] = (), override: Iterable[str] = ()
) -> tuple[tuple[IPNetwork, ...], tuple[IPNetwork, ...]]:
    """What of a profile gets no route, and what shall win over others: as given now, and as config.toml says.

    Raises UsageError for what is no prefix, or none of the profile's.
    """
    kept = read_config().profiles.get(profile.metadata.name, ProfileConfig())
    excluded = collapse([*parse_exclude(exclude), *parse_exclude(kept.exclude)])
    overridden = parse_override([*override, *kept.override])
    check_choices(profile, excluded, overridden)
    return excluded, overridden


def routing_choices(
    name: str, routing: RoutingMode | None = None, relay: RelayOptions | None = None
) -> tuple[RoutingMode | None, RelayOptions]:
    """Who shall carry the packets of that profile, where it is not as that says, and what may be relayed: as given now,
    and as config.toml says. Raises UsageError."""
    kept, given = read_config().profiles.get(name, ProfileConfig()), relay or RelayOptions()
    return routing or kept.routing, RelayOptions(
        undeclared_ports=given.undeclared_ports or kept.relay_undeclared_ports,
        host_network=given.host_network or kept.relay_host_network,
        containers=tuple(dict.fromkeys((*given.containers, *kept.relay_containers))),
    )
