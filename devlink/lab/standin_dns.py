"""A small authoritative DNS server with the answers that CoreDNS' `file` plugin gives from the same zones."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import cast

import dnslib

from devlink.core.prefixes import IPAddress
from devlink.lab.spec import Record
from devlink.lab.zones import ZoneData

PLAIN_UDP = 512
"""Octets that a UDP answer may have when the query has no OPT record (RFC 1035 section 4.2.1)."""
MAX_CHAIN = 8
Log = Callable[[str], None]


class Zones:
    """Answers from zone data: no I/O. Names are compared without case; owners come as the zone has them."""

    def __init__(self, zones: Iterable[ZoneData]) -> None:
        self._soa: dict[tuple[bytes, ...], dnslib.RR] = {}
        self._records: dict[tuple[bytes, ...], list[dnslib.RR]] = {}
        self._existing: set[tuple[bytes, ...]] = set()
        for zone in zones:
            origin = _key(dnslib.DNSLabel(str(zone.origin)))
            for record in zone.records:
                rr = _parse(record)
                key = _key(rr.rname)
                if record.type == "SOA":
                    self._soa[origin] = rr
                self._records.setdefault(key, []).append(rr)
                # A name between a record's and the zone's exists, without records of its own (RFC 4592 section 2.2.2).
                self._existing |= {key[i:] for i in range(len(key) - len(origin) + 1)}

    def answer(self, query: dnslib.DNSRecord) -> dnslib.DNSRecord:
        """The reply to one query, not yet cut to a size."""
        reply = dnslib.DNSRecord(
            dnslib.DNSHeader(id=query.header.id, qr=1, aa=1, rd=query.header.rd, ra=0), q=query.q
        )  # fmt: skip
        if any(rr.rtype == dnslib.QTYPE.OPT for rr in query.ar):
            reply.add_ar(dnslib.EDNS0(udp_len=4096))
        if query.header.opcode != dnslib.OPCODE.QUERY or len(query.questions) != 1:
            reply.header.aa = 0
            reply.header.rcode = dnslib.RCODE.NOTIMP
            return reply
        name = _key(query.q.qname)
        soa = self._zone_of(name)
        if soa is None:
            reply.header.aa = 0
            reply.header.rcode = dnslib.RCODE.REFUSED
            return reply
        found = self._follow(name, query.q.qtype)
        for rr in found:
            reply.add_answer(rr)
        for rr in self._additional(found):
            reply.add_ar(rr)
        if not found:
            reply.add_auth(soa)
            if name not in self._existing:
                reply.header.rcode = dnslib.RCODE.NXDOMAIN
        return reply

    def _zone_of(self, name: tuple[bytes, ...]) -> dnslib.RR | None:
        for start in range(len(name) + 1):
            if name[start:] in self._soa:
                return self._soa[name[start:]]
        return None

    def _follow(self, name: tuple[bytes, ...], qtype: int) -> list[dnslib.RR]:
        """The records of a name and type, and the CNAMEs on the way to them as far as our zones go."""
        found: list[dnslib.RR] = []
        for _ in range(MAX_CHAIN):
            here = self._records.get(name, [])
            aliases = [rr for rr in here if rr.rtype == dnslib.QTYPE.CNAME]
            if not aliases or qtype == dnslib.QTYPE.CNAME:
                return found + [rr for rr in here if qtype in (rr.rtype, dnslib.QTYPE.ANY)]
            found.append(aliases[0])
            name = _key(aliases[0].rdata.label)
        return found

    def _additional(self, found: list[dnslib.RR]) -> list[dnslib.RR]:
        """The addresses of what SRV and MX records point at."""
        targets = [rr.rdata.target for rr in found if rr.rtype == dnslib.QTYPE.SRV]
        targets += [rr.rdata.label for rr in found if rr.rtype == dnslib.QTYPE.MX]
        addresses = (dnslib.QTYPE.A, dnslib.QTYPE.AAAA)
        return [rr for t in targets for rr in self._records.get(_key(t), []) if rr.rtype in addresses]


def _key(label: dnslib.DNSLabel) -> tuple[bytes, ...]:
    return tuple(part.lower() for part in label.label)


def _parse(record: Record) -> dnslib.RR:
    (rr,) = dnslib.RR.fromZone(str(record))
    return rr


def respond(zones: Zones, data: bytes, *, limit: int | None, note: Callable[[str], None]) -> bytes | None:
    """The reply to a message in wire form, or None for what is no query. `limit` is None over TCP."""
    try:
        query = dnslib.DNSRecord.parse(data)
        if query.header.qr or not query.questions:
            return None
    except Exception:
        # dnslib raises of all kinds on bytes that are no message; a server drops them and lives on.
        return None
    note(f"{query.q.qname} {dnslib.QTYPE.get(query.q.qtype)}")
    reply = zones.answer(query)
    packed = bytes(reply.pack())
    if limit is not None:
        advertised = [rr.rclass for rr in query.ar if rr.rtype == dnslib.QTYPE.OPT]
        if len(packed) > max([limit, *advertised]):
            return bytes(reply.truncate().pack())
    return packed


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zones: Zones, log: Log) -> None:
        self._zones = zones
        self._log = log

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own class for this does not derive from DatagramTransport before Python 3.12.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = respond(self._zones, data, limit=PLAIN_UDP, note=lambda text: self._log(f"udp {addr[0]} {text}"))
        if reply is not None:
            self._transport.sendto(reply, addr)


def bind(addresses: Iterable[IPAddress], port: int = 53) -> tuple[list[socket.socket], list[socket.socket]]:
    """UDP and TCP sockets on each address: one each, so that a reply leaves from the address that was asked."""
    udp, tcp = [], []
    for address in addresses:
        family = socket.AF_INET6 if isinstance(address, ipaddress.IPv6Address) else socket.AF_INET
        datagram = socket.socket(family, socket.SOCK_DGRAM)
        datagram.bind((str(address), port))
        udp.append(datagram)
        stream = socket.create_server((str(address), port), family=family, backlog=128)
        tcp.append(stream)
    return udp, tcp


async def serve(zones: Zones, udp: list[socket.socket], tcp: list[socket.socket], log: Log) -> None:
    """Answer until cancelled."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0]
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                data = await reader.readexactly(size)
                reply = respond(zones, data, limit=None, note=lambda text: log(f"tcp {peer} {text}"))
                if reply is not None:
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    transports = [(await loop.create_datagram_endpoint(lambda: _Datagrams(zones, log), sock=s))[0] for s in udp]
    servers = [await asyncio.start_server(connection, sock=sock) for sock in tcp]
    try:
        await asyncio.gather(*(server.serve_forever() for server in servers))
    finally:
        for transport in transports:
            transport.close()
