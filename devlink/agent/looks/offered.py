"""What can be brought up: the profiles that `up` knows by name, and the clusters that may publish one."""

import time
from collections.abc import Mapping
from typing import Any

from devlink.agent.profiles import KnownProfile, default_name, known_profiles
from devlink.core.text import printable
from devlink.errors import DevlinkError


def offered(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """As `io.devlink.Agent.ListProfiles` gives it; reads files. `environ`: the user's, for KUBECONFIG.

    A broken config.toml or kubeconfig hides no profile: whoever brings one up is told of it.
    """
    known, now = known_profiles(), time.time()
    try:
        default = default_name(known)
    except DevlinkError:
        default = None
    return {
        "profiles": [_shown(one, now) for one in known],
        "default": printable(default or ""),
        "contexts": [printable(name) for name in _contexts(environ)],
    }


def _shown(known: KnownProfile, now: float) -> Mapping[str, Any]:
    return {
        "name": printable(known.name),
        "file": printable(str(known.path)) if known.origin is None else "",
        "context": printable(known.origin.context) if known.origin is not None else "",
        "age": max(0, int(now - known.fetched)) if known.origin is not None else 0,
        "error": known.fault,
    }


def _contexts(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The current one first, then the kubeconfig's, then the logins; each once."""
    from devlink.cluster import kubeconfig, logins

    names: list[str] = []
    try:
        config = kubeconfig.read(environ)
        names += [name for name in (config.current, *config.contexts) if name in config.contexts]
    except DevlinkError:
        pass
    return tuple(dict.fromkeys((*names, *logins.names())))
