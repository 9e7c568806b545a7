"""Who may speak with an agent, what it does for a question, and what it does by itself."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from devlink.agent import login, server
from devlink.agent.history import History
from devlink.agent.login import Wanted
from devlink.agent.refresh import Refresher
from devlink.agent.server import Agent, _admit
from devlink.agent.sources import Obtained
from devlink.agent.supervisor import Supervisor
from devlink.errors import NotUpError
from devlink.rpc.client import Client
from devlink.rpc.listening import bind_private
from devlink.rpc.peer import Peer
from devlink.rpc.tasks import run, spawn
from devlink.rpc.varlink import Call
from tests.agent.fakes import PROD, QA, World


@pytest.mark.parametrize(("uid", "is_admitted"), [(1000, True), (0, True), (1001, False)])
def test_an_agent_is_its_users_and_roots(monkeypatch: pytest.MonkeyPatch, uid: int, is_admitted: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refusal = _admit(Peer(pid=1, uid=uid, gid=uid))
    assert (refusal is None) is is_admitted
    assert refusal is None or "another user" in refusal.what


class NobodyRefreshes:
    """The profiles of these sessions are files."""

    def follow(self, name: str, environ: object, *, stale: bool) -> None: ...
    def leave(self, name: str) -> None: ...


Run = Callable[[Callable[[World], Awaitable[None]]], None]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[World], Agent]:
    """Makes the agent as a service that brings qa up at login."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    monkeypatch.setattr(login, "look", lambda: ((), False))

    async def obtain(profile: str, *_: object) -> Obtained:
        return Obtained(profile={"qa": QA, "prod": PROD}[profile])

    monkeypatch.setattr(server, "obtain", obtain)

    def make(world: World) -> Agent:
        agent = Agent(world.again(), NobodyRefreshes())  # type: ignore[arg-type]
        agent.at_login(["qa"]).start()
        return agent

    return make


def call(method: str, **parameters: object) -> Call:
    return Call(f"io.devlink.Agent.{method}", parameters)


NOBODY: Any = None
"""Who calls is asked nothing."""


def test_what_is_replaced_by_hand_does_not_come_back_after_a_crash(run: Run, service: Callable[[World], Agent]) -> None:
    async def body(world: World) -> None:
        agent = service(world)
        await world.until(lambda: world.states == {"qa": "up"})
        await agent._up(NOBODY, call("Up", profile="prod", replace=True))
        assert world.states == {"prod": "up"}
        assert service(world)._shown(has_routes=False)["asking"] == []

    run(body)


def test_what_is_taken_down_and_brought_up_by_hand_comes_back_after_a_crash(
    run: Run, service: Callable[[World], Agent]
) -> None:
    async def body(world: World) -> None:
        agent = service(world)
        await world.until(lambda: world.states == {"qa": "up"})
        await agent._down(NOBODY, call("Down", session="qa"))
        agent = service(world)
        assert agent._shown(has_routes=False)["asking"] == []
        await agent._up(NOBODY, call("Up", profile="qa"))
        assert service(world)._shown(has_routes=False)["asking"] == ["qa"]

    run(body)


def test_a_program_that_signs_in_at_login_cannot_speak_to_the_manager_as_the_agent(
    run: Run, service: Callable[[World], Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Mapping[str, str]] = []

    async def obtain(_: str, __: str, environ: Mapping[str, str]) -> Obtained:
        given.append(environ)
        return Obtained(profile=QA)

    monkeypatch.setattr(server, "obtain", obtain)
    monkeypatch.setenv("NOTIFY_SOCKET", "@nobody")
    monkeypatch.setenv("KUBECONFIG", "/home/alice/config")

    async def body(world: World) -> None:
        service(world)
        await world.until(lambda: world.states == {"qa": "up"})

    run(body)
    assert given[0]["KUBECONFIG"] == "/home/alice/config"
    assert "NOTIFY_SOCKET" not in given[0]


def test_down_of_the_only_session_leaves_what_waits_waiting(run: Run, service: Callable[[World], Agent]) -> None:
    async def body(world: World) -> None:
        agent = service(world)
        await world.until(lambda: world.states == {"qa": "up"})
        assert agent.login is not None
        waits = Wanted(profile="other", since=0.0, error=NotUpError("It waits."))
        agent.login._wanted["other"] = waits
        assert await agent._down(NOBODY, call("Down")) == {"sessions": ["qa"]}
        assert [each["profile"] for each in agent._shown(has_routes=False)["waiting"]] == ["other"]
        assert await agent._down(NOBODY, call("Down")) == {"sessions": ["other"]}
        with pytest.raises(NotUpError):
            await agent._down(NOBODY, call("Down"))

    run(body)


@pytest.mark.parametrize(("asked", "looks"), [({}, 1), ({"look": True}, 1), ({"look": False}, 0)])
def test_a_prompt_is_answered_with_what_is_known_and_without_a_look_at_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, bool], looks: int
) -> None:
    looked = []

    async def look(self: Supervisor) -> None:
        looked.append(self)

    def ask() -> dict[str, object]:
        with Client.connect(tmp_path / "agent") as client:
            return client.call("io.devlink.Agent.Status", asked)

    async def scenario() -> dict[str, object]:
        supervisor = Supervisor(tmp_path / "sessions")
        agent = Agent(supervisor, Refresher(supervisor))
        with bind_private(tmp_path / "agent") as listener:
            accepting = spawn(agent.server.serve(listener), name="accept")
            try:
                return await asyncio.to_thread(ask)
            finally:
                accepting.cancel()
                await agent.server.close()

    monkeypatch.setattr(Supervisor, "look", look)
    assert "status" in run(scenario())
    assert len(looked) == looks


def test_who_watches_is_not_told_that_only_time_has_passed() -> None:
    def status(since: float, why: str = "It waits.") -> dict[str, Any]:
        return {"sessions": [], "waiting": [{"profile": "qa", "why": why, "next_step": "", "since": since}]}

    assert server._without_times(status(1.0)) == server._without_times(status(2.0))
    assert server._without_times(status(1.0)) != server._without_times(status(1.0, "Something else."))


def test_an_agent_follows_its_sessions_for_the_desktop_as_long_as_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def tell(history: History) -> None:
        seen.append(f"begun with {len(history.view.sessions)} sessions")
        try:
            await history.changed()
        finally:
            seen.append("ended")

    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(server, "tell_desktop", tell)
    monkeypatch.setattr(server, "IDLE_LIMIT", 0.01)
    run(server.serve(linger=False))
    assert seen == ["begun with 0 sessions", "ended"]
