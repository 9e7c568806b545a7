"""The machine's network as the helper changes it: from what is installed to what all sessions want, all or nothing."""

import asyncio
import logging
from dataclasses import replace

from devlink.core.network import Route, RouteDiff, diff_routes
from devlink.errors import DevlinkError, HelperError
from devlink.faults import POINTS, fault_point
from devlink.helper.installed import Installed
from devlink.helper.journal import Journal
from devlink.helper.names import Names
from devlink.helper.parts import Parts
from devlink.helper.policy import Policy
from devlink.kernel.observe import observe
from devlink.kernel.routes import apply

log = logging.getLogger(__name__)

POINTS.update(
    {
        "helper.routes-added": "the new routes are in the kernel, old ones not yet deleted",
        "helper.routes-deleted": "the routes are the desired ones",
        "helper.installed": "everything is as desired; the caller has no answer yet",
    }
)


class Machine:
    """Changes one thing at a time: whoever calls `converge` or `undo` holds `lock`."""

    def __init__(self, *, policy: Policy, journal: Journal, parts: Parts) -> None:
        self.lock = asyncio.Lock()
        self.names = Names(policy=policy, journal=journal, parts=parts, lock=self.lock)
        self._installed = Installed()

    async def has_remains(self) -> bool:
        """Whether something of ours is there that nobody here has installed. Not to be asked during a change."""
        if await self.names.has_remains():
            return True
        observed = await asyncio.to_thread(observe)
        return bool(diff_routes(self._installed.routes, observed.ours).delete)

    async def missing_routes(self) -> tuple[Route, ...]:
        """What is installed by our account, and not there by the kernel's. Raises DevlinkError."""
        observed = await asyncio.to_thread(observe)
        left = diff_routes(self._installed.routes, observed.ours)
        return left.add + left.replace

    async def undo(self) -> None:
        """Take back whatever an earlier helper left, by the journal and the kernel's marks. Raises DevlinkError."""
        try:
            await self.names.undo()
        finally:  # whatever keeps the resolver from being restored, no route of ours shall stay for it
            self._installed = Installed()
            await self._delete_routes_but(())

    async def converge(self, target: Installed, *, wanted: Installed) -> None:
        """Make it so. On failure everything is as it was, and the error says why.

        `wanted` is the part of the target that somebody asks for now, and that must hold. The rest is what others have
        already: it is kept, and where the kernel has dropped a part of it (a link went down), that is not this one's
        affair. Nothing is wanted by who only takes something down.
        """
        previous = self._installed
        present = set((await asyncio.to_thread(observe)).ours)
        try:
            await self._install(target, wanted)
        except Exception as error:
            log.warning("rolling back: %s", error)
            before = replace(previous, routes=tuple(route for route in previous.routes if route in present))
            try:
                await self._install(previous, before)
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

    async def _install(self, target: Installed, wanted: Installed) -> None:
        """Going up, the names come last; going down, first."""
        if not target.zones:
            await self.names.off()
        if await self._add_routes(wanted.routes):
            fault_point("helper.routes-added")
        if wanted.zones:
            await self.names.on(target)
        elif target.zones:
            await self.names.less(target)
        if await self._delete_routes_but(target.routes):
            fault_point("helper.routes-deleted")
        self._installed = target
        fault_point("helper.installed")

    async def _add_routes(self, wanted: tuple[Route, ...]) -> bool:
        """Have these routes in the kernel; whether something was to do. Raises DevlinkError."""

        def change() -> bool:
            diff = diff_routes(wanted, observe().ours)
            if not diff.add and not diff.replace:
                return False
            apply(RouteDiff(add=diff.add, replace=diff.replace))
            left = diff_routes(wanted, observe().ours)
            if left.add or left.replace:
                raise HelperError(
                    "The kernel's routes are not what was just written.",
                    why="Differing: " + "; ".join(str(route) for route in (left.add + left.replace)[:4]) + ".",
                    next_step="Another program may be changing routes at this moment: try again.",
                )
            return True

        return await asyncio.to_thread(change)

    async def _delete_routes_but(self, kept: tuple[Route, ...]) -> bool:
        """Delete every other route of our protocol number; whether there was one. Raises DevlinkError."""

        def change() -> bool:
            diff = diff_routes(kept, observe().ours)
            apply(RouteDiff(delete=diff.delete))
            return bool(diff.delete)

        return await asyncio.to_thread(change)
