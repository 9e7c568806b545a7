"""The profiles that clusters published, as they were fetched last: what `up` lives by while an API is away."""

import hashlib
import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from devlink.core.codec import decode, encode
from devlink.core.profile import BridgeProfile
from devlink.errors import reason
from devlink.private_files import write_private

log = logging.getLogger(__name__)

MAX_BYTES = 16 * 1024 * 1024
"""Octets of one file: two profiles of the greatest size as JSON."""
TOLERANCE = 86400.0
"""Seconds by which a clock may have been set back since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose words a profile is."""

    context: str
    """The kubeconfig's context, or the login."""
    server: str
    """The API's URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The last profile that one API gave."""

    origin: Origin
    fetched: float
    """Unix seconds."""
    version: str = ""
    """The ConfigMap's resourceVersion."""
    profile: BridgeProfile
    good: BridgeProfile | None = None
    """The last one that came up here and was verified, where that is another."""

    @property
    def name(self) -> str:
        return self.profile.metadata.name

    @property
    def last_good(self) -> BridgeProfile:
        return self.good or self.profile


def keep(origin: Origin, profile: BridgeProfile, version: str, now: float) -> Kept:
    """Note what an API gave at Unix time `now`. One that came up before stays beside it until this one has."""
    kept = as_kept(origin, profile, version, now)
    _write(kept)
    return kept


def as_kept(origin: Origin, profile: BridgeProfile, version: str, now: float) -> Kept:
    """What `keep` would note; nothing is noted."""
    before = of_server(origin.server)
    good = None
    if before is not None and before.last_good != profile:
        good = before.last_good
    return Kept(origin=origin, fetched=now, version=version, profile=profile, good=good)


def note_good(origin: Origin, profile: BridgeProfile) -> None:
    """`profile` came up and was verified."""
    kept = of_server(origin.server)
    if kept is not None and kept.profile == profile and kept.good is not None:
        _write(replace(kept, good=None))


def of_server(server: str) -> Kept | None:
    """What that API gave last."""
    return _read(_path(server))


def of_context(context: str) -> Kept | None:
    """What the cluster of that context gave; of several servers', what was fetched last."""
    found = (kept for kept in every() if kept.origin.context == context)
    return max(found, key=lambda kept: kept.fetched, default=None)


def named(name: str) -> Kept | None:
    """The profile of that name; of several clusters', the one that was fetched last."""
    return max((kept for kept in by_name() if kept.name == name), key=lambda kept: kept.fetched, default=None)


def by_name() -> tuple[Kept, ...]:
    """All that has a name here, by name: what is kept, and the last good one of a profile that was renamed since.

    The latter is what came up here last under a name that no cluster has any more.
    """
    kept = every()
    names = {each.name for each in kept}
    renamed = (
        replace(each, profile=each.good, good=None)
        for each in kept
        if each.good is not None and each.good.metadata.name not in names
    )
    return tuple(sorted((*kept, *renamed), key=lambda kept: (kept.name, kept.origin.context)))


def every() -> tuple[Kept, ...]:
    """All that is kept, by name."""
    found = (_read(path) for path in sorted(_folder().glob("*.json")))
    return tuple(
        sorted((kept for kept in found if kept is not None), key=lambda kept: (kept.name, kept.origin.context))
    )


def path_of(kept: Kept) -> Path:
    """The file in which it is."""
    return _path(kept.origin.server)


def _folder() -> Path:
    return Path(platformdirs.user_cache_dir("devlink")) / "profiles"


def _path(server: str) -> Path:
    return _folder() / f"{hashlib.sha256(server.encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> Kept | None:
    try:
        with path.open("rb") as file:
            kept = decode(Kept, json.loads(file.read(MAX_BYTES)))
        if not 0 <= kept.fetched <= time.time() + TOLERANCE:  # what is not finite, neither
            raise ValueError("it was fetched at no time that can be")
        return kept
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:  # a DecodeError is a ValueError
        log.warning("%s is damaged, and no help: %s", path, reason(error)[:300])
        return None


def _write(kept: Kept) -> None:
    path = path_of(kept)
    try:
        write_private(path, json.dumps(encode(kept)))
    except OSError as error:  # no reason to do without the profile now
        log.warning("the profile of %s cannot be kept for when its API is away: %s", kept.origin.context, error)
