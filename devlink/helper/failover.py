"""The verbs by which an agent keeps a session's packets going: it asks by each gateway, hears of traffic, switches."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Iterator, Mapping
from typing import Any

from devlink.core.detours import with_detour
from devlink.core.neighbours import Neighbours
from devlink.core.network import ObservedNetwork
from devlink.core.plan import Detour
from devlink.core.policy_routing import WaysOfOthers
from devlink.core.prefixes import IPAddress, collapse
from devlink.errors import DevlinkError, HelperError, NotPermittedError, NotUpError, UsageError
from devlink.helper import admission
from devlink.helper.calls import argument
from devlink.helper.lease import Lease, Leases
from devlink.helper.machine import Machine
from devlink.helper.policy import Policy
from devlink.helper.probes import Probes
from devlink.helper.relayed import is_relayed
from devlink.helper.truststore import TrustStore
from devlink.kernel.neighbours import neighbour_answers
from devlink.kernel.observe import observe, observe_ways
from devlink.kernel.traffic import Traffic
from devlink.rpc.server import Handler, Session
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import Call

log = logging.getLogger(__name__)

LOOK = "See: devlink status"
MAX_FOLLOWS = 32
TRAFFIC_PAUSE = 0.05
"""Seconds between two tellings of traffic: what several next hops have at once is one."""


class Failover:
    """What it opens for a session ends with the caller's connection, and with the session."""

    def __init__(self, *, machine: Machine, leases: Leases, trust: TrustStore, policy: Policy) -> None:
        self._machine = machine
        self._leases = leases
        self._trust = trust
        self._policy = policy
        self._probes = Probes()
        self._holders: dict[str, set[Hashable]] = {}
        """The connections that probe, by session."""
        self._following: dict[str, set[asyncio.Event]] = {}
        """Set to end a telling of traffic, by session."""
        self._follows: Counter[int] = Counter()
        """How many of them each user has."""
        self.verbs: Mapping[str, Handler] = {
            "Switch": self._switch,
            "OpenProbe": self._open_probe,
            "AskNeighbour": self._ask_neighbour,
            "FollowTraffic": self._follow_traffic,
        }

    def closed(self, caller: Session) -> None:
        """A connection has ended."""
        held = [name for name, holders in self._holders.items() if caller in holders]
        for name in held:
            self._holders[name].discard(caller)
        if held:
            spawn(self._probes.close(caller), name="close the ways of probes")

    async def ended(self, session: str) -> None:
        """A session is taken down."""
        for event in self._following.pop(session, set()):
            event.set()
        for holder in self._holders.pop(session, set()):
            try:
                await self._probes.close(holder)
            except DevlinkError as error:  # they lead nobody anywhere; the next undoing finds them
                log.error("%s: its probes' ways cannot be taken back: %s", session, error)

    @contextlib.asynccontextmanager
    async def forgotten(self) -> AsyncIterator[None]:
        """Meanwhile everything of ours is taken out of the kernel by another hand."""
        for events in self._following.values():
            for event in events:
                event.set()
        self._following.clear()
        self._holders.clear()
        async with self._probes.forgotten():
            yield

    async def has_remains(self) -> bool:
        """As the machine's, of probes too. Raises DevlinkError."""
        async with self._probes.held() as held:
            return await self._machine.has_remains(held)

    async def _switch(self, caller: Session, call: Call) -> Mapping[str, Any]:
        return await asyncio.shield(spawn(self._switch_whole(caller, call), name="switch"))

    async def _switch_whole(self, caller: Session, call: Call) -> Mapping[str, Any]:
        next_hop = argument(IPAddress, call, "next_hop")
        via = argument(IPAddress, call, "via", default=None)
        async with self._machine.lock:
            lease = self._lease(caller, call)
            if lease.holder is not caller:
                raise NotUpError(f"Session {lease.name} is not this connection's.", next_step=LOOK)
            first = next((route for route in lease.desired.routes if route.next_hop == next_hop), None)
            if first is None:
                raise UsageError(f"No route of session {lease.name} goes by {next_hop}.", next_step=LOOK)
            detour = None
            if via is not None and via != next_hop:
                admission.check_stand_in(next_hop, via)
                detour = Detour(next_hop=next_hop, via=via, oif=await self._admitted(lease, via))
            await self._machine.switch(lease.name, next_hop, detour)
            lease.desired = with_detour(lease.desired, next_hop, detour)
            log.info("%s: what prefers %s goes by %s", lease.name, next_hop, via or next_hop)
            return {"oif": detour.oif if detour is not None else first.oif}

    async def _admitted(self, lease: Lease, via: IPAddress) -> str:
        """The link of a next hop that a session's packets and probes may go by: trusted, and on a link of this machine.

        Raises NotTrustedError and VerificationError.
        """
        observed = await asyncio.to_thread(observe_ways, (via,))
        oif = _link_to(via, observed)
        record = self._trust.get(lease.name)
        admission.check_via(via, oif, lease.desired, record, self._policy.trust, observed)
        return oif

    async def _ordinary(self, lease: Lease, via: IPAddress, target: IPAddress) -> str:
        """The link of `via` where the laptop would send what is relayed by it, were it not relayed: whether a router
        carries a cluster's networks by now can be seen by no packet of the user's own. Else empty."""
        if not is_relayed(lease.desired):
            return ""
        way = WaysOfOthers(await asyncio.to_thread(observe), lease.uid).of(target)
        return way.oif or "" if way is not None and way.next_hop == via else ""

    async def _open_probe(self, caller: Session, call: Call) -> Mapping[str, Any]:
        lease = self._lease(caller, call)
        via = argument(IPAddress, call, "via")
        target = argument(IPAddress, call, "target")
        kind = argument(str, call, "kind")
        if kind not in ("udp", "tcp"):
            raise UsageError("A probe goes by udp or by tcp.", next_step="Its kinds are in io.devlink.Helper.")
        if target.version != via.version or lease.networks.find_address(target) is None:
            raise NotPermittedError(
                f"{target} is in none of the networks of session {lease.name}.",
                why="Probes are for the cluster's own addresses.",
                next_step=LOOK,
            )
        oif = await self._ordinary(lease, via, target) or await self._admitted(lease, via)
        if self._leases.get(lease.name) is None:
            raise NotUpError(f"Session {lease.name} is not up.", next_step=LOOK)
        self._holders.setdefault(lease.name, set()).add(caller)
        sock = await self._probes.open(caller, lease.uid, via, oif, target, kind)
        if self._leases.get(lease.name) is None or caller.finished:  # it ended meanwhile, before there was anything
            sock.close()
            await self._probes.close(caller)
            raise NotUpError(f"Session {lease.name} is not up.", next_step=LOOK)
        caller.attach(sock.detach())
        return {}

    async def _ask_neighbour(self, caller: Session, call: Call) -> Mapping[str, Any]:
        via = argument(IPAddress, call, "via")
        oif = await self._admitted(self._lease(caller, call), via)
        try:
            return {"answers": await neighbour_answers(via, oif)}
        except OSError as error:
            raise HelperError(
                f"The neighbour {via} could not be asked.",
                why=f"{error.strerror or error}.",
                next_step=f"See: ip neighbour show {via}",
            ) from error

    async def _follow_traffic(self, caller: Session, call: Call) -> Mapping[str, Any]:
        if not call.more:
            raise UsageError("Traffic is followed.", next_step="Call FollowTraffic with `more`.")
        lease = self._lease(caller, call)
        networks = collapse(route.destination for route in lease.desired.routes)
        # From here on, so that an end that comes while the watch is made is not missed.
        with self._until_ended(lease) as ended:
            making = spawn(asyncio.to_thread(Traffic, networks), name=f"watch the traffic of {lease.name}")
            try:
                watch = await asyncio.shield(making)
            except asyncio.CancelledError:
                making.add_done_callback(_close_made)  # else its table stays: nobody would have it to close it
                raise
            try:
                await caller.send({"destinations": []})
                while not ended.is_set() and await _readable(watch, unless=ended):
                    if destinations := watch.take():
                        await caller.send({"destinations": [str(address) for address in destinations]})
                        await asyncio.sleep(TRAFFIC_PAUSE)
            finally:
                watch.close()
        raise NotUpError(f"Session {lease.name} is not up any more.", next_step=LOOK)

    @contextlib.contextmanager
    def _until_ended(self, lease: Lease) -> Iterator[asyncio.Event]:
        """Raises UsageError where the session's user follows too much already."""
        if self._follows[lease.uid] >= MAX_FOLLOWS:
            raise UsageError(
                f"One user follows the traffic of at most {MAX_FOLLOWS} sessions at once.",
                next_step="End what follows: each takes a packet log of the kernel.",
            )
        event = asyncio.Event()
        self._following.setdefault(lease.name, set()).add(event)
        self._follows[lease.uid] += 1
        try:
            yield event
        finally:
            self._follows[lease.uid] -= 1
            self._following.get(lease.name, set()).discard(event)

    def _lease(self, caller: Session, call: Call) -> Lease:
        """The caller's session. Raises NotUpError where it is not up, and NotPermittedError where it is another's."""
        name = argument(str, call, "session")
        lease = self._leases.get(name)
        if lease is None:
            raise NotUpError(f"Session {name} is not up.", next_step=LOOK)
        self._leases.check_owned(lease, caller)
        return lease


def _close_made(making: asyncio.Task[Traffic]) -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().close()


async def _readable(watch: Traffic, *, unless: asyncio.Event) -> bool:
    """Wait until there is something to take; False where `unless` comes first."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[bool] = loop.create_future()

    def tell(there: bool) -> None:
        if not readable.done():
            readable.set_result(there)

    ending = loop.create_task(unless.wait())
    ending.add_done_callback(lambda _: tell(False))
    # Only while we wait: the loop would call as long as there is something, and never sleep.
    loop.add_reader(watch.fileno(), tell, True)
    try:
        return await readable
    finally:
        loop.remove_reader(watch.fileno())
        ending.cancel()


def _link_to(via: IPAddress, observed: ObservedNetwork) -> str:
    """The link that `via` is on, whatever a VPN does to the laptop's own packets for it; else the one of that way."""
    return Neighbours(observed).link_to(via) or observed.paths[via].oif or ""
