"""Asks web servers for no more than their first lines: plainly, by no proxy, without a credential, within a limit."""

import asyncio
import email.utils
import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from devlink.core.prefixes import IPAddress
from devlink.doctor.names.libc import look_up
from devlink.errors import DevlinkError

MAX_HEAD = 32768
"""Octets of a reply that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The beginning of what a server answered."""

    address: IPAddress
    """Who was asked."""
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name; of several of one name, the first."""

    @property
    def time(self) -> float | None:
        """Unix seconds by the server's clock (RFC 9110 section 6.6.1), with its age in a cache; None if not said."""
        try:
            date = email.utils.parsedate_to_datetime(self.headers["date"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            return None
        age = self.headers.get("age", "0")
        return date + (int(age) if age.isascii() and age.isdigit() and len(age) < 10 else 0)


def parse_head(address: IPAddress, data: bytes) -> Reply | None:
    """The head of an HTTP/1 reply; None for what is none. Pure."""
    lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not (words[1].isascii() and words[1].isdigit()):
        return None
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    return Reply(address=address, status=int(words[1]), headers=headers)


async def resolve(host: str, limit: float) -> tuple[IPAddress, ...]:
    """The addresses of a host as libc finds them, IPv4 first; none within `limit` seconds, or at all."""
    try:
        return (ipaddress.ip_address(host.strip("[]")),)
    except ValueError:
        pass
    try:
        found = await look_up(host, limit=limit)
    except DevlinkError:
        return ()
    return tuple(sorted(found.addresses, key=lambda address: (address.version, int(address))))


async def get(
    host: str, address: IPAddress, limit: float, *, port: int = 80, path: str = "/", tls: bool = False
) -> Reply | None:
    """What the server at `address` answers to `GET http://HOST/PATH`; None where nothing comes within `limit` seconds.

    With `tls` whoever answers is believed to be it: nothing that is said is secret, and nothing depends on it.
    """
    context = None
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(limit):
            name = host if tls else None
            reader, writer = await asyncio.open_connection(
                str(address), port, ssl=context, server_hostname=name, limit=MAX_HEAD
            )
            try:
                request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nCache-Control: no-cache\r\n"
                writer.write(f"{request}User-Agent: devlink\r\n\r\n".encode())
                data = await reader.readuntil(b"\r\n\r\n")
            finally:
                writer.transport.abort()
    except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):  # ssl's are OSErrors
        return None
    return parse_head(address, data)
