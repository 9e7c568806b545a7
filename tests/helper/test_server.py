"""The helper's process: what it does before it serves anybody."""

from pathlib import Path

import pytest

from devlink.errors import HelperError
from devlink.helper import server
from devlink.helper.machine import Machine
from devlink.helper.names import Names
from devlink.helper.policy import Paths

Undone = list[str]


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Folders whose policy.toml has a typing error."""
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    paths = Paths(run=tmp_path / "run", state=tmp_path / "state", config=tmp_path)
    paths.policy.write_text("[dns]\nquery_log = 'none'\n")
    return paths


@pytest.fixture
def undone(monkeypatch: pytest.MonkeyPatch) -> Undone:
    """Whatever is undone."""
    undone: Undone = []

    async def undo(_: Machine) -> None:
        undone.append("all")

    monkeypatch.setattr(Machine, "undo", undo)
    return undone


def test_a_policy_that_cannot_be_used_is_refused_when_nothing_of_an_earlier_helper_is_left(
    paths: Paths, undone: Undone
) -> None:
    with pytest.raises(HelperError, match="query_log") as refused:
        server.run(paths)
    assert undone == ["all"]
    assert refused.value.next_step == "Correct the file, then restart the helper."
    assert not paths.socket.exists()


def test_where_undoing_fails_too_the_way_out_of_that_is_named(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    async def undo(_: Machine) -> None:
        raise HelperError("The file resists.")

    monkeypatch.setattr(Machine, "undo", undo)
    with pytest.raises(HelperError, match="query_log") as refused:
        server.run(paths)
    assert "The file resists." in refused.value.why
    assert refused.value.next_step.endswith("helper restore")


def test_restoring_does_without_the_policy_and_leaves_nobody_listening(
    paths: Paths, undone: Undone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Names, "close", lambda _: undone.append("closed"))
    server.restore(paths)
    assert undone == ["all", "closed"]


def test_root_makes_no_file_where_a_link_in_the_helpers_folder_leads(paths: Paths, undone: Undone) -> None:
    paths.run.mkdir()
    paths.lock.symlink_to(paths.config / "nologin")
    with pytest.raises(HelperError, match="lock"):
        server.restore(paths)
    assert not (paths.config / "nologin").exists()


def test_the_lock_is_free_again_after_a_refusal(paths: Paths, undone: Undone) -> None:
    for _ in range(2):
        with pytest.raises(HelperError, match="query_log"):
            server.run(paths)
    assert len(undone) == 2
