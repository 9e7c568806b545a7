"""A relay's state in words, for `status`, the dashboard and `explain`. PURE."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from devlink.core.codec import encode
from devlink.core.relay import Pod, PodUse, Refused, RelayState

FORMS = {
    "spdy-websocket": "SPDY in a websocket",
    "spdy": "SPDY by a plain upgrade",
    "websocket": "a websocket for each connection",
}
"""How a relay speaks with the API server, by `RelayState.form`."""
WHY = {
    "outside": "outside the session's prefixes",
    "no-object": "nothing has that address",
    "undeclared": "no Service and no containerPort declares that port",
    "host-network": "the pod is in its node's own network",
    "no-pods": "the service has no pod that is ready",
    "port-closed": "nobody listens on that port in the pod",
    "pod-gone": "the pod has ended",
    "rights": "your rights do not allow it",
    "api": "the API server does not answer, or refuses",
    "stalled": "nobody read a stream for too long",
    "too-many": "more at once than the relay holds",
}
"""By reason of `core.relay.REASONS`."""
OPT_IN = {
    "undeclared": "devlink up --relay-undeclared-ports",
    "host-network": "devlink up --relay-host-network",
}
"""What lets in that which is refused unless its user says so."""
UNITS = ("kB", "MB", "GB", "TB")


def tree(state: RelayState) -> Mapping[str, Any]:
    """For programs: every count and list is there, also where it is nothing."""
    nothing: dict[str, Any] = {"pods": [], "refused": [], "findings": []}
    whole = {field.name: nothing.get(field.name, field.default) for field in fields(RelayState)}
    return {**whole, **encode(state)}


def octets(count: int) -> str:
    """`512 B`, `4.2 MB`: in powers of 1000, three digits at most."""
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in UNITS:
        size /= 1000
        if size < 999.5 or unit == UNITS[-1]:
            break
    return f"{size:.1f} {unit}" if size < 9.95 else f"{size:.0f} {unit}"


def form(state: RelayState) -> str:
    """How it speaks with the API server; empty before the first connection."""
    return FORMS.get(state.form, state.form)


def streams(count: int) -> str:
    """`3 streams`."""
    return f"{count or 'no'} stream{'s' * (count != 1)}"


def traffic(state: RelayState) -> str:
    """What is open, and what went through since it was started."""
    opened = f" of {state.opened}" if state.opened > state.streams else ""
    return f"{streams(state.streams)} open{opened}, {octets(state.sent)} sent, {octets(state.received)} received"


def busiest(pods: Iterable[PodUse]) -> list[PodUse]:
    """Those with the most streams first."""
    return sorted(pods, key=lambda pod: (-pod.streams, pod.namespace, pod.name))


def pod_in_use(pod: PodUse) -> str:
    """`default/web-1 on node-a: 2 streams`."""
    on = f" on {pod.node}" if pod.node else ""
    sessions = f" in {pod.sessions} sessions" if pod.sessions > 1 else ""
    return f"{pod.namespace}/{pod.name}{on}: {streams(pod.streams) if pod.streams else 'kept warm'}{sessions}"


def why_refused(reason: str) -> str:
    """In words; a reason that this version does not know, as it is written."""
    return WHY.get(reason, reason)


def refusal(refused: Refused) -> str:
    """`3 times: nobody listens on that port in the pod; last 10.20.0.7:81`."""
    times = "once" if refused.count == 1 else f"{refused.count} times"
    last = f"; {'last ' if refused.count != 1 else ''}{refused.last}" if refused.last else ""
    return f"{times}: {why_refused(refused.reason)}{last}"


def dialled(pod: Pod) -> str:
    """What the node's end dials, and what that means."""
    if pod.host_network:
        return (
            f"the node's end dials port {pod.port} of the node's own loopback: what trusts 127.0.0.1 there trusts you"
        )
    return (
        f"the node's end dials 127.0.0.1:{pod.port} in the pod, which sees 127.0.0.1 as its peer: NetworkPolicy and a "
        "mesh's rules for what comes in do not apply"
    )
