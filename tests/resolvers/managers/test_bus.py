"""What is said on the bus, and what is made of the answers: by the real client, to a bus of the test's."""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    Parser,
    new_error,
    new_method_return,
    new_signal,
)
from jeepney.io.blocking import DBusConnection
from jeepney.low_level import MessageFlag

from devlink.errors import HelperError
from devlink.resolvers.managers import bus as module
from devlink.resolvers.managers.bus import SystemBus, open_signals

SERVICE, PATH, INTERFACE = "org.example.Names", "/org/example", "org.example.I"
Answer = Callable[[Message], Message | None]


class Bus:
    """The other end of one connection, which takes every call down."""

    def __init__(self) -> None:
        self.mine, self.theirs = socket.socketpair()
        self.calls: list[Message] = []
        self.answer: Answer = lambda call: new_method_return(call, "s", (":1.7",))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def connect(self, *_: object, **__: object) -> DBusConnection:
        """As jeepney's `open_dbus_connection`, without a handshake."""
        return DBusConnection(self.theirs)

    def send(self, message: Message) -> None:
        self.mine.sendall(message.serialise(serial=len(self.calls) + 1000))

    def end(self) -> None:
        self.mine.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.mine.close()
        self.theirs.close()

    def _run(self) -> None:
        parser = Parser()
        while data := self.mine.recv(4096):
            for call in parser.feed(data):
                self.calls.append(call)
                answer = self.answer(call)
                if answer is not None:
                    self.send(answer)


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    made = Bus()
    monkeypatch.setattr(module, "open_dbus_connection", made.connect)
    yield made
    made.end()


def says(signature: str, *values: Any) -> Answer:
    return lambda call: new_method_return(call, signature, values)


def refuses(name: str, text: str = "no") -> Answer:
    return lambda call: new_error(call, name, "s", (text,))


def test_a_service_that_does_not_run_is_started_only_where_that_is_said(bus: Bus) -> None:
    with SystemBus() as connection:
        for start in (False, True):
            connection.call(SERVICE, PATH, f"{INTERFACE}.Do", start=start)
            connection.read(SERVICE, PATH, INTERFACE, "Mode", start=start)
        connection.has(SERVICE)
        connection.set_property(SERVICE, PATH, INTERFACE, "Mode", "s", "split")
    starts = [not call.header.flags & MessageFlag.no_auto_start for call in bus.calls[1:]]  # the first is Hello
    assert starts == [False, False, True, True, False, False]


def test_a_call_says_whom_and_what_and_gives_the_answer(bus: Bus) -> None:
    with SystemBus() as connection:
        bus.answer = says("su", "x", 5)
        assert connection.call(SERVICE, PATH, f"{INTERFACE}.Do", "is", 3, "no") == ("x", 5)
        bus.answer = says("b", True)
        assert connection.has(SERVICE)
        bus.answer = says("v", ("as", ["x"]))
        assert connection.read(SERVICE, PATH, INTERFACE, "Mode") == ["x"]
        bus.answer = says("a{sv}", {"Mode": ("s", "x")})
        assert connection.read_all(SERVICE, PATH, INTERFACE) == {"Mode": "x"}
    said = [
        (*(call.header.fields[each] for each in (
            HeaderFields.destination, HeaderFields.path, HeaderFields.interface, HeaderFields.member,
        )), *call.body)
        for call in bus.calls[1:]
    ]  # fmt: skip
    assert said == [
        (SERVICE, PATH, INTERFACE, "Do", 3, "no"),
        ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner", SERVICE),
        (SERVICE, PATH, "org.freedesktop.DBus.Properties", "Get", INTERFACE, "Mode"),
        (SERVICE, PATH, "org.freedesktop.DBus.Properties", "GetAll", INTERFACE),
    ]


def test_an_error_that_was_expected_is_none_and_any_other_is_told_with_its_words(bus: Bus) -> None:
    with SystemBus() as connection:
        bus.answer = refuses("org.example.Gone", "there is no such link")
        assert connection.call(SERVICE, PATH, f"{INTERFACE}.Do", allowed=("org.example.Gone",)) is None
        with pytest.raises(HelperError, match=r"there is no such link \(org.example.Gone\)"):
            connection.call(SERVICE, PATH, f"{INTERFACE}.Do", allowed=("org.example.Other",))
        with pytest.raises(HelperError, match="there is no such link"):
            connection.read(SERVICE, PATH, INTERFACE, "Mode")
        for name in ("UnknownProperty", "UnknownObject", "UnknownInterface"):
            bus.answer = refuses(f"org.freedesktop.DBus.Error.{name}")
            assert connection.read(SERVICE, PATH, INTERFACE, "Mode") is None
            assert connection.read_all(SERVICE, PATH, INTERFACE) is None


def test_no_answer_and_no_bus_are_errors(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 0.02)
    with SystemBus() as connection:
        bus.answer = lambda call: None
        with pytest.raises(HelperError, match="gave no answer within"):
            connection.call(SERVICE, PATH, f"{INTERFACE}.Do")
        bus.mine.shutdown(socket.SHUT_RDWR)
        with pytest.raises(HelperError, match="did not do what it was asked"):
            connection.call(SERVICE, PATH, f"{INTERFACE}.Do")

    def fail(*_: object, **__: object) -> DBusConnection:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(module, "open_dbus_connection", fail)
    with pytest.raises(HelperError, match="cannot be reached"):
        SystemBus()


def test_who_owns_a_name_and_what_an_object_shows_is_subscribed_to_and_told(bus: Bus) -> None:
    signals = open_signals([(SERVICE, PATH)])
    assert [(call.header.fields[HeaderFields.member], *call.body) for call in bus.calls[1:]] == [
        ("AddMatch", rule) for rule in (
            "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.example.Names'",
            "type='signal',sender='org.example.Names',path='/org/example',member='PropertiesChanged'",
        )
    ]  # fmt: skip
    assert not signals.take()
    for _ in range(2):
        bus.send(new_signal(DBusAddress(PATH, interface="org.freedesktop.DBus.Properties"), "PropertiesChanged"))
    assert signals.take()
    assert not signals.take()
    bus.send(new_method_return(bus.calls[-1]))
    assert not signals.take(), "an answer is no signal"
    bus.mine.shutdown(socket.SHUT_RDWR)
    with pytest.raises(HelperError):
        signals.take()
    signals.close()


def test_a_subscription_that_is_refused_leaves_no_connection(bus: Bus) -> None:
    bus.answer = lambda call: (
        new_method_return(call, "s", (":1.7",)) if call.body == () else new_error(call, "org.example.No")
    )
    with pytest.raises(HelperError, match=r"\(org\.example\.No\)"):
        open_signals([(SERVICE, PATH)])
    assert bus.theirs.fileno() == -1
