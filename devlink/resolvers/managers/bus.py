"""Asks and tells services on the system's D-Bus, blocking and bounded."""

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from jeepney import DBusAddress, HeaderFields, Message, MessageType, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.low_level import MessageFlag

from devlink.errors import HelperError, reason

LIMIT = 2.0
"""Seconds for one answer. A service that starts, or one that asks polkit, takes the tenth of it."""
CONNECT_LIMIT = 1.0
BUS, BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
PROPERTIES = "org.freedesktop.DBus.Properties"
ABSENT = tuple(
    f"org.freedesktop.DBus.Error.{each}" for each in ("UnknownProperty", "UnknownObject", "UnknownInterface")
)
"""How it is said that there is no such property or object."""
PAUSE = 0.01
"""Seconds between two looks at whether a service has carried out what it was told."""
T = TypeVar("T")


class SystemBus:
    """One connection, for a few calls in a row: a bus that was restarted in between is met by the next one.

    Raises HelperError where there is no bus; so does each call that fails.
    """

    def __init__(self) -> None:
        try:
            self.connection: DBusConnection = open_dbus_connection("SYSTEM", auth_timeout=CONNECT_LIMIT)
        except Exception as error:  # a bus that ends at this moment is met by more than OSError
            raise HelperError(
                "The system's D-Bus cannot be reached.",
                why=reason(error),
                next_step="See `systemctl status dbus.service`.",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """May be repeated."""
        self.connection.close()

    def call(
        self,
        service: str,
        path: str,
        member: str,
        signature: str = "",
        *arguments: Any,
        start: bool = False,
        allowed: tuple[str, ...] = (),
    ) -> tuple[Any, ...] | None:
        """The answer of `member` (`interface.Method`); None for an error whose D-Bus name is in `allowed`.

        With `start` a service that does not run is started for it, where the bus knows how. Raises HelperError.
        """
        interface, _, method = member.rpartition(".")
        message = new_method_call(DBusAddress(path, service, interface), method, signature or None, arguments)
        if not start:
            message.header.flags |= MessageFlag.no_auto_start
        try:
            answer: Message = self.connection.send_and_get_reply(message, timeout=LIMIT)
        except TimeoutError as error:
            raise _failure(service, method, f"It gave no answer within {LIMIT:g} s.") from error
        except Exception as error:
            raise _failure(service, method, reason(error)) from error
        if answer.header.message_type is MessageType.error:
            name = str(answer.header.fields.get(HeaderFields.error_name, ""))
            if name in allowed:
                return None
            said = "".join(str(each) for each in answer.body[:1])
            raise _failure(service, method, f"It said: {said or name} ({name}).")
        body: tuple[Any, ...] = answer.body
        return body

    def has(self, service: str) -> bool:
        """Whether somebody owns this name. Raises HelperError."""
        answer = self.call(BUS, BUS_PATH, f"{BUS}.NameHasOwner", "s", service)
        return bool(answer and answer[0])

    def read(self, service: str, path: str, interface: str, name: str, *, start: bool = False) -> Any:
        """The value of a property; None where there is no such property or object. Raises HelperError."""
        answer = self.call(service, path, f"{PROPERTIES}.Get", "ss", interface, name, start=start, allowed=ABSENT)
        return answer[0][1] if answer else None  # a variant is its signature and its value

    def read_all(self, service: str, path: str, interface: str) -> dict[str, Any] | None:
        """The values of all properties by name; None where there is no such object. Raises HelperError."""
        answer = self.call(service, path, f"{PROPERTIES}.GetAll", "s", interface, allowed=ABSENT)
        return {name: value for name, (_, value) in answer[0].items()} if answer else None

    def set_property(self, service: str, path: str, interface: str, name: str, signature: str, value: Any) -> None:
        """Give a property this value, of a type as D-Bus signs it (`b`). Raises HelperError."""
        self.call(service, path, f"{PROPERTIES}.Set", "ssv", interface, name, (signature, value))


class Signals:
    """A connection that is told of changes: of who owns a name, and of an object's properties."""

    def __init__(self, connection: DBusConnection) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """To be polled for reading."""
        return int(self._connection.sock.fileno())

    def take(self) -> bool:
        """Whether there was a signal since the last call. Raises HelperError where the bus has ended."""
        found = False
        try:
            while True:
                message = self._connection.receive(timeout=0)
                found |= message.header.message_type is MessageType.signal
        except TimeoutError:
            return found
        except Exception as error:
            raise _failure(BUS, "signals", reason(error)) from error

    def close(self) -> None:
        """May be repeated."""
        self._connection.close()


def open_signals(objects: Iterable[tuple[str, str]]) -> Signals:
    """Be told of these names and objects from now on. Blocks; raises HelperError."""
    bus = SystemBus()
    try:
        for service, path in objects:
            for rule in (
                f"type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{service}'",
                f"type='signal',sender='{service}',path='{path}',member='PropertiesChanged'",
            ):
                bus.call(BUS, BUS_PATH, f"{BUS}.AddMatch", "s", rule)
    except BaseException:
        bus.close()
        raise
    return Signals(bus.connection)


def wait(look: Callable[[], T], limit: float) -> T:
    """What `look` sees: the first that is true, within so many seconds, else the last."""
    deadline = time.monotonic() + limit
    while not (seen := look()) and time.monotonic() < deadline:
        time.sleep(PAUSE)
    return seen


def _failure(service: str, method: str, why: str) -> HelperError:
    return HelperError(
        f"{service} did not do what it was asked ({method}).",
        why=why,
        next_step=f"See `busctl status {service}` and its log.",
    )
