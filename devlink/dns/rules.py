"""The forwarder's configuration, compiled: whose a name is, what is answered here, which server is asked when."""

from collections.abc import Set
from dataclasses import dataclass, field
from typing import NamedTuple

from devlink.core.plan import ForwarderConfig, Upstream
from devlink.core.profile import Transport
from devlink.dns.match import ClaimedDomains, SuffixTable, is_excluded
from devlink.dns.wire import AAAA, ANY, AXFR, IN, IXFR, A, Ede, Query, Rcode, address_record

BUDGET = 4.5
"""Seconds from question to answer, whatever is tried: stub resolvers give up after 5 (resolv.conf(5), `timeout`)."""
FIRST_WAIT = 0.8
"""Seconds that a UDP question may stay unanswered before the next server is asked too; less if there are many."""
FIRST_WAIT_CLUSTER = 0.25
"""The same for a cluster's servers: they are near, and where a firewall passes only TCP nobody shall wait long for it.
An earlier try stays open beside the next, so a short wait costs a datagram and no answer."""
MAX_SERVERS = 4
"""Servers asked for one question: more would leave each too little of the budget."""
ORDINARY = "."
"""How statistics call all names that are in no zone."""


class Server(NamedTuple):
    """Where a server is asked."""

    host: str
    port: int


class Step(NamedTuple):
    """One try at one server."""

    server: Server
    tcp: bool
    wait: float
    """Seconds until the next step is taken as well; an answer to this one is taken even later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """The servers for one zone, or for all that is in none."""

    name: str
    """The zone's suffix as text, or ORDINARY."""
    steps: tuple[Step, ...]
    namespaces: frozenset[bytes] | None = None
    group: str = field(init=False)
    """Its servers as one text: zones with the same servers live and die together, and share what may be in flight."""

    def __post_init__(self) -> None:
        servers = dict.fromkeys(step.server for step in self.steps)
        object.__setattr__(self, "group", " ".join(f"{server.host}#{server.port}" for server in servers))

    @property
    def servers(self) -> str:
        """For people, in the text of an extended error."""
        return ", ".join(dict.fromkeys(step.server.host for step in self.steps))


class Verdict(NamedTuple):
    """What is answered here and now, and why."""

    rcode: Rcode
    records: tuple[bytes, ...] = ()
    ede: Ede | None = None
    text: str = ""


class Rules:
    """A ForwarderConfig made ready for look-ups. Immutable."""

    def __init__(self, config: ForwarderConfig, own: Set[Server] = frozenset()) -> None:
        """`own`: the forwarder's own sockets; an upstream that is one of them is left out, it would be a loop."""
        zones = [
            (
                zone.suffix,
                Destination(
                    name=str(zone.suffix),
                    steps=steps_for(zone.servers, own, FIRST_WAIT_CLUSTER),
                    namespaces=None
                    if zone.namespaces is None
                    else frozenset(n.lower().encode() for n in zone.namespaces),
                ),
            )
            for zone in config.zones
        ]
        self.zones = SuffixTable(zones)
        self.claimed = ClaimedDomains(zone.suffix for zone in config.zones)
        self.ordinary = Destination(name=ORDINARY, steps=steps_for(config.upstreams, own))
        groups = {destination.group for destination in (self.ordinary, *(d for _, d in zones)) if destination.steps}
        self.groups = len(groups)
        """How many sets of servers there are, each of which may fail by itself."""
        self._proofs = {proof.name.wire: proof.address.packed for proof in config.proofs}

    def decide(self, query: Query) -> Destination | Verdict:
        """Where a question goes, or what is answered at once."""
        if query.qclass != IN:
            return Verdict(Rcode.REFUSED, ede=Ede.PROHIBITED, text="only class IN is served")
        if query.qtype in (AXFR, IXFR):
            return Verdict(Rcode.REFUSED, ede=Ede.PROHIBITED, text="zone transfers are not forwarded")
        name = query.name
        packed = self._proofs.get(name.octets)
        if packed is not None:
            matches = query.qtype in (A if len(packed) == 4 else AAAA, ANY)
            return Verdict(Rcode.NOERROR, (address_record(packed),) if matches else ())
        found = self.zones.find(name)
        before = found[1] if found is not None else len(name.offsets)
        if self.claimed.stands_before_the_end(name, before):
            return Verdict(
                Rcode.NXDOMAIN,
                ede=Ede.PROHIBITED,
                text="a cluster's name with a search domain behind it is not forwarded",
            )
        destination = self.ordinary if found is None else found[0]
        if destination.namespaces is not None and is_excluded(name, before, destination.namespaces):
            return Verdict(Rcode.REFUSED, ede=Ede.PROHIBITED, text="the profile excludes this namespace")
        if not destination.steps:
            return Verdict(Rcode.SERVFAIL, ede=Ede.NO_REACHABLE_AUTHORITY, text="no server is known for this name")
        return destination


def steps_for(
    upstreams: tuple[Upstream, ...], own: Set[Server] = frozenset(), first_wait: float = FIRST_WAIT
) -> tuple[Step, ...]:
    """The tries at these servers in order: each once, a lonely UDP server twice, then TCP where UDP may be blocked.

    The waits sum up to BUDGET at most; what is left of it belongs to the last step.
    """
    usable = []
    for upstream in upstreams:
        server = Server(str(upstream.address), upstream.port)
        if server not in own:
            usable.append((server, upstream.transport))
    usable = usable[:MAX_SERVERS]
    tries = [(server, transport is Transport.TCP) for server, transport in usable]
    if len(usable) == 1 and usable[0][1] is not Transport.TCP:
        tries *= 2  # one datagram may be lost
    tries += [(server, True) for server, transport in usable if transport is Transport.AUTO]
    # A handshake goes before the question over TCP, so it gets two shares.
    shares = sum(2 if tcp else 1 for _, tcp in tries)
    share = min(first_wait, BUDGET / max(shares, 1))
    return tuple(Step(server, tcp, share * (2 if tcp else 1)) for server, tcp in tries)
