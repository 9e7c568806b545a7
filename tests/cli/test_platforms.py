"""What a system that is not Linux is told, simulated: the platform's name is changed, and Linux's own is taken away."""

import subprocess
import sys
from pathlib import Path

import pytest

from devlink.cli import root
from devlink.cli.platforms import EVERYWHERE, check_platform
from devlink.errors import HelperError

ELSEWHERE = """
import os, select, signal, socket, sys
sys.platform = sys.argv.pop(1)
LINUX = ("AF_NETLINK", "NETLINK", "AF_PACKET", "SO_PEERCRED", "SO_BINDTODEVICE", "SO_MARK", "SOCK_CLOEXEC",
         "SOCK_NONBLOCK")
WINDOWS = ("AF_UNIX", "geteuid", "getuid", "setitimer", "SIGALRM", "SIGHUP", "SIGPIPE", "SIGUSR1")
missing = LINUX + (WINDOWS if sys.platform == "win32" else ())
for module in (os, select, signal, socket):
    for name in dir(module):
        if name.startswith(missing) or name in ("epoll", "memfd_create", "unshare", "setns", "eventfd"):
            delattr(module, name)
if sys.platform == "win32":
    os.name = "nt"
from devlink.cli import main
main()
"""


def devlink(platform: str, runtime: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-P", "-c", ELSEWHERE, platform, *arguments]
    env = {"XDG_RUNTIME_DIR": str(runtime), "XDG_CONFIG_HOME": str(runtime), "HOME": str(runtime), "DEVLINK_DEBUG": "1"}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("arguments", [("up", "qa"), ("status",)])
def test_on_macos_a_command_says_that_it_is_experimental_and_what_is_missing(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = devlink("darwin", tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (6, "")
    assert f"`devlink {arguments[0]}` does not work on macOS yet" in done.stderr
    assert "experimental" in done.stderr
    assert "docs/macos.md" in done.stderr
    assert "Traceback" not in done.stderr


def test_on_macos_what_needs_no_linux_works(tmp_path: Path) -> None:
    assert devlink("darwin", tmp_path, "up", "--help").returncode == 0
    short = devlink("darwin", tmp_path, "status", "--short")
    assert (short.returncode, short.stdout, short.stderr) == (3, "", ""), "a prompt stays as it is"


@pytest.mark.parametrize("arguments", [("up",), ("status", "--short")])
def test_on_windows_everything_says_that_it_is_not_supported(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = devlink("win32", tmp_path, *arguments)
    assert done.returncode == 6, done.stderr
    assert "does not run on Windows: it is not supported" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_system_is_named_as_not_supported() -> None:
    with pytest.raises(HelperError, match=r"this system \(freebsd14\)"):
        check_platform("freebsd14", "profile")


def test_on_linux_every_command_runs_and_those_that_run_everywhere_are_commands() -> None:
    for command in root.COMMANDS:
        check_platform("linux", command)
        if command not in EVERYWHERE:
            with pytest.raises(HelperError):
                check_platform("darwin", command)
    assert set(root.COMMANDS) >= EVERYWHERE
