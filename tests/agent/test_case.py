"""What is gathered before anything is looked at, of whom it is asked, and that nothing of it goes on alone."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from devlink.agent import case as module
from devlink.agent.case import Told, gather, gather_sessions, subject_of
from devlink.agent.sources import Obtained
from devlink.doctor.case import Case, Part, Subject
from devlink.errors import HelperError, UsageError
from devlink.rpc.tasks import spawn
from tests.agent.fakes import QA
from tests.doctor.subjects import PLAN, session

ENVIRON = {"KUBECONFIG": "/k"}
UP = subject_of(session(context="", age=0, name="qa"), QA, PLAN)


@pytest.fixture(autouse=True)
def helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers at once."""
    monkeypatch.setattr(module, "_ask_helper", lambda _: Part(told={"resolver": "direct"}, version="1"))


class Clusters:
    """What `obtain` gives, and what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []
        self.is_silent = False
        self.is_given_up = False
        self.error: UsageError | None = None
        monkeypatch.setattr(module, "obtain", self._obtain)
        monkeypatch.setattr(module, "_plan", lambda _: PLAN)

    async def _obtain(self, profile: str, context: str, environ: Mapping[str, str], *, keep: bool) -> Obtained:
        assert not keep, "who looks changes nothing"
        self.asked.append((profile, context, environ))
        if self.error is not None:
            raise self.error
        try:
            if self.is_silent:
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.is_given_up = True
            raise
        return Obtained(profile=QA)


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> Clusters:
    return Clusters(monkeypatch)


def told(*subjects: Subject, part: Part = Part(told={"sessions": []}, version="1")) -> Any:  # noqa: B008 - frozen
    async def sessions() -> Told:
        return part, subjects

    return sessions


def gathered(profile: str = "", context: str = "", *subjects: Subject) -> Case:
    return asyncio.run(gather(profile, context, ENVIRON, told(*subjects)))


def test_what_is_up_is_meant_where_nothing_is_named_and_no_cluster_is_asked_then(clusters: Clusters) -> None:
    case = gathered("", "", UP)
    assert (case.subjects, case.environ, case.resolver) == ((UP,), ENVIRON, "direct")
    assert gathered("qa", "", UP).subjects == (UP,)
    assert clusters.asked == []


def test_what_is_named_and_not_up_is_what_up_would_mean_for_that_environment(clusters: Clusters) -> None:
    case = gathered("prod", "", UP)
    (subject,) = case.subjects
    assert (subject.session, subject.plan, case.asked) == (None, PLAN, "prod")
    gathered("", "a-context", UP)
    assert clusters.asked == [("prod", "", ENVIRON), ("", "a-context", ENVIRON)]


def test_where_no_profile_can_be_had_the_case_says_why(clusters: Clusters) -> None:
    clusters.error = UsageError("There is no profile yet.")
    case = gathered()
    assert (case.subjects, case.obstacle) == ((), clusters.error)


def test_who_has_nothing_of_a_cluster_asks_none(clusters: Clusters) -> None:
    case = asyncio.run(gather_sessions(ENVIRON, told(part=Part(error=HelperError("It hangs.")))))
    assert case.agent.error is not None
    assert clusters.asked == []


@pytest.mark.parametrize("head_start", [0.0, 60.0])
def test_who_gives_up_leaves_nothing_that_goes_on(
    clusters: Clusters, monkeypatch: pytest.MonkeyPatch, head_start: float
) -> None:
    monkeypatch.setattr(module, "HEAD_START", head_start)
    clusters.is_silent = True
    ends = []

    async def main() -> None:
        is_asked = asyncio.Event()

        async def sessions() -> Told:
            is_asked.set()
            try:
                await asyncio.sleep(60)
            finally:
                ends.append("sessions")
            raise AssertionError

        asking = spawn(gather("", "", ENVIRON, sessions), name="gather")
        await is_asked.wait()
        await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait([asking])
        await asyncio.sleep(0.01)
        assert ends == ["sessions"]
        assert len(clusters.asked) == (head_start == 0)
        assert clusters.is_given_up is (head_start == 0)

    asyncio.run(main())
