"""The user's profiles: by name, by path, by default."""

import os
from pathlib import Path

import pytest

from devlink.agent import cache
from devlink.agent.cache import Origin
from devlink.agent.profiles import check_argument, default_profile, given_by, known_profiles, load, named
from devlink.core.profile_document import MAX_BYTES, decode_profile
from devlink.errors import ProfileError, UsageError
from tests.core.profiles import SAMPLE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration folder of a user who has nothing yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "devlink"


def put(folder: Path, name: str, file: str | None = None) -> Path:
    path = folder / "profiles" / (file or f"{name}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SAMPLE.replace("name: qa", f"name: {name}"))
    return path


def test_a_user_without_a_folder_knows_no_profile(folder: Path) -> None:
    assert known_profiles() == ()
    with pytest.raises(UsageError, match="no profile yet") as caught:
        default_profile()
    assert "devlink up" in caught.value.next_step
    with pytest.raises(UsageError, match="None is known"):
        load("qa")


def test_a_profile_is_known_by_the_name_in_it_and_not_by_its_files(folder: Path) -> None:
    put(folder, "qa", "office.yaml")
    put(folder, "dev", "dev.yml")
    (folder / "profiles" / "notes.txt").write_text("x")
    assert [known.name for known in known_profiles()] == ["dev", "qa"]
    assert load("qa").metadata.name == "qa"
    with pytest.raises(UsageError, match="no profile office"):
        load("office")


def test_an_unknown_name_gets_the_known_ones_and_a_close_match(folder: Path) -> None:
    put(folder, "staging")
    put(folder, "qa")
    with pytest.raises(UsageError) as caught:
        load("stagin")
    assert "qa, staging" in caught.value.why
    assert caught.value.next_step == "Did you mean staging?"


def test_a_broken_profile_is_known_with_its_fault_and_hides_no_other(folder: Path) -> None:
    put(folder, "qa")
    put(folder, "broken").write_text("a: [")
    put(folder, "huge").write_bytes(b"#" * (MAX_BYTES + 1))
    broken, huge, good = known_profiles()
    assert (broken.name, broken.profile, good.error) == ("broken", None, None)
    assert isinstance(broken.error, ProfileError)
    assert isinstance(huge.error, ProfileError)
    assert load("qa") == good.profile
    with pytest.raises(ProfileError):
        load("broken")


def test_a_pipe_among_the_profiles_is_left_alone(folder: Path) -> None:
    put(folder, "qa")
    os.mkfifo(folder / "profiles" / "pipe.yaml")
    assert [known.name for known in known_profiles()] == ["qa"]


def test_two_files_with_one_name_are_not_guessed_between(folder: Path) -> None:
    put(folder, "qa", "a.yaml")
    put(folder, "qa", "b.yaml")
    with pytest.raises(UsageError, match="Two profiles are named qa") as caught:
        load("qa")
    assert "a.yaml" in caught.value.why
    assert "b.yaml" in caught.value.why


def test_what_has_a_slash_or_the_ending_is_a_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "qa")
    (tmp_path / "here.yaml").write_text(SAMPLE.replace("name: qa", "name: here"))
    (tmp_path / "bare").write_text(SAMPLE.replace("name: qa", "name: bare"))
    monkeypatch.chdir(tmp_path)
    assert load("here.yaml").metadata.name == "here"
    assert load("./bare").metadata.name == "bare"
    assert load(str(tmp_path / "bare")).metadata.name == "bare"
    with pytest.raises(UsageError, match=r"qa\.yaml cannot be read"):
        load("qa.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        load(f"{tmp_path}/")


def test_the_only_profile_is_the_default(folder: Path) -> None:
    put(folder, "qa")
    assert default_profile().metadata.name == "qa"


def test_of_several_the_configured_one_is_the_default(folder: Path) -> None:
    put(folder, "qa")
    put(folder, "dev")
    with pytest.raises(UsageError, match="Which profile") as caught:
        default_profile()
    assert "dev, qa" in caught.value.why
    (folder / "config.toml").write_text('default = "qa"\n')
    assert default_profile().metadata.name == "qa"
    (folder / "config.toml").write_text("")
    with pytest.raises(UsageError, match="Which profile"):
        default_profile()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('default = "nope"', r"no profile nope.*default in .*config\.toml.*Known: qa"),
        ("default = 7", r"config\.toml cannot be used. default: 7 is not a text"),
        ('defualt = "qa"', r"defualt: unknown key \(did you mean default\?\)"),
        ("default = ", r"config\.toml cannot be read"),
        ("\xff", r"config\.toml cannot be read"),
    ],
)
def test_a_default_that_cannot_be_used_is_an_error_even_with_one_profile(folder: Path, text: str, match: str) -> None:
    put(folder, "qa")
    (folder / "config.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=match):
        default_profile()


def test_what_is_no_regular_file_is_refused_at_once(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "device"):
        with pytest.raises(UsageError, match=rf"{name}\.yaml cannot be read.*not a regular file"):
            load(str(tmp_path / f"{name}.yaml"))


@pytest.mark.parametrize(
    ("given", "said"),
    [("", "is empty"), (" ", "is empty"), (".", "folder . is no"), ("-", "standard input is no"), ("x" * 5000, "5000")],
)
def test_an_argument_that_can_mean_no_profile_is_told_in_a_line_of_sane_length(given: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        check_argument(given)
    assert len(str(caught.value)) < 300


def test_a_path_that_is_too_long_is_not_repeated_whole(folder: Path) -> None:
    with pytest.raises(UsageError, match="too long") as caught:
        load("./" + "x" * 5000)
    assert len(str(caught.value)) < 300


def test_a_profile_that_its_cluster_renamed_is_found_and_known_by_both_names_and_still_the_only_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    origin, profile = Origin(context="a", server="https://a:6443"), decode_profile(SAMPLE)
    renamed = decode_profile(SAMPLE.replace("name: qa", "name: prod"))
    cache.keep(origin, profile, "1", 1.0)
    cache.note_good(origin, profile)
    cache.keep(origin, renamed, "2", 2.0)
    assert [(known.name, known.profile) for known in known_profiles()] == [("prod", renamed), ("qa", profile)]
    assert (load("qa"), load("prod"), default_profile()) == (profile, renamed, renamed)
    assert (named("qa").kept, named("prod").kept) == (cache.named("qa"), cache.named("prod"))
    cache.note_good(origin, renamed)
    assert [known.name for known in known_profiles()] == ["prod"]
    with pytest.raises(UsageError, match="no profile qa"):
        load("qa")


def test_what_clusters_gave_is_known_beside_the_files_and_a_file_goes_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    profile = decode_profile(SAMPLE)
    for number, context in enumerate(("a", "b")):
        cache.keep(Origin(context=context, server=f"https://{context}:6443"), profile, "1", float(number))
    assert [(known.name, known.origin and known.origin.context) for known in known_profiles()] in (
        [("qa", "a"), ("qa", "b")], [("qa", "b"), ("qa", "a")],
    )  # fmt: skip
    assert load("qa") == given_by("a") == profile
    with pytest.raises(UsageError, match="Which profile"):
        default_profile()
    put(folder, "qa")
    assert [known.origin for known in known_profiles()] == [None]
    assert default_profile() == load("qa")
    with pytest.raises(UsageError, match="context c has given"):
        given_by("c")
