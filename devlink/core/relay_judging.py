"""What is wrong with what a relay says of one connection, or of all that it refused. PURE."""

from collections.abc import Iterable, Iterator, Mapping

from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import IPAddress
from devlink.core.relay import Refused, RelayChain, RelayState
from devlink.core.relay_words import OPT_IN, why_refused
from devlink.core.text import host_and_port, listed

MANY = 3
"""Refusals for one reason from which on it is no typing error."""
NO_UDP = "use TCP where the program can (DNS: +tcp); for all else join a network that reaches the nodes"
CURES = {
    "rights": "whoever runs the cluster can grant it: kubectl auth can-i create pods/portforward",
    "no-pods": "kubectl get endpointslices shows what is behind it",
    "no-object": "is it still there? kubectl get services,pods -A -o wide",
    "undeclared": f"to let such ports in: {OPT_IN['undeclared']}; or declare it: containerPort, or a Service's port",
    "host-network": f"to let such pods in, whose node's loopback is dialled: {OPT_IN['host-network']}",
    "port-closed": "have the server listen on 0.0.0.0 or [::], not on the pod's IP alone; is it the right port?",
    "pod-gone": "a client that connects again gets another pod: kubectl get pods",
    "api": "is the API server there? kubectl get --raw /readyz",
    "stalled": "the program that has that connection open does not read: end it",
    "too-many": "close connections that nobody uses: devlink status shows where they lead",
    "outside": "is it an address of this cluster? devlink status shows the session's prefixes",
}
"""By reason of `core.relay.REASONS`."""
CODES = {"rights": "DL-RELAY-RIGHTS", "no-pods": "DL-RELAY-NO-PODS", "port-closed": "DL-RELAY-POD-IP"}
"""Reasons that have a finding of their own; the others share REFUSED."""
REFUSED = "DL-RELAY-REFUSED"
TITLES = {
    "DL-RELAY-RIGHTS": "Your rights in the cluster do not allow to relay this.",
    "DL-RELAY-NO-PODS": "No pod that is ready is behind this service, so nothing can be relayed to it.",
    "DL-RELAY-POD-IP": "Nobody listens on that port on the pod's loopback, which is what a relay dials.",
}


def judge_chain(address: IPAddress, port: int, chain: RelayChain) -> Finding | None:
    """Why a connection to that address and port would be refused; None where it would not."""
    if not chain.refused:
        return None
    place = host_and_port(address, port)
    said = f": {chain.why}" if chain.why else ""
    return _finding(chain.refused, Severity.ERROR, f"{place}{said}", f"{place} is refused")


def judge_refusals(state: RelayState) -> tuple[Finding, ...]:
    """What programs of this laptop have asked for in vain, the most frequent first: a hint, from MANY on a warning."""
    known = {finding.code for finding in state.findings}
    found = sorted(_of_refusals(state.refused), key=lambda each: each.severity is Severity.INFO)
    return tuple(finding for finding in found if finding.code not in known)


def _of_refusals(refused: Iterable[Refused]) -> Iterator[Finding]:
    said: set[str] = set()
    for each in sorted(refused, key=lambda each: -each.count):
        code = CODES.get(each.reason, REFUSED)
        if code not in said and each.count:
            said.add(code)
            severity = Severity.WARNING if each.count >= MANY and each.reason != "no-object" else Severity.INFO
            evidence = f"{each.count} so far; last: {each.last}" if each.last else f"{each.count} so far"
            yield _finding(each.reason, severity, evidence, "Connections of yours were refused by the relay")


def _finding(reason: str, severity: Severity, evidence: str, what: str) -> Finding:
    code = CODES.get(reason, REFUSED)
    title = TITLES.get(code) or f"{what}: {why_refused(reason)}."
    return Finding(code=code, severity=severity, title=title, evidence=evidence, fix=CURES.get(reason, ""))


def dns_without_pods(chains: Mapping[IPAddress, RelayChain]) -> tuple[Finding, ...]:
    """`chains` to the cluster's DNS servers: an error where no pod is behind any of them."""
    if not chains or any(chain.refused not in ("no-pods", "no-object") for chain in chains.values()):
        return ()
    return (
        Finding(
            code="DL-RELAY-NO-DNS-PODS",
            severity=Severity.ERROR,
            title="No pod is behind the cluster's DNS, so a relay cannot ask for its names.",
            evidence=listed(
                f"{address}: {chain.why or why_refused(chain.refused)}" for address, chain in chains.items()
            ),
            fix="kubectl -n kube-system get pods -l k8s-app=kube-dns; where the cluster has none by design: --no-dns",
        ),
    )


def udp_asked(address: IPAddress, port: int | None) -> Finding:
    """That UDP to there would be refused."""
    there = f"{address}" if port is None else f"{address} port {port}"
    return Finding(
        code="DL-RELAY-UDP",
        severity=Severity.ERROR,
        title=f"UDP to {there} is refused: a relay carries TCP alone.",
        evidence="nothing of it leaves this laptop; names go through all the same, for devlink asks over TCP",
        fix=NO_UDP,
    )


def udp_wanted(refused: int) -> tuple[Finding, ...]:
    """`refused`: packets to the session's prefixes that were no TCP, since it is relayed."""
    if not refused:
        return ()
    return (
        Finding(
            code="DL-RELAY-UDP",
            severity=Severity.WARNING,
            title="A program wants UDP or a ping to the cluster, and a relay carries TCP alone.",
            evidence=f"{refused} packets that were no TCP were refused",
            fix=NO_UDP,
        ),
    )
