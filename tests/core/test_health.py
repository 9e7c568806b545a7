"""Who carries the packets: hand-made histories, and random ones held against what must never be."""

import ipaddress
import itertools
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from devlink.core.health import Action, Ask, AskNeighbour, Health, Switch, Times
from devlink.core.health_records import HopState
from devlink.core.prefixes import IPAddress

A, B, C = (ipaddress.ip_address(f"172.16.0.{n}") for n in (13, 16, 17))
ROUND = sum(Times().limits)


class Play:
    """A health machine, and gateways that answer or do not."""

    def __init__(self, *others: IPAddress, alive: Iterable[IPAddress] = (A, B, C), is_alone: bool = False) -> None:
        self.health = Health.of({A: () if is_alone else others or (B,)}, {})
        self.way = self.health.ways[A]
        self.carrying: IPAddress = A
        self.answering = set(alive)
        self.on_link = {A, B, C}
        self.now = 1000.0
        self.switches: list[tuple[float, IPAddress]] = []
        self.asked: list[tuple[float, IPAddress]] = []
        self.looked_for: list[IPAddress] = []
        self.rtt = 0.001
        self.refused: set[IPAddress] = set()
        """Who cannot take over: the switch to them fails."""

    def take(self, actions: list[Action]) -> None:
        while actions:
            action = actions.pop(0)
            if isinstance(action, Switch):
                self.switches.append((self.now, action.via))
                if action.via in self.refused:
                    self.health.refuse(self.now, A, action.via)
                    self.health.place(A, self.carrying)
                else:
                    self.carrying = action.via
            elif isinstance(action, AskNeighbour):
                self.looked_for.append(action.via)
                actions += self.health.neighbour(self.now, action.via, is_there=action.via in self.on_link)
            elif isinstance(action, Ask):
                self.asked.append((self.now, action.via))
                if action.via in self.answering:
                    actions += self.health.answered(self.now, action.via, self.rtt)

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.health.next_timer) is not None and at <= end:
            self.now = at
            self.take(self.health.handle_timer(at))
        self.now = end

    def send(self, seconds: float, every: float = 0.05) -> None:
        """Have packets sent for a while."""
        for _ in range(round(seconds / every)):
            self.take(self.health.traffic(self.now, A))
            self.wait(every)


def test_nothing_is_asked_while_nothing_is_sent() -> None:
    play = Play()
    assert play.health.next_timer is None
    play.send(1.0)
    play.wait(1.0)
    asked = len(play.asked)
    play.wait(3600)
    assert play.health.next_timer is None
    assert len(play.asked) == asked


def test_after_the_last_packet_it_is_asked_once_more() -> None:
    """The packet may be the one that was lost, and whoever sent it waits."""
    play = Play()
    play.send(1.0)
    play.wait(1.0)
    play.take(play.health.traffic(play.now, A))
    asked = len(play.asked)
    play.answering = {B}
    play.wait(Times().pause + ROUND)
    assert len(play.asked) > asked
    assert [via for _, via in play.switches] == [B]


def test_a_busy_gateway_is_asked_at_most_five_times_a_second_and_its_substitute_never() -> None:
    play = Play()
    play.send(10.0, every=0.001)
    assert 10 <= len(play.asked) <= 51
    assert {via for _, via in play.asked} == {A}
    assert not play.switches


def test_a_gateway_that_misses_three_questions_is_replaced_at_once() -> None:
    play = Play()
    play.send(1.0)
    play.answering = {B}
    died = play.now
    play.send(3.0)
    ((at, via),) = play.switches
    assert via == B
    assert ROUND / 2 - 0.001 <= at - died <= ROUND / 2 + Times().pause + 0.05
    assert play.health.hops[A].state is HopState.DEAD
    assert play.way.reason == f"{A} is silent"


def test_one_that_is_slow_has_more_time_before_it_is_given_up() -> None:
    play = Play()
    play.rtt = 0.05
    play.send(1.0)
    play.answering = {B}
    died = play.now
    play.send(3.0)
    ((at, _),) = play.switches
    assert at - died >= ROUND


def test_of_a_hundred_nodes_that_live_none_is_left_though_questions_can_be_put_by_sixty_four_only() -> None:
    nodes = [ipaddress.ip_address(f"172.16.1.{n}") for n in range(100)]
    health = Health.of(dict.fromkeys(nodes, (A,)), {})
    ways = {A}
    now = 1000.0
    switches = []
    for _ in range(5):
        actions = [action for node in nodes for action in health.traffic(now, node)]
        end = now + 10.0
        while True:
            while actions:
                action = actions.pop(0)
                if isinstance(action, Switch):
                    switches.append(action)
                elif isinstance(action, Ask) and (action.via in ways or len(ways) < 64):
                    ways.add(action.via)
                    actions += health.answered(now, action.via, 0.001)
                elif isinstance(action, AskNeighbour):
                    actions += health.neighbour(now, action.via, is_there=True)
            at = health.next_timer
            if at is None or at > end:
                break
            now = at
            actions = [*health.answered(now, A, 0.001), *health.handle_timer(now, {*nodes} - ways)]
        now = end
    assert switches == []
    states = [health.hops[node].state for node in nodes]
    assert states.count(HopState.HEALTHY) == 63
    assert states.count(HopState.UNKNOWN) == 37


def test_one_that_was_well_is_not_dead_when_the_rest_of_its_questions_could_not_be_put() -> None:
    play = Play()
    play.send(1.0)
    play.wait(1.0)
    play.answering = {B}
    play.take(play.health.traffic(play.now, A))
    for state in (HopState.SUSPECT, HopState.HEALTHY):
        assert play.health.next_timer is not None
        play.now = play.health.hops[A].deadline
        play.take(play.health.handle_timer(play.now, {A} if state is HopState.HEALTHY else ()))
        assert play.health.hops[A].state is state
    assert play.switches == []


def test_one_lost_question_changes_nothing() -> None:
    play = Play()
    play.send(1.0)
    play.answering = set()
    play.take(play.health.traffic(play.now, A))
    play.wait(Times().limits[0] / 2 + 0.01)
    assert play.health.hops[A].state is HopState.SUSPECT
    play.answering = {A, B}
    play.wait(1.0)
    play.send(1.0)
    assert play.health.hops[A].state is HopState.HEALTHY
    assert not play.switches


def test_the_best_that_answers_takes_the_place() -> None:
    play = Play(B, C)
    play.send(1.0)
    play.answering = {C}
    play.send(2.0)
    assert [via for _, via in play.switches] == [C]


def test_where_nobody_answers_and_all_are_on_the_link_it_stays_and_is_asked_less_and_less() -> None:
    play = Play()
    play.send(1.0)
    play.answering = set()
    play.send(120.0)
    assert not play.switches
    assert play.way.silent
    late = [at for at, via in play.asked if via == A and at > play.now - 60.0]
    assert len(late) <= 3 * len(Times().limits)


def test_where_nobody_answers_one_that_has_left_the_link_is_replaced_by_one_that_is_there() -> None:
    """The cluster's DNS ran on the very node that died."""
    play = Play()
    play.send(1.0)
    play.answering, play.on_link = set(), {B, C}
    play.send(5.0)
    assert [via for _, via in play.switches] == [B]


def test_after_silence_the_first_that_answers_ends_it() -> None:
    play = Play()
    play.send(1.0)
    play.answering = set()
    play.send(5.0)
    play.answering = {B}
    play.send(40.0)
    assert play.switches[0][1] == B
    assert not play.way.silent


def test_after_silence_the_same_gateway_goes_on_without_a_switch() -> None:
    play = Play()
    play.send(1.0)
    play.answering = set()
    play.send(5.0)
    play.answering = {A}
    play.send(40.0)
    assert not play.switches
    assert not play.way.silent


def test_one_whose_place_nobody_can_take_is_silent_until_it_answers_and_asked_less_and_less_meanwhile() -> None:
    play = Play(is_alone=True)
    play.send(1.0)
    assert play.health.hops[A].state is HopState.HEALTHY
    play.answering = set()
    play.send(120.0)
    assert (play.way.silent, play.switches) == (True, [])
    late = [at for at, _ in play.asked if at > play.now - 60.0]
    assert len(late) <= 3 * len(Times().limits)
    play.answering = {A}
    play.send(40.0)
    assert (play.way.silent, play.switches) == (False, [])
    asked = len(play.asked)
    play.wait(1.0)
    assert len(play.asked) <= asked + 1
    assert play.health.next_timer is None


def test_one_whose_place_nobody_can_take_is_silent_when_it_leaves_the_link_though_the_dns_never_answered() -> None:
    play = Play(is_alone=True, alive=())
    play.send(10.0)
    assert not play.way.silent
    play.on_link = set()
    play.send(20.0)
    assert play.way.silent


def test_where_the_cluster_dns_never_answers_a_gateway_on_the_link_is_left_alone() -> None:
    play = Play(alive=())
    play.send(60.0)
    assert not play.switches
    assert play.health.hops[A].state is HopState.UNKNOWN
    assert not play.way.silent
    assert len(play.asked) <= 2 * 13 * len(Times().limits)


def test_where_the_cluster_dns_never_answers_a_gateway_that_leaves_the_link_is_replaced() -> None:
    play = Play(alive=())
    play.send(10.0)
    play.on_link = {B}
    play.send(20.0)
    assert [via for _, via in play.switches] == [B]


def test_one_that_never_answered_is_left_as_soon_as_another_one_answers_though_it_is_on_the_link() -> None:
    play = Play(alive=(B,))
    play.send(2.0)
    ((at, via),) = play.switches
    assert via == B
    assert at <= 1000.0 + ROUND + 0.05
    assert play.health.hops[A].state is HopState.DEAD
    play.send(60.0)
    assert len(play.switches) == 1
    assert play.health.hops[A].state is HopState.DEAD, "its neighbour entry does not make it well"


def test_one_that_never_answered_is_left_also_for_one_that_answers_late() -> None:
    play = Play(alive=())
    play.send(0.5)
    assert play.health.hops[A].has_missed
    play.take(play.health.answered(play.now, B, 0.5))
    assert [via for _, via in play.switches] == [B]


def test_a_choice_that_does_not_forward_is_left_again_though_nobody_had_asked_it_before() -> None:
    play = Play(B, C, alive=(A, C))
    play.send(1.0)
    play.take(play.health.choose(play.now, A, B))
    play.send(2.0)
    assert [via for _, via in play.switches] == [B, A]
    assert not play.way.by_hand
    assert play.way.reason == ""


def test_a_choice_that_has_just_missed_a_round_is_asked_with_the_next_packet() -> None:
    play = Play(alive=(A,))
    play.send(1.0)
    play.answering = set()
    play.send(1.0)
    play.answering = {A}
    play.send(2.0)
    chosen = play.now
    play.take(play.health.choose(chosen, A, B))
    play.send(1.0)
    assert [via for _, via in play.switches] == [B, A]
    assert play.switches[1][0] - chosen <= ROUND + 0.1


def test_packets_go_back_only_after_the_better_one_has_answered_for_the_whole_hold() -> None:
    play = Play()
    play.send(1.0)
    play.answering = {B}
    play.send(5.0)
    play.answering = {A, B}
    back = play.now
    play.send(Times().hold - 2)
    assert len(play.switches) == 1
    assert play.health.hops[A].state is HopState.RETURNING
    play.send(5.0)
    assert [via for _, via in play.switches] == [B, A]
    assert play.switches[1][0] - back >= Times().hold
    assert play.way.reason == ""


def test_each_flap_doubles_the_hold_up_to_its_limit_and_quiet_time_ends_that() -> None:
    play = Play()
    play.send(1.0)
    holds = []
    for _ in range(7):
        play.answering = {B}
        play.send(2.0, every=0.1)
        play.answering = {A, B}
        holds.append(play.way.hold)
        play.send(play.way.hold + 3, every=0.5)
        assert play.way.via == A
    assert holds == [30, 60, 120, 240, 480, 600, 600]
    play.wait(Times().longest_hold)
    play.answering = {B}
    play.send(2.0)
    assert play.way.hold == Times().hold


def test_the_users_choice_stays_until_it_dies() -> None:
    play = Play(B, C)
    play.send(1.0)
    play.take(play.health.choose(play.now, A, C))
    play.send(100.0, every=0.5)
    assert [via for _, via in play.switches] == [C]
    play.answering = {A, B}
    play.send(2.0)
    assert [via for _, via in play.switches] == [C, A]
    assert not play.way.by_hand


def test_the_users_choice_stays_though_the_better_one_answers_for_long_while_it_carries_something_else() -> None:
    play = Play()
    play.health = Health.of({A: (B,), C: (A,)}, {})
    play.way = play.health.ways[A]
    play.take(play.health.choose(play.now, A, B))
    play.answering = {A, B}  # what prefers C goes by A: so A is asked, and answers
    for _ in range(round(2 * Times().hold / 0.5)):
        play.take(play.health.traffic(play.now, A))
        play.take(play.health.traffic(play.now, C))
        play.wait(0.5)
    assert play.health.ways[C].via == A
    assert play.health.hops[A].state is HopState.HEALTHY
    assert play.way.via == B
    assert play.way.by_hand


def test_choosing_the_preferred_one_ends_the_choice() -> None:
    play = Play()
    play.take(play.health.choose(play.now, A, B))
    assert play.way.by_hand
    play.take(play.health.choose(play.now, A, A))
    assert play.way.reason == ""
    assert [via for _, via in play.switches] == [B, A]


def test_choosing_what_carries_it_already_switches_nothing() -> None:
    play = Play()
    play.take(play.health.choose(play.now, A, A))
    assert not play.switches


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "wait", "answering", "on_link", "choose"]),
        st.sets(st.sampled_from([A, B, C])),
        st.floats(min_value=0.01, max_value=40.0, allow_nan=False),
    ),
    max_size=12,
)


@given(STEPS)
def test_whatever_happens_a_switch_has_its_reason(steps: list[tuple[str, set[IPAddress], float]]) -> None:
    play = Play(B, C)
    for kind, members, seconds in steps:
        before = len(play.switches)
        if kind == "send":
            play.send(min(seconds, 4.0), every=0.4)
        elif kind == "wait":
            play.wait(seconds)
        elif kind == "answering":
            play.answering = set(members)
        elif kind == "on_link":
            play.on_link = set(members)
        else:
            via = min(members, key=str, default=A)
            play.take(play.health.choose(play.now, A, via))
            continue
        for at, via in play.switches[before:]:
            # Only to one that has just given a sign, and that is well as far as anybody can know.
            hop = play.health.hops[via]
            signs = [sign for sign in (hop.heard, hop.seen) if sign is not None and sign >= at - 2 * ROUND - 0.001]
            assert signs, f"switched to {via} without a sign of life"
            assert via in play.answering or via in play.on_link
        backs = [at for (_, one), (at, other) in itertools.pairwise(play.switches) if other == A != one]
        if not any(step == "choose" for step, _, _ in steps) and play.answering == play.on_link == {A, B, C}:
            assert all(later - earlier >= Times().hold for earlier, later in itertools.pairwise(backs))
        assert play.way.via in play.way.candidates
        deadline = play.health.next_timer
        assert deadline is None or deadline <= play.now + max(Times().limits), "no question waits for ever"


@given(st.lists(st.floats(min_value=0.0, max_value=0.5), min_size=1, max_size=60))
def test_however_packets_come_a_dead_gateway_is_left_within_two_rounds_of_traffic(gaps: list[float]) -> None:
    play = Play()
    play.send(1.0)
    play.answering = {B}
    died = play.now
    for gap in gaps:
        play.take(play.health.traffic(play.now, A))
        play.wait(gap)
    play.wait(1.0)
    first = died + Times().pause + ROUND
    if play.now - 1.0 > first:
        assert play.switches
        assert play.switches[0][0] <= died + Times().pause + ROUND + 0.5


def test_one_that_never_answered_is_not_left_while_its_own_question_is_on_its_way() -> None:
    play = Play(alive=())
    play.send(0.5)
    assert play.health.hops[A].has_missed
    play.wait(Times().unheard_pause)
    play.take(play.health.traffic(play.now, A))
    assert play.health.hops[A].round >= 0
    play.take(play.health.answered(play.now, B, 0.001))
    assert play.switches == []
    play.take(play.health.answered(play.now, A, 0.002))
    play.wait(1.0)
    assert play.switches == []


def test_one_that_never_answered_is_left_when_its_own_question_ends_without_an_answer() -> None:
    play = Play(alive=())
    play.send(0.5)
    play.wait(Times().unheard_pause)
    play.take(play.health.traffic(play.now, A))
    play.take(play.health.answered(play.now, B, 0.001))
    play.wait(1.0)
    assert [via for _, via in play.switches] == [B]


def test_silence_is_told_though_one_is_there_that_cannot_take_over_and_that_one_is_tried_less_and_less() -> None:
    """It is another cluster's, or the helper refuses it: it is on the link, and does not bring packets anywhere."""
    play = Play()
    play.send(1.0)
    play.answering, play.on_link, play.refused = set(), {B}, {B}
    play.send(5.0)
    assert (play.way.via, play.way.silent) == (A, True)
    play.send(115.0)
    assert (play.way.via, play.way.silent) == (A, True)
    assert len([at for at, _ in play.switches if at > play.now - 60.0]) <= 3
    play.refused = set()
    play.send(40.0)
    assert (play.carrying, play.way.via, play.way.silent) == (B, B, False)


def test_silence_is_told_though_one_answers_that_cannot_take_over_and_the_next_best_takes_over_instead() -> None:
    play = Play(B, C, alive=(A, B))
    play.send(1.0)
    play.answering, play.refused = {B}, {B}
    play.send(5.0)
    assert play.way.silent
    assert len(play.switches) <= 4
    play.answering = {B, C}
    play.send(40.0)
    assert (play.carrying, play.way.via) == (C, C)


def test_who_cannot_be_gone_back_to_is_tried_again_after_the_hold_which_does_not_grow_by_that() -> None:
    play = Play()
    play.send(1.0)
    play.answering = {B}
    play.send(2.0)
    play.answering, play.refused = {A, B}, {A}
    play.send(Times().hold * 4, every=0.5)
    assert (play.carrying, play.way.via, play.way.hold) == (B, B, Times().hold)
    assert 2 <= len([via for _, via in play.switches if via == A]) <= 4
