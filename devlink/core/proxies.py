"""Which proxy the environment has programs use for a URL, by curl's rules (curl(1), ENVIRONMENT; lib/noproxy.c). PURE.

Others read the same variables, and differ in little: Go and Python read HTTP_PROXY too, and curl before 7.86 knows no
prefixes in NO_PROXY.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from devlink.core.prefixes import IPAddress


class Proxy(NamedTuple):
    """A proxy that the environment names."""

    variable: str
    """As it is written there: `https_proxy`."""
    server: str
    """HOST or HOST:PORT. Never what signs in to it."""


def proxy_for(host: str, scheme: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy that curl would ask for `scheme://host`, at whatever port; None where it asks the host itself.

    `host` is a name, or an address without brackets.
    """
    variable = next((name for name in _variables(scheme.lower()) if environ.get(name)), None)
    if variable is None or is_excepted(host, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    return Proxy(variable, _server(environ[variable]))


def _variables(scheme: str) -> tuple[str, ...]:
    """In the order in which they are looked at. HTTP_PROXY is none: to a CGI program it is what a client sent."""
    own = f"{scheme}_proxy"
    return (own, *((own.upper(),) if scheme != "http" else ()), "all_proxy", "ALL_PROXY")


def is_excepted(host: str, excepted: str) -> bool:
    """Whether a value of NO_PROXY means this host: `*`, or one of its entries a domain, an address or a prefix."""
    if excepted.strip() == "*":
        return True
    address = _address(host)
    name = host.lower().removesuffix(".")
    return any(
        _holds(entry, address) if address is not None else _is_at_or_below(name, entry)
        for entry in re.split(r"[,\s]+", excepted.lower())
        if entry
    )


def _is_at_or_below(name: str, entry: str) -> bool:
    domain = entry.removeprefix(".").removesuffix(".")
    return bool(domain) and (name == domain or name.endswith(f".{domain}"))


def _holds(entry: str, address: IPAddress) -> bool:
    try:
        return address in ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return False


def _address(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _server(url: str) -> str:
    """Where the proxy is, without its password; empty for what is no URL."""
    try:
        return urlsplit(url if "://" in url else f"http://{url}").netloc.rpartition("@")[2]
    except ValueError:
        return ""
