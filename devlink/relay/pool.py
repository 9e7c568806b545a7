"""Which session a newcomer's stream goes into: sessions by pod, kept warm, bounded in number and in idle time."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator

from devlink.errors import ClusterError, DevlinkError, UsageError, reason
from devlink.relay.dial import Dialled
from devlink.relay.refusal import RefusedError
from devlink.relay.sessions import SHARED, Session, Sink, Stream
from devlink.rpc.tasks import spawn

SESSIONS_PER_POD = 16
SESSIONS = 128
"""In all; those of a dialect with a single stream each are bounded by the number of connections."""
DIALS = 16
"""At once, to one API server."""
DIALS_PER_POD = 4
"""At once, where each can carry many."""
PING_EVERY = 30.0
"""Seconds; below the time-out of the proxies and load balancers that there are (60 s and more)."""
SPARE_FOR = 30.0
"""Seconds for which a session without streams is kept, where its pod has another."""
WARM_FOR = 300.0
"""Seconds for which the last one of a pod is."""
RESTART = 3.0
"""Seconds for which newcomers wait for an API server that has just gone, which may be starting again. After that they
are refused as soon as it does not answer."""
PAUSE = 0.2
"""Seconds between two attempts in that time."""

Dial = Callable[[str, str, int], Awaitable[Dialled]]
"""To a pod by namespace and name, for a port of it. Raises ClusterError and UsageError."""
Key = tuple[str, str]
"""Namespace and name of a pod."""


class Waiter:
    """A newcomer for whom there is no session yet."""

    def __init__(self, port: int, sink: Sink) -> None:
        self.port = port
        self.sink = sink
        self.stream: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()


class Lane:
    """One pod's sessions, and who waits for one."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.waiters: deque[Waiter] = deque()
        self.dialling: list[int] = []
        """The port of each dial under way."""

    @property
    def is_empty(self) -> bool:
        return not self.sessions and not self.waiters and not self.dialling

    def best(self, port: int, *, full: bool) -> Session | None:
        """The session for a newcomer: the emptiest of those where he does well; where no more can be had, of all."""
        usable = [each for each in self.sessions if each.can_open and (not each.is_single or each.port == port)]
        free = [each for each in usable if each.is_free]
        if not free and full:
            free = [each for each in usable if not each.is_held] or usable
        return min(free, key=lambda each: len(each.streams), default=None)

    def wanted(self, capacity: int) -> Iterator[int]:
        """The ports of the dials that are lacking, where a new session takes so many streams."""
        if capacity > 1:
            under_way = len(self.dialling)
            needed = min(-(-len(self.waiters) // capacity), DIALS_PER_POD, SESSIONS_PER_POD - len(self.sessions))
            for _ in range(needed - under_way):
                yield self.waiters[0].port
            return
        ports = list(self.dialling)
        for waiter in self.waiters:
            if waiter.port in ports:
                ports.remove(waiter.port)
            elif len(self.dialling) < DIALS:
                yield waiter.port


class Pool:
    """All sessions of one relay."""

    def __init__(
        self,
        dial: Dial,
        *,
        failed: Callable[[DevlinkError | None], None] = lambda _: None,
        cut: Callable[[Session, str], None] = lambda *_: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`failed` is told why the API server refused a session, and None of one that it gave; `cut` of each that ended
        by itself, and `changed` of any that came or went."""
        self._dial = dial
        self._failed = failed
        self._cut = cut
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[Key, Lane] = {}
        self._capacity = SHARED
        """Streams that a new session takes, as far as is known."""
        self._dials = asyncio.Semaphore(DIALS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._away_since: float | None = None
        """When the API server was first missed, until it answers."""
        self._timer = self._loop.call_later(PING_EVERY, self._tend)
        self._closed = False

    @property
    def sessions(self) -> Iterator[Session]:
        """All that there are."""
        return (session for lane in self._lanes.values() for session in lane.sessions)

    async def open(self, key: Key, port: int, sink: Sink) -> Stream:
        """A stream to a pod's port. Raises RefusedError."""
        lane = self._lanes.setdefault(key, Lane())
        if not lane.waiters:
            session = lane.best(port, full=self._is_full(lane))
            if session is not None:
                return session.open(port, sink)
        if self._capacity > 1 and not lane.dialling and self._is_full(lane):
            raise RefusedError("too-many", f"All sessions to {'/'.join(key)} are held up.")
        waiter = Waiter(port, sink)
        lane.waiters.append(waiter)
        self._dial_more(key, lane)
        try:
            return await waiter.stream
        except asyncio.CancelledError:
            if waiter in lane.waiters:
                lane.waiters.remove(waiter)
            elif waiter.stream.done() and not waiter.stream.cancelled() and not waiter.stream.exception():
                waiter.stream.result().drop(reset=True)
            raise

    @property
    def is_empty(self) -> bool:
        """Whether there is no session, and none to come."""
        return not self._lanes

    def retire(self) -> None:
        """Newcomers get fresh sessions; those that there are end with their last stream."""
        for session in list(self.sessions):
            session.is_retired = True
            if not session.streams:
                self._end(session)

    def close(self) -> None:
        """End all sessions; nobody is told."""
        self._closed = True
        self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        for session in list(self.sessions):
            session.close()
        self._lanes.clear()

    def _is_full(self, lane: Lane) -> bool:
        """Whether no further session may be made for a pod; one that is idle makes room."""
        if len(lane.sessions) + len(lane.dialling) >= SESSIONS_PER_POD:
            return True
        shared = [each for each in self.sessions if not each.is_single]
        if len(shared) < SESSIONS:
            return False
        idle = min((each for each in shared if not each.streams), key=lambda each: each.idle_since, default=None)
        if idle is None:
            return True
        self._end(idle)
        return False

    def _dial_more(self, key: Key, lane: Lane) -> None:
        for port in lane.wanted(self._capacity):
            lane.dialling.append(port)
            task = spawn(self._add(key, lane, port), name=f"session to {'/'.join(key)}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _add(self, key: Key, lane: Lane, port: int) -> None:
        try:
            async with self._dials:
                dialled = await self._patiently(key, port)
        except RefusedError as error:
            lane.dialling.remove(port)
            self._refuse(lane, port, error)
            self._dial_more(key, lane)
            self._forget_empty(key, lane)
            return
        except BaseException:
            lane.dialling.remove(port)
            self._refuse(lane, port, RefusedError("api", "The relay ends."))
            raise
        lane.dialling.remove(port)
        session = Session(dialled.dialect, key, port, self)
        self._capacity = min(SHARED, dialled.dialect.streams_limit)
        lane.sessions.append(session)
        dialled.opening.hand_over(session)
        self._serve_waiters(lane)
        self._dial_more(key, lane)
        self._changed()

    async def _patiently(self, key: Key, port: int) -> Dialled:
        """Dial, and wait a little for an API server that has just gone. Raises RefusedError."""
        while True:
            try:
                dialled = await self._dial(*key, port)
            except ClusterError as error:
                if error.status is not None:
                    self._away_since = None
                    self._failed(error)
                    raise _refusal(error) from error
                problem = reason(error)
            except UsageError as error:
                self._failed(error)
                raise RefusedError("rights", reason(error)) from error
            else:
                self._away_since = None
                self._failed(None)
                return dialled
            now = self._loop.time()
            if self._away_since is None:
                self._away_since = now
            if now - self._away_since > RESTART:
                raise RefusedError("api", problem)
            await asyncio.sleep(PAUSE)

    def _serve_waiters(self, lane: Lane) -> None:
        for waiter in list(lane.waiters):
            session = lane.best(waiter.port, full=False)
            if session is None:
                if not lane.sessions or lane.sessions[-1].is_single:
                    continue  # another port's
                if lane.dialling or len(lane.sessions) < SESSIONS_PER_POD:
                    return
                session = lane.best(waiter.port, full=True)
                if session is None:
                    return
            lane.waiters.remove(waiter)
            if not waiter.stream.done():
                waiter.stream.set_result(session.open(waiter.port, waiter.sink))

    def _refuse(self, lane: Lane, port: int, error: RefusedError) -> None:
        """Tell those for whom a dial was that it failed."""
        there = [each for each in lane.waiters if self._capacity > 1 or each.port == port][: self._capacity]
        for waiter in there:
            lane.waiters.remove(waiter)
            if not waiter.stream.done():
                waiter.stream.set_exception(RefusedError(error.reason, error.why))

    # what sessions tell

    def session_freed(self, session: Session) -> None:
        """One stream less: whoever waits for room may have it."""
        lane = self._lanes.get(session.key)
        if lane is None:
            return
        if session.closed or (session.is_retired and not session.streams):
            self._end(session)
        elif lane.waiters:
            self._serve_waiters(lane)

    def session_closed(self, session: Session, why: str) -> None:
        """It has ended by itself."""
        self._remove(session)
        if not self._closed:
            self._cut(session, why)

    def _end(self, session: Session) -> None:
        session.close()
        self._remove(session)

    def _remove(self, session: Session) -> None:
        lane = self._lanes.get(session.key)
        if lane is None:
            return
        with contextlib.suppress(ValueError):
            lane.sessions.remove(session)
        self._dial_more(session.key, lane)
        self._forget_empty(session.key, lane)
        self._changed()

    def _forget_empty(self, key: Key, lane: Lane) -> None:
        if lane.is_empty and self._lanes.get(key) is lane:
            del self._lanes[key]

    # what is due

    def _tend(self) -> None:
        self._timer = self._loop.call_later(PING_EVERY, self._tend)
        self.tend(self._loop.time())

    def tend(self, now: float) -> None:
        """Ping what lives, end what is dead or idle for too long. `now`: the loop's seconds."""
        for session in list(self.sessions):
            if not session.streams:
                lane = self._lanes[session.key]
                if now - session.idle_since >= (SPARE_FOR if len(lane.sessions) > 1 else WARM_FOR):
                    self._end(session)
                    continue
            if session.is_held:
                continue  # no answer could come through; the kernel notices a dead connection (TCP_USER_TIMEOUT)
            if session.asked_at is not None and now - session.asked_at >= PING_EVERY:
                # A single stream whose pod takes nothing blocks pings too, and has nobody whom it keeps waiting.
                if len(session.streams) != 1 or session.is_single:
                    session.fail("The API server does not answer any more.")
                continue
            if not session.is_single or session.streams:
                session.ping()

    def check(self) -> None:
        """The laptop may be in another network, or have slept: whatever went out of an address that it has no more is
        dead, and newcomers wait for no session of which nobody knows whether it lives."""
        for session in list(self.sessions):
            if not session.streams:
                self._end(session)
            elif not session.has_address:
                session.fail("The laptop has another address now.")
            else:
                session.is_retired = True
                if not session.is_held:
                    session.ping()


def _refusal(error: ClusterError) -> RefusedError:
    return RefusedError({401: "rights", 403: "rights", 404: "pod-gone"}.get(error.status or 0, "api"), reason(error))
