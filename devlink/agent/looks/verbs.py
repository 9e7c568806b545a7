"""The verbs that change nothing of a session: what the dashboard follows and lists, and what is looked at closer."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from devlink.agent.looks import dns_counts, route_table
from devlink.agent.looks.examining import Examiner, refuse_if_much_hangs
from devlink.agent.looks.offered import offered
from devlink.agent.looks.paths import Paths
from devlink.agent.parameters import environment, parameter
from devlink.agent.supervisor import Supervisor
from devlink.core.codec import encode, parse_address
from devlink.errors import UsageError
from devlink.rpc.server import Handler, Session
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import Call

Follow = Callable[[], AsyncGenerator[Mapping[str, Any], None]]


class Looks:
    """Each verb as the interface file has it."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._counts = dns_counts.Counts()
        self._examiner = Examiner(supervisor)
        self._paths = Paths(supervisor.session, supervisor.changed, supervisor.resolve)
        self._listing = asyncio.Lock()
        """One table at a time: with ten thousand routes each takes tenths of a second of the agent."""

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """By method."""
        return {
            "ListProfiles": self._list_profiles,
            "ListRoutes": self._list_routes,
            "FollowEvents": self._follow_events,
            "FollowPath": self._paths.follow,
            "FollowDnsStats": _followed(self._counts.follow),
            "FollowDnsLog": _followed(dns_counts.follow_log),
            "FlushDns": self._flush_dns,
            "Examine": self._examine,
            "Explain": self._explain,
            "ResolveRelay": self._resolve_relay,
        }

    async def _list_profiles(self, _: Session, call: Call) -> Mapping[str, Any]:
        refuse_if_much_hangs()  # a file on a lost server, each time that somebody asks
        return await asyncio.to_thread(offered, environment(call))

    async def _list_routes(self, _: Session, call: Call) -> Mapping[str, Any]:
        name = parameter(call, "session", str, "")
        async with self._listing:
            plan = self._supervisor.present_plan(name)
            there = await route_table.installed(name)
            looking = spawn(asyncio.to_thread(route_table.look, plan, there), name="make a table of routes")
            try:
                return {"routes": await asyncio.shield(looking)}
            finally:
                await asyncio.wait((looking,))  # it goes on when who asked has gone, and is the one at a time

    async def _follow_events(self, caller: Session, call: Call) -> Mapping[str, Any]:
        history = self._supervisor.history
        if not call.more:
            return {"events": history.kept}
        async with aclosing(history.follow()) as pieces:
            async for events in pieces:
                await caller.send({"events": events})
        return {}

    async def _flush_dns(self, _: Session, __: Call) -> Mapping[str, Any]:
        return {"entries": await dns_counts.flush()}

    async def _examine(self, _: Session, call: Call) -> Mapping[str, Any]:
        profile, context = parameter(call, "profile", str, ""), parameter(call, "context", str, "")
        return await self._examiner.examine(profile, context, environment(call))

    async def _explain(self, _: Session, call: Call) -> Mapping[str, Any]:
        return await self._examiner.explain(parameter(call, "what", str, ""), environment(call))

    async def _resolve_relay(self, _: Session, call: Call) -> Mapping[str, Any]:
        port = parameter(call, "port", int, 0)
        try:
            address = parse_address(parameter(call, "address", str, ""))
        except ValueError as error:
            raise UsageError(
                f"{call.method} takes an address: {error.args[0]}.",
                next_step="Its types are in the interface io.devlink.Agent.",
            ) from None
        return {"chain": encode(await self._supervisor.resolve(parameter(call, "session", str, ""), address, port))}


def _followed(follow: Follow) -> Handler:
    """A verb that answers again and again, until its caller goes."""

    async def handler(caller: Session, call: Call) -> Mapping[str, Any]:
        if not call.more:
            raise UsageError(f"{call.method} is followed.", next_step="Call it with `more`.")
        async with aclosing(follow()) as pieces:
            async for piece in pieces:
                await caller.send(piece)
        return {}

    return handler
