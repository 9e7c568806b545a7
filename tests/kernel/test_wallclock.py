"""The watch on the wall clock. The machine's own clock is not set for a test: the cancelled timer is another file here,
and what the real timer does is tried without a jump."""

import asyncio
import errno
import os
from collections.abc import Callable

import pytest

from devlink.kernel import wallclock
from devlink.kernel.wallclock import WallClock, open_cancelled_on_set

LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""


class Timer:
    """A timer that the test has cancelled: readable, and a read says `error`, once for all jumps since the last."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.error = errno.ECANCELED
        self.fd = -1
        self._read = os.read
        patch.setattr(os, "read", self.read)

    def open(self) -> int:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return self.fd

    def jump(self) -> None:
        os.eventfd_write(self.fd, 1)

    def read(self, fd: int, size: int) -> bytes:
        octets = self._read(fd, size)
        if fd == self.fd and self.error:
            raise OSError(self.error, os.strerror(self.error))
        return octets


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    return Timer(monkeypatch)


async def told(count: Callable[[], int], wanted: int) -> None:
    async with asyncio.timeout(LIMIT):
        while count() < wanted:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


def test_each_jump_is_told_and_the_next_one_too(timer: Timer) -> None:
    async def main() -> None:
        jumps: list[int] = []
        clock = WallClock(lambda: jumps.append(1), open_timer=timer.open)
        for number in (1, 2, 3):
            timer.jump()
            await told(lambda: len(jumps), number)
        timer.jump()
        timer.jump()
        await told(lambda: len(jumps), 4)
        await asyncio.sleep(0.02)
        assert len(jumps) == 4, "two jumps before anybody looks are one"
        clock.close()
        clock.close()

    asyncio.run(main())


def test_a_timer_that_fails_is_closed_and_nothing_is_told(timer: Timer, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        jumps: list[int] = []
        clock = WallClock(lambda: jumps.append(1), open_timer=timer.open)
        timer.error = errno.EIO
        timer.jump()
        async with asyncio.timeout(LIMIT):
            while not caplog.messages:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)
        assert jumps == []
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(timer.fd)
        clock.close()

    asyncio.run(main())


def test_while_the_clock_runs_on_nothing_wakes_us_and_nothing_is_told() -> None:
    async def main() -> None:
        jumps: list[int] = []
        clock = WallClock(lambda: jumps.append(1))
        woken: list[int] = []
        asyncio.get_running_loop().add_reader(clock._fd, lambda: woken.append(1))
        await asyncio.sleep(0.2)
        assert jumps == woken == []
        clock.close()

    asyncio.run(main())


def test_the_kernel_takes_the_timer_and_has_it_cancelled_by_a_set_clock() -> None:
    fd = open_cancelled_on_set()
    try:
        with open(f"/proc/self/fdinfo/{fd}") as file:
            told = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)
        assert int(told["clockid"]) == wallclock.CLOCK_REALTIME
        assert int(told["settime flags"], 8) == wallclock.TFD_TIMER_ABSTIME | wallclock.TFD_TIMER_CANCEL_ON_SET
        with pytest.raises(BlockingIOError):
            os.read(fd, 8)
    finally:
        os.close(fd)
