"""The log of questions: one look for all who follow, bounded for each, off when nobody does."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from devlink.errors import DevlinkError, HelperError, NotPermittedError, NotUpError
from devlink.helper import querylog
from devlink.helper.policy import QueryLogPolicy
from devlink.helper.querylog import KEPT, Follower, News, QueryLog, check_may_follow

LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""


def record(number: int, zone: str = "cluster.local") -> dict[str, Any]:
    return {"name": str(number), "zone": zone}


class FakeForwarder:
    """Has a log that is on or off."""

    def __init__(self) -> None:
        self.calls: list[bool] = []
        self.pending: list[dict[str, Any]] = []
        self.lost = 0
        self.failure: DevlinkError | None = None
        self.asked = asyncio.Event()
        self.starts = 1

    async def take(self, on: bool) -> tuple[list[dict[str, Any]], int]:
        await asyncio.sleep(0)  # as a call to another process does
        self.calls.append(on)
        self.asked.set()
        if self.failure is not None:
            raise self.failure
        taken = self.pending, self.lost
        self.pending, self.lost = [], 0
        return taken


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(querylog, "INTERVAL", 0.001)


def run(body: Callable[[FakeForwarder, QueryLog], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        forwarder = FakeForwarder()
        async with asyncio.timeout(LIMIT):
            await body(forwarder, QueryLog(forwarder.take, lambda: forwarder.starts))

    asyncio.run(main())


async def until_off(forwarder: FakeForwarder) -> None:
    while not forwarder.calls or forwarder.calls[-1]:
        forwarder.asked.clear()
        await forwarder.asked.wait()


def everything(_: str) -> bool:
    return True


def test_nobody_asks_the_forwarder_while_nobody_follows() -> None:
    async def body(forwarder: FakeForwarder, log: QueryLog) -> None:
        with log.following(everything) as follower:
            assert await follower.take() == News([], 0)
        await until_off(forwarder)
        count = len(forwarder.calls)
        await asyncio.sleep(0.02)
        assert len(forwarder.calls) == count

    run(body)


def test_all_followers_are_served_by_one_look() -> None:
    async def body(forwarder: FakeForwarder, log: QueryLog) -> None:
        with log.following(everything) as first, log.following(lambda zone: zone == "b") as second:
            assert await first.take() == News([], 0)
            assert await second.take() == News([], 0)
            forwarder.pending = [record(1, "a"), record(2, "b")]
            assert await first.take() == News([record(1, "a"), record(2, "b")], 0)
            assert await second.take() == News([record(2, "b")], 0)

    run(body)


def test_what_the_forwarder_could_not_keep_is_told_to_all() -> None:
    async def body(forwarder: FakeForwarder, log: QueryLog) -> None:
        with log.following(everything) as first, log.following(lambda _: False) as second:
            await first.take()
            await second.take()
            forwarder.lost = 5
            assert await first.take() == News([], 5)
            assert await second.take() == News([], 5)

    run(body)


def test_who_is_slow_loses_the_oldest_and_is_told_how_many() -> None:
    async def body(_: FakeForwarder, __: QueryLog) -> None:
        follower = Follower(everything)
        follower.put([record(n) for n in range(KEPT)], 0)
        follower.put([record(KEPT), record(KEPT + 1)], 3)
        records, lost, restarted = await follower.take()
        assert not restarted
        assert ([records[0], records[-1]], len(records), lost) == ([record(2), record(KEPT + 1)], KEPT, 5)
        follower.put([record(9)], 0)
        assert await follower.take() == News([record(9)], 0)

    run(body)


def test_a_forwarder_that_comes_back_has_its_log_turned_on_again() -> None:
    async def body(forwarder: FakeForwarder, log: QueryLog) -> None:
        with log.following(everything) as follower:
            await follower.take()
            forwarder.failure = HelperError("It is being started again.")
            forwarder.asked.clear()
            await forwarder.asked.wait()
            forwarder.failure = None
            forwarder.pending = [record(1)]
            assert await follower.take() == News([record(1)], 0)
            assert all(forwarder.calls)

    run(body)


def test_a_forwarder_that_is_gone_ends_the_log_for_everybody_and_a_new_one_begins_it_anew() -> None:
    async def body(forwarder: FakeForwarder, log: QueryLog) -> None:
        with log.following(everything) as first, log.following(everything) as second:
            await first.take()
            await second.take()
            forwarder.failure = NotUpError("Nothing is served.")
            for follower in (first, second):
                with pytest.raises(NotUpError):
                    await follower.take()
        await until_off(forwarder)
        forwarder.failure = None
        with log.following(everything) as third:
            assert await third.take() == News([], 0)

    run(body)


def test_who_comes_while_the_log_is_being_turned_off_has_it_on() -> None:
    async def body(forwarder: FakeForwarder, log: QueryLog) -> None:
        with log.following(everything) as first:
            await first.take()
        await until_off(forwarder)
        with log.following(everything) as second:
            await second.take()
            assert forwarder.calls[-2:] == [False, True]
            forwarder.pending = [record(1)]
            assert await second.take() == News([record(1)], 0)

    run(body)


def test_who_follows_while_a_forwarder_is_replaced_is_told_so_once() -> None:
    async def body(forwarder: FakeForwarder, log: QueryLog) -> None:
        with log.following(everything) as first, log.following(lambda _: False) as second:
            await first.take()
            await second.take()
            forwarder.starts += 1
            assert await first.take() == News([], restarted=True)
            assert await second.take() == News([], restarted=True), "some of what is missing may have been theirs"
            forwarder.pending = [record(1)]
            assert await first.take() == News([record(1)])
            with log.following(everything) as third:
                assert await third.take() == News([])

    run(body)


def test_who_comes_after_a_forwarder_was_replaced_has_missed_nothing() -> None:
    async def body(forwarder: FakeForwarder, log: QueryLog) -> None:
        with log.following(everything) as first:
            await first.take()
        await until_off(forwarder)
        forwarder.starts += 1
        with log.following(everything) as second:
            assert await second.take() == News([])

    run(body)


def test_where_nobody_may_look_nobody_is_told_to_type_a_name_that_another_program_has() -> None:
    with pytest.raises(NotPermittedError) as refused:
        check_may_follow(1000, QueryLogPolicy.OFF)
    assert "sudo" not in refused.value.next_step
    check_may_follow(0, QueryLogPolicy.OFF)
