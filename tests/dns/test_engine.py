"""What becomes of a question: who is asked, what of the reply comes back, who shares it, what new rules do to it."""

from dataclasses import replace
from ipaddress import ip_network

import dns.flags
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devlink.core.plan import ForwarderConfig
from devlink.core.profile import Transport
from devlink.dns.servers import BUDGET
from devlink.dns.wire import Ede
from tests.dns.messages import CLUSTER, ORDINARY, SPLIT, upstream, zone
from tests.dns.moved_engine import (
    EDE_OPTION,
    WEB,
    WWW,
    Bench,
    Client,
    data_of,
    edns_of,
    extended_error,
    parse,
    query,
    respond,
    ttls_of,
)

COOKIE, ECS, NSID = 10, 8, 3
GOOD = "@ 300 A 192.0.2.80"
RECORDS = {
    "A": ["@ 300 A 192.0.2.80", "@ 300 A 192.0.2.81"],
    "AAAA": ["@ 300 AAAA 2001:db8::80"],
    "CNAME": ["@ 300 CNAME a.target.example."],
    "MX": ["@ 300 MX 10 mail.www.example."],
    "SRV": ["@ 300 SRV 0 5 443 a.www.example."],
    "TXT": ['@ 300 TXT "one" "two"'],
    "HTTPS": ["@ 300 HTTPS 1 . alpn=h2"],
    "TYPE65280": ["@ 300 TYPE65280 \\# 3 c00cff"],
    "ANY": ["@ 300 A 192.0.2.80", "@ 300 MX 10 mail.www.example."],
}


def test_a_question_goes_out_in_plain_lower_case_and_comes_back_in_the_clients_own_letters() -> None:
    bench = Bench()
    packet = query("WeB.default.svc.CLUSTER.local", ident=0xBEEF)
    client = bench.ask(packet)
    (asked,) = bench.asked
    assert (asked.server, asked.transport, asked.qname) == (CLUSTER, "udp", WEB + ".")
    bench.serve("@ 300 A 10.20.0.1")
    assert bench.only_answer[:2] == packet[:2]
    assert bench.only_answer[12 : len(packet)] == packet[12:]
    assert data_of(bench.only_answer) == ["10.20.0.1"]
    assert bench.answers[0].client is client
    assert bench.quiet


@pytest.mark.parametrize("payload", [None, 1232])
@pytest.mark.parametrize("qtype", list(RECORDS))
def test_records_of_every_type_are_carried_intact(qtype: str, payload: int | None) -> None:
    bench = Bench()
    bench.query(WWW, qtype, payload=payload)
    sections = {"authority": ["www.example. 60 NS ns.www.example."], "additional": ["ns.www.example. 60 A 192.0.2.9"]}
    reply = respond(bench.asked[0].packet, *RECORDS[qtype], **sections)  # type: ignore[arg-type]
    bench.reply(bench.asked[0], reply)
    sent, wanted = parse(bench.only_answer), parse(reply)
    assert (sent.answer, sent.authority, sent.additional) == (wanted.answer, wanted.authority, wanted.additional)
    assert ttls_of(bench.only_answer) == ttls_of(reply)
    assert sent.edns == (-1 if payload is None else 0)


def test_an_answer_says_that_recursion_is_available_also_where_the_server_has_none() -> None:
    """CoreDNS says it has none. A negative answer without AA and RA passes for a lame referral (glibc, Go)."""
    bench = Bench()
    bench.query(WWW, "AAAA")
    soa = "example. 30 SOA ns.example. admin.example. 1 2 3 4 30"
    reply = bytearray(respond(bench.asked[0].packet, authority=[soa], aa=True))
    reply[3] &= ~dns.flags.RA
    bench.reply(bench.asked[0], bytes(reply))
    bench.query(WWW, "AAAA")
    assert [bool(parse(answer.packet).flags & dns.flags.RA) for answer in bench.answers] == [True, True]


@pytest.mark.parametrize("flag", [dns.flags.AA, dns.flags.AD, dns.flags.CD])
def test_flags_of_a_fresh_answer_are_the_servers(flag: int) -> None:
    for is_set in (False, True):
        bench = Bench()
        bench.ask(query(WWW, flags=dns.flags.RD | (flag if flag == dns.flags.CD and is_set else 0)))
        reply = bytearray(respond(bench.asked[0].packet, "@ 300 A 192.0.2.80"))
        octets = int.from_bytes(reply[2:4], "big") & ~flag | (flag if is_set else 0)
        reply[2:4] = octets.to_bytes(2, "big")
        bench.reply(bench.asked[0], bytes(reply))
        assert bool(parse(bench.only_answer).flags & flag) is is_set


@pytest.mark.parametrize("rcode", [0, 3])
def test_nodata_and_nxdomain_of_the_cluster_stay_what_they_are(rcode: int) -> None:
    bench = Bench()
    bench.query(WEB, "AAAA")
    soa = "cluster.local. 5 SOA ns.cluster.local. host.cluster.local. 1 2 3 4 5"
    bench.serve(asked=bench.asked[0], rcode=rcode, authority=[soa] if rcode else [])
    assert parse(bench.only_answer).rcode() == rcode
    assert not data_of(bench.only_answer)
    assert len(parse(bench.only_answer).authority) == bool(rcode)
    assert bench.quiet


@pytest.mark.parametrize("flags", [dns.flags.RD, 0, dns.flags.RD | dns.flags.AD, dns.flags.RD | dns.flags.CD])
@pytest.mark.parametrize("do", [None, False, True])
def test_the_server_gets_our_own_opt_and_the_clients_flags(flags: int, do: bool | None) -> None:
    options = [(COOKIE, b"12345678"), (ECS, b"\0\1\x18\0\xc0\0\2"), (NSID, b"")]
    bench = Bench()
    bench.ask(query(WWW, payload=None if do is None else 4000, do=bool(do), flags=int(flags), options=options))
    asked = parse(bench.asked[0].packet)
    assert (asked.flags, asked.edns, asked.payload, asked.options) == (int(flags), 0, 1232, ())
    assert bool(asked.ednsflags & dns.flags.DO) is bool(do)


@pytest.mark.parametrize("do", [None, False, True])
def test_opt_is_hop_by_hop_but_extended_errors_are_passed_on(do: bool | None) -> None:
    bench = Bench()
    theirs = [(COOKIE, b"12345678abcdefgh"), (EDE_OPTION, b"\0\x06bogus"), (ECS, b"\0\1\x18\x18\xc0\0\2")]
    for _ in range(2):  # fresh, then from the cache
        bench.ask(query(WWW, payload=None if do is None else 4000, do=bool(do), options=[(COOKIE, b"12345678")]))
        if bench.open:
            bench.serve("@ 300 A 192.0.2.80", opt=theirs)
        sent = parse(bench.last_answer)
        if do is None:
            assert sent.edns == -1
        else:
            assert (sent.edns, sent.payload, bool(sent.ednsflags & dns.flags.DO)) == (0, 1232, do)
            assert edns_of(bench.last_answer) == {EDE_OPTION: b"\0\x06bogus"}
    assert bench.cached == 1


@pytest.mark.parametrize("payload", [None, 100, 512, 700, 1232, 4096])
def test_an_answer_is_truncated_only_where_it_exceeds_what_its_client_takes(payload: int | None) -> None:
    limit = max(payload or 512, 512)
    fitting = set()
    for size in range(200, limit, 90):
        bench = Bench()
        bench.query(payload=payload)
        text = " ".join(f'"{"x" * min(200, size - at)}"' for at in range(0, size, 200))
        bench.serve(f"@ 300 TXT {text}")
        untruncated = not parse(bench.only_answer).flags & dns.flags.TC
        fitting.add(untruncated)
        assert len(bench.only_answer) <= limit
        assert bool(data_of(bench.only_answer)) is untruncated
    bench = Bench()
    bench.query(payload=payload)
    bench.serve(*(f"@ 300 A 192.0.{i}.{j}" for i in range(3) for j in range(100)))
    assert fitting >= {True}
    assert parse(bench.only_answer).flags & dns.flags.TC
    assert (not data_of(bench.only_answer), parse(bench.only_answer).edns) == (True, -1 if payload is None else 0)


def test_an_answer_that_fits_without_its_reason_is_given_without_it() -> None:
    seen = set()
    for extra in range(0, 150, 8):
        bench = Bench()
        bench.query(WWW, "TXT", payload=512)
        ede = (EDE_OPTION, b"\0\6" + b"r" * 60)
        bench.serve(f'@ 300 TXT "{"x" * 200}" "{"y" * (100 + extra)}"', opt=[ede])
        assert len(bench.only_answer) <= 512
        seen.add((bool(data_of(bench.only_answer)), EDE_OPTION in edns_of(bench.only_answer)))
    assert {(True, True), (True, False)} <= seen


def test_a_servers_long_reason_is_cut_and_too_many_are_left_out() -> None:
    bench = Bench()
    bench.query(payload=1232)
    bench.serve(GOOD, opt=[(EDE_OPTION, b"\0\6" + b"r" * 900)] + 100 * [(EDE_OPTION, b"\0\7x")])
    assert data_of(bench.only_answer) == ["192.0.2.80"]
    assert b"\0\6rrrrrrrr" in bench.only_answer
    assert len(bench.only_answer) < 400


def test_the_limit_is_kept_to_the_octet() -> None:
    for size, fits in ((512, True), (513, False)):
        bench = Bench()
        packet = bench.query(WWW, "TXT")
        left = size - len(packet) - 12 - 2 * 201 - 1  # a record's head behind a pointer; two strings of 200 octets
        bench.serve(f'@ 300 TXT "{"x" * 200}" "{"y" * 200}" "{"z" * left}"')
        assert bool(data_of(bench.only_answer)) is fits
        assert len(bench.only_answer) == (size if fits else len(packet))


def test_a_client_over_tcp_gets_the_whole_answer_fresh_and_cached() -> None:
    bench = Bench()
    addresses = [f"192.{i >> 8}.{i & 255}.1" for i in range(1000)]
    for _ in range(2):
        bench.query(stream=True)
        if bench.open:
            bench.serve(*(f"@ 300 A {address}" for address in addresses))
        assert data_of(bench.last_answer) == addresses
    bench.query()
    assert parse(bench.last_answer).flags & dns.flags.TC
    assert bench.cached == 2


# Who is answered


def test_equal_questions_are_asked_once_and_each_gets_its_own_answer() -> None:
    bench = Bench()
    packets = [
        query(WWW, ident=1),
        query("WWW.example", ident=2),
        query(WWW, ident=3, payload=1232),
        query(WWW, ident=4, payload=1232, options=[(COOKIE, b"12345678")]),
        query(WWW, ident=1),
    ]
    clients = [bench.ask(packet, Client(index == 4)) for index, packet in enumerate(packets)]
    assert len(bench.asked) == 1
    assert bench.engine.in_flight == 5
    assert bench.engine.counts.coalesced == 4
    bench.serve("@ 300 A 192.0.2.80")
    assert [answer.client for answer in bench.answers] == clients
    for answer, packet in zip(bench.answers, packets, strict=True):
        assert answer.packet[:2] == packet[:2]
        assert answer.packet[12:24] == packet[12:24]
        assert data_of(answer.packet) == ["192.0.2.80"]
        assert parse(answer.packet).edns == parse(packet).edns
    assert bench.quiet


@pytest.mark.parametrize(
    "other",
    [
        query(WWW, "AAAA"),
        query("ww.example"),
        query(WWW, flags=0),
        query(WWW, flags=dns.flags.RD | dns.flags.CD),
        query(WWW, flags=dns.flags.RD | dns.flags.AD),
        query(WWW, payload=1232, do=True),
    ],
)
def test_questions_that_differ_are_asked_apart(other: bytes) -> None:
    bench = Bench()
    bench.query(payload=1232)
    bench.ask(other)
    assert len(bench.asked) == 2
    bench.serve("@ 300 A 192.0.2.80", asked=bench.asked[0])
    assert len(bench.answers) == 1
    assert bench.engine.in_flight == 1


@pytest.mark.parametrize("packet", [b"", b"short", respond(query(WWW), "@ 5 A 192.0.2.1"), respond(query(WEB))])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_question_is_dropped(packet: bytes, stream: bool) -> None:
    bench = Bench()
    client = bench.ask(packet, Client(stream))
    assert [drop.client for drop in bench.drops] == [client]
    assert not bench.answers
    assert not bench.asked
    assert bench.engine.counts.dropped == 1


def test_a_malformed_question_is_answered_and_not_forwarded() -> None:
    bench = Bench()
    bench.ask(query(WWW)[:-1])
    assert bench.only_answer[3] & 15 == 1
    assert not bench.asked
    assert bench.engine.counts.malformed == 1


def test_a_later_version_of_edns_is_badvers() -> None:
    bench = Bench()
    packet = bytearray(query(WWW, payload=1232))
    packet[-5] = 1
    bench.ask(bytes(packet))
    assert parse(bench.only_answer).rcode() == 16
    assert parse(bench.only_answer).edns == 0
    assert not bench.asked
    assert bench.quiet


def test_a_client_without_opt_gets_no_opt_with_an_error_of_ours() -> None:
    bench = Bench(ForwarderConfig())
    bench.query()
    assert parse(bench.only_answer).rcode() == 2
    assert parse(bench.only_answer).edns == -1


def test_without_upstreams_ordinary_names_fail_and_say_so() -> None:
    bench = Bench(replace(SPLIT, upstreams=()))
    bench.query(payload=1232)
    assert extended_error(bench.only_answer) == Ede.NO_REACHABLE_AUTHORITY
    assert not bench.asked
    assert bench.engine.counts.servfails == 1


@pytest.mark.parametrize(
    ("packet", "rcode", "ede"),
    [
        (query("web.default.svc.cluster.local.corp", payload=1232), 3, Ede.PROHIBITED),
        (query("web.kube-system.svc.cluster.local", payload=1232), 5, Ede.PROHIBITED),
        (query(WWW, "AXFR", payload=1232), 5, Ede.PROHIBITED),
        (query("version.bind", "TXT", rdclass="CH", payload=1232), 5, Ede.PROHIBITED),
        (query("proof.devlink.example", payload=1232), 0, None),
    ],
)
def test_what_must_not_leave_is_answered_here(packet: bytes, rcode: int, ede: Ede | None) -> None:
    bench = Bench(replace(SPLIT, zones=(zone("cluster.local", namespaces=("default",)),)))
    bench.ask(packet)
    assert parse(bench.only_answer).rcode() == rcode
    assert extended_error(bench.only_answer) == ede
    assert not bench.asked
    assert bench.engine.counts.local == 1
    assert bench.engine.counts.refused == (rcode == 5)


def test_proofs_come_and_go_without_a_flush_and_win_over_zone_and_cache() -> None:
    bench = Bench(replace(SPLIT, proofs=()))
    bench.fill("proof.devlink.example")
    bench.fill(WEB, "@ 300 A 10.20.0.1")
    bench.change(proofs=SPLIT.proofs)
    bench.query("Proof.devlink.example")
    assert data_of(bench.last_answer) == ["127.0.0.77"]
    assert ttls_of(bench.last_answer) == [0]
    bench.query(WEB)
    assert bench.cached == 1
    assert len(bench.asked) == 2


# Rebinding and letters at random

PRIVATE = replace(SPLIT, private=(ip_network("10.20.0.0/16"), ip_network("fd00:20::/32")))


@pytest.mark.parametrize(
    ("record", "is_withheld"),
    [
        ("@ 300 A 10.20.0.1", True),
        ("@ 300 A 10.21.0.1", False),
        ("@ 300 AAAA fd00:20::1", True),
        ("@ 300 AAAA fd00:21::1", False),
        ("@ 300 AAAA ::ffff:10.20.0.1", True),
        ("x.example. 300 A 10.20.255.255", True),
        ("@ 300 TXT 10.20.0.1", False),
    ],
)
def test_an_ordinary_answer_that_points_into_the_cluster_is_withheld_where_that_is_asked_for(
    record: str, is_withheld: bool
) -> None:
    bench = Bench(PRIVATE)
    bench.query(WWW, record.split()[2], payload=1232)
    bench.serve("@ 300 CNAME x.example.", record)
    assert parse(bench.only_answer).rcode() == (5 if is_withheld else 0)
    assert extended_error(bench.only_answer) == (Ede.BLOCKED if is_withheld else None)
    assert (data_of(bench.only_answer) == []) is is_withheld
    bench.query(WWW, record.split()[2])
    assert bool(bench.open) is is_withheld, "it is not cached"


def test_rebinding_is_of_no_concern_to_the_cluster_and_off_by_default() -> None:
    for config, qname in ((PRIVATE, WEB), (SPLIT, WWW)):
        bench = Bench(config)
        bench.fill(qname, "@ 300 A 10.20.0.1")
        assert data_of(bench.only_answer) == ["10.20.0.1"]


def test_letters_go_out_at_random_and_a_reply_in_others_is_not_believed_but_asked_over_tcp() -> None:
    bench = Bench(replace(SPLIT, case_randomization=True))
    spellings = set()
    for seed in range(8):
        bench = Bench(replace(SPLIT, case_randomization=True), seed=seed)
        packet = bench.query("some-long-name.example")
        (asked,) = bench.asked
        assert asked.packet[12:].lower()[: len(packet) - 12] == packet[12:]
        spellings.add(asked.packet[12:])
        question = bytearray(asked.packet)
        question[13] ^= 0x20
        bench.reply(asked, respond(bytes(question), "@ 300 A 203.0.113.66"))
        assert not bench.answers
        again = bench.asked[-1]
        assert (again.server, again.transport) == (asked.server, "tcp")
        bench.serve("@ 300 A 192.0.2.80", asked=again)
        assert data_of(bench.only_answer) == ["192.0.2.80"]
        assert bench.only_answer[12 : len(packet)] == packet[12:]
        assert bench.engine.counts.mismatched == 1
        assert bench.quiet
    assert len(spellings) == 8


def test_a_clusters_server_and_whoever_is_asked_over_a_connection_sees_plain_letters() -> None:
    config = replace(SPLIT, case_randomization=True, upstreams=(upstream(ORDINARY, transport=Transport.TCP),))
    bench = Bench(config)
    for qname in ("some-long-name.cluster.local", "some-long-name.example"):
        bench.query(qname.upper())
        assert bench.asked[-1].qname == qname + "."


@pytest.mark.parametrize("payload", [None, 1232])
@pytest.mark.parametrize("qname", ["some-long-name.example", "Some-Long-Name.Example"])
def test_random_letters_never_reach_a_client(qname: str, payload: int | None) -> None:
    for seed in range(4):
        bench = Bench(replace(SPLIT, case_randomization=True), seed=seed)
        for asked in (qname, qname, qname.lower(), qname.upper(), qname.lower()):
            packet = bench.query(asked, payload=payload)
            if bench.open:
                bench.serve("@ 300 A 192.0.2.80", "SOME-long-name.EXAMPLE. 300 A 192.0.2.81")
            end = 12 + len(qname) + 2 + 4
            assert bench.last_answer[12:end] == packet[12:end]
        assert len(bench.asked) == 1


# Names of namespaces that are searched

SEARCH = replace(SPLIT, zones=(replace(zone("cluster.local"), search=("default", "qa")),))


def test_a_searched_name_is_answered_as_an_alias_by_its_cluster() -> None:
    bench = Bench(SEARCH)
    for _ in range(2):
        packet = bench.query("ReDis.default", "SRV")
        if bench.open:
            (asked,) = bench.asked
            assert (asked.server, asked.qname) == (CLUSTER, "redis.default.svc.cluster.local.")
            target = "a.redis.default.svc.cluster.local."
            bench.serve(f"@ 7 SRV 0 5 443 {target}", additional=[f"{target} 9 A 10.20.0.1"])
        sent = parse(bench.last_answer)
        assert bench.last_answer[: len(packet)][12:] == packet[12:]
        assert [rrset.to_text() for rrset in sent.answer] == [
            "ReDis.default. 7 IN CNAME redis.default.svc.cluster.local.",
            f"redis.default.svc.cluster.local. 7 IN SRV 0 5 443 {target}",
        ]
        assert [rrset.to_text() for rrset in sent.additional] == [f"{target} 9 IN A 10.20.0.1"]
    assert bench.cached == 1


@pytest.mark.parametrize("rcode", [0, 3])
def test_an_alias_of_nothing_stays_nxdomain_or_nodata_and_never_leaves_the_cluster(rcode: int) -> None:
    bench = Bench(SEARCH)
    bench.query("redis.qa", payload=1232)
    soa = "cluster.local. 5 SOA ns.dns.cluster.local. host.cluster.local. 1 2 3 4 5"
    bench.serve(rcode=rcode, authority=[soa])
    sent = parse(bench.only_answer)
    assert sent.rcode() == rcode
    assert [rrset.to_text() for rrset in sent.answer] == ["redis.qa. 5 IN CNAME redis.qa.svc.cluster.local."]
    assert [rrset.to_text() for rrset in sent.authority] == [soa.replace(" 5 SOA", " 5 IN SOA", 1)]
    assert bench.hosts == [CLUSTER]


@pytest.mark.parametrize("qname", ["redis.other", "x.redis.default", "default", "redis.default.example"])
def test_other_names_are_no_aliases(qname: str) -> None:
    bench = Bench(SEARCH)
    bench.query(qname)
    assert bench.hosts == [ORDINARY]


def test_alias_and_full_name_share_one_question_and_silence_is_never_asked_elsewhere() -> None:
    bench = Bench(SEARCH)
    bench.query("redis.default")
    bench.query("redis.default.svc.cluster.local")
    assert len(bench.asked) == 1
    bench.give_up()
    assert set(bench.hosts) == {CLUSTER}
    assert [parse(answer.packet).rcode() for answer in bench.answers] == [2, 2]


@pytest.mark.parametrize("transport", list(Transport))
def test_a_question_is_answered_within_its_budget_by_allowed_transports(transport: Transport) -> None:
    bench = Bench(ForwarderConfig(upstreams=tuple(upstream(f"192.0.2.{i}", transport=transport) for i in range(1, 9))))
    bench.query(payload=1232)
    assert bench.give_up() <= BUDGET + 1e-9
    assert extended_error(bench.only_answer) == Ede.NO_REACHABLE_AUTHORITY
    transports = {asked.transport for asked in bench.asked}
    assert transports == {Transport.UDP: {"udp"}, Transport.TCP: {"tcp"}, Transport.AUTO: {"udp", "tcp"}}[transport]


@settings(max_examples=50)
@given(st.data())
def test_damaged_packets_from_both_sides_never_break_the_engine(data: st.DataObject) -> None:
    def damage(packet: bytes) -> bytes:
        octets = bytearray(packet)
        for _ in range(data.draw(st.integers(0, 3))):
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        return bytes(octets[: data.draw(st.integers(len(octets) // 2, len(octets)))])

    bench = Bench()
    for stream in (False, True, False):
        bench.ask(damage(query(WEB, payload=1232)), Client(stream))
        for asked in list(bench.open.values()):
            bench.reply(asked, damage(respond(asked.packet, "@ 300 A 10.20.0.1", "@ 300 A 10.20.0.2")))
    bench.give_up()
    assert bench.quiet
    assert len(bench.answers) + len(bench.drops) == 3
