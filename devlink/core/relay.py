"""What a relay is told, and what it tells: the shapes of io.devlink.Relay."""

from dataclasses import dataclass

from devlink.core.findings import Finding
from devlink.core.plan import Upstream
from devlink.core.prefixes import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """What a user allows a relay beyond what is declared (config.toml, `devlink up`)."""

    undeclared_ports: bool = False
    """Ports that neither a Service nor a containerPort declares."""
    host_network: bool = False
    """Pods in their node's own network: what is dialled there is the node's loopback."""
    containers: tuple[str, ...] = ()
    """Bridges of this laptop whose containers are let in, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig:
    """What one relay serves. Its environment (KUBECONFIG, proxies) is its user's."""

    session: str
    context: str
    """The kubeconfig's context, or the login, by which its API is reached; empty for the current one."""
    prefixes: tuple[IPNetwork, ...]
    """What may be asked for; anything else is reset."""
    api: IPAddress | None = None
    """The `kubernetes` ClusterIP, which has no pods: what goes there is led to the API server itself."""
    names: tuple[Upstream, ...] = ()
    """The cluster's DNS servers, to which the listener for names leads, in order of preference."""
    namespaces: tuple[str, ...] = ()
    """Where to look for services and pods when the whole cluster may not be searched."""
    options: RelayOptions = RelayOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayListener:
    """One listening socket that the helper made; its descriptor goes along, in the same order."""

    purpose: str
    """`redirected` (the destination is asked of the kernel), `containers` (the same, on a bridge), or `names`."""
    address: IPAddress
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """Where a connection ends."""

    namespace: str
    name: str
    port: int
    """As the pod has it, not the service's."""
    node: str = ""
    address: IPAddress | None = None
    host_network: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PodUse:
    """A pod that the relay speaks with."""

    namespace: str
    name: str
    node: str
    streams: int
    """Open at this moment."""
    sessions: int
    """Upgraded connections to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why connections were refused, and how often."""

    reason: str
    """One of REASONS."""
    count: int
    last: str = ""
    """Of the last of them: ADDRESS:PORT and what was said, in words."""


REASONS = (
    "outside", "no-object", "undeclared", "host-network", "no-pods", "port-closed", "pod-gone", "rights", "api",
    "stalled", "too-many",
)  # fmt: skip
"""Outside the prefixes; nothing has that address; a port that nobody declares; a pod in its node's network; a service
without a pod that is ready; nobody listens there in the pod; the pod ended; not permitted; the API does not answer or
refuses; nobody read a stream for too long; more than this relay holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayState:
    """How it is with one relay."""

    server: str = ""
    """The API server's URL, or the proxy's before it."""
    form: str = ""
    """How it speaks with that: `spdy-websocket`, `spdy` or `websocket`; empty before the first connection."""
    streams: int = 0
    """Open at this moment."""
    opened: int = 0
    """Since it was started."""
    sent: int = 0
    """Octets to pods since it was started."""
    received: int = 0
    """Octets from pods."""
    pods: tuple[PodUse, ...] = ()
    refused: tuple[Refused, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What is wrong now: rights withdrawn, credentials that have ended, a proxy that cuts connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayChain:
    """How a connection to one address and port would go: for `devlink explain`."""

    service: str = ""
    """NAMESPACE/NAME; empty for a pod's own address."""
    service_port: str = ""
    """Name and number, as `http (80)`."""
    endpoint: str = ""
    """The EndpointSlice that names the pod."""
    pod: Pod | None = None
    ready: int = 0
    """How many endpoints are ready."""
    direct: str = ""
    """HOST:PORT where no pod is behind it and the relay goes straight: the API server's."""
    refused: str = ""
    """One of REASONS where it is refused."""
    why: str = ""
    """In words."""
