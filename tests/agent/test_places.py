"""Where the agent keeps its things."""

from pathlib import Path

import pytest

from devlink.agent.places import agent_socket, log_file, runtime_folder, sessions_folder
from devlink.errors import UsageError


def test_all_that_a_session_needs_lies_in_the_users_runtime_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_folder() == tmp_path / "devlink"
    assert agent_socket().parent == sessions_folder().parent == runtime_folder()
    assert not runtime_folder().exists(), "asking where it is makes nothing"


@pytest.mark.parametrize("value", [None, "", "relative/run"])
def test_without_a_runtime_folder_there_is_an_error_and_no_other_place(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    else:
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    for place in (runtime_folder, agent_socket, sessions_folder):
        with pytest.raises(UsageError, match="XDG_RUNTIME_DIR") as error:
            place()
        assert error.value.next_step


@pytest.mark.parametrize("mode", [0o1777, 0o770, 0o702])
def test_a_runtime_folder_where_others_may_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(mode)
    with pytest.raises(UsageError, match="no safe place") as error:
        runtime_folder()
    assert f"{mode:04o}" in error.value.why
    assert error.value.next_step
    tmp_path.chmod(0o700)
    assert runtime_folder() == tmp_path / "devlink"


def test_a_runtime_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(UsageError, match="no safe place") as error:
        agent_socket()
    assert f"belongs to uid {tmp_path.stat().st_uid}" in error.value.why


@pytest.mark.parametrize("name", ["none", "file"])
def test_a_runtime_folder_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / name))
    with pytest.raises(UsageError, match="no safe place") as error:
        runtime_folder()
    assert error.value.why


def test_the_log_outlives_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert log_file().is_relative_to(tmp_path / "state")
