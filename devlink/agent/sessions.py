"""The sessions that there are: their table, the line to the helper, and the steps that every change is made of."""

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from devlink.agent import strangers, verify
from devlink.agent.draining import Draining
from devlink.agent.failovers import Failovers
from devlink.agent.fallback import may_fall_to_relay
from devlink.agent.helper_link import HelperLink
from devlink.agent.probes import ProbeLine
from devlink.agent.relays import Relays
from devlink.agent.session import Session, State, Wish
from devlink.agent.trouble import not_installed
from devlink.agent.wishes import KeptDetours, KeptWishes
from devlink.core.detours import carrier, kept, pairs, with_detour
from devlink.core.findings import Finding, Severity
from devlink.core.network import ObservedNetwork
from devlink.core.plan import Desired, Plan, addresses_of_interest, make_plan
from devlink.core.prefixes import IPAddress, PrefixTable
from devlink.core.profile import RoutingMode
from devlink.core.routing import why_nobody
from devlink.doctor.names.loop import check_loops
from devlink.doctor.names.ordinary import check_ordinary
from devlink.doctor.path.attested import has_its_ca
from devlink.errors import DevlinkError, HelperError, IdentityError, NotUpError, VerificationError
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
    }
)

AGAIN = "When you want it: devlink up"
TRIED = 3
"""Gateways that are tried besides the preferred one while a session comes up: each costs some seconds."""
Progress = Callable[[str, bool], Awaitable[None]]
"""Told of each step: its words, and whether it is done."""


class Sessions:
    """All of them by name. Whoever changes one holds `lock`: one change at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        told: Callable[[], None],
        lost: Callable[[HelperError], None],
        returned: Callable[[], Awaitable[None]],
    ) -> None:
        """`folder` keeps what is up, for an agent that is started again; `told` hears of each change that `status`
        shows; `lost` and `returned` as of a HelperLink."""
        self._told = told
        self.lock = asyncio.Lock()
        self.kept = KeptWishes(folder)
        self.link = HelperLink(lost=lost, returned=returned)
        self._sessions: dict[str, Session] = {}
        self._changed = asyncio.Event()
        self.failovers = Failovers(self.link, self.tell)
        self.relays = Relays(self.link, self.get, self.tell)
        self.draining = Draining(self.relays, changed=self.changed, drained=self._take_back_relayed)

    # Which there are

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, name: str) -> Session | None:
        return self._sessions.get(name)

    def put(self, session: Session) -> None:
        """Add it, or have it in the place of the one of its name, whose detours it goes on with, and
        what is known of strangers where it means the same cluster."""
        before = self.get(session.name)
        if before is not None and before is not session:
            session.by_hand = before.by_hand & pairs(session.plan.desired)
            session.passed_over = before.passed_over
            if before.wish.profile.spec.identity == session.wish.profile.spec.identity:
                session.strangers = before.strangers
        self._sessions[session.name] = session

    def drop(self, name: str) -> None:
        """Strike it out. What is kept of it on disk stays."""
        self._sessions.pop(name, None)

    def forget(self, name: str) -> None:
        """Strike it out for good: its user does not want it any more."""
        self.drop(name)
        self.kept.keep(name, None)
        self.tell()

    async def changed(self) -> None:
        """Wait until something was told."""
        await self._changed.wait()

    def tell(self) -> None:
        """Something that `status` shows has changed."""
        self.failovers.keep(self)
        self.relays.keep(self)
        for session in self:
            if session.applied and session.state is not State.CONNECTING:
                session.forget_passed_over()
                detours = session.plan.desired.detours
                chosen = tuple(each for each in detours if (each.next_hop, each.via) in session.by_hand)
                self.kept.keep_detours(session.name, KeptDetours(detours=detours, by_hand=chosen))
        self._changed.set()
        self._changed = asyncio.Event()
        self._told()

    # The steps

    async def plan(self, wish: Wish, observed: ObservedNetwork | None = None, *, by_relay: bool = False) -> Plan:
        """In the network as it is `observed`, or now; `by_relay`, whatever else it has. Raises VerificationError where
        the profile cannot work in it."""
        if observed is None:
            observed = await asyncio.to_thread(observe, addresses_of_interest(wish.profile))
        # In a cluster of 20,000 nodes it takes longer than a gateway has for its answer.
        planned = partial(
            make_plan, wish.profile, observed, with_routes=wish.routes, with_dns=wish.dns, pins=wish.pins,
            exclude=wish.exclude, override=wish.override, uid=os.getuid(), containers=wish.relay.containers,
        )  # fmt: skip
        plan = await asyncio.to_thread(planned, routing=wish.routing)
        if by_relay:
            why = f"by {plan.mode.value} it did not come up in this network"
            plan = await asyncio.to_thread(planned, routing=RoutingMode.RELAY, reason=why)
        elif wish.relayed and may_fall_to_relay(wish, plan):  # until it is proven that the network carries them
            why = f"{why_nobody(wish.profile.spec, observed)}, and the network does not carry these prefixes"
            plan = await asyncio.to_thread(planned, routing=RoutingMode.RELAY, reason=why)
        present = self.get(wish.profile.metadata.name)
        # Also where nothing of it is installed because the helper was away. Elsewhere nobody was silent yet.
        return plan if present is None or present.is_suspended else kept(plan, present.plan, observed)

    async def establish(self, session: Session, *, replace: tuple[str, ...] = (), progress: Progress) -> None:
        self.draining.prepare(session)
        desired = session.plan.desired
        fault_point("agent.planned")
        await progress("install routes, split DNS, and prove it through libc", False)
        for name in replace:
            await self.relays.end(name)  # while what it carries is redirected: who is connected hears of it
        session.applied = True  # from here on it may be
        try:
            applied = await self.link.apply(desired, replace)
        except DevlinkError as error:
            session.applied = isinstance(error, HelperError)  # else it was refused, and there is nothing to take back
            raise
        if session.is_relayed:
            await progress("start the relay", False)
            await self.relays.serve(session)
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
            remarks = await self._verified(session)
            session.remarks = (*await ordinary, *remarks)
        finally:
            ordinary.cancel()
        fault_point("agent.verified")
        await self.link.confirm(desired.session)
        fault_point("agent.confirmed")
        session.doubts, session.offline_since, session.around = (), 0.0, None
        session.by_hand &= pairs(session.plan.desired)  # another one may have taken the place of whom the user chose
        session.wish = dataclasses.replace(session.wish, relayed=session.is_relayed)
        session.enter(State.UP, time.monotonic())
        self.draining.begin(session)
        await progress("verified", True)

    async def verify(self, session: Session, plan: Plan) -> tuple[Finding, ...]:
        """What verification remarks of a session that is installed as `plan` says; a gateway behind which another
        cluster is may not take over from then on. Raises the DevlinkError that speaks against it."""
        line = ProbeLine(session.name)
        session.proven, session.unanswered = frozenset(), {}  # the network may be another one
        try:
            return await verify.verify(
                session.wish.profile, plan,
                gateways=strangers.to_prove(session.wish.profile, plan),
                connect=strangers.connect_by(line),
                learn=lambda proof: strangers.learn(session, proof),
                attest=self._attest(session),
            )  # fmt: skip
        finally:
            line.close()

    def _attest(self, session: Session) -> Callable[[], Awaitable[Finding | bool]] | None:
        profile = session.wish.profile
        if not session.is_relayed or profile.spec.identity is None:
            return None
        return partial(has_its_ca, profile, session.wish.reached_by, self.relays.environ(session))

    async def _verified(self, session: Session) -> tuple[Finding, ...]:
        """What verification remarks. Where the preferred gateway is silent, another one may carry the packets."""
        try:
            return await self.verify(session, session.plan)
        except IdentityError:
            raise
        except VerificationError as error:
            relay = self.relays.get(session.name) if session.is_relayed else None
            if relay is not None:
                await relay.explain(error)
                raise
            async for plan in _ways_round(session, self.link):
                try:
                    remarks = await self.verify(session, plan)
                except IdentityError:
                    raise
                except VerificationError as second:
                    log.info("%s: nor by another gateway: %s", session.name, second.what)
                    continue
                before, session.plan = session.plan, plan
                passed_over = dict(_passed_over(error, before.desired, plan.desired))
                session.passed_over = {**session.passed_over, **passed_over}
                return remarks
            raise error

    async def stay_with(self, session: Session, error: DevlinkError) -> None:
        """After a renewal that failed: what was up before it is up again."""
        if not session.applied and not isinstance(error, HelperError):
            session.applied = True  # the newer one was refused, and nothing was touched
            return
        try:
            session.installed = await self.put_back(session)
        except DevlinkError as failure:
            log.error("%s cannot be brought back: %s", session.name, failure)
            session.enter(State.DEGRADED, time.monotonic(), not_installed(failure))
            self.tell()

    async def put_back(self, session: Session, replace: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Install what was up already, which is not verified again; its routes. Raises DevlinkError."""
        applied = await self.link.apply(session.plan.desired, replace)
        if session.is_relayed:
            await self.relays.serve(session)  # its listeners may be others, or its relay another one's meanwhile
        await self.link.confirm(session.name)
        return tuple(applied["routes"])

    async def confirmed(self) -> set[str]:
        """The sessions that the helper has for us, and of which it was told that they are verified."""
        try:
            state = await self.link.state()
        except DevlinkError:
            return set()  # it is gone or hangs; what it has ends with this line or is asked for again
        return {each["name"] for each in state["sessions"] if each["held"] and each["state"] == "up"}

    async def release(self, name: str) -> None:
        await self.relays.end(name)
        try:
            await self.link.release(name)
        except NotUpError:
            pass  # the helper has nothing of it: it never got there, or its lease ran out

    async def release_quietly(self, name: str) -> None:
        try:
            await self.release(name)
        except DevlinkError as error:
            log.error("%s cannot be released: %s", name, error)

    async def _take_back_relayed(self, session: Session) -> None:
        """Of a session that has gone over to routes: its relay has nothing to do any more."""
        async with self.lock:
            if (
                self.get(session.name) is not session or not session.applied or session.ending
                or not session.is_draining or session.state is State.CONNECTING
            ):  # fmt: skip
                return
            without = replace(session.plan.desired, relay=None)
            await self.relays.end(session.name)
            try:
                await self.link.apply(without)
                await self.link.confirm(session.name)
            except DevlinkError as error:
                log.warning("what %s had relayed is not taken back: %s", session.name, error)
                return
            session.plan = replace(session.plan, desired=without)
            log.info("%s is relayed no more", session.name)
        self.tell()


async def _ways_round(session: Session, link: HelperLink) -> AsyncIterator[Plan]:
    """The session's plan with what leads to the cluster's DNS going by each of its other gateways, one after another,
    each installed when it is given. What was tried in vain goes as the plan says again; a gateway that the helper
    refuses is passed over.

    Raises the helper's DevlinkError where it is away, or what was before is no more. Whoever ends with an error on the
    way has something else installed than the plan: release the session, or install a plan whole.
    """
    plan, dns = session.plan, session.wish.profile.spec.dns
    table = PrefixTable((route.destination, route.next_hop) for route in plan.desired.routes)
    hops = dict.fromkeys(table.longest(server.address) for server in dns.servers) if dns is not None else {}
    for hop in hops:
        if hop is None:
            continue
        before = carrier(plan.desired, hop)
        # Where a detour was kept, the preferred one may be well again, and be the only one.
        others = [via for via in (hop, *session.candidates[hop]) if via != before and via not in session.strangers]
        is_switched = False
        for via in others[:TRIED]:
            try:
                detour = await link.switch(session.name, hop, via)
            except HelperError:
                raise
            except DevlinkError as error:
                log.info("%s: %s cannot take the place of %s: %s", session.name, via, hop, error)
                continue
            is_switched = True
            log.info("%s: tried by %s in the place of %s", session.name, via, hop)
            yield replace(plan, desired=with_detour(plan.desired, hop, detour))
        if is_switched:
            await link.switch(session.name, hop, before)


def _passed_over(
    error: VerificationError, tried: Desired, taken: Desired
) -> Iterator[tuple[tuple[IPAddress, IPAddress], Finding]]:
    """As `Session.passed_over`: what kept it from coming up by who was tried first may be the cluster's fault."""
    for hop in tried.next_hops:
        before, after = carrier(tried, hop), carrier(taken, hop)
        if before == after:
            continue
        log.info("%s: by %s it did not come up, by %s it did: %s", tried.session, before, after, error.what)
        if after != hop:
            finding = Finding(
                code="DL-GATEWAY-PASSED-OVER",
                severity=Severity.WARNING,
                title=f"By {before} it did not come up, by {after} it did: {error.what}",
                evidence=error.why,
                fix=error.next_step,
            )
            yield (hop, before), finding


async def no_progress(_: str, __: bool) -> None:
    """Nobody waits to be told."""
