"""`devlink helper`: its state, and undoing everything with or without it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devlink.cli import root
from devlink.errors import NotPermittedError
from devlink.helper.policy import Paths
from devlink.rpc import varlink
from tests.cli.fakes import FakePeer

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def socket_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "helper"
    for module in ("devlink.helper.client", "devlink.cli.helper"):
        monkeypatch.setattr(f"{module}.SOCKET", str(path), raising=False)
    return path


@pytest.fixture
def devlink(socket_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["devlink", *arguments])
        code = root.run()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_status_shows_what_the_helper_has(devlink: Command, socket_path: Path) -> None:
    session = {"name": "qa", "uid": 1000, "state": "up", "routes": ["10.20.0.0/16 dev eth0"], "zones": []}
    state = {
        "sessions": [session],
        "resolver": "direct",
        "resolver_reason": "a plain file",
        "forwarder": "serving",
        "left": False,
    }
    with FakePeer(socket_path, {"List": [varlink.reply(state)]}):
        code, out, _ = devlink("helper", "status")
    assert code == 0
    assert out.splitlines() == [
        "resolver   direct (a plain file)",
        "forwarder  serving",
        "session    qa  up  uid 1000",
        "           10.20.0.0/16 dev eth0",
    ]


def test_status_of_a_helper_at_rest_says_that_the_resolver_is_untouched(devlink: Command, socket_path: Path) -> None:
    state = {"sessions": [], "resolver": "", "resolver_reason": "", "forwarder": "idle", "left": False}
    with FakePeer(socket_path, {"List": [varlink.reply(state)]}):
        assert devlink("helper", "status")[1] == "resolver   untouched\nforwarder  idle\n"
    socket_path.unlink()
    with FakePeer(socket_path, {"List": [varlink.reply({**state, "left": True})]}):
        assert "\nleft       something" in devlink("helper", "status")[1]


def test_restore_asks_a_helper_that_runs(devlink: Command, socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand: list[Paths] = []
    monkeypatch.setattr("devlink.helper.server.restore", by_hand.append)
    with FakePeer(socket_path, {"Restore": [varlink.reply()]}) as helper:
        code, out, err = devlink("helper", "restore")
    assert (code, out) == (0, "")
    assert "Nothing of devlink's is installed any more." in err
    assert helper.methods == ["Restore"]
    assert by_hand == []


def test_restore_does_it_itself_where_none_runs(
    devlink: Command, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand: list[Paths] = []
    monkeypatch.setattr("devlink.helper.server.restore", by_hand.append)
    assert devlink("helper", "restore")[0] == 0
    assert by_hand == [Paths()]


def test_restore_that_is_refused_does_not_go_round_the_helper(
    devlink: Command, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand: list[Paths] = []
    monkeypatch.setattr("devlink.helper.server.restore", by_hand.append)
    refused = varlink.error_reply("io.devlink.Helper", NotPermittedError("Restoring everything is for root."))
    with FakePeer(socket_path, {"Restore": [refused]}):
        code, _, err = devlink("helper", "restore")
    assert code == 6
    assert "is for root" in err
    assert "Nothing of devlink's" not in err
    assert by_hand == []


def test_restore_for_the_helpers_own_unit_does_not_start_another(
    devlink: Command, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand: list[Paths] = []
    monkeypatch.setattr("devlink.helper.server.restore", by_hand.append)
    with FakePeer(socket_path, {}) as helper:
        assert devlink("helper", "restore", "--no-helper")[0] == 0
    assert helper.methods == []
    assert by_hand == [Paths()]
