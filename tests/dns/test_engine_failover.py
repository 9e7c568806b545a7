"""Servers that are silent, late, broken or only reachable in another way: who is asked when, and what is remembered."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.plan import ForwarderConfig
from devlink.core.profile import Transport
from devlink.dns.servers import BUDGET, CLUSTER_WAIT, FIRST_PAUSE, MAX_PAUSE, NO_EDNS, ORDINARY_WAIT, PREFER_TCP
from devlink.dns.wire import Ede
from tests.dns.messages import CLUSTER, ORDINARY, ORDINARY_TWO, SPLIT, upstream, zone
from tests.dns.moved_engine import (
    EDE_OPTION,
    WEB,
    WWW,
    Asked,
    Bench,
    data_of,
    edns_of,
    extended_error,
    parse,
    query,
    respond,
)

CLUSTER_TWO = "10.254.0.3"
REPLICAS = replace(SPLIT, zones=(zone("cluster.local", CLUSTER, CLUSTER_TWO),))
GOOD = "@ 300 A 192.0.2.80"
BARE_FORMERR = b"\x80\x01" + bytes(8)
"""All behind the id of how old servers answer what they do not understand."""


def only(*, transport: Transport = Transport.AUTO, cluster: bool = False) -> ForwarderConfig:
    """One server for a name."""
    server = upstream(CLUSTER if cluster else ORDINARY, transport=transport)
    zones = (replace(zone("example"), servers=(server,)),) if cluster else ()
    return ForwarderConfig(zones=zones, upstreams=() if cluster else (server,))


def ask_anew(bench: Bench, name: str = "n{}.example") -> list[Asked]:
    """Ask for a name that was never asked for; what goes out at once."""
    before = len(bench.asked)
    bench.query(name.format(before))
    return bench.asked[before:]


def silence(bench: Bench) -> None:
    """Have the first ordinary server be silent for a question, and the second answer it."""
    ask_anew(bench)
    bench.step()
    assert bench.hosts[-2:] == [ORDINARY, ORDINARY_TWO]
    bench.serve(GOOD)


def blocked_udp(bench: Bench, name: str = "n{}.example") -> None:
    """Have a question answered over TCP and never over UDP."""
    ask_anew(bench, name)
    while bench.asked[-1].transport != "tcp":
        bench.step()
    bench.serve(GOOD)
    assert bench.quiet


# Silence


def test_silence_is_a_servfail_that_says_why_before_the_stub_gives_up() -> None:
    bench = Bench()
    bench.query(WEB, payload=1232)
    took = bench.give_up()
    assert 0 < took <= BUDGET < 5
    assert parse(bench.only_answer).rcode() == 2
    assert extended_error(bench.only_answer) == Ede.NO_REACHABLE_AUTHORITY
    assert CLUSTER.encode() in bench.only_answer
    assert [asked.transport for asked in bench.asked] == ["udp", "udp", "tcp"]
    assert bench.quiet


def test_unreachable_servers_are_a_servfail_at_once() -> None:
    for config in (SPLIT, REPLICAS):
        bench = Bench(config)
        bench.query(WEB, payload=1232)
        began = bench.now
        while bench.open:
            bench.fail(next(iter(bench.open.values())))
        assert extended_error(bench.only_answer) == Ede.NETWORK_ERROR
        assert bench.now == began
        assert bench.quiet


@pytest.mark.parametrize("winner", [0, 1])
def test_the_second_server_answers_for_a_silent_first_and_the_first_may_still_win(winner: int) -> None:
    bench = Bench()
    bench.query()
    bench.step()
    assert bench.hosts == [ORDINARY, ORDINARY_TWO]
    bench.serve(f"@ 300 A 192.0.2.{80 + winner}", asked=bench.asked[winner])
    assert data_of(bench.only_answer) == [f"192.0.2.{80 + winner}"]
    bench.serve("@ 300 A 203.0.113.66", asked=bench.asked[1 - winner])
    assert len(bench.answers) == 1
    assert bench.quiet


@pytest.mark.parametrize(
    ("config", "name", "bounds"), [(SPLIT, "n{}.example", ORDINARY_WAIT), (REPLICAS, "n{}.cluster.local", CLUSTER_WAIT)]
)
def test_the_wait_for_the_next_server_follows_the_measured_time_within_bounds(
    config: ForwarderConfig, name: str, bounds: tuple[float, float]
) -> None:
    least, most = bounds
    for seconds, wanted in ((0.001, least), (least * 0.75, None), (most, most)):
        bench = Bench(config)
        for _ in range(30):
            for asked in ask_anew(bench, name):
                bench.now += seconds
                bench.serve(GOOD, asked=asked)
            bench.advance(1.0)
        (asked,) = ask_anew(bench, name)
        due = bench.engine.next_deadline()
        assert due is not None
        waited = due - bench.now
        if wanted is None:
            assert least < waited < most
        else:
            assert 0.9 * wanted <= waited <= wanted + 1e-9, "a little less where the budget asks for it"
        bench.step()
        assert bench.asked[-1].server != asked.server


def test_no_question_waits_for_a_silent_server_twice() -> None:
    bench = Bench()
    silence(bench)
    for _ in range(5):
        (asked,) = ask_anew(bench)
        assert asked.server == ORDINARY_TWO
        bench.now += 0.01
        bench.serve(GOOD)
    assert bench.quiet


def test_questions_that_are_in_flight_when_a_server_falls_silent_do_not_lengthen_its_pause() -> None:
    bench = Bench()
    for _ in range(20):
        ask_anew(bench)
        bench.now += 0.001
    while any(asked.server == ORDINARY for asked in list(bench.open.values())[-20:]):
        bench.step()
    for asked in [asked for asked in bench.open.values() if asked.server == ORDINARY_TWO]:
        bench.serve(GOOD, asked=asked)
    assert bench.quiet
    bench.advance(FIRST_PAUSE + 0.05)
    assert {asked.server for asked in ask_anew(bench)} == {ORDINARY, ORDINARY_TWO}


def test_a_silent_server_is_probed_beside_the_live_one_after_pauses_that_double() -> None:
    bench = Bench()
    silence(bench)
    began, probes = bench.now, []
    while bench.now < began + 130:
        live, *probe = ask_anew(bench)
        assert live.server == ORDINARY_TWO
        if probe:
            assert [asked.server for asked in probe] == [ORDINARY]
            probes.append(bench.now)
        bench.serve(GOOD, asked=live)
        bench.advance(0.5)
    pauses = [later - earlier for earlier, later in pairwise(probes)]
    assert probes[0] - began == pytest.approx(FIRST_PAUSE, abs=0.6)
    assert pauses == pytest.approx([min(2 * FIRST_PAUSE * 2**n, MAX_PAUSE) for n in range(len(pauses))], abs=0.6)
    assert pauses[-1] == pytest.approx(MAX_PAUSE, abs=0.6)


@pytest.mark.parametrize("in_time", [True, False])
def test_a_server_that_answers_its_probe_is_first_again(in_time: bool) -> None:
    bench = Bench()
    silence(bench)
    bench.advance(FIRST_PAUSE + 0.1)
    live, probe = ask_anew(bench)
    bench.serve(GOOD, asked=live)
    assert data_of(bench.last_answer) == ["192.0.2.80"]
    if in_time:  # later than the live one's answer, as a server that is farther away answers
        bench.serve("@ 300 A 192.0.2.81", asked=probe)
    else:
        bench.advance(BUDGET)
    assert bench.quiet
    assert ask_anew(bench)[0].server == (ORDINARY if in_time else ORDINARY_TWO)


@pytest.mark.parametrize("how", ["silence", "a late failure"])
def test_a_probe_that_brings_nothing_makes_the_pause_no_longer_than_it_is(how: str) -> None:
    bench = Bench()
    silence(bench)
    bench.advance(FIRST_PAUSE + 0.1)
    live, probe = ask_anew(bench)
    bench.serve(GOOD, asked=live)
    if how == "silence":
        bench.advance(BUDGET)
    else:
        bench.advance(2 * FIRST_PAUSE + 0.1)
        bench.fail(probe)
    assert bench.quiet
    assert {asked.server for asked in ask_anew(bench)} == {ORDINARY, ORDINARY_TWO}


def test_what_a_probe_brings_is_nobodys_answer_and_is_not_kept() -> None:
    bench = Bench()
    silence(bench)
    bench.advance(FIRST_PAUSE + 0.1)
    kept = len(bench.engine.cache.table)
    live, probe = ask_anew(bench)
    bench.serve("@ 300 A 192.0.2.81", asked=probe)
    assert len(bench.engine.cache.table) == kept
    answered = bench.engine.counts.answered
    bench.serve(GOOD, asked=live)
    assert data_of(bench.last_answer) == ["192.0.2.80"]
    assert (len(bench.engine.cache.table), bench.engine.counts.answered) == (kept + 1, answered + 1)


@pytest.mark.parametrize("rcode", [2, 5])
def test_a_probe_that_fails_costs_no_question(rcode: int) -> None:
    bench = Bench()
    silence(bench)
    bench.advance(FIRST_PAUSE + 0.1)
    live, probe = ask_anew(bench)
    answers = len(bench.answers)
    bench.serve(asked=probe, rcode=rcode)
    assert len(bench.answers) == answers
    bench.serve(GOOD, asked=live)
    assert data_of(bench.last_answer) == ["192.0.2.80"]
    assert bench.quiet


def test_when_all_are_silent_all_are_still_asked_in_their_order() -> None:
    bench = Bench()
    ask_anew(bench)
    bench.give_up()
    before = len(bench.asked)
    ask_anew(bench)
    bench.step()
    assert set(bench.hosts[before:]) == {ORDINARY, ORDINARY_TWO}
    bench.serve(GOOD)
    assert data_of(bench.last_answer) == ["192.0.2.80"]


def test_another_network_gives_silent_servers_another_chance() -> None:
    bench = Bench()
    silence(bench)
    bench.change(zones=())
    assert ask_anew(bench)[0].server == ORDINARY


# Failures


def test_an_older_try_that_fails_does_not_hurry_the_newer_one() -> None:
    bench = Bench()
    bench.query()
    bench.step()
    bench.fail(bench.asked[0])
    assert len(bench.asked) == 2
    assert list(bench.open) == [bench.asked[1].attempt]
    bench.serve(GOOD)
    assert parse(bench.only_answer).rcode() == 0
    assert bench.quiet


@pytest.mark.parametrize("rcode", [1, 2, 4, 5])
def test_a_failing_server_is_followed_by_the_next_one_at_once(rcode: int) -> None:
    for config, qname in ((SPLIT, WWW), (REPLICAS, WEB)):
        bench = Bench(config)
        bench.query(qname)
        bench.serve(rcode=rcode)
        assert len({asked.server for asked in bench.asked}) == 2
        bench.serve(GOOD)
        assert parse(bench.only_answer).rcode() == 0
        assert bench.quiet


@pytest.mark.parametrize("rcode", [0, 3])
def test_nodata_and_nxdomain_are_answers_and_no_failures(rcode: int) -> None:
    bench = Bench()
    bench.query()
    bench.serve(rcode=rcode)
    assert parse(bench.only_answer).rcode() == rcode
    assert bench.hosts == [ORDINARY]


def test_when_all_fail_the_last_word_is_theirs_with_their_reason() -> None:
    bench = Bench()
    bench.query(payload=1232)
    bench.serve(rcode=2)
    bench.serve(rcode=5, opt=[(EDE_OPTION, b"\0\x12not you")])
    assert parse(bench.only_answer).rcode() == 5
    assert edns_of(bench.only_answer) == {EDE_OPTION: b"\0\x12not you"}
    assert len(bench.asked) == 2
    assert bench.quiet


def test_a_failure_that_comes_late_does_not_end_what_another_server_still_may_answer() -> None:
    bench = Bench()
    bench.query()
    bench.step()
    bench.serve(asked=bench.asked[0], rcode=2)
    assert not bench.answers
    bench.serve(GOOD, asked=bench.asked[1])
    assert data_of(bench.only_answer) == ["192.0.2.80"]
    assert bench.quiet


def test_a_failure_is_passed_on_where_the_other_server_stays_silent() -> None:
    bench = Bench()
    bench.query()
    bench.step()
    bench.serve(asked=bench.asked[0], rcode=5)
    assert bench.give_up() <= ORDINARY_WAIT[1] + 1e-9, "it had its usual time"
    assert parse(bench.only_answer).rcode() == 5
    assert bench.quiet


def test_servfail_of_the_cluster_is_never_tried_elsewhere() -> None:
    bench = Bench()
    bench.query(WEB)
    bench.serve(rcode=2)
    assert parse(bench.only_answer).rcode() == 2
    assert bench.hosts == [CLUSTER]
    assert bench.quiet


def test_duplicate_and_late_replies_and_failures_are_ignored() -> None:
    bench = Bench(replace(SPLIT, cache_bytes=0))
    bench.query()
    bench.serve(GOOD, asked=bench.asked[0])
    bench.serve(GOOD, asked=bench.asked[0])
    assert len(bench.answers) == 1
    bench.query()
    bench.give_up()
    assert len(bench.answers) == 2
    for asked in tuple(bench.asked):
        bench.serve(GOOD, asked=asked)
        bench.fail(asked)
    assert len(bench.answers) == 2
    assert bench.quiet


MALFORMED = {
    "another question": lambda good: good[:13] + b"x" + good[14:],
    "no response": lambda good: good[:2] + bytes((good[2] & 0x7F,)) + good[3:],
    "another opcode": lambda good: good[:2] + bytes((good[2] | 0x20,)) + good[3:],
    "two questions": lambda good: good[:5] + b"\2" + good[6:],
    "cut": lambda good: good[:-1],
    "a record more": lambda good: good[:7] + bytes((good[7] + 1,)) + good[8:],
    "a header": lambda good: good[:12],
}


@pytest.mark.parametrize("what", [pytest.param(change, id=name) for name, change in MALFORMED.items()])
def test_a_reply_that_makes_no_sense_is_no_answer(what: object) -> None:
    assert callable(what)
    bench = Bench()
    bench.query()
    bench.reply(bench.asked[0], what(respond(bench.asked[0].packet, GOOD, opt=None)))
    assert not bench.answers
    assert bench.engine.counts.mismatched == 1
    while not bench.answers:
        if bench.asked[-1].server == ORDINARY_TWO:
            bench.serve("@ 300 A 192.0.2.99", asked=bench.asked[-1])
        else:
            bench.step()
    assert data_of(bench.only_answer) == ["192.0.2.99"]


def test_octets_behind_the_end_of_a_reply_are_not_passed_on() -> None:
    bench = Bench()
    bench.query()
    good = respond(bench.asked[0].packet, GOOD, opt=None)
    bench.reply(bench.asked[0], good + b"evil")
    assert not bench.answers or bench.only_answer[2:] == good[2:]


# TCP


def test_a_truncated_reply_is_asked_for_over_tcp_and_nothing_of_it_is_passed_on() -> None:
    for stream in (False, True):
        bench = Bench()
        bench.query(stream=stream)
        bench.serve("@ 300 A 203.0.113.66", tc=True)
        assert not bench.answers
        assert [(asked.server, asked.transport) for asked in bench.asked] == [(ORDINARY, "udp"), (ORDINARY, "tcp")]
        bench.serve(GOOD)
        assert data_of(bench.only_answer) == ["192.0.2.80"]
        assert bench.quiet


def test_who_truncates_over_udp_and_is_silent_over_tcp_is_not_asked_over_udp_again() -> None:
    bench = Bench(only())
    bench.query()
    bench.serve(tc=True)
    bench.give_up()
    assert "udp" not in [asked.transport for asked in bench.asked[1:]]
    assert parse(bench.only_answer).rcode() == 2


def test_truncation_does_not_mean_that_tcp_is_preferred() -> None:
    bench = Bench()
    bench.query()
    bench.serve(tc=True)
    bench.serve(GOOD)
    assert ask_anew(bench)[0].transport == "udp"


@pytest.mark.parametrize("how", ["failure", "silence", "servfail"])
def test_a_truncated_reply_whose_tcp_fails_is_followed_by_the_next_server(how: str) -> None:
    bench = Bench()
    bench.query()
    bench.serve("@ 300 A 203.0.113.66", tc=True)
    if how == "failure":
        bench.fail(bench.asked[1])
    elif how == "silence":
        bench.step()
    else:
        bench.serve(rcode=2)
    assert bench.asked[2].server == ORDINARY_TWO
    bench.serve(GOOD, asked=bench.asked[2])
    assert data_of(bench.only_answer) == ["192.0.2.80"]
    assert bench.quiet


def test_where_only_udp_is_allowed_a_truncated_reply_is_the_answer_and_stays_truncated() -> None:
    bench = Bench(only(transport=Transport.UDP))
    bench.query()
    bench.serve(GOOD, tc=True)
    assert parse(bench.only_answer).flags & 0x0200
    assert not data_of(bench.only_answer), "a part would only tempt somebody to use it"
    bench.give_up()
    assert {asked.transport for asked in bench.asked} == {"udp"}
    bench.query()
    assert bench.open, "and it is not cached"


@pytest.mark.parametrize("cluster", [False, True])
def test_where_udp_is_blocked_only_the_first_question_waits_for_it(cluster: bool) -> None:
    bench = Bench(only(cluster=cluster))
    blocked_udp(bench)
    assert [state.status(bench.now) for state in bench.engine.servers] == ["tcp"]
    for _ in range(5):
        (asked,) = ask_anew(bench)
        assert asked.transport == "tcp"
        bench.now += 0.01
        bench.serve(GOOD)
        bench.advance(PREFER_TCP / 10)


def test_udp_is_probed_beside_tcp_after_a_while_and_taken_again_when_it_answers() -> None:
    for is_back in (False, True):
        bench = Bench(only())
        blocked_udp(bench)
        bench.advance(PREFER_TCP + 1)
        asked = {each.transport: each for each in ask_anew(bench)}
        assert asked.keys() == {"udp", "tcp"}
        bench.serve(GOOD, asked=asked["tcp"])
        if is_back:
            bench.serve(GOOD, asked=asked["udp"])
        bench.advance(BUDGET)
        assert bench.quiet
        assert [each.transport for each in ask_anew(bench)] == ["udp" if is_back else "tcp"]
        bench.serve(GOOD)
        bench.advance(1.0)
        assert len(ask_anew(bench)) == 1


@pytest.mark.parametrize("how", ["silence", "failure"])
def test_a_preference_for_tcp_ends_when_tcp_fails(how: str) -> None:
    bench = Bench(only())
    blocked_udp(bench)
    (asked,) = ask_anew(bench)
    assert asked.transport == "tcp"
    if how == "silence":
        bench.step()
    else:
        bench.fail(asked)
    assert bench.asked[-1].transport == "udp"
    bench.give_up()
    assert ask_anew(bench)[0].transport == "udp"


def test_a_lost_datagram_is_repeated_before_tcp_is_tried() -> None:
    bench = Bench(only())
    bench.query()
    bench.step()
    assert [asked.transport for asked in bench.asked] == ["udp", "udp"]
    bench.serve(GOOD)
    assert ask_anew(bench)[0].transport == "udp"


def test_only_tcp_and_only_tls_are_never_asked_over_udp() -> None:
    tls = replace(upstream(ORDINARY, port=853), tls_name="dns.test")
    for config, transport in (
        (only(transport=Transport.TCP), "tcp"),
        (ForwarderConfig(upstreams=(tls, replace(tls, port=854))), "tls"),
    ):
        bench = Bench(config)
        ask_anew(bench)
        bench.give_up()
        ask_anew(bench)
        bench.serve(tc=True, asked=bench.asked[-1])
        bench.give_up()
        assert {asked.transport for asked in bench.asked} == {transport}


# EDNS


@pytest.mark.parametrize("reply", ["FORMERR", "NOTIMP", "FORMERR with OPT and BADVERS", "bare header"])
@pytest.mark.parametrize("transport", list(Transport))
def test_a_server_that_does_not_know_opt_is_asked_without_and_that_is_remembered(
    transport: Transport, reply: str
) -> None:
    bench = Bench(only(transport=transport))
    bench.query(payload=1232)
    (asked,) = bench.asked
    assert asked.has_opt
    if reply == "bare header":
        bench.reply(asked, asked.packet[:2] + BARE_FORMERR)
    elif reply == "FORMERR with OPT and BADVERS":
        bench.serve(rcode=16)
    else:
        bench.serve(rcode={"FORMERR": 1, "NOTIMP": 4}[reply], opt=None)
    again = bench.asked[1]
    assert (again.server, again.transport, again.has_opt) == (asked.server, asked.transport, False)
    bench.serve(GOOD)
    assert data_of(bench.only_answer) == ["192.0.2.80"]
    assert parse(bench.only_answer).edns == 0, "the client spoke EDNS with us"
    bench.advance(NO_EDNS - 10)
    assert [asked.has_opt for asked in ask_anew(bench)] == [False]
    bench.serve(GOOD)
    bench.advance(20)
    assert [asked.has_opt for asked in ask_anew(bench)] == [True]


def test_a_server_that_says_badvers_to_a_question_without_opt_has_no_answer_for_anybody() -> None:
    bench = Bench(only(transport=Transport.UDP))
    bench.query()
    while bench.open:
        asked = next(iter(bench.open.values()))
        head = asked.packet[:2] + b"\x81\x80" + asked.packet[4:10] + b"\0\1"
        question = asked.packet[12 : 12 + len(WWW) + 6]
        bench.reply(asked, head + question + b"\0\0\x29\4\xd0\1\0\0\0\0\0")
        assert len(bench.asked) < 10
    bench.give_up()
    assert parse(bench.only_answer).rcode() == 2, "the header alone says NOERROR"


def test_that_one_server_does_not_know_opt_says_nothing_of_another() -> None:
    bench = Bench()
    bench.query()
    bench.serve(rcode=1, opt=None)
    bench.serve(rcode=2)
    assert (bench.asked[-1].server, bench.asked[-1].has_opt) == (ORDINARY_TWO, True)
    bench.serve(GOOD)
    bench.advance(1.0)
    ask_anew(bench)
    bench.serve(rcode=2)
    assert (bench.asked[-1].server, bench.asked[-1].has_opt) == (ORDINARY_TWO, True)


def test_a_server_that_has_shown_opt_and_refuses_it_once_is_asked_with_it_again() -> None:
    bench = Bench(only())
    bench.fill()
    bench.query("odd.example")
    bench.serve(rcode=1, opt=None)
    bench.serve(GOOD)
    assert [asked.has_opt for asked in bench.asked] == [True, True, False]
    bench.advance(1.0)
    assert [asked.has_opt for asked in ask_anew(bench)] == [True]


def test_a_formerr_with_opt_is_about_the_question_and_no_reason_to_leave_opt_out() -> None:
    bench = Bench()
    bench.query()
    bench.serve(rcode=1)
    assert bench.asked[1].server == ORDINARY_TWO
    assert bench.asked[1].has_opt


def test_a_second_datagram_to_a_server_that_never_showed_opt_goes_without() -> None:
    bench = Bench(only())
    bench.query()
    bench.step()
    assert [asked.has_opt for asked in bench.asked] == [True, False]
    bench.serve(GOOD)
    (asked,) = ask_anew(bench)
    assert asked.has_opt, "one loss proves nothing"
    bench.serve(GOOD)
    bench.advance(1.0)
    before = len(bench.asked)
    ask_anew(bench)
    bench.step()
    assert [asked.has_opt for asked in bench.asked[before:]] == [True, True], "it has answered with OPT"


def test_dnssec_ok_goes_out_with_every_opt_and_only_then() -> None:
    bench = Bench()
    bench.ask(query(WWW, payload=1232, do=True))
    bench.serve(rcode=1, opt=None)
    assert [parse(asked.packet).ednsflags for asked in bench.asked] == [0x8000, 0]


# A cluster's replicas


def test_replicas_are_each_measured_and_then_the_nearest_is_asked() -> None:
    bench = Bench(REPLICAS)
    delays = {CLUSTER: 0.030, CLUSTER_TWO: 0.002}
    for _ in range(10):
        (asked,) = ask_anew(bench, "n{}.cluster.local")
        bench.now += delays[asked.server]
        bench.serve(GOOD)
        bench.advance(1.0)
    assert set(bench.hosts[:2]) == {CLUSTER, CLUSTER_TWO}
    assert set(bench.hosts[2:]) == {CLUSTER_TWO}
    delays[CLUSTER_TWO] = 0.060
    for _ in range(40):
        (asked,) = ask_anew(bench, "n{}.cluster.local")
        bench.now += delays[asked.server]
        bench.serve(GOOD)
        bench.advance(1.0)
    assert bench.hosts[-1] == CLUSTER


def test_a_replica_that_was_slow_once_is_asked_again_some_day() -> None:
    bench = Bench(REPLICAS)
    seconds = dict.fromkeys((CLUSTER, CLUSTER_TWO), 0.004)
    seconds[CLUSTER] = 0.080
    for _ in range(300):
        (asked,) = ask_anew(bench, "n{}.cluster.local")
        bench.now += seconds[asked.server]
        bench.serve(GOOD)
        bench.advance(1.0)
    assert 1 < bench.hosts.count(CLUSTER) < 50


def test_ordinary_servers_keep_their_order_however_slow_the_first_is() -> None:
    bench = Bench()
    for _ in range(20):
        (asked,) = ask_anew(bench)
        assert asked.server == ORDINARY
        bench.now += 0.2
        bench.serve(GOOD)


@given(st.lists(st.sampled_from(list(Transport)), min_size=1, max_size=6), st.lists(st.booleans(), max_size=12))
def test_every_server_is_tried_within_the_budget_unless_one_answers(
    transports: list[Transport], silent: list[bool]
) -> None:
    servers = tuple(upstream(f"192.0.2.{i}", transport=t) for i, t in enumerate(transports, 1))
    bench = Bench(ForwarderConfig(upstreams=servers))
    for is_silent in [*silent, True]:
        began, before = bench.now, len(bench.asked)
        ask_anew(bench)
        if is_silent:
            bench.give_up()
            assert bench.now - began <= BUDGET + 1e-9
            assert set(bench.hosts[before:]) == {str(each.address) for each in servers[:4]}
            assert parse(bench.last_answer).rcode() == 2
        else:
            while bench.open:  # the probes as well
                bench.serve(GOOD)
        assert bench.quiet
        assert len(bench.asked) - before <= 3 * len(servers)
