"""The engine moved by hand: packets and times in, effects out, no socket anywhere."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devlink.core.plan import ForwarderConfig
from devlink.core.profile import Transport
from devlink.dns.engine import PREFER_TCP, SLACK, Answer, Ask, Client, Drop, Effect, Engine, Forget
from devlink.dns.rules import BUDGET, Server
from devlink.dns.wire import Ede, with_id
from tests.dns.messages import (
    CLUSTER,
    ORDINARY,
    ORDINARY_TWO,
    SPLIT,
    answer,
    extended_error,
    parse,
    question,
    upstream,
    zone,
)

UDP = Client("127.0.0.1", False, "udp")
TCP = Client("127.0.0.1", True, 7)
OWN = frozenset({Server("127.0.0.53", 53)})


@dataclass
class Bench:
    """An engine with what it asked for: open attempts, answers, drops."""

    config: ForwarderConfig = SPLIT
    max_in_flight: int = 100
    now: float = 1000.0
    answers: list[Answer] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    """All that were ever asked, in order."""
    open: dict[int, Ask] = field(default_factory=dict)
    drops: list[Drop] = field(default_factory=list)

    def __post_init__(self) -> None:
        numbers = itertools.count(0xA000)
        self.engine = Engine(
            lambda n: next(numbers).to_bytes(n, "big"),
            max_in_flight=self.max_in_flight,
        )
        self.configure(self.config)

    def configure(self, config: ForwarderConfig) -> None:
        self.carry_out(self.engine.configure(config, OWN, self.now))

    def carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Answer):
                self.answers.append(effect)
            elif isinstance(effect, Ask):
                self.asks.append(effect)
                assert effect.attempt not in self.open
                self.open[effect.attempt] = effect
            elif isinstance(effect, Drop):
                self.drops.append(effect)
            else:
                assert isinstance(effect, Forget)
                del self.open[effect.attempt]

    def query(self, packet: bytes, client: Client = UDP) -> None:
        self.carry_out(self.engine.receive_query(packet, client, self.now))

    def reply(self, ask: Ask, packet: bytes) -> None:
        self.carry_out(self.engine.receive_reply(ask.attempt, packet, self.now))

    def fail(self, ask: Ask) -> None:
        self.carry_out(self.engine.upstream_failed(ask.attempt, self.now))

    def sleep_until_due(self) -> None:
        due = self.engine.next_deadline()
        assert due is not None
        assert due >= self.now
        self.now = due
        self.carry_out(self.engine.handle_timer(self.now))

    def give_up(self) -> float:
        """Let all time-outs pass; the seconds that it took."""
        began = self.now
        while self.engine.next_deadline() is not None:
            self.sleep_until_due()
        return self.now - began

    @property
    def only_answer(self) -> bytes:
        (only,) = self.answers
        return only.packet

    def assert_quiet(self) -> None:
        assert self.engine.next_deadline() is None
        assert self.engine.in_flight == 0
        assert not self.open


def test_a_question_goes_out_under_another_id_and_its_answer_comes_back_untouched() -> None:
    bench = Bench()
    asked = question("WeB.default.svc.CLUSTER.local", ident=0x1234, payload=1232, do=True)
    bench.query(asked)
    (ask,) = bench.asks
    assert ask.server == Server(CLUSTER, 53)
    assert ask.packet[:2] != asked[:2]
    assert ask.packet[2:] == asked[2:]
    reply = answer(ask.packet, "10.20.0.1", "10.20.0.2")
    bench.reply(ask, reply)
    assert bench.only_answer == with_id(reply, asked[:2])
    assert bench.answers[0].client == UDP
    bench.assert_quiet()


@given(st.binary(max_size=400), st.integers(0, 15).filter(lambda rcode: rcode not in (2, 5)))
def test_whatever_records_a_reply_has_are_carried_intact(records: bytes, rcode: int) -> None:
    bench = Bench()
    bench.query(question("web.default.svc.cluster.local", "AAAA"))
    (ask,) = bench.asks
    reply = answer(ask.packet, rcode=rcode) + records
    bench.reply(ask, reply)
    sent = bench.only_answer
    assert sent == with_id(reply, b"\x12\x34") if len(reply) <= 512 else parse(sent).header.tc == 1


@pytest.mark.parametrize("rcode", [0, 3])
def test_nodata_and_nxdomain_of_the_cluster_stay_what_they_are(rcode: int) -> None:
    bench = Bench()
    bench.query(question("web.default.svc.cluster.local", "AAAA"))
    bench.reply(bench.asks[0], answer(bench.asks[0].packet, rcode=rcode))
    assert parse(bench.only_answer).header.rcode == rcode
    assert not parse(bench.only_answer).rr
    bench.assert_quiet()


NAMES = st.sampled_from(
    ["web.default.svc.cluster.local", "7.0.254.10.in-addr.arpa", "www.example", "x.cluster.local.corp", "cluster.local"]
)
ACTIONS = st.sampled_from(["good", "servfail", "refused", "silence", "icmp", "wrong id", "wrong question", "tc"])


@settings(max_examples=200)
@given(NAMES, st.lists(ACTIONS, max_size=20), st.sampled_from([UDP, TCP]), st.sampled_from(list(Transport)))
def test_whatever_servers_do_there_is_one_answer_in_time_and_no_leak(
    qname: str, actions: list[str], client: Client, transport: Transport
) -> None:
    config = replace(
        SPLIT,
        zones=tuple(replace(z, servers=tuple(replace(s, transport=transport) for s in z.servers)) for z in SPLIT.zones),
        upstreams=tuple(replace(s, transport=transport) for s in SPLIT.upstreams),
    )
    bench = Bench(config)
    bench.query(question(qname, payload=1232), client)
    for action in actions:
        if not bench.open:
            break
        ask = list(bench.open.values())[-1]
        if action == "silence":
            bench.sleep_until_due()
        elif action == "icmp":
            bench.fail(ask)
        elif action == "wrong id":
            bench.reply(ask, answer(with_id(ask.packet, b"\0\0"), "192.0.2.66"))
        elif action == "wrong question":
            bench.reply(
                ask, answer(question("evil.example", ident=int.from_bytes(ask.packet[:2], "big")), "192.0.2.66")
            )
        else:
            rcode = {"servfail": 2, "refused": 5}.get(action, 0)
            bench.reply(ask, answer(ask.packet, "10.20.0.1", rcode=rcode, tc=action == "tc"))
    bench.give_up()
    bench.assert_quiet()
    assert bench.now - 1000.0 <= BUDGET + 1e-9
    assert "192.0.2.66" not in str(parse(bench.only_answer))
    assert parse(bench.only_answer).header.id == 0x1234
    is_cluster = qname.endswith(("cluster.local", ".arpa"))
    allowed = set() if "corp" in qname else {CLUSTER} if is_cluster else {ORDINARY, ORDINARY_TWO}
    assert {ask.server.host for ask in bench.asks} <= allowed
    if transport is Transport.UDP:
        assert not any(ask.tcp for ask in bench.asks) or "tc" in actions
    if transport is Transport.TCP:
        assert all(ask.tcp for ask in bench.asks)


def test_silence_is_a_servfail_that_says_why_before_the_stub_gives_up() -> None:
    bench = Bench()
    bench.query(question("web.default.svc.cluster.local", payload=1232))
    took = bench.give_up()
    assert 0 < took < 5
    assert parse(bench.only_answer).header.rcode == 2
    assert extended_error(bench.only_answer) == Ede.NO_REACHABLE_AUTHORITY
    assert CLUSTER.encode() in bench.only_answer
    assert [ask.tcp for ask in bench.asks] == [False, False, True]
    assert len({ask.packet[:2] for ask in bench.asks}) == 3
    bench.assert_quiet()


def test_unreachable_servers_are_a_servfail_at_once() -> None:
    bench = Bench()
    bench.query(question("web.default.svc.cluster.local", payload=1232))
    while bench.open:
        bench.fail(next(iter(bench.open.values())))
    assert extended_error(bench.only_answer) == Ede.NETWORK_ERROR
    assert bench.now == 1000.0
    bench.assert_quiet()


def test_a_client_without_opt_gets_no_opt() -> None:
    bench = Bench(ForwarderConfig())
    bench.query(question("www.example"))
    record = parse(bench.only_answer)
    assert record.header.rcode == 2
    assert not record.ar


def test_without_upstreams_ordinary_names_fail_and_say_so() -> None:
    bench = Bench(replace(SPLIT, upstreams=()))
    bench.query(question("www.example", payload=1232))
    assert extended_error(bench.only_answer) == Ede.NO_REACHABLE_AUTHORITY
    assert not bench.asks


def test_the_second_upstream_answers_for_a_silent_first_and_the_first_may_still_win() -> None:
    for winner in (0, 1):
        bench = Bench()
        bench.query(question("www.example"))
        bench.sleep_until_due()
        assert [ask.server.host for ask in bench.asks] == [ORDINARY, ORDINARY_TWO]
        bench.reply(bench.asks[winner], answer(bench.asks[winner].packet, "192.0.2.80"))
        assert parse(bench.only_answer).header.rcode == 0
        bench.reply(bench.asks[1 - winner], answer(bench.asks[1 - winner].packet, "192.0.2.81"))
        assert len(bench.answers) == 1
        bench.assert_quiet()


def test_an_older_try_that_fails_does_not_hurry_the_newer_one() -> None:
    bench = Bench()
    bench.query(question("www.example"))
    bench.sleep_until_due()
    bench.fail(bench.asks[0])
    assert len(bench.asks) == 2
    assert list(bench.open) == [bench.asks[1].attempt]
    bench.reply(bench.asks[1], answer(bench.asks[1].packet, "192.0.2.80"))
    assert parse(bench.only_answer).header.rcode == 0
    bench.assert_quiet()


@pytest.mark.parametrize("rcode", [2, 5])
def test_a_failing_upstream_is_followed_by_the_next_one_at_once(rcode: int) -> None:
    bench = Bench()
    bench.query(question("www.example"))
    bench.reply(bench.asks[0], answer(bench.asks[0].packet, rcode=rcode))
    assert [ask.server.host for ask in bench.asks] == [ORDINARY, ORDINARY_TWO]
    bench.reply(bench.asks[1], answer(bench.asks[1].packet, "192.0.2.80"))
    assert parse(bench.only_answer).header.rcode == 0
    bench.assert_quiet()


def test_when_all_fail_the_last_word_is_theirs() -> None:
    bench = Bench()
    bench.query(question("www.example"))
    bench.reply(bench.asks[0], answer(bench.asks[0].packet, rcode=2))
    bench.reply(bench.asks[1], answer(bench.asks[1].packet, rcode=5))
    assert parse(bench.only_answer).header.rcode == 5
    assert len(bench.asks) == 2
    bench.assert_quiet()


def test_servfail_of_the_cluster_is_never_tried_elsewhere() -> None:
    bench = Bench()
    bench.query(question("web.default.svc.cluster.local"))
    bench.reply(bench.asks[0], answer(bench.asks[0].packet, rcode=2))
    assert parse(bench.only_answer).header.rcode == 2
    assert len(bench.asks) == 1
    bench.assert_quiet()


def test_duplicate_and_late_replies_are_ignored() -> None:
    bench = Bench()
    bench.query(question("www.example"))
    reply = answer(bench.asks[0].packet, "192.0.2.80")
    bench.reply(bench.asks[0], reply)
    bench.reply(bench.asks[0], reply)
    assert len(bench.answers) == 1
    bench.query(question("www.example"))
    bench.give_up()
    assert len(bench.answers) == 2
    for ask in bench.asks:
        bench.reply(ask, answer(ask.packet, "192.0.2.80"))
        bench.fail(ask)
    assert len(bench.answers) == 2
    bench.assert_quiet()


@pytest.mark.parametrize("payload", [None, 100, 512, 1232])
def test_a_reply_beyond_the_clients_limit_is_truncated_and_a_fitting_one_is_not(payload: int | None) -> None:
    limit = max(payload or 512, 512)
    for length in (limit, limit + 1):
        bench = Bench()
        bench.query(question("www.example", payload=payload))
        reply = answer(bench.asks[0].packet)
        bench.reply(bench.asks[0], reply + bytes(length - len(reply)))
        assert len(bench.only_answer) <= limit
        assert parse(bench.only_answer[:12] + bench.only_answer[12:]).header.tc == (length > limit)
        bench.assert_quiet()


def test_a_client_over_tcp_gets_the_whole_reply() -> None:
    bench = Bench()
    bench.query(question("www.example"), TCP)
    reply = answer(bench.asks[0].packet, *(f"10.0.{i >> 8}.{i & 255}" for i in range(3000)))
    bench.reply(bench.asks[0], reply)
    assert bench.only_answer[2:] == reply[2:]


def test_truncation_is_relayed_to_udp_and_asked_again_for_tcp() -> None:
    bench = Bench()
    bench.query(question("www.example"), UDP)
    bench.reply(bench.asks[0], answer(bench.asks[0].packet, tc=True))
    assert parse(bench.only_answer).header.tc == 1
    assert len(bench.asks) == 1
    bench = Bench(replace(SPLIT, upstreams=(upstream(ORDINARY, transport=Transport.UDP),)))
    bench.query(question("www.example"), TCP)
    bench.reply(bench.asks[0], answer(bench.asks[0].packet, tc=True))
    assert not bench.answers
    assert bench.asks[1].server.host == ORDINARY
    assert bench.asks[1].tcp
    bench.reply(bench.asks[1], answer(bench.asks[1].packet, "192.0.2.80"))
    assert str(parse(bench.only_answer).rr[0].rdata) == "192.0.2.80"
    bench.assert_quiet()


def test_where_udp_is_blocked_only_the_first_question_waits_for_it() -> None:
    bench = Bench()
    bench.query(question("web.default.svc.cluster.local"))
    while not bench.asks[-1].tcp:
        bench.sleep_until_due()
    bench.reply(bench.asks[-1], answer(bench.asks[-1].packet, "10.20.0.1"))
    assert len(bench.answers) == 1
    asked = len(bench.asks)
    bench.query(question("api.default.svc.cluster.local"))
    assert bench.asks[asked].tcp
    bench.reply(bench.asks[asked], answer(bench.asks[asked].packet, "10.20.0.1"))
    bench.assert_quiet()
    bench.now += PREFER_TCP + 1
    bench.query(question("api.default.svc.cluster.local"))
    assert not bench.asks[-1].tcp


@pytest.mark.parametrize("how", ["silence", "refused"])
def test_a_preference_for_tcp_ends_when_tcp_fails(how: str) -> None:
    bench = Bench()
    bench.query(question("web.default.svc.cluster.local"))
    while not bench.asks[-1].tcp:
        bench.sleep_until_due()
    bench.reply(bench.asks[-1], answer(bench.asks[-1].packet, "10.20.0.1"))
    bench.query(question("web.default.svc.cluster.local"))
    assert bench.asks[-1].tcp
    if how == "silence":
        bench.sleep_until_due()
    else:
        bench.fail(bench.asks[-1])
    bench.give_up()
    bench.query(question("web.default.svc.cluster.local"))
    assert not bench.asks[-1].tcp


@pytest.mark.parametrize(
    "packet", [b"", b"short", answer(question("www.example"), "192.0.2.1"), answer(question("x.cluster.local"))]
)
@pytest.mark.parametrize("client", [UDP, TCP])
def test_what_is_no_question_is_dropped(packet: bytes, client: Client) -> None:
    bench = Bench()
    bench.query(packet, client)
    assert bench.drops == [Drop(client)]
    assert not bench.answers
    assert not bench.asks
    assert bench.engine.stats.dropped == 1


def test_a_malformed_question_is_answered_and_not_forwarded() -> None:
    bench = Bench()
    bench.query(question("www.example")[:-1])
    assert parse(bench.only_answer).header.rcode == 1
    assert not bench.asks


@pytest.mark.parametrize(("host", "served"), [
    ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("127.0.0.53", True),
    ("192.168.1.66", False), ("1.127.0.1", False), ("fe80::1", False),
])  # fmt: skip
def test_only_this_machines_programs_are_served(host: str, served: bool) -> None:
    bench = Bench()
    bench.query(question("www.example"), Client(host, False, "x"))
    assert bool(bench.asks) is served
    assert bool(bench.drops) is not served


def test_the_forwarders_own_address_is_a_client_too() -> None:
    bench = Bench()
    bench.carry_out(bench.engine.configure(SPLIT, frozenset({Server("169.254.53.53", 53)}), bench.now))
    bench.query(question("www.example"), Client("169.254.53.53", False, "x"))
    assert bench.asks


def test_too_many_questions_fail_at_once_and_room_comes_back() -> None:
    bench = Bench(max_in_flight=6)
    for _ in range(4):
        bench.query(question("www.example"))
    assert len(bench.asks) == 3, "half of the room: there are two groups of servers"
    assert parse(bench.only_answer).header.rcode == 2
    assert bench.engine.stats.overloads == 1
    bench.query(question("proof.devlink.example"))
    assert parse(bench.answers[-1].packet).header.rcode == 0
    for ask in bench.asks:
        bench.reply(ask, answer(ask.packet, "192.0.2.80"))
    bench.assert_quiet()
    bench.query(question("www.example"))
    assert len(bench.open) == 1


@pytest.mark.parametrize(
    ("dead", "alive"),
    [
        ("www.example", "web.default.svc.cluster.local"),
        ("web.default.svc.cluster.local", "www.example"),
        ("web.default.svc.cluster.kube", "web.default.svc.cluster.local"),
    ],
)
@pytest.mark.parametrize("client", [UDP, TCP])
def test_questions_that_wait_for_a_dead_server_take_no_room_from_other_servers(
    dead: str, alive: str, client: Client
) -> None:
    bench = Bench(replace(SPLIT, zones=(*SPLIT.zones, zone("cluster.kube", "10.1.0.2"))), max_in_flight=30)
    for _ in range(100):
        bench.query(question(dead), client)
    assert bench.engine.in_flight == 10
    for _ in range(10):
        bench.query(question(alive), client)
    assert bench.engine.in_flight == 20, "all other servers have the whole of their share"
    bench.query(question(alive), client)
    assert bench.engine.in_flight == 20
    bench.give_up()
    bench.assert_quiet()
    bench.query(question(dead), client)
    assert bench.engine.in_flight == 1


def test_zones_with_the_same_servers_share_what_they_may_have_in_flight() -> None:
    bench = Bench(max_in_flight=10)
    for _ in range(4):
        bench.query(question("web.default.svc.cluster.local"))
        bench.query(question("1.0.254.10.in-addr.arpa", "PTR"))
    assert bench.engine.in_flight == 5


def test_a_question_that_new_rules_send_elsewhere_counts_there() -> None:
    bench = Bench(max_in_flight=4)
    bench.query(question("a.default.svc.cluster.kube"))
    bench.query(question("b.default.svc.cluster.kube"))
    bench.configure(replace(SPLIT, zones=(zone("cluster.kube", CLUSTER),)))
    bench.query(question("c.default.svc.cluster.kube"))
    assert bench.engine.stats.overloads == 1, "its servers have two already"
    bench.query(question("www.example"))
    assert bench.engine.in_flight == 3, "and the ordinary ones have none"
    bench.give_up()
    bench.assert_quiet()


def test_the_room_for_questions_is_bounded_even_where_new_rules_make_the_shares_smaller() -> None:
    bench = Bench(ForwarderConfig(upstreams=SPLIT.upstreams), max_in_flight=4)
    for _ in range(6):
        bench.query(question("www.example"))
    assert bench.engine.in_flight == 4
    bench.configure(SPLIT)
    bench.query(question("web.default.svc.cluster.local"))
    assert bench.engine.in_flight == 4
    bench.give_up()
    bench.assert_quiet()


def test_finished_questions_leave_no_heap_of_timers() -> None:
    bench = Bench()
    bench.query(question("www.example"))  # stays, so that outdated timers behind it are not at the top
    for _ in range(3 * SLACK):
        bench.query(question("www.example"))
        bench.reply(bench.asks[-1], answer(bench.asks[-1].packet, "192.0.2.80"))
    assert len(bench.engine._timers) <= 2 * SLACK
    bench.give_up()
    bench.assert_quiet()


def test_new_rules_leave_a_question_alone_whose_servers_stay() -> None:
    bench = Bench()
    bench.query(question("www.example"))
    bench.query(question("web.default.svc.cluster.local"))
    bench.configure(replace(SPLIT, zones=(*SPLIT.zones, zone("cluster.kube", "10.1.0.2"))))
    assert len(bench.asks) == len(bench.open) == 2
    for ask in bench.asks:
        bench.reply(ask, answer(ask.packet, "192.0.2.80"))
    assert len(bench.answers) == 2
    bench.assert_quiet()


def test_a_name_that_becomes_a_clusters_is_no_longer_asked_for_elsewhere() -> None:
    bench = Bench()
    bench.query(question("web.default.svc.cluster.kube"))
    (before,) = bench.asks
    bench.configure(replace(SPLIT, zones=(*SPLIT.zones, zone("cluster.kube", "10.1.0.2"))))
    assert before.attempt not in bench.open
    assert bench.asks[-1].server.host == "10.1.0.2"
    bench.give_up()
    assert {ask.server.host for ask in bench.asks[1:]} == {"10.1.0.2"}
    assert len(bench.answers) == 1


def test_a_question_that_new_rules_forbid_is_answered_now() -> None:
    bench = Bench()
    bench.query(question("web.kube-system.svc.cluster.local", payload=1232))
    bench.configure(replace(SPLIT, zones=(zone("cluster.local", namespaces=("default",)),)))
    assert extended_error(bench.only_answer) == Ede.PROHIBITED
    bench.assert_quiet()


def test_counts_add_up() -> None:
    bench = Bench()
    for qname in ("www.example", "web.default.svc.cluster.local", "proof.devlink.example", "a.cluster.local.corp"):
        bench.query(question(qname))
    bench.reply(bench.asks[0], answer(bench.asks[0].packet, "192.0.2.80"))
    bench.give_up()
    stats = bench.engine.stats
    assert (stats.queries, stats.answered, stats.local, stats.servfails) == (4, 1, 2, 1)
    assert stats.destinations == {".": 1, "cluster.local": 1}


@settings(max_examples=50)
@given(st.data())
def test_damaged_packets_from_both_sides_never_break_the_engine(data: st.DataObject) -> None:
    def damage(packet: bytes) -> bytes:
        octets = bytearray(packet)
        for _ in range(data.draw(st.integers(0, 3))):
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        return bytes(octets[: data.draw(st.integers(0, len(octets)))])

    bench = Bench()
    for client in (UDP, TCP, UDP):
        bench.query(damage(question("web.default.svc.cluster.local", payload=1232)), client)
        for ask in list(bench.open.values()):
            bench.reply(ask, damage(answer(ask.packet, "10.20.0.1", "10.20.0.2")))
    bench.give_up()
    bench.assert_quiet()
    assert len(bench.answers) + len(bench.drops) == 3
