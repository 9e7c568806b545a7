"""The user's service as it lies on disk, where no manager runs."""

import subprocess
from pathlib import Path

import pytest

from devlink import run
from devlink.agent.client import replace_agent
from devlink.errors import ConflictError, UsageError
from devlink.service import unit, user

WRITTEN = unit.Written(profiles=("qa",), folders=())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the unit would lie, of a user whose manager does not run though systemd is there."""
    for key, name in (("XDG_CONFIG_HOME", "config"), ("XDG_RUNTIME_DIR", "run")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(key, str(tmp_path / name))
    monkeypatch.setattr(user, "MANAGED", str(tmp_path))
    monkeypatch.setattr(user, "LINGERING", tmp_path / "linger")
    return tmp_path / "config/systemd/user" / unit.NAME


def lay_down(place: Path, text: str = unit.MARK) -> None:
    place.parent.mkdir(parents=True)
    place.write_text(text)


def have_manager(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as can be seen without asking it."""
    private = place.parents[3] / "run/systemd/private"
    private.parent.mkdir()
    private.touch()
    monkeypatch.setattr("shutil.which", lambda _: "/bin/systemctl")
    said = subprocess.CompletedProcess[str]((), 0, stdout=f"{place.parent}\n")
    monkeypatch.setattr(user, "_systemctl", lambda *_: said)


def test_the_unit_lies_where_the_users_manager_looks(place: Path) -> None:
    assert user.file() == place


@pytest.mark.parametrize("is_known", [True, False])
def test_a_place_of_which_only_the_shell_knows_is_not_taken(
    place: Path, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    have_manager(place, monkeypatch)
    looked_in = (
        f"/run/systemd/user {place.parent if is_known else '/home/alice/.config/systemd/user'} /etc/systemd/user"
    )
    said = subprocess.CompletedProcess[str]((), 0, stdout=f"{looked_in}\n")
    monkeypatch.setattr(user, "_systemctl", lambda *_: said)
    monkeypatch.setenv("HOME", "/home/alice")
    assert user.file() == (place if is_known else Path("/home/alice/.config/systemd/user") / unit.NAME)


def test_an_agent_is_managed_where_its_manager_runs_and_the_unit_is_there(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [user.is_managed()]
    lay_down(place)
    seen.append(user.is_managed())
    have_manager(place, monkeypatch)
    seen.append(user.is_managed())
    place.unlink()
    seen.append(user.is_managed())
    assert seen == [False, False, True, False]


def test_one_of_another_version_is_restarted_by_who_manages_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "devlink down --all" in replace_agent()
    lay_down(place)
    have_manager(place, monkeypatch)
    assert replace_agent().endswith("systemctl --user restart devlink-agent.service")


@pytest.mark.parametrize(("booted", "why", "next_step"), [
    (False, "WSL", "where your shells start"), (True, "PAM", "Log in as this user"),
])  # fmt: skip
def test_without_a_manager_nothing_is_written_and_the_way_out_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, booted: bool, why: str, next_step: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/bin/systemctl")
    if not booted:
        monkeypatch.setattr(user, "MANAGED", str(place))
    with pytest.raises(UsageError) as caught:
        user.install(("qa",), {}, starting=True)
    assert why in caught.value.why
    assert next_step in caught.value.next_step
    assert not place.parent.exists()


def test_without_a_manager_what_lies_there_is_removed_with_the_folders_that_were_made(place: Path) -> None:
    made = (str(place.parents[1]), str(place.parent))
    text = unit.text(run.argv("devlink.agent"), unit.Written(profiles=(), folders=made), {}, 252)
    lay_down(place, text)
    link = place.parent / "default.target.wants" / unit.NAME
    link.parent.mkdir()
    link.symlink_to(place)
    assert user.uninstall()
    assert list(place.parents[2].iterdir()) == []
    assert not user.uninstall()


def test_a_folder_that_others_use_or_that_was_there_before_stays(place: Path) -> None:
    lay_down(
        place, unit.text(run.argv("devlink.agent"), unit.Written(profiles=(), folders=(str(place.parent),)), {}, 252)
    )
    (place.parent / "other.service").touch()
    assert user.uninstall()
    assert [path.name for path in place.parent.iterdir()] == ["other.service"]
    (place.parent / "other.service").unlink()
    place.write_text(unit.MARK)
    assert user.uninstall()
    assert place.parent.is_dir()


@pytest.mark.parametrize("is_link", [False, True])
def test_what_is_not_ours_is_not_removed(place: Path, is_link: bool) -> None:
    lay_down(place, "[Service]\n")
    if is_link:
        place.unlink()
        place.symlink_to("/nowhere")
    with pytest.raises(ConflictError, match="is not devlink's"):
        user.uninstall()
    assert place.is_symlink() is is_link
    assert place.exists() is not is_link


def test_where_no_manager_says_how_it_is_what_lies_there_is_told(place: Path) -> None:
    assert (user.look().installed, user.look().active) == (False, "unknown")
    lay_down(place, unit.text(run.argv("devlink.agent"), WRITTEN, {}, 252))
    assert (user.look().installed, user.look().profiles, user.look().enabled) == (True, ("qa",), False)
