"""What a login keeps, and what it is called."""

import json
from pathlib import Path

import pytest

from devlink.cluster import credentials, logins
from devlink.cluster.logins import Login, Storage, default_name, parse_name, parse_server
from devlink.errors import ClusterError, UsageError
from tests.cluster.test_credentials import Wallet

QA = Login(name="qa", server="https://192.0.2.6:6443", ca="PEM")
TOKEN = "a-token-that-no-record-has"


@pytest.fixture
def wallet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wallet:
    """A user with an empty keyring and no login."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    found = Wallet()
    monkeypatch.setattr(credentials, "open_best", lambda: found)
    return found


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("api.example.com", "https://api.example.com"),
        (" api.example.com:6443/ ", "https://api.example.com:6443"),
        ("https://api.example.com/k8s/clusters/c1/", "https://api.example.com/k8s/clusters/c1"),
        ("https://[2001:db8::6]:6443", "https://[2001:db8::6]:6443"),
    ],
)
def test_a_server_is_a_url_over_tls(text: str, url: str) -> None:
    assert parse_server(text) == url


@pytest.mark.parametrize(
    "text",
    ["", "http://api.example.com", "https://", "https://a:b@c", "https://a:0", "https://a:x", "https://[::1", "a b",
     "https://a/?q=1", "https://a/#f", "ftp://a", "https://ä"],
)  # fmt: skip
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no server"):
        parse_server(text)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-a", "a b", "a\0", "ä", "x" * 64])
def test_a_name_is_never_a_path(name: str, wallet: Wallet) -> None:
    with pytest.raises(UsageError, match="cannot be named"):
        parse_name(name)
    assert logins.find(name) is None


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("https://api.example.com:6443", "api.example.com"),
        ("https://[2001:db8::6]:6443", "2001-db8-6"),
        ("https://[::1]", "1"),
    ],
)
def test_a_login_is_called_after_its_host(server: str, name: str) -> None:
    assert default_name(server) == name
    assert parse_name(name) == name


def test_a_login_is_kept_without_its_token_and_used_with_it(wallet: Wallet) -> None:
    logins.keep(QA, TOKEN)
    path = logins.folder() / "qa.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert TOKEN not in path.read_text()
    assert logins.names() == ("qa",)
    assert logins.find("qa") == QA
    access = logins.access(QA)
    assert (access.name, access.server, access.ca, access.credentials.token) == ("qa", QA.server, "PEM", TOKEN)
    assert not access.insecure
    assert TOKEN not in repr(access)
    logins.forget(QA)
    assert logins.names() == ()
    assert wallet.held == {}


def test_a_login_may_move_from_the_keyring_to_a_file_and_leaves_nothing_behind(wallet: Wallet) -> None:
    logins.keep(QA, "first")
    filed = Login(name="qa", server=QA.server, storage=Storage.FILE)
    logins.keep(filed, "second")
    assert wallet.held == {}
    assert logins.access(filed).credentials.token == "second"
    assert logins.access(filed).ca is None
    logins.keep(QA, "third")
    assert sorted(path.name for path in logins.folder().iterdir()) == ["qa.json"]


def test_where_the_keyring_cannot_keep_it_there_is_no_login(wallet: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Wallet:
        raise credentials.AbsentError

    monkeypatch.setattr(credentials, "open_best", none)
    with pytest.raises(ClusterError, match="no keyring"):
        logins.keep(QA, TOKEN)
    assert logins.names() == ()
    assert not list(logins.folder().parent.glob("**/*"))


def test_a_token_that_is_gone_says_how_to_sign_in_again(wallet: Wallet) -> None:
    logins.keep(QA, TOKEN)
    wallet.held.clear()
    with pytest.raises(ClusterError, match="gone from the keyring") as caught:
        logins.access(QA)
    assert caught.value.next_step.endswith(f"devlink login {QA.server} --name qa")


@pytest.mark.parametrize(
    "change",
    [{"server": "http://192.0.2.6"}, {"name": "qb"}, {"storage": "attic"}, {"server": 7}, {"extra": 1}],
)
def test_a_record_that_somebody_changed_is_not_believed(wallet: Wallet, change: dict[str, object]) -> None:
    logins.keep(QA, TOKEN)
    path = logins.folder() / "qa.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UsageError, match="cannot be used"):
        logins.find("qa")
    logins.keep(QA, TOKEN)
    assert logins.find("qa") == QA


def test_a_damaged_record_is_told(wallet: Wallet) -> None:
    logins.keep(QA, TOKEN)
    for text in ("", "[", "[]", "\xff", "[" * 100_000):
        (logins.folder() / "qa.json").write_text(text, encoding="latin-1")
        with pytest.raises(UsageError, match="cannot be used"):
            logins.find("qa")
