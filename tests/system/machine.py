"""A laptop with a whole operating system: an image that is booted in a container, over a disk of its own.

The disk is an overlay: it outlives a power cut, and /run does not. What is on the network that the machine is plugged
into is inside it too (tests/system/world.py), in namespaces of their own.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.kit import systems
from tests.system import install

BOOT_LIMIT = 30.0
"""Seconds."""
END_LIMIT = 10.0
"""Seconds for the kernel to take a machine apart whose first process was killed."""
RESTART_LIMIT = 15.0
"""Seconds for systemd to have a unit run again."""
SHUTDOWN_LIMIT = 60.0
"""Seconds; longer than any of devlink's units may take to stop."""
CGROUPS = tuple(
    path for path in map(Path, ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup"))
    if (path / "cgroup.procs").exists()
)  # fmt: skip
"""Where a machine has its cgroup; the first is of version 2, which is what it sees itself."""
_numbers = itertools.count()


class Machine:
    """A booted system while the block runs; nothing is left of it afterwards."""

    def __init__(
        self,
        image: str,
        *,
        mask: Iterable[str] = (),
        wants: Iterable[str] = (),
        files: Mapping[str, str] | None = None,
        installed: bool = True,
    ) -> None:
        """`mask` names units that must not start, `wants` those that shall though the image does not start them.
        `files` are laid down before the first boot, in place of what is there. devlink is `installed` by its
        package."""
        self.image = image
        self.name = f"devlink-{os.getpid()}-{next(_numbers)}"
        self.lower = [install.layer(image, installed=installed), systems.root(image)]
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._init = 0
        try:
            self.disk, self._work, self._root = (self.folder / name for name in ("disk", "work", "root"))
            for path in (self.disk, self._work, self._root):
                path.mkdir()
                path.chmod(0o755)
            self._prepare(mask, wants, files or {})
            self.boot()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        self.close()

    # Power

    def boot(self) -> None:
        """Switch it on, and wait until everything has started. Raises TimeoutError with the console's last lines."""
        assert self._process is None, "it runs"
        cgroup = CGROUPS[0] / self.name
        cgroup.mkdir(exist_ok=True)
        # In namespaces of its own: with the first process of those, all that was ever started in there is gone, and the
        # mounts are nobody's. nspawn itself wants a /run that it may write to. It dies with the thread that boots it,
        # so that a test run which is killed leaves no machine running.
        script = f"""echo $$ >{cgroup}/cgroup.procs
exec setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc sh -ec '
{" ".join(self._overlay())}
mount -t tmpfs -o mode=755 tmpfs /run
exec "$@"' sh "$@"
"""
        command = [
            *systems.nspawn(), "--quiet", "--directory", str(self._root), "--machine", self.name, "--boot",
            "--private-network", "--register=no", "--keep-unit", "--console=pipe", "--kill-signal=SIGRTMIN+4",
            "--capability=all", "--system-call-filter=bpf", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
        ]  # fmt: skip
        with self._console.open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-ec", script, "sh", *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
        deadline = time.monotonic() + BOOT_LIMIT
        self._wait_for_init(deadline)
        while self.state() not in ("running", "degraded"):
            self._check(deadline)
            time.sleep(0.03)

    def shut_down(self) -> None:
        """As a person does it, in order. Returns when it is off; TimeoutExpired if it does not go."""
        assert self._process is not None
        self.run("systemctl", "poweroff")
        self._process.wait(SHUTDOWN_LIMIT)
        self.power_cut()

    def power_cut(self) -> None:
        """End every process of it at once, as an empty battery does. What was on its disk stays."""
        if self._process is None:
            return
        children = _children(self._process.pid)
        for pid in children or [self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(END_LIMIT)
        self._process, self._init = None, 0
        deadline = time.monotonic() + END_LIMIT
        while not self._remove_cgroups():
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes of {self.name} do not end")
            time.sleep(0.01)

    def close(self) -> None:
        """End it, and leave nothing behind."""
        try:
            self.power_cut()
            self._remove_cgroups()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    # What a person does at it

    def run(
        self, *argv: str, user: str = "root", check: bool = True, timeout: float = 20, input: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program. As a `user` other than root it has what a login gives: session, groups and environment.

        Raises AssertionError with what it said if it fails and `check` is set, TimeoutExpired after `timeout` seconds.
        """
        if user != "root":
            argv = (
                "systemd-run", "--quiet", "--collect", "--pipe", "--wait", "--service-type=exec", f"--uid={user}",
                "--property=PAMName=login", "--property=WorkingDirectory=~", "--setenv=LC_ALL=C.UTF-8",
                "--setenv=PATH=/usr/local/bin:/usr/bin:/bin", *argv,
            )  # fmt: skip
        done = subprocess.run(
            self.enter_argv(*argv), capture_output=True, text=True, timeout=timeout, input=input, check=False
        )
        if check:
            assert done.returncode == 0, f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def devlink(
        self, *arguments: str, user: str = "alice", check: bool = True, timeout: float = 40
    ) -> "subprocess.CompletedProcess[str]":
        """Run devlink: by its path, since root's PATH finds iproute2's program of that name first."""
        return self.run("/usr/bin/devlink", *arguments, user=user, check=check, timeout=timeout)

    def enter_argv(self, *argv: str) -> list[str]:
        """The command that runs `argv` as root inside, for those who want a Popen of their own."""
        environment = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME=/root", "LC_ALL=C.UTF-8")
        return ["nsenter", "--target", str(self.init), "--all", "env", "-i", *environment, *argv]

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Put a file there, in place of what was, symbolic links included; folders are made."""
        self.run(
            "sh", "-ec", 'mkdir -p "${1%/*}"; rm -f "$1"; cat >"$1"; chmod "$2" "$1"', "sh", path, f"{mode:o}",
            input=text,
        )  # fmt: skip

    def read(self, path: str) -> str:
        return self.run("cat", path).stdout

    def pid(self, unit: str) -> int:
        """The main process of a running unit, as the machine numbers it; 0 where it has none."""
        return int(self.run("systemctl", "show", "--property=MainPID", "--value", unit).stdout)

    def kill(self, unit: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a unit's main process, which it must have."""
        pid = self.pid(unit)
        assert pid, f"{unit} does not run"
        self.run("kill", f"-{int(number)}", str(pid))

    def kill_and_wait(self, unit: str) -> None:
        """Send SIGKILL to a unit's main process as soon as it has one; another one runs when this returns."""
        killed = self._wait_for_process(unit)
        self.run("kill", "-9", str(killed))
        self._wait_for_process(unit, besides=killed)

    def _wait_for_process(self, unit: str, besides: int = 0) -> int:
        """A unit's main process, as soon as it has another one; TimeoutError with the unit's name."""
        deadline = time.monotonic() + RESTART_LIMIT
        while (pid := self.pid(unit)) in (0, besides):
            if time.monotonic() > deadline:
                raise TimeoutError(f"systemd does not start {unit} again")
            time.sleep(0.02)
        return pid

    def state(self) -> str:
        """systemd's word on the whole: `starting`, `running`, `degraded`, ..."""
        return self.run("systemctl", "is-system-running", check=False).stdout.strip()

    def journal(self, *arguments: str) -> str:
        """What was logged since the last boot."""
        return self.run("journalctl", "--boot", "--no-pager", "--output=short-monotonic", *arguments).stdout

    @property
    def init(self) -> int:
        """Its first process, as this machine numbers it."""
        assert self._init, "it is off"
        return self._init

    # How it is made

    @property
    def _console(self) -> Path:
        return self.folder / "console"

    def _overlay(self) -> list[str]:
        return install.overlay(self._root, self.lower, self.disk, self._work)

    def _prepare(self, mask: Iterable[str], wants: Iterable[str], files: Mapping[str, str]) -> None:
        subprocess.run(self._overlay(), check=True)
        try:
            units = self._root / "etc/systemd/system"
            for unit in mask:
                (units / unit).unlink(missing_ok=True)
                (units / unit).symlink_to("/dev/null")
            for unit in wants:
                folder = units / "multi-user.target.wants"
                folder.mkdir(exist_ok=True)
                (folder / unit).unlink(missing_ok=True)
                (folder / unit).symlink_to(f"/usr/lib/systemd/system/{unit}")
            for path, text in files.items():
                _lay_down(self._root / path.removeprefix("/"), text)
        finally:
            subprocess.run(["umount", self._root], check=True)

    def _wait_for_init(self, deadline: float) -> None:
        """Our child is `unshare`, its child nspawn, whose child is the machine's first process, when it is systemd."""
        assert self._process is not None
        while True:
            for nspawn in _children(self._process.pid):
                for pid in _children(nspawn):
                    if _name(pid) == "systemd":
                        self._init = pid
                        return
            self._check(deadline)
            time.sleep(0.01)

    def _check(self, deadline: float) -> None:
        assert self._process is not None
        if self._process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"{self.image} does not boot:\n{self._console.read_text(errors='replace')[-4000:]}")

    def _remove_cgroups(self) -> bool:
        """Whether they are gone."""
        for cgroup in CGROUPS:
            for folder, _, _ in os.walk(cgroup / self.name, topdown=False):
                with contextlib.suppress(OSError):  # a process that is still being taken apart
                    os.rmdir(folder)
        return not any((cgroup / self.name).exists() for cgroup in CGROUPS)


def _lay_down(place: Path, text: str) -> None:
    """Write a file in place of what is there. It and the folders that it needs belong to whom the folder above does."""
    missing = [folder for folder in place.parents if not folder.exists()]
    above = (missing[-1] if missing else place).parent.stat()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.write_text(text)
    place.chmod(0o644)
    for path in (place, *missing):
        os.chown(path, above.st_uid, above.st_gid)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
