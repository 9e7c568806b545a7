"""What `devlink explain` shows: the links from what was asked to the data that come back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devlink.core.codec import encode
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


def tree(chain: Chain) -> Mapping[str, Any]:
    """For programs, as `explain -o json` and the agent's `Explain` give it: each link, and the findings."""
    target = chain.target
    return {
        "asked": {"text": target.text, "scheme": target.scheme, "host": target.host, "port": target.port},
        "whole": chain.is_whole,
        "links": [
            {
                "link": link.name,
                "about": link.about,
                "outcome": outcome(link),
                "seen": link.text,
                "finding": link.finding.code if link.finding is not None else None,
            }
            for link in chain.links
        ],
        "findings": [encode(finding) for finding in chain.findings],
    }


def outcome(link: Link) -> str:
    """`ok`, `info`, `warning`, `error`; `skipped` where it was not looked at, or what was seen proves nothing."""
    if link.finding is not None:
        return link.finding.severity.value
    return "ok" if link.is_known else "skipped"
