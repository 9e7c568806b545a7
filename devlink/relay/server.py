"""The relay's process: what its agent tells it, and every connection that comes in by the helper's listeners."""

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Mapping
from typing import Any

from devlink.core.codec import DecodeError, decode, encode, parse_address
from devlink.core.relay import RelayConfig, RelayListener, RelayState
from devlink.core.text import host_and_port
from devlink.errors import DevlinkError, NotPermittedError, ProtocolError, reason
from devlink.relay.clients import Client, reset
from devlink.relay.cluster import Cluster, Target
from devlink.relay.counting import Counts
from devlink.relay.joining import Joined
from devlink.relay.listeners import Listeners
from devlink.relay.sockets import Endpoint, Peers, endpoint
from devlink.rpc.activation import listen_sockets
from devlink.rpc.peer import Peer
from devlink.rpc.server import Server, Session
from devlink.rpc.tasks import run, spawn
from devlink.rpc.varlink import Call

log = logging.getLogger(__name__)

INTERFACE = "io.devlink.Relay"
AGENT_WAIT = 10.0
"""Seconds within which the agent must say what to serve: whoever starts a relay wants to."""
MAX_CONNECTIONS = 4096
RESERVED_FDS = 256
"""For sessions, listeners, the API, and what Python opens."""
FDS_EACH = 2
"""Descriptors that a connection takes at most: its own, and one of the form that carries a single stream."""
MAX_LISTENERS = 16
STATE_EVERY = 0.5
"""Seconds between two states that are told."""


class Relay:
    """The verbs."""

    def __init__(self, environ: Mapping[str, str], connections: int) -> None:
        """`connections`: how many may be open at once."""
        self._environ = environ
        self._limit = connections
        self.counts = Counts(self._note)
        self._peers = Peers()
        self._listeners = Listeners(self._arrived)
        self._joined: set[Joined] = set()
        self._cluster: Cluster | None = None
        self._earlier: list[Cluster] = []
        """Those of configurations before, of which something is open."""
        self._agent: Session | None = None
        self._news = asyncio.Event()
        self._configuring = asyncio.Lock()
        self.stop = asyncio.Event()
        self.server = Server(
            INTERFACE,
            {"Serve": self._serve, "Drain": self._drain, "Follow": self._follow, "Resolve": self._resolve},
            admit=_admit,
            closed=self._left,
            descriptors=MAX_LISTENERS,
        )

    def give_up(self) -> None:
        """End where no agent has said anything yet."""
        if self._agent is None:
            self.stop.set()

    async def close(self) -> None:
        """Break everything off."""
        self._listeners.close()
        for joined in list(self._joined):
            joined.reset()
        if self._cluster is not None:
            await self._cluster.close()
        await self.server.close()
        self._peers.close()

    # what the agent says

    async def _serve(self, caller: Session, call: Call) -> Mapping[str, Any]:
        descriptors = caller.take_descriptors()
        socks: list[socket.socket] = []
        try:
            config = _read(RelayConfig, call.parameters.get("config"), "config")
            tree = call.parameters.get("listeners")
            told = _read(tuple[RelayListener, ...], tree or [], "listeners")
            if len(told) != len(descriptors):
                raise ProtocolError(f"{len(descriptors)} descriptors came to the relay where {len(told)} were told.")
            while descriptors:
                socks.append(_adopted(descriptors.pop(0)))
            environ = _read(dict[str, str], call.parameters.get("environment", dict(self._environ)), "environment")
            async with self._configuring:
                await self._change_to(config, environ)
            if tree is not None:
                self._listeners.replace(told, socks)
                socks = []
            else:  # it is told that something is another one: the network
                self._check()
        finally:
            for sock in socks:
                sock.close()
            for each in descriptors:
                os.close(each)
        self._agent = caller
        return {}

    async def _change_to(self, config: RelayConfig, environ: Mapping[str, str]) -> None:
        before = self._cluster
        if before is not None and (before.config, self._environ) == (config, environ):
            return
        self._cluster = await Cluster.reached(config, environ, self.counts)
        self._environ = environ
        if before is not None:
            before.retire()  # what is open goes on
            self._earlier = [*(each for each in self._earlier if not each.pool.is_empty), before]
        log.info("relaying for %s: %s", config.session, ", ".join(map(str, config.prefixes)) or "nothing")
        self._note()

    async def _drain(self, _: Session, __: Call) -> Mapping[str, Any]:
        self._listeners.close()
        self._check()
        return {}

    def _check(self) -> None:
        self._earlier = [each for each in self._earlier if not each.pool.is_empty]
        for each in (*self._earlier, *([self._cluster] if self._cluster is not None else [])):
            each.pool.check()

    async def _follow(self, caller: Session, call: Call) -> Mapping[str, Any]:
        while call.more and not caller.finished:
            self._news.clear()
            await caller.send({"state": encode(self.state())})
            await asyncio.sleep(STATE_EVERY)
            await self._news.wait()
        return {"state": encode(self.state())}

    async def _resolve(self, _: Session, call: Call) -> Mapping[str, Any]:
        address, port = call.parameters.get("address"), call.parameters.get("port")
        if self._cluster is None or not isinstance(address, str) or not isinstance(port, int):
            raise ProtocolError("A relay was asked for what it cannot look up.")
        try:
            found = parse_address(address)
        except ValueError as error:
            raise ProtocolError("A relay was asked for what is no address.") from error
        return {"chain": encode(await self._cluster.endpoints.chain(found, port))}

    def state(self) -> RelayState:
        """As it is now."""
        counts, cluster = self.counts, self._cluster
        return RelayState(
            server=cluster.server if cluster else "",
            form=cluster.form if cluster else "",
            streams=counts.streams,
            opened=counts.opened,
            sent=counts.sent,
            received=counts.received,
            pods=cluster.pods() if cluster else (),
            refused=counts.refused,
            findings=counts.findings(),
        )

    def _note(self) -> None:
        self._news.set()

    def _left(self, session: Session) -> None:
        if session is self._agent:
            self.stop.set()

    # who comes in

    def _arrived(self, sock: socket.socket, peer: Endpoint, destination: Endpoint | None) -> None:
        cluster = self._cluster
        if cluster is None:
            reset(sock)
            return
        label = host_and_port(*destination) if destination else "the cluster's DNS"
        if len(self._joined) >= self._limit:
            self.counts.refuse("too-many", label, f"More than {self._limit} connections are open.")
            reset(sock)
            return
        asked = (destination,) if destination else cluster.names
        goal = destination or endpoint(sock.getsockname())
        joined = Joined(
            lambda owner: Client(sock, owner),
            Target(cluster, asked, peer[0]),
            self.counts,
            label=label,
            left=self._joined.discard,
            is_abandoned=lambda: self._peers.is_orphan(peer, goal),
        )
        self._joined.add(joined)
        spawn(joined.begin(), name=label)


def _admit(peer: Peer) -> DevlinkError | None:
    if peer.uid in (0, os.geteuid()):
        return None
    return NotPermittedError("This relay is another user's.", next_step="Each user's agent has relays of its own.")


def _read(kind: Any, tree: object, name: str) -> Any:
    try:
        return decode(kind, tree, name)
    except DecodeError as error:
        raise ProtocolError(
            f"The relay cannot read its {name}.",
            why=reason(error),
            next_step="Run `devlink --version`, and restart the part that differs.",
        ) from error


def _adopted(descriptor: int) -> socket.socket:
    """The descriptor as a socket that listens. Closed where it is none. Raises ProtocolError."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        os.close(descriptor)
        raise ProtocolError("A descriptor that came to the relay is no socket.") from error
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not sock.getsockopt(
        socket.SOL_SOCKET, socket.SO_ACCEPTCONN
    ):
        sock.close()
        raise ProtocolError("A descriptor that came to the relay is no listening TCP socket.")
    return sock


def room_for_connections() -> int:
    """How many connections this process can hold, after asking for as many descriptors as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = RESERVED_FDS + FDS_EACH * MAX_CONNECTIONS
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        soft = target
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(16, min(MAX_CONNECTIONS, (soft - RESERVED_FDS) // FDS_EACH))


async def serve(listener: socket.socket, environ: Mapping[str, str]) -> None:
    """Serve until the agent's connection ends, or none says in time what to serve."""
    relay = Relay(environ, room_for_connections())
    serving = spawn(relay.server.serve(listener), name=INTERFACE)
    loop = asyncio.get_running_loop()
    waiting = loop.call_later(AGENT_WAIT, relay.give_up)
    try:
        await relay.stop.wait()
    finally:
        waiting.cancel()
        serving.cancel()
        listener.close()
        await relay.close()


def main() -> int:
    """`python -m devlink.relay`, with a listening unix socket (LISTEN_FDS)."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # one line for each request tells nobody anything
    listeners = listen_sockets()
    if len(listeners) != 1:
        log.error("a relay is started by an agent, which passes one listening socket")
        return 2
    run(serve(listeners[0], dict(os.environ)))
    return 0
