"""Where a connection to an address of the cluster goes: asked of its API when somebody wants to know, and kept a while.

Never a watch, never a list of the whole cluster: 5,000 laptops ask. Every question takes what the API server has in its
memory (`resourceVersion=0`); a pod's address is no index of etcd's, and without it a server reads all pods for one.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from devlink.cluster.access import Access
from devlink.cluster.discovery.objects import mappings, text
from devlink.core.prefixes import Cover, IPAddress
from devlink.core.relay import Pod, RelayChain, RelayConfig
from devlink.errors import ClusterError, reason
from devlink.relay.backends import (
    SERVICE_NAME,
    Affinity,
    Candidate,
    Endpoint,
    Object,
    Place,
    Service,
    ServicePort,
    endpoints_of,
    in_host_network,
    pod_at,
    pod_of,
    port_of,
    service_of,
    usable,
    why_none,
    without,
)
from devlink.relay.backends import RefusedError as RefusedError
from devlink.relay.lookups import Lookups, Span

T = TypeVar("T")
API_PORT = 443
"""Of the `kubernetes` Service, in every cluster."""
API_SERVICE: Place = "default", "kubernetes"
AT_ONCE = 8
"""Questions under way at the same time."""
MOST_NAMESPACES = 32
"""That are searched where the whole cluster may not be."""
USUAL = "kube-system"
"""Where a cluster's DNS is."""
MOST_OCTETS = 16 * 1024 * 1024
"""Of one answer: the slices of a service with 10,000 pods have 5 MB."""
DENIED = 60.0
"""Seconds before what was not allowed is asked again."""
GONE = 10.0
"""Seconds for which a pod that turned out to be gone is passed over: the API may hear of it later than we."""
TRIES = 3
"""Pods of a service that may be gone before a connection is."""
NOTHING = Span(5.0, 5.0)
SPECS = Span(60.0, 600.0)
"""What hardly changes: services, and what pods are made of."""
ENDPOINTS = Span(30.0, 120.0)
"""What changes with every roll-out; a pod that is gone is noticed sooner, when it is dialled."""

Held = Service | tuple[Candidate, ...]
"""What has an address: a service, or pods; none."""


class Reader(Protocol):
    """The part of devlink.cluster.api.Api that this needs."""

    access: Access

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, limit: int = ...) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Direct:
    """No pod is behind it: the API server itself, as its URL has it."""

    host: str
    port: int


class Endpoints:
    """Of one relay. Close it at the end."""

    def __init__(
        self,
        api: Reader,
        config: RelayConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`clock`: monotonic seconds; `draw`: from 0 to below 1, for sharing out."""
        self._api = api
        self._config = config
        self._clock = clock
        self._draw = draw
        self._prefixes = Cover(config.prefixes)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._affinity = Affinity()
        self._denied: dict[tuple[str, str], float] = {}
        self._gone: dict[Place, float] = {}
        wanted = (api.access.namespace or "default", USUAL, *config.namespaces)
        self._namespaces = tuple(dict.fromkeys(wanted))[:MOST_NAMESPACES]
        self._held: Lookups[IPAddress, Held] = Lookups(self._ask_held, _span_held, clock=clock)
        self._slices: Lookups[Place, tuple[Endpoint, ...]] = Lookups(
            self._ask_slices, lambda found: ENDPOINTS if found else NOTHING, clock=clock
        )
        self._pods: Lookups[Place, Candidate | None] = Lookups(
            self._ask_pod, lambda found: SPECS if found else NOTHING, clock=clock
        )
        self._of_namespace: Lookups[str, tuple[Endpoint, ...]] = Lookups(
            self._ask_namespace, lambda _: ENDPOINTS, clock=clock, limit=64
        )
        self._services_of: Lookups[str, tuple[Service, ...]] = Lookups(
            self._ask_services, lambda _: SPECS, clock=clock, limit=64
        )

    async def find(self, address: IPAddress, port: int, *, client: IPAddress) -> Pod | Direct:
        """Where a connection of `client` to that address and port ends. Raises RefusedError."""
        found = await self._follow(address, port, client)
        if found.refused:
            raise RefusedError(found.refused, found.why)
        if found.pod is None:
            return self._direct()
        return found.pod

    async def chain(self, address: IPAddress, port: int) -> RelayChain:
        """How a connection of this laptop's would go, for a person to read: also where it is refused."""
        return await self._follow(address, port, None)

    def forget(self, pod: Pod) -> None:
        """It turned out to be gone: whoever asks next is told anew, and of another pod where there is one."""
        place = pod.namespace, pod.name
        self._gone[place] = self._clock() + GONE
        self._pods.doubt(place)
        for service, endpoints in self._slices.known():
            if any(each.pod == place for each in endpoints):
                self._slices.doubt(service)
        for address, held in self._held.known():
            if isinstance(held, tuple) and any(each.place == place for each in held):
                self._held.doubt(address)
        self._of_namespace.doubt(pod.namespace)

    def close(self) -> None:
        """What is being asked is given up."""
        for each in (self._held, self._slices, self._pods, self._of_namespace, self._services_of):
            each.close()

    async def _follow(self, address: IPAddress, port: int, client: IPAddress | None) -> RelayChain:
        chain = RelayChain()
        try:
            if self._prefixes.find_address(address) is None:
                raise RefusedError("outside", f"{address} is outside of what is relayed.")
            if address == self._config.api:
                return self._to_api(port)
            held = await self._held.find(address)
            if isinstance(held, Service):
                chain = RelayChain(service=str(held))
                declared = port_of(held, port)
                chain = replace(chain, service_port=str(declared))
                return await self._through(chain, held, declared, address, client)
            if not held:
                raise RefusedError("no-object", self._nothing_at(address))
            chosen = await self._at(held, port)
            return RelayChain(pod=_pod(chosen, port, address))
        except RefusedError as refused:
            return replace(chain, refused=refused.reason, why=refused.why)

    def _to_api(self, port: int) -> RelayChain:
        chain = RelayChain(service="/".join(API_SERVICE), service_port=f"https ({API_PORT})")
        if port != API_PORT:
            raise RefusedError("undeclared", f"Service {chain.service} has no port {port}; its TCP ports: {API_PORT}.")
        return replace(chain, direct=_shown(self._direct()))

    async def _through(
        self, chain: RelayChain, service: Service, port: ServicePort, address: IPAddress, client: IPAddress | None
    ) -> RelayChain:
        """Through a service. In the chain that a refusal leaves is what was found before it."""
        endpoints = await self._slices.find(service.place)
        now = self._clock()
        self._gone = {place: until for place, until in self._gone.items() if until > now}
        gone = set(self._gone)
        among = usable(endpoints, port.name, address.version)
        chain = replace(chain, ready=sum(each.ready for each in among))
        for _ in range(TRIES):
            if not among:
                raise RefusedError("no-pods", why_none(service, port, endpoints, address.version))
            left = without(among, gone)
            if client is None:
                chosen = left[0]
            else:
                chosen = self._affinity.choose(service, port.port, client, left, draw=self._draw(), now=now)
            chain = replace(chain, endpoint=chosen.slice)
            number = chosen.ports[port.name]
            if chosen.pod is None:
                return await self._without_pod(chain, service, chosen, number)
            pod = await self._pods.find(chosen.pod)
            if pod is not None and not pod.is_over:
                if pod.host_network and not self._config.options.host_network:
                    raise RefusedError("host-network", in_host_network(pod))
                return replace(chain, pod=_pod(pod, number, chosen.address))
            gone.add(chosen.pod)
            self._slices.doubt(service.place)
        raise RefusedError("pod-gone", f"The pods that service {service} names are gone.")

    async def _without_pod(self, chain: RelayChain, service: Service, chosen: Endpoint, number: int) -> RelayChain:
        """An entry of somebody's own, which names no pod: the API server's, a pod's by its address, or no pod's."""
        if await self._is_api(chosen.address, number):
            return replace(chain, direct=_shown(self._direct()))
        held = await self._held.find(chosen.address)
        if isinstance(held, Service) or not held:
            why = f"Service {service} leads to {chosen.address}, which is no pod of the cluster's."
            raise RefusedError("no-pods", why)
        pod = pod_at(held, number, host_network=self._config.options.host_network)
        return replace(chain, pod=_pod(pod, number, chosen.address))

    async def _is_api(self, address: IPAddress, port: int) -> bool:
        direct = self._direct()
        if (str(address), port) == (direct.host, direct.port):
            return True
        try:
            own = await self._slices.find(API_SERVICE)
        except RefusedError:  # not everybody may read what is in that namespace
            return False
        return any(each.address == address and port in each.ports.values() for each in own)

    async def _at(self, held: Sequence[Candidate], port: int) -> Candidate:
        """A pod by its own address, and a port that it or a service declares."""
        options = self._config.options
        pod = pod_at(held, port, host_network=options.host_network)
        if port in pod.ports or options.undeclared_ports:
            return pod
        for each in await self._of_namespace.find(pod.namespace):
            if each.pod == pod.place and port in each.ports.values():
                return pod
        raise RefusedError(
            "undeclared",
            f"Neither pod {pod.namespace}/{pod.name} nor a service of it declares TCP port {port}. "
            "It takes the option for undeclared ports.",
        )

    def _direct(self) -> Direct:
        parts = urlsplit(self._api.access.server)
        return Direct(parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))

    async def _ask_held(self, address: IPAddress) -> Held:
        """Services first: there are fewer of them than pods, and the server looks through all of a kind."""
        for item in await self._search("services", f"spec.clusterIP={address}"):
            service = service_of(item)
            if service is not None and address in service.addresses:
                return service
        pods = await self._pods_where(f"status.podIP={address}")
        pods = [each for each in pods if address in each.addresses]
        if pods or not self._may_be_second(address):
            return tuple(pods)
        return await self._second(address)

    def _may_be_second(self, address: IPAddress) -> bool:
        """Of the family that field selectors do not find. The `kubernetes` Service has an address of the first."""
        return self._config.api is None or address.version != self._config.api.version

    async def _second(self, address: IPAddress) -> Held:
        """Since 1.33 an object for each ClusterIP tells whose it is. Else, and for pods, what is in the namespaces."""
        try:
            found = await self._get(f"/apis/networking.k8s.io/v1/ipaddresses/{address}")
        except ClusterError as error:
            if error.status not in (403, 404):
                raise _refused(error) from error
            for namespace in self._namespaces:
                for known in await self._in(self._services_of, namespace):
                    if address in known.addresses:
                        return known
        else:
            parent = found.get("spec", {}).get("parentRef") if isinstance(found.get("spec"), dict) else None
            if text(parent, "resource") == "services":
                place = text(parent, "namespace"), text(parent, "name")
                for item in await self._named("services", place):
                    service = service_of(item)
                    if service is not None and address in service.addresses:
                        return service
        for namespace in self._namespaces:
            for each in await self._in(self._of_namespace, namespace):
                if each.address == address and each.pod is not None:
                    pod = await self._pods.find(each.pod)
                    return (pod,) if pod is not None else ()
        return ()

    async def _in(self, lookups: Lookups[str, tuple[T, ...]], namespace: str) -> tuple[T, ...]:
        """What is in a namespace; nothing where that may not be seen."""
        try:
            return await lookups.find(namespace)
        except RefusedError as refused:
            if refused.reason == "rights":
                return ()
            raise

    async def _ask_slices(self, service: Place) -> tuple[Endpoint, ...]:
        namespace, name = service
        return await self._endpoints(namespace, {"labelSelector": f"{SERVICE_NAME}={name}"})

    async def _ask_namespace(self, namespace: str) -> tuple[Endpoint, ...]:
        return await self._endpoints(namespace, {})

    async def _endpoints(self, namespace: str, params: Mapping[str, str]) -> tuple[Endpoint, ...]:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        return tuple(each for item in await self._list(path, params) for each in endpoints_of(item))

    async def _ask_services(self, namespace: str) -> tuple[Service, ...]:
        found = (service_of(item) for item in await self._list(f"/api/v1/namespaces/{namespace}/services", {}))
        return tuple(each for each in found if each is not None)

    async def _ask_pod(self, place: Place) -> Candidate | None:
        found = (pod_of(item) for item in await self._named("pods", place))
        return next((each for each in found if each is not None and each.place == place), None)

    async def _pods_where(self, selector: str) -> list[Candidate]:
        found = (pod_of(item) for item in await self._search("pods", selector))
        return [each for each in found if each is not None]

    async def _named(self, resource: str, place: Place) -> list[Object]:
        """One object, as a list: so that the right to list is enough."""
        path = f"/api/v1/namespaces/{place[0]}/{resource}"
        return await self._list(path, {"fieldSelector": f"metadata.name={place[1]}"})

    async def _search(self, resource: str, selector: str) -> list[Object]:
        """In the whole cluster; where that is not allowed, in the namespaces that are known."""
        params = {"fieldSelector": selector}
        if not self._is_denied(resource, ""):
            try:
                return await self._list(f"/api/v1/{resource}", params)
            except RefusedError as refused:
                if refused.reason != "rights":
                    raise
                self._deny(resource, "")
                first = refused
        else:
            first = RefusedError("rights", f"You may not list {resource} of the whole cluster.")
        allowed = [each for each in self._namespaces if not self._is_denied(resource, each)]
        found = await asyncio.gather(*(self._search_in(resource, each, params) for each in allowed))
        if all(each is None for each in found):
            raise first
        return [item for each in found if each is not None for item in each]

    async def _search_in(self, resource: str, namespace: str, params: Mapping[str, str]) -> list[Object] | None:
        """None where it is not allowed."""
        try:
            return await self._list(f"/api/v1/namespaces/{namespace}/{resource}", params)
        except RefusedError as refused:
            if refused.reason != "rights":
                raise
            self._deny(resource, namespace)
            return None

    def _deny(self, resource: str, namespace: str) -> None:
        self._denied[resource, namespace] = self._clock() + DENIED

    def _is_denied(self, resource: str, namespace: str) -> bool:
        return self._denied.get((resource, namespace), 0.0) > self._clock()

    async def _list(self, path: str, params: Mapping[str, str]) -> list[Object]:
        """Raises RefusedError: `rights`, or `api` where it is not answered."""
        try:
            found = await self._get(path, params)
        except ClusterError as error:
            raise _refused(error) from error
        return list(mappings(found, "items"))

    async def _get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        async with self._turns:
            return await self._api.get(path, {**(params or {}), "resourceVersion": "0"}, limit=MOST_OCTETS)

    def _nothing_at(self, address: IPAddress) -> str:
        searched = [each for each in self._namespaces if not self._is_denied("services", each)]
        if not self._is_denied("services", "") or not searched:
            return f"No service and no pod of the cluster has the address {address}."
        return (
            f"No service and no pod has the address {address} in {', '.join(searched)}; you may not search the whole "
            "cluster."
        )


def _span_held(held: Held) -> Span:
    return SPECS if isinstance(held, Service) else ENDPOINTS if held else NOTHING


def _pod(found: Candidate, port: int, address: IPAddress) -> Pod:
    return Pod(
        namespace=found.namespace, name=found.name, port=port, node=found.node, address=address,
        host_network=found.host_network,
    )  # fmt: skip


def _shown(direct: Direct) -> str:
    host = f"[{direct.host}]" if ":" in direct.host else direct.host
    return f"{host}:{direct.port}"


def _refused(error: ClusterError) -> RefusedError:
    return RefusedError("rights" if error.status == 403 else "api", reason(error))
