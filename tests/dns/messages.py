"""Questions, answers and configurations for the forwarder's tests, made with dnslib as an independent hand."""

from ipaddress import ip_address

import dnslib

from devlink.core.names import DomainName
from devlink.core.plan import ForwarderConfig, ProofRecord, Upstream, Zone
from devlink.core.profile import Transport

CLUSTER = "10.254.0.2"
ORDINARY, ORDINARY_TWO = "192.0.2.1", "192.0.2.2"


def name(text: str) -> DomainName:
    return DomainName.parse(text)


def question(
    qname: str, qtype: str = "A", *, ident: int = 0x1234, payload: int | None = None, do: bool = False
) -> bytes:
    """A question as a stub resolver sends it; with OPT if `payload` is given."""
    record = dnslib.DNSRecord(
        dnslib.DNSHeader(id=ident, rd=1), q=dnslib.DNSQuestion(qname, getattr(dnslib.QTYPE, qtype))
    )
    if payload is not None:
        record.add_ar(dnslib.EDNS0(flags="do" if do else "", udp_len=payload))
    return bytes(record.pack())


def answer(asked: bytes, *addresses: str, rcode: int = 0, tc: bool = False) -> bytes:
    """What a server answers to the packet `asked`."""
    record = dnslib.DNSRecord.parse(asked).reply(ra=1, aa=0)
    record.header.rcode = rcode
    record.header.tc = tc
    for address in addresses:
        rdata = dnslib.AAAA(address) if ":" in address else dnslib.A(address)
        rtype = dnslib.QTYPE.AAAA if ":" in address else dnslib.QTYPE.A
        record.add_answer(dnslib.RR(record.q.qname, rtype, rdata=rdata, ttl=5))
    return bytes(record.pack())


def with_id(packet: bytes, ident: bytes) -> bytes:
    """The packet under another id (two octets)."""
    return ident + packet[2:]


def parse(packet: bytes) -> dnslib.DNSRecord:
    return dnslib.DNSRecord.parse(packet)


def extended_error(packet: bytes) -> int | None:
    """The info code of RFC 8914 in a reply."""
    for record in parse(packet).ar:
        if record.rtype == dnslib.QTYPE.OPT:
            for option in record.rdata:
                if option.code == 15:
                    return int.from_bytes(bytes(option.data)[:2], "big")
    return None


def frame(message: bytes) -> bytes:
    """A message as it goes over TCP (RFC 1035 section 4.2.2)."""
    return len(message).to_bytes(2, "big") + message


class Unframer:
    """Cuts what comes over TCP into messages; not the forwarder's own, so that one is not wrong as the other is."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now."""
        self._data += data
        messages = []
        while len(self._data) >= 2 and len(self._data) >= (end := 2 + int.from_bytes(self._data[:2], "big")):
            messages.append(self._data[2:end])
            self._data = self._data[end:]
        return messages


def upstream(address: str, *, port: int = 53, transport: Transport = Transport.AUTO) -> Upstream:
    return Upstream(address=ip_address(address), port=port, transport=transport)


def zone(suffix: str, *servers: str, namespaces: tuple[str, ...] | None = None) -> Zone:
    return Zone(suffix=name(suffix), servers=tuple(upstream(s) for s in servers or (CLUSTER,)), namespaces=namespaces)


SPLIT = ForwarderConfig(
    zones=(zone("cluster.local"), zone("254.10.in-addr.arpa")),
    upstreams=(upstream(ORDINARY), upstream(ORDINARY_TWO)),
    proofs=(ProofRecord(name=name("proof.devlink.example"), address=ip_address("127.0.0.77")),),
)
"""One cluster and two ordinary servers."""
