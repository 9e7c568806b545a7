"""config.toml: what it says of a profile, and how it is refused."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from devlink.agent.config import choices, read_config
from devlink.core.overrides import ALL
from devlink.errors import UsageError
from tests.core.plans import PROFILE


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's config.toml is."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "devlink").mkdir()
    return tmp_path / "devlink" / "config.toml"


def test_what_is_given_now_adds_to_what_the_file_says_of_that_profile(config: Path) -> None:
    config.write_text(
        '[profiles.qa]\nexclude = ["10.20.8.0/24"]\noverride = ["10.254.0.0/16"]\n'
        '[profiles.other]\nexclude = ["10.30.0.0/16"]\n'
    )
    assert choices(PROFILE) == ((ip_network("10.20.8.0/24"),), (ip_network("10.254.0.0/16"),))
    assert choices(PROFILE, ["10.20.9.0/24"], ["all"]) == (
        (ip_network("10.20.8.0/23"),),
        (*ALL, ip_network("10.254.0.0/16")),
    )


def test_without_a_file_only_what_is_given_holds(config: Path) -> None:
    assert choices(PROFILE) == ((), ())
    assert choices(PROFILE, override=["10.20.0.0/16"]) == ((), (ip_network("10.20.0.0/16"),))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('exclude = ["10.20.0.1/16"]', "'10.20.0.1/16' has host bits set"),
        ('override = ["some"]', "override: 'some'"),
        ("exclude = '10.20.0.0/16'", "is not a list"),
        ('excluded = ["10.20.0.0/16"]', "did you mean exclude?"),
    ],
)
def test_a_table_of_a_profile_that_cannot_be_used_is_named(config: Path, text: str, words: str) -> None:
    config.write_text(f"[profiles.qa]\n{text}\n")
    with pytest.raises(UsageError) as error:
        read_config()
    assert words in error.value.why
    assert "profiles" in error.value.why


def test_a_choice_of_the_file_about_nothing_of_the_profile_is_refused_at_up(config: Path) -> None:
    config.write_text('[profiles.qa]\nexclude = ["10.30.0.0/16"]\n')
    with pytest.raises(UsageError, match="has nothing there"):
        choices(PROFILE)
