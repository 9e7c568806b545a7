"""The process `devlink files`: its calls, and the real one over a real /etc."""

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devlink.errors import DevlinkError, HelperError, UsageError
from devlink.faults import POINTS, VARIABLE
from devlink.resolvers.files.__main__ import methods, nameserver, writers
from devlink.resolvers.files.client import FilesClient
from devlink.resolvers.files.worker import Worker
from devlink.resolvers.mode import Telling, Tools
from devlink.resolvers.modes.direct import Direct
from devlink.resolvers.resolv_conf import parse
from devlink.rpc.client import Client
from tests.kernel.private_network import in_private_network, mount_empty
from tests.resolvers.files.before_after import snapshot
from tests.rpc.interface_files import methods_of

OURS = ipaddress.ip_address("169.254.53.53")
TELLING = Telling(domains=(), families=frozenset([4]))
ETC = Path("/etc")
TEXT = "search corp.example\nnameserver 192.0.2.1\n"


@pytest.mark.parametrize("text", ["8.8.8.8", "192.168.1.1", "0.0.0.0", "224.0.0.1", "::", "2001:db8::1", "fe80::1%lo"])
def test_an_address_that_cannot_be_this_machines_forwarder_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        nameserver({"nameserver": text})


@pytest.mark.parametrize("value", ["127.0.0.53\nnameserver 8.8.8.8", "", "localhost", 5, ["127.0.0.1"], "127.0.0.1/32"])
def test_what_is_no_address_is_refused(value: object) -> None:
    with pytest.raises(UsageError):
        nameserver({"nameserver": value})


@pytest.mark.parametrize("text", ["127.0.0.54", "169.254.53.53", "::1", "fd00::53"])
def test_an_address_of_this_machine_is_taken(text: str) -> None:
    assert nameserver({"nameserver": text}) == ipaddress.ip_address(text)
    assert nameserver({}) is None


def test_write_without_an_address_is_refused_and_every_method_is_described(tmp_path: Path) -> None:
    served = methods({"direct": Worker(str(tmp_path))})
    with pytest.raises(UsageError):
        served["Write"]({"mode": "direct"})
    for parameters in ({}, {"mode": "/etc/shadow"}, {"mode": ["direct"]}):
        with pytest.raises(UsageError, match="no such mode"):
            served["Restore"](parameters)
    assert writers(bool).keys() == {"direct", "openresolv", "debian-resolvconf"}
    assert served.keys() == methods_of("io.devlink.Files")
    assert not list(tmp_path.iterdir())


def test_without_a_socket_the_process_says_who_starts_it() -> None:
    run = subprocess.run([sys.executable, "-m", "devlink.resolvers.files"], capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "helper" in run.stderr
    assert "Traceback" not in run.stderr


def test_roots_process_loads_nothing_that_speaks_to_the_network() -> None:
    code = "import sys, devlink.resolvers.files.__main__; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "devlink.rpc.service" in run.stdout.split()
    assert not [name for name in run.stdout.split() if name.startswith(("devlink.kernel", "devlink.core.network"))]


class Starter:
    """Starts the real process on a listening socket of its own, as a service manager does."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = path
        self._listener.bind(str(path))
        self._listener.listen(8)
        self.children: list[subprocess.Popen[bytes]] = []
        self.fault = ""
        self._doomed = self._connected = False

    def connect(self) -> socket.socket:
        """Connect, and start a process unless one runs."""
        if self._doomed and self._connected:
            # Its sockets close a moment before the process is gone.
            self.children[-1].wait(30)
            self._doomed = False
        if not self.children or self.children[-1].poll() is not None:
            self.start()
        self._connected = True
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self._path))
        return connection

    def start(self) -> None:
        """Start a process, with the fault point that is set, once."""
        script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0 0</dev/null'
        command = ["/bin/sh", "-c", script, "sh", sys.executable, "-m", "devlink.resolvers.files"]
        environment = {**os.environ, VARIABLE: self.fault}
        self.children.append(subprocess.Popen(command, stdin=self._listener.fileno(), env=environment))
        self._doomed = bool(self.fault)
        self.fault = ""

    def close(self) -> None:
        """End what was started."""
        self._listener.close()
        for child in self.children:
            child.kill()
            child.wait()


@pytest.mark.lab
def test_the_real_process_writes_and_restores_etc_and_ends_by_itself(tmp_path: Path) -> None:
    def body() -> None:
        mount_empty("/etc")
        (ETC / "resolv.conf").write_text(TEXT)
        before = snapshot(ETC)
        starter = Starter(tmp_path / "files")
        resolver = Direct(Tools(nameserver=OURS, files=FilesClient(starter.connect)))
        resolver.apply(TELLING)
        assert resolver.is_ours()
        assert parse((ETC / "resolv.conf").read_text()).search == ("corp.example",)
        with Client(starter.connect()) as client, pytest.raises(DevlinkError, match=r"8\.8\.8\.8"):
            client.call("io.devlink.Files.Write", {"mode": "direct", "nameserver": "8.8.8.8"})
        resolver.restore()
        assert not resolver.is_ours()
        assert snapshot(ETC) == before
        assert len(starter.children) == 1
        assert starter.children[0].wait(30) == 0
        starter.close()

    in_private_network(body)


@pytest.mark.lab
def test_a_process_killed_at_any_step_is_asked_again_and_the_caller_sees_nothing(tmp_path: Path) -> None:
    def body() -> None:
        mount_empty("/etc")
        (ETC / "resolv.conf").symlink_to("stub-resolv.conf")
        (ETC / "stub-resolv.conf").write_text(TEXT)
        before = snapshot(ETC)
        for number, point in enumerate(sorted(p for p in POINTS if p.startswith(("files.write.", "files.restore.")))):
            starter = Starter(tmp_path / str(number))
            resolver = Direct(Tools(nameserver=OURS, files=FilesClient(starter.connect)))
            if point.startswith("files.restore."):
                Worker(str(ETC)).write(OURS)
            starter.fault = point
            starter.start()
            killer = kill_when_stopped(starter.children[0].pid)
            if point.startswith("files.write."):
                resolver.apply(TELLING)
                assert resolver.is_ours()
            resolver.restore()
            assert os.waitpid(killer, 0)[1] == 0
            assert starter.children[0].returncode == -signal.SIGKILL, point
            assert snapshot(ETC) == before, point
            starter.close()

    in_private_network(body)


def kill_when_stopped(victim: int) -> int:
    """Start a process that kills another once that has stopped itself; its id."""
    killer = os.fork()
    if killer == 0:
        status = Path(f"/proc/{victim}/status")
        while "T (stopped)" not in status.read_text():
            time.sleep(0.005)
        os.kill(victim, signal.SIGKILL)
        os._exit(0)
    return killer


@pytest.mark.lab
def test_a_mounted_file_that_is_read_only_is_an_error_that_says_so_and_nothing_is_changed(tmp_path: Path) -> None:
    def body() -> None:
        mount_empty("/etc")
        (tmp_path / "from-outside").write_text(TEXT)
        (ETC / "resolv.conf").touch()
        subprocess.run(["mount", "--bind", str(tmp_path / "from-outside"), "/etc/resolv.conf"], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", "/etc/resolv.conf"], check=True)
        before = snapshot(ETC)
        with pytest.raises(HelperError, match="read-only"):
            Worker(str(ETC)).write(OURS)
        assert snapshot(ETC) == before

    in_private_network(body)


@pytest.mark.lab
def test_a_read_only_etc_is_an_error_that_says_so_and_restoring_nothing_is_none() -> None:
    def body() -> None:
        mount_empty("/etc")
        (ETC / "resolv.conf").write_text(TEXT)
        subprocess.run(["mount", "-o", "remount,ro", "/etc"], check=True)
        with pytest.raises(HelperError, match="read-only"):
            Worker(str(ETC)).write(OURS)
        Worker(str(ETC)).restore()

    in_private_network(body)
