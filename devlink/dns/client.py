"""A small blocking DNS client for diagnosis: one question, one server, and what exactly came back."""

import json
import os
import re
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Literal

from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress
from devlink.core.text import printable
from devlink.dns import replies, wire

_TRACE = {"zone": str, "source": str, "server": str | None, "transport": str | None, "ms": int | float, "reason": str}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server said."""

    rcode: str
    """By name: NOERROR, NXDOMAIN, SERVFAIL, REFUSED; a number where it has none."""
    addresses: tuple[IPAddress, ...] = ()
    """Of the A and AAAA records in the answer section, whatever name they have (a CNAME may lead there)."""
    records: tuple[str, ...] = ()
    """The answer section as text, one record each, in the form of a zone file."""
    is_nodata: bool = False
    """The name is there, and has no record of the type (RFC 2308 section 2.2)."""
    authoritative: bool = False
    truncated: bool = False
    """The server says that there is more over TCP."""
    extended_errors: tuple[tuple[int, str], ...] = ()
    """Info codes and texts of RFC 8914, each text printable: whoever answers may write what they like."""
    took: float = 0.0
    """Seconds from the question to the answer, a connection's making included."""
    trace: Mapping[str, Any] | None = None
    """What our forwarder says of it, if it was asked: `zone`, `source`, `server`, `transport`, `ms` and `reason`."""


def ask(
    server: IPAddress,
    name: DomainName,
    qtype: str,
    *,
    port: int = 53,
    transport: Literal["udp", "tcp"] = "udp",
    trace: bool = False,
    timeout: float,
) -> Answer:
    """Ask once, with OPT; `timeout` in seconds is for the whole of it. `trace`: have our forwarder tell how it went.

    A failure that the server reports is an Answer. Raises TimeoutError when it stays silent, OSError when it cannot be
    reached or breaks off, and ValueError for a type that does not exist.
    """
    import dnslib  # 20 ms that only a diagnosis shall pay

    number = _type_number(dnslib, qtype)
    question = name.wire + number.to_bytes(2, "big") + wire.IN.to_bytes(2, "big")
    opt = wire.opt_record(0, wire.option(wire.TRACE_OPTION, b"") if trace else b"")
    packet = os.urandom(2) + bytes((1, 0, 0, 1, 0, 0, 0, 0, 0, 1)) + question + opt
    end = wire.HEADER + len(question)
    exchange = _over_tcp if transport == "tcp" else _over_udp
    began = time.monotonic()
    reply = exchange((str(server), port), packet, end, began + timeout)
    return _read(dnslib, reply, number, time.monotonic() - began)


def _type_number(dnslib: Any, qtype: str) -> int:
    number = dnslib.QTYPE.reverse.get(qtype)
    if number is None and (generic := re.fullmatch("TYPE([0-9]{1,5})", qtype)):  # RFC 3597 section 5
        number = int(generic[1])
    if not isinstance(number, int) or not 0 < number < 1 << 16:
        raise ValueError(f"{qtype!r} is no DNS record type")
    return number


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the server did not answer in time")
    return left


def _family(server: tuple[str, int]) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server[0] else socket.AF_INET


def _over_udp(server: tuple[str, int], packet: bytes, end: int, deadline: float) -> bytes:
    with socket.socket(_family(server), socket.SOCK_DGRAM) as sock:
        sock.connect(server)
        sock.send(packet)
        while True:
            sock.settimeout(_left(deadline))
            reply = sock.recv(wire.MAX_MESSAGE)
            if reply[:2] == packet[:2] and replies.is_reply_to(reply, packet[2:], end):
                return reply


def _over_tcp(server: tuple[str, int], packet: bytes, end: int, deadline: float) -> bytes:
    with socket.socket(_family(server), socket.SOCK_STREAM) as sock:
        sock.settimeout(_left(deadline))
        sock.connect(server)
        sock.sendall(wire.frame(packet))
        reader = wire.StreamReader()
        while True:
            sock.settimeout(_left(deadline))
            data = sock.recv(1 << 16)
            if not data:
                raise ConnectionResetError("the server closed the connection without an answer")
            reader.feed(data)
            while (reply := reader.take()) is not None:
                if reply[:2] == packet[:2] and replies.is_reply_to(reply, packet[2:], end):
                    return reply


def _read(dnslib: Any, reply: bytes, qtype: int, took: float) -> Answer:
    try:
        buffer = dnslib.dns.DNSBuffer(reply)
        header = dnslib.DNSHeader.parse(buffer)
        for _ in range(header.q):
            dnslib.DNSQuestion.parse(buffer)
        answers, _, additional = (
            [_record(dnslib, buffer) for _ in range(n)] for n in (header.a, header.auth, header.ar)
        )
    except Exception as error:  # dnslib lets whatever its parsers trip over out, struct.error and UnicodeError too
        raise ConnectionError("its answer cannot be read") from error
    addresses = [ip_address(str(rr.rdata)) for rr in answers if isinstance(rr.rdata, dnslib.A | dnslib.AAAA)]
    options = [option for rr in additional if rr.rtype == wire.OPT for option in rr.rdata]
    errors = [bytes(option.data) for option in options if option.code == wire.EDE_OPTION and len(option.data) >= 2]
    traces = [bytes(option.data) for option in options if option.code == wire.TRACE_OPTION]
    # the upper eight bits of an rcode are in OPT (RFC 6891 section 6.1.3)
    rcode = header.rcode | sum(rr.ttl >> 24 << 4 for rr in additional if rr.rtype == wire.OPT)
    return Answer(
        rcode=str(dnslib.RCODE.get(rcode)),
        addresses=tuple(addresses),
        records=tuple(_escaped(str(rr)) for rr in answers),
        is_nodata=rcode == 0 and not any(qtype in (rr.rtype, wire.ANY) for rr in answers),
        authoritative=bool(header.aa),
        truncated=bool(header.tc),
        extended_errors=tuple((int.from_bytes(e[:2], "big"), _text(e[2:])) for e in errors),
        took=took,
        trace=_read_trace(traces[0]) if traces else None,
    )


def _record(dnslib: Any, buffer: Any) -> Any:
    """The next one; one whose data is not what its type has, with these as they are (RFC 3597 section 5)."""
    start = buffer.offset
    name = buffer.decode_name()
    rtype, rclass, ttl, length = buffer.unpack("!HHIH")
    data = buffer.get(length)
    end = buffer.offset
    with suppress(Exception):  # whatever its parsers trip over
        buffer.offset = start
        record = dnslib.RR.parse(buffer)
        str(record)  # some find out only now
        if buffer.offset == end:
            return record
    buffer.offset = end
    return dnslib.RR(name, rtype, rclass, ttl, [] if rtype == wire.OPT else dnslib.RD(data))


def _escaped(record: str) -> str:
    """As a zone file has what cannot be printed: the number of each octet (RFC 1035 section 5.1)."""
    return "".join(
        character
        if character.isprintable()
        else "".join(f"\\{octet:03}" for octet in character.encode(errors="replace"))
        for character in record
    )


def _text(octets: bytes) -> str:
    """What somebody wrote for people, in one line that does nothing to a terminal."""
    return printable(octets.decode(errors="replace"))


def _read_trace(data: bytes) -> Mapping[str, Any] | None:
    try:
        trace = json.loads(data)
    except ValueError:
        return None
    if isinstance(trace, dict) and all(isinstance(trace.get(key), kind) for key, kind in _TRACE.items()):
        return trace
    return None
