"""The dashboard's side of the agent's socket: what it asks, and what each way to fail is told as."""

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devlink import __version__
from devlink.agent.client import caller_environment
from devlink.errors import ConflictError, NotPermittedError, NotUpError, ProtocolError, UnexpectedError, UsageError
from devlink.rpc.framing import pack
from devlink.rpc.tasks import spawn
from devlink.tui import link as links
from devlink.tui.link import AbsentError, Link, OtherVersionError
from tests.tui.scripted import event, scripted, session, status

LIMIT = 20.0
Answers = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(LIMIT):
            await body()

    asyncio.run(main())


async def first(stream: Any) -> Any:
    async for each in stream:
        return each
    raise AssertionError("nothing was told")


async def raw(path: Path, *replies: bytes, hold: bool = False) -> asyncio.Server:
    """An agent of which each connection answers one call with each of these octets, then hangs or goes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for reply in replies:
                await reader.readuntil(b"\0")
                writer.write(reply)
                await writer.drain()
            if hold:
                await reader.read()
            elif not replies or replies[-1]:
                await reader.readuntil(b"\0")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    path.parent.mkdir(parents=True, exist_ok=True)
    return await asyncio.start_unix_server(serve, path)


def forget(path: Path) -> None:
    """What an agent left behind goes."""
    path.unlink(missing_ok=True)


def greeting(version: str = __version__) -> bytes:
    return pack({"parameters": {"vendor": "", "product": "", "version": version, "url": "", "interfaces": []}})


def test_without_an_agent_each_stream_and_call_says_so(agent_socket: Path) -> None:
    async def body() -> None:
        with pytest.raises(AbsentError):
            await first(Link({}).status())
        with pytest.raises(AbsentError):
            await Link({}).flush_dns()
        agent_socket.parent.mkdir()
        with closing(socket.socket(socket.AF_UNIX)) as left:
            left.bind(str(agent_socket))  # a socket that an agent left behind
        with pytest.raises(AbsentError):
            await Link({}).flush_dns()

    run(body)


def test_a_socket_that_is_no_socket_of_ours_is_an_error_with_a_next_step(agent_socket: Path) -> None:
    agent_socket.parent.mkdir()
    agent_socket.write_text("")

    async def body() -> None:
        with pytest.raises((UnexpectedError, AbsentError)) as caught:
            await Link({}).pulse()
        assert caught.value.next_step

    run(body)


def test_without_a_runtime_folder_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    async def body() -> None:
        with pytest.raises(UsageError, match="XDG_RUNTIME_DIR"):
            await Link({}).pulse()

    run(body)


@pytest.mark.parametrize("version", ["0.0.1", ""])
def test_an_agent_of_another_version_is_named_with_what_to_restart(agent_socket: Path, version: str) -> None:
    async def body() -> None:
        async with await raw(agent_socket, greeting(version)):
            with pytest.raises(OtherVersionError) as caught:
                await first(Link({}).status())
        assert (version or "unknown") in caught.value.what
        assert "devlink down --all" in caught.value.next_step

    run(body)


def test_an_agent_that_accepts_and_says_nothing_is_a_timeout(
    agent_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "PULSE_LIMIT", 0.05)

    async def body() -> None:
        async with await raw(agent_socket, hold=True):
            with pytest.raises(TimeoutError):
                async with links._connected(0.05):
                    pass

    run(body)


def test_an_agent_that_goes_in_the_middle_is_a_protocol_error(agent_socket: Path) -> None:
    async def body() -> None:
        async with await raw(agent_socket, b""):
            with pytest.raises(ProtocolError):
                await Link({}).pulse()
        forget(agent_socket)
        async with await raw(agent_socket, greeting()):
            with pytest.raises(ProtocolError):
                await first(Link({}).status())

    run(body)


MALFORMED: list[bytes] = [
    b"not JSON\0",
    pack({"parameters": {}, "continues": True}),
    pack({"parameters": {"status": None}, "continues": True}),
    pack({"parameters": {**status(session(since="long"))}, "continues": True}),
    pack({"parameters": status(session("qa", gateways=[{"address": "x"}])), "continues": True}),
]


@pytest.mark.parametrize("reply", MALFORMED, ids=["no JSON", "empty", "null", "a wrong type", "no address"])
def test_a_reply_that_cannot_be_understood_is_a_deliberate_error(agent_socket: Path, reply: bytes) -> None:
    async def body() -> None:
        async with await raw(agent_socket, greeting(), reply):
            with pytest.raises((OtherVersionError, ProtocolError)) as caught:
                await first(Link({}).status())
        assert caught.value.what

    run(body)


def test_what_the_agent_says_against_it_arrives_as_its_class(agent_socket: Path) -> None:
    async def body() -> None:
        async with scripted(agent_socket) as agent:
            agent.answers["Down"] = ConflictError("More than one.", next_step="Name one.")
            agent.answers["FollowEvents"] = NotPermittedError("No.", next_step="Ask.")
            with pytest.raises(ConflictError, match="More than one"):
                await Link({}).down("qa")
            with pytest.raises(NotPermittedError):
                await first(Link({}).events())

    run(body)


def test_a_stream_that_is_quiet_is_no_error(agent_socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "QUICK_LIMIT", 0.02)
    monkeypatch.setattr(links, "LONG_LIMIT", 0.02)

    async def body() -> None:
        async with scripted(agent_socket) as agent:
            events = Link({}).events()
            waiting = spawn(first(events), name="events")
            await asyncio.sleep(0.1)
            assert not waiting.done()
            await agent.tell("FollowEvents", {"events": [event("late")]})
            assert [each.text for each in await waiting] == ["late"]

    run(body)


def test_calls_ask_what_they_mean(agent_socket: Path) -> None:
    async def body() -> None:
        async with scripted(agent_socket) as agent:
            agent.answers |= {
                "Down": {"sessions": ["qa"]}, "FlushDns": {"entries": 3},
                "Failover": {"session": "qa", "before": "172.16.0.13", "gateway": "172.16.0.14"},
            }  # fmt: skip
            link = Link({"KUBECONFIG": "/x"})
            assert await link.down("qa") == ("qa",)
            assert await link.down() == ("qa",)
            assert agent.asked("Down") == [{"session": "qa", "all": False}, {"session": "", "all": True}]
            assert await link.failover("qa", "172.16.0.14") == ("172.16.0.13", "172.16.0.14")
            assert await link.flush_dns() == 3

    run(body)


def test_up_tells_its_steps_and_then_what_is_up(agent_socket: Path) -> None:
    async def body() -> None:
        async with scripted(agent_socket) as agent:
            agent.steps = [("read qa", False), ("profile qa", True)]
            agent.answers["Up"] = {"session": session("qa")}
            bringing = Link({"KUBECONFIG": "/x"}).up("qa", replace=True)
            assert [each async for each in bringing.steps()] == agent.steps
            assert bringing.session == "qa"
            assert agent.asked("Up") == [
                {"profile": "qa", "context": "", "replace": True, "environment": {"KUBECONFIG": "/x"}}
            ]

    run(body)


def test_what_is_given_up_before_it_is_asked_for_is_not_asked_for(agent_socket: Path) -> None:
    async def body() -> None:
        async with scripted(agent_socket) as agent:
            bringing = Link({}).up("qa")
            bringing.give_up()
            with pytest.raises(NotUpError, match="before anything was changed"):
                await first(bringing.steps())
            assert not agent.asked("Up")

    run(body)


def test_the_agent_is_given_absolute_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", f"{os.pathsep}/abs{os.pathsep}mine")
    assert caller_environment()["KUBECONFIG"] == f"/abs{os.pathsep}{tmp_path}/mine"
    assert Link()._environment["KUBECONFIG"] == caller_environment()["KUBECONFIG"]


PROGRAM = """#!/bin/sh
echo $$ > "$PWD/pid"
echo "Looking." >&2
case "$*" in
  *--anonymize*) echo "$PWD/anonymized.tar.gz";;
  *hang*) exec sleep 60;;
  *fail*) printf 'Error: No room.\\n  Next: Make some.\\n' >&2; exit 1;;
  *) echo "$PWD/plain.tar.gz";;
esac
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command in the place of the interpreter that runs `devlink report`."""
    path = tmp_path / "program"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_report_is_where_the_command_says_and_its_talk_is_not(program: Path) -> None:
    async def body() -> None:
        link = Link(os.environ)
        assert await link.report(program) == program / "plain.tar.gz"
        assert await link.report(program, anonymize=True) == program / "anonymized.tar.gz"

    run(body)


def test_a_report_that_fails_says_what_the_command_said(program: Path) -> None:
    async def body() -> None:
        with pytest.raises(UnexpectedError) as caught:
            await Link(os.environ).report(program / "fail")
        assert caught.value.why == "No room."

    run(body)


def test_the_command_does_not_stay_behind_when_nobody_waits_for_it(program: Path) -> None:
    async def body() -> None:
        waiting = spawn(Link(os.environ).report(program / "hang"), name="report")
        note = program / "pid"
        while not (note.exists() and note.read_text().endswith("\n")):  # noqa: ASYNC110 (a file has no event)
            await asyncio.sleep(0.01)
        pid = int(note.read_text())
        waiting.cancel()
        await asyncio.wait([waiting])
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    run(body)
