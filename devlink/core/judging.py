"""What is wrong on the way to one address: with its route, with who takes the packets, with what comes back. PURE."""

from collections.abc import Iterable
from dataclasses import dataclass

from devlink.core.diagnosis import Outcome
from devlink.core.explain import Claim, Kind, Place
from devlink.core.findings import Finding, Severity
from devlink.core.network import MAIN_TABLE, ObservedRoute
from devlink.core.prefixes import IPAddress, IPNetwork, PrefixTable
from devlink.core.profile import RoutingMode
from devlink.core.ways import Ways


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """The route by which the kernel sends."""

    route: ObservedRoute
    shown: str
    """As `ip route` writes it."""
    owner: str
    """Who made it: `a VPN (interface tun0)`."""


def judge_way(address: IPAddress, place: Place, winner: Winner | None, *, is_lost: bool) -> Finding | None:
    """What is wrong with the way that the kernel takes, None where it is as it should be.

    `winner` is None where there is no route, or where one drops the packets; `is_lost`: the session's route leads
    elsewhere.
    """
    claim = place.claim if place.is_routed else None
    if claim is None:
        return None if winner is not None else _no_route(address)
    session = claim.session
    wanted = _route_to(claim, address)
    if wanted is None:
        if claim.plan.mode is RoutingMode.ROUTER:
            return None if winner is not None else _no_route(address)
        return Finding(
            code="DL-ROUTE-MISSING",
            severity=Severity.ERROR,
            title=f"{address} is in the networks of {session}, and has no route of its own.",
            evidence=f"{place.network}; packets go by {winner.shown if winner is not None else 'nowhere'}",
            fix="see why, and who could carry it: devlink status",
        )
    if not is_lost:
        return None
    back = f"devlink up {session}"
    if winner is None or (winner.route.table == MAIN_TABLE and winner.route.destination.prefixlen < wanted.prefixlen):
        return Finding(
            code="DL-ROUTES-GONE",
            severity=Severity.ERROR,
            title=f"The route of {session} to {wanted} does not take these packets.",
            evidence=f"they go by {winner.shown}" if winner is not None else "no route, or one that drops them",
            fix=f"to have it put back: {back}; see who drops or routes it: ip route get {address}; ip rule",
        )
    code, title = "DL-ROUTE-TAKEN", "A route of another program wins over the cluster's."
    if winner.route.table != MAIN_TABLE:
        code, title = "DL-POLICY-WINS", "Another routing table, which is asked before, takes these packets."
    elif winner.route.destination.prefixlen > wanted.prefixlen:
        code, title = "DL-ROUTE-KEPT", "This address does not reach the cluster: another program routes it."
    return Finding(
        code=code,
        severity=Severity.ERROR,
        title=title,
        evidence=f"{winner.shown}, which belongs to {winner.owner}; {session} has {wanted}",
        fix=f"remove that route or disconnect what made it; to win over it: {back} --override "
        f"{winner.route.destination if code == 'DL-ROUTE-KEPT' else wanted}",
    )


def _route_to(claim: Claim, address: IPAddress) -> IPNetwork | None:
    """The destination of the session's route."""
    if Ways(claim.plan.desired).to(address) is None:
        return None
    routes = (route for route in claim.plan.desired.routes if route.kind == "unicast")
    return PrefixTable((route.destination, route.destination) for route in routes).longest(address)


def _no_route(address: IPAddress) -> Finding:
    return Finding(
        code="DL-NO-ROUTE",
        severity=Severity.ERROR,
        title=f"This laptop has no route to {address}.",
        evidence=f"ip route get {address}: unreachable",
        fix="is the laptop in the network (ip route)? If it is an address of a cluster: devlink up",
    )


def judge_next_hop(
    neighbour: IPAddress, oif: str, link_address: str, *, is_silent: bool, is_target: bool = False
) -> Finding | None:
    """What is wrong with who takes the packets, where nothing comes back. `link_address`: what the kernel knows of it,
    or empty; `is_silent`: the agent asks by way of it, and hears nothing; `is_target`: it is what was asked for."""
    if not link_address and is_target:
        return Finding(
            code="DL-HOST-DOWN",
            severity=Severity.ERROR,
            title=f"{neighbour} should be on this link, and does not answer there: it is down, or nobody's.",
            evidence=f"nobody on {oif} says that it is {neighbour} (ip neighbour show {neighbour})",
            fix="is that machine up, and in this very network (ip -br address)?",
        )
    if not link_address:
        return Finding(
            code="DL-GATEWAY-DOWN",
            severity=Severity.ERROR,
            title=f"The next hop {neighbour} does not answer on its link: nothing can go by it.",
            evidence=f"nobody on {oif} says that it is {neighbour} (ip neighbour show {neighbour})",
            fix=f"is {neighbour} up, and this laptop in its network? See who else could carry it: devlink status",
        )
    if is_silent:
        return Finding(
            code="DL-GATEWAYS-SILENT",
            severity=Severity.ERROR,
            title=f"The cluster's DNS does not answer by way of {neighbour}, which carries these packets.",
            evidence=f"{neighbour} is {link_address} on {oif}, and devlink hears nothing by way of it",
            fix=f"does {neighbour} forward, and is the cluster's DNS up? See: devlink status",
        )
    return None


# What comes back


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How one connection went."""

    port: int
    outcome: Outcome
    detail: str = ""
    """What came back, for a person: `HTTP/1.1 200 OK`."""

    def __str__(self) -> str:
        return f"port {self.port}: {self.detail or self.outcome.value}"


def judge_data(
    address: IPAddress, place: Place, tried: Iterable[Reached], *, by: IPAddress | None, is_asked: bool
) -> Finding | None:
    """What is wrong with what came back from `address`. `by`: the next hop; `is_asked`: its user named the port.

    Of ports that nobody named, any answer will do: a refusal has come the whole way, too. Where all are silent, a
    ClusterIP is not judged, for only its own ports answer.
    """
    tried = tuple(tried)
    outcomes = {each.outcome for each in tried}
    kind = place.kind if place.is_routed else Kind.OTHER
    evidence = "; ".join(map(str, tried)) + (f"; by way of {by}" if by is not None else "")
    found = _worst(outcomes, kind, is_asked=is_asked)
    if found is None:
        return None
    code, title, fix = found
    where = f"{address} port {tried[0].port}" if is_asked else str(address)
    if place.is_excluded and place.claim is not None:
        fix = f"you have it excluded; to have it routed: devlink up {place.claim.session}, without --exclude or what "
        fix += "config.toml excludes"
    # A host that drops what it does not serve is silent, too.
    is_certain = is_asked or kind is not Kind.OTHER or outcomes != {Outcome.SILENT}
    return Finding(
        code=code,
        severity=Severity.ERROR if is_certain else Severity.WARNING,
        title=title.format(where=where),
        evidence=evidence,
        fix=fix.format(by=by if by is not None else "the network's router", address=address),
    )


_HANGS = {
    Kind.POD: (
        "DL-POD-HANGS",
        "Connections to {where} open, and then hang: one node sees only half of them, and drops the rest.",
        "route to the pod's node itself: list it under nodes in the profile, and join its network; or set "
        "conntrack.tcpBeLiberal: true (or mode: nftables) in kube-proxy's configuration and restart it",
    ),
    Kind.SERVICE: (
        "DL-SERVICE-SILENT",
        "Connections to {where} open, and then nothing comes.",
        "does the program in the pod answer (kubectl logs)? A pod's address tells whether it is the way: devlink "
        "explain POD:PORT",
    ),
    Kind.OTHER: (
        "DL-PORT-SILENT",
        "Connections to {where} open, and then nothing comes.",
        "does the program there answer, and is it what the port's protocol says?",
    ),
}
_SILENT = {
    Kind.POD: (
        "DL-POD-SILENT",
        "Nothing comes back from {where}.",
        "is the pod gone (kubectl get pods -A -o wide)? Does a NetworkPolicy admit this laptop's network? Under an "
        "overlay: ipipMode or vxlanMode CrossSubnet or Never, or rp_filter=2 on the nodes' tunnel devices",
    ),
    Kind.SERVICE: (
        "DL-SERVICE-SILENT",
        "Nothing comes back from {where}.",
        "has the service this port, and pods that are ready (kubectl get endpointslices -A)? Does {by} run kube-proxy, "
        "with clusterCIDR or masqueradeAll? Cilium: bpf.lbExternalClusterIP=true",
    ),
    Kind.OTHER: (
        "DL-PORT-SILENT",
        "Nothing comes back from {where}.",
        "is that machine up, and does a firewall on the way drop what goes there? If it is an address of a cluster: "
        "devlink up",
    ),
}
_REFUSED = {
    Kind.SERVICE: (
        "DL-SERVICE-REFUSED",
        "{where} refuses connections: the service has no pods that are ready, or no such port.",
        "kubectl get services,endpointslices -A: which service has {address}, with which ports, and are its endpoints "
        "ready?",
    ),
    Kind.OTHER: (
        "DL-PORT-REFUSED",
        "{where} refuses connections: nothing listens there, or a firewall rejects them. The way is well.",
        "does the program run, and listen at this port and at this address (ss -ltn there)?",
    ),
}


def _worst(outcomes: set[Outcome], kind: Kind, *, is_asked: bool) -> tuple[str, str, str] | None:
    if Outcome.HANGS in outcomes:
        return _HANGS.get(kind, _HANGS[Kind.OTHER])
    if Outcome.ANSWERED in outcomes:
        return None
    if Outcome.REFUSED in outcomes:
        return _REFUSED.get(kind, _REFUSED[Kind.OTHER]) if is_asked else None
    if not outcomes or (kind is Kind.SERVICE and not is_asked):
        return None
    return _SILENT.get(kind, _SILENT[Kind.OTHER])
