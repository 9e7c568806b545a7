"""Which proxy leads to an API: the kubeconfig's, else the environment's by Go's rules (x/net/http/httpproxy)."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from devlink.cluster.access import Access
from devlink.errors import UsageError

PORTS = {"http": 80, "https": 443}


def proxy_for(access: Access, environ: Mapping[str, str]) -> str:
    """The proxy's URL, or empty. Raises UsageError for one of the environment that is no URL."""
    if access.proxy:
        return access.proxy
    parts = urlsplit(access.server)
    name = f"{parts.scheme.upper()}_PROXY"
    proxy = environ.get(name) or environ.get(name.lower()) or ""
    excluded = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    if not proxy or not _uses_proxy(parts.hostname or "", parts.port or PORTS.get(parts.scheme, 443), excluded):
        return ""
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        usable = bool(urlsplit(proxy).hostname) and urlsplit(proxy).port != 0
    except ValueError:
        usable = False
    if not usable:  # its text may hold a password
        raise UsageError(f"{name} is no URL of a proxy.", next_step=f"As in: {name}=http://proxy.example.com:3128")
    return proxy


def _uses_proxy(host: str, port: int, excluded: str) -> bool:
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return False
    return not any(_excludes(entry.strip().lower(), host.lower(), address, port) for entry in excluded.split(","))


def _excludes(
    entry: str, host: str, address: "ipaddress.IPv4Address | ipaddress.IPv6Address | None", port: int
) -> bool:
    """Whether one entry of NO_PROXY means this host: `*`, a prefix, an address or a domain, the latter with a port."""
    if not entry:
        return False
    if entry == "*":
        return True
    if "/" in entry:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
        return address is not None and address.version == network.version and address in network
    if _address(entry) is None:
        name, colon, number = entry.rpartition(":")
        if colon and number.isdigit():
            if int(number) != port:
                return False
            entry = name
    entry = entry.strip("[]")
    wanted = _address(entry)
    if wanted is not None:
        return wanted == address
    suffix = entry.removeprefix("*")
    if suffix.startswith("."):
        return host.endswith(suffix)
    return host == suffix or host.endswith(f".{suffix}")


def _address(text: str) -> "ipaddress.IPv4Address | ipaddress.IPv6Address | None":
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
