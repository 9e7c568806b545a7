"""Has systemd-resolved forget what it read in our resolv.conf, before its own file is back in its place.

Whatever program's /etc/resolv.conf it finds there, it takes the servers and the search list for its own, beside those
of the links; where it finds a file of its own, it keeps what it had (resolved-resolv-conf.c). So with the symlink back
it would name the forwarder first in the file of uplinks that this leads to, from the next change of a link on, and
after that the servers of a network that was left: seen in systemd 252, 257 and 262. What makes it let go is a file
that names nobody it would take. A missing one would not do: that it passes by.
"""

import logging
import os
import time
from pathlib import Path

from devlink.core.prefixes import IPAddress
from devlink.errors import DevlinkError
from devlink.faults import POINTS, fault_point
from devlink.resolvers.resolv_conf import BACKUP_NAME, MAX_SIZE, NAME, parse, render_unheard
from devlink.rpc.client import Client

log = logging.getLogger(__name__)

RESOLVED_FOLDER = "/run/systemd/resolve"
"""Where it writes its files, and has its socket (org.varlink `io.systemd.Resolve`)."""
SOCKET = "io.systemd.Resolve"
LIMIT = 0.5
"""Seconds for each of connecting and answering; it takes 1 to 5 ms."""
NO_NETWORK = 1 << 15
"""SD_RESOLVED_NO_NETWORK (resolved-def.h): nothing is sent. Before that, it looks at the file for its servers."""
QUESTION = {"name": "example.com", "flags": NO_NETWORK}

POINTS["files.forget.put"] = "our text has nothing for systemd-resolved any more"


def have_forgotten(folder: int, path: str, address: IPAddress) -> None:
    """If the file from before is systemd-resolved's and that runs, have it read one which has no server for it.

    `folder` is the open folder of the name `path`, in which resolv.conf is ours and names `address`. Never an error:
    without this, the file from before comes back all the same.
    """
    target = Path(os.path.realpath(os.path.join(path, BACKUP_NAME)))
    if not target.is_relative_to(RESOLVED_FOLDER) or not target.exists():
        return  # it has not run since the machine was booted
    try:
        if not _put(folder, render_unheard(address).encode()):
            return
        fault_point("files.forget.put")
        with Client.connect(os.path.join(RESOLVED_FOLDER, SOCKET), timeout=LIMIT) as client:
            client.call("io.systemd.Resolve.ResolveHostname", QUESTION)
    except DevlinkError:
        pass  # it has said that it found nothing, as it must
    except OSError as error:
        log.warning("systemd-resolved may remember %s until it is restarted: %s", address, error)


def _put(folder: int, text: bytes) -> bool:
    """In place of ours, by one write(2): the name of the stage, which keeps others out, must stay while the file from
    before is not back. It need not outlive a power cut. False where another program has written meanwhile."""
    file = os.open(NAME, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        if not parse(os.pread(file, MAX_SIZE, 0).decode(errors="surrogateescape")).is_ours:
            return False
        os.pwrite(file, text.ljust(os.fstat(file).st_size, b"\n"), 0)
        now = time.time_ns()  # the kernel's own clock for this is coarse, and resolved goes by it and by the size
        os.utime(file, ns=(now, now))
        return True
    finally:
        os.close(file)
