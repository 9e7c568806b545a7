"""What is left though no agent has it: for `status` and `down`, which would else say that nothing is up."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devlink.errors import DevlinkError, HelperError, NotPermittedError, ProtocolError, VerificationError

RESOLV_CONF = Path("/etc/resolv.conf")
TRACES = (Path("/run/devlink/helper"), Path("/run/devlink/lock"))
"""What a helper leaves that was killed; after a power cut they are gone, and the boot unit has restored."""
HELPER_LIMIT = 5.0
"""Seconds for a helper's account."""
MARK = b"# Written by devlink:"
"""How `resolvers.resolv_conf.render` begins; a test holds both together. Importing it would cost every `status`."""


def check_nothing_left() -> None:
    """Raise VerificationError with what is there of devlink though no agent has it."""
    ours = _resolver_is_ours()
    if not ours and not any(os.path.lexists(trace) for trace in TRACES):
        return
    from devlink.helper.client import connect

    try:
        with connect(timeout=HELPER_LIMIT) as client:
            state = client.call("io.devlink.Helper.List")
    except NotPermittedError:
        return  # who may not use the helper has nothing there
    except (HelperError, ProtocolError):  # there is none, or it dies at this moment
        pass
    else:
        check_state(state)
        return
    left = [f"{RESOLV_CONF} names devlink's forwarder, which is not there: names may not resolve"] if ours else []
    left += _routes()
    if left:
        from devlink.hints import as_root

        raise VerificationError(
            "devlink's helper and agent are gone, and what they had installed is still there.",
            why=f"{'; '.join(left)}.",
            next_step=as_root("helper", "restore"),
        )


def check_state(state: Mapping[str, Any]) -> None:
    """Raise VerificationError where a helper has sessions whose agent is gone, or something that no session has.

    `state` is `io.devlink.Helper.List`'s reply.
    """
    orphaned = [s["name"] for s in state["sessions"] if s["state"] == "orphaned" and s["uid"] == os.getuid()]
    if orphaned:
        raise VerificationError(
            f"{', '.join(orphaned)}: the agent is gone, its routes and names are still there.",
            why="The helper gives an agent time to come back, and then takes everything back.",
            next_step="`devlink up` goes on with it, `devlink down` takes it back now.",
        )
    if state["left"]:
        from devlink.hints import as_root

        raise VerificationError(
            "Nothing is up, but not everything is taken back: names may not resolve.",
            why="Something kept the helper from it, which its log tells and which it tries again; or another program "
            "has put back a file of devlink's.",
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
