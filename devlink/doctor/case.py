"""What is known before anything is looked at: whom it is about, and what agent and helper say. Nothing is asked."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from devlink.core.findings import Finding
from devlink.core.plan import Plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile
from devlink.core.relay import RelayChain
from devlink.errors import DevlinkError

Resolve = Callable[[str, IPAddress, int], Awaitable[RelayChain]]
"""Where a connection of that session to an address and a port would end. Raises DevlinkError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One profile that is examined: a session's, or the one that `up` would bring up."""

    profile: BridgeProfile
    plan: Plan | None = None
    """What the session wants, else what `up` would want here; None where that cannot be planned, see `obstacle`."""
    obstacle: DevlinkError | None = None
    """Why there is no plan."""
    session: Mapping[str, Any] | None = None
    """As `io.devlink.Agent.Status` shows it; None where nothing is up."""
    origin: str = ""
    """Where the profile comes from, in words: `from the cluster of context qa, 3 min ago`."""
    fetched: float = 0.0
    """Unix seconds when its cluster gave it; 0 for a file."""
    notes: tuple[Finding, ...] = ()
    """What is to be said of where it comes from. Of a session that is up they are among its findings."""

    @property
    def name(self) -> str:
        return self.profile.metadata.name

    @property
    def is_installed(self) -> bool:
        """Whether its routes and names are to be on this laptop now."""
        return self.session is not None and self.session["state"] in ("up", "degraded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What another process of devlink says: one of `told` and `error`, or neither where it does not run."""

    told: Mapping[str, Any] | None = None
    """The agent's `AgentStatus`; the helper's reply to `List`."""
    version: str = ""
    error: DevlinkError | None = None
    """Why it says nothing."""
    is_understood: bool = False
    """Of another version, it has an interface that includes this version's: they work together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What doctor begins with."""

    agent: Part = field(default_factory=Part)
    helper: Part = field(default_factory=Part)
    subjects: tuple[Subject, ...] = ()
    """Each session; where nothing is up, what `up` would mean; nobody where that is not known, see `obstacle`."""
    obstacle: DevlinkError | None = None
    """Why no profile could be had."""
    asked: str = ""
    """The profile or context that the user named; empty where it is whatever is up, or the default."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """The user's: proxies, KUBECONFIG, PATH, HOME."""
    uid: int = 0
    now: float = 0.0
    """Unix seconds."""
    resolve: Resolve | None = None
    """Asks the relay of a session; None where nobody can."""

    @property
    def resolver(self) -> str:
        """The resolver mode in force; empty where none is, or the helper does not say."""
        return str((self.helper.told or {}).get("resolver") or "")

    @property
    def is_up(self) -> bool:
        """Whether anything of a session is to be on this laptop now."""
        return any(subject.is_installed for subject in self.subjects)
