"""Which URLs of a cluster programs would send to the environment's proxy: by curl's rules, the narrowest. Pure."""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.prefixes import Cover, IPNetwork, collapse
from devlink.core.profile import BridgeProfile
from devlink.core.text import listed

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""curl reads `http_proxy` in lower case only (curl(1), ENVIRONMENT); Go and Python read it in both."""
EXCEPTIONS = ("no_proxy", "NO_PROXY")
"""curl and Python look at the first, Go at the second; each at the other where that is empty."""


def proxies_of(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The variables that name a proxy, with their values."""
    return tuple((name, environ[name]) for name in VARIABLES if environ.get(name, "").strip())


def caught(profile: BridgeProfile, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What of the cluster goes to the proxy by one of the lists of exceptions: `.cluster.local`, `10.20.0.0/16`.

    Each as an entry of such a list that would keep it from there.
    """
    lists = [environ[name] for name in EXCEPTIONS if environ.get(name, "").strip()] or [""]
    dns = profile.spec.dns
    names = (dns.domain, *map(DomainName.parse, dns.search or ())) if dns is not None else ()
    found: dict[str, None] = {}
    for text in lists:
        entries = [entry.lower() for entry in re.split(r"[,\s]+", text) if entry]
        if "*" in entries:
            continue
        found |= dict.fromkeys(f".{name}" for name in names if not any(_holds(entry, name) for entry in entries))
        cover = Cover(network for entry in entries if (network := _network(entry)) is not None)
        prefixes = collapse(profile.spec.prefixes)
        found |= dict.fromkeys(str(prefix) for prefix in prefixes if cover.find(prefix) is None)
    return tuple(found)


def _holds(entry: str, name: DomainName) -> bool:
    """Whether an entry means all names below `name`: it is that name or one above it, with or without the first dot."""
    try:
        return name.is_within(DomainName.parse(entry.removeprefix(".")))
    except ValueError:
        return False


def _network(entry: str) -> IPNetwork | None:
    try:
        return ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None


def finding(caught: tuple[str, ...], environ: Mapping[str, str]) -> Finding:
    """A warning: with the proxies, and the exceptions that must be there."""
    shown = [f"{name}={_without_password(value)}" for name, value in proxies_of(environ)]
    present = next((environ[name] for name in reversed(EXCEPTIONS) if environ.get(name, "").strip()), "")
    wanted = ",".join([*filter(None, re.split(r"[,\s]+", present)), *caught])
    return Finding(
        code="DL-PROXY-CATCHES",
        severity=Severity.WARNING,
        title="Programs send URLs of the cluster to your proxy, which cannot reach it.",
        evidence=f"{listed(shown)}; no exception in NO_PROXY for {listed(caught)}",
        fix=f'export NO_PROXY="{wanted}" no_proxy="{wanted}" (curl before 7.86 knows no prefixes there: use names)',
    )


def _without_password(url: str) -> str:
    """A proxy's URL as it may be shown; whatever stands before an @ may be a credential."""
    try:
        host = urlsplit(url if "://" in url else f"//{url}").netloc.rpartition("@")[2]
    except ValueError:
        return "..."
    scheme = url.partition("://")[0] + "://" if "://" in url else ""
    return f"{scheme}{host}"
