"""The sessions of one user: brought up whole or not at all, kept up while helpers come and go, taken down."""

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from devlink import __version__
from devlink.agent import verify
from devlink.agent.helper_link import HelperLink
from devlink.agent.loop import check_loops
from devlink.agent.ordinary import check_ordinary
from devlink.agent.session import Session, State, Wish
from devlink.agent.trouble import differences, not_installed, still_there
from devlink.agent.wishes import KeptWishes
from devlink.core.findings import Finding
from devlink.core.plan import Plan, addresses_of_interest, make_plan
from devlink.errors import ConflictError, DevlinkError, HelperError, IdentityError, NotUpError, reason
from devlink.faults import POINTS, fault_point
from devlink.kernel.observe import observe
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

POINTS.update(
    {
        "agent.planned": "the plan is made, the helper knows nothing of it",
        "agent.applied": "the helper has installed it; not verified",
        "agent.verified": "verified; the helper has not been told",
        "agent.confirmed": "the helper knows that it is up; the caller does not",
        "agent.released": "the helper has taken it back; the caller does not know",
    }
)

AGAIN = "When you want it: devlink up"
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0)
"""Seconds before each further try of what could not be brought up again, four minutes in all; then it is its user's."""
Progress = Callable[[str, bool], Awaitable[None]]
"""Told of each step: its words, and whether it is done."""


class Supervisor:
    """All sessions, and the line to the helper. One change at a time."""

    def __init__(self, folder: Path) -> None:
        """`folder` keeps what is up, for an agent that is started again."""
        self._kept = KeptWishes(folder)
        self._sessions: dict[str, Session] = {}
        self._lock = asyncio.Lock()
        self._link = HelperLink(lost=self._helper_lost, returned=self._helper_returned)
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is up nor on its way."""
        return not self._sessions and not self._lock.locked()

    async def changed(self) -> None:
        """Wait for the next change of `status`."""
        await self._changed.wait()

    def status(self) -> Mapping[str, Any]:
        """As `io.devlink.Agent.Status` gives it."""
        now = time.monotonic()
        return {
            "version": __version__,
            "helper": "connected" if self._link.is_connected else "not connected",
            "helper_version": self._link.version,
            "sessions": [session.shown(now) for session in self._sessions.values()],
        }

    async def up(
        self, wish: Wish, *, replace: bool, progress: Progress, notes: tuple[Finding, ...] = ()
    ) -> Mapping[str, Any]:
        """Bring a profile up: verified, or rolled back with the DevlinkError that says why. Cancelling rolls back.

        `notes` are shown with it: what is to be said of the profile's source.
        """
        name = wish.profile.metadata.name
        async with self._lock:
            present = self._sessions.get(name)
            others = [session for other, session in self._sessions.items() if other != name] if replace else []
            if present is not None and not replace:
                _check_same_cluster(present.wish, wish)
            await progress("look at the laptop's network", False)
            await self._link.ready()
            plan = await self._plan(wish)
            await progress(f"routing {plan.mode.value}: {plan.reason}", True)
            session = Session(wish=wish, plan=plan, since=time.monotonic(), notes=notes)
            self._sessions[name] = session
            self._tell()
            try:
                await self._establish(session, replace=tuple(other.name for other in others), progress=progress)
            except BaseException as error:
                left = await asyncio.shield(spawn(self._take_back(session, present, others), name=f"roll back {name}"))
                if not isinstance(error, asyncio.CancelledError):
                    if left is not None and isinstance(error, DevlinkError):
                        error.why = f"{error.why} And what was up before cannot be brought back: {reason(left)}".strip()
                    raise
                if left is not None:
                    raise NotUpError(
                        f"Bringing {name} up was cancelled.", why=str(left), next_step="See: devlink status"
                    ) from None
                raise NotUpError(
                    f"Bringing {name} up was cancelled, and everything was taken back.", next_step=f"{AGAIN} {name}"
                ) from None
            for other in others:
                self._sessions.pop(other.name, None)
                self._kept.keep(other.name, None)
            self._kept.keep(name, wish)
            self._tell()
            return session.shown(time.monotonic())

    async def down(self, name: str | None, *, everything: bool) -> tuple[str, ...]:
        """Take one session down, or all; the only one where none is named. Raises NotUpError."""
        async with self._lock:
            if not everything and name is None:
                if len(self._sessions) > 1:
                    raise ConflictError(
                        f"More than one session is up: {', '.join(self._sessions)}.",
                        next_step="Name one, or: devlink down --all",
                    )
                name = next(iter(self._sessions), None)
            names = (
                list(self._sessions) if everything else [name] if name is not None and name in self._sessions else []
            )
            if not names:
                raise NotUpError(f"{name} is not up." if name else "Nothing is up.", next_step="See: devlink status")
            try:
                await self._link.ready()
            except HelperError as error:
                for each in names:
                    self._end_later(each, error)
                raise
            failure: DevlinkError | None = None
            for each in names:
                try:
                    await self._release(each)
                except DevlinkError as error:
                    failure = error  # the others shall not wait for it
                    if not self._link.is_connected:
                        self._end_later(each, error)
                    continue
                fault_point("agent.released")
                self._forget(each)
            if failure is not None:
                raise failure
            return tuple(names)

    async def look(self) -> None:
        """Hold the sessions against what is there: a helper restored by root, a flushed table, an overwritten file."""
        if not self._sessions:
            return
        if self._looking is None or self._looking.done():
            self._looking = spawn(self._look(), name="look")
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        if self._lock.locked():  # what there is changes at this moment; whether the helper is well can be known
            try:
                await self._link.greet()
            except DevlinkError as error:
                self._not_known(error)
            return
        async with self._lock:
            try:
                state = await self._link.state()
            except DevlinkError as error:
                if not self._link.is_connected:
                    self._helper_lost(error)
                else:
                    self._not_known(error)
                return
            theirs = {session["name"]: session for session in state["sessions"] if session["held"]}
            for session in list(self._sessions.values()):
                if session.applied and session.name not in theirs:
                    log.warning("%s was taken down by another hand", session.name)
                    self._forget(session.name)
                elif session.applied:
                    trouble = differences(session, theirs[session.name], state)
                    session.note_resolver(state)  # the helper may have gone over to another mode
                    session.enter(State.DEGRADED if trouble else State.UP, time.monotonic(), *trouble)

    def _not_known(self, error: DevlinkError) -> None:
        """The helper is there, and slow or silent: nobody knows what it has."""
        for session in self._sessions.values():
            if session.applied and session.state is not State.CONNECTING and not session.ending:
                session.enter(State.DEGRADED, time.monotonic(), not_installed(error))
        self._tell()

    async def resume(self) -> None:
        """Take over what an agent before this one had up, as far as the helper still has it."""
        kept = self._kept.read()
        if not kept:
            return
        try:
            sessions = (await self._link.state())["sessions"]
            alive = {session["name"] for session in sessions if session["state"] == "orphaned"}
        except DevlinkError as error:
            log.warning("cannot take over what was up: %s", error)
            alive = set()
        for name, wish in kept.items():
            if name not in alive:
                self._kept.keep(name, None)
                continue
            async with self._lock:
                try:
                    plan = await self._plan(wish)
                except DevlinkError as error:  # the laptop has moved meanwhile: the lease then runs out
                    log.error("%s cannot be taken over: %s", name, error)
                    self._kept.keep(name, None)
                    continue
                session = Session(wish=wish, plan=plan, since=time.monotonic())
                self._sessions[name] = session
                await self._bring_back(session)

    def close(self) -> None:
        """Let go of the helper; leases then run out."""
        self._link.close()

    def wish(self, name: str) -> Wish | None:
        """What is wanted of the session of that name; None where there is none, or where it is about to end."""
        session = self._sessions.get(name)
        return session.wish if session is not None and not session.ending else None

    @property
    def names(self) -> tuple[str, ...]:
        """Of all sessions."""
        return tuple(self._sessions)

    def note(self, name: str, *notes: Finding) -> None:
        """What is to be said from now on of the source of a session's profile."""
        session = self._sessions.get(name)
        if session is not None and session.notes != notes:
            session.notes = notes
            self._tell()

    def is_current(self, name: str, now: float) -> None:
        """At Unix time `now` the cluster still published what that session has."""
        session = self._sessions.get(name)
        if session is not None:
            session.wish = dataclasses.replace(session.wish, fetched=now)

    async def renew(self, wish: Wish) -> bool:
        """Go over to a newer edition of a session's profile: only what differs is touched, and verified again.

        False where the session is not up at this moment: then it is to be tried again. Raises the DevlinkError that
        keeps it from that; the edition that was up stays up.
        """
        async with self._lock:
            session = self._sessions.get(wish.profile.metadata.name)
            if session is None or session.ending or session.state is not State.UP:
                return False
            before = (session.wish, session.plan)
            plan = await self._plan(wish)
            session.wish, session.plan = wish, plan
            if plan.desired != before[1].desired:
                try:
                    await self._establish(session, progress=_no_progress)
                except DevlinkError as error:
                    session.wish, session.plan = before
                    await self._stay_with(session, error)
                    raise
            self._kept.keep(session.name, wish)
            self._tell()
            return True

    async def _stay_with(self, session: Session, error: DevlinkError) -> None:
        """After a renewal that failed: what was up before it is up again."""
        if not session.applied and not isinstance(error, HelperError):
            session.applied = True  # the newer one was refused, and nothing was touched
            return
        try:
            session.installed = tuple((await self._link.apply(session.plan.desired))["routes"])
            await self._link.confirm(session.name)
        except DevlinkError as failure:
            log.error("%s cannot be brought back: %s", session.name, failure)
            session.enter(State.DEGRADED, time.monotonic(), not_installed(failure))
            self._tell()

    async def _plan(self, wish: Wish) -> Plan:
        observed = await asyncio.to_thread(observe, addresses_of_interest(wish.profile))
        return make_plan(wish.profile, observed, with_routes=wish.routes, with_dns=wish.dns, pins=wish.pins)

    async def _establish(self, session: Session, *, replace: tuple[str, ...] = (), progress: Progress) -> None:
        desired = session.plan.desired
        fault_point("agent.planned")
        await progress("install routes, split DNS, and prove it through libc", False)
        session.applied = True  # from here on it may be
        try:
            applied = await self._link.apply(desired, replace)
        except DevlinkError as error:
            session.applied = isinstance(error, HelperError)  # else it was refused, and there is nothing to take back
            raise
        fault_point("agent.applied")
        session.installed = tuple(applied["routes"])
        session.note_resolver(applied)
        await progress(
            f"{len(session.installed)} routes, {len(desired.zones)} zones, resolver {session.resolver or '-'}", True
        )
        await progress("verify: the kernel's way, cluster DNS, libc", False)
        await check_loops(applied)
        ordinary = spawn(check_ordinary(applied), name="check ordinary names")
        try:
            remarks = await verify.verify(session.wish.profile, session.plan)
            session.remarks = (*await ordinary, *remarks)
        finally:
            ordinary.cancel()
        fault_point("agent.verified")
        await self._link.confirm(desired.session)
        fault_point("agent.confirmed")
        session.enter(State.UP, time.monotonic())
        await progress("verified", True)

    async def _take_back(self, session: Session, present: Session | None, others: list[Session]) -> DevlinkError | None:
        """After a failed `up`: what was up before it is up again, in one transaction where something was replaced.

        What kept it from that, if anything did.
        """
        del self._sessions[session.name]
        before = ([present] if present is not None else []) + others
        self._sessions.update({old.name: old for old in before})
        failures: dict[str, DevlinkError] = {}
        is_gone = not session.applied  # then it was refused, and all is as it was
        for old in before if session.applied else ():
            if old.ending or not old.applied:
                continue  # it was not there before either
            try:
                await self._link.apply(old.plan.desired, () if is_gone or old is present else (session.name,))
                await self._link.confirm(old.name)
                is_gone = True
            except DevlinkError as error:
                log.error("%s cannot be brought back: %s", old.name, error)
                failures[old.name] = error
        theirs = await self._confirmed() if failures else set()
        if not is_gone and session.name not in theirs:
            try:
                await self._release(session.name)
            except DevlinkError as error:
                log.error("taking back %s failed: %s", session.name, error)
                failures.setdefault(session.name, error)
        for old in before:
            if old.name in failures and old.name in theirs:  # the helper has it as before, and the next look compares
                old.enter(State.DEGRADED, time.monotonic(), not_installed(failures[old.name]))
            elif old.name in failures:
                old.lose(time.monotonic(), not_installed(failures[old.name]))
        self._tell()
        return next(iter(failures.values()), None)

    async def _confirmed(self) -> set[str]:
        """The sessions that the helper has for us, and of which it was told that they are verified."""
        try:
            state = await self._link.state()
        except DevlinkError:
            return set()  # it is gone or hangs; what it has ends with this line or is asked for again
        return {each["name"] for each in state["sessions"] if each["held"] and each["state"] == "up"}

    async def _release(self, name: str) -> None:
        try:
            await self._link.release(name)
        except NotUpError:
            pass  # the helper has nothing of it: it never got there, or its lease ran out

    def _end_later(self, name: str, error: DevlinkError) -> None:
        """The helper died over it, or hangs. Whoever comes back takes it back, and is not asked for it again."""
        session = self._sessions[name]
        session.ending = True
        session.enter(State.DEGRADED, time.monotonic(), still_there(error))
        self._kept.keep(name, None)
        self._tell()

    def _forget(self, name: str) -> None:
        del self._sessions[name]
        self._kept.keep(name, None)
        self._tell()

    def _helper_lost(self, error: DevlinkError) -> None:
        for session in self._sessions.values():
            if session.state is not State.CONNECTING and not session.ending:
                session.applied = False
                session.enter(State.DEGRADED, time.monotonic(), not_installed(error))
        self._tell()

    async def _helper_returned(self) -> None:
        async with self._lock:
            for session in list(self._sessions.values()):
                if session.ending:
                    await self._release_quietly(session.name)  # one that only hung may still have it
                    self._forget(session.name)
                elif session.state is State.DEGRADED:
                    await self._bring_back(session)

    async def _bring_back(self, session: Session) -> None:
        """Bring up what was up, without anybody asking anew; now, else later."""
        if session.trying is not None:
            session.trying.cancel()
        session.trouble = ()  # the helper was away, and is no longer
        error = await self._establish_again(session)
        if error is not None:
            session.trying = spawn(self._keep_trying(session, error), name=f"try {session.name} again")

    async def _keep_trying(self, session: Session, error: DevlinkError) -> None:
        """What went wrong may have been of that moment: resolved was restarting, the Wi-Fi was not there yet.

        Where another cluster answers, nothing shall be led there unattended.
        """
        for pause in PAUSES:
            if isinstance(error, IdentityError):
                break
            await asyncio.sleep(pause)
            async with self._lock:
                if self._sessions.get(session.name) is not session or session.ending or not self._link.is_connected:
                    return  # with the helper it begins anew
                failure = await self._establish_again(session)
            if failure is None:
                return
            error = failure
        log.error("%s is not tried again by itself", session.name)
        session.enter(State.DEGRADED, time.monotonic(), not_installed(error, f"{AGAIN} {session.name}"))
        self._tell()

    async def _establish_again(self, session: Session) -> DevlinkError | None:
        """What kept it from coming up; then nothing of it is left."""
        session.enter(State.CONNECTING, time.monotonic(), *session.trouble)
        failure: DevlinkError | None = None
        try:
            session.plan = await self._plan(session.wish)
            await self._establish(session, progress=_no_progress)
            self._kept.keep(session.name, session.wish)
        except DevlinkError as error:
            failure = error
            log.error("%s cannot be brought up again: %s", session.name, error)
            if session.applied:
                await self._release_quietly(session.name)
            session.lose(time.monotonic(), not_installed(error, "It is tried again by itself."))
        self._tell()
        return failure

    async def _release_quietly(self, name: str) -> None:
        try:
            await self._release(name)
        except DevlinkError as error:
            log.error("%s cannot be released: %s", name, error)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _check_same_cluster(present: Wish, wanted: Wish) -> None:
    """Raises ConflictError where another cluster calls its profile the same, as two kubeadm defaults do."""
    ours, theirs = present.origin, wanted.origin
    if ours is not None and theirs is not None and ours.server != theirs.server:
        name = wanted.profile.metadata.name
        raise ConflictError(
            f"{name} is up already, and is another cluster.",
            why=f"It came from {ours.context} ({ours.server}); that of {theirs.context} ({theirs.server}) has the same "
            "name.",
            next_step=f"To go over to it: devlink up --context {theirs.context} --replace. Better: have one of them "
            "publish under a name of its own (devlink profile publish --name N).",
        )


async def _no_progress(_: str, __: bool) -> None:
    return None
