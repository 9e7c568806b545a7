"""Servers over many questions: what one odd answer, one lost datagram or one dead server does to those that follow."""

from dataclasses import replace

import pytest

from devlink.dns.servers import FIRST_PAUSE, ORDINARY_WAIT
from tests.dns.messages import CLUSTER, ORDINARY, SPLIT, zone
from tests.dns.moved_engine import Bench, data_of, extended_error, parse, query

GOOD = "@ 300 A 192.0.2.80"
NOTIMP, SERVFAIL = 4, 2


def test_one_lost_datagram_does_not_move_ordinary_names_to_the_second_server_for_good() -> None:
    """The first one may know names that the second does not, and is farther away."""
    bench = Bench()
    bench.query("lost.example")
    bench.advance(ORDINARY_WAIT[1])
    bench.serve(GOOD)
    bench.advance(FIRST_PAUSE + 0.1)
    bench.query("beside.example")
    live, probe = list(bench.open.values())
    bench.serve(GOOD, asked=live)
    bench.now += 0.02
    bench.serve(GOOD, asked=probe)
    bench.query("next.example")
    assert bench.hosts[-1] == ORDINARY


def test_an_odd_question_does_not_turn_opt_off_at_a_server_that_knows_it() -> None:
    bench = Bench(replace(SPLIT, upstreams=SPLIT.upstreams[:1]))
    bench.fill("known.example")
    bench.query("odd.example", "SRV")
    bench.serve(rcode=NOTIMP, opt=None)
    bench.serve(rcode=NOTIMP, opt=None)
    assert parse(bench.last_answer).rcode() == NOTIMP
    bench.query("next.example")
    assert parse(bench.asked[-1].packet).edns == 0


def test_a_server_that_says_nothing_better_without_opt_goes_on_to_get_it() -> None:
    bench = Bench(replace(SPLIT, upstreams=SPLIT.upstreams[:1]))
    for _ in range(2):
        bench.query("odd.example")
        assert parse(bench.asked[-1].packet).edns == 0
        bench.serve(rcode=NOTIMP, opt=None)
        assert parse(bench.asked[-1].packet).edns < 0
        bench.serve(rcode=NOTIMP, opt=None)


def test_stale_names_of_dead_servers_leave_the_room_of_others_alone() -> None:
    bench = Bench(max_in_flight=20)
    names = [f"n{i}.example" for i in range(30)]
    for each in names:
        bench.fill(each, "@ 10 A 192.0.2.80")
    bench.advance(11)
    bench.query(names[0])
    bench.give_up()
    for each in names:
        bench.query(each)
    bench.query("web.default.svc.cluster.local")
    assert bench.hosts[-1] == CLUSTER
    bench.serve("@ 5 A 10.20.0.1")
    assert data_of(bench.last_answer) == ["10.20.0.1"]


def test_a_short_name_goes_where_its_long_name_goes() -> None:
    outer = replace(zone("cluster.local", "10.1.1.1"), search=("default",))
    bench = Bench(replace(SPLIT, zones=(outer, zone("default.svc.cluster.local", "10.2.2.2"))))
    bench.query("redis.default")
    assert bench.hosts == ["10.2.2.2"]


def test_a_short_name_in_a_namespace_that_is_excluded_is_refused() -> None:
    outer = replace(zone("cluster.local", namespaces=("default",)), search=("kube-system",))
    bench = Bench(replace(SPLIT, zones=(outer,)))
    bench.query("dns.kube-system", payload=1232)
    assert not bench.asked
    assert extended_error(bench.only_answer) == 18


@pytest.mark.parametrize("payload", [512, 1232])
def test_a_long_extended_error_of_a_server_makes_no_answer_too_large(payload: int) -> None:
    bench = Bench()
    bench.query("www.example", payload=payload)
    bench.serve(GOOD, opt=[(15, b"\0\0" + b"x" * 1000)])
    assert data_of(bench.only_answer) == ["192.0.2.80"]
    assert len(bench.only_answer) <= payload
    assert extended_error(bench.only_answer) == 0


def test_an_answer_that_fits_alone_goes_without_its_extended_error() -> None:
    bench = Bench()
    bench.query("www.example", payload=512)
    bench.serve(*(f"@ 300 A 192.0.2.{i}" for i in range(28)), opt=[(15, b"\0\0" + b"x" * 100)])
    assert len(data_of(bench.only_answer)) == 28
    assert extended_error(bench.only_answer) is None


def test_why_a_server_failed_is_told_to_the_client_and_kept() -> None:
    bench = Bench(replace(SPLIT, upstreams=SPLIT.upstreams[:1]))
    bench.ask(query("www.example", payload=1232))
    while bench.open:
        attempt = next(iter(bench.open))
        bench._carry_out(bench.engine.upstream_failed(attempt, bench.now, "192.0.2.1: its certificate has expired"))
    assert parse(bench.only_answer).rcode() == SERVFAIL
    assert b"certificate has expired" in bench.only_answer
    (state,) = (state for state in bench.engine.servers if state.server.host == ORDINARY)
    assert "certificate" in state.trouble


def test_what_was_true_under_other_rules_comes_back_to_nobody_who_waits() -> None:
    bench = Bench()
    bench.fill("old.example", "@ 10 A 192.0.2.80")
    bench.advance(11)
    bench.query("old.example")
    bench.change(zones=())
    bench.give_up()
    assert parse(bench.last_answer).rcode() == SERVFAIL


def test_what_was_flushed_comes_back_neither_stale_nor_by_a_question_that_was_under_way() -> None:
    bench = Bench()
    bench.fill("old.example", "@ 10 A 192.0.2.80")
    bench.advance(11)
    bench.query("old.example")
    bench.query("new.example")
    assert bench.engine.flush() == 1
    bench.serve(GOOD)
    assert data_of(bench.last_answer) == ["192.0.2.80"]
    bench.give_up()
    assert parse(bench.last_answer).rcode() == SERVFAIL
    assert bench.engine.cache.table == {}


def test_a_reply_in_random_case_is_kept_in_plain_letters_though_the_rules_change_meanwhile() -> None:
    bench = Bench(replace(SPLIT, case_randomization=True))
    bench.query("www.with-many-letters.example")
    bench.change(case_randomization=False)
    bench.serve(GOOD)
    packet = bench.query("www.with-many-letters.example")
    assert bench.last_answer[12:40] == packet[12:40]


def test_zones_that_went_are_counted_no_more() -> None:
    bench = Bench()
    for i in range(50):
        bench.change(zones=(zone(f"zone{i}.example"),))
        bench.fill(f"www.zone{i}.example")
    bench.change(zones=())
    assert set(bench.engine.counts.zones) == {"."}
    assert not set(bench.engine.cache.hits()) - {"."}


@pytest.mark.parametrize("short", [False, True])
def test_a_clusters_name_that_waits_while_its_session_goes_is_asked_nowhere_else(short: bool) -> None:
    bench = Bench(replace(SPLIT, zones=(replace(zone("cluster.local"), search=("default",)), zone("other.example"))))
    bench.ask(query("redis.default" if short else "redis.default.svc.cluster.local", payload=1232))
    bench.change(zones=(zone("other.example"),))
    assert bench.hosts == [CLUSTER]
    assert extended_error(bench.only_answer) == 18
    assert bench.quiet


def test_a_group_that_is_full_still_gives_what_was_true_before() -> None:
    bench = Bench(max_in_flight=4)
    bench.fill("old.example", "@ 10 A 192.0.2.80")
    bench.advance(11)
    for number in range(2):
        bench.query(f"n{number}.example")
    bench.query("old.example", payload=1232)
    assert data_of(bench.last_answer) == ["192.0.2.80"]
    assert extended_error(bench.last_answer) == 3


def test_a_name_asked_often_with_opt_is_fetched_before_its_answer_ends() -> None:
    bench = Bench()
    bench.fill("hot.example", "@ 100 A 192.0.2.80")
    for _ in range(5):
        bench.query("hot.example", payload=1232)
    bench.advance(91)
    bench.query("hot.example", payload=1232)
    assert [asked.qname for asked in bench.open.values()] == ["hot.example."]
    assert bench.engine.counts.prefetched == 1


def test_a_hot_answer_is_given_to_its_end_though_what_it_was_made_from_is_gone() -> None:
    bench = Bench()
    bench.fill("hot.example", "@ 100 A 192.0.2.80")
    for _ in range(5):
        bench.query("hot.example", payload=1232)
    bench.engine.cache._drop(query("hot.example")[2:])
    bench.advance(91)
    bench.query("hot.example", payload=1232)
    assert data_of(bench.last_answer) == ["192.0.2.80"]
    assert len(bench.open) == 1, "it is fetched anew"


def test_a_hot_answer_is_not_given_past_its_end() -> None:
    bench = Bench()
    bench.fill("hot.example", "@ 10 A 192.0.2.80")
    for _ in range(5):
        bench.query("hot.example", payload=1232)
    bench.engine.cache._drop(query("hot.example")[2:])
    bench.advance(11)
    given = len(bench.answers)
    bench.query("hot.example", payload=1232)
    assert (len(bench.answers), len(bench.open)) == (given, 1)


def test_after_a_flush_every_server_gets_another_chance() -> None:
    bench = Bench()
    bench.query("lost.example")
    bench.advance(ORDINARY_WAIT[1])
    bench.serve(GOOD)
    bench.engine.flush()
    bench.query("next.example")
    assert bench.hosts[-1] == ORDINARY


def test_a_text_that_is_cut_stays_a_text() -> None:
    bench = Bench()
    bench.query("www.example", payload=1232)
    bench.serve(GOOD, opt=[(15, b"\0\0" + "é".encode() * 100)])
    assert data_of(bench.only_answer) == ["192.0.2.80"]
    assert extended_error(bench.only_answer) == 0
