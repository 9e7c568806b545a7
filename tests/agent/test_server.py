"""Who may speak with an agent."""

import os

import pytest

from devlink.agent.server import _admit
from devlink.rpc.peer import Peer


@pytest.mark.parametrize(("uid", "is_admitted"), [(1000, True), (0, True), (1001, False)])
def test_an_agent_is_its_users_and_roots(monkeypatch: pytest.MonkeyPatch, uid: int, is_admitted: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refusal = _admit(Peer(pid=1, uid=uid, gid=uid))
    assert (refusal is None) is is_admitted
    assert refusal is None or "another user" in refusal.what
