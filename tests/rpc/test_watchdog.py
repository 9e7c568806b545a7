"""The service manager hears of a loop that goes round, and of no other."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from devlink.rpc.activation import watchdog_interval
from devlink.rpc.watchdog import feed_watchdog


@pytest.mark.parametrize(("given", "seconds"), [
    ({}, 0.0),
    ({"WATCHDOG_USEC": "30000000"}, 30.0),
    ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
    ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
    ({"WATCHDOG_USEC": "soon"}, 0.0),
])  # fmt: skip
def test_how_often_is_for_this_process_alone(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], seconds: float
) -> None:
    for key in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(key, raising=False)
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    assert watchdog_interval() == seconds
    assert not {"WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)


def test_it_is_told_again_and_again_while_the_loop_goes_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "2000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))

        async def body() -> list[bytes]:
            feeding = asyncio.get_running_loop().create_task(feed_watchdog())
            heard = [await asyncio.to_thread(manager.recv, 100) for _ in range(3)]
            feeding.cancel()
            return heard

        assert asyncio.run(body()) == [b"WATCHDOG=1"] * 3


def test_where_nobody_asks_nothing_is_told_and_no_timer_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    asyncio.run(asyncio.wait_for(feed_watchdog(), 5))
