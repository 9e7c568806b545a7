"""One session: its states with the time they were entered, and how it is shown and kept."""

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given

from devlink.agent.session import Session, State, Wish
from devlink.core.codec import decode, encode
from devlink.core.findings import Finding, Severity
from devlink.core.network import ObservedNetwork
from devlink.core.overrides import ALL
from devlink.core.plan import Plan, make_plan
from devlink.core.profile import BridgeProfile
from devlink.core.profile_document import decode_profile
from tests.core.plans import GATEWAY, GATEWAY6, seen
from tests.core.profiles import SAMPLE, profiles

PROFILE = decode_profile(SAMPLE)
TROUBLE = Finding(code="DL-NOT-INSTALLED", severity=Severity.ERROR, title="It is away.")


@pytest.fixture
def session() -> Session:
    return Session(wish=Wish(profile=PROFILE), plan=make_plan(PROFILE, ObservedNetwork()), since=10.0)


def test_a_state_begins_when_it_is_entered_and_not_when_it_is_confirmed(session: Session) -> None:
    assert session.shown(12.0)["state"] == "connecting"
    session.enter(State.UP, 15.0)
    session.enter(State.UP, 40.0)
    assert session.shown(45.25)["since"] == pytest.approx(30.2, abs=0.1)
    session.enter(State.DEGRADED, 50.0, TROUBLE)
    assert (session.shown(51.0)["state"], session.shown(51.0)["since"]) == ("degraded", 1.0)


def test_what_others_win_makes_it_degraded_and_no_other_finding_of_the_plan_however_grave(session: Session) -> None:
    plan = session.plan
    for findings, loses_routes, best in (((TROUBLE,), False, State.UP), ((), True, State.DEGRADED)):
        session.plan = replace(plan, findings=findings, loses_routes=loses_routes)
        assert session.at_best is best


def test_a_clock_that_seems_to_go_back_shows_no_negative_time(session: Session) -> None:
    assert session.shown(9.0)["since"] == 0.0


def test_trouble_is_shown_first_and_goes_when_it_is_up_again(session: Session) -> None:
    session.enter(State.DEGRADED, 11.0, TROUBLE)
    assert session.shown(11.0)["findings"][0] == encode(TROUBLE)
    session.enter(State.UP, 12.0)
    assert encode(TROUBLE) not in session.shown(12.0)["findings"]
    assert session.shown(12.0)["findings"], "what the plan found stays"


def test_what_is_shown_is_the_plan_and_what_the_helper_said(session: Session) -> None:
    session.installed, session.resolver = ("10.20.0.0/16 via 172.16.0.13 dev eth0",), "direct"
    shown = session.shown(10.0)
    assert (shown["name"], shown["revision"]) == ("qa", "2026-11-20T09:00:00Z")
    assert (shown["mode"], shown["reason"]) == ("router", session.plan.reason)
    assert (shown["routes"], shown["resolver"]) == (list(session.installed), "direct")
    assert shown["zones"][0] == "cluster.local"
    assert shown["search"] == []


def test_what_is_lost_leaves_no_mode_and_no_reason_for_one(session: Session) -> None:
    session.note_resolver({"resolver": "direct", "resolver_reason": "nothing else fits"})
    session.lose(11.0, TROUBLE)
    shown = session.shown(11.0)
    assert (shown["state"], shown["resolver"], shown["resolver_reason"]) == ("degraded", "", "")


def test_the_namespaces_that_names_of_two_labels_may_end_in_are_shown() -> None:
    dns = PROFILE.spec.dns
    assert dns is not None
    searching = replace(PROFILE, spec=replace(PROFILE.spec, dns=replace(dns, search=("default",))))
    session = Session(wish=Wish(profile=searching), plan=make_plan(searching, ObservedNetwork()))
    assert session.shown(1.0)["search"] == ["default"]


@given(profile=profiles())
def test_a_wish_survives_its_file(profile: BridgeProfile) -> None:
    chosen = Wish(profile=profile, exclude=(ip_network("10.1.2.0/24"),), override=ALL)
    for wish in (Wish(profile=profile), Wish(profile=profile, dns=False), Wish(profile=profile, routes=False), chosen):
        assert decode(Wish, encode(wish)) == wish


def test_what_a_session_was_brought_up_with_crosses_a_socket_whole() -> None:
    plan = make_plan(PROFILE, seen(GATEWAY, GATEWAY6), pins=(ip_address("10.20.0.5"),))
    assert plan.desired.routes
    assert plan.findings
    assert plan.alternatives
    assert decode(Plan, json.loads(json.dumps(encode(plan)))) == plan
    assert decode(BridgeProfile, json.loads(json.dumps(encode(PROFILE)))) == PROFILE
