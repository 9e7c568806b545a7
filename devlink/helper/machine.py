"""The machine's network as the helper changes it: from what is installed to what all sessions want, all or nothing."""

import asyncio
import ipaddress
import logging
import secrets
from dataclasses import dataclass, replace
from typing import Any

from devlink.core.names import DomainName
from devlink.core.network import Route, RouteDiff, diff_routes
from devlink.core.plan import ForwarderConfig, ProofRecord, Upstream, Zone, proof_address
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.errors import DevlinkError, HelperError, VerificationError
from devlink.faults import POINTS, fault_point
from devlink.helper.feed import Feed
from devlink.helper.forwarding import Certificates, forwarder_config, ordinary_upstreams, protected_ways
from devlink.helper.journal import Journal
from devlink.helper.netwatch import NetworkWatch, WaysOut, ways_out
from devlink.helper.parts import Parts
from devlink.helper.policy import Policy
from devlink.helper.resolver import Candidate, Kept, Resolver, none_proved
from devlink.kernel.observe import observe
from devlink.kernel.routes import apply
from devlink.resolvers.files.client import FilesClient
from devlink.resolvers.mode import Place, ResolverMode, Telling, Tools
from devlink.resolvers.watch import Watch
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

POINTS.update(
    {
        "helper.routes-added": "the new routes are in the kernel, old ones not yet deleted",
        "helper.forwarder-fed": "the forwarder serves the new rules",
        "helper.routes-deleted": "the routes are the desired ones",
        "helper.installed": "everything is as desired; the caller has no answer yet",
        "helper.resolver-off": "the journal is empty, the forwarder still serves",
        "helper.forwarder-stopped": "the forwarder's line is closed",
    }
)

LOOP_PARENT = DomainName.parse("example.com")
"""Of the name that shows a loop: nobody's (RFC 2606), yet passed on by every resolver, which .invalid is not."""
LIBC_DEFAULT = Upstream(address=ipaddress.ip_address("127.0.0.1"))
"""Whom libc asks where nobody is named (resolv.conf(5))."""
TAKE_AGAIN_PAUSE = 5.0
"""Seconds until the resolver is pointed at the forwarder again, where that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """All that shall be there, of all sessions together."""

    routes: tuple[Route, ...] = ()
    zones: tuple[Zone, ...] = ()
    networks: tuple[IPNetwork, ...] = ()
    """Where the sessions' own routes lead; those that only keep an address on its way are not among them."""


class Machine:
    """Changes one thing at a time: whoever calls `converge` or `undo` holds `lock`."""

    def __init__(self, *, policy: Policy, journal: Journal, parts: Parts) -> None:
        self._policy = policy
        files = FilesClient(lambda: parts.connect("files"), dismiss=lambda: parts.dismiss("files"))
        self._resolver = Resolver(Tools(nameserver=policy.nameserver, files=files), journal)
        self._feed = Feed(parts, lost=self._give_resolver_back, returned=self._take_resolver_again)
        self._certificates = Certificates(policy.dns)
        self._network = NetworkWatch(self._follow)
        self._system = Watch(self._network.tell)
        self._ways_out: WaysOut = frozenset()
        """When it was last looked."""
        self._fed: ForwarderConfig | None = None
        """What the forwarder was last told; None while it is to be told nothing."""
        self._places: tuple[Place, ...] = ()
        """Where it listens."""
        self._installed = Installed()
        self._loop_probe: ProofRecord | None = None
        self.lock = asyncio.Lock()

    async def resolver(self) -> tuple[str, str]:
        """The resolver mode in force and why it is that one; `overwritten` where another program has taken its place
        (and why it stays so); empty where none is."""
        return await asyncio.to_thread(self._resolver.state)

    async def forwarder(self) -> str:
        """`serving`, `restarting` or `idle`."""
        if not self._installed.zones:
            return "idle"
        return "serving" if await self._feed.answers() else "restarting"

    @property
    def nameserver(self) -> IPAddress:
        """Where the forwarder answers, port 53."""
        return self._policy.nameserver

    async def dns_stats(self) -> dict[str, Any]:
        """The forwarder's counts. Raises NotUpError while it serves nothing, and HelperError; so do the next two."""
        return await self._feed.stats()

    async def flush_dns(self) -> int:
        """Have every kept answer forgotten; how many there were."""
        return await self._feed.flush()

    async def take_dns_log(self, on: bool) -> tuple[list[dict[str, Any]], int]:
        """What was asked since the last call, and how many questions more could not be kept."""
        return await self._feed.take_log(on=on)

    @property
    def forwarder_starts(self) -> int:
        """How many forwarders there were up to now."""
        return self._feed.starts

    async def has_remains(self) -> bool:
        """Whether something of ours is there that nobody here has installed. Not to be asked during a change."""
        if not self._installed.zones and await asyncio.to_thread(self._resolver.has_remains):
            return True
        observed = await asyncio.to_thread(observe)
        return bool(diff_routes(self._installed.routes, observed.ours).delete)

    async def missing_routes(self) -> tuple[Route, ...]:
        """What is installed by our account, and not there by the kernel's. Raises DevlinkError."""
        observed = await asyncio.to_thread(observe)
        left = diff_routes(self._installed.routes, observed.ours)
        return left.add + left.replace

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """Whom the forwarder asks for ordinary names; nobody while it serves nothing."""
        return self._fed.upstreams if self._fed is not None else ()

    async def protected_ways(self) -> tuple[IPAddress, ...]:
        """The servers on which ordinary names depend, whoever asks them: their way must not be taken over."""
        return protected_ways(self._policy, await asyncio.to_thread(self._resolver.ways))

    @property
    def loop_probe(self) -> ProofRecord | None:
        """What an upstream answers only if it asks us back; None while the forwarder serves nothing."""
        return self._loop_probe

    async def undo(self) -> None:
        """Take back whatever an earlier helper left, by the journal and the kernel's marks. Raises DevlinkError."""
        try:
            await self._resolver_off()
            await self._stop_feeding()
        finally:  # whatever keeps the resolver from being restored, no route of ours shall stay for it
            self._installed = Installed()
            await self._delete_routes_but(())

    async def serve_ordinary_names(self) -> None:
        """After an `undo` that failed: ordinary names go on through the forwarder where the resolver still names it."""
        try:
            mode = await asyncio.to_thread(self._resolver.one_that_is_ours)
            if mode is not None:
                self._places = await asyncio.to_thread(mode.prepare, _telling(Installed()))
                await self._feed_zones(Installed(), (), mode)
        except DevlinkError as error:
            log.error("ordinary names cannot be served either: %s", error)

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
                await self._resolver_off_if_nobody_serves()
                self._serve_again_if_nobody_does()
                what = error.what if isinstance(error, DevlinkError) else f"{error!r}."
                raise HelperError(
                    f"{what} Taking it back failed too: {second.what}",
                    why=second.why,
                    next_step="Run `devlink down --all`; if that fails, `devlink helper restore` undoes everything.",
                ) from error
            raise

    async def _install(self, target: Installed, wanted: Installed) -> None:
        """Going up, the resolver comes last; going down, first: it never points where nobody answers."""
        if not target.zones:
            await self._resolver_off()
            fault_point("helper.resolver-off")
            await self._stop_feeding()
            fault_point("helper.forwarder-stopped")
        if await self._add_routes(wanted.routes):
            fault_point("helper.routes-added")
        if wanted.zones:
            await self._names_on(target)
        elif target.zones and (target.zones, target.networks) != (self._installed.zones, self._installed.networks):
            await self._feed_what_is_left(target)
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

    async def _feed_what_is_left(self, target: Installed) -> None:
        """The rules without those of a session that goes: no trouble with them may keep it from going."""
        try:
            await asyncio.to_thread(self._resolver.tell_less, _telling(target))
            await self._feed_zones(target, self._proofs(_new_proof(target.zones[0].suffix, self._policy)))
        except DevlinkError as error:
            log.error("resolver or forwarder do not take what is left: %s", error)
            await self._resolver_off_if_nobody_serves()

    async def _names_on(self, target: Installed) -> None:
        """Forwarder and resolver, by the first mode that proves itself. Raises DevlinkError: then none is left on."""
        telling = _telling(target)
        failures: list[tuple[Candidate, DevlinkError]] = []
        for candidate in await asyncio.to_thread(self._resolver.candidates):
            if failures:
                candidate = candidate.after(failures[-1])
            try:
                await self._names_on_by(candidate, target, telling)
            except (HelperError, VerificationError) as error:
                log.warning("resolver %s does not serve: %s", candidate.mode.name, error)
                failures.append((candidate, error))
                await self._resolver_off()
            else:
                self._system.watch(self._resolver.watched())
                return
        raise none_proved(failures)

    async def _names_on_by(self, candidate: Candidate, target: Installed, telling: Telling) -> None:
        proof = _new_proof(target.zones[0].suffix, self._policy)
        self._places = await asyncio.to_thread(candidate.mode.prepare, telling)
        await self._feed_zones(target, self._proofs(proof), candidate.mode)
        fault_point("helper.forwarder-fed")
        await asyncio.to_thread(self._resolver.tell, candidate, telling, proof)

    async def _feed_zones(
        self, target: Installed, proofs: tuple[ProofRecord, ...], mode: ResolverMode | None = None
    ) -> None:
        """`mode`: the one that is about to be applied, where that is not the one in force."""
        fed = forwarder_config(
            self._policy,
            zones=target.zones,
            networks=target.networks,
            upstreams=await self._whom_to_ask(self._ways_out, mode),
            proofs=proofs,
            tls_ca=await asyncio.to_thread(self._certificates.read),
        )
        if self._fed is None:
            self._ways_out = ways_out(await asyncio.to_thread(observe))
        self._network.start()
        await self._feed.serve(fed, self._places)
        self._fed = fed

    async def _whom_to_ask(self, ways: WaysOut, mode: ResolverMode | None = None) -> tuple[Upstream, ...]:
        """The servers for ordinary names; those from before where there is no way out and nobody is named: some empty
        resolv.conf when the network goes, and what is kept may still serve. Raises HelperError."""
        system = await asyncio.to_thread(self._resolver.upstreams, mode)
        if not system and self._fed is not None and not ways:
            return self._fed.upstreams
        return ordinary_upstreams(self._policy, system or (LIBC_DEFAULT,))

    async def _stop_feeding(self) -> None:
        self._network.stop()
        self._system.close()
        self._fed = None
        await self._feed.stop()

    async def _follow(self) -> bool:
        """Have the OS told again where it has forgotten us, other upstreams asked where it names others now, and
        nothing kept of what another network said.

        Whether to look again in a while: something was so, or may soon be.
        """
        async with self.lock:
            if self._fed is None:
                return False
            kept = await asyncio.to_thread(self._resolver.keep)
            self._system.watch(self._resolver.watched())
            if kept is Kept.TO_BE_TRIED_AGAIN:
                asyncio.get_running_loop().call_later(TAKE_AGAIN_PAUSE, self._network.tell)
            try:
                told_again = kept is Kept.TOLD_AGAIN
                places = await asyncio.to_thread(self._resolver.places) if told_again else self._places
                after = ways_out(await asyncio.to_thread(observe))
                upstreams = await self._whom_to_ask(after)
            except DevlinkError as error:
                log.error("the network cannot be looked at: %s", error)
                return True
            before, self._ways_out = self._ways_out, after  # only now: a look that failed has seen no other network
            if (upstreams, places) != (self._fed.upstreams, self._places):
                self._places = places
                await self._ask_others(upstreams)
            elif after and after != before:
                await self._forget()
            else:
                return not after
        return True

    async def _ask_others(self, upstreams: tuple[Upstream, ...]) -> None:
        assert self._fed is not None
        fed = replace(self._fed, upstreams=upstreams)
        try:
            await self._feed.serve(fed, self._places)
        except DevlinkError as error:
            log.error("the forwarder does not take the network's servers: %s", error)
            await self._resolver_off_if_nobody_serves()
            self._serve_again_if_nobody_does()
        else:
            self._fed = fed
            log.info("ordinary names are asked at %s now", ", ".join(str(each.address) for each in upstreams))

    async def _forget(self) -> None:
        try:
            log.info("another network: %d answers are forgotten", await self._feed.flush())
        except DevlinkError as error:
            log.warning("the forwarder is not there to forget anything: %s", error)  # a new one has nothing to forget

    def _serve_again_if_nobody_does(self) -> None:
        if self._installed.zones and not self._feed.is_serving:  # nothing else would start it again
            spawn(self._take_resolver_again(), name="serve again")

    def _proofs(self, proof: ProofRecord) -> tuple[ProofRecord, ...]:
        """What the forwarder answers itself: for libc's proof, and a new name for the loop's."""
        self._loop_probe = ProofRecord(name=LOOP_PARENT.child(f"devlink-{secrets.token_hex(8)}"), address=proof.address)
        return proof, self._loop_probe

    async def _resolver_off(self) -> None:
        self._system.close()
        await asyncio.to_thread(self._resolver.withdraw)

    async def _give_resolver_back(self) -> None:
        """The forwarder did not come back: ordinary names must not wait for it."""
        async with self.lock:
            await self._resolver_off_if_nobody_serves()

    async def _resolver_off_if_nobody_serves(self) -> None:
        if self._feed.is_serving or self._resolver.can_split:  # ordinary names do not come to us
            return
        try:
            await self._resolver_off()
        except DevlinkError as error:
            log.error("the forwarder is gone and the resolver cannot be restored: %s", error)

    async def _take_resolver_again(self) -> None:
        while True:
            try:
                async with self.lock:
                    if self._installed.zones:
                        await self._names_on(self._installed)
                return
            except DevlinkError as error:
                log.error("the forwarder is back, but the resolver cannot be set, trying again: %s", error)
            await asyncio.sleep(TAKE_AGAIN_PAUSE)


def _telling(target: Installed) -> Telling:
    versions = (
        *(network.version for network in target.networks),
        *(server.address.version for zone in target.zones for server in zone.servers),
    )
    return Telling(domains=tuple(zone.suffix for zone in target.zones), families=frozenset(versions))


def _new_proof(suffix: DomainName, policy: Policy) -> ProofRecord:
    """A name below a claimed domain that nobody can have cached."""
    name = DomainName((f"proof-{secrets.token_hex(8)}".encode(), *suffix.labels))
    return ProofRecord(name=name, address=proof_address(policy.nameserver.version))
