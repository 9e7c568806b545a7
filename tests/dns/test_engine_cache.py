"""Answers that are given again: for how long, to whom, when no server answers, and fetched anew before they end."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network

import dns.flags
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.profile import Transport
from devlink.dns.asking import STALE_AFTER
from devlink.dns.cache import HOT, STALE_FOR, STALE_TTL
from devlink.dns.servers import BUDGET
from devlink.dns.wire import Ede
from tests.dns.messages import CLUSTER, ORDINARY, SPLIT, upstream, zone
from tests.dns.moved_engine import (
    EDE_OPTION,
    WEB,
    WWW,
    Bench,
    data_of,
    edns_of,
    extended_error,
    parse,
    query,
    respond,
    ttls_of,
)

GOOD = "@ 300 A 192.0.2.80"


def is_cached(bench: Bench, packet: bytes | None = None) -> bool:
    """Whether a question is answered without a server."""
    before = len(bench.asked)
    bench.ask(packet or query(WWW))
    return len(bench.asked) == before


@given(st.integers(1, 100), st.floats(0, 120), st.sampled_from([None, 1232]))
def test_an_answer_is_given_until_its_ttl_is_over_aged_to_the_second(
    ttl: int, later: float, payload: int | None
) -> None:
    bench = Bench()
    bench.fill(WWW, f"@ {ttl} CNAME x.example.", f"x.example. {ttl + 7} A 192.0.2.80")
    bench.query(payload=payload)  # so that there is a variant, too
    passed = int(bench.now + later) - int(bench.now)
    bench.advance(later)
    assert is_cached(bench, query(WWW, payload=payload)) is (passed < ttl)
    if passed < ttl:
        assert ttls_of(bench.last_answer) == [ttl - passed, ttl + 7 - passed]


def test_every_ttl_is_aged_in_every_section_again_and_again_and_none_below_zero() -> None:
    bench = Bench()
    authority = ["www.example. 70 NS ns.www.example."]
    bench.fill(WWW, "@ 60 A 192.0.2.80", authority=authority, additional=["ns.www.example. 80 A 192.0.2.9"])
    for second in range(1, 60):
        bench.advance(1.0)
        bench.query(payload=1232 if second % 3 else None)
        assert ttls_of(bench.last_answer) == [60 - second, 70 - second, 80 - second]


@pytest.mark.parametrize("ttl", [0, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("where", ["answer", "additional"])
def test_what_has_no_lifetime_is_not_kept(ttl: int, where: str) -> None:
    bench = Bench()
    bench.query()
    asked = bench.asked[0]
    record = "x.example. 77 A 192.0.2.81"
    records = [GOOD, record] if where == "answer" else [GOOD]
    reply = respond(asked.packet, *records, additional=[record] if where == "additional" else [])
    packet = bytearray(reply)
    at = packet.index((77).to_bytes(4, "big"))
    packet[at : at + 4] = ttl.to_bytes(4, "big")
    bench.reply(asked, bytes(packet))
    assert len(bench.answers) == 1
    assert not is_cached(bench)


def test_a_very_long_ttl_is_kept_for_a_day() -> None:
    bench = Bench()
    bench.fill(WWW, "@ 2000000 A 192.0.2.80")
    bench.now += 86399
    assert is_cached(bench)
    bench.now += 1
    assert not is_cached(bench)


SOA = "example. {} SOA ns.example. host.example. 1 7200 900 1209600 {}"


@pytest.mark.parametrize("rcode", [0, 3])
@pytest.mark.parametrize(("ttl", "minimum", "lifetime"), [(60, 20, 20), (20, 60, 20), (0, 60, 0), (60, 0, 0)])
def test_negative_answers_live_as_the_soa_says(ttl: int, minimum: int, lifetime: int, rcode: int) -> None:
    bench = Bench()
    bench.query()
    bench.serve(rcode=rcode, authority=[SOA.format(ttl, minimum)])
    bench.now += max(lifetime - 1, 0)
    assert is_cached(bench) is bool(lifetime)
    if lifetime:
        assert parse(bench.last_answer).rcode() == rcode
        assert len(parse(bench.last_answer).authority) == 1
        bench.now += 1
        assert not is_cached(bench)


@pytest.mark.parametrize("rcode", [0, 3])
def test_a_negative_answer_without_soa_is_not_kept(rcode: int) -> None:
    for authority in ([], ["example. 300 NS ns.example."]):
        bench = Bench()
        bench.query()
        bench.serve(rcode=rcode, authority=authority)
        assert not is_cached(bench)


def test_an_soa_outside_of_the_authority_section_makes_nothing_negative_last() -> None:
    bench = Bench()
    bench.query()
    bench.serve(rcode=3, additional=[SOA.format(60, 60)])
    assert not is_cached(bench)


@pytest.mark.parametrize(("rcode", "kept"), [(0, True), (3, True)])
def test_an_alias_that_ends_in_nothing_lives_as_long_as_its_shortest_part(rcode: int, kept: bool) -> None:
    bench = Bench()
    bench.query()
    bench.serve("@ 10 CNAME x.example.", rcode=rcode, authority=[SOA.format(60, 60)])
    bench.now += 9
    assert is_cached(bench) is kept
    bench.now += 1
    assert not is_cached(bench)
    bench = Bench()
    bench.query()
    bench.serve("@ 10 CNAME x.example.", rcode=rcode)
    assert not is_cached(bench), "a chain without its end and without SOA"


@pytest.mark.parametrize("rcode", [1, 2, 4, 5, 9])
def test_failures_are_not_kept(rcode: int) -> None:
    bench = Bench(replace(SPLIT, upstreams=(upstream(ORDINARY),)))
    bench.query()
    bench.serve(GOOD, rcode=rcode)
    bench.give_up()
    assert not is_cached(bench)


def test_a_question_without_rd_is_neither_kept_nor_answered_from_what_is() -> None:
    bench = Bench()
    bench.ask(query(WWW, flags=0))
    bench.serve(GOOD)
    assert not is_cached(bench, query(WWW, flags=0))
    bench.serve(GOOD)
    bench.fill()
    assert is_cached(bench)
    assert not is_cached(bench, query(WWW, flags=0))


def test_a_cached_answer_is_not_authoritative_and_keeps_its_other_flags() -> None:
    for payload in (None, 1232):
        bench = Bench()
        bench.query(payload=payload)
        bench.serve(GOOD, aa=True, ad=True)
        assert parse(bench.only_answer).flags & dns.flags.AA
        for _ in range(2):
            bench.query(payload=payload)
            flags = parse(bench.last_answer).flags
            assert flags == dns.flags.QR | dns.flags.RD | dns.flags.RA | dns.flags.AD
        assert len(bench.asked) == 1


@pytest.mark.parametrize(
    ("first", "second", "is_shared"),
    [
        (query(WWW), query("WwW.eXample"), True),
        (query(WWW), query(WWW, payload=1232), True),
        (query(WWW, payload=512), query(WWW), True),
        (query(WWW, payload=1232, options=[(10, b"12345678")]), query(WWW, payload=1232), True),
        (query(WWW, payload=1232), query(WWW, payload=1232, do=True), False),
        (query(WWW, payload=1232, do=True), query(WWW), False),
        (query(WWW), query(WWW, flags=dns.flags.RD | dns.flags.CD), False),
        (query(WWW), query(WWW, flags=dns.flags.RD | dns.flags.AD), False),
        (query(WWW), query(WWW, "AAAA"), False),
    ],
)
def test_who_asks_the_same_in_other_words_shares_an_answer_and_nobody_else_does(
    first: bytes, second: bytes, is_shared: bool
) -> None:
    bench = Bench()
    bench.ask(first)
    bench.serve(GOOD, opt=[(EDE_OPTION, b"\0\x06x")])
    for _ in range(3):
        assert is_cached(bench, second) is is_shared
        if not is_shared:
            break
        answer = bench.last_answer
        assert answer[:2] == second[:2]
        assert answer[12 : 12 + len(WWW) + 6] == second[12 : 12 + len(WWW) + 6]
        assert parse(answer).edns == parse(second).edns
        assert edns_of(answer) == ({} if parse(second).edns < 0 else {EDE_OPTION: b"\0\x06x"})


def test_the_answer_to_dnssec_ok_is_never_given_to_who_did_not_ask_for_it() -> None:
    bench = Bench()
    bench.ask(query(WWW, payload=1232, do=True))
    rrsig = "@ 300 RRSIG A 8 2 300 20300101000000 20200101000000 1 example. AAAA"
    bench.serve(GOOD, rrsig)
    assert len(data_of(bench.last_answer)) == 2
    assert is_cached(bench, query(WWW, payload=4096, do=True))
    assert parse(bench.last_answer).ednsflags == 0x8000
    for payload in (None, 1232):
        bench.ask(query(WWW, payload=payload))
        if bench.open:
            bench.serve(GOOD)
        assert len(data_of(bench.last_answer)) == 1
    bench.ask(query(WWW, payload=1232, do=True))
    assert len(data_of(bench.last_answer)) == 2
    assert len(bench.asked) == 2


def test_a_large_answer_is_kept_and_truncated_for_each_client_by_its_own_limit() -> None:
    bench = Bench()
    addresses = [f"192.0.2.{i}" for i in range(80)]
    bench.fill(WWW, *(f"@ 300 A {address}" for address in addresses))
    for _ in range(2):
        for payload, fits in ((None, False), (600, False), (1400, True), (4096, True)):
            assert is_cached(bench, query(WWW, payload=payload))
            assert bool(parse(bench.last_answer).flags & dns.flags.TC) is not fits
            assert data_of(bench.last_answer) == (addresses if fits else [])
    bench.query(stream=True)
    assert data_of(bench.last_answer) == addresses


@pytest.mark.parametrize("payload", [None, 600])
def test_what_one_client_got_over_tcp_is_not_sent_to_another_over_udp_whose_packet_is_the_same(
    payload: int | None,
) -> None:
    bench = Bench()
    bench.fill(WWW, *(f"@ 300 A 192.0.2.{i}" for i in range(50)))
    for stream in (True, True, False, True, False):
        bench.query(stream=stream, payload=payload)
        assert len(data_of(bench.last_answer)) == (50 if stream else 0)


def test_an_answer_that_was_large_and_is_small_now_has_no_ghost() -> None:
    bench = Bench()
    bench.fill(WWW, *(f"@ 1 A 192.0.2.{i}" for i in range(80)))
    bench.query(payload=4096)
    bench.now += 2
    bench.fill(WWW, "@ 2 A 192.0.2.80")
    for payload in (None, 4096):
        bench.query(payload=payload)
        assert data_of(bench.last_answer) == ["192.0.2.80"]
    bench.now += 3
    bench.fill(WWW, *(f"@ 300 A 192.0.2.{i}" for i in range(80)))
    bench.query(payload=4096)
    assert len(data_of(bench.last_answer)) == 80


def test_hits_are_counted_exactly_whoever_finds_the_answer() -> None:
    bench = Bench()
    bench.fill()
    bench.fill(WEB, "@ 300 A 10.20.0.1")
    for _ in range(10):
        for packet in (query(WWW), query("WWW.example"), query(WWW, payload=1232), query(WEB)):
            assert is_cached(bench, packet)
    hot = bench.engine.hot[query(WWW)[2:]]
    hot.hits += 5  # as the edge does
    assert bench.engine.cache.hits() == {".": 35, "cluster.local": 10}
    assert bench.engine.flush() > 0
    assert bench.engine.cache.hits() == {".": 35, "cluster.local": 10}
    assert bench.engine.counts.queries == 2
    assert bench.engine.flush() == 0


def test_the_edge_finds_packets_that_were_answered_before_and_their_answers_are_the_same() -> None:
    bench = Bench()
    for packet in (query(WWW), query(WWW, payload=1232), query(WWW, payload=4096, do=True)):
        bench.ask(packet)
        if bench.open:
            bench.serve(GOOD)
        bench.ask(packet)
        entry = bench.engine.hot[packet[2:]]
        assert packet[:2] + entry.wire == bench.last_answer
        assert entry.tick == int(bench.now)


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (query(WWW, payload=1232, options=[(10, b"12345678")]), "a cookie"),
        (query("redis.default"), "an alias"),
        (query("WWW.example"), "a spelling that is another one each time"),
        (query("proof.devlink.example"), "a proof"),
        (query("x.cluster.local.corp"), "a local answer"),
        (query(WWW, flags=0), "no recursion wanted"),
    ],
)
def test_what_is_answered_differently_each_time_is_not_found_by_packet_alone(packet: bytes, why: str) -> None:
    bench = Bench(replace(SPLIT, zones=(replace(zone("cluster.local"), search=("default",)),)))
    for _ in range(3):
        bench.ask(packet)
        if bench.open:
            bench.serve(GOOD)
    assert packet[2:] not in bench.engine.hot, why


# Bounds and flushes


@pytest.mark.slow
def test_the_cache_stays_within_its_bytes_and_what_was_used_survives() -> None:
    limit = 40_000
    bench = Bench(replace(SPLIT, cache_bytes=limit))
    bench.fill("hot.example")
    for number in range(400):
        bench.fill(f"n{number}.example")
        for _ in range(3):
            assert is_cached(bench, query("hot.example"))
        cache = bench.engine.cache
        assert cache.size <= limit
        assert sum(len(entry.wire) for entry in cache.table.values()) < limit
    assert 20 < len(bench.engine.cache.table) < 200
    assert bench.engine.cache.hits() == {".": 1200}
    assert is_cached(bench, query("n399.example"))
    assert not is_cached(bench, query("n0.example"))


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    bench = Bench(replace(SPLIT, cache_bytes=0))
    for _ in range(3):
        assert not is_cached(bench)
        bench.serve(GOOD)
    assert not bench.engine.hot


CHANGES: dict[str, dict[str, object]] = {
    "a zone": {"zones": (*SPLIT.zones, zone("cluster.kube", "10.1.0.2"))},
    "upstreams": {"upstreams": SPLIT.upstreams[::-1]},
    "a transport": {"upstreams": (upstream(ORDINARY, transport=Transport.TCP), SPLIT.upstreams[1])},
    "namespaces": {"zones": (zone("cluster.local", namespaces=("default",)), SPLIT.zones[1])},
    "letters": {"case_randomization": True},
    "private": {"private": (ip_network("10.20.0.0/16"),)},
    "size": {"cache_bytes": 1 << 20},
    "authorities": {"tls_ca": "x"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_all_is_forgotten_when_rules_or_options_change(change: str) -> None:
    bench = Bench()
    bench.fill()
    bench.fill(WEB)
    bench.query(payload=1232)
    bench.change(**CHANGES[change])
    assert not bench.engine.cache.table
    assert not is_cached(bench)
    assert not is_cached(bench, query(WEB))
    bench.serve(GOOD, asked=bench.asked[-1])
    bench.give_up()
    bench.now += 400
    bench.query(payload=1232)
    bench.give_up()
    assert extended_error(bench.last_answer) != Ede.STALE_ANSWER or bench.hosts[-1] != ORDINARY


def test_nothing_is_forgotten_where_nothing_or_only_the_proofs_change() -> None:
    bench = Bench()
    bench.fill()
    bench.change(proofs=())
    bench.configure(replace(bench.config))
    assert is_cached(bench)


def test_an_answer_to_a_question_of_old_rules_is_not_kept_from_the_wrong_servers() -> None:
    bench = Bench()
    bench.query("web.cluster.kube")
    (before,) = bench.asked
    bench.change(zones=(*SPLIT.zones, zone("cluster.kube", "10.1.0.2")))
    bench.serve("@ 300 A 203.0.113.66", asked=before)
    assert not is_cached(bench, query("web.cluster.kube")) or len(bench.open) == 1
    bench.serve("@ 300 A 10.1.0.9", asked=bench.asked[-1])
    assert [data_of(answer.packet) for answer in bench.answers] == [["10.1.0.9"]] * 2


# Stale answers


def expired(bench: Bench, *, later: float = 400.0) -> None:
    """Have an answer that is over."""
    bench.fill(WWW, "@ 300 A 192.0.2.80", "@ 300 A 192.0.2.81")
    bench.advance(later)


def assert_stale(answer: bytes) -> None:
    assert data_of(answer) == ["192.0.2.80", "192.0.2.81"]
    assert ttls_of(answer) == [STALE_TTL]
    if parse(answer).edns >= 0:
        assert extended_error(answer) == Ede.STALE_ANSWER


def test_who_waits_gets_a_stale_answer_after_1_8_seconds_and_a_late_one_renews_it() -> None:
    bench = Bench()
    expired(bench)
    began = bench.now
    bench.query(payload=1232)
    bench.query()
    while not bench.answers[1:]:
        bench.step()
    assert bench.now - began == pytest.approx(STALE_AFTER) == pytest.approx(1.8)
    assert len(bench.answers) == 3
    for answer in bench.answers[1:]:
        assert_stale(answer.packet)
    assert bench.engine.counts.stale == 2
    assert bench.engine.in_flight == 0
    bench.query()
    assert_stale(bench.last_answer)
    assert len(bench.answers) == 4, "who asks meanwhile waits for nothing"
    bench.serve("@ 300 A 192.0.2.99", asked=next(iter(bench.open.values())))
    assert len(bench.answers) == 4
    assert is_cached(bench)
    assert data_of(bench.last_answer) == ["192.0.2.99"]
    assert bench.quiet


def test_a_server_that_answers_in_time_wins_over_what_is_stale() -> None:
    bench = Bench()
    expired(bench)
    bench.query()
    bench.advance(0.1)
    bench.serve("@ 300 A 192.0.2.99", asked=next(iter(bench.open.values())))
    assert data_of(bench.last_answer) == ["192.0.2.99"]


def test_a_stale_answer_comes_at_once_when_all_servers_are_known_to_be_silent() -> None:
    bench = Bench()
    expired(bench)
    bench.query("other.example")
    bench.give_up()
    before, asked = len(bench.answers), len(bench.asked)
    bench.query(payload=1232)
    assert len(bench.answers) == before + 1
    assert_stale(bench.last_answer)
    assert len(bench.asked) > asked, "and the servers are still asked"
    bench.give_up()
    assert bench.quiet


@pytest.mark.parametrize("rcode", [2, 5])
def test_a_stale_answer_replaces_failures_of_all_servers(rcode: int) -> None:
    bench = Bench()
    expired(bench)
    bench.query(payload=1232)
    bench.serve(rcode=rcode)
    assert len(bench.answers) == 1
    bench.serve(rcode=rcode)
    assert_stale(bench.last_answer)
    assert bench.quiet


def test_a_stale_answer_replaces_unreachable_servers() -> None:
    bench = Bench()
    expired(bench)
    bench.query()
    while bench.open:
        bench.fail(next(iter(bench.open.values())))
    assert_stale(bench.last_answer)
    assert bench.quiet


@pytest.mark.parametrize("rcode", [0, 3])
def test_what_the_server_says_now_is_believed_even_if_it_is_nothing(rcode: int) -> None:
    bench = Bench()
    expired(bench)
    bench.query()
    bench.serve(rcode=rcode)
    assert (parse(bench.last_answer).rcode(), data_of(bench.last_answer)) == (rcode, [])


def test_stale_answers_serve_for_a_day() -> None:
    for later, serves in ((300 + STALE_FOR - 2, True), (300 + STALE_FOR + 1, False)):
        bench = Bench()
        expired(bench, later=later)
        bench.query(payload=1232)
        bench.give_up()
        assert (extended_error(bench.last_answer) == Ede.STALE_ANSWER) is serves
        assert parse(bench.last_answer).rcode() == (0 if serves else 2)


def test_a_question_without_rd_gets_nothing_stale() -> None:
    bench = Bench()
    expired(bench)
    bench.ask(query(WWW, flags=0))
    bench.give_up()
    assert parse(bench.last_answer).rcode() == 2


def test_a_stale_negative_answer_is_given_as_well() -> None:
    bench = Bench()
    bench.query()
    bench.serve(rcode=3, authority=[SOA.format(20, 20)])
    bench.advance(30)
    bench.query(payload=1232)
    bench.give_up()
    assert (parse(bench.last_answer).rcode(), extended_error(bench.last_answer)) == (3, Ede.STALE_ANSWER)


def test_an_alias_gets_stale_answers_too() -> None:
    bench = Bench(replace(SPLIT, zones=(replace(zone("cluster.local"), search=("default",)),)))
    bench.fill("redis.default", "@ 5 A 10.20.0.1")
    bench.advance(60)
    bench.query("redis.default", payload=1232)
    bench.give_up()
    assert data_of(bench.last_answer) == ["redis.default.svc.cluster.local.", "10.20.0.1"]
    assert extended_error(bench.last_answer) == Ede.STALE_ANSWER


# Prefetch


def hot(bench: Bench, qname: str = WWW, *, hits: int = HOT, ttl: int = 100) -> None:
    """Have a name that was asked so often and is about to end."""
    bench.fill(qname, f"@ {ttl} A 192.0.2.80")
    for _ in range(hits):
        bench.query(qname)
    bench.advance(ttl - max(1, ttl // 10) + 0.25)


def by_case(bench: Bench) -> None:
    bench.query("WWW.Example")


def by_option(bench: Bench) -> None:
    bench.ask(query(WWW, payload=1232, options=[(10, b"12345678")]))


@pytest.mark.parametrize("ask", [Bench.query, by_case, by_option])
def test_a_hot_name_is_fetched_once_before_it_ends_and_nobody_waits(ask: Callable[[Bench], object]) -> None:
    bench = Bench()
    hot(bench)
    for _ in range(5):
        before = len(bench.answers)
        ask(bench)
        assert len(bench.answers) == before + 1
        assert data_of(bench.last_answer) == ["192.0.2.80"]
    assert bench.engine.counts.prefetched == 1
    assert len(bench.asked) == 2
    assert bench.engine.in_flight == 0
    answers = len(bench.answers)
    bench.serve("@ 100 A 192.0.2.99")
    assert len(bench.answers) == answers
    bench.advance(1.0)
    bench.query()
    assert data_of(bench.last_answer) == ["192.0.2.99"]
    for _ in range(5):
        ask(bench)
    assert len(bench.asked) == 2
    bench.advance(20)
    ask(bench)
    assert data_of(bench.last_answer) == ["192.0.2.99"], "also who found an older copy"
    assert len(bench.asked) == 2


def test_a_cold_name_and_one_that_is_fresh_are_not_fetched() -> None:
    bench = Bench()
    hot(bench, hits=HOT - 2)
    bench.query()
    assert bench.engine.counts.prefetched == 0
    bench = Bench()
    bench.fill(WWW, "@ 100 A 192.0.2.80")
    bench.advance(80)
    for _ in range(20):
        bench.query()
    assert bench.engine.counts.prefetched == 0


def test_a_prefetch_asks_the_names_own_servers() -> None:
    bench = Bench(replace(SPLIT, zones=(replace(zone("cluster.local"), search=("default",)),)))
    hot(bench, "redis.default")
    bench.query("redis.default")
    assert [asked.server for asked in bench.asked] == [CLUSTER, CLUSTER]
    assert {asked.qname for asked in bench.asked} == {"redis.default.svc.cluster.local."}
    bench.serve("@ 100 A 10.20.0.1")
    assert bench.quiet


def test_a_prefetch_that_fails_changes_nothing() -> None:
    for rcode in (2, None):
        bench = Bench()
        hot(bench)
        bench.query()
        answers = len(bench.answers)
        while bench.open:
            if rcode:
                bench.serve(rcode=rcode)
            else:
                bench.fail(next(iter(bench.open.values())))
        assert len(bench.answers) == answers
        assert bench.quiet
        bench.query()
        assert len(bench.answers) == answers + 1
        assert data_of(bench.last_answer) == ["192.0.2.80"]


def test_a_question_that_joins_a_prefetch_gets_its_answer_or_the_stale_one() -> None:
    bench = Bench()
    hot(bench, ttl=10)
    bench.query()
    assert bench.engine.counts.prefetched == 1
    bench.advance(1.5)
    answers = len(bench.answers)
    bench.query(payload=1232)
    assert len(bench.asked) == len(bench.open) + 1, "it joined"
    began = bench.now
    while len(bench.answers) == answers:
        bench.step()
    assert bench.now - began <= STALE_AFTER + 1e-9
    assert (parse(bench.last_answer).rcode(), extended_error(bench.last_answer)) == (0, Ede.STALE_ANSWER)
    bench.give_up()
    assert bench.quiet
    assert len(bench.answers) == answers + 1


def test_a_prefetch_is_dropped_when_rules_change_and_kept_off_where_there_is_no_room() -> None:
    bench = Bench()
    hot(bench)
    bench.query()
    assert len(bench.open) == 1
    bench.change(zones=())
    assert bench.quiet
    bench = Bench(max_in_flight=2)
    hot(bench)
    bench.query("other.example")
    bench.query()
    assert bench.engine.counts.prefetched == 0
    assert data_of(bench.last_answer) == ["192.0.2.80"]


def test_a_prefetch_ends_in_time() -> None:
    bench = Bench()
    hot(bench)
    bench.query()
    assert bench.give_up() <= BUDGET + 1e-9
    assert bench.quiet
