"""Whatever a server sends, no client gets a wrong answer: another server's, or a SERVFAIL that says why."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pytest

from devlink.core.plan import ForwarderConfig
from devlink.core.profile import Transport
from tests.dns import lies
from tests.dns.asking import CLIENTS, FAILURES, ask, forwarding, served_by, verdicts
from tests.dns.forwarder_process import Forwarder
from tests.dns.lies import Packet
from tests.dns.lying_upstream import Behaviour, LyingUpstream, Turn, honest, honest_answer, verdict
from tests.dns.messages import question

pytestmark = pytest.mark.slow

KINDS = ["cluster", pytest.param("ordinary", marks=pytest.mark.slow)]
"""A cluster's server is asked through a socket of its own, an ordinary one sees a fresh port each time. Each ordinary
liar needs a forwarder of its own: forty of them take seconds to start."""
NONSENSE = lies.FORGED | lies.BROKEN


@dataclass(slots=True, kw_only=True)
class Trial:
    """What came of one liar."""

    server: LyingUpstream
    verdicts: set[str]
    mismatched: int
    """Of its forwarder, which may have had others besides."""


def try_all(
    kind: str, liars: Mapping[str, LyingUpstream], *, second: LyingUpstream | None = None,
    transport: Transport = Transport.AUTO,
) -> dict[str, Trial]:  # fmt: skip
    """Ask each liar as the only server of some names (or with an honest second one), all at the same time."""
    with ExitStack() as stack:
        others = [stack.enter_context(second)] if second is not None else []
        servers = {what: [stack.enter_context(liar), *others] for what, liar in liars.items()}
        places: dict[str, tuple[Forwarder, str]]
        if kind == "ordinary":
            places = {
                what: (
                    stack.enter_context(forwarding(served_by(*each, kind=kind, transport=transport))),
                    f"liar{number}.example",
                )
                for number, (what, each) in enumerate(servers.items())
            }
        else:
            suffixes = {what: f"liar{number}.test" for number, what in enumerate(servers)}
            zones = [served_by(*servers[w], transport=transport, suffix=suffixes[w]).zones[0] for w in servers]
            witness = stack.enter_context(LyingUpstream())
            settings = ForwarderConfig(zones=tuple(zones), upstreams=(witness.upstream(),))
            forwarder = stack.enter_context(forwarding(settings))
            places = {what: (forwarder, suffix) for what, suffix in suffixes.items()}
        asking = {
            what: [ask(forwarder, suffix, tcp=tcp, payload=payload) for tcp, payload in CLIENTS]
            for what, (forwarder, suffix) in places.items()
        }
        found = {what: {each.verdict() for each in questions} for what, questions in asking.items()}
        assert kind == "ordinary" or witness.asked == [], "a cluster's names went out"
        return {
            what: Trial(server=liars[what], verdicts=got, mismatched=places[what][0].stats()["mismatched"])
            for what, got in found.items()
        }


def wrong(trials: Mapping[str, Trial], *allowed: str) -> dict[str, set[str]]:
    """The liars of which something else came."""
    return {what: trial.verdicts for what, trial in trials.items() if not trial.verdicts <= set(allowed)}


def liars(packets: Mapping[str, Packet], *, tcp: bool | None = None) -> dict[str, LyingUpstream]:
    """Servers that send these packets over UDP, and over TCP too or the truth (False) or nothing (None)."""
    return {
        what: LyingUpstream(lies.always(make), lies.always(make) if tcp else honest if tcp is not None else None)
        for what, make in packets.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_forged_reply_before_the_true_one_is_ignored(kind: str) -> None:
    servers = {what: LyingUpstream(lies.then_the_truth(make), None) for what, make in lies.FORGED.items()}
    trials = try_all(kind, servers, transport=Transport.UDP)
    assert wrong(trials, "right") == {}
    assert all(trial.mismatched >= len(CLIENTS) for trial in trials.values())


@pytest.mark.parametrize("kind", ["cluster", "ordinary"])
def test_a_flood_of_wrong_ids_before_the_true_one_is_ignored(kind: str) -> None:
    def flood(turn: Turn) -> None:
        false = lies.lie(turn.packet)
        for i in range(1, 200):
            turn.reply(((int.from_bytes(turn.packet[:2], "big") + i) & 0xFFFF).to_bytes(2, "big") + false[2:])
        honest(turn)

    assert wrong(try_all(kind, {"flood": LyingUpstream(flood)}), "right") == {}


@pytest.mark.parametrize("kind", ["cluster", "ordinary"])
def test_a_reply_from_another_address_or_port_is_ignored(kind: str) -> None:
    server = LyingUpstream()
    server.udp = partial(lies.from_elsewhere, server)
    assert wrong(try_all(kind, {"elsewhere": server}), "right") == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_sends_nonsense_over_udp_is_asked_over_tcp(kind: str) -> None:
    assert wrong(try_all(kind, liars(NONSENSE, tcp=False)), "right") == {}


@pytest.mark.parametrize("kind", KINDS)
def test_another_server_answers_for_one_that_sends_nonsense(kind: str) -> None:
    trials = try_all(kind, liars(NONSENSE | lies.FAILED, tcp=True), second=LyingUpstream())
    assert wrong(trials, "right") == {}


@pytest.mark.parametrize("kind", ["cluster", "ordinary"])
@pytest.mark.parametrize("transport", list(Transport))
def test_who_has_nothing_but_a_liar_is_told_so(kind: str, transport: Transport) -> None:
    trials = try_all(kind, liars(NONSENSE, tcp=True), transport=transport)
    # What was only malformed may have been mended.
    assert wrong(trials, "right", "SERVFAIL", *FAILURES) == {}
    assert wrong({what: trials[what] for what in lies.FORGED}, "SERVFAIL", *FAILURES) == {}
    assert all(trial.server.asked for trial in trials.values())


def test_a_late_answer_goes_to_its_own_question_or_to_nobody() -> None:
    """The second server has answered meanwhile, and the next questions wait at the same socket."""

    def late(turn: Turn) -> None:
        turn.reply(honest_answer(turn.packet), after=0.1 + turn.number % 7 * 0.15)

    with LyingUpstream(late, None) as server, LyingUpstream() as good, forwarding(served_by(server, good)) as forwarder:
        for _ in range(10):
            assert verdicts(forwarder) == {"right"}


@pytest.mark.parametrize("kind", ["cluster", "ordinary"])
def test_of_an_answer_that_comes_many_times_one_is_passed_on(kind: str) -> None:
    """The truth first, then lies under the same id: what was answered is answered."""

    def twice(turn: Turn) -> None:
        honest(turn)
        for _ in range(5):
            turn.reply(lies.lie(turn.packet))

    with LyingUpstream(twice, None) as server, forwarding(served_by(server, kind=kind)) as forwarder:
        suffix = "cluster.test" if kind == "cluster" else "example"
        for _ in range(5):
            assert verdicts(forwarder, suffix, times=3) == {"right"}


@pytest.mark.parametrize("kind", ["cluster", "ordinary"])
def test_a_truncated_answer_is_never_passed_on_as_a_whole_one(kind: str) -> None:
    assert wrong(try_all(kind, {"truncating": LyingUpstream(lies.truncating)}), "right") == {}


def test_a_server_that_truncates_and_has_no_tcp_leaves_it_to_the_next() -> None:
    servers = {
        "no TCP": LyingUpstream(lies.truncating, None),
        "truncates over TCP too": LyingUpstream(lies.truncating, lies.truncating),
        "closes at once": LyingUpstream(lies.truncating, greets=False),
    }
    assert wrong(try_all("cluster", servers, second=LyingUpstream()), "right") == {}


@pytest.mark.parametrize("size", [30, 90, 250, 3900])
def test_an_answer_of_any_size_arrives_whole(size: int) -> None:
    """30 records pass 512 octets, 90 pass 1232, 250 are a datagram beyond every limit, 3900 only go over TCP."""

    def large(turn: Turn) -> None:
        turn.reply(honest_answer(turn.packet, count=size))

    udp: Behaviour = large if size <= 250 else lies.truncating
    with LyingUpstream(udp, large) as server, forwarding(served_by(server)) as forwarder:
        assert ask(forwarder, "cluster.test", payload=None).verdict() == "truncated"
        assert ask(forwarder, "cluster.test").verdict() == ("right" if size == 30 else "truncated")
        for payload in (None, 1232):
            asking = ask(forwarder, "cluster.test", tcp=True, payload=payload)
            reply = asking.reply()
            assert verdict(reply, asking.packet) == "right"
            assert int.from_bytes(reply[6:8], "big") == size


def test_records_of_names_that_were_not_asked_for_are_not_believed_later() -> None:
    def poisoning(turn: Turn) -> None:
        victim = b"\6victim\7cluster\4test\0"
        true = honest_answer(turn.packet, edns=False)
        poison = lies.a_record(victim, ttl=86400)
        turn.reply(true[:10] + b"\0\1" + true[12:] + poison)

    with LyingUpstream(poisoning, poisoning) as server, forwarding(served_by(server)) as forwarder:
        assert verdicts(forwarder) == {"right"}
        server.udp = server.tcp = honest
        packet = question("victim.cluster.test")
        assert verdict(forwarder.exchange(packet), packet) == "right"


def test_a_reply_in_other_letters_is_a_lie_where_the_case_is_random() -> None:
    """Dns 0x20: an attacker who does not see the question cannot know the case of its letters."""

    def behave(turn: Turn) -> None:
        asked = lies.question_of(turn.packet)
        turn.reply(lies.lie(turn.packet).replace(asked, asked.lower()))
        turn.reply(lies.lie(turn.packet).replace(asked, asked.upper()[:-4] + asked[-4:]))
        honest(turn)

    with LyingUpstream(behave) as server:
        settings = ForwarderConfig(upstreams=(server.upstream(),), case_randomization=True)
        with forwarding(settings) as forwarder:
            packets = [question(f"a-name-with-many-letters-{i}.for-chance.example") for i in range(20)]
            assert {verdict(forwarder.exchange(packet), packet) for packet in packets} == {"right"}
            asked = [lies.question_of(packet) for packet in server.asked_by("udp")]
        assert all(octets.lower() != octets for octets in asked)
        assert len({octets.lower() for octets in asked}) == len(packets)
