"""`down` without an agent: the helper still has what a lost agent had brought up."""

from devlink.errors import ConflictError, HelperError, NotUpError
from devlink.helper.client import connect


def release(name: str | None, *, everything: bool) -> tuple[str, ...]:
    """Release the caller's own sessions at the helper. Raises NotUpError where there is none."""
    try:
        client = connect()
    except HelperError:
        raise NotUpError("Nothing is up.", next_step="See: devlink status") from None
    with client:
        names = [session["name"] for session in client.call("io.devlink.Helper.List")["sessions"]]
        wanted = names if everything else [n for n in names if name in (None, n)]
        if not wanted:
            raise NotUpError(f"{name} is not up." if name else "Nothing is up.", next_step="See: devlink status")
        if len(wanted) > 1 and not everything:
            raise ConflictError(
                f"More than one session is up: {', '.join(wanted)}.", next_step="Name one, or: devlink down --all"
            )
        for each in wanted:
            client.call("io.devlink.Helper.Release", {"session": each})
        return tuple(wanted)
