"""What is said at `up` where names outside the cluster get no answer, and that it is never more than a warning."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import dnslib
import pytest

from devlink.core.findings import Finding, Severity
from devlink.doctor.names import ordinary
from devlink.doctor.names.ordinary import check_ordinary
from tests.dns.forwarder_process import FakeServer
from tests.dns.messages import parse

APPLIED = {"nameserver": "127.0.0.1", "upstreams": [{"address": "192.0.2.53"}]}
Check = Callable[..., tuple[Finding, ...]]


def failure(asked: bytes, rcode: int, *texts: str) -> list[bytes]:
    message = dnslib.DNSRecord.parse(asked).reply()
    message.header.rcode = rcode
    errors = [dnslib.EDNSOption(15, b"\0\x17" + text.encode()) for text in texts]
    message.add_ar(dnslib.EDNS0(opts=errors))
    return [bytes(message.pack())]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Check:
    """What is found beside a forwarder that answers as the test says."""
    monkeypatch.setattr(ordinary, "LIMIT", 0.3)

    def run(respond: Callable[[bytes], list[bytes]], applied: Any = APPLIED) -> tuple[Finding, ...]:
        with FakeServer(respond=respond) as server:
            monkeypatch.setattr(ordinary, "PORT", server.port)
            found = asyncio.run(check_ordinary(applied))
        run.asked = [parse(packet).q for _, packet, _ in server.asked]  # type: ignore[attr-defined]
        return found

    return run


@pytest.mark.parametrize("rcode", [0, 3, 5])
def test_an_answer_of_any_server_is_good_enough(check: Check, rcode: int) -> None:
    assert check(lambda asked: failure(asked, rcode)) == ()
    (question,) = check.asked  # type: ignore[attr-defined]
    assert (str(question.qname), dnslib.QTYPE.get(question.qtype)) == ("example.com.", "SOA")


def test_a_failure_is_a_warning_with_the_forwarders_reason(check: Check) -> None:
    texts = ("9.9.9.9: the certificate is not valid for dns.example", "", "\x1b[2J")
    (finding,) = check(lambda asked: failure(asked, 2, *texts))
    assert (finding.code, finding.severity) == ("DL-DNS-ORDINARY", Severity.WARNING)
    assert finding.evidence == "example.com: SERVFAIL, 9.9.9.9: the certificate is not valid for dns.example; ?[2J."
    assert "devlink dns stats" in finding.fix


def test_silence_is_a_warning_after_a_while(check: Check) -> None:
    (finding,) = check(lambda _: [])
    assert (finding.severity, finding.evidence) == (Severity.WARNING, "No answer for example.com within 0.3 s.")


def test_nobody_there_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(ordinary, "PORT", closed.getsockname()[1])
    (finding,) = asyncio.run(check_ordinary(APPLIED))
    assert finding.evidence == "No answer for example.com: Connection refused."


@pytest.mark.parametrize(
    "applied",
    [
        {"nameserver": None, "upstreams": [{"address": "192.0.2.53"}]},
        {"upstreams": [{"address": "192.0.2.53"}]},
        {"nameserver": "127.0.0.1", "upstreams": []},
    ],
)
def test_nothing_is_asked_where_no_names_are_served_or_nobody_could_tell(check: Check, applied: Any) -> None:
    assert check(lambda asked: failure(asked, 2), applied) == ()
    assert check.asked == []  # type: ignore[attr-defined]
