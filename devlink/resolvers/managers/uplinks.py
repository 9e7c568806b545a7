"""systemd-resolved's file of uplinks, /run/systemd/resolve/resolv.conf, where a resolv.conf of ours has come into it.

While ours is /etc/resolv.conf, resolved takes our servers for its own, and writes them first into that file when a link
changes; there they stay until it writes it again, which it does at the next change of any link.
"""

import logging
from pathlib import Path

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.kernel.tun import Tun
from devlink.resolvers.managers.bus import wait
from devlink.resolvers.reading import read_conf

log = logging.getLogger(__name__)

LIMIT = 0.5
"""Seconds for resolved to write it; it takes a few milliseconds."""


def has_ours(uplinks: Path, address: IPAddress) -> bool:
    """Whether the file names the forwarder. Raises HelperError."""
    return address in read_conf(uplinks).nameservers


def renew(uplinks: Path, address: IPAddress) -> None:
    """If the file names `address`, have it written again, by a link that comes and goes.

    /etc/resolv.conf must not be ours any more. Never an error where that fails: it is written sometime later.
    """
    try:
        if not has_ours(uplinks, address):
            return
        Tun().close()
        if not wait(lambda: not has_ours(uplinks, address), LIMIT):
            log.warning("%s still names %s: systemd-resolved has not written it again", uplinks, address)
    except HelperError as error:
        log.warning("%s still names %s: %s", uplinks, address, error)
