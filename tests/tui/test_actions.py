"""Each key that does something: what is asked first, what the agent is asked then, and what the screen says of it."""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from textual.color import Color
from textual.pilot import Pilot

from devlink.errors import ClusterError, NotTrustedError, NotUpError
from devlink.tui import app as apps
from devlink.tui.app import Dashboard
from devlink.tui.doing import DEEDS
from devlink.tui.screens.help import GROUPS, Help
from devlink.tui.screens.picker import Choices
from tests.tui.conftest import Pilots, sees, text_of, until
from tests.tui.scripted import ScriptedAgent, finding, gateway, session, status
from tests.tui.test_link import PROGRAM

pytestmark = pytest.mark.slow
Known = dict[str, Any]


def known(name: str, **changes: Any) -> Known:
    return {"name": name, "file": f"/p/{name}.yaml", "context": "", "age": 0, **changes}


def profiles(*found: Known, default: str = "", contexts: tuple[str, ...] = ()) -> Mapping[str, Any]:
    return {"profiles": list(found), "default": default, "contexts": list(contexts)}


async def begin(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent, *sessions: Mapping[str, Any]) -> None:
    """The agent has told these."""
    await agent.tell("Status", status(*sessions))
    await sees(app, pilot, f"{sessions[0]['name']} is" if sessions else "Nothing is up. Press u")


def is_told(app: Dashboard, text: str, times: int) -> bool:
    return text_of(app).count(text) == times


def is_main(app: Dashboard) -> bool:
    return app.screen is app.main


# Up


def test_u_brings_the_only_profile_up_and_shows_its_steps(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["ListProfiles"] = profiles(known("qa"), known("bad", error="spec.pods: empty"), default="qa")
        agent.steps = [("read qa", False), ("profile qa as published", True), ("look at the network", False)]
        await begin(app, pilot, agent)
        await pilot.press("u")
        await sees(app, pilot, "✓ profile qa as published … look at the network")
        assert agent.asked("Up") == [{"profile": "qa", "context": "", "replace": False, "environment": {}}]

    piloted(body)


def test_when_it_is_up_the_dialog_closes_and_says_so(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers |= {"ListProfiles": profiles(known("qa")), "Up": {"session": session("qa")}}
        await begin(app, pilot, agent)
        await pilot.press("u")
        await sees(app, pilot, "qa is up (0.")
        await until(pilot, lambda: is_main(app), "the dialog is closed")

    piloted(body)


def test_several_are_picked_from_by_a_text_and_broken_ones_say_why(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["ListProfiles"] = profiles(
            known("qa"), known("prod"), known("bad", error="spec.pods: empty"), contexts=("lab",)
        )
        await begin(app, pilot, agent)
        await pilot.press("u")
        await sees(app, pilot, "✗ bad")
        await pilot.press(*"bad")
        await sees(app, pilot, "It cannot be chosen: spec.pods: empty")
        choices = app.screen.query_one(Choices)
        cursor = Color.parse(app.get_css_variables()["block-cursor-background"]).rich_color
        assert {segment.style.bgcolor for segment in choices.render_line(0) if segment.style} == {cursor}
        await pilot.press("enter")
        assert not agent.asked("Up"), "a broken one is not brought up"
        await pilot.press("backspace", "backspace", "backspace", "a", "space", *"lab", "enter")
        await until(pilot, lambda: agent.asked("Up"), "the agent is asked")
        assert agent.asked("Up")[0]["context"] == "lab"
        assert agent.asked("Up")[0]["profile"] == ""

    piloted(body)


def test_escape_leaves_the_picker_and_nothing_is_brought_up(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["ListProfiles"] = profiles(known("qa"), known("prod"))
        await begin(app, pilot, agent)
        await pilot.press("u")
        await sees(app, pilot, "Enter chooses")
        await pilot.press("down", "escape")
        await until(pilot, lambda: is_main(app), "the picker is closed")
        assert not agent.asked("Up")
        await pilot.press("u")
        await sees(app, pilot, "Enter chooses")

    piloted(body)


def test_without_any_profile_it_says_where_one_is_from(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["ListProfiles"] = profiles()
        await begin(app, pilot, agent)
        await pilot.press("u")
        await sees(app, pilot, "y copies: devlink login")

    piloted(body)


def test_enter_gives_nothing_up_that_is_on_its_way_and_closes_what_has_ended(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["ListProfiles"] = profiles(known("qa"))
        agent.steps = [("read qa", False)]
        agent.taken_back = NotUpError("Everything was taken back.", next_step="Again: devlink up qa")
        await begin(app, pilot, agent)
        await pilot.press("u")
        await sees(app, pilot, "… read qa")
        await pilot.press("enter")
        await pilot.pause(0.1)
        await sees(app, pilot, "… read qa Esc cancels")
        assert not agent.given_up
        await pilot.press("escape")
        await sees(app, pilot, "Cancelled. Everything was taken back.")
        await pilot.press("enter")
        await until(pilot, lambda: is_main(app), "the dialog is closed")

    piloted(body)


def test_escape_cancels_and_shows_what_the_agent_answers(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["ListProfiles"] = profiles(known("qa"))
        agent.steps = [("read qa", False)]
        agent.taken_back = NotUpError("Everything was taken back.", next_step="Again: devlink up qa")
        await begin(app, pilot, agent)
        await pilot.press("u")
        await sees(app, pilot, "… read qa")
        await pilot.press("escape")
        await sees(app, pilot, "Cancelled. Everything was taken back. Next: Again: devlink up qa")
        await pilot.press("escape")
        await until(pilot, lambda: is_main(app), "the dialog is closed")

    piloted(body)


def test_what_is_up_before_its_cancelling_is_heard_is_taken_down(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers |= {"ListProfiles": profiles(known("qa")), "Up": {"session": session("qa")}}
        agent.answers["Down"] = {"sessions": ["qa"]}
        await begin(app, pilot, agent)
        up = app._link.up

        def given_up_too_late(*arguments: Any, **options: Any) -> Any:
            bringing = up(*arguments, **options)
            steps = bringing.steps

            async def late() -> Any:
                async for each in steps():
                    yield each
                bringing.is_given_up = True

            bringing.steps = late  # type: ignore[method-assign]
            return bringing

        app._link.up = given_up_too_late  # type: ignore[method-assign]
        await pilot.press("u")
        await sees(app, pilot, "It was up already, and was taken down again.")
        assert agent.asked("Down") == [{"session": "qa", "all": False}]

    piloted(body)


def test_h_hides_it_and_it_goes_on_and_u_shows_it_again(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["ListProfiles"] = profiles(known("qa"))
        agent.steps = [("read qa", False)]
        await begin(app, pilot, agent, session("other"))
        await pilot.press("u")
        await sees(app, pilot, "Enter chooses")
        await pilot.press("enter")
        await sees(app, pilot, "… read qa")
        await pilot.press("h")
        await sees(app, pilot, "qa goes on; u shows it again.")
        await pilot.press("d")
        await sees(app, pilot, "Bringing qa up goes on: one thing at a time.")
        assert is_main(app)
        await pilot.press("u")
        await sees(app, pilot, "… read qa")
        assert len(agent.asked("Up")) == 1
        await pilot.press("h", "q")
        await sees(app, pilot, "Without the dashboard it is taken back.")
        await pilot.press("y")
        await until(pilot, lambda: app.return_value == 0, "it is left")

    piloted(body, size=(120, 40))


def test_a_profile_that_is_not_trusted_is_told_with_the_line_that_trusts_it(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["ListProfiles"] = profiles(known("qa"))
        agent.answers["Up"] = NotTrustedError(
            "qa is not trusted.", why="It claims 10.20.0.0/16.", next_step="Run: devlink trust PROFILE"
        )
        agent.steps = [("ask the helper", False)]
        await begin(app, pilot, agent)
        await pilot.press("u")
        await sees(app, pilot, "Why: It claims 10.20.0.0/16. Next: Run: devlink trust qa y copies: devlink trust qa")
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard == "devlink trust qa", "the line is copied")

    piloted(body, size=(80, 24))


def test_what_did_not_work_can_be_read_to_its_end_on_a_low_terminal(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["ListProfiles"] = profiles(known("qa"))
        agent.answers["Up"] = NotUpError("It fails.", why="For reasons. " * 60, next_step="Begin anew.")
        await begin(app, pilot, agent)
        await pilot.press("u")
        await sees(app, pilot, "It fails.")
        assert "Esc closes" not in text_of(app)
        await pilot.press(*["down"] * 6)
        await sees(app, pilot, "Begin anew.")
        await sees(app, pilot, "Esc closes")

    piloted(body, size=(60, 14))


def test_u_starts_an_agent_where_none_runs(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        async def start() -> None:
            await agent.start()
            await agent.tell("Status", status())

        app._link.start_agent = start  # type: ignore[method-assign]
        agent.answers |= {"ListProfiles": profiles(known("qa")), "Up": {"session": session("qa")}}
        await sees(app, pilot, "No agent runs")
        await pilot.press("u")
        await sees(app, pilot, "qa is up (")

    piloted(body, absent=True)


def test_an_agent_that_was_started_from_here_is_seen_at_once(piloted: Pilots, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        async def start() -> None:
            await agent.start()
            await agent.tell("Status", status())

        app._link.start_agent = start  # type: ignore[method-assign]
        await sees(app, pilot, "No agent runs")
        await pilot.press("a")
        await sees(app, pilot, "Nothing is up. Press u")

    monkeypatch.setattr(apps, "RETRY_FIRST", 3600.0)
    piloted(body, absent=True)


def test_what_an_agent_had_up_that_went_away_can_be_brought_up_again(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        app._link.start_agent = agent.start  # type: ignore[method-assign,assignment]
        agent.answers |= {"ListProfiles": profiles(known("qa")), "Up": {"session": session("qa")}}
        await begin(app, pilot, agent, session("qa"))
        await until(pilot, agent.is_followed, "all is followed")
        await agent.end()
        await sees(app, pilot, "The agent went away.")
        agent.forget()
        await pilot.press("u")
        await sees(app, pilot, "qa is up (")

    piloted(body, size=(120, 40))


# Down and the rest


def test_d_asks_first_and_takes_the_one_under_the_cursor_down(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["Down"] = {"sessions": ["b"]}
        await begin(app, pilot, agent, session("a"), session("b"))
        await pilot.press("down", "d")
        await sees(app, pilot, "Take b down?")
        await pilot.press("enter")
        await until(pilot, lambda: is_main(app), "Enter chooses what changes nothing")
        assert not agent.asked("Down")
        await pilot.press("d")
        await sees(app, pilot, "Take b down?")
        await pilot.press("y")
        await sees(app, pilot, "b is down.")
        assert agent.asked("Down") == [{"session": "b", "all": False}]

    piloted(body)


def test_d_gives_up_what_still_asks_for_its_profile_where_nothing_is_up(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["Down"] = {"sessions": ["qa"]}
        await agent.tell("Status", status(asking=["qa"]))
        await sees(app, pilot, "Asking for qa.")
        await pilot.press("d")
        await sees(app, pilot, "Give it up?")
        await pilot.press("y")
        await sees(app, pilot, "qa is down.")
        assert agent.asked("Down") == [{"session": "", "all": True}]

    piloted(body)


def test_d_gives_up_what_waits_since_login_where_nothing_is_up(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["Down"] = {"sessions": ["qa"]}
        waiting = {"profile": "qa", "why": "The helper is away.", "next_step": "Start it.", "since": 1.0}
        await agent.tell("Status", status(waiting=[waiting]))
        await sees(app, pilot, "qa waits since 1 s: The helper is away.")
        await pilot.press("d")
        await sees(app, pilot, "Give it up?")
        await pilot.press("y")
        await sees(app, pilot, "qa is down.")
        assert agent.asked("Down") == [{"session": "", "all": True}]

    piloted(body)


def test_all_of_several_go_down_by_one_key(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["Down"] = {"sessions": ["a", "b"]}
        await begin(app, pilot, agent, session("a"), session("b"))
        await pilot.press("d")
        await sees(app, pilot, "All 2 (a)")
        await pilot.press("a")
        await sees(app, pilot, "a, b are down.")
        assert agent.asked("Down") == [{"session": "", "all": True}]

    piloted(body)


def test_what_does_not_work_is_told_with_why_and_what_to_do(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["Down"] = ClusterError("It failed.", why="So it is.", next_step="See: devlink status")
        await begin(app, pilot, agent, session("qa"))
        await pilot.press("d")
        await sees(app, pilot, "Take qa down?")
        await pilot.press("y")
        await sees(app, pilot, "It failed. Why: So it is. Next: See: devlink status")
        await pilot.press("escape")
        await until(pilot, lambda: is_main(app), "it is closed")

    piloted(body)


def test_p_switches_after_asking_and_replaces_what_is_up(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers |= {"ListProfiles": profiles(known("qa"), known("prod")), "Up": {"session": session("prod")}}
        await begin(app, pilot, agent, session("qa"))
        await pilot.press("p")
        await sees(app, pilot, "it is up already")
        await pilot.press("enter")
        await sees(app, pilot, "Switch to prod?")
        await pilot.press("escape")
        await until(pilot, lambda: is_main(app), "it is not done")
        assert not agent.asked("Up")
        await pilot.press("p")
        await sees(app, pilot, "it is up already")
        await pilot.press("enter")
        await sees(app, pilot, "qa goes down in the same step")
        await pilot.press("y")
        await sees(app, pilot, "prod is up (")
        assert [(asked["profile"], asked["replace"]) for asked in agent.asked("Up")] == [("prod", True)]

    piloted(body)


def test_f_offers_who_could_carry_and_says_what_breaks(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["Failover"] = {"session": "qa", "before": "172.16.0.13", "gateway": "172.16.0.15"}
        others = [gateway("172.16.0.14", carries=False, state="silent", rtt_ms=None),
                  gateway("172.16.0.15", carries=False, rtt_ms=1.25)]  # fmt: skip
        await begin(app, pilot, agent, session("qa", gateways=[gateway(), *others]))
        await pilot.press("f")
        await sees(app, pilot, "✓ 172.16.0.15 route-reflector healthy 1.2 ms ✗ 172.16.0.14 route-reflector silent -")
        await pilot.press("enter")
        await sees(app, pilot, "TCP connections to services (ClusterIPs) that are open break")
        assert not agent.asked("Failover")
        await pilot.press("y")
        await sees(app, pilot, "qa goes by 172.16.0.15 now, and no more by 172.16.0.13.")
        assert agent.asked("Failover") == [{"session": "qa", "gateway": "172.16.0.15"}]

    piloted(body, size=(120, 40))


def test_without_another_gateway_f_says_so(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await begin(app, pilot, agent, session("qa", gateways=[gateway()]))
        await pilot.press("f")
        await sees(app, pilot, "qa has no other gateway.")

    piloted(body)


def test_n_forgets_names_and_says_how_many(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["FlushDns"] = {"entries": 12}
        await begin(app, pilot, agent, session("qa"))
        await pilot.press("n")
        await sees(app, pilot, "12 answers to names forgotten.")
        assert agent.asked("FlushDns") == [{}]

    piloted(body)


def test_a_second_deed_is_refused_with_the_name_of_the_first(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await begin(app, pilot, agent, session("qa"))  # FlushDns is not answered
        await pilot.press("n")
        await until(pilot, lambda: agent.asked("FlushDns"), "it is asked for")
        await pilot.press("d")
        await sees(app, pilot, "Flushing DNS goes on: one thing at a time.")
        assert is_main(app)

    piloted(body, size=(120, 40))


def test_while_no_agent_is_here_a_key_says_why_it_cannot(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await sees(app, pilot, "No agent runs")
        for told, key in enumerate("dfn", 2):
            await pilot.press(key)
            await until(pilot, partial(is_told, app, "No agent runs", told), f"{key} is told why")
            assert is_main(app)

    piloted(body, absent=True, size=(120, 40))


@pytest.mark.parametrize(("key", "name"), [("r", "plain"), ("a", "anonymized")])
def test_r_saves_a_report_into_the_present_folder(
    piloted: Pilots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, name: str
) -> None:
    program = tmp_path / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.chdir(tmp_path)

    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await sees(app, pilot, "No agent runs")
        await pilot.press("r")
        await sees(app, pilot, "nothing is sent")
        await pilot.press(key)
        await sees(app, pilot, "The report is saved")
        await until(pilot, lambda: name in text_of(app), "its path is told")

    piloted(body, absent=True, size=(160, 40))


def test_y_copies_the_command_of_the_gravest_finding_or_says_that_there_is_none(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await begin(app, pilot, agent)
        app.set_focus(None)
        await pilot.press("y")
        await sees(app, pilot, "There is nothing to copy here.")
        await begin(app, pilot, agent, session("qa", findings=[finding("DL-A", "info", fix="x: devlink a"), finding()]))
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard == "devlink failover 172.16.0.13", "it is copied")

    piloted(body)


def test_y_copies_what_the_panel_with_the_keys_offers(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("a"), session("b", findings=[finding()])))
        await sees(app, pilot, "b is up")
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard == "a", "of one that is well the name is copied")
        await pilot.press("down", "y")
        await until(pilot, lambda: app.clipboard == "devlink failover 172.16.0.13", "else what mends it")

    piloted(body)


# Around it


def test_help_has_every_key_and_closes(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, Help), "help is seen")
        keys = {key.lower() for group in GROUPS for key, _ in group.keys}
        bound = {key for key, _ in app._bindings.key_to_bindings.items() if len(key) == 1}
        assert bound <= keys, "each key has a line"
        await sees(app, pilot, "bring a profile up")
        await pilot.press("escape")
        await until(pilot, lambda: is_main(app), "it is closed")

    piloted(body)


def test_the_palette_has_each_deed_with_a_line_and_does_it(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["FlushDns"] = {"entries": 1}
        await begin(app, pilot, agent, session("qa"))
        named = [command.title for command in app.get_system_commands(app.screen) if command.help]
        assert named == [deed.name for deed in DEEDS if deed.action != "start_agent"], "none of Textual's own"
        await pilot.press("ctrl+p")
        await pilot.press(*"flush")
        await sees(app, pilot, "Forget every answer")
        await pilot.press("down", "enter")
        await sees(app, pilot, "1 answer to names forgotten.")

    piloted(body)


def test_t_changes_the_colours_and_back(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        assert app.theme == "devlink-dark"
        await pilot.press("t")
        assert app.theme == "devlink-light"
        await pilot.press("t")
        assert app.theme == "devlink-dark"

    piloted(body)


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_q_leaves_and_takes_nothing_down(piloted: Pilots, key: str) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await begin(app, pilot, agent, session("qa"))
        await pilot.press(key)
        await until(pilot, lambda: app.return_value == 0, "it is left")
        assert not agent.asked("Down")
        assert not agent.asked("Stop")

    piloted(body)


def test_a_click_answers_as_a_key_does(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["Down"] = {"sessions": ["qa"]}
        await begin(app, pilot, agent, session("qa"))
        await pilot.press("d")
        await sees(app, pilot, "Take qa down?")
        await pilot.click("#answer-y")
        await sees(app, pilot, "qa is down.")

    piloted(body)
