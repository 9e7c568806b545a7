"""The judgement of what was seen of the path."""

from math import log
from random import Random

import pytest

from devlink.core import legs
from devlink.core.health_records import HopState
from devlink.core.legs import Answer, LegState, Words
from devlink.core.network import Link

USUAL = (0.001, 0.002, 0.003, 0.002, 0.002)
DEAD, HEALTHY, RETURNING = HopState.DEAD, HopState.HEALTHY, HopState.RETURNING
SUSPECT, UNKNOWN = HopState.SUSPECT, HopState.UNKNOWN


@pytest.mark.parametrize(
    ("rtt", "past", "slow"),
    [
        (0.251, (), True),
        (0.25, (), False),
        (0.251, (0.3,) * 20, True),
        (0.12, (*USUAL, 0.12), True),
        (0.12, USUAL, False),
        (0.11, (*USUAL, 0.12), False),
        (0.12, (*USUAL[:3], 0.12), False),
        (0.15, (0.03,) * 5 + (0.16,), False),
        (0.151, (0.03,) * 5 + (0.16,), True),
        (0.15, (0.001, 0.001, 0.04, 0.04, 0.16), False),
    ],
)
def test_slow_is_what_a_person_notices_or_far_more_than_is_usual(
    rtt: float, past: tuple[float, ...], slow: bool
) -> None:
    assert legs.is_slow(rtt, past) is slow


def test_a_wifi_that_saves_power_or_is_crowded_is_not_slow() -> None:
    random = Random(1)
    saving = [random.uniform(0.002, 0.006) if random.random() < 0.6 else random.uniform(0.02, 0.11) for _ in range(900)]
    crowded = [random.lognormvariate(log(0.008), 0.8) for _ in range(900)]
    for series in (saving, crowded):
        slow = [n for n, rtt in enumerate(series) if legs.is_slow(rtt, series[max(0, n - legs.REMEMBERED) : n])]
        assert len(slow) <= 1


@pytest.mark.parametrize(
    ("answer", "state", "text"),
    [
        (Answer(rtt=0.001, is_there=True), LegState.OK, "answers on its link"),
        (Answer(rtt=0.3, is_there=True), LegState.SLOW, "answers on its link, slowly"),
        (Answer(is_there=True), LegState.OK, "is on its link, answers no ping"),
        (Answer(is_there=False), LegState.SILENT, "does not answer on its link"),
        (Answer(), LegState.UNKNOWN, "cannot be asked on its link"),
    ],
)
def test_a_machine_is_silent_only_where_it_was_asked_and_nothing_tells_that_it_is_there(
    answer: Answer, state: LegState, text: str
) -> None:
    leg = legs.asked(legs.NEXT_HOP, "172.16.0.13", answer, legs.ON_LINK)
    assert (leg.state, leg.text, leg.rtt) == (state, text, answer.rtt)


def test_a_leg_is_told_in_milliseconds() -> None:
    leg = legs.asked(legs.CLUSTER, "10.254.0.2", Answer(rtt=0.0012345, is_there=True), legs.DNS_ANSWERS)
    assert leg.shown == {
        "name": "cluster", "about": "10.254.0.2", "state": "ok", "rtt_ms": 1.23, "text": "its DNS answers",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("oif", "up", "source", "why", "state", "text"),
    [
        ("eth0", True, "172.16.0.50", "", LegState.OK, "link is up"),
        ("eth0", True, "172.16.0.50", "suspended: why", LegState.OK, "suspended: why"),
        ("eth0", False, "172.16.0.50", "suspended: why", LegState.DOWN, "no carrier"),
        ("eth0", True, None, "", LegState.DOWN, "no route: it has no address there"),
        ("eth0", None, "172.16.0.50", "", LegState.DOWN, "no route: the link is gone"),
        (None, None, None, "", LegState.DOWN, "no route: no link leads there"),
    ],
)
def test_the_laptop_is_down_where_its_link_cannot_take_a_packet(
    oif: str | None, up: bool | None, source: str | None, why: str, state: LegState, text: str
) -> None:
    link = Link(index=2, name="eth0", mtu=1500, up=up) if up is not None else None
    leg = legs.laptop(oif, link, source, why)
    assert (leg.state, leg.text) == (state, text)
    assert leg.about == " ".join(filter(None, (oif, source)))


@pytest.mark.parametrize(
    ("known", "misses", "other_answers", "shown"),
    [
        (UNKNOWN, 0, False, HEALTHY),
        (SUSPECT, 0, True, HEALTHY),
        (DEAD, 0, True, RETURNING),
        (RETURNING, 0, True, RETURNING),
        (HEALTHY, 1, True, SUSPECT),
        (UNKNOWN, 1, True, UNKNOWN),
        (HEALTHY, 2, True, DEAD),
        (UNKNOWN, 2, True, DEAD),
        (HEALTHY, 9, False, HEALTHY),
        (DEAD, 9, False, DEAD),
    ],
)
def test_a_gateway_is_shown_silent_only_where_it_missed_two_looks_and_another_one_answers(
    known: HopState, misses: int, other_answers: bool, shown: HopState
) -> None:
    assert legs.seen_state(known, misses, other_answers=other_answers) is shown


def test_whatever_is_said_of_a_leg_fits_into_forty_characters() -> None:
    words = [each for each in vars(legs).values() if isinstance(each, Words)]
    said = [text for each in words for text in (f"{each.ok}, slowly", each.mute, each.silent, each.unknown)]
    said += [legs.NOT_OURS, legs.NO_ROUTE, legs.NOTHING_TO_ASK, legs.TUNNEL, legs.NOT_ASKED, legs.STRANGER]
    assert len(words) > 4
    assert [text for text in said if len(text) > 40] == []
