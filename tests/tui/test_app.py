"""What the dashboard follows, and what it makes of an agent that comes and goes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from devlink.core.codec import decode
from devlink.errors import HelperError, ProtocolError
from devlink.rpc.client import Client
from devlink.tui import app as apps
from devlink.tui import link as links
from devlink.tui import messages
from devlink.tui.app import Dashboard
from devlink.tui.link import Link
from devlink.tui.messages import Contact
from devlink.tui.records import AgentStatus
from devlink.tui.screens.main import MainScreen
from devlink.tui.widgets.dns import DnsPanel
from devlink.tui.widgets.headline import Headline
from devlink.tui.widgets.listing import Listing
from devlink.tui.words.telling import Trouble
from tests.tui.conftest import Pilots, sees, text_of, until
from tests.tui.scripted import ScriptedAgent, event, path, session, status
from tests.tui.test_link import forget, greeting, raw

pytestmark = pytest.mark.slow


def headline(app: Dashboard) -> str:
    """What it says."""
    return str(app.main.query_one(Headline).render())


def test_it_shows_what_the_agent_tells_and_each_change(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await until(pilot, lambda: "qa is up" in text_of(app), "the session is shown")
        await agent.tell("Status", status(session("qa", state="degraded")))
        await until(pilot, lambda: "qa is degraded" in text_of(app), "its change is shown")

    piloted(body)


def test_without_an_agent_it_says_so_and_finds_one_that_comes(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await sees(app, pilot, "No agent runs: nothing is up. a starts one, u brings a profile up.")
        await agent.start()
        await agent.tell("Status", status(session("qa")))
        await sees(app, pilot, "qa is up")

    piloted(body, absent=True)


def test_an_agent_that_goes_away_is_told_and_what_it_told_is_not_shown_as_though_it_were_true(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("FollowPath", path())
        await agent.tell("FollowEvents", {"events": [event("it came up")]})
        await agent.tell("Status", status(session("a"), session("b")))
        await sees(app, pilot, "a is up")
        await pilot.press("down", "5")
        await sees(app, pilot, "it came up")
        assert not app.main.has_class("-away")
        await agent.end()
        await sees(app, pilot, "a, b are taken back soon after. All below is as of")
        assert app.main.has_class("-away")
        assert "it came up" in text_of(app), "what was told last stays"
        await agent.start()
        await agent.tell("Status", status(session("a"), session("b", state="degraded")))
        await sees(app, pilot, "b is degraded")
        assert not app.main.has_class("-away")
        chosen = app.main.query_one("#sessions Listing", Listing).chosen
        assert getattr(chosen, "name", "") == "b", "the cursor is where it was"
        await until(pilot, lambda: len(agent.asked("FollowEvents")) == 2, "the events are followed again")
        await until(pilot, lambda: text_of(app).count("it came up") == 1, "what is told again is not there twice")

    piloted(body, size=(120, 30))


def test_the_path_of_a_session_is_followed_once_when_it_is_chosen(
    piloted: Pilots, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[str] = []
    monkeypatch.setattr(Dashboard, "_follow_path", lambda _, session: followed.append(session))

    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("a"), session("b")))
        await until(pilot, lambda: followed, "the first is followed")
        await pilot.press("down")
        await until(pilot, lambda: "b" in followed, "the second is followed")
        assert followed == ["a", "b"]

    piloted(body)


def test_what_is_as_of_a_while_ago_is_as_of_when_the_agent_was_heard_last(
    piloted: Pilots, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        clock = 1000.0
        monkeypatch.setattr(MainScreen, "now", property(lambda _: clock))
        await agent.tell("Status", status(session("a")))
        await sees(app, pilot, "a is up")
        app.main.post_message(messages.StatusTold(decode(AgentStatus, status(session("a"))["status"]), clock))
        clock += 3600.0
        await agent.tell("FollowPath", path())
        await sees(app, pilot, "its DNS answers")
        await until(pilot, agent.is_followed, "all is followed")
        clock += 12.0
        await agent.end()
        await sees(app, pilot, "a is taken back soon after. All below is as of 12 s ago.")

    piloted(body, size=(160, 40))


def test_nothing_is_said_to_be_well_or_not_up_before_the_agent_has_told_it(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await sees(app, pilot, "Not known yet.")
        assert not any(each in text_of(app) for each in ("Nothing is wrong.", "Nothing is up"))
        await agent.tell("Status", status(session("a")))
        await sees(app, pilot, "Nothing is wrong.")

    piloted(body)


def test_where_no_agent_runs_nothing_is_up_and_nothing_is_said_to_be_well(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await sees(app, pilot, "Nothing is up, so nothing is known to be wrong.")
        assert "Not known yet." not in text_of(app)

    piloted(body, absent=True)


def test_an_open_dialog_outlives_the_agent(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        agent.answers["Down"] = {"sessions": ["a"]}
        await agent.tell("Status", status(session("a")))
        await sees(app, pilot, "a is up")
        await pilot.press("d")
        await sees(app, pilot, "Take a down?")
        await agent.end()
        await until(pilot, lambda: "went away" in headline(app), "its loss is told")
        await agent.start()
        await until(pilot, lambda: "a is up" in headline(app), "it is found again")
        await pilot.press("y")
        await sees(app, pilot, "a is down.")

    piloted(body)


def test_an_agent_that_is_started_anew_at_once_is_not_told_as_lost(
    piloted: Pilots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "RETRY_FIRST", 1.0)
    told: list[str] = []
    note = Dashboard._note_contact

    def noted(self: Dashboard, contact: Contact, *why: Trouble) -> None:
        told.append(contact)
        note(self, contact, *why)

    monkeypatch.setattr(Dashboard, "_note_contact", noted)

    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("a")))
        await sees(app, pilot, "a is up")
        await agent.end()
        await agent.start()
        await agent.tell("Status", status(session("b")))
        await sees(app, pilot, "b is up")
        assert set(told) == {"here"}

    piloted(body)


def test_an_agent_with_nothing_up_that_ends_is_absent_and_not_lost(piloted: Pilots) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status())
        await sees(app, pilot, "Nothing is up. Press u")
        await agent.end()
        await sees(app, pilot, "No agent runs: nothing is up.")

    piloted(body)


def test_one_that_accepts_and_says_nothing_is_told_as_silent_and_found_when_it_goes_on(
    piloted: Pilots, agent_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "GREETING_PATIENCE", 0.1)

    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await sees(app, pilot, "No agent runs")
        async with await raw(agent_socket, hold=True):
            await sees(app, pilot, "The agent is there and does not answer.")
            await pilot.press("n")
            await until(pilot, lambda: text_of(app).count("does not answer") == 2, "a key says why it cannot")
        forget(agent_socket)
        await agent.start()
        await agent.tell("Status", status(session("qa")))
        app._follow_status()  # the old connection hangs as long as the greeting's limit
        await sees(app, pilot, "qa is up")

    piloted(body, absent=True, size=(120, 40))


def test_one_that_is_stopped_in_the_middle_of_its_streams_is_told_as_silent_until_it_goes_on(
    piloted: Pilots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "PULSE", 0.05)
    hangs = asyncio.Event()
    pulse = Link.pulse

    async def stopped(self: Link) -> None:
        if hangs.is_set():
            raise TimeoutError
        await pulse(self)

    monkeypatch.setattr(Link, "pulse", stopped)

    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await sees(app, pilot, "qa is up")
        hangs.set()
        await sees(app, pilot, "does not answer. All below is as of")
        assert app.main.has_class("-away")
        hangs.clear()
        await sees(app, pilot, "qa is up")
        assert not app.main.has_class("-away")
        assert len(agent.asked("Status")) == 1, "its stream was never given up"

    piloted(body)


def test_another_version_is_told_with_what_to_restart_and_keys_say_it_too(piloted: Pilots, agent_socket: Path) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        async with await raw(agent_socket, greeting("0.0.1")):
            await sees(app, pilot, "The running agent is version 0.0.1, this dashboard is")
            await sees(app, pilot, "devlink down --all")
            await pilot.press("u")
            await sees(app, pilot, "Bringing a profile up: it did not work The running agent is version 0.0.1")

    piloted(body, absent=True)


def test_one_that_hangs_up_again_and_again_is_told_with_where_to_look(
    piloted: Pilots, agent_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apps, "RETRY_FIRST", 0.01)

    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        async with await raw(agent_socket, greeting()):
            await sees(
                app, pilot, "The agent hangs up before it has said anything. What it says of itself: devlink logs"
            )

    piloted(body, absent=True)


def test_a_stream_that_breaks_off_is_not_told_as_a_reason_the_agent_gave(
    piloted: Pilots, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    async def broken(self: Link) -> AsyncIterator[Any]:
        tries.append("")
        if tries:
            raise ProtocolError("The agent went away.", next_step="")
        yield

    monkeypatch.setattr(Link, "dns_stats", broken)
    monkeypatch.setattr(apps, "RETRY_FIRST", 0.01)

    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await agent.tell("Status", status(session("qa")))
        await pilot.press("3")
        await until(pilot, lambda: len(tries) > 2, "it is tried again")
        await sees(app, pilot, "nothing is known of names")

    piloted(body)


def test_what_does_not_serve_is_told_once_and_not_at_each_try(piloted: Pilots, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(apps, "RETRY_FIRST", 0.01)
    monkeypatch.setattr(apps, "RETRY_LAST", 0.01)

    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        show = DnsPanel.show

        def shown(self: DnsPanel, *given: Any) -> None:
            told.append(str(given[-1]))
            show(self, *given)

        monkeypatch.setattr(DnsPanel, "show", shown)
        agent.answers["FollowDnsStats"] = HelperError("Nothing serves names.", next_step="Bring a profile up.")
        await agent.tell("Status", status())
        await until(pilot, lambda: len(agent.asked("FollowDnsStats")) > 5, "it is tried again")
        assert told == ["Nothing serves names."]

    piloted(body)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the agent outlives who started it
def test_a_starts_a_real_agent_where_none_runs(piloted: Pilots, agent_socket: Path, tmp_path: Path) -> None:
    async def body(app: Dashboard, pilot: Pilot[int], agent: ScriptedAgent) -> None:
        await sees(app, pilot, "No agent runs")
        await sees(app, pilot, "a Start agent")
        await pilot.press("a")
        await sees(app, pilot, "Nothing is up. Press u")
        await until(pilot, lambda: "Start agent" not in text_of(app), "the key is gone with its reason")
        with Client.connect(agent_socket, timeout=links.QUICK_LIMIT) as client:
            client.call("io.devlink.Agent.Stop")

    piloted(body, absent=True)
