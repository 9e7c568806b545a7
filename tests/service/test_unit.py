"""The user's unit as text: what systemd reads is what was meant."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.agent.server import LEAVING_LIMIT
from devlink.helper.policy import Policy
from devlink.service import unit
from devlink.service.unit import Written

COMMAND = ("/opt/my tools/bin/python3", "-P", "/opt/100%/run.py", "devlink.agent")
WRITTEN = Written(profiles=("qa", "/home/alice/a b.yaml"), folders=("/home/alice/.config/systemd",))


def written(version: int = 257, **environ: str) -> list[str]:
    return unit.text(COMMAND, WRITTEN, environ, version).splitlines()


def test_the_command_is_read_by_systemd_as_it_was_given() -> None:
    assert 'ExecStart=:"/opt/my tools/bin/python3" -P /opt/100%%/run.py devlink.agent' in written()


def test_nothing_is_started_where_the_program_was_removed() -> None:
    conditions = [line for line in written() if line.startswith("Condition")]
    assert conditions == ["ConditionPathExists=/opt/my tools/bin/python3", "ConditionPathExists=/opt/100%%/run.py"]


def unquoted(text: str) -> str:
    """As systemd.syntax(7) and systemd.unit(5) say."""
    text = text.replace("%%", "%")
    if not text.startswith('"'):
        assert not set(text) & set(string.whitespace + "\"'\\")
        return text
    octets = text[1:-1].encode().decode("unicode_escape").encode("latin-1")
    return octets.decode()


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_word_comes_out_as_it_went_in(word: str) -> None:
    assert "\n" not in unit.quoted(word)
    assert unquoted(unit.quoted(word)) == word


def test_no_word_is_still_a_word() -> None:
    assert unit.quoted("") == '""'


@pytest.mark.parametrize(("version", "grows"), [(252, False), (253, False), (254, True), (257, True)])
def test_pauses_grow_where_systemd_knows_how(version: int, grows: bool) -> None:
    assert ("RestartSteps=6" in written(version)) is grows
    assert any(line.startswith("RestartSec=") for line in written(version))


def test_what_a_unit_says_of_itself_is_read_back() -> None:
    assert unit.read("\n".join(written())) == WRITTEN


@pytest.mark.parametrize("text", ["", "[Service]\nExecStart=/bin/true\n", "\n".join(written()[1:])])
def test_a_unit_without_our_first_line_is_not_ours(text: str) -> None:
    assert unit.read(text) is None


def test_one_of_ours_that_was_mangled_is_still_ours() -> None:
    assert unit.read(f"{unit.MARK}\nProfiles=[1\n") == Written(profiles=(), folders=())


def test_the_shells_programs_and_clusters_are_passed_on_and_nothing_else() -> None:
    lines = written(PATH="/home/alice/bin:/bin", KUBECONFIG="/home/alice/a b", SECRET="s", HTTPS_PROXY="http://p:1")
    assert [line for line in lines if line.startswith("Environment=")] == [
        "Environment=PATH=/home/alice/bin:/bin",
        'Environment="KUBECONFIG=/home/alice/a b"',
        "Environment=HTTPS_PROXY=http://p:1",
    ]


def test_a_password_for_a_proxy_is_not_written_down() -> None:
    assert not any("hidden" in line for line in written(HTTPS_PROXY="http://alice:hidden@p:1"))


def test_a_core_with_the_clusters_credentials_is_never_written() -> None:
    assert {"LimitCORE=0", "WatchdogSignal=SIGKILL", "UMask=0077"} <= set(written())


def test_one_that_dies_or_hangs_is_always_followed_by_another() -> None:
    said = dict(line.partition("=")[::2] for line in written())
    assert (said["Type"], said["Restart"], said["StartLimitIntervalSec"]) == ("notify", "on-failure", "0")
    assert 0 < int(said["WatchdogSec"]) <= 60
    assert float(said["RestartSec"]) < Policy().lease_grace, "it takes over what was up"


def test_one_that_ends_has_the_time_to_take_all_down_before_what_it_runs_ends() -> None:
    said = dict(line.partition("=")[::2] for line in written())
    assert said["KillMode"] == "mixed"
    assert float(said["TimeoutStopSec"]) > LEAVING_LIMIT


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("systemd 252 (252.39-1~deb12u1)\n+PAM", 252),
        ("systemd 257.9 (257)", 257),
        ("systemd 258~rc1 (1)", 258),
        ("", 0),
    ],
)
def test_systemds_version_is_the_number_that_it_says_first(said: str, version: int) -> None:
    assert unit.version_of(said) == version


def test_each_profile_is_an_argument() -> None:
    assert unit.arguments(("qa", "prod")) == ("--linger", "--login", "--profile", "qa", "--profile", "prod")
    assert unit.arguments(()) == ("--linger", "--login")
