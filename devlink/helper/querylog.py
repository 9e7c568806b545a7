"""Who asks for what, live: one look at the forwarder's log for all who follow it, and each sees what they may."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from devlink.errors import DevlinkError, HelperError, NotPermittedError
from devlink.helper.client import ORDINARY
from devlink.helper.policy import QueryLogPolicy
from devlink.rpc.tasks import spawn

INTERVAL = 0.25
"""Seconds between two looks, while somebody follows. Nobody waits for less, and the forwarder is not kept from work."""
KEPT = 1000
"""Records that wait for one follower."""
ROOT = 0

Record = Mapping[str, Any]
Take = Callable[[bool], Awaitable[tuple[list[dict[str, Any]], int]]]
"""Turns the log on or off; gives what is new in it, and how many records more could not be kept."""
Starts = Callable[[], int]
"""How many forwarders there were up to now."""


def check_may_follow(uid: int, policy: QueryLogPolicy) -> None:
    """Raise NotPermittedError for who would never see anything."""
    if uid != ROOT and policy is QueryLogPolicy.OFF:
        raise NotPermittedError(
            "The names that are asked on this machine are not shown.",
            why='Its owner says query_log = "off" in /etc/devlink/policy.toml, [dns].',
            next_step="Ask the machine's owner; root sees them all the same.",
        )


def is_shown(zone: str, uid: int, own: Collection[str], policy: QueryLogPolicy) -> bool:
    """Whether user `uid`, whose sessions have the zones `own`, may see the names that are asked in `zone`."""
    return uid == ROOT or policy is QueryLogPolicy.ALL or (policy is QueryLogPolicy.OWN and zone in own)


def shown_zones(uid: int, own: Collection[str], policy: QueryLogPolicy) -> list[str] | None:
    """The zones of which user `uid` sees the names, as `is_shown` has it; None: all, and what is in none too."""
    if is_shown(ORDINARY, uid, (), policy):
        return None
    return sorted(zone for zone in own if is_shown(zone, uid, own, policy))


def stats_for(uid: int, own: Collection[str], stats: Mapping[str, Any]) -> dict[str, Any]:
    """The forwarder's counts without the zones of other users, and without the servers of those zones."""
    if uid == ROOT:
        return dict(stats)
    shown = {*own, ORDINARY}
    zones = [zone for zone in stats["zones"] if zone["suffix"] in shown]
    servers = [{**server, "zones": [zone for zone in server["zones"] if zone in shown]} for server in stats["servers"]]
    return {**stats, "zones": zones, "servers": [server for server in servers if server["zones"]]}


class News(NamedTuple):
    """What one who follows is told."""

    records: list[Record]
    lost: int = 0
    """How many more there were before them that could not be kept."""
    restarted: bool = False
    """Nobody knows how many more there were: the forwarder that had noted them is gone."""


class Follower:
    """One who follows: what waits for them. The oldest goes where they are too slow, and is counted."""

    def __init__(self, sees: Callable[[str], bool]) -> None:
        self._sees = sees
        self._waiting: deque[Record] = deque()
        self._lost = 0
        self._restarted = False
        self._news = asyncio.Event()
        self._has_begun = False
        self._failure: DevlinkError | None = None

    async def take(self) -> News:
        """What is new and shown to them. The first time it comes at once, and may be nothing: the log is on. Raises
        what ended the log."""
        await self._news.wait()
        self._news.clear()
        if self._failure is not None:
            raise self._failure
        news = News(list(self._waiting), self._lost, self._restarted)
        self._waiting.clear()
        self._lost, self._restarted = 0, False
        return news

    def put(self, records: Collection[Record], lost: int, *, restarted: bool = False) -> None:
        """Add what is shown to them. One who has only come misses nothing of what was noted before."""
        restarted = restarted and self._has_begun
        sees = {zone: self._sees(zone) for zone in {record["zone"] for record in records}}
        shown = [record for record in records if sees[record["zone"]]]
        self._waiting.extend(shown)
        while len(self._waiting) > KEPT:
            self._waiting.popleft()
            lost += 1
        self._lost += lost
        self._restarted = self._restarted or restarted
        if shown or lost or restarted or not self._has_begun:
            self._has_begun = True
            self._news.set()

    def end(self, failure: DevlinkError) -> None:
        """Have `take` raise it."""
        self._failure = failure
        self._news.set()


class QueryLog:
    """The forwarder's log, which is on while somebody follows it."""

    def __init__(self, take: Take, starts: Starts) -> None:
        self._take = take
        self._starts = starts
        self._seen = 0
        """How many forwarders there were when the log was last looked at."""
        self._followers: set[Follower] = set()
        self._polling: asyncio.Task[None] | None = None

    @contextmanager
    def following(self, sees: Callable[[str], bool]) -> Iterator[Follower]:
        """Somebody who is shown the records of the zones for which `sees` says so, while the block runs."""
        follower = Follower(sees)
        self._followers.add(follower)
        if self._polling is None or self._polling.done():
            self._polling = spawn(self._poll(), name="follow the forwarder's log")
        try:
            yield follower
        finally:
            self._followers.discard(follower)

    async def _poll(self) -> None:
        while self._followers:
            await self._look()
            await asyncio.sleep(INTERVAL)
            if not self._followers:
                try:
                    await self._take(False)
                except DevlinkError:
                    pass  # there is none, or another one comes, which has it off

    async def _look(self) -> None:
        try:
            records, lost = await self._take(True)
        except HelperError:
            return  # it comes back; then the next look turns the log on again
        except DevlinkError as error:
            for follower in self._followers:
                follower.end(error)
            return
        seen, self._seen = self._seen, self._starts()
        for follower in self._followers:
            follower.put(records, lost, restarted=self._seen != seen)
