"""Trust by polkit: the real one asks, at a terminal, by rule, or not at all; and the helper stands by what it says."""

import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from tests.system import install
from tests.system.machine import Machine
from tests.system.world import PROFILE, PROFILE_FILE, Link, machine, until

pytestmark = pytest.mark.system
RULE = "/etc/polkit-1/rules.d/10-test.rules"
POLICY = "/usr/share/polkit-1/actions/io.devlink.policy"
ACTION = "io.devlink.trust"
PASSWORD = "let me in"
AT_TERMINAL = ("/usr/bin/python3", "-I", f"/{install.LAB}/at_terminal.py")
SURE = ("[y/N]", "y")


IMAGES = ["bookworm", *(pytest.param(image, marks=pytest.mark.matrix) for image in ("trixie", "sid"))]


@pytest.fixture(scope="module", params=IMAGES)
def laptop(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with machine(request.param, Link.NETWORKD, trusted=False, files={f"/home/bob/{PROFILE_FILE}": PROFILE}) as booted:
        booted.run("chpasswd", input=f"root:{PASSWORD}\n")
        yield booted


@pytest.fixture(autouse=True)
def nothing_trusted(laptop: Machine) -> Iterator[None]:
    yield
    rule(laptop, "")
    laptop.devlink("down", "--all", check=False)
    laptop.devlink("trust", "revoke", "qa", user="root", check=False)
    assert trusted(laptop) == ""


def rule(laptop: Machine, result: str) -> None:
    """What polkit says of alice: YES, NO, AUTH_ADMIN; empty takes the rule away."""
    if result:
        text = f'if (action.id == "{ACTION}" && subject.user == "alice") {{ return polkit.Result.{result}; }}'
        laptop.write(RULE, f"polkit.addRule(function (action, subject) {{ {text} }});\n")
    elif laptop.run("rm", RULE, check=False).returncode:
        return
    restart_polkit(laptop)  # it reads rules anew by itself, and says so only in some versions


def restart_polkit(laptop: Machine) -> None:
    laptop.run("systemctl", "reset-failed", "polkit", check=False)  # so that it may be started as often as we like
    laptop.run("systemctl", "restart", "polkit")


def trusted(laptop: Machine) -> str:
    return laptop.devlink("trust", "list").stdout


def at_terminal(
    laptop: Machine, *script: str, command: tuple[str, ...], user: str = "alice"
) -> "subprocess.CompletedProcess[str]":
    """A login of that user, who answers: prompt, answer, ..."""
    return laptop.run(*AT_TERMINAL, *script, "--", "/usr/bin/devlink", *command, user=user, check=False)


def test_the_first_up_at_a_terminal_shows_what_is_claimed_asks_for_the_owners_password_and_goes_on(
    laptop: Machine,
) -> None:
    done = at_terminal(laptop, *SURE, "Password:", PASSWORD, command=("up", "qa"))
    assert done.returncode == 0, done.stdout
    order = ("is not trusted", "10.20.0.0/16", "[y/N]", "profile qa change this machine", "Password", "qa is up")
    places = [done.stdout.index(text) for text in order]
    assert places == sorted(places)
    assert trusted(laptop).startswith("qa  10.20.0.0/16")
    assert laptop.run("pgrep", "pkttyagent", check=False).stdout == ""
    taken = at_terminal(laptop, "Password:", PASSWORD, command=("trust", "revoke", "qa"))
    assert taken.returncode == 0, taken.stdout
    assert "take trust back from the profile qa" in taken.stdout
    assert trusted(laptop) == ""


@pytest.mark.parametrize(
    ("script", "wants", "code"),
    [
        ((*SURE, "Password:", "guessed"), "polkit said no", 6),
        ((*SURE, "Password:", "^C"), "Cancelled", 130),
        (("[y/N]", "n"), "The answer was no", 6),
    ],
    ids=["wrong", "interrupted", "no"],
)
def test_without_the_password_nothing_is_trusted_and_nothing_is_up(
    laptop: Machine, script: tuple[str, ...], wants: str, code: int
) -> None:
    done = at_terminal(laptop, *script, command=("up", "qa"))
    assert done.returncode == code, done.stdout
    assert wants in done.stdout
    assert trusted(laptop) == ""
    assert laptop.devlink("status", check=False).returncode == 3


def line_for_root(said: str) -> list[str]:
    (line,) = re.findall(r"Next: sudo (.*)", said)
    return shlex.split(line)


@pytest.mark.parametrize("result", ["NO", "AUTH_ADMIN"])
def test_who_is_not_authorized_gets_the_one_line_for_root_which_works(laptop: Machine, result: str) -> None:
    rule(laptop, result)
    refused = laptop.devlink("trust", "qa", "--yes", check=False)
    assert refused.returncode == 6
    assert ("a rule of this machine forbids" if result == "NO" else "nothing in this session can ask") in refused.stderr
    assert trusted(laptop) == ""
    laptop.run(*line_for_root(refused.stderr))
    assert trusted(laptop).startswith("qa  ")


def test_where_polkit_does_not_run_the_line_for_root_is_told(laptop: Machine) -> None:
    laptop.run("systemctl", "mask", "--runtime", "--now", "polkit")
    try:
        refused = laptop.devlink("trust", "qa", "--yes", check=False)
        assert refused.returncode == 6
        assert "no polkit" in refused.stderr
        laptop.run(*line_for_root(refused.stderr))
    finally:
        laptop.run("systemctl", "unmask", "--runtime", "polkit")


def test_polkits_yes_is_for_members_of_the_group_only(laptop: Machine) -> None:
    rule(laptop, "YES")
    laptop.run("sed", "-i", 's/ && subject.user == "alice"//', RULE)
    restart_polkit(laptop)
    laptop.devlink("trust", "qa", "--yes")
    laptop.devlink("trust", "revoke", "qa")
    refused = laptop.devlink("trust", "qa", "--yes", user="bob", check=False)
    assert refused.returncode == 6
    assert "Only members of the group devlink" in refused.stderr
    assert trusted(laptop) == ""
    done = laptop.devlink("up", "qa", check=False)
    assert done.returncode == 6, "polkit is asked for trust, never instead of a record"


def test_polkit_answers_the_helper_for_the_sake_of_the_actions_owner(laptop: Machine) -> None:
    rule(laptop, "YES")
    before = laptop.read(POLICY)
    laptop.write(POLICY, re.sub("<annotate.*</annotate>", "", before))
    restart_polkit(laptop)
    try:
        refused = laptop.devlink("trust", "qa", "--yes", check=False)
        assert refused.returncode == 6
        assert "polkit did not answer: Only trusted callers" in refused.stderr
        assert line_for_root(refused.stderr)
    finally:
        laptop.write(POLICY, before)
        restart_polkit(laptop)
    laptop.devlink("trust", "qa", "--yes")


def test_who_goes_while_asked_leaves_no_question_and_others_are_served_meanwhile(laptop: Machine) -> None:
    asking = subprocess.Popen(
        laptop.enter_argv(
            "systemd-run", "--quiet", "--collect", "--pipe", "--wait", "--uid=alice", "--property=PAMName=login",
            "--unit=asked", *AT_TERMINAL, *SURE, "never shown", "", "--", "/usr/bin/devlink", "trust", "qa",
        ),
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: laptop.run("pgrep", "-f", "polkit-agent-help", check=False).returncode, 0)
    assert trusted(laptop) == ""
    again = laptop.devlink("trust", "qa", "--yes", check=False)
    assert again.returncode == 5
    assert "being asked already" in again.stderr
    laptop.run("systemctl", "kill", "--signal=KILL", "asked")
    asking.wait(20)
    until(lambda: laptop.run("pgrep", "-f", "polkit-agent-help", check=False).returncode, 1)
    rule(laptop, "YES")
    laptop.devlink("trust", "qa", "--yes")
