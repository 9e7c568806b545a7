"""Where tokens are kept: keyrings that work, lock, block or are not there; files that nobody else may read."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devlink.cluster import credentials
from devlink.cluster.credentials import BACKENDS, AbsentError, InFile, InKeyring, write_private
from devlink.errors import ClusterError

TOKEN = "a-token-that-no-message-shows"


class Wallet:
    """A keyring in memory."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.held[service, username]


class KeyringLocked(Exception):  # noqa: N818  # as the keyring package calls it
    pass


class Broken(Wallet):
    """One that raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def get_password(self, service: str, username: str) -> str | None:
        raise self.error

    def set_password(self, service: str, username: str, password: str) -> None:
        raise self.error


class Asking(Wallet):
    """One that waits for a person who is not there."""

    def __init__(self, answered: threading.Event) -> None:
        super().__init__()
        self.answered = answered

    def get_password(self, service: str, username: str) -> str | None:
        self.answered.wait()
        return super().get_password(service, username)


@pytest.fixture
def never() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_keyring_gives_back_what_it_keeps_and_forgets_it() -> None:
    wallet = Wallet()
    store = InKeyring(lambda: wallet)
    store.keep("qa", TOKEN)
    assert wallet.held == {("devlink", "qa"): TOKEN}
    assert store.token("qa") == TOKEN
    assert store.token("qb") is None
    store.forget("qa")
    store.forget("qa")
    assert wallet.held == {}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyringLocked("Failed to unlock the collection!"), "is locked"),
        (RuntimeError("the bus is gone"), "cannot be used"),
        (AbsentError(), "no keyring here"),
        (KeyboardInterrupt(), "cannot be used"),
    ],
)
def test_a_keyring_that_fails_says_how_and_names_the_way_out(error: BaseException, said: str) -> None:
    with pytest.raises(ClusterError, match=said) as caught:
        InKeyring(lambda: Broken(error)).keep("qa", TOKEN)
    assert "--insecure-storage" in caught.value.next_step
    assert TOKEN not in str(caught.value)
    assert caught.value.exit_code == 7


def test_a_keyring_that_asks_nobody_cannot_block_us(never: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "PATIENCE", 0.05)
    began = time.monotonic()
    with pytest.raises(ClusterError, match="does not answer within") as caught:
        InKeyring(lambda: Asking(never)).token("qa")
    assert time.monotonic() - began < 5
    assert "window" in caught.value.why


def test_a_keyring_that_still_asks_is_not_asked_again_and_its_answer_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    wallet, opened = Asking(answered), 0

    def open_keyring() -> Asking:
        nonlocal opened
        opened += 1
        return wallet

    monkeypatch.setattr(credentials, "PATIENCE", 0.01)
    for _ in range(3):
        with pytest.raises(ClusterError, match="does not answer within"):
            InKeyring(open_keyring).token("qa")
    assert opened == 1
    wallet.held[credentials.SERVICE, "qa"] = TOKEN
    answered.set()
    monkeypatch.setattr(credentials, "PATIENCE", 10.0)
    assert InKeyring(open_keyring).token("qa") == TOKEN
    assert InKeyring(open_keyring).token("qa") == TOKEN


def test_a_keyring_that_hangs_does_not_keep_the_process_from_ending() -> None:
    program = (
        "import threading\n"
        "from devlink.cluster import credentials\n"
        "credentials.PATIENCE = 0.05\n"
        "class Asking:\n"
        "    def get_password(self, *_): threading.Event().wait()\n"
        "try: credentials.InKeyring(Asking).token('qa')\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "ClusterError\n"


def test_only_keyrings_that_encrypt_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Backend(Wallet):
        priority = 5.0

    class Unusable(Wallet):
        @property
        def priority(self) -> float:
            raise RuntimeError("no bus")

    module = type(sys)("keyrings_of_a_test")
    module.Works, module.Fails = Backend, Unusable  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyrings_of_a_test", module)
    monkeypatch.setattr(credentials, "BACKENDS", ("not.there:Keyring", "keyrings_of_a_test:Fails"))
    with pytest.raises(AbsentError):
        credentials.open_best()
    monkeypatch.setattr(credentials, "BACKENDS", ("keyrings_of_a_test:Fails", "keyrings_of_a_test:Works"))
    assert isinstance(credentials.open_best(), Backend)
    assert not any("alt" in place or "null" in place or "chainer" in place for place in BACKENDS)


def test_a_token_file_is_its_users_alone_from_the_first_moment(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = InFile(tmp_path / "logins")
        store.keep("qa", TOKEN)
    finally:
        os.umask(old)
    path = store.path("qa")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert store.token("qa") == TOKEN
    store.keep("qa", "another")
    assert store.token("qa") == "another"
    assert os.listdir(path.parent) == ["qa.token"]
    store.forget("qa")
    store.forget("qa")
    assert store.token("qa") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_token_file_that_others_may_read_is_not_used(tmp_path: Path, mode: int) -> None:
    store = InFile(tmp_path)
    store.keep("qa", TOKEN)
    store.path("qa").chmod(mode)
    with pytest.raises(ClusterError, match="not used") as caught:
        store.token("qa")
    assert f"{mode:04o}" in caught.value.why


def test_a_token_file_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = InFile(tmp_path)
    store.keep("qa", TOKEN)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ClusterError, match="not used") as caught:
        store.token("qa")
    assert "not a file of your own" in caught.value.why


def test_a_token_is_neither_read_nor_written_through_a_link(tmp_path: Path) -> None:
    store = InFile(tmp_path / "logins")
    secret, target = tmp_path / "other", tmp_path / "target"
    write_private(secret, "somebody's secret")
    store.path("qa").parent.mkdir()
    store.path("qa").symlink_to(secret)
    with pytest.raises(ClusterError, match="not used"):
        store.token("qa")
    target.write_text("kept")
    store.path("qb").symlink_to(target)
    store.keep("qb", TOKEN)
    assert target.read_text() == "kept"
    assert not store.path("qb").is_symlink()
    os.mkfifo(store.path("qc"), 0o600)
    with pytest.raises(ClusterError, match="not used"):
        store.token("qc")


def test_a_folder_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ClusterError, match="cannot be written"):
        InFile(tmp_path / "file").keep("qa", TOKEN)
    assert (tmp_path / "file").read_text() == "no folder"


REAL = """
printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null
exec "$1" -W error -c '
from devlink.cluster.credentials import InKeyring
store = InKeyring()
assert store.token("qa") is None
store.keep("qa", "first")
store.keep("qa", "second")
assert InKeyring().token("qa") == "second"
store.forget("qa")
assert store.token("qa") is None
print("kept and forgotten")
'
"""
LOCKED = """
gnome-keyring-daemon --start --components=secrets >/dev/null
exec "$1" -c '
from devlink.cluster import credentials
credentials.PATIENCE_TO_KEEP = 5
try: credentials.InKeyring().keep("qa", "first")
except Exception as error: print(type(error).__name__, error)
'
"""


def in_session(script: str, home: Path) -> str:
    """What a script says in a D-Bus session of its own, with a home of its own."""
    for program in ("dbus-run-session", "gnome-keyring-daemon"):
        if shutil.which(program) is None:
            refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            refuse(f"needs {program}: apt install dbus-daemon gnome-keyring")
    runtime = home / "run"
    runtime.mkdir(mode=0o700)
    env = {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime), "PATH": os.environ["PATH"]}
    command = ["dbus-run-session", "--", "sh", "-c", script, "sh", sys.executable]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_real_keyring_keeps_a_token(tmp_path: Path) -> None:
    assert in_session(REAL, tmp_path) == "kept and forgotten\n"
    stored = [path.read_bytes() for path in (tmp_path / ".local/share/keyrings").iterdir()]
    assert stored
    assert not any(b"second" in content for content in stored)


def test_a_real_keyring_that_is_locked_says_so_in_time(tmp_path: Path) -> None:
    said = in_session(LOCKED, tmp_path)
    assert said.startswith("ClusterError The keyring")
    assert "--insecure-storage" in said


def test_a_session_without_a_keyring_says_so(tmp_path: Path) -> None:
    program = (
        "from devlink.cluster.credentials import InKeyring\n"
        "try: InKeyring().keep('qa', 'first')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("ClusterError There is no keyring")
