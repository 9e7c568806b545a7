"""The machine's network as the helper changes it: from what is installed to what all sessions want, all or nothing."""

import asyncio
import logging
import secrets
from dataclasses import dataclass

from devlink.core.names import DomainName
from devlink.core.network import Route, RouteDiff, diff_routes
from devlink.core.plan import ForwarderConfig, ProofRecord, Zone, proof_address
from devlink.core.prefixes import IPAddress
from devlink.errors import DevlinkError, HelperError
from devlink.faults import POINTS, fault_point
from devlink.helper.feed import Feed
from devlink.helper.journal import Entry, Journal
from devlink.helper.parts import Parts
from devlink.helper.policy import Policy
from devlink.kernel.observe import observe
from devlink.kernel.routes import apply
from devlink.resolvers.direct import Direct
from devlink.resolvers.files.client import FilesClient
from devlink.resolvers.proof import prove

log = logging.getLogger(__name__)

POINTS.update(
    {
        "helper.routes-added": "the new routes are in the kernel, old ones not yet deleted",
        "helper.forwarder-fed": "the forwarder serves the new rules",
        "helper.journal-written": "the journal names the resolver mode, which is not applied yet",
        "helper.resolver-on": "the resolver names the forwarder, not proved yet",
        "helper.routes-deleted": "the routes are the desired ones",
        "helper.installed": "everything is as desired; the caller has no answer yet",
        "helper.resolver-restored": "the resolver is as before; the journal still names it",
        "helper.resolver-off": "the journal is empty, the forwarder still serves",
        "helper.forwarder-stopped": "the forwarder's line is closed",
    }
)

PROOF_LIMIT = 3.0
"""Seconds for libc to find the proof name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """All that shall be there, of all sessions together."""

    routes: tuple[Route, ...] = ()
    zones: tuple[Zone, ...] = ()


class Machine:
    """Changes one thing at a time: whoever calls `converge` or `undo` holds `lock`."""

    def __init__(self, *, policy: Policy, journal: Journal, parts: Parts) -> None:
        self._policy = policy
        self._journal = journal
        self._parts = parts
        self._resolver = Direct(FilesClient(lambda: parts.connect("files")), own=[policy.nameserver])
        self._feed = Feed(parts, lost=self._give_resolver_back, returned=self._take_resolver_again)
        self._installed = Installed()
        self.lock = asyncio.Lock()

    @property
    def installed(self) -> Installed:
        return self._installed

    @property
    def resolver(self) -> str:
        """The resolver mode in force, or empty."""
        return self._resolver.name if self._journal.read() is not None else ""

    @property
    def forwarder(self) -> str:
        """`serving`, `restarting` or `idle`."""
        if not self._installed.zones:
            return "idle"
        return "serving" if self._feed.is_serving else "restarting"

    def upstream_addresses(self) -> tuple[IPAddress, ...]:
        """The ordinary upstreams, whose way must not be taken over."""
        return tuple(upstream.address for upstream in self._resolver.read_upstreams())

    async def undo(self) -> None:
        """Take back whatever an earlier helper left, by the journal and the kernel's marks. Raises DevlinkError."""
        try:
            await self._resolver_off()
        finally:  # whatever keeps the resolver from being restored, no route of ours shall stay for it
            await self._feed.stop()
            self._change_routes(())
            self._installed = Installed()

    async def converge(self, target: Installed) -> None:
        """Make it so. On failure everything is as it was, and the DevlinkError says why."""
        previous = self._installed
        try:
            await self._install(target)
        except DevlinkError as error:
            log.warning("rolling back: %s", error)
            try:
                await self._install(previous)
            except DevlinkError as second:
                log.error("the rollback failed too: %s", second)
                await self._resolver_off_if_nobody_serves()
                raise HelperError(
                    f"{error.what} Taking it back failed too: {second.what}",
                    why=f"{error.why} {second.why}".strip(),
                    next_step="Run `devlink down --all`; if that fails too, `devlink helper restore` as root.",
                ) from error
            raise

    async def _install(self, target: Installed) -> None:
        """Going up, the resolver comes last; going down, first: it never points where nobody answers."""
        if not target.zones:
            await self._resolver_off()
            fault_point("helper.resolver-off")
            await self._feed.stop()
            fault_point("helper.forwarder-stopped")
        additions = self._change_routes(target.routes, keep_others=True)
        if additions:
            fault_point("helper.routes-added")
        if target.zones:
            proof = _new_proof(target.zones[0].suffix, self._policy)
            await self._feed_zones(target.zones, proof)
            fault_point("helper.forwarder-fed")
            await self._resolver_on(proof)
        if self._change_routes(target.routes):
            fault_point("helper.routes-deleted")
        self._installed = target
        fault_point("helper.installed")

    def _change_routes(self, desired: tuple[Route, ...], *, keep_others: bool = False) -> bool:
        """Make the routes of our protocol number the desired ones, or at least add them. Raises DevlinkError."""
        try:
            diff = diff_routes(desired, observe().ours)
            if keep_others:
                diff = RouteDiff(add=diff.add, replace=diff.replace)
            if not diff:
                return False
            apply(diff)
            left = diff_routes(desired, observe().ours)
        except OSError as error:
            raise HelperError("The kernel's routes cannot be read.", why=f"{error.strerror}.") from error
        missing = left.add + left.replace + (() if keep_others else left.delete)
        if missing:
            raise HelperError(
                "The kernel's routes are not what was just written.",
                why="Differing: " + "; ".join(str(route) for route in missing[:4]) + ".",
                next_step="Another program may be changing routes at this moment: try again.",
            )
        return True

    async def _feed_zones(self, zones: tuple[Zone, ...], proof: ProofRecord) -> None:
        upstreams = await asyncio.to_thread(self._resolver.read_upstreams)
        own = self._policy.nameserver
        config = ForwarderConfig(zones=zones, upstreams=tuple(u for u in upstreams if u.address != own), proof=proof)
        await self._feed.serve(config, own)

    async def _resolver_on(self, proof: ProofRecord) -> None:
        if not await asyncio.to_thread(self._resolver.is_ours):
            self._write_journal()
            fault_point("helper.journal-written")
            await asyncio.to_thread(self._resolver.apply, self._policy.nameserver)
            log.info("resolver %s: nameserver %s", self._resolver.name, self._policy.nameserver)
            fault_point("helper.resolver-on")
        await asyncio.to_thread(prove, proof.name, proof.address, PROOF_LIMIT)

    def _write_journal(self) -> None:
        try:
            self._journal.write(Entry(resolver=self._resolver.name, nameserver=self._policy.nameserver))
        except OSError as error:
            raise HelperError(
                "The undo journal cannot be written, so nothing was changed.",
                why=f"{error.filename}: {error.strerror}.",
                next_step="Make room on that disk, or mend its permissions.",
            ) from error

    async def _resolver_off(self) -> None:
        if not self._journal.is_there and not await asyncio.to_thread(self._resolver.has_remains):
            return
        await asyncio.to_thread(self._resolver.restore)
        log.info("resolver %s: restored", self._resolver.name)
        fault_point("helper.resolver-restored")
        self._journal.clear()

    async def _give_resolver_back(self) -> None:
        """The forwarder did not come back: ordinary names must not wait for it."""
        async with self.lock:
            await self._resolver_off_if_nobody_serves()

    async def _resolver_off_if_nobody_serves(self) -> None:
        if self._feed.is_serving:
            return
        try:
            await self._resolver_off()
        except DevlinkError as error:
            log.error("the forwarder is gone and the resolver cannot be restored: %s", error)

    async def _take_resolver_again(self) -> None:
        try:
            async with self.lock:
                if not self._installed.zones:
                    return
                proof = _new_proof(self._installed.zones[0].suffix, self._policy)
                await self._feed_zones(self._installed.zones, proof)
                await self._resolver_on(proof)
        except DevlinkError as error:
            log.error("the forwarder is back, but the resolver cannot be set: %s", error)


def _new_proof(suffix: DomainName, policy: Policy) -> ProofRecord:
    """A name below a claimed domain that nobody can have cached."""
    name = DomainName((f"proof-{secrets.token_hex(8)}".encode(), *suffix.labels))
    return ProofRecord(name=name, address=proof_address(policy.nameserver.version))
