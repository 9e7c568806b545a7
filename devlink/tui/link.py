"""The agent's socket: its streams and its calls as records. The only part of the dashboard that leaves the process."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path as FilePath
from typing import Any

from devlink import __version__
from devlink.agent.client import caller_environment, connect_or_start, replace_agent
from devlink.agent.places import agent_socket
from devlink.core.codec import DecodeError, decode
from devlink.errors import HelperError, NotUpError, UnexpectedError
from devlink.rpc.connection import Connection
from devlink.run import argv
from devlink.tui import records
from devlink.tui.records import AgentStatus, DnsStats, Event, Examined, Explained, Path, Profiles, Queries, RouteRow

INTERFACE = "io.devlink.Agent"
GREETING_LIMIT = 10.0
"""Seconds for an agent to say its version: one that starts takes over first what it finds."""
QUICK_LIMIT = 10.0
"""Seconds for an answer that changes nothing."""
LONG_LIMIT = 60.0
"""Seconds for a change, or a look at everything."""
PULSE_LIMIT = 3.0
"""Seconds for an agent that was heard to say that it is still there."""


class AbsentError(NotUpError):
    """No agent runs."""


class OtherVersionError(HelperError):
    """The agent is of another version."""


class Link:
    """Each stream has a connection of its own, which ends with it; each call, too."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: the user's, for KUBECONFIG, proxies and programs that sign in; this process's where None."""
        self._environment = dict(environment if environment is not None else caller_environment())

    # Streams. Each raises AbsentError where no agent runs, OtherVersionError, TimeoutError where it does not answer,
    # ProtocolError when it goes away, and what it says against it.

    async def status(self) -> AsyncIterator[AgentStatus]:
        """At once, and whenever it changes."""
        async for reply in _stream("Status", {"routes": False}):
            with _understood():
                status = decode(AgentStatus, reply["status"])
            yield status

    async def events(self) -> AsyncIterator[tuple[Event, ...]]:
        """First what is kept of the past, then each as it happens."""
        async for reply in _stream("FollowEvents"):
            with _understood():
                events = decode(tuple[Event, ...], reply["events"])
            yield events

    async def path(self, session: str) -> AsyncIterator[Path]:
        """Every two seconds."""
        async for reply in _stream("FollowPath", {"session": session}):
            with _understood():
                path = decode(Path, reply)
            yield path

    async def dns_stats(self) -> AsyncIterator[tuple[str, DnsStats]]:
        """Every second: where the forwarder answers, and its counts."""
        async for reply in _stream("FollowDnsStats"):
            with _understood():
                counted = str(reply["nameserver"]), decode(DnsStats, reply["stats"])
            yield counted

    async def queries(self) -> AsyncIterator[Queries]:
        """Whenever names were asked for."""
        async for reply in _stream("FollowDnsLog"):
            with _understood():
                seen = records.queries(reply)
            yield seen

    def up(self, profile: str = "", context: str = "", *, replace: bool = False) -> "BringingUp":
        """Bring a profile up: begins when its steps are asked for."""
        wish = {"profile": profile, "context": context, "replace": replace, "environment": self._environment}
        return BringingUp(wish)

    # Calls. They raise the same.

    async def pulse(self) -> None:
        """Is it still there? Raises TimeoutError after PULSE_LIMIT seconds."""
        async with _connected(PULSE_LIMIT):
            pass

    async def down(self, session: str = "") -> tuple[str, ...]:
        """Take one session down, or all; what is down now."""
        reply = await _call("Down", {"session": session, "all": not session}, LONG_LIMIT)
        with _understood():
            return tuple(map(str, reply["sessions"]))

    async def failover(self, session: str, gateway: str = "") -> tuple[str, str]:
        """Who carried its packets before, and who does now."""
        reply = await _call("Failover", {"session": session, "gateway": gateway}, LONG_LIMIT)
        with _understood():
            return str(reply["before"]), str(reply["gateway"])

    async def flush_dns(self) -> int:
        """How many answers were forgotten."""
        reply = await _call("FlushDns")
        with _understood():
            return int(reply["entries"])

    async def routes(self, session: str) -> list[RouteRow]:
        reply = await _call("ListRoutes", {"session": session})
        with _understood():
            return records.route_rows(reply)

    async def profiles(self) -> Profiles:
        reply = await _call("ListProfiles", {"environment": self._environment})
        with _understood():
            return decode(Profiles, reply)

    async def examine(self) -> Examined:
        reply = await _call("Examine", {"environment": self._environment}, LONG_LIMIT)
        with _understood():
            return decode(Examined, reply)

    async def explain(self, what: str) -> Explained:
        reply = await _call("Explain", {"what": what, "environment": self._environment}, LONG_LIMIT)
        with _understood():
            return decode(Explained, reply)

    # Programs

    async def start_agent(self) -> None:
        """Start one where none runs. Raises DevlinkError where it does not start."""
        await asyncio.to_thread(lambda: connect_or_start(timeout=QUICK_LIMIT).close())

    async def report(self, folder: FilePath, *, anonymize: bool = False) -> FilePath:
        """Write a report into `folder`, by the command of that name: it must work also where no agent answers.

        Cancelled, it takes the command with it. Raises UnexpectedError with what the command said last.
        """
        program = argv("devlink.cli", "report", *(["--anonymize"] if anonymize else []))
        process = await asyncio.create_subprocess_exec(
            *program,
            str(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self._environment, "NO_COLOR": "1"},
        )
        try:
            said, talk = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        lines = [line.strip() for line in talk.decode(errors="replace").splitlines() if line.strip()]
        if process.returncode:
            errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
            raise UnexpectedError(
                "The report was not written.",
                why=(errors or lines or [""])[-1],
                next_step="See what it says by itself: devlink report",
            )
        return FilePath(said.decode(errors="replace").strip())


class BringingUp:
    """One `Up`, from its first step to its end."""

    def __init__(self, wish: Mapping[str, Any]) -> None:
        self._wish = wish
        self._connection: Connection | None = None
        self.is_given_up = False
        self.session = ""
        """What is up now; empty before that."""

    async def steps(self) -> AsyncIterator[tuple[str, bool]]:
        """Each step as it begins and ends, with whether it is done. Ends when all is up.

        Raises what the agent says, and also what it says of what was given up; and as Link's streams.
        """
        async with _connected() as connection:
            if self.is_given_up:
                raise NotUpError("It was cancelled before anything was changed.", next_step="Try again: devlink up")
            self._connection = connection
            async with aclosing(connection.stream(f"{INTERFACE}.Up", self._wish)) as replies:
                async for reply in replies:
                    with _understood():
                        if reply.get("session") is not None:
                            self.session = str(reply["session"]["name"])
                            continue
                        told = str(reply["step"]), bool(reply.get("done"))
                    yield told

    def give_up(self) -> None:
        """Have the agent take it all back; its answer, an error, ends the steps."""
        self.is_given_up = True
        if self._connection is not None:
            self._connection.give_up()


async def _stream(method: str, parameters: Mapping[str, Any] | None = None) -> AsyncIterator[dict[str, Any]]:
    async with (
        _connected() as connection,
        aclosing(connection.stream(f"{INTERFACE}.{method}", parameters)) as replies,
    ):
        async for reply in replies:
            yield reply


async def _call(method: str, parameters: Mapping[str, Any] | None = None, limit: float = QUICK_LIMIT) -> dict[str, Any]:
    async with _connected() as connection:
        return await connection.call(f"{INTERFACE}.{method}", parameters, limit=limit)


@asynccontextmanager
async def _connected(limit: float = GREETING_LIMIT) -> AsyncIterator[Connection]:
    try:
        connection = await Connection.connect(str(agent_socket()), limit=limit)
    except (FileNotFoundError, ConnectionRefusedError):
        raise AbsentError("No agent runs.", next_step="Bring a profile up, which starts one.") from None
    except TimeoutError:
        raise
    except OSError as error:
        raise UnexpectedError(
            f"The agent's socket cannot be used: {error.strerror}.", next_step=f"Look at it: ls -l {agent_socket()}"
        ) from error
    try:
        info = await connection.call("org.varlink.service.GetInfo", limit=limit)
        running = str(info.get("version", ""))
        if running != __version__:
            raise OtherVersionError(
                f"The running agent is version {running or 'unknown'}, this dashboard is {__version__}.",
                next_step=replace_agent(),
            )
        yield connection
    finally:
        connection.close()


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except (DecodeError, LookupError, TypeError, ValueError) as error:
        raise OtherVersionError(
            "The running agent speaks otherwise than this dashboard.", why=f"{error}.", next_step=replace_agent()
        ) from error
