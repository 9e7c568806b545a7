"""The proof through libc, with a real getent and a nameserver of this test."""

import ipaddress
import socket
import threading
from pathlib import Path

import pytest
from dnslib import AAAA, QTYPE, RR, A, DNSRecord

from devlink.core.names import DomainName
from devlink.errors import VerificationError
from devlink.resolvers.proof import prove
from tests.kernel.private_network import in_private_network, ip, make_links, mount_empty

NAME = DomainName.parse("proof-1.svc.cluster.local")
V4, V6 = ipaddress.ip_address("192.0.2.53"), ipaddress.ip_address("2001:db8::53")
SERVER = "127.0.0.54"


class Nameserver:
    """Answers NAME on UDP; keeps the names that it was asked for."""

    def __init__(self, families: tuple[int, ...] = (QTYPE.A, QTYPE.AAAA)) -> None:
        self._families = families
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((SERVER, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            data, client = self._socket.recvfrom(512)
            query = DNSRecord.parse(data)
            self.asked.append(str(query.q.qname))
            reply = query.reply()
            if query.q.qname == f"{NAME}.":
                if query.q.qtype not in self._families:
                    self._socket.sendto(bytes(reply.pack()), client)
                    continue
                record = A(str(V4)) if query.q.qtype == QTYPE.A else AAAA(str(V6))
                reply.add_answer(RR(query.q.qname, query.q.qtype, rdata=record, ttl=1))
            else:
                reply.header.rcode = 3
            self._socket.sendto(bytes(reply.pack()), client)


def make_etc(hosts: str = "dns") -> None:
    mount_empty("/etc")
    Path("/etc/nsswitch.conf").write_text(f"passwd: files\nhosts: {hosts}\n")
    Path("/etc/resolv.conf").write_text(f"nameserver {SERVER}\nsearch corp.example\noptions timeout:1 attempts:1\n")
    make_links()


@pytest.mark.lab
def test_a_service_is_asked_alone_whatever_the_machines_own_order_is() -> None:
    def body() -> None:
        make_etc(hosts="files")
        Nameserver()
        with pytest.raises(VerificationError):
            prove(NAME, V4, 10.0)
        prove(NAME, V4, 10.0, service="dns")

    in_private_network(body)


@pytest.mark.lab
def test_a_name_that_the_nameserver_answers_is_proved_in_both_families() -> None:
    def body() -> None:
        make_etc()
        Nameserver()
        prove(NAME, V4, 10.0)
        prove(NAME, V6, 10.0)

    in_private_network(body)


@pytest.mark.lab
def test_a_machine_without_an_address_of_the_family_proves_it_too() -> None:
    def body() -> None:
        make_etc()
        ip("address", "flush", "dev", "v0")
        ip("-6", "address", "flush", "dev", "v1")
        Nameserver(families=(QTYPE.A,))
        prove(NAME, V4, 10.0)

    in_private_network(body)


@pytest.mark.lab
def test_another_answer_or_none_is_refused_with_what_was_seen() -> None:
    def body() -> None:
        make_etc()
        server = Nameserver()
        with pytest.raises(VerificationError) as caught:
            prove(NAME, ipaddress.ip_address("192.0.2.99"), 10.0)
        for evidence in (str(V4), "192.0.2.99", f"nameserver {SERVER}", "hosts: dns"):
            assert evidence in caught.value.why
        with pytest.raises(VerificationError, match="found nothing"):
            prove(DomainName.parse("other.svc.cluster.local"), V4, 10.0)
        assert not any("corp.example" in name for name in server.asked)

    in_private_network(body)


@pytest.mark.lab
def test_where_libc_does_not_ask_dns_the_hosts_line_is_the_evidence() -> None:
    def body() -> None:
        make_etc(hosts="files")
        server = Nameserver()
        with pytest.raises(VerificationError, match="hosts: files"):
            prove(NAME, V4, 10.0)
        assert not server.asked

    in_private_network(body)


@pytest.mark.lab
def test_a_nameserver_that_is_silent_costs_no_more_than_the_limit() -> None:
    def body() -> None:
        make_etc()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((SERVER, 53))
            with pytest.raises(VerificationError, match=r"within 0\.2 s"):
                prove(NAME, V4, 0.2)

    in_private_network(body)


def test_without_getent_the_error_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VerificationError, match="libc-bin"):
        prove(NAME, V4, 10.0)
