"""How an agent that the user's manager runs takes the place of one that is there already."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from devlink.agent import lock
from devlink.errors import UnexpectedError

PID = 4711


@pytest.mark.parametrize(("hears", "sent"), [
    (signal.SIGTERM, ["SIGTERM"]), (signal.SIGKILL, ["SIGTERM", "SIGKILL"]), (None, ["SIGTERM", "SIGKILL"]),
])  # fmt: skip
def test_one_that_is_there_is_told_to_end_and_killed_where_it_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hears: signal.Signals | None, sent: list[str]
) -> None:
    held = lock.lock(tmp_path)
    assert held is not None
    told = []

    def kill(pid: int, number: signal.Signals) -> None:
        assert pid == PID
        told.append(number.name)
        if number == hears:
            os.close(held)

    monkeypatch.setattr(lock, "_holder", lambda: PID)
    monkeypatch.setattr("os.kill", kill)
    monkeypatch.setattr(lock, "TAKE_OVER_LIMIT", 0.05)
    monkeypatch.setattr(lock, "KILL_LIMIT", 0.05)
    if hears is None:
        with pytest.raises(UnexpectedError, match="does not end"):
            asyncio.run(lock.take_over(tmp_path))
        os.close(held)
    else:
        os.close(asyncio.run(lock.take_over(tmp_path)))
    assert told == sent
