"""What publishing again owes to what is published: people's wishes stay, and no fact gets worse unseen. PURE."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devlink.cluster.discovery import Discovery, Wishes
from devlink.cluster.discovery.facts import CUT
from devlink.cluster.discovery.gateways import GIVEN
from devlink.cluster.discovery.pods import NARROWED
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, Transport
from devlink.core.text import listed
from devlink.errors import ClusterError, UsageError

_OBJECT = re.compile(r"(?<![\w./-])(?!configmaps/)([a-z]+)(?:\.[a-z0-9.-]+)?/\S+")
"""An object in a source: its resource, its group and its name. Of ConfigMaps the name says what they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a person gives with a command; None and empty for what is left open."""

    name: str | None = None
    namespaces: tuple[str, ...] = ()
    all_namespaces: bool = False
    """Of all, whatever was published."""
    search: tuple[str, ...] = ()
    no_search: bool = False
    """None, whatever was published."""
    transport: Transport | None = None
    gateways: tuple[IPAddress, ...] = ()


def label(context: str) -> str:
    """A DNS label of a context's name: of `kubernetes-admin@qa` the cluster's part, of an ARN its last one."""
    last = re.split("[@/]", context)[-1] or context
    return re.sub("[^a-z0-9]+", "-", last.lower()).strip("-")[:63].strip("-") or "cluster"


def wishes_of(given: Given, published: BridgeProfile | None, *, name: str | None, revision: str) -> Wishes:
    """What is given; else what the published profile of that name was given; else the defaults.

    `name`: for a first profile that nobody named; None where there is nothing to make one of. Raises UsageError.
    """
    if given.namespaces and given.all_namespaces:
        raise UsageError("--namespace and --all-namespaces exclude each other.", next_step="Leave one of them out.")
    if given.search and given.no_search:
        raise UsageError("--search and --no-search exclude each other.", next_step="Leave one of them out.")
    if published is not None and given.name not in (None, published.metadata.name):
        published = None  # another profile
    called = given.name or (published.metadata.name if published is not None else name)
    if called is None:
        raise UsageError(
            "What is the profile to be called?",
            why="A pod does not know its cluster's name, and nothing is published yet.",
            next_step="Name it: --name NAME",
        )
    gateways = given.gateways
    if published is not None and not gateways and published.provenance.get("gateways") == GIVEN:
        gateways = tuple(each.address for each in published.spec.gateways or ())
    dns = published.spec.dns if published is not None else None
    return Wishes(
        name=called,
        revision=revision,
        namespaces=given.namespaces or (dns.namespaces if dns and not given.all_namespaces else None),
        search=given.search or (dns.search if dns and not given.no_search else None),
        transport=given.transport or (dns.servers[0].transport if dns else Transport.AUTO),
        gateways=gateways,
    )


def check_not_worse(found: Discovery, published: BridgeProfile) -> None:
    """Raises ClusterError where `found` says something else only because not everything could be read.

    After a failure that passes, any change waits. What this account is refused it never sees: then a fact may change
    while the same kind of source tells it, as nodes come and go; one that is new, lost, or told by another may not.
    """
    profile = found.profile
    unread = [each for each in found.unread if each.status != 404]
    if profile is None or not unread or profile.metadata.name != published.metadata.name:
        return
    passing = any(each.status is None or each.status == 429 or each.status >= 500 for each in unread)
    before, after = _facts(published), _facts(profile)
    # What a person gave does not come from the API.
    changed = [key for key in after if before[key] != after[key] and profile.provenance.get(key) != GIVEN]
    worse = [key for key in changed if passing or not _is_told_alike(key, published, profile)]
    if not worse:
        return
    rights = "; ".join(dict.fromkeys(each.right for each in unread))
    step = f"Try again; it takes: {rights}." if passing else f"Let the account: {rights}."
    raise ClusterError(
        f"Nothing was published: what was found differs from what is published ({', '.join(worse)}), and not "
        "everything could be read.",
        why=f"Not read: {listed(f'{each.path} ({each.status or each.why})' for each in unread)}.",
        next_step=f"{step} See what would change: devlink profile diff. To publish it all the same: --overwrite",
    )


def _is_told_alike(key: str, before: BridgeProfile, after: BridgeProfile) -> bool:
    """Whether both say this, by the same kind of source."""
    if _facts(before)[key] is None or _facts(after)[key] is None:
        return False
    return _kind(before.provenance.get(key, "")) == _kind(after.provenance.get(key, ""))


def _kind(source: str) -> frozenset[str]:
    """A source without the names and numbers of objects: `ippools.crd.projectcalico.org/old` and `.../new` are one."""
    parts = source.removesuffix(NARROWED).removesuffix(CUT).split(", ")
    return frozenset(re.sub(r"\d+", "N", _OBJECT.sub(r"\1", part)) for part in parts)


def _facts(profile: BridgeProfile) -> Mapping[str, Any]:
    """What the API said, by the keys of `provenance`; None where it is left out.

    Not the pods of the DNS, which are others after each restart: they shall hold nothing up.
    """
    spec = profile.spec
    return {
        "pods": spec.pods,
        "services": spec.services,
        "gateways": spec.gateways,
        "nodes": spec.nodes,
        "mtu": spec.mtu,
        "dns.domain": spec.dns and spec.dns.domain,
        "dns.servers": spec.dns and tuple(each.address for each in spec.dns.servers),
        "identity.ca": spec.identity and spec.identity.ca,
    }
