"""What the process outside asks the world's first process to build."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from devlink.lab.spec import WorldSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What a real control plane is started with, made anew for each world."""

    ca: str
    """The cluster's CA, PEM: what the API server's certificate is signed by."""
    ca_key: str = field(repr=False)
    """For the certificates of users, which a test has made."""
    certificate: str
    """The API server's, PEM."""
    key: str = field(repr=False)
    service_account_key: str = field(repr=False)
    """Signs the tokens of service accounts."""
    tokens: Mapping[str, str] = field(repr=False)
    """The bearer token of each user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A world, and what its builder cannot find out inside."""

    spec: WorldSpec
    keep: tuple[str, ...] = ()
    """Paths that must stay reachable in every host's root."""
    coredns: str | None = None
    """The program for the cluster's DNS; None for the stand-in."""
    bird: str | None = None
    """The program, where a host speaks BGP."""
    kit: str = ""
    """The folder of the kit's programs, where the parts are real."""
    secrets: Secrets | None = None
    """There where the parts are real."""
