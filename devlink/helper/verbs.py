"""The helper's verbs: who may call them, what is checked, and that each runs to its end."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Any

from devlink.core.codec import encode
from devlink.core.network import Route
from devlink.core.plan import Desired, protect
from devlink.core.trust import claim_of_profile, forbidden, record_of
from devlink.errors import (
    DevlinkError,
    NotPermittedError,
    NotTrustedError,
    NotUpError,
    UsageError,
)
from devlink.helper import admission
from devlink.helper.access import refusal, user_name
from devlink.helper.authority import Authority
from devlink.helper.calls import argument
from devlink.helper.failover import Failover
from devlink.helper.installed import Installed
from devlink.helper.lease import Lease, Leases, together
from devlink.helper.listeners import close
from devlink.helper.machine import Machine
from devlink.helper.policy import Policy
from devlink.helper.querylog import QueryLog, check_may_follow, is_shown, shown_zones, stats_for
from devlink.helper.reasserting import Reasserter
from devlink.helper.relayed import relay_routes
from devlink.helper.relayverbs import RelayVerbs
from devlink.helper.truststore import TrustStore
from devlink.kernel.observe import link_kind, observe, ways_off
from devlink.rpc.server import Server, Session
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import Call, interface_description

log = logging.getLogger(__name__)

INTERFACE = "io.devlink.Helper"
REVOKING = "Authentication is required to take trust back from the profile $(profile)"
"""What polkit has a person read."""
RETRY_PAUSE = 5.0
"""Seconds until what could not be taken back is tried again."""
CHANGE_LIMIT = 1.0
"""Seconds that an account of what there is waits for the end of a change. A switch, or putting back what is missing,
takes less; who comes up or goes down may take several."""


class Helper:
    """The verbs. Whatever changes the machine runs to its end, even when its caller goes away meanwhile."""

    def __init__(self, *, policy: Policy, machine: Machine, trust: TrustStore) -> None:
        self._policy = policy
        self._machine = machine
        self._trust = trust
        self._authority = Authority()
        interface_description(INTERFACE)  # while it is this version's: an upgrade lays another one over it
        self._leases = Leases()
        self._failover = Failover(machine=machine, leases=self._leases, trust=trust, policy=policy)
        self._relay = RelayVerbs(machine=machine, leases=self._leases)
        self._undoing: asyncio.Task[None] | None = None
        self._reasserter = Reasserter(machine)
        self._query_log = QueryLog(machine.names.take_log, lambda: machine.names.forwarder_starts)
        self.server = Server(
            INTERFACE,
            {
                "Apply": self._apply,
                "Confirm": self._confirm,
                "Release": self._release,
                "List": self._list,
                "Restore": self._restore,
                "Trust": self._trust_profile,
                "Revoke": self._revoke,
                "ListTrust": self._list_trust,
                "GetDnsStats": self._get_dns_stats,
                "FlushDns": self._flush_dns,
                "FollowDnsLog": self._follow_dns_log,
                **self._failover.verbs,
                **self._relay.verbs,
            },
            closed=self._closed,
            admit=lambda peer: refusal(peer, policy.group),
        )

    async def _apply(self, caller: Session, call: Call) -> Mapping[str, Any]:
        desired = argument(Desired, call, "plan")
        replace = argument(tuple[str, ...], call, "replace", default=())
        return await asyncio.shield(spawn(self._apply_whole(caller, desired, replace), name="apply"))

    async def _apply_whole(self, caller: Session, desired: Desired, replace: tuple[str, ...]) -> Mapping[str, Any]:
        async with self._machine.lock:
            self._leases.check_free(desired.session, caller)
            released = {desired.session}
            for name in replace:
                replaced = self._leases.get(name)
                if replaced is not None:
                    self._leases.check_owned(replaced, caller)
                    released.add(name)
            others = self._leases.others(released)
            admission.check_form(desired)
            admission.check_relay(desired, caller.peer.uid, link_kind, ways_off)
            admission.check_trust(desired, self._trust.get(desired.session), self._policy.trust)
            admission.check_others(desired, caller.peer.uid, ((lease.desired, lease.uid) for lease in others))
            observed = await asyncio.to_thread(observe, desired.all_next_hops)
            admission.check_next_hops(desired, observed)
            admission.check_foreign(desired.routes, observed, uid=caller.peer.uid)
            # With a route of this one to it, the next hop of another session would be on no link any more.
            theirs = (hop for lease in others for hop in lease.desired.all_next_hops)
            ways = (*await self._machine.names.protected_ways(), *theirs)
            admission.check_protected(desired, ways, observed)
            old = self._leases.get(desired.session)
            had = old.listeners if old is not None else ()
            listeners = await asyncio.to_thread(self._relay.listeners, desired, observed, had)
            lease = Lease(
                desired=desired,
                pinned=protect(desired, ways, observed),
                uid=caller.peer.uid,
                holder=caller,
                confirmed=old is not None and old.confirmed and old.desired == desired,
                relay_routes=relay_routes(desired, (*observed.default_gateways, *desired.pins, *ways)),
                listeners=listeners,
            )
            try:
                await self._machine.converge(together([*others, lease]), wanted=lease.installed)
            except Exception:
                close(listeners, but=had)
                if await self._rollback_left_something():  # it would be nobody's
                    self._undo_later()
                raise
            if old is not None:
                close(old.listeners, but=listeners)
                old.listeners = ()
            for name in released:
                self._leases.forget(name)
                if name != lease.name:
                    await self._failover.ended(name)
            self._leases.put(lease)
            self._reasserter.start()
            if caller.finished:  # its end was noted before there was anything to end
                self._closed(caller)
            probe = self._machine.names.loop_probe
            mode, reason = await self._machine.names.resolver()
            return {
                "routes": [str(route) for route in lease.installed.routes],
                "resolver": mode,
                "resolver_reason": reason,
                "nameserver": str(self._machine.names.nameserver) if desired.zones else None,
                "upstreams": [encode(each) for each in self._machine.names.upstreams] if desired.zones else [],
                "loop_probe": encode(probe) if probe is not None and desired.zones else None,
            }

    async def _confirm(self, caller: Session, call: Call) -> Mapping[str, Any]:
        lease = self._leases.get(argument(str, call, "session"))
        if lease is None or lease.holder is not caller:
            raise NotUpError("The session to confirm is not this connection's.")
        lease.confirmed = True
        return {}

    async def _release(self, caller: Session, call: Call) -> Mapping[str, Any]:
        name = argument(str, call, "session")
        take = argument(bool, call, "take", default=False)
        lease = self._leases.get(name)
        if lease is None:
            raise NotUpError(f"Session {name} is not up.")
        self._leases.check_owned(lease, caller)
        if lease.holder not in (caller, None) and not take:
            raise NotUpError(f"Session {name} is up for another agent of yours, not for this one.")
        await asyncio.shield(spawn(self._release_whole(lease), name="release"))
        return {}

    async def _release_whole(self, lease: Lease) -> None:
        async with self._machine.lock:
            if self._leases.get(lease.name) is not lease:
                return  # released or taken over while we waited
            await self._machine.converge(together(self._leases.others({lease.name})), wanted=Installed())
            self._forget(lease.name)
            await self._failover.ended(lease.name)

    async def _list(self, caller: Session, _: Call) -> Mapping[str, Any]:
        missing, is_left = await self._differences()
        mode, reason = await self._machine.names.resolver()
        return {
            "sessions": [
                {**self._shown(lease, missing), "held": lease.holder is caller}
                for lease in self._leases
                if caller.peer.uid in (0, lease.uid)
            ],
            "resolver": mode,
            "resolver_reason": reason,
            "forwarder": await self._machine.names.forwarder(),
            "left": is_left,
        }

    def _shown(self, lease: Lease, missing: Collection[Route]) -> dict[str, Any]:
        routes = lease.installed.routes
        lost = tuple(route for route in routes if route in missing)
        return {
            "name": lease.name,
            "uid": lease.uid,
            "state": lease.state,
            "routes": [str(route) for route in routes],
            "missing": [str(route) for route in lost],
            "fought": encode(self._reasserter.fought(lost)),
            "occupied": encode(self._reasserter.occupied(lost)),
            "zones": [str(zone.suffix) for zone in lease.desired.zones],
        }

    async def _differences(self) -> tuple[set[Route], bool]:
        """What is missing of what is installed, and whether something is there that is not. Raises DevlinkError."""
        try:
            async with asyncio.timeout(CHANGE_LIMIT):
                await self._machine.lock.acquire()
        except TimeoutError:  # half of a change is neither lost nor anybody's remains, unless it is a try to undo them
            return set(), self._undoing is not None and not self._undoing.done()
        try:
            return set(await self._machine.missing_routes()), await self._failover.has_remains()
        finally:
            self._machine.lock.release()

    async def _restore(self, caller: Session, _: Call) -> Mapping[str, Any]:
        _only_root(caller, "Restoring everything")
        await asyncio.shield(spawn(self.release_all(), name="restore"))
        return {}

    async def release_all(self) -> None:
        """Take back every session's and every leftover, such as an earlier helper's.

        Raises DevlinkError where something resists; from then on it is tried again and again.
        """
        async with self._machine.lock:
            self._forget_leases()
            try:
                async with self._failover.forgotten():
                    await self._undo()
            except DevlinkError:
                self._undo_later()
                raise

    async def _undo(self) -> None:
        try:
            await self._machine.undo()
        except DevlinkError:
            await self._machine.names.serve_ordinary_names()
            raise

    async def _rollback_left_something(self) -> bool:
        try:
            return await self._failover.has_remains()
        except DevlinkError:  # nobody knows
            return True

    def _undo_later(self) -> None:
        if self._undoing is None or self._undoing.done():
            self._undoing = spawn(self._undo_until_done(), name="undo what was left")

    async def _undo_until_done(self) -> None:
        while True:
            await asyncio.sleep(RETRY_PAUSE)
            try:
                async with self._machine.lock:
                    if not any(True for _ in self._leases):  # what a session has meanwhile is no leftover
                        async with self._failover.forgotten():
                            await self._undo()
                return
            except DevlinkError as error:
                log.error("what was left could not be taken back, trying again in %g s: %s", RETRY_PAUSE, error)

    async def end(self) -> None:
        """Take everything back for good, once. Raises DevlinkError."""
        async with self._machine.lock:
            if self._undoing is not None:
                self._undoing.cancel()  # it waits: for its next try, or for the lock
            self._forget_leases()
            try:
                async with self._failover.forgotten():
                    await self._machine.undo()
            finally:
                self._machine.names.close()

    def _forget_leases(self) -> None:
        for lease in self._leases:
            self._forget(lease.name)

    def _forget(self, name: str) -> None:
        self._leases.forget(name)
        if not any(True for _ in self._leases):
            self._reasserter.stop()

    async def _trust_profile(self, caller: Session, call: Call) -> Mapping[str, Any]:
        from devlink.core.profile_document import decode_profile

        profile = decode_profile(argument(str, call, "profile"))
        claim = claim_of_profile(profile)
        refused = forbidden(claim)
        if refused:
            raise NotTrustedError(
                f"This profile cannot be trusted: {'; '.join(refused)}.",
                why="devlink never takes these over, whatever is trusted.",
                next_step="Tell the profile's publisher.",
            )
        admission.check_name(claim.name)  # a person will read it in polkit's dialog
        await self._authority.check(caller, "Trusting a profile", claim.name)
        record = record_of(claim, await asyncio.to_thread(observe))
        self._trust.put(record)
        log.info("trusted %s", encode(record))
        return {"record": encode(record)}

    async def _revoke(self, caller: Session, call: Call) -> Mapping[str, Any]:
        name = argument(str, call, "name")
        admission.check_name(name)
        await self._authority.check(caller, "Revoking trust", name, message=REVOKING)
        self._trust.revoke(name)
        log.info("revoked %s", name)
        return {}

    async def _list_trust(self, _: Session, __: Call) -> Mapping[str, Any]:
        return {"records": [encode(record) for record in self._trust.all()]}

    async def _get_dns_stats(self, caller: Session, _: Call) -> Mapping[str, Any]:
        names = self._machine.names
        stats = await names.stats()
        return {
            "nameserver": str(names.nameserver),
            "stats": stats_for(caller.peer.uid, self._zones_of(caller.peer.uid), stats),
            "upstreams": encode(names.upstreams),
            "loop_probe": encode(names.loop_probe),
        }

    async def _flush_dns(self, _: Session, __: Call) -> Mapping[str, Any]:
        return {"entries": await self._machine.names.flush()}

    async def _follow_dns_log(self, caller: Session, call: Call) -> Mapping[str, Any]:
        if not call.more:
            raise UsageError("The log of questions is followed.", next_step="Call FollowDnsLog with `more`.")
        uid, policy = caller.peer.uid, self._policy.dns.query_log
        check_may_follow(uid, policy)
        # Asked anew for each piece of the log: sessions come and go while somebody follows.
        with self._query_log.following(lambda zone: is_shown(zone, uid, self._zones_of(uid), policy)) as follower:
            while True:
                news = await follower.take()
                zones = shown_zones(uid, self._zones_of(uid), policy)
                await caller.send({**news._asdict(), "zones": zones})

    def _zones_of(self, uid: int) -> frozenset[str]:
        """The suffixes of a user's sessions, as the forwarder writes them."""
        return frozenset(str(zone.suffix) for lease in self._leases if lease.uid == uid for zone in lease.desired.zones)

    def _closed(self, caller: Session) -> None:
        """A connection ended: what was up gets its grace, what was not is taken back at once."""

        def begin_grace(lease: Lease) -> asyncio.TimerHandle:
            grace = self._policy.lease_grace if lease.confirmed else 0.0
            log.warning("the agent of session %s is gone; its lease ends in %g s", lease.name, grace)
            return asyncio.get_running_loop().call_later(grace, self._expire, lease)

        self._leases.orphan(caller, begin_grace)
        self._failover.closed(caller)

    def _expire(self, lease: Lease) -> None:
        spawn(self._end(lease), name=f"expire {lease.name}")

    async def _end(self, lease: Lease) -> None:
        try:
            await self._release_whole(lease)
        except Exception as error:
            # Nobody else asks for it: without another try it would stay until the helper ends.
            log.error("session %s cannot be taken back, trying again in %g s: %s", lease.name, RETRY_PAUSE, error)
            lease.expiry = asyncio.get_running_loop().call_later(RETRY_PAUSE, self._expire, lease)


def _only_root(caller: Session, deed: str) -> None:
    if caller.peer.uid != 0:
        raise NotPermittedError(
            f"{deed} is for root.",
            why=f"This call came from {user_name(caller.peer.uid)}.",
            next_step="Ask the machine's owner, or do it as root.",
        )
