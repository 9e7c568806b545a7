"""What is behind an address of the cluster: the API's objects as records, and which pod takes a connection. PURE.

A pod is chosen as kube-proxy chooses it: a service's port leads by its name to the pods' port, pods that are ready go
before those that end and still serve (KEP-1669), and a client stays with its pod where the service says so. What a
service says of distance (internalTrafficPolicy, trafficDistribution) does not count: a laptop is on no node of the
cluster, and every pod is equally far from the API server. What has an odd shape counts as absent.
"""

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devlink.core.codec import parse_address
from devlink.core.fields import dig, flag, mappings, number, text, texts
from devlink.core.prefixes import IPAddress
from devlink.relay.refusal import RefusedError

Object = Mapping[str, Any]
Place = tuple[str, str]
"""A namespace, and the name of an object in it."""
AFFINITY = 10800
"""Seconds that a client stays with its pod where a service does not say (`ClientIPConfig.timeoutSeconds`)."""
LONGEST_AFFINITY = 86400
"""Seconds; the API takes no more."""
SERVICE_NAME = "kubernetes.io/service-name"
"""The label by which EndpointSlices belong to a service."""
LATEST_PORT = 65535
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""RFC 1123 subdomain: what a name in a path of the API may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """One port of a service."""

    name: str
    """Empty for a service's only one, perhaps. EndpointSlices have the pods' number by it."""
    port: int
    protocol: str = "TCP"

    def __str__(self) -> str:
        return f"{self.name} ({self.port})" if self.name else str(self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Service."""

    namespace: str
    name: str
    addresses: tuple[IPAddress, ...] = ()
    """Its ClusterIPs, the primary family's first."""
    ports: tuple[ServicePort, ...] = ()
    has_selector: bool = True
    """False: its endpoints are somebody's own entries, and need not be pods."""
    affinity: float = 0.0
    """Seconds since its last connection for which a client stays with its pod; 0: not at all."""

    @property
    def place(self) -> Place:
        """By which its EndpointSlices are asked for."""
        return self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address of an EndpointSlice."""

    address: IPAddress
    ports: Mapping[str, int]
    """The pod's TCP ports by the names of the service's: one name may be another number in another slice."""
    slice: str = ""
    pod: Place | None = None
    ready: bool = True
    """Also of a pod that is not, where its service has `publishNotReadyAddresses`: the slice has it in already."""
    serving: bool = True
    terminating: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A pod that is there."""

    namespace: str
    name: str
    node: str = ""
    addresses: tuple[IPAddress, ...] = ()
    ports: frozenset[int] = frozenset()
    """The TCP ports that its containers declare."""
    host_network: bool = False
    is_over: bool = False
    """It has ended, and its address may be another's by now."""
    is_ending: bool = False

    @property
    def place(self) -> Place:
        """What it is asked for by."""
        return self.namespace, self.name


def service_of(item: Object) -> Service | None:
    """A Service of the API; None where it has no name, or no address of the cluster's (headless, ExternalName)."""
    place = _place(item)
    if place is None:
        return None
    found = texts(item, "spec", "clusterIPs") or (text(item, "spec", "clusterIP"),)
    addresses = tuple(_addresses(found))
    if not addresses:
        return None
    ports = (
        ServicePort(name=_name(each, "name"), port=port, protocol=text(each, "protocol") or "TCP")
        for each in mappings(item, "spec", "ports")
        if (port := _port(each, "port"))
    )
    stays = text(item, "spec", "sessionAffinity") == "ClientIP"
    timeout = number(item, "spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds") or AFFINITY
    return Service(
        namespace=place[0],
        name=place[1],
        addresses=addresses,
        ports=tuple(ports),
        has_selector=bool(dig(item, "spec", "selector")),
        affinity=float(min(timeout, LONGEST_AFFINITY)) if stays else 0.0,
    )


def endpoints_of(item: Object) -> tuple[Endpoint, ...]:
    """The addresses of an EndpointSlice; none of one of host names (FQDN)."""
    place = _place(item)
    if place is None:
        return ()
    ports = {
        _name(each, "name"): port
        for each in mappings(item, "ports")
        if (text(each, "protocol") or "TCP") == "TCP" and (port := _port(each, "port"))
    }
    return tuple(
        Endpoint(
            address=address,
            ports=ports,
            slice=place[1],
            pod=_target(each, place[0]),
            ready=flag(each, "conditions", "ready") is not False,
            serving=flag(each, "conditions", "serving") is not False,
            terminating=flag(each, "conditions", "terminating") is True,
        )
        for each in mappings(item, "endpoints")
        # Of one entry all addresses are the same pod's, and consumers take the first (discovery/v1 Endpoint).
        for address in list(_addresses(texts(each, "addresses")))[:1]
    )


def pod_of(item: Object) -> Candidate | None:
    """A Pod of the API; None where it has no name."""
    place = _place(item)
    if place is None:
        return None
    found = (text(item, "status", "podIP"), *(text(each, "ip") for each in mappings(item, "status", "podIPs")))
    return Candidate(
        namespace=place[0],
        name=place[1],
        node=_name(item, "spec", "nodeName"),
        addresses=tuple(dict.fromkeys(_addresses(found))),
        ports=frozenset(_container_ports(item)),
        host_network=flag(item, "spec", "hostNetwork") is True,
        is_over=text(item, "status", "phase") in ("Succeeded", "Failed"),
        is_ending=dig(item, "metadata", "deletionTimestamp") is not None,
    )


def port_of(service: Service, port: int) -> ServicePort:
    """The service's TCP port of that number. Raises RefusedError."""
    same = [each for each in service.ports if each.port == port]
    for each in same:
        if each.protocol == "TCP":
            return each
    if same:
        why = f"Service {service} has port {port} for {same[0].protocol} only, and only TCP is relayed."
    else:
        known = ", ".join(str(each) for each in service.ports if each.protocol == "TCP") or "none"
        why = f"Service {service} has no port {port}; its TCP ports: {known}."
    raise RefusedError("undeclared", why)


def usable(endpoints: Sequence[Endpoint], port: str, version: int) -> tuple[Endpoint, ...]:
    """Those among which a connection to a service's port of that name is shared out; IP `version` is its address's."""
    having = [each for each in endpoints if port in each.ports and each.address.version == version]
    ready = tuple(each for each in having if each.ready)
    return ready or tuple(each for each in having if each.serving and each.terminating)


def without(endpoints: Sequence[Endpoint], gone: Collection[Place]) -> Sequence[Endpoint]:
    """Without the pods that turned out to be `gone`, unless there are no others: they may be back."""
    return [each for each in endpoints if each.pod not in gone] or endpoints


def why_none(service: Service, port: ServicePort, endpoints: Sequence[Endpoint], version: int) -> str:
    """Why no endpoint is `usable`."""
    if not endpoints:
        return f"Service {service} has no endpoints." + ("" if service.has_selector else " It has no selector.")
    same = [each for each in endpoints if each.address.version == version]
    if not same:
        return f"Service {service} has no endpoints of IPv{version}."
    having = [each for each in same if port.name in each.ports]
    if not having:
        return f"No pod of service {service} has its port {port}."
    return f"None of the {len(having)} pods of service {service} is ready."


def pod_at(candidates: Sequence[Candidate], port: int, *, host_network: bool) -> Candidate:
    """Which of the pods that have an address is meant. Raises RefusedError.

    One that ends gives way to one that does not. Pods in a node's own network share its address: the one that declares
    the port, else the first.
    """
    there = [each for each in candidates if not each.is_over]
    if not there:
        names = ", ".join(f"{each.namespace}/{each.name}" for each in candidates[:1])
        raise RefusedError("pod-gone", f"Pod {names} has ended.")
    own = [each for each in there if not each.host_network]
    if own:
        return min(own, key=lambda each: (each.is_ending, each.place))
    if not host_network:
        raise RefusedError("host-network", in_host_network(there[0]))
    return min(there, key=lambda each: (port not in each.ports, each.is_ending, each.place))


def in_host_network(pod: Candidate) -> str:
    """Why such a pod is refused."""
    return (
        f"Pod {pod.namespace}/{pod.name} is in the network of its node: what is dialled there is the node's loopback. "
        "It takes the option for pods in their node's network."
    )


class Affinity:
    """Which client stays with which address. Bounded: whoever came longest ago is forgotten first."""

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._kept: dict[tuple[Place, int, IPAddress], tuple[IPAddress, float]] = {}

    def choose(
        self, service: Service, port: int, client: IPAddress, among: Sequence[Endpoint], *, draw: float, now: float
    ) -> Endpoint:
        """One of `among`, by lot (`draw`: from 0 to below 1), or the client's own. `now`: monotonic seconds."""
        drawn = among[int(draw * len(among))]
        if not service.affinity:
            return drawn
        key = service.place, port, client
        address, last = self._kept.pop(key, (None, 0.0))
        if address is not None and now - last < service.affinity:
            drawn = next((each for each in among if each.address == address), drawn)
        self._kept[key] = drawn.address, now
        if len(self._kept) > self._limit:
            del self._kept[next(iter(self._kept))]
        return drawn


def _place(item: Object) -> Place | None:
    namespace, name = _name(item, "metadata", "namespace"), _name(item, "metadata", "name")
    return (namespace, name) if namespace and name else None


def _target(entry: Object, namespace: str) -> Place | None:
    """The pod of an endpoint. One of another namespace is nobody's to name: a slice's writer has no rights there."""
    name = _name(entry, "targetRef", "name")
    elsewhere = text(entry, "targetRef", "namespace") not in ("", namespace)
    return (namespace, name) if name and text(entry, "targetRef", "kind") == "Pod" and not elsewhere else None


def _container_ports(item: Object) -> Iterator[int]:
    """Also of init containers that stay (sidecars: restartPolicy Always)."""
    staying = (each for each in mappings(item, "spec", "initContainers") if text(each, "restartPolicy") == "Always")
    for container in (*mappings(item, "spec", "containers"), *staying):
        for each in mappings(container, "ports"):
            if (text(each, "protocol") or "TCP") == "TCP" and (port := _port(each, "containerPort")):
                yield port


def _name(tree: object, *path: str) -> str:
    found = text(tree, *path)
    return found if _NAME.fullmatch(found) else ""


def _port(tree: object, *path: str) -> int:
    """0 where there is none."""
    found = dig(tree, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 < found <= LATEST_PORT else 0


def _addresses(found: Sequence[str]) -> Iterator[IPAddress]:
    for each in found:
        with contextlib.suppress(ValueError):
            yield parse_address(each)
