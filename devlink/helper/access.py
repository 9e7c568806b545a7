"""Who may use the helper: decided by uid against the group database, so a new member need not log in again."""

import grp
import pwd

from devlink.errors import DevlinkError, NotPermittedError
from devlink.rpc.peer import Peer


def refusal(peer: Peer, group: str) -> DevlinkError | None:
    """Why this caller may not use the helper, or None if it may: root, and members of `group`."""
    if peer.uid == 0 or is_member(peer.uid, group):
        return None
    return NotPermittedError(
        f"User {user_name(peer.uid)} may not use the devlink helper.",
        why=f"Only members of the group {group} may change this machine's routes and resolver.",
        next_step=f"An administrator can add you: sudo usermod -aG {group} {user_name(peer.uid)}",
    )


def is_member(uid: int, group: str) -> bool:
    """Whether the group database, now, has the user in the group, as primary or by name."""
    try:
        entry = grp.getgrnam(group)
        user = pwd.getpwuid(uid)
    except KeyError:
        return False
    return user.pw_gid == entry.gr_gid or user.pw_name in entry.gr_mem


def user_name(uid: int) -> str:
    """The user's name, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
