"""What came back from the cluster's DNS, its ClusterIP and its pods, and what that says of the way there. PURE.

Each check is one line of a table: TCP and UDP to the service, TCP and UDP to pods on other nodes. Where names and
ClusterIPs work, trouble with pods is a warning and the session stays: to take it all back would leave its user with
less. Where the cluster's DNS does not answer at all, names cannot work, and the same finding says why.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import IPAddress
from devlink.core.profile import RoutingMode
from devlink.core.text import listed


class Outcome(StrEnum):
    """How one exchange ended, in the words of the evidence."""

    ANSWERED = "answered"
    HANGS = "connects, then nothing comes"
    """Only TCP can: the handshake goes through, the data do not."""
    SILENT = "no answer"
    REFUSED = "refused"
    """A RST or an ICMP error: somebody is there, and nobody who serves."""
    UNREACHABLE = "unreachable"
    NO_WAY = "no route on this laptop"
    """Nothing was sent, so it says nothing of the cluster."""
    NOT_OURS = "goes another way on this laptop"
    """By a route or a rule of another program, so it was not asked."""
    UNKNOWN = "not waited for"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """What a pod of the cluster's DNS did."""

    address: IPAddress
    node: IPAddress | None
    """The owner of its block; None where the profile does not say."""
    by: IPAddress | None
    """The next hop of packets to it; None where the network carries them, or where it is on the link."""
    tcp: Outcome
    udp: Outcome

    @property
    def is_direct(self) -> bool:
        """Whether packets go by the pod's own node: then there is no other way for the answers."""
        return self.by is not None and self.by == self.node

    def __str__(self) -> str:
        place = ", ".join([f"on {self.node}"] * bool(self.node) + [f"by way of {self.by}"] * bool(self.by))
        return f"{self.address}{f' ({place})' if place else ''}: TCP {self.tcp.value}, UDP {self.udp.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSeen:
    """What the address did that names are asked at: a ClusterIP, or a node's address."""

    address: IPAddress
    is_service: bool
    """It is a ClusterIP: whoever answers has another address, and a node on the way must change that back."""
    by: IPAddress | None
    """As `PodSeen.by`."""
    tcp: Outcome
    udp: Outcome
    """Over a connected socket, which takes answers from this address only."""
    strays: tuple[IPAddress, ...] = ()
    """Other addresses that answered a question to this one, over unconnected sockets."""
    wants_udp: bool = True
    """False where the profile says that it is asked over TCP only."""

    @property
    def answers(self) -> bool:
        return Outcome.ANSWERED in (self.tcp, self.udp)

    def __str__(self) -> str:
        way = f" (by way of {self.by})" if self.by else ""
        return f"{self.address}{way}: TCP {self.tcp.value}, UDP {self.udp.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that came back, of one IP version."""

    mode: RoutingMode
    server: ServerSeen
    pods: tuple[PodSeen, ...] = ()
    api: bool | None = None
    """Whether the ClusterIP of the API answered; None where it was not asked."""
    off_link: tuple[IPAddress, ...] = ()
    """Next hops that the profile names, where none of them is on a link here (R1), so that the network must carry."""

    @property
    def remote(self) -> tuple[PodSeen, ...]:
        """Pods that are not on the next hop itself, as far as is known."""
        return tuple(pod for pod in self.pods if not pod.is_direct)

    @property
    def something_came(self) -> bool:
        """Whether anybody of the cluster was heard. A relay takes each connection itself."""
        outcomes = [self.server.tcp, self.server.udp, *(out for pod in self.pods for out in (pod.tcp, pod.udp))]
        heard = Outcome.ANSWERED in outcomes or (Outcome.HANGS in outcomes and self.mode is not RoutingMode.RELAY)
        return heard or bool(self.server.strays) or bool(self.api)

    @property
    def is_refused(self) -> bool:
        """Whether the server's address refuses whoever asks. Where nobody answers and pods refuse as well, it is a
        firewall on the way that rejects all of it."""
        server = self.server
        if server.answers or server.strays or Outcome.REFUSED not in (server.tcp, server.udp):
            return False
        return self.something_came or not any(Outcome.REFUSED in (pod.tcp, pod.udp) for pod in self.pods)


EXPLAIN_SILENCE = frozenset(
    ("DL-R1-OFFLINK", "DL-NOT-FORWARDING", "DL-SERVICE-REFUSED", "DL-SERVICE-NO-RETURN", "DL-SERVICE-SILENT")
)
"""The findings that are a reason why the cluster's DNS does not answer at all."""


def diagnose(seen: Seen) -> tuple[Finding, ...]:
    """What is wrong with the way, the gravest first; nothing where all came back, or where nothing was sent, or where
    it is relayed: no packet of the cluster's is on its way then."""
    if seen.server.tcp is Outcome.NO_WAY or seen.mode is RoutingMode.RELAY:
        return ()
    return tuple(finding for check in CHECKS for finding in check(seen))


def _off_link(seen: Seen) -> Iterator[Finding]:
    """R1, and the network does not carry it either."""
    if seen.off_link and not seen.something_came and not seen.is_refused:
        yield Finding(
            code="DL-R1-OFFLINK",
            severity=Severity.WARNING,
            title="No gateway of the cluster is on a link of this laptop, and its network does not carry the cluster's "
            "addresses.",
            evidence=f"not on a link: {listed(seen.off_link)} (a route by it: Nexthop has invalid gateway); "
            + _evidence(seen, seen.pods),
            fix=f"join the network that {seen.off_link[0]} is on, by cable or by a VPN, or have this network's router "
            f"route the pod and service networks by way of {seen.off_link[0]}",
        )


def _not_forwarding(seen: Seen) -> Iterator[Finding]:
    if seen.something_came or seen.is_refused or seen.off_link:
        return
    if Outcome.REFUSED in (seen.server.tcp, seen.server.udp):
        fix = "Does a firewall on the way reject what comes from this laptop?"
    elif seen.server.by is None:
        fix = "Does the network's router have routes to the pod and service networks, and does a firewall let DNS pass?"
    else:
        fix = f"On {seen.server.by}: is net.ipv4.ip_forward 1 (net.ipv6.conf.all.forwarding), does the FORWARD chain "
        fix += "let this laptop's packets pass, and is there a way back to it?"
    yield Finding(
        code="DL-NOT-FORWARDING",
        severity=Severity.WARNING,
        title="Nothing comes back from the cluster, neither from services nor from pods.",
        evidence=_evidence(seen, seen.pods),
        fix=fix,
    )


def _refused(seen: Seen) -> Iterator[Finding]:
    """kube-proxy rejects what is for a service without ready pods, and in nftables mode what is for another port."""
    server = seen.server
    if seen.is_refused:
        where = "on its ClusterIP" if server.is_service else "there"
        yield Finding(
            code="DL-SERVICE-REFUSED",
            severity=Severity.WARNING,
            title=f"Who asks the cluster's DNS at {server.address} is refused.",
            evidence=_evidence(seen, seen.pods),
            fix="Has it a pod that is ready? kubectl -n kube-system get endpointslices. "
            f"Is this its address (dns.servers in the profile), and does it serve port 53 {where}?",
        )


def _no_return(seen: Seen) -> Iterator[Finding]:
    """R3: no SNAT at the node that takes a ClusterIP, so the pod answers past it."""
    server = seen.server
    if server.is_service and server.strays:
        yield Finding(
            code="DL-SERVICE-NO-RETURN",
            severity=Severity.WARNING,
            title="ClusterIPs whose pod is on another node do not answer: the pods' answers come back with the pods' "
            "own addresses.",
            evidence=f"a question to {server.address} was answered by {listed(server.strays)}; {server}",
            fix="let kube-proxy masquerade what comes from outside: set clusterCIDR to the pod network, or "
            "masqueradeAll: true, in its configuration, and restart it",
        )


def _service_silent(seen: Seen) -> Iterator[Finding]:
    """R3 behind a laptop that takes no stray answers, R6, or a service without pods."""
    server = seen.server
    if not server.is_service or server.answers or server.strays or not seen.something_came or seen.is_refused:
        return
    if seen.api:
        fix = "Has the cluster's DNS a pod that is ready? kubectl -n kube-system get endpointslices"
    else:
        fix = "Does the node that takes ClusterIPs run kube-proxy, with clusterCIDR or masqueradeAll? Cilium: "
        fix += "bpf.lbExternalClusterIP=true; through a router: it needs a route to the service network"
    yield Finding(
        code="DL-SERVICE-SILENT",
        severity=Severity.WARNING,
        title="The ClusterIP of the cluster's DNS does not answer"
        + (", that of its API does." if seen.api else ", although the cluster is there."),
        evidence=_evidence(seen, seen.pods),
        fix=fix,
    )


def _pods_hang(seen: Seen) -> Iterator[Finding]:
    """R2: one node sees only half of the flow, and its kube-proxy drops that as INVALID."""
    hanging = [pod for pod in seen.pods if pod.tcp is Outcome.HANGS]
    if hanging:
        yield Finding(
            code="DL-POD-HANGS",
            severity=Severity.WARNING,
            title="Connections to pods on other nodes open, and then hang.",
            evidence=_evidence(seen, hanging),
            fix="route to each node itself: list them under nodes in the profile, and join their network; or set "
            "conntrack.tcpBeLiberal: true (or mode: nftables) in kube-proxy's configuration and restart it",
        )


def _pods_silent(seen: Seen) -> Iterator[Finding]:
    """R4, a NetworkPolicy, or a pod that is gone."""
    silent = [pod for pod in seen.pods if pod.tcp in (Outcome.SILENT, Outcome.UNREACHABLE)]
    if not silent or not seen.something_came:
        return
    heard = [pod for pod in seen.pods if pod.tcp in (Outcome.ANSWERED, Outcome.HANGS)]
    # One that was deleted is silent as well; others on the same kind of way, that answer, speak for the way.
    excused = all(any(one.is_direct == pod.is_direct for one in heard) for pod in silent)
    # Those of an old edition are all gone after one rollout of the DNS, and a pod heard over UDP is not gone.
    is_known = bool(heard) or any(pod.udp is Outcome.ANSWERED for pod in silent)
    if is_known:
        title = "Pods on some nodes do not answer." if heard else "Services answer, pods do not."
        fix = "Is it gone meanwhile? devlink profile fetch. Else: does"
    else:
        title = "None of the pods that the profile names as the cluster's DNS answers."
        fix = "Either they are gone (devlink profile publish names those of today), or pods cannot answer: does"
    yield Finding(
        code="DL-POD-SILENT",
        severity=Severity.INFO if excused or not is_known else Severity.WARNING,
        title=title,
        evidence=_evidence(seen, silent),
        fix=f"{fix} a NetworkPolicy admit this laptop's network? "
        "Under an overlay: ipipMode or vxlanMode CrossSubnet or Never, or rp_filter=2 on the nodes' tunnel devices",
    )


def _udp_blocked(seen: Seen) -> Iterator[Finding]:
    server = seen.server
    lost = server.udp in (Outcome.SILENT, Outcome.UNREACHABLE, Outcome.REFUSED)
    if server.tcp is Outcome.ANSWERED and lost and not server.strays and server.wants_udp:
        yield Finding(
            code="DL-UDP53-BLOCKED",
            severity=Severity.WARNING,
            title="The cluster's DNS answers over TCP, and not over UDP: it is asked over TCP.",
            evidence=_evidence(seen, seen.pods),
            fix=f"let UDP port 53 to {server.address} pass the firewall, or say transport: tcp in the profile",
        )


def _none_elsewhere(seen: Seen) -> Iterator[Finding]:
    """R2 and R3 show only with a pod on another node than the gateway."""
    asked = [pod for pod in seen.remote if pod.tcp not in (Outcome.REFUSED, Outcome.NO_WAY, Outcome.NOT_OURS)]
    if seen.mode is not RoutingMode.GATEWAY or not seen.server.answers or asked:
        return
    unknown = "pods on other nodes answer" + ("" if seen.api else ", and services with their pods there")
    yield Finding(
        code="DL-NO-ENDPOINT-ELSEWHERE",
        severity=Severity.INFO,
        title=f"It could not be seen whether {unknown}.",
        evidence="; ".join(map(str, seen.remote))
        or (
            f"all known pods of the cluster's DNS are on {seen.server.by or 'the gateway'}"
            if seen.pods
            else "the profile names no pod of the cluster's DNS (dns.endpoints)"
        ),
        fix="" if seen.pods else "publish it anew with `devlink profile publish`, which finds them",
    )


def _evidence(seen: Seen, pods: Iterable[PodSeen]) -> str:
    return "; ".join(map(str, (seen.server, *pods)))


CHECKS: tuple[Callable[[Seen], Iterator[Finding]], ...] = (
    _off_link,
    _not_forwarding,
    _refused,
    _no_return,
    _service_silent,
    _pods_hang,
    _pods_silent,
    _udp_blocked,
    _none_elsewhere,
)
"""What keeps names from working first: the first finding is the reason where they do not."""
