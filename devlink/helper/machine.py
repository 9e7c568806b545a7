"""The machine's network as the helper changes it: from what is installed to what all sessions want, all or nothing."""

import asyncio
import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace

from devlink.core.network import Holding, ObservedNetwork, Route, RouteKey
from devlink.core.plan import Detour
from devlink.core.prefixes import IPAddress
from devlink.errors import ConflictError, DevlinkError, HelperError, NotUpError
from devlink.faults import POINTS, fault_point
from devlink.helper.installed import Installed
from devlink.helper.journal import Journal
from devlink.helper.names import Names
from devlink.helper.parts import Parts
from devlink.helper.policy import Policy
from devlink.helper.redirects import Redirects
from devlink.helper.repair import Lack, Mended, Numbers, mending, missing
from devlink.kernel.observe import observe_ways
from devlink.kernel.ours import observe_ours
from devlink.kernel.routes import apply, held_by_others, switch
from devlink.kernel.tun import SharedTun

log = logging.getLogger(__name__)

POINTS.update(
    {
        "helper.routes-added": "the new routes are in the kernel, old ones not yet deleted",
        "helper.routes-deleted": "the routes are the desired ones",
        "helper.installed": "everything is as desired; the caller has no answer yet",
    }
)


NOTHING_MORE = Holding()


class Machine:
    """Changes one thing at a time. Whoever calls a method holds `lock`: of half a change no account can be given."""

    def __init__(self, *, policy: Policy, journal: Journal, parts: Parts) -> None:
        self.lock = asyncio.Lock()
        link = SharedTun()
        self.names = Names(policy=policy, journal=journal, parts=parts, lock=self.lock, link=link.hold)
        self.redirects = Redirects(link, parts.forwarder_uid)
        self._installed = Installed()
        self._numbers = Numbers(wanted=policy.routes.nexthop_objects)

    async def has_remains(self, probes: Holding = NOTHING_MORE) -> bool:
        """Whether something of ours is there that nobody here has installed, for the sessions or for `probes`.

        Raises DevlinkError.
        """
        if await self.names.has_remains():
            return True
        ours = await asyncio.to_thread(observe_ours)
        wanted = self._installed.holding(self._numbers.known)
        known = replace(wanted, routes=wanted.routes + probes.routes, rules=wanted.rules + probes.rules)
        return bool(ours.change_to(known, thorough=True).losses)

    async def missing_routes(self) -> tuple[Route, ...]:
        """What is installed by our account, and not there by the kernel's: routes that are gone or changed, or whose
        nexthop object or policy rule is. Raises DevlinkError."""
        return missing(self._installed, self._numbers.known, await asyncio.to_thread(observe_ours))

    async def undo(self) -> None:
        """Take back whatever an earlier helper left, by the journal and the kernel's marks. Raises DevlinkError."""
        try:
            await self.names.undo()
        finally:  # whatever keeps the resolver from being restored, no route of ours shall stay for it
            self._installed = Installed()
            self._numbers.forget()
            await asyncio.to_thread(self.redirects.close)
            await asyncio.to_thread(lambda: apply(observe_ours().change_to(Holding(), thorough=True)))

    async def converge(self, target: Installed, *, wanted: Installed) -> None:
        """Make it so. On failure everything is as it was, and the error says why.

        `wanted` is the part of the target that somebody asks for now, and that must hold. The rest is what others have
        already: it is kept, and where the kernel has dropped a part of it (a link went down), that is not this one's
        affair. Nothing is wanted by who only takes something down.
        """
        previous = self._installed
        lost = {route.key for route in await self.missing_routes()}
        try:
            await self._install(target, wanted)
        except Exception as error:
            log.warning("rolling back: %s", error)
            try:
                await self._install(previous, previous.only(lambda route: route.key not in lost))
            except DevlinkError as second:
                log.error("the rollback failed too: %s", second)
                await self.names.mend()
                what = error.what if isinstance(error, DevlinkError) else f"{error!r}."
                raise HelperError(
                    f"{what} Taking it back failed too: {second.what}",
                    why=second.why,
                    next_step="Run `devlink down --all`; if that fails, `devlink helper restore` undoes everything.",
                ) from error
            raise

    async def switch(self, session: str, next_hop: IPAddress, to: Detour | None) -> None:
        """Have the packets that routes of `session` would send to `next_hop` go by `to` from now on, or by `next_hop`
        again where that is None: by one message for all of them, where they share a nexthop object.

        Raises NotUpError where it has no such routes, HelperError where the kernel refuses; then all is as it was.
        """
        before, after = self._installed.of(session), self._installed.detoured(session, next_hop, to)
        roles = [role for role in before.roles if role[1] == next_hop]
        if not roles:
            raise NotUpError(f"Session {session} has no routes by {next_hop}.", next_step="See: devlink status")
        known = {role: number for role, number in self._numbers.known.items() if role in roles}
        objects = after.of(session).nexthops(known)
        try:
            is_done = len(objects) == len(roles) and await asyncio.to_thread(lambda: all(map(switch, objects)))
            if not is_done:
                await self._add(after.of(session))
        except DevlinkError:
            with suppress(DevlinkError):  # the first one says why; what is missing is put back by `reassert`
                await self._add(before)
            raise
        self._installed = after

    async def lack(self) -> Lack:
        """As `missing_routes`, with what waits kept apart. Raises DevlinkError."""
        return await asyncio.to_thread(self._lack) if self._installed.routes else Lack()

    def _lack(self) -> Lack:
        if self._installed.relayed and self.redirects.mend():
            log.warning("put back, as it was gone: what leads to the relay")
        ours = observe_ours()
        lost = missing(self._installed, self._numbers.known, ours)
        if not lost:
            return Lack(ours=ours)
        desired = self._installed.holding(self._numbers.known)
        _, cannot = mending(desired, ours, _ways_of(desired))
        return Lack(
            taken=tuple(route for route in lost if route.key not in cannot),
            waiting=tuple(route for route in lost if route.key in cannot),
            ours=ours,
        )

    async def reassert(self, leave: Collection[RouteKey], lack: Lack) -> Mended:
        """Put back what was missing when `lack` was found, but for routes with keys in `leave`. Raises DevlinkError.

        What has gone since is left to the next look: who counts thefts by it misses none.
        What has no link with a carrier just now waits for it. What leads to a next hop that is not on the link any more
        is taken away: the kernel keeps routes by a nexthop object when the address goes through which it was on-link.
        A route whose place somebody else has keeps no other from being put back.
        """
        return await asyncio.to_thread(self._reassert, leave, lack) if self._installed.routes else Mended()

    def _reassert(self, leave: Collection[RouteKey], lack: Lack) -> Mended:
        desired = self._installed.holding(self._numbers.of(self._installed, lack.ours))
        ways = _ways_of(desired)
        change, cannot = mending(desired, lack.ours, ways, leave)
        lost = [r for r in (*lack.taken, *lack.waiting) if r.key not in cannot and r.key not in leave]
        held: frozenset[RouteKey] = frozenset()
        try:
            apply(change)
        except ConflictError:
            held = held_by_others(change.routes.add + change.routes.replace)
            if not held:  # no longer: the next look puts it back
                raise
            apply(mending(desired, observe_ours(), ways, held.union(leave))[0])
        return Mended(
            back=tuple(route for route in lost if route.key not in held),
            held=tuple(route for route in lost if route.key in held),
        )

    async def _install(self, target: Installed, wanted: Installed) -> None:
        """Going up, the names come last; going down, first."""
        if not target.zones:
            await self.names.off()
        if target.relayed or self._installed.relayed:
            await asyncio.to_thread(self.redirects.widen, target.relayed)
        if await self._add(wanted):
            fault_point("helper.routes-added")
        if wanted.zones:
            await self.names.on(target)
        elif target.zones:
            await self.names.less(target)
        if await self._delete_all_but(target):
            fault_point("helper.routes-deleted")
        await asyncio.to_thread(self.redirects.settle, target.relayed)
        self._installed = target
        self._numbers.keep(target.roles)
        fault_point("helper.installed")

    async def _add(self, wanted: Installed) -> bool:
        """Have these routes in the kernel; whether something was to do. Raises DevlinkError."""

        def change() -> bool:
            ours = observe_ours()
            desired = wanted.holding(self._numbers.of(wanted, ours))
            gains = ours.change_to(desired).gains
            if not gains:
                return False
            apply(gains)
            left = observe_ours().change_to(desired).gains
            if left:
                different = [*left.routes.add, *left.routes.replace, *left.nexthops, *left.rules]
                raise HelperError(
                    "The kernel's routes are not what was just written.",
                    why="Differing: " + "; ".join(str(each) for each in different[:4]) + ".",
                    next_step="Another program may be changing routes at this moment: try again.",
                )
            return True

        return await asyncio.to_thread(change)

    async def _delete_all_but(self, kept: Installed) -> bool:
        """Delete everything else of ours; whether there was something. Raises DevlinkError."""

        def change() -> bool:
            losses = observe_ours().change_to(kept.holding(self._numbers.known)).losses
            apply(losses)
            return bool(losses)

        return await asyncio.to_thread(change)


def _ways_of(desired: Holding) -> ObservedNetwork:
    return observe_ways(hop for hop, _ in desired.hops if hop is not None)
