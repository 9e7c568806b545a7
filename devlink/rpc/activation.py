"""What a service manager hands over and wants to hear: LISTEN_FDS (sd_listen_fds(3)), sd_notify(3), its watchdog."""

import os
import socket

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""


def listen_sockets() -> list[socket.socket]:
    """The sockets that the starter passed to this very process, in order; none if it passed none.

    Removes the variables, so that children do not take them for theirs. The sockets become close-on-exec.
    """
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = []
    for fd in range(FIRST_FD, FIRST_FD + int(count)):
        os.set_inheritable(fd, False)
        sockets.append(socket.socket(fileno=fd))
    return sockets


def notify(state: str) -> None:
    """Tell the manager `READY=1`, `STOPPING=1` or the like. Does nothing where nobody asked to be told."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(state.encode(), address)
        except OSError:
            pass  # the manager went away: nobody to tell


def watchdog_interval() -> float:
    """Seconds within which the manager wants to hear from this very process (sd_watchdog_enabled(3)); 0 for never.

    Removes the variables, so that children do not take them for theirs.
    """
    microseconds, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or pid not in ("", str(os.getpid())):
        return 0.0
    return int(microseconds) / 1e6
