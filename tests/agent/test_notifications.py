"""The desktop's notifications, over a real D-Bus session bus, with a service that notes what it is asked."""

import asyncio
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jeepney import HeaderFields, MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

from devlink.agent import bubbles, notifications
from devlink.agent.bubbles import Bubble
from devlink.agent.events import Sight, View
from devlink.agent.history import History
from devlink.agent.sessions import Sessions
from devlink.rpc.tasks import run, spawn

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>"""
TROUBLE = Bubble("qa", "qa is degraded", "No <b>gateway</b> & no name.", True)


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A session's bus, with nobody on it."""
    daemon = shutil.which("dbus-daemon")
    if daemon is None:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse("needs dbus-daemon: apt install dbus-daemon")
    path = tmp_path / "bus"
    (tmp_path / "bus.conf").write_text(CONFIG.format(path=path))
    argv = [daemon, f"--config-file={tmp_path / 'bus.conf'}", "--nofork", "--print-address"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={path}")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        yield path
        process.kill()


class Desktop:
    """The service: notes each notification, and numbers them from 7 on."""

    def __init__(self, bus: Path, *capabilities: str, refuses: bool = False, is_mute: bool = False) -> None:
        self.shown: list[tuple[Any, ...]] = []
        self.ids: list[int] = []
        self._capabilities, self._refuses, self._is_mute = list(capabilities), refuses, is_mute
        self._connection = open_dbus_connection(f"unix:path={bus}")
        self._connection.send_and_get_reply(message_bus.RequestName(notifications.SERVICE))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                call = self._connection.receive(timeout=0.01)
            except TimeoutError:
                continue
            if call.header.message_type is not MessageType.method_call or self._is_mute:
                continue
            if self._refuses:
                self._connection.send(new_error(call, "org.example.No", "s", ("no room",)))
            elif call.header.fields[HeaderFields.member] == "GetCapabilities":
                self._connection.send(new_method_return(call, "as", (self._capabilities,)))
            else:
                self.shown.append(call.body)
                self.ids.append(call.body[1] or 7 + len(self.shown))
                self._connection.send(new_method_return(call, "u", (self.ids[-1],)))

    def __enter__(self) -> "Desktop":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._connection.close()


def test_a_desktop_shows_a_notification_whose_markup_is_only_text(bus: Path) -> None:
    with Desktop(bus, "body", "body-markup") as desktop:
        assert run(notifications.show(TROUBLE, 0)) == desktop.ids[0] != 0
    ((app, replaces, _, summary, body, actions, hints, expire),) = desktop.shown
    assert (app, replaces, summary, actions, expire) == ("devlink", 0, "qa is degraded", [], -1)
    assert body == "No &lt;b&gt;gateway&lt;/b&gt; &amp; no name."
    assert hints["urgency"] == ("y", 1)


def test_a_desktop_without_markup_gets_the_text_as_it_is(bus: Path) -> None:
    with Desktop(bus, "body") as desktop:
        run(notifications.show(TROUBLE, 3))
    assert desktop.shown[0][1] == 3, "in place of the one before"
    assert desktop.shown[0][4] == TROUBLE.body


def test_without_an_address_the_bus_is_where_systemd_has_it(bus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(bus.parent))
    with Desktop(bus) as desktop:
        assert run(notifications.show(TROUBLE, 0))
    assert len(desktop.shown) == 1


def shown(bubble: Bubble, replaces: int = 0) -> int:
    return run(notifications._show(bubble, replaces))


def test_without_bus_or_service_nothing_is_shown_and_nothing_goes_wrong(
    bus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(TROUBLE) == 0, "nobody on the bus"
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={bus}-gone")
    assert shown(TROUBLE) == 0
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "nonsense")
    assert shown(TROUBLE) == 0
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    assert shown(TROUBLE) == 0


def test_a_service_that_refuses_or_hangs_holds_nothing_up(bus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Desktop(bus, refuses=True):
        assert shown(TROUBLE) == 0
    monkeypatch.setattr(notifications, "LIMIT", 0.05)
    with Desktop(bus, is_mute=True):
        began = time.monotonic()
        assert shown(TROUBLE) == 0
        assert time.monotonic() - began < 3


def test_a_bus_that_lets_one_in_and_then_hangs_keeps_neither_thread_nor_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent has few threads, and a notification for each change."""

    hung_up = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (said := await reader.readline()) and not said.startswith(b"BEGIN"):
            writer.write(b"OK 0123456789abcdef0123456789abcdef\r\n")
        await reader.read()
        hung_up.set()
        writer.close()

    async def scenario() -> None:
        async with await asyncio.start_unix_server(hang, path=tmp_path / "bus"):
            assert await notifications._show(TROUBLE, 0) == 0
            await asyncio.wait_for(hung_up.wait(), 5)

    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path / 'bus'}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(notifications, "LIMIT", 0.1)
    began = time.monotonic()
    run(scenario())
    assert time.monotonic() - began < 5


def test_who_wants_none_gets_none(bus: Path) -> None:
    config = Path(os.environ["XDG_CONFIG_HOME"], "devlink", "config.toml")
    config.parent.mkdir(parents=True)
    config.write_text("notifications = false\n")
    with Desktop(bus) as desktop:
        assert shown(TROUBLE) == 0
        assert desktop.shown == []
        config.write_text("notifications = 'what'\n")
        assert shown(TROUBLE) != 0, "a file that cannot be read wishes nothing"


def test_a_session_has_one_notification_that_changes_with_it(
    bus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubbles, "SETTLE", 0.01)

    async def scenario(desktop: Desktop) -> None:
        sessions = Sessions(tmp_path, told=lambda: None, lost=lambda _: None, returned=lambda: asyncio.sleep(0))
        history = History(sessions)
        present = ["up"]
        states = ("up", "degraded", "suspended", "up")
        monkeypatch.setattr(history, "_seen", lambda: View(sessions={"qa": Sight(state=present[0])}))
        history.look()
        telling = spawn(notifications.tell_desktop(history), name="notifications")
        for count, state in enumerate(states):
            present[0] = state
            history.look()
            await asyncio.sleep(0.005)
            async with asyncio.timeout(10):
                while len(desktop.shown) < count:  # noqa: ASYNC110 - it is another thread's
                    await asyncio.sleep(0.005)
        telling.cancel()

    with Desktop(bus) as desktop:
        run(scenario(desktop))
    assert [each[3] for each in desktop.shown] == ["qa is degraded", "qa is suspended", "qa is back"]
    assert [each[1] for each in desktop.shown] == [0, desktop.ids[0], desktop.ids[0]]
    assert [each[6]["urgency"][1] for each in desktop.shown] == [1, 1, 0]
