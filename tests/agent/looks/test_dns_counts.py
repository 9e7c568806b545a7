"""The helper's counts and its log of questions, as they are passed on."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from devlink.agent.looks import dns_counts
from devlink.agent.looks.dns_counts import MAX_PIECE, Counts, Piece, flush, follow_log
from devlink.errors import HelperError
from devlink.rpc.tasks import spawn
from tests.agent.helper_peer import IDLE, RECORD, Body, HelperPeer, helper_at

LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""
Run = Callable[[Body], None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(dns_counts, "COUNT_INTERVAL", 0.01)
    monkeypatch.setattr(dns_counts, "LOG_INTERVAL", 0.01)

    def runner(body: Body) -> None:
        async def main() -> None:
            async with asyncio.timeout(LIMIT), helper_at(tmp_path, monkeypatch) as helper:
                await body(helper)

        asyncio.run(main())

    return runner


async def some(pieces: AsyncGenerator[Mapping[str, Any], None], count: int) -> list[Mapping[str, Any]]:
    """The first ones, then it is left."""
    found: list[Mapping[str, Any]] = []
    async with aclosing(pieces):
        async for piece in pieces:
            found.append(piece)
            if len(found) == count:
                break
    return found


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.001)


def record(number: int) -> Mapping[str, Any]:
    return {**RECORD, "name": f"web-{number}."}


def piece(*records: Mapping[str, Any], lost: int = 0, restarted: bool = False) -> Mapping[str, Any]:
    return {"records": list(records), "lost": lost, "restarted": restarted, "zones": ["cluster.local"]}


def test_the_counts_come_again_and_again_over_one_line_and_without_what_is_not_the_agents(run: Run) -> None:
    async def body(helper: HelperPeer) -> None:
        counts = Counts()
        found = await some(counts.follow(), 3)
        assert found[0] == {"nameserver": "127.0.0.153", "stats": {"queries": 1}}
        assert [each["stats"]["queries"] for each in found] == [1, 2, 3]
        await until(lambda: helper.connections == 0)

    run(body)


def test_however_many_follow_the_helper_is_asked_once_each_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(helper: HelperPeer) -> None:
        monkeypatch.setattr(dns_counts, "COUNT_INTERVAL", 0.05)
        counts = Counts()
        followers = [spawn(some(counts.follow(), 4), name="follow") for _ in range(20)]
        found = await asyncio.gather(*followers)
        assert helper.counted <= 5
        assert helper.connections <= 1
        assert {tuple(each["stats"]["queries"] for each in seen) for seen in found} == {(1, 2, 3, 4)}

    run(body)


def test_who_comes_later_gets_the_last_count_at_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(helper: HelperPeer) -> None:
        monkeypatch.setattr(dns_counts, "COUNT_INTERVAL", 2 * LIMIT)
        counts = Counts()
        following = spawn(some(counts.follow(), 2), name="follow")
        await until(lambda: helper.counted == 1)
        assert (await some(counts.follow(), 1))[0]["stats"] == {"queries": 1}
        following.cancel()

    run(body)


def test_while_nobody_follows_nothing_is_asked(run: Run) -> None:
    async def body(helper: HelperPeer) -> None:
        await some(counts.follow(), 1)
        await until(lambda: helper.connections == 0)
        asked = helper.counted
        await asyncio.sleep(0.05)
        assert helper.counted == asked
        assert (await some(counts.follow(), 1))[0]["stats"]["queries"] == asked + 1, "nothing old is told"

    counts = Counts()
    run(body)


@pytest.mark.parametrize("number", [1, 3])
def test_an_error_of_the_helper_ends_the_counts_of_all_and_they_come_again_afterwards(run: Run, number: int) -> None:
    async def body(helper: HelperPeer) -> None:
        counts = Counts()
        following = [spawn(some(counts.follow(), 100_000), name="follow") for _ in range(number)]
        await until(lambda: helper.counted > 2)
        helper.failure = IDLE
        for error in await asyncio.gather(*following, return_exceptions=True):
            assert isinstance(error, HelperError)
            assert error.what == IDLE.what
        with pytest.raises(HelperError, match="serves nothing"):
            await some(counts.follow(), 1)
        helper.failure = None
        assert len(await some(counts.follow(), 2)) == 2

    run(body)


def test_a_helper_that_dies_ends_both_streams_with_an_error_to_read_and_they_work_with_the_next_one(run: Run) -> None:
    async def body(helper: HelperPeer) -> None:
        counts = Counts()
        following = [
            spawn(some(counts.follow(), 100_000), name="counts"), spawn(some(follow_log(), 100_000), name="log"),
        ]  # fmt: skip
        await until(lambda: helper.counted > 1 and helper.followers == 1)
        await helper.end()
        for error in await asyncio.gather(*following, return_exceptions=True):
            assert isinstance(error, HelperError)
            assert error.next_step
        for stream in (counts.follow(), follow_log()):
            with pytest.raises(HelperError, match="cannot be reached"):
                await some(stream, 1)
        with pytest.raises(HelperError, match="cannot be reached"):
            await flush()
        await helper.start()
        assert len(await some(counts.follow(), 2)) == 2
        assert (await some(follow_log(), 1))[0]["records"] == []

    run(body)


def test_the_log_is_passed_on_and_what_came_meanwhile_is_one_piece(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(helper: HelperPeer) -> None:
        monkeypatch.setattr(dns_counts, "LOG_INTERVAL", 0.1)
        stream = follow_log()
        async with aclosing(stream):
            first = await anext(stream)
            assert first == {"records": [], "lost": 0, "restarted": False, "zones": None}, "at once: the log is on"

            async def ask_names() -> None:
                for number in range(5):
                    helper.log.put_nowait(piece(record(number), lost=1, restarted=number == 2))
                    await asyncio.sleep(0.002)

            asking = spawn(ask_names(), name="ask for names")
            second = await anext(stream)
            await asking
        assert second == piece(*map(record, range(5)), lost=5, restarted=True)

    run(body)


def test_when_the_caller_goes_the_helpers_log_is_followed_no_more(run: Run) -> None:
    async def body(helper: HelperPeer) -> None:
        await some(follow_log(), 1)
        await until(lambda: helper.followers == 0 and helper.connections == 0)

    run(body)


def test_a_slow_reader_loses_the_oldest_and_is_told_how_many() -> None:
    async def body() -> None:
        waiting = Piece()
        for start in range(0, MAX_PIECE + 1000, 500):
            waiting.put(piece(*(record(number) for number in range(start, start + 500))))
        said = await waiting.take()
        assert len(said["records"]) == MAX_PIECE
        assert (said["lost"], said["records"][0]) == (1000, record(1000))
        waiting.put(piece(record(1)))
        assert (await waiting.take())["lost"] == 0, "what was told is not counted again"

    asyncio.run(body())


def test_a_flush_tells_how_many_answers_were_kept(run: Run) -> None:
    async def body(helper: HelperPeer) -> None:
        assert await flush() == 7
        helper.failure = IDLE
        with pytest.raises(HelperError, match="serves nothing"):
            await flush()

    run(body)
