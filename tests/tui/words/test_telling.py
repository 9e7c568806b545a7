"""What is told of the link, in words."""

from typing import Any

import pytest

from devlink.core.codec import decode
from devlink.errors import ClusterError, ProfileError
from devlink.tui.records import AgentStatus, DnsStats, Profiles
from devlink.tui.words import telling
from devlink.tui.words.commands import command_of
from devlink.tui.words.telling import Choice, Progress, Told, Trouble, absence, headline
from tests.tui.scripted import dns_stats, finding, gateway, relayed_session, session, status


def told(*sessions: dict[str, Any], elapsed: float = 0.0, dns: DnsStats | None = None, **changes: Any) -> Told:
    return headline(decode(AgentStatus, status(*sessions, **changes)["status"]), elapsed, dns)


def test_one_that_is_well_is_told_with_its_gateway_its_time_and_its_names() -> None:
    assert told(session("qa", since=7200.0)) == Told(
        "ok", "qa is up by 172.16.0.13 (0.8 ms) since 2 h 0 min · names by resolved"
    )


def test_the_time_goes_on_after_it_was_told() -> None:
    assert "since 2 min" in told(session("qa", since=60.0), elapsed=61.0).text


def test_what_is_only_noticed_needs_no_remedy() -> None:
    def remedy(severity: str) -> str:
        one = status(session("qa", findings=[finding("DL-A", severity)]))["status"]
        return telling.remedy(decode(AgentStatus, one).sessions[0])

    assert (remedy("info"), remedy("warning")) == ("", "devlink failover 172.16.0.13")


def test_many_that_carry_are_counted_and_one_whose_time_is_not_known_is_named_without() -> None:
    three = [gateway(f"172.16.0.{n}") for n in (1, 2, 3)]
    assert "by 3 nodes since" in told(session("qa", gateways=three)).text
    assert "by 172.16.0.13 since" in told(session("qa", gateways=[gateway(rtt_ms=None)])).text


def test_what_is_relayed_is_told_with_what_is_open_and_no_gateway() -> None:
    said = told(relayed_session("qa", since=60.0)).text
    assert said == "qa is up through its API server, 3 streams open, since 1 min · names by resolved"
    assert "through its API server since" in told(relayed_session("qa", relay=None)).text


def test_routes_alone_are_told_as_such() -> None:
    assert told(session("qa", zones=[])).text.endswith("routes only, no names")


def test_what_is_wrong_is_told_with_its_fix_and_what_is_only_noticed_is_not() -> None:
    warned = told(session("qa", findings=[finding("DL-A", "info", title="Noticed."), finding()]))
    assert warned.tone == "warning"
    assert warned.text.endswith("Packets go by 172.16.0.14 instead of 172.16.0.13: it was silent.")
    assert warned.next_step == "To go back: devlink failover 172.16.0.13"
    assert told(session("qa", findings=[finding("DL-A", "info")])).tone == "ok"


def test_a_conflict_is_an_error_though_the_session_is_up() -> None:
    conflict = finding("DL-ROUTE-CONFLICT", "error", title="tun0 has 10.20.0.0/16.", fix="remove that route")
    shown = told(session("qa", findings=[finding(), conflict]))
    assert (shown.tone, shown.next_step) == ("error", "Remove that route")
    assert "tun0 has 10.20.0.0/16." in shown.text


@pytest.mark.parametrize(
    ("state", "tone", "text"),
    [
        ("connecting", "busy", "qa is coming up since 1 min."),
        ("suspended", "off", "qa is suspended since 1 min: it comes back by itself where its network is."),
        ("degraded", "error", "qa is degraded since 1 min: it does not carry everything."),
    ],
)
def test_each_state_has_its_tone_and_its_sentence(state: str, tone: str, text: str) -> None:
    assert told(session("qa", state=state)) == Told(tone, text)


def test_of_several_the_worst_is_told_first() -> None:
    shown = told(session("a"), session("b", state="degraded"), session("c", state="suspended"))
    assert shown.tone == "error"
    assert shown.text.startswith("b is degraded")
    assert shown.text.endswith(" · a up, c suspended")
    assert told(session("a"), session("b"), session("c")).text.endswith(" · b, c are up too")
    assert told(session("a"), session("b", findings=[finding()])).text.startswith("b is up")


def test_who_still_asks_is_told_alone_and_beside_what_is_up() -> None:
    assert told(asking=["", "qa"]).text == "Asking for the default profile and qa."
    assert told(asking=["qa"]).tone == "busy"
    assert told(session("a"), asking=["b"]).text.endswith("· asking for b")


def test_where_nothing_is_up_the_key_is_told_that_changes_it() -> None:
    assert told() == Told("off", "Nothing is up.", "Press u to bring a profile up.")


def test_a_helper_that_is_away_is_told_before_all_else_where_something_is_up() -> None:
    shown = told(session("qa"), helper="not connected")
    assert shown.tone == "error"
    assert "The helper is away: routes and names of qa" in shown.text
    assert command_of(shown.next_step) == "devlink helper status"
    assert told(helper="not connected").tone == "off", "an agent connects when it must"
    assert told(session("qa", state="connecting"), helper="not connected").tone == "busy", "nothing was there before"


def test_names_are_silent_only_where_no_server_of_the_session_answers() -> None:
    def counted(state: str, other: str) -> DnsStats:
        servers = dns_stats()["stats"]["servers"]
        mine = [{**servers[0], "state": state}, {**servers[0], "server": "10.96.0.11", "state": other}]
        return decode(DnsStats, dns_stats(servers=[*mine, {**servers[1], "state": "silent"}])["stats"])

    silent = told(session("qa"), dns=counted("silent", "silent"))
    assert silent.tone == "warning"
    assert silent.text.endswith("no answer to names from 10.96.0.10, 10.96.0.11.")
    assert told(session("qa"), dns=counted("silent", "ok")).tone == "ok"


KNOWN = decode(AgentStatus, status(session("qa"))["status"])


@pytest.mark.parametrize(
    ("contact", "known", "tone", "has"),
    [
        ("connecting", None, "busy", "Looking for the agent."),
        ("absent", None, "off", "No agent runs: nothing is up. a starts one, u brings a profile up."),
        (
            "lost",
            KNOWN,
            "error",
            "qa is taken back soon after. All below is as of 12 s ago.",
        ),
        ("silent", KNOWN, "error", "does not answer. All below is as of 12 s ago."),
        ("silent", None, "error", "does not answer. It is found again"),
        ("other", None, "error", "It is 0.1. Restart it."),
    ],
)
def test_an_agent_that_is_not_here_is_told_with_what_to_do_and_how_old_the_rest_is(
    contact: str, known: AgentStatus | None, tone: str, has: str
) -> None:
    shown = absence(contact, "It is 0.1.", "Restart it.", known, 12.3)
    assert shown.tone == tone
    assert has in f"{shown.text} {shown.next_step}"


def profiles(*known: dict[str, Any], default: str = "", contexts: tuple[str, ...] = ()) -> Profiles:
    return decode(Profiles, {"profiles": known, "default": default, "contexts": contexts})


def known(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "file": f"/p/{name}.yaml", "context": "", "age": 0, **changes}


def test_the_default_is_offered_first_and_what_cannot_be_chosen_last_with_the_reason() -> None:
    given = profiles(known("bad", error="spec.pods: empty"), known("qa"), known("b"), known("c"), default="c")
    found = telling.choices(given, KNOWN)
    assert [(choice.text, choice.obstacle) for choice in found] == [
        ("c", ""), ("b", ""), ("bad", "spec.pods: empty"), ("qa", "it is up already"),
    ]  # fmt: skip
    assert telling.only(found) is None
    unnamed = telling.choices(profiles(known("a"), contexts=("lab",)), None)
    assert [choice.text for choice in unnamed] == ["a", "lab"], "without a default they stay as they are"


def test_a_context_is_offered_beside_what_it_gave_only_where_that_is_broken() -> None:
    given = profiles(
        known("a", context="one"), known("b", context="two", error="broken"), contexts=("one", "two", "three")
    )
    found = telling.choices(given, None)
    assert [choice.context for choice in found if not choice.profile] == ["two", "three"]


def test_a_name_that_two_clusters_gave_is_asked_for_by_the_cluster() -> None:
    found = telling.choices(profiles(known("a", context="one"), known("a", context="two")), None)
    assert {(choice.profile, choice.context) for choice in found} == {("", "one"), ("", "two")}


def test_of_who_could_carry_those_that_answer_are_first_the_quickest_before_the_others() -> None:
    times = {"13": None, "14": 2.0, "15": 1.0, "16": None}
    states = {"13": "silent", "14": "healthy", "15": "healthy", "16": "healthy"}
    others = [gateway(f"172.16.0.{n}", carries=False, state=states[n], rtt_ms=times[n]) for n in times]
    one = decode(AgentStatus, status(session("qa", gateways=[gateway("172.16.0.1"), *others]))["status"]).sessions[0]
    assert [str(each.address)[-2:] for each in telling.gateways(one)] == ["15", "14", "16", "13"]


def test_only_one_that_can_be_meant_needs_no_question() -> None:
    found = telling.choices(profiles(known("qa"), known("b"), known("c", error="broken")), KNOWN)
    assert telling.only(found) == Choice("b", "file", profile="b")
    assert telling.only([]) is None


def test_a_step_that_ends_stands_where_it_began() -> None:
    progress = Progress("qa").stepped("read qa", False).stepped("profile qa", True).stepped("verify", False)
    assert (progress.done, progress.current) == (("profile qa",), "verify")


def test_trouble_has_each_fault_of_a_profile_and_words_for_a_limit_that_passed() -> None:
    assert telling.trouble(ProfileError("Invalid.", faults=("a: b", "c: d"), next_step="Mend it.")) == Trouble(
        "Invalid.", "a: b c: d", "Mend it."
    )
    assert telling.trouble(ClusterError("No.", why="Down.", next_step="Wait.")) == Trouble("No.", "Down.", "Wait.")
    assert telling.trouble(TimeoutError()).what == "The agent does not answer."
    assert telling.trouble(OSError(13, "Permission denied")).what == "Permission denied."


def test_trusting_names_the_profile_that_is_meant() -> None:
    assert telling.trusting("Run: devlink trust PROFILE", "qa") == "Run: devlink trust qa"
    assert telling.trusting("Run: devlink trust PROFILE", "a b") == "Run: devlink trust 'a b'"
    assert telling.trusting("Run: devlink trust PROFILE", "") == "Run: devlink trust"


def waiting(profile: str = "qa", **changes: Any) -> dict[str, Any]:
    return {"profile": profile, "why": "The helper is away.", "next_step": "Start it.", "since": 60.0, **changes}


def test_what_waits_since_login_is_told_with_its_reason_and_its_next_step() -> None:
    assert told(elapsed=61.0, waiting=[waiting()]) == Told(
        "busy", "qa waits since 2 min: The helper is away.", "Start it."
    )
    assert told(waiting=[waiting(""), waiting("prod"), waiting("b")]).text == (
        "the default profile waits since 1 min: The helper is away. · prod, b wait too"
    )


def test_what_waits_beside_a_session_is_told_behind_it() -> None:
    assert told(session("qa"), waiting=[waiting("prod")]).text.endswith("· names by resolved · prod waits")
