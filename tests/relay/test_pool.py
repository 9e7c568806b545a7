"""Which session a newcomer gets, and how long sessions are kept. The API server's end is a function, the time ours."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from devlink.errors import ClusterError
from devlink.relay.dialect import Data, Event
from devlink.relay.pool import PING_EVERY, SESSIONS_PER_POD, SPARE_FOR, WARM_FOR, Pool
from devlink.relay.refusal import RefusedError
from devlink.relay.sessions import BULK, SHARED, Session, Stream

KEY = ("shop", "db")


class Quiet:
    """A dialect of a server that says nothing."""

    def __init__(self, streams_limit: int) -> None:
        self.streams_limit = streams_limit
        self.numbers = 0
        self.pings = 0
        self.events: list[Event] = []

    def open(self, port: int) -> int:
        self.numbers += 1
        return self.numbers

    def send(self, stream: int, octets: bytes | bytearray | memoryview) -> None: ...

    def end(self, stream: int) -> None: ...

    def reset(self, stream: int) -> None: ...

    def ping(self) -> None:
        self.pings += 1

    def receive(self, octets: bytes | memoryview) -> Sequence[Event]:
        events, self.events = self.events, []
        return events

    def take(self) -> list[bytes | bytearray | memoryview]:
        return []


class Opening:
    """A connection that is handed over and never says anything."""

    def hand_over(self, protocol: asyncio.BaseProtocol) -> None: ...


class Dialled:
    form = "spdy"

    def __init__(self, streams_limit: int) -> None:
        self.dialect = Quiet(streams_limit)
        self.opening = Opening()


class Silent:
    """A stream's end here."""

    def __init__(self) -> None:
        self.why = ""

    def received(self, pieces: Sequence[bytes | memoryview]) -> None: ...

    def ended(self) -> None: ...

    def failed(self, why: str) -> None: ...

    def cut(self, why: str) -> None:
        self.why = why

    def writable(self, yes: bool) -> None: ...


class Server:
    """Counts dials, of which it answers those that `answer` lets."""

    def __init__(self, streams_limit: int = 1 << 20, error: Callable[[], Exception | None] = lambda: None) -> None:
        self.dialled: list[int] = []
        self.under_way = self.most = 0
        self._limit = streams_limit
        self._error = error

    async def dial(self, namespace: str, pod: str, port: int) -> Dialled:
        self.dialled.append(port)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        error = self._error()
        if error is not None:
            raise error
        return Dialled(self._limit)


def pooled(body: Callable[[Pool], object], server: Server | None = None) -> None:
    async def inside() -> None:
        pool = Pool((server or Server()).dial)  # type: ignore[arg-type]
        try:
            await body(pool)  # type: ignore[misc]
        finally:
            pool.close()

    asyncio.run(inside())


async def open_many(pool: Pool, count: int, port: int = 80) -> list[Stream]:
    return list(await asyncio.gather(*(pool.open(KEY, port, Silent()) for _ in range(count))))


def loads(pool: Pool) -> list[int]:
    return sorted(len(session.streams) for session in pool.sessions)


def answer_pings(pool: Pool) -> None:
    for session in pool.sessions:
        session.buffer_updated(1)  # whatever came


def test_newcomers_share_a_session_until_it_is_full() -> None:
    async def body(pool: Pool) -> None:
        await open_many(pool, SHARED)
        assert loads(pool) == [SHARED]
        await open_many(pool, 1)
        assert loads(pool) == [1, SHARED]

    pooled(body)


def test_never_more_sessions_than_are_allowed_however_many_come() -> None:
    server = Server()

    async def body(pool: Pool) -> None:
        await open_many(pool, SHARED * SESSIONS_PER_POD + 500)
        found = loads(pool)
        assert len(found) <= SESSIONS_PER_POD
        assert sum(found) == SHARED * SESSIONS_PER_POD + 500
        assert max(found) - min(found) <= 500

    pooled(body, server)


def test_a_dialect_of_one_stream_has_a_session_for_each_and_it_goes_with_it() -> None:
    server = Server(streams_limit=1)

    async def body(pool: Pool) -> None:
        streams = [*await open_many(pool, 30, port=80), *await open_many(pool, 10, port=81)]
        assert loads(pool) == [1] * 40
        assert sorted(set(server.dialled)) == [80, 81]
        for stream in streams:
            stream.drop(reset=False)
        assert loads(pool) == []

    pooled(body, server)


def test_a_stream_that_has_moved_much_gets_no_new_neighbours_while_it_lasts() -> None:
    async def body(pool: Pool) -> None:
        [stream] = await open_many(pool, 1)
        stream.count(BULK + 1)
        await open_many(pool, 2)
        assert loads(pool) == [1, 2]
        stream.drop(reset=False)
        stream.count(1)
        await open_many(pool, 1)
        assert loads(pool) == [1, 2]

    pooled(body)


def test_a_session_that_is_held_up_gets_no_newcomers_until_it_goes_on() -> None:
    async def body(pool: Pool) -> None:
        [stream] = await open_many(pool, 1)
        stream.hold()
        await open_many(pool, 1)
        assert loads(pool) == [1, 1]
        stream.release()
        await open_many(pool, 1)
        assert loads(pool) == [1, 2]

    pooled(body)


@pytest.mark.parametrize(("status", "reason"), [(403, "rights"), (404, "pod-gone"), (500, "api")])
def test_each_of_those_who_wait_for_a_refused_session_is_told_why(status: int, reason: str) -> None:
    server = Server(error=lambda: ClusterError("No.", status=status))

    async def body(pool: Pool) -> None:
        found = await asyncio.gather(*(pool.open(KEY, 80, Silent()) for _ in range(5)), return_exceptions=True)
        assert [each.reason for each in found if isinstance(each, RefusedError)] == [reason] * 5
        assert len(server.dialled) == 1
        assert pool.is_empty

    pooled(body, server)


def test_a_newcomer_who_gives_up_leaves_nothing_behind() -> None:
    async def body(pool: Pool) -> None:
        waiting = asyncio.get_running_loop().create_task(pool.open(KEY, 80, Silent()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await open_many(pool, 1)
        assert loads(pool) == [1]

    pooled(body)


def test_the_last_session_of_a_pod_is_kept_warm_and_others_only_for_a_while() -> None:
    async def body(pool: Pool) -> None:
        streams = await open_many(pool, SHARED + 1)
        for stream in streams:
            stream.drop(reset=False)
        now = asyncio.get_running_loop().time()
        pool.tend(now + SPARE_FOR - 1)
        assert loads(pool) == [0, 0]
        answer_pings(pool)
        pool.tend(now + SPARE_FOR + 1)
        assert loads(pool) == [0]
        answer_pings(pool)
        pool.tend(now + WARM_FOR + 1)
        assert loads(pool) == []

    pooled(body)


def test_a_session_that_answers_no_ping_gets_no_newcomers_and_is_given_up() -> None:
    async def body(pool: Pool) -> None:
        sinks = [Silent(), Silent()]
        for sink in sinks:
            await pool.open(KEY, 80, sink)
        now = asyncio.get_running_loop().time()
        pool.tend(now)
        await open_many(pool, 1)
        assert loads(pool) == [1, 2]
        pool.tend(now + PING_EVERY + 1)
        assert loads(pool) == [1]
        assert all("does not answer" in sink.why for sink in sinks)

    pooled(body)


def test_a_session_that_answers_lives_on() -> None:
    async def body(pool: Pool) -> None:
        await open_many(pool, 2)
        now = asyncio.get_running_loop().time()
        for number in range(3):
            pool.tend(now + number * (PING_EVERY + 1))
            answer_pings(pool)
        assert loads(pool) == [2]

    pooled(body)


def test_a_single_stream_whose_pod_takes_nothing_is_left_to_wait() -> None:
    """What it has not taken blocks the answers to pings too, at the node."""

    async def body(pool: Pool) -> None:
        await open_many(pool, 1)
        now = asyncio.get_running_loop().time()
        pool.tend(now)
        pool.tend(now + 10 * PING_EVERY)
        assert loads(pool) == [1]

    pooled(body)


def test_after_a_right_is_withdrawn_newcomers_ask_anew_and_open_streams_go_on() -> None:
    async def body(pool: Pool) -> None:
        [stream] = await open_many(pool, 1)
        pool.retire()
        await open_many(pool, 1)
        assert loads(pool) == [1, 1]
        stream.drop(reset=False)
        assert loads(pool) == [1]

    pooled(body)


def test_octets_of_a_stream_that_come_at_one_go_are_told_at_one_go_and_in_order() -> None:
    told: list[list[bytes]] = []

    class Noting(Silent):
        def received(self, pieces: Sequence[bytes | memoryview]) -> None:
            told.append([bytes(piece) for piece in pieces])

    async def body(pool: Pool) -> None:
        await pool.open(KEY, 80, Noting())
        await pool.open(KEY, 80, Noting())
        [session] = pool.sessions
        assert isinstance(session, Session)
        assert isinstance(session.dialect, Quiet)
        session.dialect.events = [Data(1, b"a"), Data(1, b"b"), Data(2, b"c"), Data(1, b"d")]
        session.buffer_updated(1)

    pooled(body)
    assert told == [[b"a", b"b"], [b"c"], [b"d"]]


def test_in_another_network_newcomers_get_a_session_of_their_own_and_who_is_there_stays() -> None:
    async def body(pool: Pool) -> None:
        first = await pool.open(KEY, 5432, Silent())
        pool.check()
        second = await pool.open(KEY, 5432, Silent())
        assert len(list(pool.sessions)) == 2
        assert [each.dialect.pings for each in pool.sessions] == [1, 0]  # type: ignore[attr-defined]
        first.drop(reset=False)
        assert len(list(pool.sessions)) == 1
        third = await pool.open(KEY, 5432, Silent())
        assert len(list(pool.sessions)) == 1
        second.drop(reset=False)
        third.drop(reset=False)

    pooled(body)
