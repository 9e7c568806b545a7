"""Which profile `up` means, and its newest edition: a file, else what its cluster publishes, else what it gave last."""

import asyncio
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from devlink.agent import cache, profiles
from devlink.agent.cache import Kept, Origin
from devlink.agent.notes import broken, renamed, unasked, unproven
from devlink.agent.profiles import KnownProfile
from devlink.cluster.access import Access
from devlink.core.findings import Finding
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile
from devlink.errors import ClusterError, DevlinkError, ProfileError, UsageError, reason

if TYPE_CHECKING:  # an HTTP client takes long to import, and a file needs none
    from devlink.cluster.api import Api

PATIENCE = 20.0
"""Seconds for a cluster to give a profile that we do not have yet: longer than a program that signs in may take."""
PATIENCE_WITH_CACHE = 3.0
"""Seconds where we could do without: somebody waits for `up`."""
RESOLVE_LIMIT = 1.0
"""Seconds to find the addresses that must keep their way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtained:
    """A profile to bring up, and what to say of where it comes from."""

    profile: BridgeProfile
    origin: Origin | None = None
    """None for a file, which is as new as its user keeps it."""
    fetched: float = 0.0
    """Unix seconds; 0 for a file."""
    version: str = ""
    """The ConfigMap's resourceVersion: from where it is watched."""
    good: BridgeProfile | None = None
    """The edition that came up here last, where that is another one."""
    pins: tuple[IPAddress, ...] = ()
    """The API server's and the proxy's own addresses: they keep their way."""
    findings: tuple[Finding, ...] = ()
    is_copy: bool = False
    """The cluster did not give it at this moment."""
    is_checked: bool = True
    """Nobody else can have written it on its way."""


async def obtain(argument: str, context: str, environ: Mapping[str, str], *, keep: bool = True) -> Obtained:
    """The profile that `devlink up ARGUMENT` or `devlink up --context CONTEXT` means; both may be empty.

    `environ` is the user's: KUBECONFIG, proxies, and what programs that sign in need. What a cluster gives is kept for
    when its API is away, unless `keep` is False. Raises UsageError, ProfileError, ClusterError.
    """
    if context:
        return await from_cluster(context, environ, keep=keep)
    if argument:
        if profiles.is_path(argument):
            return await _from_file(argument)
        return await _known(await asyncio.to_thread(profiles.named, argument), environ, keep)
    default = await asyncio.to_thread(profiles.configured_default)
    if default is not None:
        return await _known(default, environ, keep)
    files = await asyncio.to_thread(profiles.in_folder)
    if len(files) == 1:
        return await _from_file("")
    try:
        return await from_cluster("", environ, keep=keep)
    except DevlinkError as error:
        if files:  # then the question is which one is meant
            return await _from_file("", besides=reason(error))
        if await asyncio.to_thread(_can_ask, environ):
            raise
        kept = await asyncio.to_thread(cache.every)
        if len(kept) == 1:
            return _from_cache(kept[0], error)
        return await _from_file("", besides=reason(error))


def _can_ask(environ: Mapping[str, str]) -> bool:
    """Whether some cluster is meant, however broken the way to it is; else the lack of a file is what to speak of."""
    from devlink.cluster.contexts import is_any_meant

    try:
        return is_any_meant(environ)
    except DevlinkError:
        return True


async def from_cluster(
    context: str, environ: Mapping[str, str], wanted: Kept | None = None, *, keep: bool = True
) -> Obtained:
    """What the cluster of `context` publishes (empty: the current one), else what it gave last.

    `wanted`: a copy that is asked for by its name, and whose server alone can renew it. Raises DevlinkError where
    neither can be had.
    """
    from devlink.cluster.contexts import choose_access

    kept = wanted or await asyncio.to_thread(_kept_for, context, environ)
    patience = _patience(kept)
    try:
        try:
            async with asyncio.timeout(patience) as limit:
                # A keyring may be locked, and wait for somebody who does not look.
                access = await asyncio.to_thread(choose_access, context or None, environ)
                if kept is None or kept.origin.server != access.server:
                    if wanted is not None:
                        raise _elsewhere(wanted, access)
                    kept = cache.of_server(access.server)  # many clusters' contexts have the same name
                    patience = _patience(kept)
                    limit.reschedule(asyncio.get_running_loop().time() + patience)
                return await fetch(access, environ, keep=keep)
        except TimeoutError:
            raise ClusterError(
                f"The cluster{f' of {context}' if context else ''} gave no profile within {patience:g} s.",
                why="Its API is slow or far away, or a keyring or a program that signs in waits.",
                next_step="Try again, or see: devlink profile fetch",
            ) from None
    except DevlinkError as error:
        if kept is None:
            raise
        return _from_cache(kept, error)


def _patience(kept: Kept | None) -> float:
    return PATIENCE if kept is None else PATIENCE_WITH_CACHE


def _elsewhere(kept: Kept, access: Access) -> ClusterError:
    return ClusterError(
        f"The context {access.name} leads to another server now.",
        why=f"Profile {kept.name} came from {kept.origin.server}, and this is {access.server}.",
        next_step=f"If it is the same cluster: devlink profile fetch --context {access.name}",
    )


def _kept_for(context: str, environ: Mapping[str, str]) -> Kept | None:
    from devlink.cluster.contexts import name_meant

    try:
        return cache.of_context(name_meant(context or None, environ))
    except DevlinkError:  # a broken kubeconfig: whoever opens it says so
        return cache.of_context(context)


async def fetch(access: Access, environ: Mapping[str, str], *, keep: bool = True) -> Obtained:
    """What the cluster of an Access publishes now; `keep` as of `obtain`. Raises ClusterError, ProfileError."""
    from devlink.cluster.api import Api

    async with Api(access, environ=environ) as api:
        return await fetched(api, keep=keep)


async def fetched(api: "Api", *, keep: bool = True) -> Obtained:
    """The same by an open Api."""
    from devlink.cluster import publishing

    published = await publishing.fetch(api)
    access = api.access
    origin = Origin(context=access.name, server=access.server)
    now = time.time()
    pins = await addresses_of(access.server, access.proxy)
    if published.insecure:
        return Obtained(
            profile=published.profile, origin=origin, fetched=now, version=published.resource_version, pins=pins,
            findings=(unproven(access.name, "the profile is not kept, its CA not believed"),), is_checked=False,
        )  # fmt: skip
    remember = cache.keep if keep else cache.as_kept
    kept = await asyncio.to_thread(remember, origin, published.profile, published.resource_version, now)
    return Obtained(
        profile=kept.profile, origin=origin, fetched=now, version=kept.version, good=kept.good, pins=pins
    )  # fmt: skip


async def _known(known: KnownProfile, environ: Mapping[str, str], keep: bool) -> Obtained:
    assert known.profile is not None
    if known.kept is None:
        return Obtained(profile=known.profile)
    obtained = await from_cluster(known.kept.origin.context, environ, known.kept, keep=keep)
    other = obtained.profile.metadata.name
    return obtained if other == known.name else replace(_copied(known.kept), findings=(renamed(known.name, other),))


async def _from_file(name_or_path: str, besides: str = "") -> Obtained:
    try:
        return Obtained(profile=await asyncio.to_thread(profiles.choose, name_or_path))
    except UsageError as error:
        if besides:
            error.why = f"{error.why} {besides}".strip()
        raise


def _from_cache(kept: Kept, error: DevlinkError) -> Obtained:
    finding = broken(error) if isinstance(error, ProfileError) else unasked(error)
    return replace(_copied(kept), findings=(finding,))


def _copied(kept: Kept) -> Obtained:
    return Obtained(
        profile=kept.profile, origin=kept.origin, fetched=kept.fetched, version=kept.version, good=kept.good,
        pins=_literal_addresses(kept.origin.server), is_copy=True,
    )  # fmt: skip


def _literal_addresses(*urls: str) -> tuple[IPAddress, ...]:
    found = []
    for url in urls:
        try:
            found.append(ipaddress.ip_address(urlsplit(url).hostname or ""))
        except ValueError:
            continue  # a name
    return tuple(found)


async def addresses_of(*urls: str) -> tuple[IPAddress, ...]:
    """The addresses behind these URLs' hosts; none for a name that does not resolve: then there is nothing to keep."""
    found = list(_literal_addresses(*urls))
    for url in urls:
        host = urlsplit(url).hostname
        if not host or _literal_addresses(url):
            continue
        try:
            async with asyncio.timeout(RESOLVE_LIMIT):
                answers = await asyncio.get_running_loop().getaddrinfo(host, None)
        except (OSError, TimeoutError, UnicodeError):
            continue
        found += [ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in answers]
    return tuple(dict.fromkeys(found))
