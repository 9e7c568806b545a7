"""The helper's counts of names and its log of questions, passed on to who follows them at the agent."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from devlink.agent.helper_link import LOOK_LIMIT, line_beside, went_away
from devlink.errors import DevlinkError, ProtocolError
from devlink.rpc.connection import Connection
from devlink.rpc.tasks import spawn

COUNT_INTERVAL = 1.0
"""Seconds between two counts."""
LOG_INTERVAL = 0.25
"""Seconds between two pieces of the log: eyes are no faster, and each piece has its cost."""
MAX_PIECE = 2500
"""Records in one piece."""
HELPER = "io.devlink.Helper"


async def flush() -> int:
    """Have the forwarder forget every answer; how many there were. Raises DevlinkError."""
    async with line_beside() as line:
        return int((await line.call(f"{HELPER}.FlushDns", limit=LOOK_LIMIT))["entries"])


class Counts:
    """One question a second to the helper, over one line, for all who follow, while anybody does."""

    def __init__(self) -> None:
        self._followers = 0
        self._asking: asyncio.Task[None] | None = None
        self._next: asyncio.Future[Mapping[str, Any]] | None = None
        self._last: Mapping[str, Any] | None = None
        """While it is asked."""

    async def follow(self) -> AsyncGenerator[Mapping[str, Any], None]:
        """As `io.devlink.Agent.FollowDnsStats`; at once, and each second. Raises the DevlinkError that ends it."""
        self._followers += 1
        try:
            if self._last is not None:
                yield self._last
            if self._asking is None or self._asking.done():
                self._next = asyncio.get_running_loop().create_future()
                self._asking = spawn(self._ask(self._next), name="count names")
            while True:
                assert self._next is not None
                yield await asyncio.shield(self._next)
        finally:
            self._followers -= 1

    async def _ask(self, coming: "asyncio.Future[Mapping[str, Any]]") -> None:
        try:
            async with line_beside() as line:
                while self._followers:
                    said = await line.call(f"{HELPER}.GetDnsStats", limit=LOOK_LIMIT)
                    self._last = {"nameserver": said["nameserver"], "stats": said["stats"]}
                    told, self._next = coming, asyncio.get_running_loop().create_future()
                    coming = self._next
                    told.set_result(self._last)
                    await asyncio.sleep(COUNT_INTERVAL)
        except DevlinkError as error:
            coming.set_exception(error)
            coming.exception()  # who comes later asks anew; that nobody waits at this moment is no defect
        finally:
            self._last = None
            coming.cancel()


class Piece:
    """What waits for one who follows the log. The oldest goes where they are too slow, and is counted."""

    def __init__(self) -> None:
        self._records: deque[Mapping[str, Any]] = deque()
        self._lost = 0
        self._restarted = False
        self._zones: list[str] | None = None
        self._failure: DevlinkError | None = None
        self._news = asyncio.Event()

    def put(self, said: Mapping[str, Any]) -> None:
        """Add a reply of the helper's."""
        self._records.extend(said["records"])
        self._lost += said["lost"]
        self._restarted = self._restarted or said["restarted"]
        self._zones = said.get("zones")
        while len(self._records) > MAX_PIECE:
            self._records.popleft()
            self._lost += 1
        self._news.set()

    def end(self, failure: DevlinkError) -> None:
        """Have `take` raise it."""
        self._failure = failure
        self._news.set()

    async def take(self) -> Mapping[str, Any]:
        """What is new, as `io.devlink.Agent.FollowDnsLog` has it. Raises what ended the log."""
        await self._news.wait()
        if self._failure is not None:
            raise self._failure
        self._news.clear()
        said = {
            "records": list(self._records), "lost": self._lost, "restarted": self._restarted, "zones": self._zones,
        }  # fmt: skip
        self._records.clear()
        self._lost, self._restarted = 0, False
        return said


async def follow_log() -> AsyncGenerator[Mapping[str, Any], None]:
    """As `io.devlink.Agent.FollowDnsLog`, in pieces of LOG_INTERVAL. Raises the DevlinkError that ends it."""
    async with line_beside() as line:
        piece = Piece()
        # Read all the time: what waits in a line that nobody reads has no bounds.
        reading = spawn(_read(line, piece), name="read the log of names")
        try:
            while True:
                yield await piece.take()
                await asyncio.sleep(LOG_INTERVAL)
        finally:
            reading.cancel()


async def _read(line: Connection, piece: Piece) -> None:
    try:
        async with aclosing(line.stream(f"{HELPER}.FollowDnsLog")) as replies:
            async for said in replies:
                piece.put(said)
    except ProtocolError:
        piece.end(went_away())
    except DevlinkError as error:
        piece.end(error)
