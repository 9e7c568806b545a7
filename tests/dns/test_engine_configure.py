"""Too many questions, and new rules in their middle: who has room, who is asked, and that nobody waits in vain."""

import gc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devlink.core.plan import ForwarderConfig
from devlink.dns.questions import Attempt
from devlink.dns.wire import Ede
from tests.dns.messages import CLUSTER, ORDINARY_TWO, SPLIT, upstream, zone
from tests.dns.moved_engine import (
    WEB,
    WWW,
    Bench,
    Client,
    data_of,
    extended_error,
    parse,
    query,
    respond,
)

SEARCH = replace(SPLIT, zones=(replace(zone("cluster.local"), search=("default", "qa")),))


def test_too_many_questions_fail_at_once_and_room_comes_back() -> None:
    bench = Bench(max_in_flight=6)
    for number in range(4):
        bench.query(f"n{number}.example")
    assert len(bench.asked) == 3, "half of the room: there are two groups of servers"
    assert parse(bench.only_answer).rcode() == 2
    assert bench.engine.counts.overloads == 1
    bench.query("proof.devlink.example")
    assert parse(bench.last_answer).rcode() == 0
    for asked in bench.asked:
        bench.serve("@ 300 A 192.0.2.80", asked=asked)
    assert bench.quiet
    bench.query()
    assert len(bench.open) == 1


@pytest.mark.parametrize("same_name", [False, True])
@pytest.mark.parametrize(
    ("dead", "alive"),
    [("{}.example", "{}.cluster.local"), ("{}.cluster.local", "{}.example"), ("{}.cluster.kube", "{}.cluster.local")],
)
def test_questions_that_wait_for_a_dead_server_take_no_room_from_others(dead: str, alive: str, same_name: bool) -> None:
    bench = Bench(replace(SPLIT, zones=(*SPLIT.zones, zone("cluster.kube", "10.1.0.2"))), max_in_flight=30)
    for number in range(100):
        bench.query(dead.format("n" if same_name else f"n{number}"))
    room = {True: 15, False: 7}  # half for the ordinary servers, and the zones' share the rest
    taken = room[dead == "{}.example"]
    assert bench.engine.in_flight == taken
    for number in range(16):
        bench.query(alive.format("n" if same_name else f"n{number}"))
    total = taken + room[alive == "{}.example"]
    assert bench.engine.in_flight == total, "all other servers have the whole of their share, and no more"
    bench.give_up()
    assert bench.quiet
    assert len(bench.answers) == 116
    bench.query(dead.format("n"))
    assert bench.engine.in_flight == 1


@pytest.mark.parametrize("is_changed", [False, True])
def test_questions_for_which_nobody_waits_any_more_have_no_more_room_than_others(is_changed: bool) -> None:
    bench = Bench(max_in_flight=6)
    if is_changed:
        for number in range(3):
            bench.query(f"early{number}.example")
        bench.change(cache_bytes=1 << 20)
        for asked in bench.asked[:3]:
            bench.serve("@ 1 A 192.0.2.80", asked=asked)
        assert bench.quiet
    for number in range(6):
        bench.fill(f"n{number}.example", "@ 1 A 192.0.2.80")
    bench.query("silent.example")
    bench.give_up()
    answers = len(bench.answers)
    for number in range(6):
        bench.query(f"n{number}.example")
    assert len(bench.answers) == answers + 6, "the old answers at once, or that there are too many"
    assert len({asked.qname for asked in bench.open.values()}) == 3
    assert data_of(bench.answers[answers].packet) == ["192.0.2.80"]
    bench.give_up()
    assert bench.quiet


def test_zones_with_the_same_servers_share_what_they_may_have_in_flight() -> None:
    bench = Bench(max_in_flight=10)
    for number in range(4):
        bench.query(f"n{number}.cluster.local")
        bench.query(f"{number}.0.254.10.in-addr.arpa", "PTR")
    assert bench.engine.in_flight == 5


def test_finished_questions_leave_nothing_behind() -> None:
    bench = Bench(replace(SPLIT, cache_bytes=0))
    bench.query("stays.example")
    packet = query(WWW)
    for _ in range(3000):
        bench.ask(packet)
        asked = bench.asked.pop()
        bench.reply(asked, asked.packet[:2] + b"\x81\x80" + asked.packet[4:])
        bench.answers.clear()
    gc.collect()
    assert sum(isinstance(each, Attempt) for each in gc.get_objects()) < 100
    bench.give_up()
    assert bench.quiet


# New rules


def test_new_rules_leave_a_question_alone_whose_servers_stay() -> None:
    bench = Bench()
    bench.query()
    bench.query(WEB)
    bench.change(zones=(*SPLIT.zones, zone("cluster.kube", "10.1.0.2")))
    assert len(bench.asked) == len(bench.open) == 2
    for asked in bench.asked:
        bench.serve("@ 300 A 192.0.2.80", asked=asked)
    assert len(bench.answers) == 2
    assert bench.quiet


def test_a_question_that_stays_is_counted_with_its_new_group_when_a_zone_goes() -> None:
    bench = Bench(replace(SPLIT, zones=(*SPLIT.zones, zone("cluster.kube", "10.1.0.2"))))
    bench.query()
    bench.change(zones=SPLIT.zones)
    bench.serve("@ 300 A 192.0.2.80")
    assert data_of(bench.only_answer) == ["192.0.2.80"]
    assert bench.quiet


def test_a_server_that_is_our_own_socket_from_now_on_is_asked_no_more() -> None:
    bench = Bench()
    bench.query()
    (before,) = bench.hosts
    bench.configure(bench.config, own=(before, 53))
    assert not any(asked.server == before for asked in bench.open.values()), "it would be a loop"
    bench.give_up()
    assert before not in bench.hosts[1:]
    assert len(bench.answers) == 1
    assert bench.quiet


def test_a_name_that_becomes_a_clusters_is_no_longer_asked_for_elsewhere() -> None:
    bench = Bench()
    bench.query("web.default.svc.cluster.kube")
    (before,) = bench.asked
    bench.change(zones=(*SPLIT.zones, zone("cluster.kube", "10.1.0.2")))
    assert before.attempt not in bench.open
    assert bench.asked[-1].server == "10.1.0.2"
    bench.reply(before, respond(before.packet, "@ 300 A 203.0.113.66"))
    assert not bench.answers
    bench.give_up()
    assert set(bench.hosts[1:]) == {"10.1.0.2"}
    assert len(bench.answers) == 1
    assert bench.engine.counts.queries == 1


def test_a_question_that_new_rules_forbid_is_answered_now() -> None:
    bench = Bench()
    bench.query("web.kube-system.svc.cluster.local", payload=1232)
    bench.change(zones=(zone("cluster.local", namespaces=("default",)),))
    assert extended_error(bench.only_answer) == Ede.PROHIBITED
    assert bench.quiet


def test_a_question_that_new_rules_send_elsewhere_counts_there() -> None:
    bench = Bench(max_in_flight=4)
    bench.query("a.default.svc.cluster.kube")
    bench.query("b.default.svc.cluster.kube")
    bench.change(zones=(zone("cluster.kube", CLUSTER),))
    bench.query("c.default.svc.cluster.kube")
    assert bench.engine.counts.overloads == 1, "its servers have two already"
    bench.query()
    assert bench.engine.in_flight == 3, "and the ordinary ones have none"
    bench.give_up()
    assert bench.quiet


def test_room_is_bounded_even_where_new_rules_make_the_shares_smaller() -> None:
    bench = Bench(ForwarderConfig(upstreams=SPLIT.upstreams), max_in_flight=4)
    for number in range(6):
        bench.query(f"n{number}.example")
    assert bench.engine.in_flight == 4
    bench.configure(SPLIT)
    bench.query(WEB)
    bench.query("another.example")
    assert bench.engine.in_flight <= 5
    bench.give_up()
    assert bench.quiet


def test_an_alias_whose_namespace_is_no_longer_searched_is_asked_nowhere_else() -> None:
    bench = Bench(SEARCH)
    bench.query("redis.default")
    bench.query("redis.default.svc.cluster.local")
    bench.configure(SPLIT)
    assert parse(bench.only_answer).rcode() == 5
    assert {(asked.server, asked.qname) for asked in bench.open.values()} == {
        (CLUSTER, "redis.default.svc.cluster.local."),
    }
    for asked in tuple(bench.open.values()):
        bench.serve("@ 300 A 10.20.0.1", asked=asked)
    assert len(bench.answers) == 2
    assert bench.quiet


CONFIGS = [
    SPLIT,
    SEARCH,
    ForwarderConfig(upstreams=SPLIT.upstreams),
    replace(SPLIT, zones=(zone("example", "10.1.0.2"),)),
    replace(SPLIT, upstreams=(upstream(ORDINARY_TWO),)),
    replace(SPLIT, zones=(zone("cluster.local", CLUSTER, "10.254.0.3"), *SPLIT.zones[1:])),
    replace(SPLIT, zones=(zone("cluster.local", namespaces=("qa",)),)),
    replace(SPLIT, proofs=()),
]
NAMES = [WEB, WWW, "redis.default", "7.0.254.10.in-addr.arpa", "x.cluster.local.corp", "proof.devlink.example"]


def allowed(config: ForwarderConfig, asked: str) -> set[str]:
    """Which servers may see a name, by another way of telling than the forwarder's."""
    for each in config.zones:
        suffix = str(each.suffix).rstrip(".") + "."
        if asked == suffix or asked.endswith("." + suffix):
            return {str(server.address) for server in each.servers}
    return {str(server.address) for server in config.upstreams}


@settings(max_examples=100)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.sampled_from(NAMES), st.booleans()),
            st.tuples(st.just("configure"), st.sampled_from(CONFIGS)),
            st.tuples(st.just("reply"), st.integers(0, 99), st.sampled_from(["good", "servfail", "tc", "lie", "icmp"])),
            st.tuples(st.just("sleep"), st.sampled_from([0.05, 0.3, 1.0, 3.0, 40.0])),
        ),
        max_size=30,
    )
)
def test_whatever_happens_each_question_gets_one_answer_in_time_from_who_may_give_it(actions: list[tuple]) -> None:  # type: ignore[type-arg]
    bench = Bench(replace(SPLIT, cache_bytes=4000))
    clients: dict[Client, float] = {}
    answered: dict[Client, float] = {}
    for action in [*actions, ("end",)]:
        known, asked_before = len(bench.answers), len(bench.asked)
        if action[0] == "ask":
            bench.now += 0.001
            client = bench.ask(query(action[1], payload=1232 if action[2] else None), Client(action[2]))
            clients[client] = bench.now
        elif action[0] == "configure":
            bench.configure(action[1])
        elif action[0] == "reply" and bench.open:
            asked = list(bench.open.values())[action[1] % len(bench.open)]
            if action[2] == "icmp":
                bench.fail(asked)
            elif action[2] == "lie":
                bench.reply(asked, respond(query("evil.example"), "@ 300 A 203.0.113.66"))
            else:
                truth = "@ 300 A 10.9.9.9" if asked.qname.endswith("local.") else "@ 300 A 192.0.2.80"
                bench.serve(truth, asked=asked, rcode=2 if action[2] == "servfail" else 0, tc=action[2] == "tc")
        elif action[0] == "sleep":
            until = bench.now + action[1]
            while (due := bench.engine.next_deadline()) is not None and due < until:
                bench.advance(max(due - bench.now, 0.0))
            bench.now = until
        elif action[0] == "end":
            bench.give_up()
        for asked in bench.asked[asked_before:]:
            assert asked.server in allowed(bench.config, asked.qname)
        for answer in bench.answers[known:]:
            assert isinstance(answer.client, Client)
            assert answer.client not in answered
            answered[answer.client] = bench.now
            assert b"\xcb\0\x71\x42" not in answer.packet
            if answer.packet[12:16] == query(WWW)[12:16]:
                assert "10.9.9.9" not in data_of(answer.packet)
    assert answered.keys() == clients.keys()
    assert bench.quiet


def test_a_hundred_zones_leave_ordinary_names_half_of_the_room() -> None:
    zones = tuple(zone(f"z{number}.example", f"10.1.0.{number + 1}") for number in range(100))
    bench = Bench(replace(SPLIT, zones=zones), max_in_flight=100)
    for number in range(60):
        bench.query(f"n{number}.test")
    assert bench.engine.in_flight == 50
