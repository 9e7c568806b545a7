"""What the forwarder is told: the sessions' zones, what the policy wants, and who is asked for all other names."""

import logging
from collections.abc import Iterable
from pathlib import Path

from devlink.core.names import reverse_prefix
from devlink.core.plan import ForwarderConfig, ProofRecord, Upstream, Zone
from devlink.core.prefixes import IPAddress, IPNetwork, collapse
from devlink.errors import HelperError, reason
from devlink.helper.policy import DnsPolicy, Policy

log = logging.getLogger(__name__)

SYSTEM_CA = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where distributions keep the certificates that they trust: Debian and Arch, Fedora, openSUSE, Alpine."""
MAX_CA = 2 << 20
"""Octets. The distributions' bundles have a fifth of it."""


def ordinary_upstreams(policy: Policy, system: Iterable[Upstream]) -> tuple[Upstream, ...]:
    """Who is asked for ordinary names: whom the policy names, else the operating system's; never the forwarder."""
    named = policy.dns.upstreams
    chosen = system if named is None else (each.upstream for each in named)
    return tuple(dict.fromkeys(upstream for upstream in chosen if upstream.address != policy.nameserver))


def protected_ways(policy: Policy, system: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
    """The servers whose way no session may take: the policy's, and those on which the system depends without us."""
    named = (each.address for each in policy.dns.upstreams or ())
    return tuple(dict.fromkeys((*named, *system)))


def forwarder_config(
    policy: Policy,
    *,
    zones: tuple[Zone, ...],
    networks: Iterable[IPNetwork],
    upstreams: tuple[Upstream, ...],
    proofs: tuple[ProofRecord, ...],
    tls_ca: str,
) -> ForwarderConfig:
    """`networks`: where the sessions' routes lead; what their reverse zones cover is protected from rebinding too."""
    private: tuple[IPNetwork, ...] = ()
    if policy.dns.rebinding_protection:
        reverse = (reverse_prefix(zone.suffix) for zone in zones)
        private = collapse([*networks, *(prefix for prefix in reverse if prefix is not None)])
    return ForwarderConfig(
        zones=zones,
        upstreams=upstreams,
        proofs=proofs,
        tls_ca=tls_ca,
        case_randomization=policy.dns.case_randomization,
        private=private,
        cache_bytes=policy.dns.cache_bytes,
    )


class Certificates:
    """Those that vouch for upstreams over TLS, as they were when they could last be read."""

    def __init__(self, dns: DnsPolicy) -> None:
        self._dns = dns
        self._text = ""

    def read(self) -> str:
        """PEM; nothing where no upstream is asked over TLS. Raises HelperError where they never could be read."""
        if not any(named.tls_name for named in self._dns.upstreams or ()):
            return ""
        try:
            self._text = _read(self._dns.tls_ca)
        except HelperError as error:
            if not self._text:
                raise
            log.warning("going on with the certificates from before: %s", error)
        return self._text


def _read(path: str) -> str:
    places = [path] if path else list(SYSTEM_CA)
    for place in places:
        try:
            with Path(place).open("rb") as file:
                content = file.read(MAX_CA + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _unusable(place, reason(error)) from error
        if len(content) > MAX_CA:
            raise _unusable(place, f"It has more than {MAX_CA >> 20} MiB.")
        text = content.decode("ascii", errors="ignore")  # PEM is ASCII; comments in a bundle need not be
        if "-----BEGIN CERTIFICATE-----" not in text:
            raise _unusable(place, "There is no certificate in it (PEM).")
        return text
    raise _unusable(" or ".join(places), "There is no such file.")


def _unusable(place: str, why: str) -> HelperError:
    return HelperError(
        f"The certificates for DNS over TLS cannot be used: {place}.",
        why=why,
        next_step="Name a file with tls_ca in policy.toml ([dns]), or install the package ca-certificates; "
        "then restart the helper.",
    )
