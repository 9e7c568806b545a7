"""What `devlink explain` shows: the links from what was asked to the data that come back."""

from dataclasses import dataclass

from devlink.core.explain import Target
from devlink.core.findings import Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link of the chain."""

    name: str
    """One or two words: `next hop`."""
    text: str
    """One line for a person, also where all is well."""
    about: str = ""
    """The address, of those links that there is one of for each."""
    finding: Finding | None = None
    """What is wrong; then the link is broken."""
    is_known: bool = True
    """False where it was not looked at, or where what was seen proves nothing."""

    @property
    def is_broken(self) -> bool:
        return self.finding is not None and self.finding.severity is Severity.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """All that was seen on the way, in its order."""

    target: Target
    links: tuple[Link, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Each once."""
        return tuple(dict.fromkeys(link.finding for link in self.links if link.finding is not None))

    @property
    def is_whole(self) -> bool:
        return not any(link.is_broken for link in self.links)
