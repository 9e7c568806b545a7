"""`down` of what this agent does not have, or without an agent: the helper still has what a lost agent brought up."""

import os

from devlink.cli.remains import check_nothing_left, check_state
from devlink.errors import ConflictError, HelperError, NotUpError
from devlink.helper.client import connect


def release(name: str | None, *, everything: bool) -> tuple[str, ...]:
    """Release the caller's own sessions at the helper, whoever holds them.

    Raises NotUpError where there is none, VerificationError where something was left behind.
    """
    try:
        client = connect()
    except HelperError:
        check_nothing_left()
        raise NotUpError("Nothing is up.", next_step="See: devlink status") from None
    with client:
        state = client.call("io.devlink.Helper.List")
        # root is shown those of all users, and means its own here too.
        names = [session["name"] for session in state["sessions"] if session["uid"] == os.getuid()]
        wanted = names if everything else [n for n in names if name in (None, n)]
        if not wanted:
            if name is None:
                check_state(state)
            raise NotUpError(f"{name} is not up." if name else "Nothing is up.", next_step="See: devlink status")
        if len(wanted) > 1 and not everything:
            raise ConflictError(
                f"More than one session is up: {', '.join(wanted)}.", next_step="Name one, or: devlink down --all"
            )
        for each in wanted:
            client.call("io.devlink.Helper.Release", {"session": each, "take": True})
        return tuple(wanted)
