"""What is made of polkit's answer; polkit itself answers in tests/system/test_trust.py."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from devlink.errors import NobodyAskedError, NotAuthorizedError
from devlink.helper import authority
from devlink.helper.authority import Authority
from devlink.rpc.peer import Peer
from devlink.rpc.server import Session


class Caller(Session):
    """One at the other end of `sock`, as whichever uid."""

    def __init__(self, sock: socket.socket, uid: int) -> None:
        super().__init__(sock)
        self.peer = Peer(pid=self.peer.pid, uid=uid, gid=uid)


def check(uid: int = 1000) -> None:
    ours, theirs = socket.socketpair()

    async def asked() -> None:
        await Authority().check(Caller(ours, uid), "Trusting a profile", "qa")

    with ours, theirs:
        asyncio.run(asked())


def answering(monkeypatch: pytest.MonkeyPatch, *answer: object) -> None:
    async def said(*_: object) -> tuple[object, ...]:
        return answer

    monkeypatch.setattr(authority, "_check_authorization", said)


def test_root_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, False, False, {})
    check(uid=0)


def test_whom_polkit_authorizes_may(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, True, False, {})
    check()


@pytest.mark.parametrize(
    ("answer", "error", "wants"),
    [
        ((False, False, {}), NotAuthorizedError, "polkit said no"),
        ((False, True, {}), NobodyAskedError, "nothing in this session can ask"),
        ((False, True, {"polkit.dismissed": "true"}), NotAuthorizedError, "dismissed"),
    ],
)
def test_each_other_answer_is_a_no_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[object, ...], error: type[Exception], wants: str
) -> None:
    answering(monkeypatch, *answer)
    with pytest.raises(NotAuthorizedError, match=wants) as raised:
        check()
    assert type(raised.value) is error
    assert raised.value.exit_code == 6
    assert raised.value.next_step


def test_a_yes_counts_for_nothing_once_the_process_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, True, False, {})
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    monkeypatch.setattr(Session, "open_pidfd", lambda _: os.pidfd_open(child))
    try:
        with pytest.raises(NotAuthorizedError, match="has ended"):
            check()
    finally:
        os.waitpid(child, 0)


def test_a_person_who_does_not_answer_has_said_no(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(authority, "_check_authorization", silent)
    monkeypatch.setattr(authority, "ANSWER_LIMIT", 0.01)
    with pytest.raises(NotAuthorizedError, match="Nobody answered"):
        check()


def test_without_a_bus_there_is_no_polkit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
    with pytest.raises(NotAuthorizedError, match="no polkit"):
        check()
