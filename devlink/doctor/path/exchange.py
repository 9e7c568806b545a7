"""Data exchanged with the cluster's DNS, its service and its pods: what comes back, and from whom."""

import asyncio
import errno
import socket
from collections.abc import Mapping
from dataclasses import replace

from devlink.core.diagnosis import Outcome, PodSeen, Seen, ServerSeen
from devlink.core.neighbours import Neighbours
from devlink.core.network import Path
from devlink.core.plan import Plan
from devlink.core.prefixes import Cover, IPAddress, PrefixTable
from devlink.core.profile import BridgeProfile, DnsServer, RoutingMode, Transport
from devlink.core.ways import Ways
from devlink.dns import wire
from devlink.doctor.path.questions import PORT, ask_over_tcp, first_by_version, is_answer, numbered, question_for
from devlink.kernel.observe import observe_ways

LIMIT = 2.0
"""Seconds for one exchange: a lost SYN is sent again after one."""
AGAIN = 0.5
"""Seconds after which a question over UDP is sent once more."""
STRAY_TRIES = 4
"""Questions over unconnected sockets: a service spreads them over its pods, and the first may be on the gateway."""
MAX_PODS = 4
"""Of each IP version."""
MAX_HOPS = 8
"""Nodes that are looked for on the laptop's links, where the profile names no gateway."""

_OUTCOMES = {
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.ECONNRESET: Outcome.REFUSED,
    errno.EPIPE: Outcome.REFUSED,
    errno.ETIMEDOUT: Outcome.SILENT,
    errno.EAFNOSUPPORT: Outcome.NO_WAY,
    errno.EADDRNOTAVAIL: Outcome.NO_WAY,
}
"""ENETUNREACH says nothing of this laptop: a router on the way brings it about too (ICMP, RFC 792)."""


async def look(profile: BridgeProfile, plan: Plan) -> tuple[Seen, ...]:
    """What answers of a session that is installed, for each IP version of its DNS servers; empty without DNS.

    Takes a few round trips where all is well, LIMIT seconds where something is silent. The API is not asked.
    """
    dns = profile.spec.dns
    if dns is None:
        return ()
    ways = Ways(plan.desired)
    ours = Cover(profile.spec.prefixes)
    hops = _named_hops(profile, plan)
    observed = await asyncio.to_thread(observe_ways, (*(s.address for s in dns.servers), *(dns.endpoints or ()), *hops))
    link_to = Neighbours(observed).link_to
    off_link = hops if not any(map(link_to, hops)) else ()

    def objection(address: IPAddress) -> Outcome | None:
        """Why nothing that is sent there now would say anything of the cluster; None where it would."""
        path = observed.paths.get(address, Path())
        if path.oif is None:
            return Outcome.NO_WAY
        if ways.to(address) is not None:
            return Outcome.NOT_OURS if ways.is_lost(address, path) else None
        # The plan says already that there is no route to it.
        is_carried = plan.mode is RoutingMode.ROUTER or ours.find_address(address) is None
        return None if is_carried else Outcome.NOT_OURS

    def may_be_asked(address: IPAddress) -> bool:
        """Nobody has confirmed anything of pods that need no route, so none is asked beyond the laptop's own links. Its
        packets must leave by the very link that it is on."""
        path = observed.paths.get(address, Path())
        return profile.spec.pods is not None or (path.is_on_link and link_to(address) == path.oif)

    looks = []
    for version, server in first_by_version(dns.servers).items():
        if objection(server.address) is None:
            pods = [address for address in dns.endpoints or () if address.version == version and may_be_asked(address)]
            unasked = {address: why for address in pods if (why := objection(address)) is not None}
            looks.append(_look_at(server, pods, unasked, profile, plan, ways))
    return tuple(replace(seen, off_link=off_link) for seen in await asyncio.gather(*looks))


def _named_hops(profile: BridgeProfile, plan: Plan) -> tuple[IPAddress, ...]:
    """Whom the profile would have packets go by, where the network shall carry them for want of anybody on a link."""
    spec = profile.spec
    if plan.mode is not RoutingMode.ROUTER or spec.routing is RoutingMode.ROUTER or not spec.prefixes:
        return ()
    return tuple(g.address for g in spec.gateways or ()) or tuple(n.address for n in (spec.nodes or ())[:MAX_HOPS])


async def _look_at(
    server: DnsServer,
    endpoints: list[IPAddress],
    unasked: Mapping[IPAddress, Outcome],
    profile: BridgeProfile,
    plan: Plan,
    ways: Ways,
) -> Seen:
    assert profile.spec.dns is not None
    question = question_for(profile.spec.dns)
    owners = PrefixTable((block, node.address) for node in profile.spec.nodes or () for block in node.pods)
    nodes = {address: owners.longest(address) for address in endpoints}
    hops = {address: path.next_hop if (path := ways.to(address)) else None for address in (server.address, *endpoints)}
    # Those on other nodes first: they are what this is about.
    pods = sorted(endpoints, key=lambda address: nodes[address] is not None and nodes[address] == hops[address])
    asked = (server.address, *[address for address in pods if address not in unasked][:MAX_PODS])
    is_relayed = plan.mode is RoutingMode.RELAY  # then a packet of UDP is counted as one that a program misses
    wants_udp = server.transport is not Transport.TCP and not is_relayed

    async with asyncio.TaskGroup() as group:
        over_tcp = [group.create_task(over_tcp_to(address, question)) for address in asked]
        over_udp = {a: group.create_task(over_udp_to(a, question)) for a in asked if not is_relayed}
        who = [group.create_task(strays_of(a, question)) for a in asked[:1] if not is_relayed]
        tcp = dict(zip(asked, await asyncio.gather(*over_tcp), strict=True))
        if not wants_udp and set(tcp.values()) == {Outcome.ANSWERED}:
            for waiting in (*over_udp.values(), *who):
                waiting.cancel()
    udp = dict.fromkeys(asked, Outcome.UNKNOWN)
    udp |= {address: task.result() for address, task in over_udp.items() if not task.cancelled()}
    tcp, udp = {**tcp, **unasked}, {**udp, **unasked}
    return Seen(
        mode=plan.mode,
        server=ServerSeen(
            address=server.address,
            is_service=Cover(profile.spec.services or ()).find_address(server.address) is not None,
            by=hops[server.address],
            tcp=tcp[server.address],
            udp=udp[server.address],
            strays=tuple(stray for task in who if not task.cancelled() for stray in task.result()),
            wants_udp=wants_udp,
        ),
        pods=tuple(
            PodSeen(address=address, node=nodes[address], by=hops[address], tcp=tcp[address], udp=udp[address])
            for address in (*asked[1:], *unasked)
        ),
    )


async def over_tcp_to(address: IPAddress, question: bytes, *, segment: int = 0, limit: float = LIMIT) -> Outcome:
    """Connect, ask, and have the answer: a path that carries the handshake need not carry the data.

    `segment`: octets that a segment has at most, in either direction (TCP_MAXSEG, tcp(7)); 0 leaves it to the kernel.
    `limit` is in seconds.
    """
    loop = asyncio.get_running_loop()
    connected = False
    try:
        with _socket(address, socket.SOCK_STREAM) as sock:
            if segment:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
            async with asyncio.timeout(limit):
                await loop.sock_connect(sock, (str(address), PORT))
                connected = True
                return Outcome.ANSWERED if await ask_over_tcp(sock, numbered(question)) else Outcome.REFUSED
    except TimeoutError:
        return Outcome.HANGS if connected else Outcome.SILENT
    except OSError as error:
        return outcome_of(error)


async def over_udp_to(address: IPAddress, question: bytes) -> Outcome:
    """Ask over a connected socket, as most resolvers do."""
    loop = asyncio.get_running_loop()
    packet = numbered(question)
    try:
        with _socket(address, socket.SOCK_DGRAM) as sock:
            await loop.sock_connect(sock, (str(address), PORT))
            for _ in range(round(LIMIT / AGAIN)):
                await loop.sock_sendall(sock, packet)
                try:
                    async with asyncio.timeout(AGAIN):
                        while not is_answer(await loop.sock_recv(sock, wire.MAX_MESSAGE), packet):
                            pass
                    return Outcome.ANSWERED
                except TimeoutError:
                    pass
    except OSError as error:
        return outcome_of(error)
    return Outcome.SILENT


async def strays_of(address: IPAddress, question: bytes) -> tuple[IPAddress, ...]:
    """Who else answers a question to `address`: a node that does not change the answers' source back lets us see it."""
    found = await asyncio.gather(*(_stray_of(address, question) for _ in range(STRAY_TRIES)))
    return tuple(sorted({who for who in found if who is not None and who != address}, key=int))


async def _stray_of(address: IPAddress, question: bytes) -> IPAddress | None:
    """Who answered; None where nobody did."""
    loop = asyncio.get_running_loop()
    packet = numbered(question)
    try:
        with _socket(address, socket.SOCK_DGRAM) as sock:
            for _ in range(round(LIMIT / AGAIN)):
                await loop.sock_sendto(sock, packet, (str(address), PORT))
                try:
                    async with asyncio.timeout(AGAIN):
                        while True:
                            reply, sender = await loop.sock_recvfrom(sock, wire.MAX_MESSAGE)
                            if is_answer(reply, packet):
                                return type(address)(sender[0])
                except TimeoutError:
                    pass
    except OSError:
        pass  # as much as silence: who answers is asked here, not whether
    return None


def _socket(address: IPAddress, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, kind)
    sock.setblocking(False)
    return sock


def outcome_of(error: OSError) -> Outcome:
    """What it says of the far end."""
    return _OUTCOMES.get(error.errno or 0, Outcome.UNREACHABLE)
