"""The agent looks for who asks it: one after the other, for the caller's environment, and for nobody who has gone."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from devlink.agent import case as gathering
from devlink.agent import server
from devlink.agent.log import is_wanted
from devlink.agent.looks import examining
from devlink.agent.looks.examining import Examiner
from devlink.agent.looks.verbs import Looks
from devlink.core.findings import Finding, Severity
from devlink.doctor.case import Case, Part, Subject
from devlink.doctor.check import Check, LaptopCheck, LinkCheck, Seen
from devlink.errors import UnexpectedError, UsageError
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import Call
from tests.agent.fakes import PROD, QA, Run, World

ENVIRON = {"KUBECONFIG": "/nowhere/kubeconfig"}
WRONG = Finding(code="DL-X", severity=Severity.ERROR, title="It is wrong.")
Use = Callable[..., None]


@pytest.fixture(autouse=True)
def helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers at once."""
    monkeypatch.setattr(gathering, "_ask_helper", lambda _: Part(told={"resolver": "direct"}, version="1"))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Has these checks made instead of all."""

    def use(*checks: Check) -> None:
        monkeypatch.setattr(examining, "_checks", lambda: checks)

    return use


async def ask(world: World, method: str, **parameters: Any) -> Mapping[str, Any]:
    call = Call(method=f"io.devlink.Agent.{method}", parameters={"environment": ENVIRON, **parameters})
    caller: Any = None  # none of these says anything to who asks before the end
    return await Looks(world.supervisor).handlers[method](caller, call)


def test_each_session_is_looked_at_as_it_is_up_with_the_callers_environment(run: Run, use: Use) -> None:
    seen: list[tuple[Case, Subject]] = []

    async def look(case: Case, subject: Subject) -> Seen:
        seen.append((case, subject))
        return Seen(text="seen", findings=(WRONG,))

    async def body(world: World) -> None:
        use(LinkCheck(name="way", look=look))
        await world.up(QA)
        await world.up(PROD)
        calls = list(world.link.calls)
        told = await ask(world, "Examine")
        assert told["profiles"] == [{"name": "qa", "up": True}, {"name": "prod", "up": True}]
        assert [(check["check"], check["session"], check["outcome"]) for check in told["checks"]] == [
            ("way", "qa", "error"), ("way", "prod", "error"),
        ]  # fmt: skip
        assert [finding["code"] for finding in told["findings"]] == ["DL-X"]
        for case, subject in seen:
            assert case.environ == ENVIRON
            assert (subject.profile, subject.plan) == world.supervisor.inspect(subject.name)
        assert set(world.link.calls[len(calls) :]) <= {"list"}, "nothing is changed"
        assert [each["name"] for each in (await ask(world, "Examine", profile="prod"))["profiles"]] == ["prod"]

    run(body)


def test_where_nothing_is_up_and_no_profile_is_there_a_person_is_told_so(
    run: Run, use: Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))

    async def look(case: Case) -> Seen:
        assert case.obstacle is not None
        return Seen(text=case.obstacle.what)

    async def body(world: World) -> None:
        use(LaptopCheck(name="profile", look=look))
        told = await ask(world, "Examine")
        assert told["profiles"] == []
        assert [check["seen"] for check in told["checks"]] == ["There is no profile yet."]

    run(body)


def test_a_second_one_is_not_begun_before_the_first_has_ended(run: Run, use: Use) -> None:
    go_on, begun, together = asyncio.Event(), [0], [0]

    async def look(_: Case) -> Seen:
        begun[0] += 1
        together[0] = max(together[0], begun[0])
        await go_on.wait()
        begun[0] -= 1
        return Seen(text="seen")

    async def body(world: World) -> None:
        use(LaptopCheck(name="one", look=look))
        await world.up(QA)
        examiner = Examiner(world.supervisor)
        both = [spawn(examiner.examine("", "", ENVIRON), name="ask") for _ in range(2)]
        await world.until(lambda: begun[0] == 1)
        for _ in range(20):
            await asyncio.sleep(0.001)
        go_on.set()
        await asyncio.gather(*both)
        assert together == [1]

    run(body)


def test_when_the_caller_has_gone_its_looks_end_and_the_next_one_has_its_turn(run: Run, use: Use) -> None:
    is_looking, ends = asyncio.Event(), []

    async def hang(_: Case) -> Seen:
        is_looking.set()
        try:
            await asyncio.sleep(60)
        finally:
            ends.append("check")
        return Seen(text="seen")

    async def body(world: World) -> None:
        use(LaptopCheck(name="slow", look=hang, limit=60))
        await world.up(QA)
        examiner = Examiner(world.supervisor)
        asked = spawn(examiner.examine("", "", ENVIRON), name="ask")
        await is_looking.wait()
        asked.cancel()
        await asyncio.wait([asked])
        await asyncio.sleep(0)
        assert ends == ["check"]
        use()
        assert (await examiner.examine("", "", ENVIRON))["checks"] == []

    run(body)


def test_what_checks_say_is_not_in_the_agents_log_and_what_others_say_meanwhile_is(run: Run, use: Use) -> None:
    written: list[str] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(record.getMessage())

    handler = Noting()
    handler.addFilter(is_wanted)
    logger = logging.getLogger("devlink.test")
    is_looking, go_on = asyncio.Event(), asyncio.Event()

    async def look(_: Case) -> Seen:
        logger.warning("of a check")
        await asyncio.to_thread(logger.warning, "of its thread")
        is_looking.set()
        await go_on.wait()
        raise RuntimeError("a defect")

    async def body(world: World) -> None:
        use(LaptopCheck(name="one", look=look))
        await world.up(QA)
        asked = spawn(ask(world, "Examine"), name="ask")
        await is_looking.wait()
        logger.warning("of a session")
        go_on.set()
        await asked
        logger.warning("of what comes after")

    logging.getLogger("devlink").addHandler(handler)
    try:
        run(body)
    finally:
        logging.getLogger("devlink").removeHandler(handler)
    assert [each for each in written if each.startswith("of ")] == ["of a session", "of what comes after"]
    assert "check one" in written, "a defect is told to who mends it"


@pytest.mark.parametrize(
    ("method", "parameters", "why"),
    [
        ("Examine", {"profile": 1}, "profile has the wrong type"),
        ("Examine", {"context": ["a"]}, "context has the wrong type"),
        ("Examine", {"profile": ".."}, "is no profile"),
        ("Explain", {"what": None}, "no name, address or URL"),
        ("Explain", {"what": {}}, "what has the wrong type"),
        ("Explain", {"what": "a b"}, "no name, address or URL"),
        ("Explain", {"what": "http://web/" + 8000 * "a"}, "it has 8011 characters"),
        ("Explain", {"what": "DL-POD-HANGS"}, "is the code of a finding"),
        ("ListProfiles", {"environment": "x"}, "environment has the wrong type"),
    ],
)
def test_nonsense_is_refused_with_what_to_do(run: Run, method: str, parameters: dict[str, Any], why: str) -> None:
    async def body(world: World) -> None:
        with pytest.raises(UsageError, match=why) as caught:
            await ask(world, method, **parameters)
        assert caught.value.next_step

    run(body)


@pytest.mark.parametrize(
    ("method", "parameters"), [("Examine", {}), ("Explain", {"what": "web"}), ("ListProfiles", {})]
)
def test_an_agent_many_of_whose_looks_hang_begins_no_more(
    run: Run, monkeypatch: pytest.MonkeyPatch, method: str, parameters: dict[str, Any]
) -> None:
    async def body(world: World) -> None:
        monkeypatch.setattr(examining, "MAX_THREADS", threading.active_count() - 1)
        with pytest.raises(UnexpectedError, match="too many of its looks hang") as caught:
            await ask(world, method, **parameters)
        assert "devlink down" in caught.value.next_step

    run(body)


def test_looks_that_hang_keep_neither_the_agents_other_threads_waiting_nor_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hang, seen = threading.Event(), []

    async def serve(*, linger: bool, wished: object) -> None:
        for _ in range(40):
            asyncio.get_running_loop().run_in_executor(None, hang.wait)
        seen.append(await asyncio.wait_for(asyncio.to_thread(lambda: "another"), 10))

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(server, "log_to_stderr", lambda: None)
    ended = threading.Thread(target=server.main, daemon=True)
    ended.start()
    ended.join(10)
    is_alive = ended.is_alive()
    hang.set()
    assert (seen, is_alive) == (["another"], False)
