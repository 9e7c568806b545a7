"""What happened, told once and in words."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devlink.agent.events import KEPT, REPEAT_TIME, REPEATS, Happening, Ring, Sight, View, changes
from devlink.core.findings import Finding, Severity

FIRST, SECOND = "172.16.0.13", "172.16.0.14"
OVERLAP = Finding(code="DL-ROUTE-KEPT", severity=Severity.WARNING, title="A part does not reach the cluster.")
UP = Sight(state="up", revision="1", resolver="direct", gateways={FIRST: "healthy", SECOND: "healthy"})
texts = st.text(max_size=8)
findings = st.builds(
    Finding, code=st.sampled_from(["DL-A", "DL-B", "DL-FAILED-OVER", "DL-NOT-INSTALLED"]),
    severity=st.sampled_from(Severity), title=texts.filter(bool),
)  # fmt: skip
hops = st.sampled_from([FIRST, SECOND, "fd00::1"])
sights = st.builds(
    Sight,
    state=st.sampled_from(["connecting", "up", "degraded", "suspended"]),
    revision=texts,
    resolver=texts,
    carriers=st.dictionaries(hops, hops),
    by_hand=st.frozensets(st.tuples(hops, hops), max_size=2),
    gateways=st.dictionaries(hops, st.sampled_from(["unknown", "healthy", "suspect", "silent", "returning"])),
    findings=st.tuples() | st.tuples(findings) | st.tuples(findings, findings),
)
views = st.builds(
    View, helper=st.sampled_from([None, True, False]), sessions=st.dictionaries(texts.filter(bool), sights, max_size=3)
)


def told(before: Sight, after: Sight) -> list[str]:
    """What is told of session qa; without a state there is none."""
    return [each.text for each in happened(before, after)]


def happened(before: Sight, after: Sight) -> tuple[Happening, ...]:
    return changes(View(sessions=_if_any(before)), View(sessions=_if_any(after)))


def _if_any(sight: Sight) -> Mapping[str, Sight]:
    return {"qa": sight} if sight.state else {}


@settings(max_examples=25)
@given(views)
def test_where_nothing_is_different_nothing_happened(view: View) -> None:
    assert changes(view, view) == ()


@settings(max_examples=25)
@given(views, views)
def test_each_event_is_one_line_that_a_terminal_can_show(before: View, after: View) -> None:
    for each in changes(before, after):
        assert each.text.strip()
        assert each.text.isprintable()
        assert each.session in {"", *before.sessions, *after.sessions}


@settings(max_examples=25)
@given(views, views)
def test_nothing_is_told_twice_of_one_change(before: View, after: View) -> None:
    happenings = changes(before, after)
    assert len(set(happenings)) == len(happenings)


def test_the_life_of_a_session_is_told() -> None:
    connecting = replace(UP, state="connecting")
    assert told(Sight(), connecting) == ["qa is being brought up"]
    assert told(connecting, UP) == ["qa is up"]
    assert told(UP, replace(UP, state="degraded")) == ["qa is degraded"]
    assert told(UP, replace(UP, state="suspended")) == ["qa is suspended"]
    assert told(UP, Sight()) == ["qa is down"]
    assert told(connecting, Sight()) == ["qa did not come up"]
    assert told(UP, replace(UP, revision="2")) == ["qa has edition 2 of its profile now"]
    assert told(UP, replace(UP, resolver="resolved")) == ["names are asked by way of resolved now, instead of direct"]


def test_a_failover_is_told_by_who_is_silent_and_who_carries_and_not_by_its_finding_again() -> None:
    finding = Finding(code="DL-FAILED-OVER", severity=Severity.WARNING, title="Packets go by another one.")
    silent = replace(UP, gateways={FIRST: "silent", SECOND: "healthy"})
    over = replace(silent, carriers={FIRST: SECOND}, findings=(finding,))
    assert told(UP, over) == [f"{FIRST} is silent", f"qa goes by {SECOND} now, instead of {FIRST}"]
    assert happened(silent, over)[0].code == "DL-FAILED-OVER"
    returning = replace(over, gateways={FIRST: "returning", SECOND: "healthy"})
    assert told(over, returning) == [f"{FIRST} answers again"]
    assert told(returning, UP) == [f"{FIRST} is healthy again", f"qa goes by {FIRST} again"]


def test_in_another_network_nobody_went_over_to_anybody() -> None:
    over = replace(UP, carriers={FIRST: SECOND})
    suspended = replace(UP, state="suspended", gateways={})
    assert told(over, suspended) == ["qa is suspended"]
    assert told(suspended, over) == ["qa is up"]


def test_a_choice_of_the_user_is_no_warning() -> None:
    (chosen,) = happened(UP, replace(UP, carriers={FIRST: SECOND}, by_hand=frozenset({(FIRST, SECOND)})))
    assert chosen.severity is Severity.INFO
    assert chosen.text.endswith("as you chose")


@pytest.mark.parametrize(("before", "after"), [("unknown", "healthy"), ("healthy", "suspect"), ("suspect", "healthy")])
def test_a_gateway_that_is_only_asked_is_no_event(before: str, after: str) -> None:
    assert told(replace(UP, gateways={FIRST: before}), replace(UP, gateways={FIRST: after})) == []


def test_a_link_that_breaks_silences_a_hundred_gateways_in_one_line() -> None:
    many = [f"172.16.1.{number}" for number in range(100)]
    (line,) = told(
        replace(UP, gateways=dict.fromkeys(many, "healthy")), replace(UP, gateways=dict.fromkeys(many, "silent"))
    )
    assert line.endswith("and 94 more are silent")


def test_a_finding_comes_with_its_severity_and_goes_as_over() -> None:
    (came,) = happened(UP, replace(UP, findings=(OVERLAP,)))
    assert came == Happening("qa", Severity.WARNING, OVERLAP.title, OVERLAP.code)
    (went,) = happened(replace(UP, findings=(OVERLAP,)), UP)
    assert went == Happening("qa", Severity.INFO, f"over: {OVERLAP.title}", OVERLAP.code)


def test_a_finding_whose_title_counts_on_is_not_over() -> None:
    counted = replace(OVERLAP, title="Two parts do not reach the cluster.")
    assert told(replace(UP, findings=(OVERLAP,)), replace(UP, findings=(counted,))) == [counted.title]


def test_what_was_found_of_a_session_that_is_down_or_suspended_is_not_told_to_be_over() -> None:
    found = replace(UP, findings=(OVERLAP,))
    assert told(found, Sight()) == ["qa is down"]
    assert told(found, replace(UP, state="suspended")) == ["qa is suspended"]


def test_a_helper_that_goes_is_told_once_and_not_again_for_each_session() -> None:
    lost = Finding(code="DL-NOT-INSTALLED", severity=Severity.ERROR, title="The helper is away.")
    before = View(helper=True, sessions={"qa": UP, "prod": UP})
    degraded = replace(UP, state="degraded", findings=(lost,))
    after = View(helper=False, sessions={"qa": degraded, "prod": degraded})
    texts = [each.text for each in changes(before, after)]
    assert texts == ["the helper is away: routes and names may be too", "qa is degraded", "prod is degraded"]
    assert [each.text for each in changes(after, before)] == ["the helper is back", "qa is up", "prod is up"]
    assert changes(View(helper=None), View(helper=True)) == ()


def test_only_the_last_events_are_kept_and_who_has_seen_some_gets_the_rest() -> None:
    ring = Ring()
    ring.add([Happening("qa", Severity.INFO, str(number)) for number in range(KEPT + 50)], 100.0)
    assert [each["text"] for each in ring.since(0)] == [str(number) for number in range(50, KEPT + 50)]
    assert [each["text"] for each in ring.since(KEPT + 48)] == [str(KEPT + 48), str(KEPT + 49)]
    assert ring.since(ring.count) == []


def test_a_gateway_that_comes_and_goes_does_not_push_out_the_rest() -> None:
    ring = Ring()
    ring.add([Happening("qa", Severity.INFO, "qa is up")], 0.0)
    flap = [Happening("qa", Severity.WARNING, "silent"), Happening("qa", Severity.INFO, "answers again")]
    told_of = [ring.add(flap, number / 10) for number in range(1000)]
    kept = [each["text"] for each in ring.since(0)]
    assert kept[0] == "qa is up"
    assert len(kept) < KEPT / 10
    assert kept[2 * REPEATS - 1].startswith("silent; it comes and goes"), "who reads it knows that more is left out"
    assert told_of[:REPEATS] == [True] * REPEATS
    assert not told_of[REPEATS]
    assert ring.add(flap, 200.0 + REPEAT_TIME)
    assert ring.since(ring.count - 2)[0]["text"] == "silent"


def test_a_clock_that_is_set_back_has_nothing_left_out() -> None:
    ring, up = Ring(), [Happening("qa", Severity.INFO, "qa is up")]
    assert [ring.add(up, 9000.0) for _ in range(REPEATS + 1)] == [True] * REPEATS + [False]
    assert ring.add(up, 9000.0 - 2 * REPEAT_TIME)
