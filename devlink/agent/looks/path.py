"""The path of one session's packets, looked at again and again: what `FollowPath` tells while somebody looks.

All is measured by packets of its own. `core.health` learns nothing of it, so that no look brings about a failover or
keeps one off; what the look sends to the cluster is traffic like any other's.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from devlink.agent.looks import relayed, timing
from devlink.agent.looks.relayed import Resolver
from devlink.agent.probes import Probes
from devlink.agent.session import Session, State
from devlink.core import legs
from devlink.core.codec import parse_address
from devlink.core.health_records import HopState
from devlink.core.legs import Answer, Leg, LegState, Words
from devlink.core.network import ObservedNetwork, Path
from devlink.core.plan import Desired
from devlink.core.prefixes import Cover, IPAddress
from devlink.core.profile import BridgeProfile, DnsServer, Gateway
from devlink.core.ways import Ways
from devlink.doctor.path.questions import question_for
from devlink.errors import DevlinkError
from devlink.kernel.neighbours import is_reachable
from devlink.kernel.observe import observe_paths

log = logging.getLogger(__name__)

MAX_ASKED = 16
"""Gateways that are asked and shown: a quarter of what the helper lets one user ask at once, the rest of which is for
failovers. In a big cluster every node could be one."""
OBSERVE_LIMIT = 0.4
"""Seconds for the kernel to say how packets go."""


@dataclass(slots=True)
class _Gateway:
    """What the looks have seen of one, and how it is shown where that is more than `core.health` knows."""

    state: HopState
    since: float
    """When it came to be shown so."""
    misses: int = 0
    """Looks in a row that it has not answered."""
    rtt: float | None = None
    """Of the last answer, seconds."""


class PathLook:
    """Of one session with one profile. Close it."""

    def __init__(self, session: Session, resolve: Resolver | None = None) -> None:
        """`resolve` asks the session's relay, where it has one."""
        self.session = session
        self._resolve = resolve
        self._profile = session.wish.profile
        self._server = _server(self._profile)
        self._target = self._server.address if self._server is not None else self._profile.spec.api
        self._is_inside = self._target is None or _holds(self._profile, self._target)
        """What is asked is in the cluster's networks: only by the session's routes may it be reached."""
        self._probes: Probes | None = None
        self._asked_by: set[IPAddress] = set()
        """By way of whom something was sent: as long as its line is there, the helper keeps a way for each."""
        self._heard: dict[IPAddress, float] = {}
        """By way of whom the cluster's DNS has answered in this look, and after how many seconds."""
        self._news = asyncio.Event()
        self._past: dict[tuple[str, str], deque[float]] = {}
        """What the last looks took, by a leg's name and whom it is about."""
        self._gateways: dict[IPAddress, _Gateway] = {}
        self._ways: tuple[Desired, Ways] | None = None

    def is_of(self, session: Session) -> bool:
        """Whether it looks at that one, by the profile that it has now."""
        return self.session is session and self._profile is session.wish.profile

    def close(self) -> None:
        """Nothing is sent after this, until it looks again. May be repeated."""
        if self._probes is not None:
            self._probes.close()
            self._probes = None
            self._asked_by.clear()

    async def look(self, room: int = MAX_ASKED) -> Mapping[str, Any]:
        """What is seen now, as `io.devlink.Agent.FollowPath` gives it, with so many gateways at most.

        Takes about `timing.LIMIT` where something is silent, and OBSERVE_LIMIT more at most.
        """
        session = self.session
        if session.is_relayed and self._resolve is not None and not why_not_sent(session):
            self.close()
            return _reply(await self._relayed(self._resolve), ())
        way = self._way()
        hop = way.next_hop if way is not None else next(iter(session.plan.desired.all_next_hops), None)
        wanted = [address for address in (self._target, hop) if address is not None]
        gateways = self._shown(hop, room)
        try:
            async with asyncio.timeout(OBSERVE_LIMIT):
                observed = await asyncio.to_thread(observe_paths, wanted)
        except (DevlinkError, TimeoutError) as error:
            log.info("%s: how its packets go cannot be seen: %s", session.name, error)
            return _reply([legs.not_asked(legs.LAPTOP, "", "the kernel does not say")], gateways)
        why = why_not_sent(session)
        if why:  # the network may be a hostile one: not a packet
            self.close()
            self._gateways.clear()
            return _reply(self._unsent(observed, hop, why), gateways)
        if self._probes is not None and (self._probes.is_lost or len(self._asked_by) > room + 1):
            self.close()
        if self._probes is None:
            self._probes = Probes(session.name, self._profile, self._answered)
        path = observed.paths.get(self._target, Path()) if self._target is not None else Path()
        if way is None:
            return _reply(await self._carried_by_network(observed, path), gateways)
        known = [parse_address(str(each["address"])) for each in gateways]
        found = await self._carried_by_us(observed, way, path, known)
        return _reply(found, map(self._laid_over, known, gateways))

    def _way(self) -> Path | None:
        """How what goes to the cluster's DNS shall go; where the session has no route for that, what the first of its
        routes is for. None where it has none."""
        desired = self.session.plan.desired
        if self._ways is None or self._ways[0] is not desired:  # of 10,000 routes it is too much for each look
            self._ways = (desired, Ways(desired))
        way = self._ways[1].to(self._target) if self._target is not None else None
        for route in desired.routes if way is None else ():
            if route.next_hop is not None:
                return self._ways[1].to(route.destination.network_address)
        return way

    def _unsent(self, observed: ObservedNetwork, hop: IPAddress | None, why: str) -> list[Leg]:
        """What can be seen without sending anything."""
        address = hop or self._target
        path = observed.paths.get(address, Path()) if address is not None else Path()
        others = ((legs.NEXT_HOP, hop), (legs.GATEWAY, hop), (legs.CLUSTER, self._target))
        return [
            _laptop(observed, path, why),
            *(legs.not_asked(name, str(of or ""), legs.NOT_ASKED) for name, of in others),
        ]

    # Where the API server carries them

    async def _relayed(self, resolve: Resolver) -> list[Leg]:
        state, dns = self.session.relay, self._profile.spec.dns
        if state is None:
            return [legs.not_asked(legs.API_SERVER, "", legs.NOT_RELAYED)]
        question = question_for(dns) if dns is not None else b""
        seen = await relayed.see(state.server, self._server, question, resolve)
        observed = await asyncio.to_thread(observe_paths, [seen.at] if seen.at is not None else [])
        path = observed.paths.get(seen.at, Path()) if seen.at is not None else Path()
        host, port = relayed.host_and_port(state.server)
        about = f"{host}:{port}" if host else ""
        found = [_laptop(observed, path), self._asked(legs.API_SERVER, about, seen.server, legs.API_SERVER_TAKES)]
        if seen.chain is None:
            return [*found, legs.not_asked(legs.POD, "", legs.NOT_RESOLVED)]
        name = (legs.POD, legs.about(seen.chain))
        node, pod = legs.relayed(seen.chain, seen.dns, tuple(self._past.get(name, ())))
        if seen.dns.rtt is not None:
            self._past.setdefault(name, deque(maxlen=legs.REMEMBERED)).append(seen.dns.rtt)
        return [*found, node, pod]

    # Where the network carries the packets

    async def _carried_by_network(self, observed: ObservedNetwork, path: Path) -> list[Leg]:
        found = [_laptop(observed, path)]
        target, oif = self._target, path.oif
        if target is None or oif is None:
            return [*found, self._cluster(None if target is not None else Answer(), path)]
        is_tunnel = path.next_hop is None and any(link.name == oif and link.noarp for link in observed.links)
        hop = path.next_hop or target
        gateway = next((g for g in self._profile.spec.gateways or () if g.address.version == target.version), None)
        async with asyncio.TaskGroup() as group:
            near = group.create_task(self._ask_hop(hop, oif)) if not is_tunnel else None
            far = group.create_task(timing.ask_machine(gateway.address)) if gateway is not None else None
            cluster = group.create_task(self._ask_cluster())
        if near is not None:
            found.append(self._asked(legs.NEXT_HOP, str(hop), near.result(), legs.ON_LINK))
        else:
            found.append(legs.not_asked(legs.NEXT_HOP, oif, legs.TUNNEL))
        if gateway is not None and far is not None:
            about, answer = _about(gateway), far.result()
            # One that never answered may drop what it is asked, or be none of this path's.
            if answer.rtt is not None or (legs.GATEWAY, about) in self._past:
                answer = Answer(rtt=answer.rtt, is_there=answer.rtt is not None)
                found.append(self._asked(legs.GATEWAY, about, answer, legs.REACHED))
        return [*found, self._cluster(cluster.result(), path)]

    # Where our routes carry them

    async def _carried_by_us(
        self, observed: ObservedNetwork, way: Path, path: Path, gateways: Iterable[IPAddress]
    ) -> list[Leg]:
        hop, oif, strangers = way.next_hop, way.oif, self.session.strangers
        assert hop is not None
        assert oif is not None
        is_ours = (path.oif, path.next_hop) == (oif, hop)
        source = path.source if is_ours else None
        named = next((g for g in self._profile.spec.gateways or () if g.address == hop), None)
        about = _about(named) if named is not None else f"node {hop}"
        found = [_laptop(observed, Path(oif=oif, source=source or _address_on(observed, oif, hop)))]
        if hop in strangers:
            others = ((legs.NEXT_HOP, str(hop)), (legs.GATEWAY, about), (legs.CLUSTER, str(self._target or "")))
            return [*found, *(legs.not_asked(name, of, legs.STRANGER) for name, of in others)]
        vias = tuple(dict.fromkeys([hop, *(each for each in gateways if each not in strangers)]))
        async with asyncio.TaskGroup() as group:
            near = group.create_task(self._ask_hop(hop, oif))
            forwarded = group.create_task(self._ask_by(vias))
            cluster = group.create_task(self._ask_cluster()) if is_ours or not self._is_inside else None
        answers = forwarded.result()
        self._note(answers)
        first, words = near.result(), legs.ON_LINK
        if first.rtt is None and not first.is_there and answers[hop].rtt is not None:
            first, words = Answer(is_there=True), legs.FORWARDING
        return [
            *found,
            self._asked(legs.NEXT_HOP, str(hop), first, words),
            self._asked(legs.GATEWAY, about, answers[hop], legs.FORWARDS),
            self._cluster(cluster.result() if cluster is not None else None, path),
        ]

    async def _ask_by(self, vias: tuple[IPAddress, ...]) -> dict[IPAddress, Answer]:
        """What comes back from the cluster by way of each, all at once."""
        probes = self._probes
        assert probes is not None
        self._asked_by.update(vias)
        if self._server is None or not self._is_inside:
            found = await asyncio.gather(*(self._handshake_by(probes, via) for via in vias))
            return dict(zip(vias, found, strict=True))
        self._heard.clear()
        asked = [via for via in vias if probes.can_ask(via)]
        began = asyncio.get_running_loop().time()
        for attempt, until in enumerate((timing.AGAIN, timing.LIMIT)):  # that one is lost says nothing
            for via in asked:
                if via not in self._heard:
                    probes.ask(via, attempt)
            try:
                async with asyncio.timeout_at(began + until):
                    while not self._heard.keys() >= set(asked):
                        self._news.clear()
                        await self._news.wait()
                break
            except TimeoutError:
                pass
        return {
            via: Answer(
                rtt=self._heard.get(via),
                is_there=via in self._heard if via in asked and via not in probes.unput else None,
            )
            for via in vias
        }

    def _answered(self, via: IPAddress, rtt: float) -> None:
        self._heard[via] = max(rtt, self._heard.get(via, 0.0))  # who was frozen answers both questions at once
        self._news.set()

    async def _handshake_by(self, probes: Probes, via: IPAddress) -> Answer:
        """With the cluster's API, where there is no DNS to be asked by way of it."""
        api = self._profile.spec.api
        if api is None:
            return Answer()
        try:
            async with asyncio.timeout(timing.LIMIT):
                return Answer(rtt=await timing.handshake(await probes.socket_by(via, api), api), is_there=True)
        except TimeoutError:
            return Answer(is_there=False)
        except (DevlinkError, OSError):  # refused, but nobody knows by whom: a firewall says it too
            return Answer()

    async def _ask_hop(self, hop: IPAddress, oif: str) -> Answer:
        probes = self._probes
        assert probes is not None

        async def is_on_link() -> bool | None:
            """The helper has the kernel ask anew for a next hop of the session; else it is what the kernel knows."""
            try:
                return await probes.neighbour(hop)
            except (DevlinkError, OSError):
                return await asyncio.to_thread(is_reachable, hop, oif)

        return await timing.ask_machine(hop, oif, is_on_link)

    async def _ask_cluster(self) -> Answer:
        """As a program would, by the ordinary routes."""
        dns = self._profile.spec.dns
        if self._target is None:
            return Answer()
        if self._server is not None and dns is not None:
            rtt = await timing.ask_dns(self._server, question_for(dns))
        else:
            rtt = await timing.ask_api(self._target)
        return Answer(rtt=rtt, is_there=rtt is not None)

    # How it is told

    def _cluster(self, answer: Answer | None, path: Path) -> Leg:
        """None where nothing was sent, because other routes than the session's would take it, or none."""
        about = str(self._target or "")
        if answer is None:
            text = legs.NOT_OURS if path.oif is not None else legs.NO_ROUTE
            return legs.not_asked(legs.CLUSTER, about, text, LegState.DOWN)
        if self._target is None:
            return legs.not_asked(legs.CLUSTER, about, legs.NOTHING_TO_ASK)
        words = legs.DNS_ANSWERS if self._server is not None else legs.API_ANSWERS
        return self._asked(legs.CLUSTER, about, answer, words)

    def _asked(self, name: str, about: str, answer: Answer, words: Words) -> Leg:
        """Judged by what the same took before, which it is part of from then on."""
        past = self._past.get((name, about), ())
        leg = legs.asked(name, about, answer, words, tuple(past))
        if answer.rtt is not None:
            self._past.setdefault((name, about), deque(maxlen=legs.REMEMBERED)).append(answer.rtt)
        return leg

    def _shown(self, hop: IPAddress | None, room: int) -> list[Mapping[str, Any]]:
        """The session's gateways, as `status` shows them: where there are more, who carries, and who is named such."""
        every = self.session.gateways
        if len(every) <= room:
            return list(every)
        named = {str(gateway.address) for gateway in self._profile.spec.gateways or ()}
        return sorted(every, key=lambda each: (each["address"] != str(hop), each["address"] not in named))[:room]

    def _note(self, answers: Mapping[IPAddress, Answer]) -> None:
        """What came of a look by way of each; nothing of those by whom nothing could be asked."""
        for via, answer in answers.items():
            seen = self._gateways.setdefault(via, _Gateway(HopState.UNKNOWN, 0.0))
            if answer.rtt is not None:
                seen.misses, seen.rtt = 0, answer.rtt
            elif answer.is_there is False:
                seen.misses += 1

    def _laid_over(self, via: IPAddress, told: Mapping[str, Any]) -> Mapping[str, Any]:
        """One gateway as `status` shows it, with what this look knows better."""
        seen = self._gateways.get(via)
        if seen is None or (seen.rtt is None and not seen.misses):
            return told
        now = asyncio.get_running_loop().time()
        known = HopState(told["state"])
        answers = any(not each.misses and each.rtt is not None for each in self._gateways.values())
        state = legs.seen_state(known, seen.misses, other_answers=answers)
        rtt = told["rtt_ms"] if seen.rtt is None else legs.in_ms(seen.rtt)
        if state is known:
            seen.state, seen.since = known, now - told["since"]
        elif state is not seen.state:
            seen.state, seen.since = state, now
        return {**told, "state": state.value, "since": round(max(0.0, now - seen.since), 1), "rtt_ms": rtt}


def why_not_sent(session: Session) -> str:
    """Why not a packet may be sent to look at it, in at most 40 characters; empty where they may."""
    if session.is_suspended:
        if session.wish.refusal is not None:
            return "suspended: another cluster answers here"
        is_offline = session.around is not None and session.around.is_offline
        return "suspended: no way to its gateways" if is_offline else "suspended: its cluster is not here"
    if session.state is State.CONNECTING:
        return "connecting: it is not verified yet"
    if not session.applied:
        return "nothing of it is installed"
    return ""


def _server(profile: BridgeProfile) -> DnsServer | None:
    """The server of the cluster's DNS that is asked: the first that the routes lead to, else the first."""
    if profile.spec.dns is None:
        return None
    servers = profile.spec.dns.servers
    return next((each for each in servers if _holds(profile, each.address)), servers[0])


def _holds(profile: BridgeProfile, address: IPAddress) -> bool:
    return Cover(profile.spec.prefixes).find_address(address) is not None


def _laptop(observed: ObservedNetwork, path: Path, why: str = "") -> Leg:
    link = next((link for link in observed.links if link.name == path.oif), None)
    return legs.laptop(path.oif, link, path.source, why)


def _address_on(observed: ObservedNetwork, oif: str, hop: IPAddress) -> IPAddress | None:
    """The laptop's first one of the hop's family there."""
    return next(
        (
            address
            for link in observed.links
            for address, _ in link.addresses
            if link.name == oif and address.version == hop.version and not address.is_link_local
        ),
        None,
    )


def _about(gateway: Gateway) -> str:
    return f"{gateway.role} {gateway.address}"


def _reply(found: Iterable[Leg], gateways: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    return {"legs": [leg.shown for leg in found], "gateways": list(gateways)}
