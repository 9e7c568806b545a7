"""What is left where helper and agent both died: for `status` and `down`, which would else say that nothing is up."""

import os
from pathlib import Path

from devlink.errors import DevlinkError, HelperError, VerificationError

RESOLV_CONF = Path("/etc/resolv.conf")
TRACES = (Path("/run/devlink/helper"), Path("/run/devlink/lock"))
"""What a helper leaves that was killed; after a power cut they are gone, and the boot unit has restored."""
MARK = b"# Written by devlink:"
"""How `resolvers.resolvconf_text.render` begins; a test holds both together. Importing it would cost every `status`."""


def check_nothing_left() -> None:
    """Raise VerificationError with what devlink left behind on this machine, if no helper lives to see to it."""
    ours = _resolver_is_ours()
    if not ours and not any(os.path.lexists(trace) for trace in TRACES):
        return
    from devlink.helper.client import connect

    try:
        connect().close()
    except HelperError:
        pass
    else:
        return  # it has the journal, and undoes it when it starts
    left = [f"{RESOLV_CONF} names devlink's forwarder, which is not there: names may not resolve"] if ours else []
    left += _routes()
    if left:
        from devlink.hints import as_root

        raise VerificationError(
            "devlink's helper and agent are gone, and what they had installed is still there.",
            why=f"{'; '.join(left)}.",
            next_step=as_root("helper", "restore"),
        )


def _resolver_is_ours() -> bool:
    try:
        with RESOLV_CONF.open("rb") as file:
            return file.read(len(MARK)) == MARK
    except OSError:
        return False


def _routes() -> list[str]:
    from devlink.kernel.observe import observe

    try:
        ours = [route for route in observe().routes if route.is_ours]
    except DevlinkError:
        return []
    if not ours:
        return []
    shown = ", ".join(str(route.destination) for route in ours[:4])
    more = f" and {len(ours) - 4} more" if len(ours) > 4 else ""
    return [f"routes are left to {shown}{more}"]
