"""What shall be up at login: brought up by itself, waited for, and left alone where its user says so."""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from devlink.agent import login
from devlink.agent.login import Login, place_of
from devlink.core.network import Link, ObservedNetwork
from devlink.errors import DevlinkError, HelperError, NotTrustedError, NotUpError
from tests.helper.fakes import FakeMonitor, default_by, watch_the_kernel

LIMIT = 10.0
AWAY = HelperError("The helper is away.", why="It is not there.", next_step="Start it.")
HOME, OFFICE = ("home",), ("office",)


class World:
    """An agent whose sessions come up unless a test says otherwise."""

    def __init__(self) -> None:
        self.sessions: list[str] = []
        self.failures: dict[str, DevlinkError] = {}
        """What keeps a profile down, until it is taken out."""
        self.tried: list[str] = []
        self.slow: asyncio.Event | None = None
        self.place, self.is_offline = HOME, False
        self.told = 0
        self.named = {"": "qa"}

    def again(self, *profiles: str) -> Login:
        """An agent that has just started."""
        self.login = Login(profiles, bring_up=self._bring_up, names=lambda: self.sessions, tell=self._tell)
        self.login.start()
        return self.login

    def _tell(self) -> None:
        self.told += 1

    async def _bring_up(self, profile: str) -> None:
        self.tried.append(profile)
        name = self.named.get(profile, profile)
        self.login.is_called(profile, name)
        if self.slow is not None:
            try:
                await self.slow.wait()
            except asyncio.CancelledError:  # as the supervisor does
                raise NotUpError("It was cancelled.", next_step="Try again.") from None
        if profile in self.failures:
            raise self.failures[profile]
        self.sessions.append(name)


Run = Callable[[Callable[[World], Awaitable[None]]], None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def runner(body: Callable[[World], Awaitable[None]]) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        tmp_path.chmod(0o700)
        watch_the_kernel(monkeypatch)
        world = World()
        monkeypatch.setattr(login, "look", lambda: (world.place, world.is_offline))

        async def main() -> None:
            async with asyncio.timeout(LIMIT):
                await body(world)

        asyncio.run(main())

    return runner


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause is worth a word."""
    monkeypatch.setattr(login, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(login, "LONGEST_PAUSE", 0.002)


async def until(true: Callable[[], object]) -> None:
    while not true():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.001)


def shown(wishes: Login) -> list[tuple[object, object, object]]:
    return [(each["profile"], each["why"], each["next_step"]) for each in wishes.waiting()]


def test_each_profile_is_brought_up_and_then_nothing_waits_and_nobody_listens(run: Run) -> None:
    async def body(world: World) -> None:
        wishes = world.again("qa", "prod", "qa")
        assert wishes.asking() == ["qa", "prod"]
        await until(lambda: len(world.sessions) == 2)
        await until(lambda: not wishes.asking())
        assert wishes.waiting() == []
        assert sorted(world.tried) == ["prod", "qa"]
        assert all(monitor.is_closed for monitor in FakeMonitor.opened)

    run(body)


def test_without_a_profile_the_default_one_is_meant(run: Run) -> None:
    async def body(world: World) -> None:
        world.again()
        await until(lambda: world.sessions == ["qa"])
        assert world.tried == [""]

    run(body)


@pytest.mark.usefixtures("quick")
def test_what_keeps_one_is_shown_with_its_next_step_and_it_comes_up_when_that_is_over(run: Run) -> None:
    async def body(world: World) -> None:
        world.failures["qa"] = AWAY
        wishes = world.again("qa", "prod")
        await until(lambda: len(world.tried) > 5)
        assert shown(wishes) == [("qa", "The helper is away. It is not there.", "Start it.")]
        assert world.sessions == ["prod"]
        world.failures.clear()
        await until(lambda: "qa" in world.sessions)
        await until(lambda: not wishes.waiting())

    run(body)


@pytest.mark.usefixtures("quick")
def test_what_keeps_it_is_logged_once_however_often_it_is_tried(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        world.failures["qa"] = AWAY
        wishes = world.again("qa")
        await until(lambda: len(world.tried) > 5)
        world.failures["qa"] = NotTrustedError("Not trusted.", next_step="devlink trust qa")
        await until(lambda: len(world.tried) > 10)
        await wishes.close()

    run(body)
    assert [record.message.partition(":")[0] for record in caplog.records] == ["qa waits", "qa waits"]


def test_another_network_is_tried_at_once_and_the_same_is_not(run: Run) -> None:
    async def body(world: World) -> None:
        world.failures["qa"] = AWAY
        wishes = world.again("qa")
        await until(wishes.waiting)
        tried = len(world.tried)
        FakeMonitor.opened[-1].changed()
        await asyncio.sleep(0.02)
        assert len(world.tried) == tried
        world.place = OFFICE
        world.failures.clear()
        FakeMonitor.opened[-1].changed()
        await until(lambda: world.sessions == ["qa"])

    run(body)


def test_pauses_grow_up_to_a_minute_and_begin_anew_in_another_network(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    class Short:
        """What a pause is multiplied by: it is noted, and over at once until the ninth."""

        def __rmul__(self, pause: float) -> float:
            pauses.append(pause)
            return 0.0001 if len(pauses) < 9 else LIMIT

    monkeypatch.setattr("random.uniform", lambda *_: Short())

    async def body(world: World) -> None:
        world.failures["qa"] = AWAY
        wishes = world.again("qa")
        await until(lambda: len(pauses) == 9)
        world.place = OFFICE
        FakeMonitor.opened[-1].changed()
        await until(lambda: len(pauses) == 10)
        await wishes.close()

    run(body)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 1]


def test_without_any_network_nobody_is_asked(run: Run) -> None:
    async def body(world: World) -> None:
        world.is_offline = True
        wishes = world.again("qa")
        await until(wishes.waiting)
        assert shown(wishes)[0][1] == "There is no network yet. No link that is up has an address."
        assert world.tried == []
        world.place, world.is_offline = OFFICE, False
        FakeMonitor.opened[-1].changed()
        await until(lambda: world.sessions == ["qa"])

    run(body)


@pytest.mark.usefixtures("quick")
def test_a_defect_is_waited_out_like_anything_else(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        world.failures["qa"] = ValueError("oops")  # type: ignore[assignment]
        wishes = world.again("qa")
        await until(wishes.waiting)
        assert "oops" in str(shown(wishes))
        world.failures.clear()
        await until(lambda: world.sessions == ["qa"])

    run(body)
    assert any(record.exc_info for record in caplog.records)


def test_what_is_up_already_is_not_touched(run: Run) -> None:
    async def body(world: World) -> None:
        world.sessions.append("qa")
        wishes = world.again("qa")
        assert (wishes.asking(), world.tried) == ([], [])

    run(body)


def test_what_was_taken_down_stays_down_in_the_next_agent_and_not_after_the_next_login(run: Run) -> None:
    async def body(world: World) -> None:
        wishes = world.again("")
        await until(lambda: world.sessions == ["qa"])
        await until(lambda: not wishes.asking())
        world.sessions.clear()
        wishes.taken_down(["qa"])
        assert world.again("").asking() == []
        login.forget()
        assert world.again("").asking() == [""]

    run(body)


def test_what_was_lost_with_a_crash_is_brought_up_anew(run: Run) -> None:
    async def body(world: World) -> None:
        wishes = world.again("qa")
        await until(lambda: world.sessions == ["qa"])
        await wishes.close()
        world.sessions.clear()
        world.again("qa")
        await until(lambda: world.sessions == ["qa"])

    run(body)


@pytest.mark.parametrize("profile", ["qa", ""])
def test_what_its_user_brought_up_again_comes_back_after_a_crash(run: Run, profile: str) -> None:
    async def body(world: World) -> None:
        world.slow = asyncio.Event()
        wishes = world.again(profile)
        await until(lambda: world.tried)
        wishes.give_up("qa")
        assert world.again(profile).asking() == []
        wishes.wished_again("qa")
        assert world.again(profile).asking() == [profile]

    run(body)


def test_a_memory_that_is_damaged_or_cannot_be_written_keeps_nothing_down(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(world: World) -> None:
        login.memory().parent.mkdir()
        login.memory().write_text('{"given_up": [1')
        world.again("qa")
        await until(lambda: world.sessions == ["qa"])
        login.memory().unlink()
        login.memory().mkdir()
        world.again("prod")
        await until(lambda: "prod" in world.sessions)

    run(body)
    assert "cannot be read" in caplog.text
    assert "will not know" in caplog.text


@pytest.mark.parametrize(("name", "left"), [(None, []), ("qa", ["prod"]), ("other", ["qa", "prod"])])
def test_what_waits_is_given_up_by_its_name_and_all_without_one(run: Run, name: str | None, left: list[str]) -> None:
    async def body(world: World) -> None:
        world.failures |= {"qa": AWAY, "prod": AWAY}
        wishes = world.again("qa", "prod")
        await until(lambda: len(wishes.waiting()) == 2)
        given_up = wishes.give_up(name)
        assert sorted(given_up) == sorted({"qa", "prod"} - set(left))
        assert [each["profile"] for each in wishes.waiting()] == left
        await wishes.close()
        assert world.again("qa", "prod").asking() == left

    run(body)


def test_the_default_one_is_given_up_by_the_name_that_it_has(run: Run) -> None:
    async def body(world: World) -> None:
        world.failures[""] = AWAY
        wishes = world.again("")
        await until(wishes.waiting)
        assert wishes.give_up("qa") == ["the default profile"]

    run(body)


@pytest.mark.parametrize(("profile", "said"), [
    ("qa", "devlink trust qa"), ("/a b.yaml", "devlink trust '/a b.yaml'"), ("", "devlink trust PROFILE"),
])  # fmt: skip
def test_how_to_trust_it_names_it(run: Run, profile: str, said: str) -> None:
    async def body(world: World) -> None:
        world.failures[profile] = NotTrustedError("Not trusted.", next_step="devlink trust PROFILE")
        wishes = world.again(profile)
        await until(wishes.waiting)
        assert wishes.waiting()[0]["next_step"] == said

    run(body)


def test_one_that_is_given_up_in_the_middle_is_not_tried_again(run: Run) -> None:
    async def body(world: World) -> None:
        world.slow = asyncio.Event()
        wishes = world.again("qa")
        await until(lambda: world.tried)
        wishes.give_up("qa")
        await asyncio.sleep(0.01)
        assert (wishes.waiting(), wishes.asking(), world.tried) == ([], [], ["qa"])
        assert len(asyncio.all_tasks()) == 1

    run(body)


@pytest.mark.parametrize(("argument", "context", "is_aside"), [
    ("qa", "", True), ("", "", True), ("", "cluster", True), ("./qa.yaml", "", True), ("prod", "", False),
])  # fmt: skip
def test_while_its_user_brings_it_up_the_agent_does_not(run: Run, argument: str, context: str, is_aside: bool) -> None:
    async def body(world: World) -> None:
        world.slow = asyncio.Event()
        wishes = world.again("qa")
        await until(lambda: world.tried)
        async with wishes.aside(argument, context):
            world.slow.set()
            await asyncio.sleep(0.01)
            assert (world.sessions == []) is is_aside
        await until(lambda: world.sessions == ["qa"])

    run(body)


def test_a_file_that_is_wished_may_be_what_its_user_names_otherwise(run: Run) -> None:
    async def body(world: World) -> None:
        world.failures["/qa.yaml"] = AWAY
        wishes = world.again("/qa.yaml")
        await until(wishes.waiting)
        world.failures.clear()
        async with wishes.aside("qa", ""):
            world.place = OFFICE
            FakeMonitor.opened[-1].changed()
            await asyncio.sleep(0.01)
            assert world.sessions == []
        await until(lambda: world.sessions)

    run(body)


def test_of_two_that_bring_it_up_the_first_that_ends_leaves_it_to_the_other(run: Run) -> None:
    async def body(world: World) -> None:
        world.slow = asyncio.Event()
        wishes = world.again("qa")
        await until(lambda: world.tried)
        world.slow.set()
        async with wishes.aside("qa", ""):
            async with wishes.aside("qa", ""):
                pass
            await asyncio.sleep(0.01)
            assert world.sessions == []
        await until(lambda: world.sessions == ["qa"])

    run(body)


def test_what_its_user_brought_up_is_not_brought_up_once_more(run: Run) -> None:
    async def body(world: World) -> None:
        world.failures["qa"] = AWAY
        wishes = world.again("qa")
        await until(wishes.waiting)
        tried = len(world.tried)
        async with wishes.aside("qa", ""):
            world.sessions.append("qa")
        await until(lambda: not wishes.waiting())
        assert len(world.tried) == tried

    run(body)


def observed(*links: tuple[str, str, bool]) -> ObservedNetwork:
    return ObservedNetwork(
        links=tuple(
            Link(index=i, name=name, mtu=1500, up=up, addresses=((ipaddress.ip_address(address), 24),))
            for i, (name, address, up) in enumerate(links, 1)
        )
    )


@pytest.mark.parametrize(("links", "is_offline"), [
    ([("lo", "127.0.0.1", True)], True),
    ([("eth0", "10.0.0.2", False)], True),
    ([("eth0", "fe80::1", True)], True),
    ([("devlink0", "169.254.1.1", True)], True),
    ([("devlink0", "10.0.0.1", True)], True),
    ([("eth0", "10.0.0.2", True)], False),
])  # fmt: skip
def test_there_is_a_network_where_a_link_that_is_up_has_an_address(
    links: list[tuple[str, str, bool]], is_offline: bool
) -> None:
    assert place_of(observed(*links))[1] is is_offline


def test_another_address_or_another_way_out_is_another_place_and_our_own_link_is_not() -> None:
    here = place_of(observed(("eth0", "10.0.0.2", True)))[0]
    assert here != place_of(observed(("eth0", "10.0.0.3", True)))[0]
    assert here == place_of(observed(("eth0", "10.0.0.2", True), ("devlink0", "10.9.0.1", True)))[0]
    assert place_of(default_by("10.0.0.1")) != place_of(default_by("10.0.0.9"))


def test_what_is_on_its_way_when_the_agent_ends_is_taken_back(run: Run) -> None:
    async def body(world: World) -> None:
        world.slow = asyncio.Event()
        wishes = world.again("qa")
        await until(lambda: world.tried)
        await wishes.close()
        assert len(asyncio.all_tasks()) == 1
        assert (wishes.asking(), world.sessions) == ([], [])

    run(body)
