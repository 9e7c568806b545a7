"""Tells when the wall clock jumps: the laptop has slept, or somebody has set the clock. Costs nothing until then.

A timer on CLOCK_REALTIME with TFD_TIMER_CANCEL_ON_SET is cancelled by each discontinuous change of that clock, and a
resume from sleep is one (timerfd_create(2); fs/timerfd.c: timerfd_clock_was_set, timerfd_resume).
"""

import asyncio
import ctypes
import errno
import logging
import os
import struct
from collections.abc import Callable

log = logging.getLogger(__name__)

CLOCK_REALTIME = 0
TFD_NONBLOCK, TFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET = 1, 2
FAR = min(1 << 40, (1 << (8 * ctypes.sizeof(ctypes.c_long) - 1)) - 1)
"""Seconds since 1970: the timer is there to be cancelled, not to expire."""

_ITIMERSPEC = struct.Struct("@4l")


class WallClock:
    """Calls `jumped` after each jump of the wall clock. In a running event loop. Close it."""

    def __init__(self, jumped: Callable[[], None], *, open_timer: Callable[[], int] | None = None) -> None:
        """Raises OSError where the kernel has no such timer. `open_timer` makes the file descriptor."""
        self._jumped = jumped
        self._loop = asyncio.get_running_loop()
        self._fd = (open_timer or open_cancelled_on_set)()
        self._loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """No call comes after this. May be repeated."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ECANCELED:
                log.error("jumps of the wall clock are not seen any more: %s", error)
                self.close()
                return
        self._jumped()


def open_cancelled_on_set() -> int:
    """A timer that is cancelled whenever the wall clock jumps: from then on a read says ECANCELED, once for all jumps
    since the last. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC)
    if fd < 0:
        raise _failure()
    never = _ITIMERSPEC.pack(0, 0, FAR, 0)
    if libc.timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, never, None) != 0:
        failure = _failure()
        os.close(fd)
        raise failure
    return fd


def _failure() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
