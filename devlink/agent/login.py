"""What shall be up whenever its user is logged in: the agent brings it up by itself, and waits for what keeps it."""

import asyncio
import json
import logging
import random
import shlex
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from devlink.agent import profiles
from devlink.agent.places import runtime_folder
from devlink.core.codec import decode, encode
from devlink.core.network import ObservedNetwork
from devlink.errors import DevlinkError, HelperError, UnexpectedError, reason
from devlink.helper.netwatch import NetworkWatch, ways_out
from devlink.kernel.observe import observe
from devlink.private_files import write_private
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
"""Seconds until what failed is tried again; each pause is twice the one before."""
LONGEST_PAUSE = 60.0
"""Seconds: that trust was given, or a group, is noticed by the next try alone."""
JITTER = (0.75, 1.25)
"""Of a pause: many laptops may wait for the same cluster."""
NO_NETWORK = UnexpectedError(
    "There is no network yet.",
    why="No link that is up has an address.",
    next_step="It comes up by itself when there is one.",
)
Place = tuple[object, ...]
"""Two that are equal are the same network, as far as a try can tell."""


@dataclass(slots=True, kw_only=True)
class Wanted:
    """One of the profiles, until it is up or its user gives it up."""

    profile: str
    """As `up` takes it; empty for the default one."""
    since: float
    """Monotonic seconds."""
    error: DevlinkError | None = None
    """What kept it from coming up; None before the first try has ended."""
    place: Place | None = None
    """Where it was tried last."""
    again: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None

    def shown(self, now: float) -> Mapping[str, Any]:
        """As `io.devlink.Agent.Status` gives it, at `now` (monotonic seconds). Only of one that failed."""
        assert self.error is not None
        return {
            "profile": self.profile,
            "why": reason(self.error),
            "next_step": self.error.next_step.replace("trust PROFILE", f"trust {shlex.quote(self.profile)}")
            if self.profile
            else self.error.next_step,
            "since": max(now - self.since, 0.0),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What an agent that is started again before the next login must know."""

    names: Mapping[str, str] = field(default_factory=dict)
    """By profile as it is wished: the name of its session."""
    given_up: tuple[str, ...] = ()
    """What its user took down: it stays so."""


class Login:
    """The wishes of one login. Each is tried by itself; that its user's own commands go first."""

    def __init__(
        self,
        wished: Iterable[str],
        *,
        bring_up: Callable[[str], Awaitable[None]],
        names: Callable[[], Collection[str]],
        tell: Callable[[], None],
    ) -> None:
        """`bring_up` says how it `is_called`, and raises what keeps it; `names` are those of the sessions there are;
        `tell` is called when what is shown has changed."""
        self._wished = tuple(dict.fromkeys(wished)) or ("",)
        self._path = memory()
        self._bring_up = bring_up
        self._names = names
        self._tell = tell
        self._memory = Memory()
        self._wanted: dict[str, Wanted] = {}
        self._watch = NetworkWatch(self._look)
        self._held: list[str] = []

    def start(self) -> None:
        """Bring up what is not there already and was not taken down since the login."""
        self._memory = _read(self._path)
        for profile in self._wished:
            if profile in self._memory.given_up or self._name(profile) in self._names():
                continue
            self._want(Wanted(profile=profile, since=time.monotonic()))

    async def close(self) -> None:
        """Try nothing any more; what is on its way is taken back."""
        self._watch.stop()
        await self._cancel(list(self._wanted.values()))
        self._wanted.clear()

    def waiting(self) -> list[Mapping[str, Any]]:
        """What is not up, why, and since when, as `io.devlink.Agent.Status` gives it."""
        now = time.monotonic()
        return [wanted.shown(now) for wanted in self._wanted.values() if wanted.error is not None]

    def asking(self) -> list[str]:
        """What is on its way for the first time, unless it is a session already."""
        names = self._names()
        return [w.profile for w in self._wanted.values() if w.error is None and self._name(w.profile) not in names]

    # What its user says

    @asynccontextmanager
    async def aside(self, profile: str, context: str) -> AsyncIterator[None]:
        """While the user brings this up, none of it is tried here that may be the same; then what is not up."""
        meant = [w for w in self._wanted.values() if self._may_be(w.profile, profile, context)]
        self._held += [wanted.profile for wanted in meant]
        await self._cancel(meant)
        try:
            yield
        finally:
            for wanted in meant:
                self._held.remove(wanted.profile)
                if self._wanted.get(wanted.profile) is wanted and wanted.profile not in self._held:
                    self._want(wanted)

    def is_called(self, profile: str, name: str) -> None:
        """The session of a profile that is wished has this name, or would have."""
        self._remember(names={**self._memory.names, profile: name})

    def wished_again(self, name: str) -> None:
        """Its user has brought it up: after a crash it comes back."""
        self._remember(given_up=tuple(each for each in self._memory.given_up if self._name(each) != name))

    def give_up(self, name: str | None) -> list[str]:
        """Wait no longer for what has that name, or for anything; what that was."""
        meant = [w for w in self._wanted.values() if name is None or name in (w.profile, self._name(w.profile))]
        for wanted in meant:
            del self._wanted[wanted.profile]
            if wanted.task is not None:
                wanted.task.cancel()
        self._note_given_up(wanted.profile for wanted in meant)
        return [wanted.profile or "the default profile" for wanted in meant]

    def taken_down(self, names: Collection[str]) -> None:
        """Its user took these sessions down: they stay down until the next login."""
        self._note_given_up(profile for profile in self._wished if self._name(profile) in names)

    def _note_given_up(self, given_up: Iterable[str]) -> None:
        self._remember(given_up=tuple(dict.fromkeys((*self._memory.given_up, *given_up))))
        self._changed()

    def _may_be(self, wished: str, profile: str, context: str) -> bool:
        """Whether the two may mean the same: only two different names surely do not."""
        is_open = context or not wished or not profile or profiles.is_path(wished) or profiles.is_path(profile)
        return bool(is_open) or wished == profile

    def _name(self, profile: str) -> str:
        return self._memory.names.get(profile, profile)

    # Trying

    def _want(self, wanted: Wanted) -> None:
        self._wanted[wanted.profile] = wanted
        wanted.task = spawn(self._keep_trying(wanted), name=f"bring up {wanted.profile or 'the default profile'}")
        self._changed()

    async def _keep_trying(self, wanted: Wanted) -> None:
        pause = FIRST_PAUSE
        while True:
            wanted.again.clear()
            error = await self._try(wanted)
            if error is None:
                break
            if wanted.error is None or str(error) != str(wanted.error):
                log.warning("%s waits: %s", wanted.profile or "the default profile", error)
            wanted.error = error
            self._changed()
            try:
                async with asyncio.timeout(pause * random.uniform(*JITTER)):  # noqa: S311  # no secret
                    await wanted.again.wait()
                pause = FIRST_PAUSE  # in another network, whose DNS servers may be written a moment later
            except TimeoutError:
                pause = min(2 * pause, LONGEST_PAUSE)
        if self._wanted.get(wanted.profile) is wanted:  # else it was given up in this very moment
            del self._wanted[wanted.profile]
        self._changed()

    async def _try(self, wanted: Wanted) -> DevlinkError | None:
        """What keeps it from coming up; None when it is up."""
        if self._name(wanted.profile) in self._names():
            return None
        task = asyncio.current_task()
        assert task is not None
        try:
            wanted.place, is_offline = await asyncio.to_thread(look)
            if is_offline:
                return NO_NETWORK
            await self._bring_up(wanted.profile)
        except DevlinkError as error:
            if task.cancelling():  # an `up` that is cancelled says so in an error of its own
                raise asyncio.CancelledError from error
            return error
        except Exception as error:
            log.exception("%s failed", task.get_name())
            return UnexpectedError(
                "It failed in a way that nobody foresaw.",
                why=f"{error!r}.",
                next_step="Its log says more: devlink logs",
            )
        return None

    async def _cancel(self, meant: list[Wanted]) -> None:
        tasks = [wanted.task for wanted in meant if wanted.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _look(self) -> bool:
        try:
            place, _ = await asyncio.to_thread(look)
        except HelperError as error:
            log.info("%s", error)
            return True
        for wanted in self._wanted.values():
            if wanted.error is not None and wanted.place != place:
                wanted.again.set()
        return False

    def _changed(self) -> None:
        if self._wanted:
            self._watch.start()
        else:
            self._watch.stop()
        self._tell()

    def _remember(self, **changes: Any) -> None:
        memory = replace(self._memory, **changes)
        if memory == self._memory:
            return
        self._memory = memory
        try:
            write_private(self._path, json.dumps(encode(memory)))
        except OSError as error:
            log.error("an agent that is started again will not know what was taken down: %s", error)


def memory() -> Path:
    """Where it is remembered: gone at logout, as the wishes are."""
    return runtime_folder() / "login.json"


def forget() -> None:
    """The login is over, or as good as new: all is wished again. Raises UsageError where no session has a place."""
    memory().unlink(missing_ok=True)


def look() -> tuple[Place, bool]:
    """Where the laptop is, and whether it is in no network at all. Blocks. Raises HelperError."""
    return place_of(observe())


def place_of(observed: ObservedNetwork) -> tuple[Place, bool]:
    """The ways out and the addresses of the links that are up. What devlink itself installs is no other place."""
    links = [link for link in observed.links if link.up and link.name != "lo" and not link.name.startswith("devlink")]
    addresses = frozenset(
        (link.name, address) for link in links for address, _ in link.addresses if not address.is_link_local
    )
    return (ways_out(observed), addresses), not addresses


def _read(path: Path) -> Memory:
    try:
        return decode(Memory, json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read: %s", path, error)
        return Memory()
