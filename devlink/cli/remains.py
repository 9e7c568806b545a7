"""What is left though no agent has it: for `status` and `down`, which would else say that nothing is up."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devlink.doctor.laptop.remains import remains, resolver_is_ours
from devlink.errors import HelperError, NotPermittedError, ProtocolError, VerificationError

TRACES = (Path("/run/devlink/helper"), Path("/run/devlink/lock"))
"""What a helper leaves that was killed; after a power cut they are gone, and the boot unit has restored."""
HELPER_LIMIT = 5.0
"""Seconds for a helper's account."""


def check_nothing_left() -> None:
    """Raise VerificationError with what is there of devlink though no agent has it."""
    if not resolver_is_ours() and not any(os.path.lexists(trace) for trace in TRACES):
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
    left = remains()
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
