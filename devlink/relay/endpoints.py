"""Where a connection to an address of the cluster goes: asked of its API when somebody wants to know, and kept a while.

Nothing is watched. What was found counts for a while, and longer while the API is away; what refuses a connection
counts only if it is recent; and a pod that turns out to be gone has everything asked anew that led to it.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from devlink.core.prefixes import Cover, IPAddress
from devlink.core.relay import Pod, RelayChain, RelayConfig
from devlink.core.text import host_and_port
from devlink.relay.backends import (
    Affinity,
    Candidate,
    Endpoint,
    Place,
    Service,
    in_host_network,
    pod_at,
    port_of,
    usable,
    why_none,
    without,
)
from devlink.relay.lookups import Lookups, Span
from devlink.relay.questions import Held, Questions, Reader
from devlink.relay.refusal import RefusedError

API_PORT = 443
"""Of the `kubernetes` Service, in every cluster."""
API_SERVICE: Place = "default", "kubernetes"
GONE = 10.0
"""Seconds for which a pod that turned out to be gone is passed over: the API may hear of it later than we."""
TRIES = 3
"""Pods of a service that may be gone before a connection is."""
RECENT = 2.0
"""Seconds for which what refuses a connection is believed."""
DOUBTFUL = frozenset(("no-object", "undeclared", "no-pods", "pod-gone", "host-network"))
"""Refusals that may be over by now: somebody has just made the service, or its pods have become ready."""
NOTHING = Span(RECENT, RECENT)
SPECS = Span(60.0, 600.0)
"""What hardly changes: services, and what pods are made of."""
ENDPOINTS = Span(30.0, 60.0)
"""What changes with each roll-out. A pod that is gone is noticed sooner, when it is dialled."""


@dataclass(frozen=True, slots=True)
class Direct:
    """No pod is behind it: the API server itself, as its URL has it."""

    host: str
    port: int

    def __str__(self) -> str:
        return host_and_port(self.host, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One connection's way, and what was found on it, as a RelayChain has it."""

    address: IPAddress
    port: int
    client: IPAddress | None
    """None: nobody, only to look."""
    max_age: float
    """Seconds."""
    chain: dict[str, Any] = field(default_factory=dict)


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
        self._config = config
        self._clock = clock
        self._draw = draw
        self._prefixes = Cover(config.prefixes)
        self._names = frozenset(each.address for each in config.names)
        self._server = _direct(api.access.server)
        self._affinity = Affinity()
        self._gone: dict[Place, float] = {}
        self._questions = asks = Questions(api, config, clock=clock)
        self._held: Lookups[IPAddress, Held] = Lookups(asks.held, _span_held, clock=clock)
        self._endpoints: Lookups[Place, tuple[Endpoint, ...]] = Lookups(asks.endpoints, _span, clock=clock)
        self._pods: Lookups[Place, Candidate | None] = Lookups(asks.pod, _span_pod, clock=clock)

    async def find(self, address: IPAddress, port: int, *, client: IPAddress) -> Pod | Direct:
        """Where a connection of `client` to that address and port ends. Raises RefusedError."""
        found = await self._follow(address, port, client)
        if found.refused:
            raise RefusedError(found.refused, found.why)
        return found.pod or self._server

    async def chain(self, address: IPAddress, port: int) -> RelayChain:
        """How a connection would go, for a person to read: also where it is refused."""
        return await self._follow(address, port, None)

    def forget(self, pod: Pod) -> None:
        """It turned out to be gone: whoever asks next is told anew, and of another pod where there is one."""
        place = pod.namespace, pod.name
        self._gone[place] = self._clock() + GONE
        self._pods.doubt(place)
        for service, endpoints in self._endpoints.known():
            if any(each.pod == place for each in endpoints):
                self._endpoints.doubt(service)
        for address, held in self._held.known():
            if not isinstance(held, Service) and any(each.place == place for each in held):
                self._held.doubt(address)

    def close(self) -> None:
        """What is being asked is given up."""
        for each in (self._held, self._endpoints, self._pods, self._questions):
            each.close()

    async def _follow(self, address: IPAddress, port: int, client: IPAddress | None) -> RelayChain:
        """By what is known; where that refuses it, by what is so now."""
        chain = await self._once(_Asked(address=address, port=port, client=client, max_age=math.inf))
        if chain.refused not in DOUBTFUL:
            return chain
        return await self._once(_Asked(address=address, port=port, client=client, max_age=RECENT))

    async def _once(self, asked: _Asked) -> RelayChain:
        try:
            await self._walk(asked)
        except RefusedError as refused:
            return RelayChain(**asked.chain, refused=refused.reason, why=refused.why)
        return RelayChain(**asked.chain)

    async def _walk(self, asked: _Asked) -> None:
        address, port = asked.address, asked.port
        if self._prefixes.find_address(address) is None and address not in self._names:
            raise RefusedError("outside", f"{address} is outside of what is relayed.")
        if address == self._config.api:
            self._to_api(asked)
            return
        held = await self._held.find(address, max_age=asked.max_age)
        if isinstance(held, Service):
            await self._through(asked, held)
        elif held:
            pod = pod_at(held, port, host_network=self._config.options.host_network)
            asked.chain["pod"] = _pod(pod, port, address)
            await self._check_declared(asked, pod)
        else:
            raise RefusedError("no-object", self._questions.nothing_at(address))

    def _to_api(self, asked: _Asked) -> None:
        name = "/".join(API_SERVICE)
        asked.chain["service"] = name
        if asked.port != API_PORT:
            raise RefusedError("undeclared", f"Service {name} has no port {asked.port}; its TCP ports: {API_PORT}.")
        asked.chain.update(service_port=f"https ({API_PORT})", direct=str(self._server))

    async def _through(self, asked: _Asked, service: Service) -> None:
        chain = asked.chain
        chain["service"] = str(service)
        port = port_of(service, asked.port)
        chain["service_port"] = str(port)
        endpoints = await self._endpoints.find(service.place, max_age=asked.max_age)
        among = usable(endpoints, port.name, asked.address.version)
        if not among:
            raise RefusedError("no-pods", why_none(service, port, endpoints, asked.address.version))
        chain["ready"] = sum(each.ready for each in among)
        now = self._clock()
        self._gone = {place: until for place, until in self._gone.items() if until > now}
        gone = set(self._gone)
        for _ in range(TRIES):
            chosen = self._chosen(asked, service, without(among, gone), now)
            chain["endpoint"] = chosen.slice
            number = chosen.ports[port.name]
            if chosen.pod is None:
                await self._to_no_pod(asked, service, chosen, number)
                return
            pod = await self._pods.find(chosen.pod, max_age=asked.max_age)
            if pod is not None and not pod.is_over:
                chain["pod"] = _pod(pod, number, chosen.address)
                self._check_network(pod)
                return
            gone.add(chosen.pod)
            self._endpoints.doubt(service.place)
        raise RefusedError("pod-gone", f"The pods that service {service} names are gone.")

    def _chosen(self, asked: _Asked, service: Service, among: Sequence[Endpoint], now: float) -> Endpoint:
        if asked.client is None:
            return among[0]
        return self._affinity.choose(service, asked.port, asked.client, among, draw=self._draw(), now=now)

    async def _to_no_pod(self, asked: _Asked, service: Service, chosen: Endpoint, number: int) -> None:
        """An entry of somebody's own, which names no pod: the API server's, a pod's by its address, or no pod's."""
        if await self._is_api(chosen.address, number):
            asked.chain["direct"] = str(self._server)
            return
        held = await self._held.find(chosen.address, max_age=asked.max_age)
        if isinstance(held, Service) or not held:
            why = f"Service {service} leads to {chosen.address}, which is no pod of the cluster's."
            raise RefusedError("no-pods", why)
        pod = pod_at(held, number, host_network=self._config.options.host_network)
        asked.chain["pod"] = _pod(pod, number, chosen.address)

    async def _is_api(self, address: IPAddress, port: int) -> bool:
        if (str(address), port) == (self._server.host, self._server.port):
            return True
        try:
            own = await self._endpoints.find(API_SERVICE)
        except RefusedError:  # not everybody may read what is in that namespace
            return False
        return any(each.address == address and port in each.ports.values() for each in own)

    async def _check_declared(self, asked: _Asked, pod: Candidate) -> None:
        """By the pod itself, or by a service that it is behind."""
        if asked.port in pod.ports or self._config.options.undeclared_ports:
            return
        for each in await self._questions.endpoints_in(pod.namespace, max_age=asked.max_age):
            if each.pod == pod.place and asked.port in each.ports.values():
                return
        raise RefusedError(
            "undeclared",
            f"Neither pod {pod.namespace}/{pod.name} nor a service of it declares TCP port {asked.port}. "
            "It takes the option for undeclared ports.",
        )

    def _check_network(self, pod: Candidate) -> None:
        if pod.host_network and not self._config.options.host_network:
            raise RefusedError("host-network", in_host_network(pod))


def _span_held(held: Held) -> Span:
    return SPECS if isinstance(held, Service) else ENDPOINTS if held else NOTHING


def _span(found: Sequence[Endpoint]) -> Span:
    return ENDPOINTS if found else NOTHING


def _span_pod(found: Candidate | None) -> Span:
    return SPECS if found else NOTHING


def _direct(server: str) -> Direct:
    parts = urlsplit(server)
    return Direct(parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))


def _pod(found: Candidate, port: int, address: IPAddress) -> Pod:
    return Pod(
        namespace=found.namespace, name=found.name, port=port, node=found.node, address=address,
        host_network=found.host_network,
    )  # fmt: skip
