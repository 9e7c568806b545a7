"""What a user asks of sessions: brought up whole or not at all, renewed, told of, taken down."""

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devlink import __version__
from devlink.agent.fallback import is_carried, may_fall_to_relay, nor_by_relay, permitted
from devlink.agent.keeping import Keeper
from devlink.agent.session import Session, State, Wish
from devlink.agent.sessions import AGAIN, Progress, no_progress
from devlink.agent.trouble import not_installed, still_there
from devlink.core.findings import Finding
from devlink.core.plan import Plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, RoutingMode
from devlink.core.relay import RelayChain
from devlink.core.text import printable
from devlink.errors import (
    ConflictError,
    DevlinkError,
    HelperError,
    IdentityError,
    NotUpError,
    VerificationError,
    reason,
)
from devlink.faults import POINTS, fault_point
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

POINTS.update({"agent.released": "the helper has taken it back; the caller does not know"})


class Supervisor:
    """All sessions as their user sees them. One change at a time."""

    def __init__(self, folder: Path) -> None:
        """`folder` keeps what is up, for an agent that is started again."""
        self._keeper = Keeper(folder)
        self._sessions = self._keeper.sessions
        self.history = self._keeper.history

    @property
    def is_idle(self) -> bool:
        """Whether nothing is up nor on its way."""
        return not len(self._sessions) and not self._sessions.lock.locked()

    async def changed(self) -> None:
        """Wait for the next change of `status`."""
        await self._sessions.changed()

    def tell(self) -> None:
        """Something that is shown beside `status` has changed."""
        self._sessions.tell()

    def status(self) -> Mapping[str, Any]:
        """As `io.devlink.Agent.Status` gives it."""
        now = time.monotonic()
        return {
            "version": __version__,
            "helper": "connected" if self._sessions.link.is_connected else "not connected",
            "helper_version": self._sessions.link.version,
            "sessions": [session.shown(now) for session in self._sessions],
        }

    async def up(
        self,
        wish: Wish,
        *,
        replace: bool,
        progress: Progress,
        notes: tuple[Finding, ...] = (),
        environ: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """Bring a profile up: verified, or rolled back with the DevlinkError that says why. Cancelling rolls back.

        `notes` are shown with it: what is to be said of the profile's source. `environ` is its user's, for a relay;
        without one it is this process's own.
        """
        name = wish.profile.metadata.name
        async with self._sessions.lock, self._sessions.failovers.held(name, *(self.names if replace else ())):
            present = self._sessions.get(name)
            others = [session for session in self._sessions if session.name != name] if replace else []
            if present is not None and not replace:
                _check_same_cluster(present.wish, wish)
            await progress("look at the laptop's network", False)
            await self._sessions.link.ready()
            environ = os.environ if environ is None else environ
            if wish.routes and (wish.routing or wish.profile.spec.routing) is RoutingMode.RELAY:
                await progress("ask the cluster what may be relayed", False)
                wish = await permitted(wish, environ)
            elif present is not None and present.is_relayed and wish.is_auto and not await is_carried(present):
                wish = await permitted(wish, environ)  # what works is not taken away to be tried
            plan = await self._sessions.plan(wish)
            await progress(f"routing {plan.mode.value}: {plan.reason}", True)
            session = Session(wish=wish, plan=plan, since=time.monotonic(), notes=notes)
            self._sessions.relays.environs[name] = environ
            self._sessions.put(session)
            self._sessions.tell()
            try:
                await self._establish(session, tuple(other.name for other in others), progress, environ)
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
                self._sessions.forget(other.name)
            self._sessions.kept.keep(name, session.wish)
            self._sessions.tell()
            return session.shown(time.monotonic())

    async def _establish(
        self, session: Session, replace: tuple[str, ...], progress: Progress, environ: Mapping[str, str]
    ) -> None:
        """By routes; by a relay, where nothing else is left and the network turns out not to carry the prefixes."""
        try:
            await self._sessions.establish(session, replace=replace, progress=progress)
        except IdentityError:
            raise
        except VerificationError as error:
            if not may_fall_to_relay(session.wish, session.plan):
                raise
            await progress(f"the network does not carry the prefixes: {error.what}", True)
            await progress("ask the cluster whether it may be relayed", False)
            try:
                session.wish = await permitted(session.wish, environ)
                session.plan = await self._sessions.plan(session.wish)
            except DevlinkError as obstacle:
                raise nor_by_relay(error, obstacle) from obstacle
            await progress(f"routing {session.plan.mode.value}: {session.plan.reason}", True)
            await self._sessions.establish(session, replace=replace, progress=progress)

    async def down(self, name: str | None, *, everything: bool) -> tuple[str, ...]:
        """Take one session down, or all; the only one where none is named. Raises NotUpError."""
        async with self._sessions.lock:
            if not everything and name is None:
                if len(self.names) > 1:
                    raise ConflictError(
                        f"More than one session is up: {', '.join(self.names)}.",
                        next_step="Name one, or: devlink down --all",
                    )
                name = next(iter(self.names), None)
            names = self.names if everything else (name,) if name in self.names else ()
            if not names:
                raise NotUpError(f"{name} is not up." if name else "Nothing is up.", next_step="See: devlink status")
            try:
                await self._sessions.link.ready()
            except HelperError as error:
                aside = tuple(session.name for session in self._sessions if session.is_suspended)
                left = [each for each in names if each not in aside]
                for each in set(names) - set(left):  # the helper has nothing of them
                    self._sessions.forget(each)
                for each in left:
                    self._end_later(each, error)
                if left:
                    raise
                return names
            failure: DevlinkError | None = None
            for each in names:
                try:
                    await self._sessions.release(each)
                except DevlinkError as error:
                    failure = error  # the others shall not wait for it
                    if not self._sessions.link.is_connected:
                        self._end_later(each, error)
                    continue
                fault_point("agent.released")
                self._sessions.forget(each)
            if failure is not None:
                raise failure
            return names

    async def failover(self, name: str | None, gateway: IPAddress | None) -> Mapping[str, Any]:
        """Have another gateway carry a session's packets, as its user wishes. Raises DevlinkError."""
        async with self._sessions.lock:
            return await self._sessions.failovers.choose(name, gateway)

    async def look(self) -> None:
        """Hold the sessions against what is there: a helper restored by root, a flushed table, an overwritten file."""
        await self._keeper.look()
        self.history.look()  # a look may find what it does not tell

    async def resume(self) -> None:
        """Take over what an agent before this one had up, as far as the helper still has it."""
        await self._keeper.resume()

    def close(self) -> None:
        """Let go of the helper and of the relays; leases then run out."""
        self._sessions.relays.close()
        self._keeper.close()

    def wish(self, name: str) -> Wish | None:
        """What is wanted of the session of that name; None where there is none, or where it is about to end."""
        session = self._sessions.get(name)
        return session.wish if session is not None and not session.ending else None

    def session(self, name: str) -> Session | None:
        """For a look at it; None where there is none, or where it is about to end."""
        session = self._sessions.get(name)
        return session if session is not None and not session.ending else None

    def inspect(self, name: str) -> tuple[BridgeProfile, Plan]:
        """What a session was brought up with, and its plan at this moment. Raises NotUpError."""
        session = self._sessions.get(name)
        if session is None:
            raise _not_up(name)
        return session.wish.profile, session.plan

    async def resolve(self, name: str, address: IPAddress, port: int) -> RelayChain:
        """Where a connection of a relayed session to that address and port would end. Raises DevlinkError."""
        relay = self._sessions.relays.get(name)
        if relay is None:
            raise NotUpError(f"{printable(name)} is not relayed.", next_step="See: devlink status")
        return await relay.resolve(str(address), port)

    def present_plan(self, name: str) -> Plan:
        """What shall be there of a session at this moment. Raises NotUpError."""
        session = self._sessions.get(name)
        if session is None:
            raise _not_up(name)
        return session.present_plan

    @property
    def names(self) -> tuple[str, ...]:
        """Of all sessions."""
        return tuple(session.name for session in self._sessions)

    def note(self, name: str, *notes: Finding) -> None:
        """What is to be said from now on of the source of a session's profile."""
        session = self._sessions.get(name)
        if session is not None and session.notes != notes:
            session.notes = notes
            self._sessions.tell()

    def is_current(self, name: str, now: float) -> None:
        """At Unix time `now` the cluster still published what that session has."""
        session = self._sessions.get(name)
        if session is not None:
            session.wish = dataclasses.replace(session.wish, fetched=now)

    async def renew(self, wish: Wish) -> bool:
        """Go over to a newer edition of a session's profile: only what differs is touched, and verified again.

        False where the session is not up at this moment, or was brought up anew while this one waited: then it is to be
        tried again, from what is wished then. Raises the DevlinkError that keeps it from that; the edition that was up
        stays up.
        """
        present = self._sessions.get(wish.profile.metadata.name)
        async with self._sessions.lock:
            session = self._sessions.get(wish.profile.metadata.name)
            if session is None or session is not present:
                return False
            if session.ending or session.trouble or session.state not in (State.UP, State.DEGRADED):
                return False  # one whose gateways are all silent is not left out: a newer edition may name others
            async with self._sessions.failovers.held(session.name):
                await self._go_over(session, wish)
            self._sessions.kept.keep(session.name, wish)
            return True

    async def _go_over(self, session: Session, wish: Wish) -> None:
        """Raises DevlinkError; then all is as it was."""
        before = (session.wish, session.plan)
        plan = await self._sessions.plan(wish)
        session.wish, session.plan = wish, plan
        if plan.desired == before[1].desired:
            return
        try:
            await self._sessions.establish(session, progress=no_progress)
        except DevlinkError as error:
            session.wish, session.plan = before
            await self._sessions.stay_with(session, error)
            raise

    async def _take_back(self, session: Session, present: Session | None, others: list[Session]) -> DevlinkError | None:
        """After a failed `up`: what was up before it is up again, in one transaction where something was replaced.

        What kept it from that, if anything did.
        """
        self._sessions.drop(session.name)
        before = ([present] if present is not None else []) + others
        for old in before:
            self._sessions.put(old)
        failures: dict[str, DevlinkError] = {}
        is_gone = not session.applied  # then it was refused, and all is as it was
        for old in before:
            if old.ending or not old.applied:
                continue  # it was not there before either
            try:
                if session.applied:
                    await self._sessions.put_back(old, () if is_gone or old is present else (session.name,))
                    is_gone = True
                elif old.is_relayed and old is not present:
                    await self._sessions.relays.serve(old)
            except DevlinkError as error:
                log.error("%s cannot be brought back: %s", old.name, error)
                failures[old.name] = error
        theirs = await self._sessions.confirmed() if failures else set()
        if not is_gone and session.name not in theirs:
            try:
                await self._sessions.release(session.name)
            except DevlinkError as error:
                log.error("taking back %s failed: %s", session.name, error)
                failures.setdefault(session.name, error)
        for old in before:
            if old.name in failures and old.name in theirs:  # the helper has it as before, and the next look compares
                old.enter(State.DEGRADED, time.monotonic(), not_installed(failures[old.name]))
            elif old.name in failures:
                old.lose(time.monotonic(), not_installed(failures[old.name]))
        self._sessions.tell()
        return next(iter(failures.values()), None)

    def _end_later(self, name: str, error: DevlinkError) -> None:
        """The helper died over it, or hangs. Whoever comes back takes it back, and is not asked for it again."""
        session = self._sessions.get(name)
        assert session is not None
        session.ending = True
        session.enter(State.DEGRADED, time.monotonic(), still_there(error))
        self._sessions.kept.keep(name, None)
        self._sessions.tell()


def _not_up(name: str) -> NotUpError:
    return NotUpError(f"{name} is not up.", next_step="See: devlink status")


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
