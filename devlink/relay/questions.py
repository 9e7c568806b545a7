"""What a relay asks of the API: what has an address, which pods are behind a service, what a pod is made of.

Never a watch, never a list of the whole cluster: 5,000 laptops ask. Every question takes what the API server has in its
memory (`resourceVersion=0`): a pod's address is no index of etcd's, and without it a server reads all pods for one.
Objects are asked for as lists of one, so that the right to list is enough.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from devlink.cluster.access import Access
from devlink.core.fields import dig, mappings, text
from devlink.core.prefixes import IPAddress
from devlink.core.relay import RelayConfig
from devlink.errors import ClusterError, DevlinkError, reason
from devlink.relay.backends import (
    SERVICE_NAME,
    Candidate,
    Endpoint,
    Object,
    Place,
    Service,
    endpoints_of,
    pod_of,
    service_of,
)
from devlink.relay.lookups import Lookups, Span
from devlink.relay.refusal import RefusedError

T = TypeVar("T")
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
NAMESPACES = 64
"""Of which all that is in them is kept."""
LASTS = Span(30.0, 60.0)
"""What is in a namespace."""

Held = Service | tuple[Candidate, ...]
"""What has an address: a service, or pods; an empty tuple where nothing has."""


class Reader(Protocol):
    """The part of devlink.cluster.api.Api that this needs."""

    access: Access

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, limit: int = ...) -> dict[str, Any]: ...


class Questions:
    """Each method raises RefusedError: `rights` where it is not allowed, `api` where it is not answered."""

    def __init__(self, api: Reader, config: RelayConfig, *, clock: Callable[[], float]) -> None:
        """`clock`: monotonic seconds."""
        self._api = api
        self._first_family = config.api.version if config.api else None
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._denied: dict[tuple[str, str], float] = {}
        wanted = (api.access.namespace or "default", USUAL, *config.namespaces)
        self._namespaces = tuple(dict.fromkeys(wanted))[:MOST_NAMESPACES]
        self._met: dict[str, None] = {}
        """Further namespaces that something was found in, the latest last."""
        self._services: Lookups[str, tuple[Service, ...]] = Lookups(
            self._services_of, lambda _: LASTS, clock=clock, limit=NAMESPACES
        )
        self._endpoints: Lookups[str, tuple[Endpoint, ...]] = Lookups(
            lambda namespace: self._slices(namespace, {}), lambda _: LASTS, clock=clock, limit=NAMESPACES
        )

    async def held(self, address: IPAddress) -> Held:
        """What has an address. Services first: there are fewer, and the server looks through all of a kind."""
        for item in await self._search("services", f"spec.clusterIP={address}"):
            service = service_of(item)
            if service is not None and address in service.addresses:
                self._meet(service.namespace)
                return service
        found = [pod_of(item) for item in await self._search("pods", f"status.podIP={address}")]
        pods = tuple(each for each in found if each is not None and address in each.addresses)
        for pod in pods:
            self._meet(pod.namespace)
        # The `kubernetes` Service has its address of the family that field selectors find.
        if pods or address.version == self._first_family:
            return pods
        return await self._second_service(address) or await self._second_pods(address)

    async def endpoints(self, service: Place) -> tuple[Endpoint, ...]:
        """Of one service."""
        return await self._slices(service[0], {"labelSelector": f"{SERVICE_NAME}={service[1]}"})

    async def endpoints_in(self, namespace: str, *, max_age: float) -> tuple[Endpoint, ...]:
        """Of all services of a namespace. Kept for a while, in seconds at most `max_age`."""
        return await self._endpoints.find(namespace, max_age=max_age)

    async def pod(self, place: Place) -> Candidate | None:
        """A pod by its name; None where there is none."""
        found = (pod_of(item) for item in await self._named("pods", place))
        return next((each for each in found if each is not None and each.place == place), None)

    def nothing_at(self, address: IPAddress) -> str:
        """That nothing has an address, as far as could be seen."""
        if not self._is_denied("services", ""):
            return f"No service and no pod of the cluster has the address {address}."
        denied = [each for each in self._namespaces if self._is_denied("services", each)]
        searched = ", ".join(each for each in self._namespaces if each not in denied)
        others = f"{', '.join(denied)} and the rest of the cluster" if denied else "the rest of the cluster"
        return f"No service and no pod has the address {address} in {searched}; you may not search {others}."

    def close(self) -> None:
        """What is being asked is given up."""
        self._services.close()
        self._endpoints.close()

    async def _second_service(self, address: IPAddress) -> Service | None:
        """By a ClusterIP of the other family: since 1.33 an object for each ClusterIP tells whose it is.

        Before, and where that may not be read, only the likely namespaces are looked through.
        """
        try:
            found = await self._get(f"/apis/networking.k8s.io/v1/ipaddresses/{address}")
        except DevlinkError as error:
            if not isinstance(error, ClusterError) or error.status not in (403, 404):
                raise _refused(error) from error
            for namespace in self._likely():
                for known in await self._allowed(self._services, namespace):
                    if address in known.addresses:
                        return known
            return None
        parent = dig(found, "spec", "parentRef")
        if text(parent, "resource") != "services":
            return None
        for item in await self._named("services", (text(parent, "namespace"), text(parent, "name"))):
            service = service_of(item)
            if service is not None and address in service.addresses:
                return service
        return None

    async def _second_pods(self, address: IPAddress) -> tuple[Candidate, ...]:
        """By an address of the other family, which no selector finds: a pod of a service of a likely namespace."""
        for namespace in self._likely():
            for each in await self._allowed(self._endpoints, namespace):
                if each.address == address and each.pod is not None:
                    pod = await self.pod(each.pod)
                    return (pod,) if pod is not None else ()
        return ()

    def _meet(self, namespace: str) -> None:
        """Whose addresses of the first family are asked for, has those of the second asked for next."""
        if namespace not in self._namespaces:
            self._met.pop(namespace, None)
            self._met[namespace] = None
            if len(self._met) > MOST_NAMESPACES:
                del self._met[next(iter(self._met))]

    def _likely(self) -> tuple[str, ...]:
        return (*self._namespaces, *reversed(self._met))

    async def _allowed(self, lookups: Lookups[str, tuple[T, ...]], namespace: str) -> tuple[T, ...]:
        """What is in a namespace; nothing where that may not be seen."""
        try:
            return await lookups.find(namespace)
        except RefusedError as refused:
            if refused.reason == "rights":
                return ()
            raise

    async def _slices(self, namespace: str, params: Mapping[str, str]) -> tuple[Endpoint, ...]:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        return tuple(each for item in await self._list(path, params) for each in endpoints_of(item))

    async def _services_of(self, namespace: str) -> tuple[Service, ...]:
        found = (service_of(item) for item in await self._list(f"/api/v1/namespaces/{namespace}/services", {}))
        return tuple(each for each in found if each is not None)

    async def _named(self, resource: str, place: Place) -> list[Object]:
        path = f"/api/v1/namespaces/{place[0]}/{resource}"
        return await self._list(path, {"fieldSelector": f"metadata.name={place[1]}"})

    async def _search(self, resource: str, selector: str) -> list[Object]:
        """In the whole cluster; where that is not allowed, in the namespaces that are known."""
        params = {"fieldSelector": selector}
        everywhere = await self._search_in(resource, "", params)
        if everywhere is not None:
            return everywhere
        found = await asyncio.gather(*(self._search_in(resource, each, params) for each in self._namespaces))
        if all(each is None for each in found):
            raise RefusedError("rights", f"You may list {resource} neither in the cluster nor in a namespace of it.")
        return [item for each in found if each is not None for item in each]

    async def _search_in(self, resource: str, namespace: str, params: Mapping[str, str]) -> list[Object] | None:
        """None where it is not allowed, which is remembered. Without a namespace: in all of them."""
        if self._is_denied(resource, namespace):
            return None
        try:
            return await self._list(f"/api/v1/{f'namespaces/{namespace}/' if namespace else ''}{resource}", params)
        except RefusedError as refused:
            if refused.reason != "rights":
                raise
            self._denied[resource, namespace] = self._clock() + DENIED
            return None

    def _is_denied(self, resource: str, namespace: str) -> bool:
        return self._denied.get((resource, namespace), 0.0) > self._clock()

    async def _list(self, path: str, params: Mapping[str, str]) -> list[Object]:
        try:
            found = await self._get(path, params)
        except DevlinkError as error:
            raise _refused(error) from error
        return list(mappings(found, "items"))

    async def _get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        async with self._turns:
            return await self._api.get(path, {**(params or {}), "resourceVersion": "0"}, limit=MOST_OCTETS)


def _refused(error: DevlinkError) -> RefusedError:
    """Also of a UsageError: a program that signs in may fail in the middle of it all."""
    is_forbidden = isinstance(error, ClusterError) and error.status == 403
    return RefusedError("rights" if is_forbidden else "api", reason(error))
