"""Sessions that go over to what their cluster publishes, with clusters that answer on request."""

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Self

import pytest

from devlink.agent import refresh as module
from devlink.agent.cache import Origin
from devlink.agent.config import Config
from devlink.agent.refresh import METADATA, Refresher
from devlink.agent.session import Wish
from devlink.agent.sources import Obtained
from devlink.cluster.access import Access
from devlink.core.findings import Finding
from devlink.core.profile import BridgeProfile
from devlink.core.profile_document import decode_profile
from devlink.errors import ClusterError, DevlinkError, NotTrustedError, ProfileError, UsageError, VerificationError
from tests.core.profiles import SAMPLE

QA = decode_profile(SAMPLE)
OFFICE = Origin(context="office", server="https://172.16.0.1:6443")
LIMIT = 10.0


def edition(revision: str, name: str = "qa") -> BridgeProfile:
    return dataclasses.replace(QA, metadata=dataclasses.replace(QA.metadata, name=name, revision=revision))


class FakeSupervisor:
    """One session, and what was asked of it."""

    def __init__(self) -> None:
        self.wanted: Wish | None = Wish(profile=edition("1"), origin=OFFICE, fetched=1.0, version="1")
        self.notes: list[tuple[str, ...]] = []
        self.renewed: list[str] = []
        self.refusal: DevlinkError | None = None
        self.current_at: list[float] = []
        self.is_up = True
        self.name = "qa"

    def wish(self, name: str) -> Wish | None:
        return self.wanted if name == self.name else None

    def note(self, name: str, *notes: Finding) -> None:
        self.notes.append(tuple(note.code for note in notes))

    def is_current(self, name: str, now: float) -> None:
        self.current_at.append(now)

    async def renew(self, wish: Wish) -> bool:
        if self.refusal is not None:
            raise self.refusal
        if self.is_up:
            self.wanted = wish
            self.renewed.append(wish.profile.metadata.revision)
        return self.is_up


class Cluster:
    """What one cluster publishes, its watches, and its troubles."""

    def __init__(self) -> None:
        self.version = "1"
        self.answers: list[BridgeProfile | DevlinkError] = []
        self.watched: list[tuple[str, Mapping[str, str], str]] = []
        self.watch_error: DevlinkError | None = None
        self.changed = asyncio.Event()
        self.fetched = 0
        self.objects: dict[str, list[dict[str, Any]]] = {}
        """By the last part of the path; without any the account may not read them."""
        self.refusals: dict[str, int] = {}
        """Statuses by the last part of the path, for reads that are refused."""
        self.during: Callable[[], None] = lambda: None
        """What happens while a list is read."""
        self.listed: list[tuple[str, int]] = []
        """Each read of a list: the last part of its path, and how many objects were taken."""

    def publish(self, answer: BridgeProfile | DevlinkError, version: str) -> None:
        self.answers.append(answer)
        self.version = version
        self.changed.set()

    async def fetch(self, access: Access, environ: Mapping[str, str]) -> Obtained:
        self.fetched += 1
        answer = self.answers.pop(0)
        if isinstance(answer, DevlinkError):
            raise answer
        return Obtained(profile=answer, origin=OFFICE, fetched=2.0, version=self.version)


class FakeApi:
    """The line to `Cluster`."""

    cluster: Cluster

    def __init__(self, access: Access, *, environ: Mapping[str, str]) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def get(self, path: str, *, accept: str) -> dict[str, Any]:
        assert (path, accept) == ("/api/v1/namespaces/kube-public/configmaps/devlink-profile", METADATA)
        return {"metadata": {"resourceVersion": self.cluster.version}}

    async def items(
        self, path: str, params: Mapping[str, str] | None = None, *, page: int = 500
    ) -> AsyncIterator[dict[str, Any]]:
        kind = path.rpartition("/")[2]
        status = self.cluster.refusals.get(kind, 0 if self.cluster.objects else 403)
        self.cluster.listed.append((kind, 0))
        if status:
            raise ClusterError("Refused.", status=status)
        self.cluster.during()
        for number, each in enumerate(self.cluster.objects.get(kind, []), 1):
            self.cluster.listed[-1] = (kind, number)
            yield each

    async def watch(
        self, path: str, params: Mapping[str, str], *, resource_version: str, seconds: float, accept: str
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        self.cluster.watched.append((resource_version, params, accept))
        if self.cluster.watch_error is not None:
            raise self.cluster.watch_error
        assert resource_version == "0", "from any other one an API server may say that it is too long ago"
        present = self.cluster.version
        if present:
            yield "ADDED", {"metadata": {"resourceVersion": present}}
        try:
            async with asyncio.timeout(seconds):
                while self.cluster.version == present:
                    await self.cluster.changed.wait()
                    self.cluster.changed.clear()
        except TimeoutError:
            return
        kind = "MODIFIED" if self.cluster.version else "DELETED"
        yield kind, {"metadata": {"resourceVersion": self.cluster.version}} if kind == "MODIFIED" else {}


class Chance(random.Random):
    """Always the most that can come out; it notes between what was drawn."""

    def __init__(self) -> None:
        super().__init__(1)
        self.drawn: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        self.drawn.append((a, b))
        return b


class Scene:
    """A refresher between a supervisor and a cluster."""

    def __init__(self) -> None:
        self.supervisor = FakeSupervisor()
        self.cluster = FakeApi.cluster = Cluster()
        self.chance = Chance()
        self.refresher = Refresher(self.supervisor, chance=self.chance)  # type: ignore[arg-type]

    def without_routes(self) -> None:
        """A session of names only: no nodes are followed."""
        assert self.supervisor.wanted is not None
        self.supervisor.wanted = dataclasses.replace(self.supervisor.wanted, routes=False)

    async def until(self, true: Callable[[], object]) -> None:
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


Run = Callable[[Callable[[Scene], Awaitable[None]]], None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    async def access(context: str, environ: Mapping[str, str]) -> Access:
        return Access(name=context, server=OFFICE.server)

    monkeypatch.setattr(module, "_access", access)
    monkeypatch.setattr(module, "read_config", lambda: Config(refresh_spread=0.001))
    monkeypatch.setattr("devlink.cluster.api.Api", FakeApi)
    for name, value in (("WATCH", (0.02, 0.04)), ("PAUSES", (0.001, 0.004)), ("SHORTEST", 0.001), ("EACH_NODE", 0)):
        monkeypatch.setattr(module, name, value)

    def runner(body: Callable[[Scene], Awaitable[None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(LIMIT):
                scene = Scene()
                monkeypatch.setattr(module, "fetch", scene.cluster.fetch)
                await body(scene)
                scene.refresher.close()

        asyncio.run(main())

    return runner


def test_a_change_is_seen_by_a_watch_of_one_objects_metadata_and_gone_over_to(run: Run) -> None:
    async def body(scene: Scene) -> None:
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: scene.cluster.watched)
        scene.cluster.publish(edition("2"), "2")
        await scene.until(lambda: scene.supervisor.notes)
        assert scene.supervisor.renewed == ["2"]
        assert scene.supervisor.notes == [()]
        await scene.until(lambda: len(scene.cluster.watched) > 1)
        assert scene.cluster.watched[0] == ("0", {"fieldSelector": "metadata.name=devlink-profile"}, METADATA)

    run(body)


def test_a_config_that_has_become_unusable_keeps_no_newer_profile_waiting(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said = [Config(refresh_spread=0.001)]

    def read() -> Config:
        if said:
            return said.pop()
        raise UsageError("config.toml cannot be used.", next_step="Correct the file.")

    async def body(scene: Scene) -> None:
        monkeypatch.setattr(module, "read_config", read)
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: scene.cluster.watched)
        scene.cluster.publish(edition("2"), "2")
        await scene.until(lambda: len(scene.cluster.watched) > 1)
        scene.cluster.publish(edition("3"), "3")
        await scene.until(lambda: scene.supervisor.renewed == ["2", "3"])

    run(body)
    (line,) = [each for each in caplog.messages if "config.toml" in each]
    assert "over 0.001 s all the same: config.toml cannot be used. Correct the file." in line
    assert "cannot be seen" not in caplog.text


def test_while_nothing_changes_nothing_is_fetched_and_the_profile_counts_as_seen(run: Run) -> None:
    async def body(scene: Scene) -> None:
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: len(scene.supervisor.current_at) >= 3)
        assert scene.cluster.fetched == 0

    run(body)


def test_a_session_that_came_up_from_an_old_copy_asks_at_once(run: Run) -> None:
    async def body(scene: Scene) -> None:
        scene.cluster.answers = [ClusterError("It is away."), edition("2")]
        scene.refresher.follow("qa", {}, stale=True)
        await scene.until(lambda: scene.supervisor.renewed == ["2"])
        assert scene.cluster.fetched == 2

    run(body)


@pytest.mark.parametrize(
    ("answer", "refusal", "code"),
    [
        (ProfileError("Broken.", faults=("spec: no",)), None, "DL-PROFILE-BROKEN"),
        (edition("2"), NotTrustedError("It claims more."), "DL-PROFILE-UNTRUSTED"),
        (edition("2", name="other"), None, "DL-PROFILE-RENAMED"),
    ],
)
def test_what_cannot_be_gone_over_to_is_told_and_the_last_good_one_stays(
    run: Run, answer: BridgeProfile | DevlinkError, refusal: DevlinkError | None, code: str
) -> None:
    async def body(scene: Scene) -> None:
        scene.supervisor.refusal = refusal
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: scene.cluster.watched)
        scene.cluster.publish(answer, "2")
        await scene.until(lambda: scene.supervisor.notes)
        assert scene.supervisor.notes == [(code,)]
        assert scene.supervisor.renewed == []
        scene.supervisor.refusal = None
        scene.cluster.publish(edition("3"), "3")
        await scene.until(lambda: scene.supervisor.renewed == ["3"])
        assert scene.supervisor.notes[-1] == ()

    run(body)


def test_where_a_watch_is_not_allowed_the_change_is_found_all_the_same(run: Run) -> None:
    async def body(scene: Scene) -> None:
        scene.cluster.watch_error = ClusterError("No.", status=403)
        scene.cluster.version = "2"
        scene.cluster.answers = [edition("2")] * 100
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: scene.supervisor.renewed[:1] == ["2"])

    run(body)


def test_a_watch_that_is_refused_once_by_a_server_that_has_just_started_stands_soon(
    run: Run, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WATCH", (500.0, 600.0))

    async def body(scene: Scene) -> None:
        scene.without_routes()
        scene.cluster.watch_error = ClusterError("No.", status=403)
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: len(scene.cluster.watched) == 1)
        scene.cluster.watch_error = None
        await scene.until(lambda: len(scene.cluster.watched) == 2)
        scene.cluster.publish(edition("2"), "2")
        await scene.until(lambda: scene.supervisor.renewed == ["2"])
        assert 1.5 * module.PAUSES[0] in slept
        assert 600.0 not in slept

    run(body)


def test_a_session_that_is_gone_is_followed_no_more(run: Run) -> None:
    async def body(scene: Scene) -> None:
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: scene.cluster.watched)
        scene.supervisor.wanted = None
        (tasks,) = scene.refresher._tasks.values()
        await asyncio.gather(*tasks)
        scene.refresher.follow("qa", {}, stale=True)
        assert scene.refresher._tasks == {}

    run(body)


def test_a_session_from_a_file_is_not_followed(run: Run) -> None:
    async def body(scene: Scene) -> None:
        scene.supervisor.wanted = Wish(profile=edition("1"))
        scene.refresher.follow("qa", {}, stale=True)
        assert scene.refresher._tasks == {}

    run(body)


def node(name: str, address: str, *, ready: bool = True) -> dict[str, Any]:
    return {
        "kind": "Node", "apiVersion": "v1", "metadata": {"name": name},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}],
        },
    }  # fmt: skip


def block(node: str, cidr: str) -> dict[str, Any]:
    spec = {"cidr": cidr, "node": node, "state": "confirmed", "deleted": "false"}
    metadata = {"name": f"{node}-{cidr.replace('/', '-')}"}
    return {"kind": "BlockAffinity", "apiVersion": "crd.projectcalico.org/v1", "metadata": metadata, "spec": spec}


def owners(scene: Scene) -> dict[str, list[str]]:
    assert scene.supervisor.wanted is not None
    nodes = scene.supervisor.wanted.profile.spec.nodes or ()
    return {str(node.address): [str(pods) for pods in node.pods] for node in nodes}


def test_who_may_read_nodes_and_blocks_goes_with_them_as_they_join_and_leave(run: Run) -> None:
    async def body(scene: Scene) -> None:
        objects = scene.cluster.objects
        objects["nodes"] = [node("a", "172.16.0.13"), node("b", "172.16.0.19"), node("c", "172.16.0.21", ready=False)]
        objects["blockaffinities"] = [
            block("a", "10.20.73.64/26"), block("b", "10.20.120.128/26"), block("c", "10.20.121.0/26"),
            block("b", "172.20.0.0/26"),
        ]  # fmt: skip
        scene.refresher.follow("qa", {}, stale=False)
        both = {"172.16.0.13": ["10.20.73.64/26"], "172.16.0.19": ["10.20.120.128/26"]}
        await scene.until(lambda: owners(scene) == both)
        del objects["nodes"][0]
        await scene.until(lambda: owners(scene) == {"172.16.0.19": ["10.20.120.128/26"]})
        assert scene.cluster.fetched == 0

    run(body)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_who_is_refused_the_nodes_lives_by_the_published_list_until_he_is_not(run: Run, status: int) -> None:
    async def body(scene: Scene) -> None:
        before = owners(scene)
        scene.cluster.refusals = {"nodes": status}
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: len(scene.cluster.listed) > 3)
        assert owners(scene) == before
        assert scene.supervisor.notes == []
        scene.cluster.objects["nodes"] = [node("b", "172.16.0.19")]
        scene.cluster.objects["blockaffinities"] = [block("b", "10.20.120.128/26")]
        scene.cluster.refusals = {}
        await scene.until(lambda: owners(scene) == {"172.16.0.19": ["10.20.120.128/26"]})

    run(body)


@pytest.mark.parametrize("status", [401, 403])
def test_who_has_no_right_to_the_nodes_costs_a_request_for_each_of_the_longest_pauses(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """What 15 s doubled up to 600 s is there is 1 ms doubled up to 10 s here: 1 + 2 + ... + 128 ms pass by 8 of them.

    With the jitter, from a half to one and a half of each, at most 10 fit into 300 ms.
    """
    caplog.set_level("INFO")

    async def body(scene: Scene) -> None:
        monkeypatch.setattr(module, "PAUSES", (0.001, 10.0))
        scene.cluster.refusals = {"nodes": status}
        scene.refresher.follow("qa", {}, stale=False)
        await asyncio.sleep(0.3)
        assert 2 <= len(scene.cluster.listed) <= 10
        assert {kind for kind, _ in scene.cluster.listed} == {"nodes"}, "what is refused first ends it"

    run(body)
    assert len([each for each in caplog.messages if "published list of nodes" in each]) == 1, "and one line in the log"


def test_who_may_see_nodes_and_not_blocks_reads_the_nodes_once_and_not_each_time(run: Run) -> None:
    async def body(scene: Scene) -> None:
        scene.cluster.objects["nodes"] = [node(f"n{number}", f"172.16.1.{number}") for number in range(1, 200)]
        scene.cluster.refusals = {"blockaffinities": 403}
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: len(scene.cluster.listed) > 12)
        nodes = [number for kind, number in scene.cluster.listed if kind == "nodes"]
        assert nodes[:4] == [199, 1, 1, 1]

    run(body)


def test_nodes_that_nobody_names_any_more_take_no_route_away(run: Run) -> None:
    async def body(scene: Scene) -> None:
        before = owners(scene)
        scene.cluster.objects["nodes"] = []
        scene.refresher.follow("qa", {}, stale=False)
        await asyncio.sleep(0.02)
        assert owners(scene) == before

    run(body)


def test_what_is_published_while_the_session_is_not_up_is_gone_over_to_once_it_is(run: Run) -> None:
    async def body(scene: Scene) -> None:
        scene.supervisor.is_up = False
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: scene.cluster.watched)
        scene.cluster.publish(edition("2"), "2")
        scene.cluster.answers += [edition("2")] * 1000
        await scene.until(lambda: scene.cluster.fetched > 2)
        assert (scene.supervisor.renewed, scene.supervisor.notes) == ([], [])
        scene.supervisor.is_up = True
        await scene.until(lambda: scene.supervisor.renewed == ["2"])

    run(body)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_that_the_profile_is_withdrawn_is_told_until_there_is_one_again(run: Run, status: int) -> None:
    async def body(scene: Scene) -> None:
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: scene.cluster.watched)
        scene.cluster.answers.append(ClusterError("It is gone.", status=status))
        scene.cluster.publish(edition("2"), "2")
        await scene.until(lambda: scene.supervisor.notes == [("DL-PROFILE-CACHED",), ()])
        assert scene.supervisor.renewed == ["2"]

    run(body)


def test_a_newer_profile_that_fails_for_now_is_tried_again(run: Run) -> None:
    async def body(scene: Scene) -> None:
        scene.supervisor.refusal = VerificationError("It carries nothing.")
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: scene.cluster.watched)
        scene.cluster.publish(edition("2"), "2")
        scene.cluster.answers += [edition("2")] * 1000
        await scene.until(lambda: len(scene.supervisor.notes) > 1)
        assert set(scene.supervisor.notes) == {("DL-PROFILE-HELD",)}
        scene.supervisor.refusal = None
        await scene.until(lambda: scene.supervisor.renewed == ["2"])
        assert scene.supervisor.notes[-1] == ()

    run(body)


def test_a_profile_that_is_withdrawn_while_nobody_watched_is_told_as_well(run: Run) -> None:
    async def body(scene: Scene) -> None:
        scene.cluster.version = ""
        scene.cluster.answers.append(ClusterError("It is gone.", status=404))
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: scene.supervisor.notes == [("DL-PROFILE-CACHED",)])

    run(body)


def test_an_api_that_fails_over_and_over_is_asked_less_and_less(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(scene: Scene) -> None:
        monkeypatch.setattr(module, "PAUSES", (0.02, 10.0))
        scene.cluster.watch_error = ClusterError("Too long ago.", status=410)
        scene.refresher.follow("qa", {}, stale=False)
        await asyncio.sleep(0.3)
        assert 1 < len(scene.cluster.watched) < 8
        assert scene.cluster.fetched == 0

    run(body)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of each sleep; none of them takes any time."""
    seconds: list[float] = []
    turn = asyncio.sleep

    async def sleep(delay: float) -> None:
        seconds.append(delay)
        await turn(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return seconds


def test_five_thousand_laptops_come_spread_over_time(
    run: Run, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "read_config", lambda: Config(refresh_spread=61.0))

    async def body(scene: Scene) -> None:
        scene.without_routes()
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: scene.cluster.watched)
        assert scene.chance.drawn[0] == module.WATCH, "how long a watch lasts"
        assert 61.0 not in slept
        scene.cluster.publish(edition("2"), "2")
        await scene.until(lambda: scene.supervisor.renewed)
        assert (0, 61.0) in scene.chance.drawn
        assert 61.0 in slept, "before it fetches the whole"

    run(body)


def test_what_fails_is_tried_again_after_longer_and_longer_pauses_by_chance(run: Run, slept: list[float]) -> None:
    async def body(scene: Scene) -> None:
        scene.without_routes()
        scene.cluster.watch_error = ClusterError("It is away.", status=503)
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: len(scene.cluster.watched) > 4)
        first, longest = module.PAUSES
        pauses = [seconds for seconds in slept if seconds != 0.001]
        assert pauses[:3] == [1.5 * first, 1.5 * 2 * first, 1.5 * longest]
        assert (0.5, 1.5) in scene.chance.drawn

    run(body)


def test_the_nodes_are_read_the_more_seldom_the_more_there_are(
    run: Run, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EACH_NODE", 7.0)

    async def body(scene: Scene) -> None:
        scene.cluster.objects = {"nodes": [node("a", "172.16.0.13")], "blockaffinities": [block("a", "10.20.73.64/26")]}
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: len(scene.cluster.listed) > 6)
        assert scene.supervisor.wanted is not None
        assert 1.5 * 7.0 * len(QA.spec.nodes or ()) in slept
        assert 1.5 * 7.0 in slept, "of one node, once there is one"

    run(body)


def test_nodes_that_were_read_for_an_older_edition_are_not_written_over_a_newer_one(run: Run) -> None:
    async def body(scene: Scene) -> None:
        supervisor = scene.supervisor

        def overtaken() -> None:
            assert supervisor.wanted is not None
            if supervisor.wanted.version == "1":
                supervisor.wanted = dataclasses.replace(supervisor.wanted, profile=edition("2"), version="2")

        scene.cluster.version = "2"
        scene.cluster.during = overtaken
        scene.cluster.objects = {"nodes": [node("a", "172.16.0.13")], "blockaffinities": [block("a", "10.20.73.64/26")]}
        task = scene.refresher._follow_nodes("qa", {})
        following = asyncio.get_running_loop().create_task(task)
        await scene.until(lambda: supervisor.renewed)
        following.cancel()
        assert set(supervisor.renewed) == {"2"}

    run(body)


def test_a_session_that_was_replaced_is_watched_no_more(run: Run) -> None:
    async def body(scene: Scene) -> None:
        scene.refresher.follow("qa", {}, stale=False)
        (watching, *_) = scene.refresher._tasks["qa"]
        await scene.until(lambda: scene.cluster.watched)
        scene.supervisor.name = "prod"
        scene.refresher.follow("prod", {}, stale=False)
        assert set(scene.refresher._tasks) == {"prod"}
        await asyncio.wait([watching])
        assert watching.cancelled()

    run(body)


def test_nodes_are_followed_from_the_edition_on_that_has_some_to_the_one_that_has_none(run: Run) -> None:
    def of(revision: str, *, with_nodes: bool) -> BridgeProfile:
        made = edition(revision)
        return made if with_nodes else dataclasses.replace(made, spec=dataclasses.replace(made.spec, nodes=None))

    async def body(scene: Scene) -> None:
        scene.supervisor.wanted = Wish(profile=of("1", with_nodes=False), origin=OFFICE, fetched=1.0, version="1")
        scene.cluster.objects = {"nodes": [node("a", "172.16.0.13")], "blockaffinities": [block("a", "10.20.73.64/26")]}
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: scene.cluster.watched)
        assert scene.cluster.listed == []
        scene.cluster.publish(of("2", with_nodes=True), "2")
        await scene.until(lambda: owners(scene) == {"172.16.0.13": ["10.20.73.64/26"]})
        scene.cluster.publish(of("3", with_nodes=False), "3")
        await scene.until(lambda: scene.supervisor.renewed[-1] == "3")
        await asyncio.wait(scene.refresher._tasks["qa"][1:])
        assert owners(scene) == {}

    run(body)


def test_an_api_server_that_knows_less_than_another_costs_a_pause_and_no_renewal(
    run: Run, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(scene: Scene) -> None:
        scene.without_routes()
        scene.cluster.version = "2"  # what this one's cache says; asked for the whole, it still gives the first
        found = Obtained(profile=edition("1"), origin=OFFICE, fetched=2.0, version="1")

        async def behind(access: Access, environ: Mapping[str, str]) -> Obtained:
            scene.cluster.fetched += 1
            return found

        monkeypatch.setattr(module, "fetch", behind)
        scene.refresher.follow("qa", {}, stale=False)
        await scene.until(lambda: scene.cluster.fetched > 3)
        assert scene.supervisor.renewed == []
        first, longest = module.PAUSES
        assert {1.5 * first, 1.5 * 2 * first, 1.5 * longest} <= set(slept), "each time a longer one"

    run(body)


def test_a_session_that_is_left_while_it_goes_over_is_no_error(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def body(scene: Scene) -> None:
        renew = scene.supervisor.renew

        async def left(wish: Wish) -> bool:
            done = await renew(wish)
            del scene.refresher._tasks["qa"]
            scene.supervisor.wanted = None
            return done

        scene.supervisor.renew = left  # type: ignore[method-assign]
        scene.refresher.follow("qa", {}, stale=False)
        following = scene.refresher._tasks["qa"]
        await scene.until(lambda: scene.cluster.watched)
        scene.cluster.publish(edition("2"), "2")
        await asyncio.wait(following)
        assert [task.exception() for task in following] == [None] * len(following)

    run(body)
