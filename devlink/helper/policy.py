"""What the machine's owner lays down in /etc/devlink/policy.toml, and where the helper keeps its things."""

import ipaddress
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from devlink.core.codec import DecodeError, decode
from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.helper.client import SOCKET


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The helper's folders and sockets. Not configurable: a world that wants others brings its own root."""

    run: Path = Path(SOCKET).parent
    state: Path = Path("/var/lib/devlink")
    config: Path = Path("/etc/devlink")

    @property
    def socket(self) -> Path:
        return self.run / Path(SOCKET).name

    @property
    def lock(self) -> Path:
        """Held (flock(2)) by whoever may change the machine's network: the helper, or `helper restore`."""
        return self.run / "lock"

    @property
    def journal(self) -> Path:
        return self.state / "journal.json"

    @property
    def trust(self) -> Path:
        return self.state / "trust"

    @property
    def trust_config(self) -> Path:
        """Records that configuration management drops; only read."""
        return self.config / "trust.d"

    @property
    def policy(self) -> Path:
        return self.config / "policy.toml"


class TrustPolicy(StrEnum):
    """Who may bring a profile up."""

    RECORDS = "records"
    """Only what a trust record covers."""
    GROUP = "group"
    """For lab machines: also what stays in private space and below cluster.local, without a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings, each with its default."""

    lease_grace: float = 10.0
    """Seconds that a session outlives its agent."""
    trust: TrustPolicy = TrustPolicy.RECORDS
    group: str = "devlink"
    """Whose members may use the helper."""
    nameserver: IPAddress = field(default_factory=lambda: ipaddress.ip_address("127.0.0.231"))
    """Where the forwarder listens (port 53) in resolver modes that cannot split: loopback, and nobody else's habit."""

    def __post_init__(self) -> None:
        if not 0 <= self.lease_grace <= 3600:
            raise ValueError("lease_grace is a number of seconds from 0 to 3600")
        if not self.nameserver.is_loopback:
            raise ValueError("nameserver must be a loopback address")


def read_policy(path: Path) -> Policy:
    """The policy file, or the defaults where there is none. Raises HelperError with what is wrong in it."""
    try:
        return decode(Policy, tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return Policy()
    except (OSError, ValueError) as error:  # TOMLDecodeError, UnicodeDecodeError and DecodeError are ValueErrors
        faults = "; ".join(str(f) for f in error.faults) if isinstance(error, DecodeError) else str(error)
        raise HelperError(
            f"{path} cannot be used.", why=f"{faults}.", next_step="Correct the file, then restart the helper."
        ) from error
