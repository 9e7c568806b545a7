"""The agent's socket: its streams and its calls as records. The only part of the dashboard that leaves the process."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from typing import Any, TypeVar

from devlink import __version__
from devlink.agent.client import connect_or_start
from devlink.agent.places import agent_socket
from devlink.core.codec import DecodeError, decode
from devlink.errors import HelperError, NotUpError, UnexpectedError
from devlink.rpc.connection import Connection
from devlink.tui import records
from devlink.tui.records import AgentStatus, DnsStats, Event, Examined, Explained, Path, Profiles, Queries, RouteRow

T = TypeVar("T")
INTERFACE = "io.devlink.Agent"
GREETING_LIMIT = 10.0
"""Seconds for an agent to say its version: one that starts takes over first what it finds."""
QUICK_LIMIT = 10.0
"""Seconds for an answer that changes nothing."""
LONG_LIMIT = 60.0
"""Seconds for a change, or a look at everything."""


class OtherVersionError(HelperError):
    """The agent is of another version."""


class Link:
    """Each stream has a connection of its own, which ends with it; each call, too."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: the user's, for KUBECONFIG, proxies and programs that sign in; this process's where None."""
        self._environment = dict(environment if environment is not None else os.environ)

    # Streams. Each raises NotUpError where no agent runs, OtherVersionError, TimeoutError where it does not answer,
    # ProtocolError when it goes away, and what it says against it.

    async def status(self) -> AsyncIterator[AgentStatus]:
        """At once, and whenever it changes."""
        async for reply in self._stream("Status", {"routes": False}):
            yield _decoded(AgentStatus, reply["status"])

    async def events(self) -> AsyncIterator[tuple[Event, ...]]:
        """First what is kept of the past, then each as it happens."""
        async for reply in self._stream("FollowEvents"):
            yield _decoded(tuple[Event, ...], reply["events"])

    async def path(self, session: str) -> AsyncIterator[Path]:
        """Every two seconds."""
        async for reply in self._stream("FollowPath", {"session": session}):
            yield _decoded(Path, reply)

    async def dns_stats(self) -> AsyncIterator[tuple[str, DnsStats]]:
        """Every second: where the forwarder answers, and its counts."""
        async for reply in self._stream("FollowDnsStats"):
            yield str(reply["nameserver"]), _decoded(DnsStats, reply["stats"])

    async def queries(self) -> AsyncIterator[Queries]:
        """Whenever names were asked for."""
        async for reply in self._stream("FollowDnsLog"):
            yield records.queries(reply)

    async def up(
        self, profile: str = "", context: str = "", *, replace: bool = False
    ) -> AsyncIterator[tuple[str, bool]]:
        """Bring a profile up: each step, and whether it is done. Ends when it is up."""
        wish = {"profile": profile, "context": context, "replace": replace, "environment": self._environment}
        async for reply in self._stream("Up", wish):
            if "step" in reply:
                yield str(reply["step"]), bool(reply.get("done"))

    # Calls. They raise the same.

    async def down(self, session: str = "") -> tuple[str, ...]:
        """Take one session down, or all; what is down now."""
        reply = await self._call("Down", {"session": session, "all": not session}, LONG_LIMIT)
        return tuple(map(str, reply["sessions"]))

    async def failover(self, session: str, gateway: str = "") -> tuple[str, str]:
        """Who carried its packets before, and who does now."""
        reply = await self._call("Failover", {"session": session, "gateway": gateway}, LONG_LIMIT)
        return str(reply["before"]), str(reply["gateway"])

    async def flush_dns(self) -> int:
        """How many answers were forgotten."""
        return int((await self._call("FlushDns"))["entries"])

    async def routes(self, session: str) -> list[RouteRow]:
        return records.route_rows(await self._call("ListRoutes", {"session": session}))

    async def profiles(self) -> Profiles:
        return _decoded(Profiles, await self._call("ListProfiles", {"environment": self._environment}))

    async def examine(self) -> Examined:
        return _decoded(Examined, await self._call("Examine", {"environment": self._environment}, LONG_LIMIT))

    async def explain(self, what: str) -> Explained:
        parameters = {"what": what, "environment": self._environment}
        return _decoded(Explained, await self._call("Explain", parameters, LONG_LIMIT))

    # Programs

    async def start_agent(self) -> None:
        """Start one where none runs. Raises DevlinkError where it does not start."""
        await asyncio.to_thread(lambda: connect_or_start(timeout=QUICK_LIMIT).close())

    async def report(self, folder: FilePath) -> FilePath:
        """Write a report into `folder`, by the command of that name: it must work also where no agent answers.

        Raises UnexpectedError.
        """
        program = [sys.executable, "-P", "-m", "devlink.cli", "report", str(folder)]
        process = await asyncio.create_subprocess_exec(
            *program, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self._environment
        )
        said, talk = await process.communicate()
        if process.returncode:
            lines = talk.decode(errors="replace").strip().splitlines()
            raise UnexpectedError(
                "The report was not written.", why=lines[-1] if lines else "", next_step="Try: devlink report"
            )
        return FilePath(said.decode().strip())

    async def _stream(self, method: str, parameters: Mapping[str, Any] | None = None) -> AsyncIterator[dict[str, Any]]:
        async with _connected() as connection:
            async for reply in connection.stream(f"{INTERFACE}.{method}", parameters):
                yield reply

    async def _call(
        self, method: str, parameters: Mapping[str, Any] | None = None, limit: float = QUICK_LIMIT
    ) -> dict[str, Any]:
        async with _connected() as connection:
            return await connection.call(f"{INTERFACE}.{method}", parameters, limit=limit)


@asynccontextmanager
async def _connected() -> AsyncIterator[Connection]:
    try:
        connection = await Connection.connect(str(agent_socket()))
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotUpError("No agent runs.", next_step="Bring a profile up, which starts one.") from None
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise
        raise UnexpectedError(f"The agent's socket cannot be used: {error.strerror}.") from error
    try:
        info = await connection.call("org.varlink.service.GetInfo", limit=GREETING_LIMIT)
        running = str(info.get("version", ""))
        if running != __version__:
            raise OtherVersionError(
                f"The running agent is version {running}, this dashboard is {__version__}.",
                next_step="Take everything down with it (devlink down --all), and bring it up again.",
            )
        yield connection
    finally:
        connection.close()


def _decoded(kind: type[T], tree: object) -> T:
    try:
        return decode(kind, tree)
    except DecodeError as error:
        raise OtherVersionError(
            "The running agent speaks otherwise than this dashboard.",
            why=str(error),
            next_step="Take everything down with it (devlink down --all), and bring it up again.",
        ) from error
