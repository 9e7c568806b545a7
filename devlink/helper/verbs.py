"""The helper's verbs, and the leases of the sessions that they install."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from devlink.core.codec import DecodeError, decode, encode
from devlink.core.network import ObservedNetwork, Route
from devlink.core.plan import Desired, pins
from devlink.core.prefixes import IPAddress
from devlink.core.trust import claim_of_profile, forbidden, record_of
from devlink.errors import (
    ConflictError,
    DevlinkError,
    HelperError,
    NotPermittedError,
    NotTrustedError,
    NotUpError,
    UsageError,
)
from devlink.helper import check
from devlink.helper.access import refusal, user_name
from devlink.helper.machine import Installed, Machine
from devlink.helper.policy import Policy
from devlink.helper.truststore import TrustStore
from devlink.kernel.observe import observe
from devlink.rpc.server import Server, Session
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import Call

log = logging.getLogger(__name__)

INTERFACE = "io.devlink.Helper"
RETRY_PAUSE = 5.0
"""Seconds until a session whose lease has run out, and that could not be taken back, is tried again."""


@dataclass(slots=True, kw_only=True)
class Lease:
    """One session and what keeps it."""

    desired: Desired
    pinned: tuple[Route, ...]
    """Host routes that keep protected addresses on their present way."""
    uid: int
    holder: Session | None
    """The connection that applied it; None while it is orphaned and its grace runs."""
    confirmed: bool = False
    """The agent has verified it: from then on it has a grace."""
    expiry: asyncio.TimerHandle | None = None

    @property
    def state(self) -> str:
        if self.holder is None:
            return "orphaned"
        return "up" if self.confirmed else "applied"


class Helper:
    """The verbs. Whatever changes the machine runs to its end, even when its caller goes away meanwhile."""

    def __init__(self, *, policy: Policy, machine: Machine, trust: TrustStore) -> None:
        self._policy = policy
        self._machine = machine
        self._trust = trust
        self._leases: dict[str, Lease] = {}
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
            },
            closed=self._closed,
            admit=lambda peer: refusal(peer, policy.group),
        )

    async def _apply(self, caller: Session, call: Call) -> Mapping[str, Any]:
        desired = _decode(Desired, call, "plan")
        replace = _decode(tuple[str, ...], call, "replace", default=())
        return await asyncio.shield(spawn(self._apply_whole(caller, desired, replace), name="apply"))

    async def _apply_whole(self, caller: Session, desired: Desired, replace: tuple[str, ...]) -> Mapping[str, Any]:
        async with self._machine.lock:
            uid = caller.peer.uid
            self._check_holder(desired.session, caller)
            released = {desired.session}
            for name in replace:
                if name in self._leases:
                    self._check_owner(name, uid)
                    released.add(name)
            others = {name: lease for name, lease in self._leases.items() if name not in released}
            check.check_form(desired)
            check.check_trust(desired, self._trust.get(desired.session), self._policy.trust)
            check.check_others(desired, ((lease.desired, lease.uid) for lease in others.values()))
            observed = _observe(route.next_hop for route in desired.routes if route.next_hop is not None)
            check.check_next_hops(desired.routes, observed)
            check.check_foreign(desired.routes, observed)
            protected = observed.default_gateways + desired.pins + self._machine.upstream_addresses()
            protected += tuple(r.next_hop for r in desired.routes if r.next_hop is not None)
            old = self._leases.get(desired.session)
            lease = Lease(
                desired=desired,
                pinned=pins(desired.routes, protected, observed),
                uid=uid,
                holder=caller,
                confirmed=old is not None and old.confirmed and old.desired == desired,
            )
            await self._machine.converge(_together([*others.values(), lease]))
            for name in released:
                self._forget(name)
            self._leases[desired.session] = lease
            if caller.finished:  # its end was noted before there was anything to end
                self._closed(caller)
            return {
                "routes": [str(route) for route in lease.desired.routes + lease.pinned],
                "resolver": self._machine.resolver,
                "notes": [f"{route.destination} keeps its way: {route}" for route in lease.pinned],
            }

    async def _confirm(self, caller: Session, call: Call) -> Mapping[str, Any]:
        lease = self._leases.get(_decode(str, call, "session"))
        if lease is None or lease.holder is not caller:
            raise NotUpError("The session to confirm is not this connection's.")
        lease.confirmed = True
        return {}

    async def _release(self, caller: Session, call: Call) -> Mapping[str, Any]:
        name = _decode(str, call, "session")
        if name not in self._leases:
            raise NotUpError(f"Session {name} is not up.")
        self._check_owner(name, caller.peer.uid)
        await asyncio.shield(spawn(self._release_whole(name, self._leases[name]), name="release"))
        return {}

    async def _release_whole(self, name: str, lease: Lease) -> None:
        async with self._machine.lock:
            if self._leases.get(name) is not lease:
                return  # released or taken over while we waited
            rest = [other for other in self._leases.values() if other is not lease]
            await self._machine.converge(_together(rest))
            self._forget(name)

    async def _list(self, caller: Session, _: Call) -> Mapping[str, Any]:
        uid = caller.peer.uid
        return {
            "sessions": [
                {
                    "name": name,
                    "uid": lease.uid,
                    "state": lease.state,
                    "routes": [str(route) for route in lease.desired.routes + lease.pinned],
                    "zones": [str(zone.suffix) for zone in lease.desired.zones],
                }
                for name, lease in self._leases.items()
                if uid in (0, lease.uid)
            ],
            "resolver": self._machine.resolver,
            "forwarder": self._machine.forwarder,
        }

    async def _restore(self, caller: Session, _: Call) -> Mapping[str, Any]:
        _only_root(caller, "Restoring everything")
        await asyncio.shield(spawn(self.release_all(), name="restore"))
        return {}

    async def release_all(self) -> None:
        """Take back every session's and every leftover. Raises DevlinkError."""
        async with self._machine.lock:
            for name in list(self._leases):
                self._forget(name)
            await self._machine.undo()

    async def _trust_profile(self, caller: Session, call: Call) -> Mapping[str, Any]:
        _only_root(caller, "Trusting a profile")
        from devlink.core.profile_document import decode_profile

        profile = decode_profile(_decode(str, call, "profile"))
        claim = claim_of_profile(profile)
        refused = forbidden(claim)
        if refused:
            raise NotTrustedError(
                f"This profile cannot be trusted: {'; '.join(refused)}.",
                why="devlink never takes these over, whatever is trusted.",
                next_step="Tell the profile's publisher.",
            )
        record = record_of(claim, _observe(()))
        self._trust.put(record)
        log.info("trusted %s", encode(record))
        return {"record": encode(record)}

    async def _revoke(self, caller: Session, call: Call) -> Mapping[str, Any]:
        _only_root(caller, "Revoking trust")
        name = _decode(str, call, "name")
        check.check_name(name)
        self._trust.revoke(name)
        log.info("revoked %s", name)
        return {}

    async def _list_trust(self, _: Session, __: Call) -> Mapping[str, Any]:
        return {"records": [encode(record) for record in self._trust.all()]}

    def _check_holder(self, name: str, caller: Session) -> None:
        lease = self._leases.get(name)
        if lease is None or lease.holder is caller:
            return
        if lease.uid != caller.peer.uid:
            raise ConflictError(
                f"Session {name} is up already, for user {user_name(lease.uid)}.",
                why="A profile can be up once on a machine.",
                next_step="Ask that user to take it down.",
            )
        if lease.holder is not None:
            raise ConflictError(
                f"Session {name} is up already, held by another agent of yours (pid {lease.holder.peer.pid}).",
                next_step=f"Run: devlink down {name}",
            )

    def _check_owner(self, name: str, uid: int) -> None:
        lease = self._leases[name]
        if uid not in (0, lease.uid):
            raise NotPermittedError(
                f"Session {name} belongs to user {user_name(lease.uid)}.", next_step="Ask that user to take it down."
            )

    def _closed(self, caller: Session) -> None:
        """A connection ended: what was up gets its grace, what was not is taken back at once."""
        loop = asyncio.get_running_loop()
        for name, lease in self._leases.items():
            if lease.holder is caller:
                lease.holder = None
                grace = self._policy.lease_grace if lease.confirmed else 0.0
                log.warning("the agent of session %s is gone; its lease ends in %g s", name, grace)
                lease.expiry = loop.call_later(grace, self._expire, name, lease)

    def _expire(self, name: str, lease: Lease) -> None:
        spawn(self._end(name, lease), name=f"expire {name}")

    async def _end(self, name: str, lease: Lease) -> None:
        try:
            await self._release_whole(name, lease)
        except DevlinkError as error:
            # Nobody else asks for it: without another try it would stay until the helper ends.
            log.error("session %s cannot be taken back, trying again in %g s: %s", name, RETRY_PAUSE, error)
            lease.expiry = asyncio.get_running_loop().call_later(RETRY_PAUSE, self._expire, name, lease)

    def _forget(self, name: str) -> None:
        lease = self._leases.pop(name, None)
        if lease is not None and lease.expiry is not None:
            lease.expiry.cancel()


def _together(leases: list[Lease]) -> Installed:
    routes = {route.key: route for lease in leases for route in lease.pinned}
    routes |= {route.key: route for lease in leases for route in lease.desired.routes}
    return Installed(
        routes=tuple(routes.values()),
        zones=tuple(zone for lease in leases for zone in lease.desired.zones),
    )


def _observe(addresses: Iterable[IPAddress]) -> ObservedNetwork:
    try:
        return observe(set(addresses))
    except OSError as error:
        raise HelperError("The kernel's routes cannot be read.", why=f"{error.strerror}.") from error


def _decode(kind: Any, call: Call, key: str, **default: Any) -> Any:
    if call.parameters.get(key) is None and "default" in default:
        return default["default"]
    try:
        return decode(kind, call.parameters.get(key), key)
    except DecodeError as error:
        raise UsageError(
            f"The call {call.method} is malformed.",
            why="; ".join(str(fault) for fault in error.faults[:4]) + ".",
            next_step="Agent and helper may be of different versions: `devlink --version` shows them.",
        ) from error


def _only_root(caller: Session, deed: str) -> None:
    if caller.peer.uid != 0:
        raise NotPermittedError(
            f"{deed} is for root.",
            why=f"This call came from {user_name(caller.peer.uid)}.",
            next_step="Ask the machine's owner, or do it as root.",
        )
