"""Parts that systemd started: the helper has no right to signal them, but polkit lets it have systemd do so.

Without a bus or without polkit one that hangs stays. A watchdog would end it, too, and wake an idle laptop for that.
"""

import logging
import signal

from devlink.errors import HelperError
from devlink.resolvers.managers.bus import SystemBus, wait

log = logging.getLogger(__name__)

SYSTEMD, PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
ENDED = (None, "inactive", "failed")
"""ActiveState of a unit that has no process; None for one that was never started (org.freedesktop.systemd1(5))."""


def kill_hanging(part: str, limit: float) -> None:
    """Wait `limit` seconds for the service of a part whose line was closed to end, then have it killed."""
    unit = f"devlink-{part}.service"
    place = f"{PATH}/unit/{unit.replace('-', '_2d').replace('.', '_2e')}"

    def has_ended() -> bool:
        return bus.read(SYSTEMD, place, f"{SYSTEMD}.Unit", "ActiveState") in ENDED

    try:
        with SystemBus() as bus:
            if not wait(has_ended, limit):
                log.warning("%s does not end, and is killed", unit)
                bus.call(SYSTEMD, PATH, f"{SYSTEMD}.Manager.KillUnit", "ssi", unit, "all", signal.SIGKILL)
                wait(has_ended, limit)
    except HelperError as error:
        log.debug("it is not known whether %s has ended: %s", unit, error)
