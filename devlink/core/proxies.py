"""Which proxy the environment has programs use for a URL, by curl's rules (curl(1), ENVIRONMENT; lib/noproxy.c). PURE.

Others read the same variables, and differ in little: Go and Python read HTTP_PROXY too, and curl before 7.86 knows no
prefixes in NO_PROXY.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from devlink.core.prefixes import IPAddress, IPNetwork

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
"""curl reads `http_proxy` in lower case only: in upper case it is, to a CGI program, what a client sent."""
EXCEPTIONS = ("no_proxy", "NO_PROXY")
"""curl and Python look at the first, Go at the second; each at the other where that is empty."""


class Proxy(NamedTuple):
    """A proxy that the environment names."""

    variable: str
    """As it is written there: `https_proxy`."""
    server: str
    """As `without_password` shows it."""


def proxy_for(host: str, scheme: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy that curl would ask for `scheme://host`, at whatever port; None where it asks the host itself.

    `host` is a name, or an address without brackets.
    """
    variable = next((name for name in _variables(scheme.lower()) if environ.get(name)), None)
    if variable is None or is_excepted(host, next((environ[name] for name in EXCEPTIONS if environ.get(name)), "")):
        return None
    return Proxy(variable, without_password(environ[variable]))


def _variables(scheme: str) -> tuple[str, ...]:
    """In the order in which they are looked at."""
    own = f"{scheme}_proxy"
    return (own, *((own.upper(),) if scheme != "http" else ()), "all_proxy", "ALL_PROXY")


def is_excepted(host: str, excepted: str) -> bool:
    """Whether a value of NO_PROXY means this host: `*`, or one of its entries a domain, an address or a prefix."""
    if excepted.strip() == "*":
        return True
    address = _address(host)
    if address is not None:
        return any(address in network for network in networks_of(excepted))
    name = host.lower().removesuffix(".")
    domains = (entry.lower().removeprefix(".").removesuffix(".") for entry in entries_of(excepted))
    return any(domain and (name == domain or name.endswith(f".{domain}")) for domain in domains)


def entries_of(excepted: str) -> list[str]:
    """What a value of NO_PROXY lists, between commas or blanks."""
    return [entry for entry in re.split(r"[,\s]+", excepted) if entry]


def networks_of(excepted: str) -> list[IPNetwork]:
    """The addresses and prefixes that a value of NO_PROXY lists."""
    found = []
    for entry in entries_of(excepted):
        try:
            found.append(ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False))
        except ValueError:
            pass  # a domain
    return found


def line_to_type(missing: Iterable[str], environ: Mapping[str, str]) -> str:
    """For a shell: `missing` excepted too, and nothing less than before by whichever of the two a program looks at."""
    present = [entry for name in reversed(EXCEPTIONS) for entry in entries_of(environ.get(name, ""))]
    wanted = ",".join(dict.fromkeys([*present, *missing]))
    return f'export NO_PROXY="{wanted}" no_proxy="{wanted}"'


def without_password(url: str) -> str:
    """A proxy's URL as it may be shown: whatever stands before an @ may be a credential, also with a / in it."""
    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)?(?:.*@)?([^/?#]*).*", r"\1\2", url, count=1, flags=re.DOTALL)


def _address(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
