"""Which URLs of a cluster programs would send to the environment's proxy: by curl's rules, the narrowest. Pure."""

from collections.abc import Mapping

from devlink.core.findings import Finding, Severity
from devlink.core.names import DomainName
from devlink.core.prefixes import Cover, collapse
from devlink.core.profile import BridgeProfile
from devlink.core.proxies import EXCEPTIONS, VARIABLES, is_excepted, line_to_type, networks_of, without_password
from devlink.core.text import listed


def proxies_of(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The variables that name a proxy, with their values."""
    return tuple((name, environ[name]) for name in VARIABLES if environ.get(name, "").strip())


def caught(profile: BridgeProfile, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What of the cluster goes to the proxy by one of the lists of exceptions: `.cluster.local`, `10.20.0.0/16`.

    Each as an entry of such a list that would keep it from there.
    """
    dns = profile.spec.dns
    names = (dns.domain, *map(DomainName.parse, dns.search or ())) if dns is not None else ()
    found: dict[str, None] = {}
    for excepted in [environ[name] for name in EXCEPTIONS if environ.get(name, "").strip()] or [""]:
        if excepted.strip() == "*":
            continue
        found |= dict.fromkeys(f".{name}" for name in names if not is_excepted(str(name), excepted))
        cover = Cover(networks_of(excepted))
        found |= dict.fromkeys(str(each) for each in collapse(profile.spec.prefixes) if cover.find(each) is None)
    return tuple(found)


def finding(caught: tuple[str, ...], environ: Mapping[str, str]) -> Finding:
    """A warning: with the proxies, and the exceptions that must be there."""
    shown = [f"{name}={without_password(value)}" for name, value in proxies_of(environ)]
    return Finding(
        code="DL-PROXY-CATCHES",
        severity=Severity.WARNING,
        title="Programs send URLs of the cluster to your proxy, which cannot reach it.",
        evidence=f"{listed(shown)}; no exception in NO_PROXY for {listed(caught)}",
        fix=f"{line_to_type(caught, environ)} (curl before 7.86 knows no prefixes there: use names)",
    )
