"""The agent's line to the helper: connected again whenever it breaks."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from devlink.core.codec import DecodeError, decode, encode
from devlink.core.plan import Desired, Detour
from devlink.core.prefixes import IPAddress
from devlink.core.relay import RelayListener
from devlink.errors import DevlinkError, HelperError, ProtocolError, reason
from devlink.helper.policy import Paths
from devlink.hints import HELPER_UNIT, log_of, restart_helper, start_helper
from devlink.rpc.connection import Connection
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import includes, interface_description
from devlink.service.user import RESTART

log = logging.getLogger(__name__)

CALL_LIMIT = 60.0
"""Seconds for one call. Each of the helper's own steps ends within a few seconds, and its way back repeats them."""
LOOK_LIMIT = 5.0
"""Seconds for the helper's account of what there is: somebody waits at a terminal."""
GREETING_LIMIT = 5.0
"""Seconds for the helper to say its version."""
INTERFACE, DESCRIPTION = "io.devlink.Helper", "org.varlink.service.GetInterfaceDescription"
RESTART_AGENT = f"{RESTART}, or: devlink down --all; devlink up"
SKEWED = f"they understand each other; restart the older one (the agent: {RESTART_AGENT})"
LONGEST_PAUSE = 2.0
"""Seconds between attempts to reach a helper that is away."""


class HelperLink:
    """One connection, on which the leases of this agent's sessions hang."""

    def __init__(self, *, lost: Callable[[HelperError], None], returned: Callable[[], Awaitable[None]]) -> None:
        """`lost` is told why there is no line, whenever that changes; `returned` awaited when there is a new one."""
        self._lost = lost
        self._returned = returned
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._opening = asyncio.Lock()
        interface_description(INTERFACE)  # while it is this version's: an upgrade lays another one over it
        self.version = ""
        """The helper's version, when it was last asked."""

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and not self._connection.closed.done()

    async def ready(self) -> None:
        """Raise HelperError unless there is a helper that answers. The line to one that hangs is given up.

        To be asked before it gets something to do of which nobody would hear the end.
        """
        try:
            await self.greet()
        except HelperError as error:
            # Not where only a second line is refused: one that is gone shows it on ours.
            if self._connection is not None and isinstance(error.__cause__, TimeoutError):
                self._connection.close()
            raise

    async def greet(self) -> None:
        """Raise HelperError unless there is a helper that answers, also while our own line waits for a long answer."""
        connection, _ = await _greet()
        connection.close()

    async def apply(self, desired: Desired, replace: tuple[str, ...] = ()) -> Mapping[str, Any]:
        """Have the helper install a plan. Raises the helper's DevlinkError."""
        return await self._call("Apply", {"plan": encode(desired), "replace": list(replace)})

    async def confirm(self, session: str) -> None:
        await self._call("Confirm", {"session": session})

    async def release(self, session: str) -> None:
        await self._call("Release", {"session": session})

    async def switch(self, session: str, next_hop: IPAddress, by: IPAddress) -> Detour | None:
        """Have what the routes send to `next_hop` go by that one or another. The detour that there is then.

        Raises the helper's DevlinkError.
        """
        via = by if by != next_hop else None
        answer = await self._call("Switch", {"session": session, "next_hop": str(next_hop), "via": via and str(via)})
        return Detour(next_hop=next_hop, via=via, oif=answer["oif"]) if via is not None else None

    async def open_relay(self, session: str) -> tuple[tuple[RelayListener, ...], tuple[int, ...]]:
        """The listeners that the helper made for a relayed session, with their descriptors, which are the caller's to
        close. Raises the helper's DevlinkError."""
        async with self._opening:
            connection = await self._connected()
            try:
                answer, descriptors = await connection.call_for_descriptors(
                    "io.devlink.Helper.OpenRelay", {"session": session}, limit=LOOK_LIMIT
                )
            except ProtocolError as error:
                raise went_away() from error
            except TimeoutError as error:
                raise _no_answer(LOOK_LIMIT) from error
        try:
            return tuple(decode(RelayListener, each) for each in answer["listeners"]), descriptors
        except (DecodeError, KeyError) as error:
            for descriptor in descriptors:
                os.close(descriptor)
            raise HelperError(
                "The devlink helper does not say what its listeners are for.", why=reason(error),
                next_step=restart_helper(),
            ) from error  # fmt: skip

    async def count_relay(self, session: str) -> int:
        """How many packets to a relayed session's networks were refused because they were no TCP."""
        answer = await self._call("CountRelay", {"session": session}, limit=LOOK_LIMIT)
        return int(answer["refused"])

    async def state(self) -> Mapping[str, Any]:
        """The helper's own account of this user's sessions, as `io.devlink.Helper.List` gives it."""
        return await self._call("List", limit=LOOK_LIMIT)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _call(
        self, method: str, parameters: Mapping[str, Any] | None = None, *, limit: float = CALL_LIMIT
    ) -> Mapping[str, Any]:
        connection = await self._connected()
        try:
            return await connection.call(f"io.devlink.Helper.{method}", parameters, limit=limit)
        except ProtocolError as error:
            raise HelperError(
                "The devlink helper went away in the middle of the work.",
                why="It was stopped or it failed; when it starts again it takes back what it had done.",
                next_step=f"Try again. {log_of(HELPER_UNIT, 'The log of the helper says more.')}",
            ) from error
        except TimeoutError as error:
            if limit == CALL_LIMIT:
                connection.close()  # what was asked may still be done; only the end of the line takes it back for sure
            raise _no_answer(limit) from error

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or self._connection.closed.done():
                connection, self.version = await _greet()
                await _check_version(connection, self.version)
                self._connection = connection
                connection.closed.add_done_callback(lambda _: self._ended(connection))
            return self._connection

    def _ended(self, connection: Connection) -> None:
        if connection is self._connection:
            self._connection = None
            log.warning("the helper is gone")
            self._lost(
                HelperError(
                    "The helper is away: routes and names may be too.",
                    next_step=f"They are put back when it is. {log_of(HELPER_UNIT, 'Its log says more.')}",
                )
            )
            spawn(self._reconnect(), name="reconnect to the helper")

    async def _reconnect(self) -> None:
        pause, told = 0.05, ""
        while not self.is_connected:
            try:
                await self._connected()
            except HelperError as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("%s", error)
                    self._lost(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        await self._returned()


@asynccontextmanager
async def line_beside() -> AsyncIterator[Connection]:
    """Another line to the helper while the block runs, for looks that change nothing: no lease hangs on it, and nothing
    that is asked on it waits for the end of a change.

    Raises HelperError, also where the helper goes away meanwhile, or does not answer in time.
    """
    connection, version = await _greet()
    await _check_version(connection, version)
    try:
        yield connection
    except ProtocolError as error:
        raise went_away() from error
    except TimeoutError as error:
        raise _no_answer(LOOK_LIMIT) from error
    finally:
        connection.close()


def went_away() -> HelperError:
    """What is said of the end of a line beside."""
    return HelperError(
        "The devlink helper went away.",
        why="It was stopped, or it failed.",
        next_step=f"Try again in a moment. {log_of(HELPER_UNIT, 'The log of the helper says more.')}",
    )


def _no_answer(limit: float) -> HelperError:
    return HelperError(
        f"The devlink helper does not answer within {limit:g} s.",
        next_step=log_of(HELPER_UNIT, "The log of the helper says more."),
    )


async def _greet() -> tuple[Connection, str]:
    """A new line to the helper, with its version. Raises HelperError."""
    path = Paths().socket
    try:
        connection = await Connection.connect(str(path))
        try:
            info = await connection.call("org.varlink.service.GetInfo", limit=GREETING_LIMIT)
        except BaseException:
            connection.close()
            raise
    except TimeoutError as error:
        raise HelperError(
            "The devlink helper runs, but does not answer.",
            why=f"It had {GREETING_LIMIT:g} s. It hangs; or it starts, and takes back first what an earlier one left.",
            next_step=f"Try again in a moment. {log_of(HELPER_UNIT, 'The log of the helper says more.')}",
        ) from error
    except (OSError, ProtocolError) as error:
        raise HelperError(
            f"The devlink helper cannot be reached at {path}.",
            why=reason(error),
            next_step=start_helper(),
        ) from error
    return connection, str(info.get("version", ""))


async def _check_version(connection: Connection, helper: str) -> None:
    """Raises HelperError where it is another than the agent's and speaks otherwise; then the connection is closed.

    After an upgrade, for as long as nobody restarts it, the agent is the older one: no package restarts the services of
    users before Debian 13. What it has up goes on where the helper's interface still has all of its own.
    """
    from devlink import __version__

    if helper == __version__:
        return
    try:
        called = await connection.call(DESCRIPTION, {"interface": INTERFACE}, limit=GREETING_LIMIT)
        if includes(str(called.get("description", "")), interface_description(INTERFACE)):
            log.warning("the helper is version %s, this agent %s: %s", helper, __version__, SKEWED)
            return
    except (TimeoutError, DevlinkError) as error:
        log.warning("the helper does not describe its interface: %s", reason(error))
    except BaseException:
        connection.close()
        raise
    connection.close()
    raise HelperError(
        f"The running helper is version {helper or 'unknown'}, this agent is {__version__}, and they do not understand "
        "each other.",
        next_step=f"{restart_helper()}. Then the agent, where that is the older one: {RESTART_AGENT}",
    )
