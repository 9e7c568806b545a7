"""The machine's names: the forwarder and the OS's resolver, which are switched on and off, and kept, as one."""

import asyncio
import contextlib
import ipaddress
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from devlink.core.names import DomainName
from devlink.core.plan import ForwarderConfig, ProofRecord, Upstream, proof_address
from devlink.core.prefixes import IPAddress
from devlink.errors import DevlinkError
from devlink.faults import POINTS, fault_point
from devlink.helper.feed import Feed
from devlink.helper.forwarding import Certificates, forwarder_config, ordinary_upstreams, protected_ways
from devlink.helper.installed import Installed
from devlink.helper.journal import Journal
from devlink.helper.netwatch import NetworkWatch, WaysOut, ways_out
from devlink.helper.parts import Parts
from devlink.helper.policy import Policy
from devlink.helper.resolver import Candidate, InForce, Resolver, none_proved
from devlink.kernel.observe import observe
from devlink.kernel.tun import Hold, Tun
from devlink.resolvers.files.client import FilesClient
from devlink.resolvers.mode import Place, ResolverMode, Telling, Tools
from devlink.resolvers.watch import Watch
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

POINTS.update(
    {
        "helper.forwarder-fed": "the forwarder serves the new rules",
        "helper.resolver-off": "the journal is empty, the forwarder still serves",
        "helper.forwarder-stopped": "the forwarder's line is closed",
    }
)

LOOP_PARENT = DomainName.parse("example.com")
"""Of the name that shows a loop: nobody's (RFC 2606), yet passed on by every resolver, which .invalid is not."""
LIBC_DEFAULT = Upstream(address=ipaddress.ip_address("127.0.0.1"))
"""Whom libc asks where nobody is named (resolv.conf(5))."""
TAKE_AGAIN_PAUSE, MAX_TAKE_AGAIN_PAUSE = 5.0, 60.0
"""Seconds until the resolver is pointed at the forwarder again, where that failed; each time twice as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """What the forwarder took last; it may be away since."""

    config: ForwarderConfig
    places: tuple[Place, ...]
    """Where it listens."""
    mode: ResolverMode
    """By which programs come to it; it knows whom they would ask else."""
    ways_out: WaysOut
    """When it was last looked whether this is another network."""


class Names:
    """Whoever calls `on`, `less`, `off` or `mend` holds `lock`; what happens by itself takes it."""

    def __init__(
        self,
        *,
        policy: Policy,
        journal: Journal,
        parts: Parts,
        lock: asyncio.Lock,
        link: Callable[[], Tun | Hold] = Tun,
    ) -> None:
        self._policy = policy
        self._lock = lock
        files = FilesClient(lambda: parts.connect("files"), dismiss=lambda: parts.dismiss("files"))
        self._resolver = Resolver(Tools(nameserver=policy.nameserver, files=files, link=link), journal)
        self._feed = Feed(parts, lost=self._give_resolver_back, returned=self._forwarder_returned)
        self._certificates = Certificates(policy.dns)
        self._network = NetworkWatch(self._follow)
        self._system = Watch(self._network.tell)
        self._wanted = Installed()
        """Whose names are to be served."""
        self._fed: Fed | None = None
        """None while it is to be told nothing."""
        self._taking: asyncio.Task[None] | None = None
        self._take_now = asyncio.Event()

    # What is so

    async def resolver(self) -> tuple[str, str]:
        """The resolver mode in force and why it is that one; `overwritten` where another program has taken its place
        (and why it stays so); empty where none is."""
        return await asyncio.to_thread(self._resolver.state)

    async def forwarder(self) -> str:
        """`serving`, `restarting` or `idle`."""
        if not self._wanted.zones:
            return "idle"
        return "serving" if await self._feed.answers() else "restarting"

    @property
    def nameserver(self) -> IPAddress:
        """Where the forwarder answers, port 53."""
        return self._policy.nameserver

    async def stats(self) -> dict[str, Any]:
        """The forwarder's counts. Raises NotUpError while it serves nothing, and HelperError; so do the next two."""
        return await self._feed.stats()

    async def flush(self) -> int:
        """Have every kept answer forgotten; how many there were."""
        return await self._feed.flush()

    async def take_log(self, on: bool) -> tuple[list[dict[str, Any]], int]:
        """What was asked since the last call, and how many questions more could not be kept."""
        return await self._feed.take_log(on=on)

    @property
    def forwarder_starts(self) -> int:
        """How many forwarders there were up to now."""
        return self._feed.starts

    async def has_remains(self) -> bool:
        """Whether the resolver has something of ours that nobody here wants there."""
        return not self._wanted.zones and await asyncio.to_thread(self._resolver.has_remains)

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """Whom the forwarder asks for ordinary names, or did when it was last there."""
        return self._fed.config.upstreams if self._fed is not None else ()

    async def protected_ways(self) -> tuple[IPAddress, ...]:
        """The servers on which ordinary names depend, whoever asks them: their way must not be taken over."""
        return protected_ways(self._policy, await asyncio.to_thread(self._resolver.ways))

    @property
    def loop_probe(self) -> ProofRecord | None:
        """What an upstream answers only if it asks us back, where the forwarder was told of it."""
        return self._fed.config.proofs[-1] if self._fed is not None and self._fed.config.proofs else None

    # On and off

    async def on(self, target: Installed, *, by_itself: bool = False) -> None:
        """Have these zones served, and the OS ask for them: by the first mode that proves itself.

        `by_itself`: nobody asked for it anew. Raises DevlinkError; then no mode is left on.
        """
        failures: list[tuple[Candidate, DevlinkError]] = []
        for candidate in await asyncio.to_thread(self._resolver.candidates):
            if failures:
                candidate = candidate.after(failures[-1])
            try:
                await self._on_by(candidate, target, by_itself)
            except DevlinkError as error:
                log.warning("resolver %s does not serve: %s", candidate.mode.name, error)
                failures.append((candidate, error))
                await self._resolver_off()
            else:
                self._wanted = target
                self._system.watch(self._resolver.watched())
                return
        raise none_proved(failures)

    async def _on_by(self, candidate: Candidate, target: Installed, by_itself: bool) -> None:
        telling, proofs = _telling(target), _new_proofs(target.zones[0].suffix, self._policy)
        places = await asyncio.to_thread(candidate.mode.prepare, telling)
        await self._feed_zones(target, proofs, candidate.mode, places)
        fault_point("helper.forwarder-fed")
        wanted = InForce(candidate=candidate, telling=telling, places=places)
        await asyncio.to_thread(self._resolver.tell, wanted, proofs[0], by_itself=by_itself)

    async def less(self, target: Installed) -> None:
        """The zones without those of a session that goes: no trouble with them may keep it from going."""
        if (target.zones, target.networks) == (self._wanted.zones, self._wanted.networks):
            return
        self._wanted = target
        if self._fed is None or not (self._feed.is_serving or self._resolver.in_force):
            return  # who brings the forwarder back, and takes the resolver again, goes by what is wanted then
        try:
            await asyncio.to_thread(self._resolver.tell_less, _telling(target))
        except DevlinkError as error:
            log.error("the resolver does not take what is left, trying again: %s", error)
            self._take_again_in(TAKE_AGAIN_PAUSE)  # at once it would be the next mode's, which then stays
        try:  # whatever the resolver says: these zones' routes are about to go
            proofs = _new_proofs(target.zones[0].suffix, self._policy)
            await self._feed_zones(target, proofs, self._fed.mode, self._fed.places)
        except DevlinkError as error:
            log.error("the forwarder does not take what is left: %s", error)
            await self.mend()

    async def off(self) -> None:
        """The resolver first: it never points where nobody answers. Raises HelperError."""
        await self._resolver_off()
        fault_point("helper.resolver-off")
        await self._stop_feeding()
        self._wanted = Installed()
        self._system.watch(self._resolver.watched())
        fault_point("helper.forwarder-stopped")

    async def undo(self) -> None:
        """The same, of what an earlier helper left; though it fails, nobody wants names then. Raises HelperError."""
        try:
            await self._resolver_off()
            await self._stop_feeding()
            self._system.watch(self._resolver.watched())
        finally:
            self._wanted = Installed()

    def close(self) -> None:
        """See and hear nothing any more."""
        self._network.stop()
        self._system.close()

    async def mend(self) -> None:
        """After a change that failed, and could not be taken back: ordinary names must not wait for nobody, and what is
        still wanted is tried again."""
        await self._resolver_off_if_nobody_serves()
        if self._wanted.zones:
            self._take_again_in(TAKE_AGAIN_PAUSE if self._feed.is_serving else 0)

    async def serve_ordinary_names(self) -> None:
        """After an `undo` that failed: ordinary names go on through the forwarder where the resolver still names it."""
        try:
            mode = await asyncio.to_thread(self._resolver.one_that_is_left)
            if mode is None:
                await self._stop_feeding()  # the zones' routes are gone
            elif self._fed is not None and self._fed.mode is mode:
                await self._serve(replace(self._fed, config=replace(self._fed.config, zones=(), proofs=(), private=())))
            else:
                places = await asyncio.to_thread(mode.prepare, _telling(Installed()))
                await self._feed_zones(Installed(), (), mode, places)
        except DevlinkError as error:
            log.error("ordinary names cannot be served either: %s", error)

    async def _feed_zones(
        self, target: Installed, proofs: tuple[ProofRecord, ...], mode: ResolverMode, places: tuple[Place, ...]
    ) -> None:
        ways = ways_out(await asyncio.to_thread(observe))
        config = forwarder_config(
            self._policy,
            zones=target.zones,
            networks=target.networks,
            upstreams=await self._whom_to_ask(ways, mode),
            proofs=proofs,
            tls_ca=await asyncio.to_thread(self._certificates.read),
        )
        if self._fed is not None:
            ways = self._fed.ways_out  # another network's answers are still kept: the next look has them forgotten
        self._network.start()
        await self._serve(Fed(config=config, places=places, mode=mode, ways_out=ways))

    async def _serve(self, fed: Fed) -> None:
        await self._feed.serve(fed.config, fed.places)
        self._fed = fed

    async def _whom_to_ask(self, ways: WaysOut, mode: ResolverMode) -> tuple[Upstream, ...]:
        """The servers for ordinary names; those from before where there is no way out and nobody is named: some empty
        resolv.conf when the network goes, and what is kept may still serve. Raises HelperError."""
        system = await asyncio.to_thread(mode.read_upstreams)
        if not system and self._fed is not None and not ways:
            return self._fed.config.upstreams
        return ordinary_upstreams(self._policy, system or (() if mode.can_split else (LIBC_DEFAULT,)))

    async def _stop_feeding(self) -> None:
        self._network.stop()
        self._fed = None
        await self._feed.stop()

    # What happens by itself

    async def _follow(self) -> bool:
        """Have the OS told again where it has forgotten us, other upstreams asked where it names others now, and
        nothing kept of what another network said.

        Whether to look again in a while: something was so, or may soon be.
        """
        async with self._lock:
            if self._fed is None:
                try:
                    await self._take_back_what_came_back()
                except DevlinkError as error:
                    log.error("what another program has put back cannot be taken back, trying again: %s", error)
                    self._take_again_in(TAKE_AGAIN_PAUSE)
                return False
            if not self._feed.is_serving:  # who brings it back looks at all of this
                return True
            # Not after an `undo` that failed: nobody wants then what another program wrote over.
            is_to_be_tried_again = bool(self._wanted.zones) and await asyncio.to_thread(
                self._resolver.keep, self._fed.config.proofs[0]
            )
            self._system.watch(self._resolver.watched())
            if is_to_be_tried_again:  # by another mode, perhaps: somebody may manage the names anew
                self._take_again_in(TAKE_AGAIN_PAUSE)
            in_force = self._resolver.in_force
            places = in_force.places if in_force is not None else self._fed.places
            try:
                after = ways_out(await asyncio.to_thread(observe))
                upstreams = await self._whom_to_ask(after, self._fed.mode)
            except DevlinkError as error:
                log.error("the network cannot be looked at: %s", error)
                return True
            before = self._fed.ways_out
            self._fed = replace(self._fed, ways_out=after)  # only now: a look that failed has seen no other network
            config = replace(self._fed.config, upstreams=upstreams)
            if (config, places) != (self._fed.config, self._fed.places):
                await self._ask_others(replace(self._fed, config=config, places=places))
            elif after and after != before:
                await self._forget()
            else:
                return not after
        return True

    async def _take_back_what_came_back(self) -> None:
        """A VPN that ends puts back the resolv.conf that it found, which was ours if it began while we were up. Raises
        HelperError."""
        if await asyncio.to_thread(self._resolver.has_remains):
            log.warning("another program has put back a file of devlink's")
            await asyncio.to_thread(self._resolver.withdraw)

    async def _ask_others(self, fed: Fed) -> None:
        try:
            await self._serve(fed)
        except DevlinkError as error:
            log.error("the forwarder does not take the network's servers: %s", error)
            await self.mend()
        else:
            upstreams = ", ".join(str(each.address) for each in fed.config.upstreams)
            log.info("ordinary names are asked at %s now", upstreams)

    async def _forget(self) -> None:
        try:
            log.info("another network: %d answers are forgotten", await self._feed.flush())
        except DevlinkError as error:
            log.warning("the forwarder is not there to forget anything: %s", error)  # a new one has nothing to forget

    async def _give_resolver_back(self) -> None:
        """The forwarder did not come back: ordinary names must not wait for it."""
        async with self._lock:
            await self._resolver_off_if_nobody_serves()

    async def _forwarder_returned(self) -> None:
        self._take_again_in(0)

    async def _resolver_off_if_nobody_serves(self) -> None:
        in_force = self._resolver.in_force  # without one, what an earlier helper left may send them to us
        if self._feed.is_serving or (in_force is not None and in_force.mode.can_split):
            return
        try:
            await self._resolver_off()
        except DevlinkError as error:
            log.error("the forwarder is gone and the resolver cannot be restored: %s", error)

    def _take_again_in(self, pause: float) -> None:
        if self._taking is None or self._taking.done():
            self._take_now.clear()
            self._taking = spawn(self._take_resolver_again(pause), name="take the resolver again")
        elif not pause:
            self._take_now.set()

    async def _take_resolver_again(self, pause: float) -> None:
        """And where no names are wanted have it give back what it has of ours."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._take_now.wait()
            self._take_now.clear()
            pause = min(max(TAKE_AGAIN_PAUSE, 2 * pause), MAX_TAKE_AGAIN_PAUSE)
            try:
                async with self._lock:
                    if self._wanted.zones:
                        await self.on(self._wanted, by_itself=True)
                    elif self._fed is None:
                        await self._take_back_what_came_back()
                return
            except DevlinkError as error:
                log.error("the resolver cannot be set, trying again: %s", error)

    async def _resolver_off(self) -> None:
        self._system.close()
        await asyncio.to_thread(self._resolver.withdraw)


def _telling(target: Installed) -> Telling:
    versions = (
        *(network.version for network in target.networks),
        *(server.address.version for zone in target.zones for server in zone.servers),
    )
    return Telling(domains=tuple(zone.suffix for zone in target.zones), families=frozenset(versions))


def _new_proofs(suffix: DomainName, policy: Policy) -> tuple[ProofRecord, ProofRecord]:
    """Names that nobody can have cached, which the forwarder answers itself: one below a claimed domain, for libc's
    proof, and one for the loop's."""
    address = proof_address(policy.nameserver.version)
    ours, nobodys = suffix.child(f"proof-{secrets.token_hex(8)}"), LOOP_PARENT.child(f"devlink-{secrets.token_hex(8)}")
    return ProofRecord(name=ours, address=address), ProofRecord(name=nobodys, address=address)
