"""What is taken for an answer of the cluster's DNS, and by which of its servers it is asked for."""

import asyncio
import socket
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import pytest

from devlink.core.names import DomainName
from devlink.core.profile import ClusterDns, DnsServer
from devlink.dns import wire
from devlink.doctor.path.questions import ask_over_tcp, first_by_version, is_answer, numbered, question_for

DNS = ClusterDns(
    domain=DomainName.parse("cluster.local"),
    servers=tuple(DnsServer(address=ip_address(each)) for each in ("10.254.0.2", "fd00:254::2", "10.254.0.3")),
)


def reply_to(packet: bytes, code: dns.rcode.Rcode = dns.rcode.NOERROR) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(packet))
    reply.set_rcode(code)
    return reply.to_wire()


def test_it_asks_for_the_address_of_a_service_that_every_cluster_has_each_time_under_another_number() -> None:
    packets = [numbered(question_for(DNS)) for _ in range(20)]
    asked = dns.message.from_wire(packets[0])
    assert [str(each) for each in asked.question] == ["kubernetes.default.svc.cluster.local. IN A"]
    assert asked.flags & dns.flags.RD
    assert len({packet[:2] for packet in packets}) > 1
    assert {packet[2:] for packet in packets} == {packets[0][2:]}


@pytest.mark.parametrize("code", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_an_answer_is_one_whatever_it_says(code: dns.rcode.Rcode) -> None:
    packet = numbered(question_for(DNS))
    assert is_answer(reply_to(packet, code), packet)


def test_what_answers_another_question_or_none_is_no_answer() -> None:
    packet = numbered(question_for(DNS))
    reply = reply_to(packet)
    assert not is_answer(packet, packet), "the question itself, thrown back"
    assert not is_answer(bytes((reply[0] ^ 1, *reply[1:])), packet), "under another number"
    assert not is_answer(reply.replace(b"\7default", b"\7another"), packet), "to another name"
    for size in range(len(packet)):
        assert not is_answer(reply[:size], packet)


@pytest.mark.parametrize("before", ["", "another"])
@pytest.mark.parametrize("is_whole", [True, False])
def test_over_tcp_an_answer_comes_in_pieces_and_behind_another_or_the_stream_ends(before: str, is_whole: bool) -> None:
    async def body() -> bool:
        ours, theirs = socket.socketpair()
        packet = numbered(question_for(DNS))
        reply = wire.frame(reply_to(packet))
        said = (wire.frame(reply_to(b"??" + packet[2:])) if before else b"") + reply[: None if is_whole else -1]
        loop = asyncio.get_running_loop()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            asking = loop.create_task(ask_over_tcp(ours, packet))
            assert await loop.sock_recv(theirs, 1 << 16) == wire.frame(packet)
            for start in range(0, len(said), 7):
                await loop.sock_sendall(theirs, said[start : start + 7])
                await asyncio.sleep(0)
            theirs.shutdown(socket.SHUT_WR)
            return await asking

    assert asyncio.run(body()) is is_whole


def test_of_each_ip_version_the_first_server_is_asked() -> None:
    assert {version: str(server.address) for version, server in first_by_version(DNS.servers).items()} == {
        4: "10.254.0.2",
        6: "fd00:254::2",
    }
