"""Who may use the helper: by uid against the group database as it is at that moment."""

import grp
import pwd

import pytest

from devlink.errors import NotPermittedError
from devlink.helper.access import is_member, refusal, user_name
from devlink.rpc.peer import Peer


class Database:
    """A passwd and a group file in memory."""

    def __init__(self) -> None:
        self.users = {"root": (0, 0), "alice": (1000, 1000), "bob": (1001, 990), "mallory": (1002, 1002)}
        self.groups: dict[str, tuple[int, list[str]]] = {"devlink": (990, ["alice"]), "adm": (4, ["mallory"])}

    def getpwuid(self, uid: int) -> pwd.struct_passwd:
        for name, (number, gid) in self.users.items():
            if number == uid:
                return pwd.struct_passwd((name, "x", number, gid, "", "/", "/bin/sh"))
        raise KeyError(uid)

    def getgrnam(self, name: str) -> grp.struct_group:
        gid, members = self.groups[name]
        return grp.struct_group((name, "x", gid, members))


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    fake = Database()
    monkeypatch.setattr(pwd, "getpwuid", fake.getpwuid)
    monkeypatch.setattr(grp, "getgrnam", fake.getgrnam)
    return fake


def peer(uid: int, gid: int | None = None) -> Peer:
    return Peer(pid=1, uid=uid, gid=uid if gid is None else gid)


@pytest.mark.parametrize(("uid", "why"), [(0, "root"), (1000, "listed in the group"), (1001, "its primary group")])
def test_root_and_members_may(database: Database, uid: int, why: str) -> None:
    assert refusal(peer(uid), "devlink") is None, why


def test_others_may_not_and_are_told_who_can_let_them_in(database: Database) -> None:
    error = refusal(peer(1002), "devlink")
    assert isinstance(error, NotPermittedError)
    assert error.exit_code == 6
    assert "mallory" in error.what
    assert "devlink" in error.why
    assert error.next_step.endswith("sudo usermod -aG devlink mallory")


def test_what_the_caller_says_of_its_group_counts_for_nothing(database: Database) -> None:
    assert refusal(peer(1002, gid=990), "devlink") is not None


def test_a_member_added_or_removed_later_is_one_or_none_at_the_next_call(database: Database) -> None:
    database.groups["devlink"] = (990, ["mallory"])
    assert refusal(peer(1002), "devlink") is None
    assert refusal(peer(1000), "devlink") is not None


def test_a_user_or_a_group_that_the_database_does_not_know_is_no_member(database: Database) -> None:
    assert not is_member(4711, "devlink")
    assert not is_member(1000, "missing")
    assert refusal(peer(4711), "devlink") is not None
    assert refusal(peer(0), "missing") is None


def test_a_user_without_a_name_is_shown_by_number(database: Database) -> None:
    assert (user_name(1000), user_name(4711)) == ("alice", "4711")
