"""The first process of a world's PID namespace: builds it, reaps it, and ends, with all that is in it, on EOF of stdin.

One JSON line on stdin is the order; one on stdout is the report. After that stdin only tells, by its end, that the
process that wanted the world is gone. When this process ends the kernel kills every other process of the namespace,
and with the last of them the network namespaces, mounts and files go.
"""

import json
import os
import select
import signal
import sys
import traceback

BUILT = 0


def main() -> int:
    # No imports of ours before this point: this process stays as small as it can, only the builder needs them.
    line = _read_line(0)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process outside, which then lets go of stdin
    builder = os.fork()
    if builder == 0:
        os._exit(_build(line))
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    poll.register(reading, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == 0 and not os.read(0, 4096):
                return 0
            if fd == reading:
                os.read(reading, 4096)
        if not _reap(builder):
            return 1


def _read_line(fd: int) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        chunk = os.read(fd, 65536)
        if not chunk:
            sys.exit(0)
        data += chunk
    return data


def _reap(builder: int) -> bool:
    """Take leave of the children that ended. False if the builder failed."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == 0:
            return True
        if pid == builder and status != BUILT:
            return False


def _build(line: bytes) -> int:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    report: dict[str, object]
    try:
        import gc

        gc.disable()
        from devlink.core.codec import decode
        from devlink.lab.build import build
        from devlink.lab.order import Order

        # Every host is a fork of this process: what a collection touches is copied for each.
        gc.freeze()
        gc.enable()
        report = {"hosts": build(decode(Order, json.loads(line)))}
    except BaseException as error:
        report = {"error": str(error) or type(error).__name__, "trace": traceback.format_exc()}
    os.write(1, json.dumps(report).encode() + b"\n")
    return BUILT if "hosts" in report else 1


if __name__ == "__main__":
    sys.exit(main())
