"""The verbs by which an agent's relay gets its listeners, and hears of what was refused."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from devlink.core.codec import encode
from devlink.core.network import ObservedNetwork
from devlink.core.plan import Desired
from devlink.core.relay import RelayListener
from devlink.errors import NotUpError
from devlink.helper.calls import argument
from devlink.helper.lease import Lease, Leases
from devlink.helper.listeners import Listener, listen, places
from devlink.helper.machine import Machine
from devlink.helper.relayed import is_relayed
from devlink.rpc.server import Handler, Session
from devlink.rpc.varlink import Call


class RelayVerbs:
    """They change nothing: what is redirected, `Apply` says."""

    def __init__(self, *, machine: Machine, leases: Leases) -> None:
        self._machine = machine
        self._leases = leases
        self.verbs: Mapping[str, Handler] = {"OpenRelay": self._open_relay, "CountRelay": self._count_relay}

    @staticmethod
    def listeners(desired: Desired, observed: ObservedNetwork, had: tuple[Listener, ...]) -> tuple[Listener, ...]:
        """Those of a session that is to be, of which it `had` some; they stay while it drains. Raises HelperError."""
        if desired.relay is None:
            return ()
        if not is_relayed(desired):
            return had
        addresses = {link.name: [address for address, _ in link.addresses] for link in observed.links}
        bridges = {bridge: addresses.get(bridge, []) for bridge in desired.relay.containers}
        return listen(places((route.destination.version for route in desired.routes), bridges), had)

    async def _open_relay(self, caller: Session, call: Call) -> Mapping[str, Any]:
        lease = self._lease(caller, call)
        told = []
        for each in lease.listeners:
            caller.attach(os.dup(each.sock.fileno()))
            told.append(RelayListener(purpose=each.place.purpose, address=each.place.address, port=each.port))
        return {"listeners": [encode(each) for each in told]}

    async def _count_relay(self, caller: Session, call: Call) -> Mapping[str, Any]:
        lease = self._lease(caller, call)
        async with self._machine.lock:
            return {"refused": await asyncio.to_thread(self._machine.redirects.refused, lease.name)}

    def _lease(self, caller: Session, call: Call) -> Lease:
        """The session that this connection applied. Raises NotUpError where it has none, or one without a relay."""
        name = argument(str, call, "session")
        lease = self._leases.get(name)
        if lease is None or lease.holder is not caller:
            raise NotUpError(f"Session {name} is not this connection's.", next_step="See: devlink status")
        if lease.desired.relay is None:
            raise NotUpError(f"Session {name} is not relayed.", next_step="See: devlink status")
        return lease
