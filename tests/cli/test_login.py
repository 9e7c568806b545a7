"""`devlink login` and `logout` against a real HTTPS server: nothing is kept that is of no use, nothing is shown."""

import hashlib
import io
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from devlink.cli import login, root
from devlink.cluster import credentials, logins
from devlink.cluster.contexts import choose_access
from devlink.cluster.logins import Storage
from devlink.cluster.signing_in import CLUSTER_INFO, REVIEWS
from tests.certificates import Authority
from tests.cluster.talker import Talker
from tests.cluster.test_credentials import Wallet
from tests.cluster.test_signing_in import info, review

Run = Callable[..., tuple[int, str, str]]
CLUSTER = Authority()
PIN = f"sha256:{hashlib.sha256(CLUSTER.public_key).hexdigest()}"
TOKEN = "a-token-that-nothing-shows"


class Input(io.StringIO):
    """A standard input, perhaps a terminal."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def wallet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wallet:
    """A user with an empty keyring, no login and no kubeconfig."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    found = Wallet()
    monkeypatch.setattr(credentials, "open_best", lambda: found)
    return found


@pytest.fixture
def cluster(wallet: Wallet) -> Iterator[Talker]:
    answers = {("GET", CLUSTER_INFO): (200, info(CLUSTER.pem)), ("POST", REVIEWS): (201, review("jane"))}
    with Talker(CLUSTER, answers) as running:
        yield running


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`devlink ...` with this standard input: exit code, stdout, stderr. Nothing ever shows the token."""

    def devlink(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["devlink", *arguments])
        monkeypatch.setattr(sys, "stdin", Input(stdin))
        code = root.run()
        said = capsys.readouterr()
        assert TOKEN not in said.out + said.err
        return code, said.out, said.err

    return devlink


def test_a_pinned_login_is_kept_in_the_keyring_and_is_a_context_from_then_on(
    cluster: Talker, wallet: Wallet, run: Run
) -> None:
    code, out, err = run("login", cluster.url, "--name", "qa", "--ca-hash", PIN, "--token-stdin", stdin=f"{TOKEN}\n")
    assert (code, out) == (0, "")
    assert "Signed in to qa as jane" in err
    assert err.endswith("devlink up --context qa\n")
    assert wallet.held == {("devlink", "qa"): TOKEN}
    assert not any(TOKEN in path.read_text() for path in logins.folder().rglob("*"))
    access = choose_access("qa", {})
    assert (access.server, access.ca, access.credentials.token) == (cluster.url, CLUSTER.pem, TOKEN)
    assert run("logout")[0] == 0
    assert (wallet.held, logins.names()) == ({}, ())


def test_a_ca_comes_from_a_file_and_a_name_from_the_host(cluster: Talker, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text(f"# the CA\n{CLUSTER.pem}")
    arguments = ("login", cluster.url.removeprefix("https://"), "--ca-file", str(file), "--token-stdin")
    assert run(*arguments, stdin=TOKEN)[0] == 0
    assert logins.names() == ("127.0.0.1",)


def test_a_new_token_for_the_same_server_needs_no_ca_again(cluster: Talker, wallet: Wallet, run: Run) -> None:
    assert run("login", cluster.url, "--name", "qa", "--ca-hash", PIN, "--token-stdin", stdin="old")[0] == 0
    assert run("login", cluster.url, "--name", "qa", "--token-stdin", stdin=TOKEN)[0] == 0
    assert wallet.held == {("devlink", "qa"): TOKEN}
    found = logins.find("qa")
    assert found is not None
    assert found.ca == CLUSTER.pem


def test_in_a_file_only_where_it_is_told_to(
    cluster: Talker, wallet: Wallet, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Wallet:
        raise credentials.AbsentError

    monkeypatch.setattr(credentials, "open_best", none)
    arguments = ("login", cluster.url, "--name", "qa", "--ca-hash", PIN, "--token-stdin")
    code, _, err = run(*arguments, stdin=TOKEN)
    assert code == 7
    assert "--insecure-storage" in err
    assert logins.names() == ()
    code, _, err = run(*arguments, "--insecure-storage", stdin=TOKEN)
    assert code == 0
    assert "plain text" in err
    found = logins.find("qa")
    assert found is not None
    assert found.storage is Storage.FILE
    (token,) = logins.folder().glob("*.token")
    assert token.stat().st_mode & 0o777 == 0o600
    assert choose_access("qa", {}).credentials.token == TOKEN
    assert run("logout", "qa")[0] == 0
    assert list(logins.folder().iterdir()) == []


def test_a_token_that_the_cluster_does_not_accept_is_not_kept(cluster: Talker, wallet: Wallet, run: Run) -> None:
    cluster.answers["POST", REVIEWS] = (401, {"kind": "Status", "message": "Unauthorized"})
    code, _, err = run("login", cluster.url, "--ca-hash", PIN, "--token-stdin", stdin=TOKEN)
    assert code == 7
    assert "does not accept this token" in err
    assert (wallet.held, logins.names()) == ({}, ())


def test_the_token_goes_to_nobody_who_does_not_prove_to_be_the_cluster(wallet: Wallet, run: Run) -> None:
    answers = {("GET", CLUSTER_INFO): (200, info(CLUSTER.pem)), ("POST", REVIEWS): (201, review("jane"))}
    with Talker(Authority.another(), answers) as stranger:
        code, _, err = run("login", stranger.url, "--ca-hash", PIN, "--token-stdin", stdin=TOKEN)
        assert code == 7
        assert "not the one that it must be" in err
        code, _, err = run("login", stranger.url, "--token-stdin", stdin=TOKEN)
        assert code == 7
        assert "--ca-hash" in err
        assert not any(TOKEN in authorization for *_, authorization in stranger.asked)
    assert wallet.held == {}


def test_at_a_terminal_the_token_is_asked_for_without_being_shown(
    cluster: Talker, wallet: Wallet, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def prompt(text: str, **named: object) -> str:
        asked.append(named)
        return TOKEN

    monkeypatch.setattr(click, "prompt", prompt)
    monkeypatch.setattr(Input, "terminal", True)
    assert run("login", cluster.url, "--name", "qa", "--ca-hash", PIN)[0] == 0
    assert asked == [{"hide_input": True, "err": True}]
    assert wallet.held == {("devlink", "qa"): TOKEN}


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["http://a.example"], TOKEN, "no server"),
        (["a.example", "--name", "../x"], TOKEN, "cannot be named"),
        (["a.example", "--ca-hash", "sha256:0"], TOKEN, "no hash"),
        (["a.example", "--ca-hash", PIN, "--ca-file", "x"], TOKEN, "both say"),
        (["a.example", "--ca-file", "/nonexistent"], TOKEN, "cannot be read"),
        (["a.example", "--ca-file", "/dev/null"], TOKEN, "no certificate"),
        (["a.example"], "", "is empty"),
        (["a.example"], "two words", "no bearer token"),
        (["a.example"], "a\x1bb", "no bearer token"),
        (["a.example"], "ä", "no bearer token"),
        (["a.example"], "x" * 70_000, "no bearer token"),
    ],
)
def test_what_cannot_be_meant_asks_nobody(
    wallet: Wallet, run: Run, arguments: list[str], stdin: str, said: str
) -> None:
    code, out, err = run("login", *arguments, "--token-stdin", stdin=stdin)
    assert (code, out) == (2, "")
    assert said in err


def test_without_a_terminal_the_token_comes_by_standard_input(wallet: Wallet, run: Run) -> None:
    code, _, err = run("login", "a.example", stdin=TOKEN)
    assert code == 2
    assert "--token-stdin" in err


def test_a_name_means_one_cluster(cluster: Talker, wallet: Wallet, run: Run, tmp_path: Path) -> None:
    assert run("login", cluster.url, "--name", "qa", "--ca-hash", PIN, "--token-stdin", stdin=TOKEN)[0] == 0
    code, _, err = run("login", "other.example", "--name", "qa", "--token-stdin", stdin=TOKEN)
    assert code == 2
    assert "devlink logout qa" in err
    (tmp_path / "kubeconfig").write_text("contexts: [{name: office, context: {cluster: c}}]")
    code, _, err = run("login", "other.example", "--name", "office", "--token-stdin", stdin=TOKEN)
    assert code == 2
    assert "has a context office" in err


def test_logout_says_which_logins_there_are(cluster: Talker, wallet: Wallet, run: Run) -> None:
    assert run("logout")[0] == 2
    for name in ("a", "b"):
        assert run("login", cluster.url, "--name", name, "--ca-hash", PIN, "--token-stdin", stdin=TOKEN)[0] == 0
    for arguments in ([], ["c"]):
        code, _, err = run("logout", *arguments)
        assert code == 2
        assert "a, b" in err
    assert run("logout", "a")[0] == 0
    assert logins.names() == ("b",)


def test_a_keyring_that_makes_one_wait_is_said_to(
    cluster: Talker, wallet: Wallet, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = threading.Event()
    monkeypatch.setattr(login, "KEYRING_SLOW", 0.01)
    monkeypatch.setattr(click, "echo", watched(click.echo, "window", said))
    monkeypatch.setattr(wallet, "set_password", lambda *_: said.wait(5))
    code, _, err = run("login", cluster.url, "--ca-hash", PIN, "--token-stdin", stdin=TOKEN)
    assert code == 0
    assert "Waiting for the keyring" in err
    assert said.is_set()
    monkeypatch.setattr(login, "KEYRING_SLOW", 60.0)
    assert "Waiting" not in run("logout")[2], "one that answers at once"


def watched(echo: Callable[..., None], word: str, seen: threading.Event) -> Callable[..., None]:
    """`echo`, and `seen` once it said `word`."""

    def told(line: str, **named: bool) -> None:
        echo(line, **named)
        if word in line:
            seen.set()

    return told
