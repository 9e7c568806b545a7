"""Tells the user's desktop how sessions are, where there is one: org.freedesktop.Notifications on the session bus.

Desktop Notifications Specification 1.2, section 9. Where no bus, no service or no wish is, nothing is told.
"""

import asyncio
import logging
import os
import time

from devlink.agent.bubbles import Bubble, Bubbles
from devlink.agent.config import read_config
from devlink.agent.history import History
from devlink.errors import UnexpectedError, UsageError, reason

log = logging.getLogger(__name__)

SERVICE, PATH = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
LIMIT = 5.0
"""Seconds for all of it: the service may have to be started, or hang."""
CONNECT_LIMIT = 1.0
"""Seconds to be let in by the bus."""
LOW, NORMAL = 0, 1
"""Urgency, section 8 of the specification."""


async def tell_desktop(history: History) -> None:
    """Follow the sessions and tell what is worth a notification, until cancelled. Wakes only where something is."""
    bubbles = Bubbles()
    shown: dict[str, int] = {}
    while True:
        bubbles.look(history.view, time.monotonic())
        taken = bubbles.take(time.monotonic())
        for bubble in taken:
            shown[bubble.session] = await _show(bubble, shown.get(bubble.session, 0))
        if taken:  # and something may have changed meanwhile
            continue
        due = bubbles.due
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                await history.changed()
        except TimeoutError:
            pass


async def _show(bubble: Bubble, replaces: int) -> int:
    """The notification's number; 0 where it is not shown."""
    try:
        async with asyncio.timeout(LIMIT):
            return await show(bubble, replaces) if await asyncio.to_thread(_is_wanted) else 0
    except Exception as error:  # whatever a bus that ends at this moment is met by: nobody misses a notification
        log.debug("no desktop was told that %s: %s", bubble.summary, reason(error))
        return 0


def _is_wanted() -> bool:
    try:
        return read_config().notifications
    except UsageError:  # `up` tells what is wrong with it
        return True


async def show(bubble: Bubble, replaces: int) -> int:
    """Show it in place of the notification of number `replaces` (0: none), and give its own number.

    In no thread: one that waits for a bus which hangs could not be ended, and the agent has few. Raises DevlinkError
    where the service refuses, and whatever jeepney raises.
    """
    from jeepney import DBusAddress, MessageType, new_method_call  # not before there is something to tell
    from jeepney.bus import get_bus
    from jeepney.bus_messages import message_bus
    from jeepney.io.asyncio import DBusConnection, DBusRouter, Proxy
    from jeepney.io.blocking import prep_socket

    service = DBusAddress(PATH, SERVICE, SERVICE)
    line = await asyncio.to_thread(prep_socket, get_bus(_session_bus()), timeout=CONNECT_LIMIT)
    reader, writer = await asyncio.open_unix_connection(sock=line)
    try:
        async with DBusRouter(DBusConnection(reader, writer)) as bus:

            async def call(method: str, signature: str | None = None, *arguments: object) -> object:
                answer = await bus.send_and_get_reply(new_method_call(service, method, signature, arguments))
                if answer.header.message_type is MessageType.error:
                    raise UnexpectedError(f"{SERVICE} refuses {method}.", why="".join(map(str, answer.body[:1])))
                return answer.body[0]

            await Proxy(message_bus, bus).Hello()
            can = await call("GetCapabilities")
            body = _escaped(bubble.body) if isinstance(can, list) and "body-markup" in can else bubble.body
            hints = {
                "urgency": ("y", NORMAL if bubble.is_trouble else LOW),
                "category": ("s", "network.error" if bubble.is_trouble else "network.connected"),
            }
            by_service = -1  # the time for which it stays
            shown = await call(
                "Notify", "susssasa{sv}i", "devlink", replaces, "", bubble.summary, body, [], hints, by_service
            )  # fmt: skip
            return shown if isinstance(shown, int) else 0
    finally:
        writer.close()


def _session_bus() -> str:
    """Where it listens: as the session says, else where systemd has it. An agent that came by ssh knows only that."""
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    return address or f"unix:path={os.environ.get('XDG_RUNTIME_DIR', '')}/bus"


def _escaped(text: str) -> str:
    """As markup that shows the text as it is (section 5)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
