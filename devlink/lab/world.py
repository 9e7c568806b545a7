"""A running world, from outside: start it, run programs on its hosts, look at it, end it."""

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from devlink.core.codec import encode
from devlink.core.prefixes import IPNetwork
from devlink.errors import DevlinkError, HelperError, UnexpectedError
from devlink.lab import bird, credentials, kit
from devlink.lab.availability import available, namespaces
from devlink.lab.capture import Capture
from devlink.lab.control_plane import API_SERVER, API_SERVER_SCRIPT, FOLDER, KUBELET, KUBELET_SCRIPT
from devlink.lab.daemons import LOGS
from devlink.lab.objects import KUBELET_PORT
from devlink.lab.order import Order, Secrets
from devlink.lab.profile import profile_text
from devlink.lab.rootfs import USERS
from devlink.lab.snapshot import Snapshot, take_snapshot
from devlink.lab.spec import CONTROL_PLANE, LAPTOP, ClusterDnsProgram, Place, ProxyMode, WorldSpec

END_PATIENCE = 5.0
"""Seconds that the kernel has to end a world's processes before we insist."""
API_PATIENCE = 60.0
"""Seconds for the API server to be ready again; it takes two."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Entered(subprocess.Popen[str]):
    """A program inside a world. `pid` is the `nsenter` in front of it; signals go to the program itself.

    Whoever killed the nsenter instead would leave the program to the machine's init, which need not care for it soon.
    """

    @property
    def inner_pid(self) -> int:
        """The outer PID of the program itself. Raises ProcessLookupError once it has ended."""
        while self.poll() is None:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            if children:
                return int(children[0])
            time.sleep(0.001)  # nsenter is still on its way in
        raise ProcessLookupError(f"{self.args!r} has ended")

    def send_signal(self, sig: int) -> None:
        """Send a signal to the program; nothing if it has ended."""
        try:
            os.kill(self.inner_pid, sig)
        except ProcessLookupError:
            pass


class World:
    """One world. Use `World.start` in a `with`; it ends with the block, and with this process however that ends."""

    def __init__(
        self, spec: WorldSpec, starter: "subprocess.Popen[bytes]", anchors: Mapping[str, int],
        secrets: Secrets | None = None,
    ) -> None:  # fmt: skip
        """Not called directly: `start` does."""
        self.spec = spec
        self._secrets = secrets
        self._starter = starter
        self._anchors = dict(anchors)
        self.pid_namespace = os.readlink(f"/proc/{next(iter(self._anchors.values()))}/ns/pid")
        """As /proc/PID/ns/pid names it: every process of the world is in it."""
        self._user_flags = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]

    @classmethod
    def start(cls, spec: WorldSpec) -> Self:
        """Build the world and wait until every server in it listens.

        Raises HelperError where this machine cannot hold one, UnexpectedError where building it failed.
        """
        order = _order(spec)
        starter = _launch(order)
        try:
            inner = _await_report(starter)
            outer = _outer_pids(starter.pid)
            return cls(spec, starter, {name: outer[pid] for name, pid in inner.items()}, order.secrets)
        except BaseException:
            _end(starter)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process of the world, and all that it was. May be called again."""
        _end(self._starter)

    def enter_argv(
        self, host: str, argv: Sequence[str], *, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> list[str]:
        """The command that runs `argv` on a host or in a pod, for exec and for terminals.

        The program starts in the user's home with a clean environment. It is killed if the `nsenter` in front of it
        is killed. `user` is a name of the world's /etc/passwd and needs real root outside; None is the world's root.
        """
        name = user or "root"
        uid, home = _USERS[name]
        variables = {
            "PATH": f"{Path(sys.executable).parent}:{PATH}" + (f":{kit.folder()}" if self.spec.cluster.is_real else ""),
            "HOME": home,
            "USER": name,
            "LOGNAME": name,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "TERM": os.environ.get("TERM", "dumb"),
            "XDG_RUNTIME_DIR": f"/run/user/{uid}",
            **(env or {}),
        }
        identity = [] if user is None else ["--reuid", user, "--regid", user, "--init-groups"]
        return [
            "nsenter", "--target", str(self._anchors[host]), *self._user_flags, "--mount", "--net", "--uts", "--pid",
            "--", "setpriv", "--pdeathsig", "KILL", *identity, "--",
            "env", "--ignore-environment", f"--chdir={home}", *(f"{key}={value}" for key, value in variables.items()),
            *argv,
        ]  # fmt: skip

    def run(
        self, host: str, argv: Sequence[str], *, timeout: float = 10, check: bool = False,
        env: Mapping[str, str] | None = None, input: str | None = None, user: str | None = None,
    ) -> "subprocess.CompletedProcess[str]":  # fmt: skip
        """Run a program to its end. As subprocess.run: raises TimeoutExpired, and CalledProcessError with `check`."""
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        with self.popen(host, argv, env=env, user=user, stdin=stdin, stderr=subprocess.PIPE) as running:
            try:
                stdout, stderr = running.communicate(input, timeout)
            except BaseException:
                running.kill()
                raise
        done = subprocess.CompletedProcess(list(argv), running.returncode, stdout, stderr)
        if check:
            done.check_returncode()
        return done

    def popen(
        self, host: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None, user: str | None = None,
        stdin: int | IO[str] | None = subprocess.DEVNULL, stdout: int | IO[str] | None = subprocess.PIPE,
        stderr: int | IO[str] | None = subprocess.STDOUT,
    ) -> Entered:  # fmt: skip
        """Start a program. Signals sent through the result reach the program itself."""
        return Entered(
            self.enter_argv(host, argv, env=env, user=user), stdin=stdin, stdout=stdout, stderr=stderr, text=True
        )

    def processes(self) -> list[tuple[int, list[str]]]:
        """Every process of the world, by its outer PID, with its argv: to be found by role and killed."""
        found = []
        for pid in _pids_in(self.pid_namespace):
            try:
                argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
            except OSError:
                continue
            if argv:  # a process that ended and waits for its parent has none
                found.append((pid, [word.decode("utf-8", "replace") for word in argv]))
        return found

    def anchor(self, host: str) -> int:
        """The outer PID of the process that holds a host's namespaces."""
        return self._anchors[host]

    def write_file(self, host: str, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file on a host, in place if it is there."""
        script = 'umask 077; cat >"$1" && chmod "$2" "$1"'
        self.run(host, ["sh", "-c", script, "write", path, f"{mode:o}"], input=text, check=True)

    def read_file(self, host: str, path: str) -> str:
        """What a file on a host holds. Raises CalledProcessError."""
        return self.run(host, ["cat", path], check=True).stdout

    def snapshot(self) -> Snapshot:
        """All of the laptop that devlink may touch, as it is now."""
        return take_snapshot(lambda argv: self.run(LAPTOP, argv, check=True).stdout, self._anchors[LAPTOP])

    def plug(self, place: Place) -> None:
        """Move the laptop's cable, and give the laptop what DHCP would there."""
        cable = f"{LAPTOP}.0"
        init = ["nsenter", "--target", str(_init_pid(self._starter.pid)), "--net", *self._user_flags]
        subprocess.run([*init, "ip", "link", "set", cable, "down"], check=True)
        self.run(LAPTOP, ["ip", "address", "flush", "dev", "eth0", "scope", "global"], check=True)
        subprocess.run([*init, "ip", "link", "set", cable, "master", place.network, "up"], check=True)
        script = [f"ip address add {address} dev eth0{' nodad' * (':' in address)}" for address in place.addresses]
        script += [f"ip route replace default via {router} dev eth0 proto static" for router in place.routers]
        self.run(LAPTOP, ["sh", "-ec", "\n".join(script)], check=True)

    @contextmanager
    def capture(self, host: str, *, to: Iterable[IPNetwork] = ()) -> Iterator[Capture]:
        """Record what passes a host's interfaces (not its loopback) while the block runs: DNS questions, and packets.

        Of those only the ones for `to`. Complete once the block is left. Raises UnexpectedError if it could not start.
        """
        argv = [sys.executable, "-m", "devlink.lab.capture", *map(str, to)]
        process = self.popen(host, argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=_import_path())
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            if process.stdout.readline() != "ready\n":
                process.kill()
                raise UnexpectedError("The capture could not start.", why=process.stderr.read())
            result = Capture()
            try:
                yield result
            finally:
                process.stdin.close()
                result.read(process.stdout)

    def profile(self) -> str:
        """The bridge profile of the world's cluster as YAML, `routing: auto`."""
        return profile_text(self.spec, None if self._secrets is None else self._secrets.ca)

    # What follows is for worlds with real parts.

    @property
    def secrets(self) -> Secrets:
        """What the control plane was started with: its CA, and the users' tokens."""
        assert self._secrets is not None, "this world has no real parts"
        return self._secrets

    def kubeconfig(self, user: str) -> str:
        """A kubeconfig for one of `credentials.GROUPS`, with the context USER@CLUSTER."""
        return credentials.kubeconfig(self.spec, self.secrets.ca, user, self.secrets.tokens[user])

    def kill_api(self) -> None:
        """SIGKILL the API server, and wait until its port is free; what it stored stays in etcd."""
        _kill(self._pids_of(API_SERVER))

    def restart_api(self, *options: str) -> None:
        """Start a killed API server, with more options than it had, and wait until it is ready. Raises TimeoutError."""
        log = f"{LOGS}/{API_SERVER}.log"
        self._start(CONTROL_PLANE, API_SERVER, API_SERVER_SCRIPT, options)
        deadline = time.monotonic() + API_PATIENCE
        ready = ["curl", "-sf", "--cacert", f"{FOLDER}/ca.crt", f"{credentials.server_url(self.spec)}/readyz"]
        while self.run(CONTROL_PLANE, ready).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{API_SERVER}: {self.read_file(CONTROL_PLANE, log)[-1000:]}")
            time.sleep(0.05)

    def restart_kubelets(self, *options: str) -> None:
        """End each node's end of port-forward, with all that runs through it, and start it with more options."""
        _kill(self._pids_of(KUBELET))
        for node in self.spec.cluster.nodes:
            self._start(node.host, KUBELET, KUBELET_SCRIPT, options)
            deadline = time.monotonic() + API_PATIENCE
            while self.run(node.host, ["curl", "-sk", f"https://127.0.0.1:{KUBELET_PORT}/"]).returncode:
                if time.monotonic() > deadline:
                    raise TimeoutError(KUBELET)
                time.sleep(0.01)

    def _start(self, host: str, name: str, script: str, options: Sequence[str]) -> None:
        line = f"setsid sh {script} {shlex.join(options)} >>{LOGS}/{name}.log 2>&1 </dev/null &"
        self.run(host, ["sh", "-c", line], check=True)

    @contextmanager
    def paused_api(self) -> Iterator[None]:
        """While the block runs the API server takes connections and says nothing."""
        pids = self._pids_of(API_SERVER)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            for pid in pids:
                _await_stop(pid)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def slow_api(self, bits_per_second: int) -> Iterator[None]:
        """While the block runs the control plane's host sends no faster, to anybody."""
        shaper = ["dev", "eth0", "root", "tbf", "rate", str(bits_per_second), "burst", "1600", "latency", "60s"]
        self.run(CONTROL_PLANE, ["tc", "qdisc", "add", *shaper], check=True)
        try:
            yield
        finally:
            self.run(CONTROL_PLANE, ["tc", "qdisc", "del", "dev", "eth0", "root"], check=True)

    def _pids_of(self, program: str) -> list[int]:
        return [pid for pid, argv in self.processes() if Path(argv[0]).name == program]


_USERS = {name: (uid, home) for name, uid, home in USERS}


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [])  # readable once it has let go of all that it had
        finally:
            os.close(descriptor)


def _await_stop(pid: int) -> None:
    """Wait until all threads have stopped: on a busy machine one of them may answer yet. Raises TimeoutError."""
    deadline = time.monotonic() + API_PATIENCE
    while any(
        stat.read_text().rpartition(")")[2].split()[0] != "T" for stat in Path(f"/proc/{pid}/task").glob("*/stat")
    ):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{pid} does not stop")
        time.sleep(0.001)


def _package_root() -> str:
    return str(Path(__file__).resolve().parents[2])


def _import_path() -> dict[str, str]:
    """So that the same code runs inside, installed or not, wherever this process found it."""
    return {"PYTHONPATH": _package_root()}


def _needed_paths() -> tuple[str, ...]:
    """What must be reachable inside: the interpreter, everything that it imports from, the kit."""
    paths = [sys.prefix, sys.base_prefix, sys.exec_prefix, _package_root(), os.path.dirname(sys.executable), *sys.path]
    paths += [str(kit.folder()), str(bird.peers_folder())]
    absolute = [os.path.abspath(path) for path in paths if path]
    resolved = [os.path.realpath(path) for path in absolute]
    return tuple(dict.fromkeys(p for p in (*absolute, *resolved) if os.path.isdir(p)))


def _cluster_dns(spec: WorldSpec) -> str | None:
    program = kit.coredns()
    match spec.cluster.dns_program:
        case ClusterDnsProgram.STANDIN:
            return None
        case ClusterDnsProgram.COREDNS if program is None:
            raise HelperError("This world wants CoreDNS, and the kit is not built.", next_step="Run: make kit")
    return None if program is None else str(program)


def _order(spec: WorldSpec) -> Order:
    router = bird.for_world(spec)
    if not spec.cluster.is_real:
        return Order(spec=spec, keep=_needed_paths(), coredns=_cluster_dns(spec), bird=router)
    reason = kit.missing(iptables=spec.cluster.proxy_mode is ProxyMode.IPTABLES)
    if reason is not None:
        raise HelperError("This world wants the real parts of a cluster.", why=f"{reason}.")
    return Order(spec=spec, keep=_needed_paths(), bird=router, kit=str(kit.folder()), secrets=credentials.make(spec))


def _launch(order: Order) -> "subprocess.Popen[bytes]":
    starter = subprocess.Popen(
        [*namespaces(root=os.geteuid() == 0), sys.executable, "-m", "devlink.lab.init"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
        env={"PATH": f"{os.environ.get('PATH', '')}:{PATH}", **_import_path()},
        # A Ctrl-C at the terminal is for us: we end the world after what we still have to do in it.
        start_new_session=True,
    )  # fmt: skip
    assert starter.stdin is not None
    try:
        starter.stdin.write(json.dumps(encode(order)).encode() + b"\n")
        starter.stdin.flush()
    except BrokenPipeError:
        pass  # it ended at once; its report says why
    return starter


def _await_report(starter: "subprocess.Popen[bytes]") -> dict[str, int]:
    assert starter.stdout is not None
    assert starter.stderr is not None
    line = starter.stdout.readline()
    if not line:
        said = starter.stderr.read().decode(errors="replace").strip()
        raise _cannot(said)
    report: dict[str, Any] = json.loads(line)
    if "error" in report:
        raise UnexpectedError("The private world could not be built.", why=str(report["error"]))
    return {str(name): int(pid) for name, pid in report["hosts"].items()}


def _cannot(said: str) -> DevlinkError:
    reason = available()
    if reason is None:
        return UnexpectedError("The private world could not be built.", why=said)
    return HelperError("This machine cannot hold a private world.", why=reason)


def _end(starter: "subprocess.Popen[bytes]") -> None:
    """Let go of the world: its init ends on EOF, and the kernel kills what is left in its PID namespace."""
    for pipe in (starter.stdin, starter.stdout, starter.stderr):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                pass  # it never read its order
    try:
        starter.wait(END_PATIENCE)
    except subprocess.TimeoutExpired:
        starter.kill()  # --kill-child: the init goes with it
        starter.wait()


def _init_pid(starter: int) -> int:
    """The first process of a world's PID namespace; the bridges are in its network namespace."""
    (init,) = Path(f"/proc/{starter}/task/{starter}/children").read_text().split()
    return int(init)


def _outer_pids(starter: int) -> dict[int, int]:
    """The PIDs of a world as this process sees them, by the PID inside."""
    init = _init_pid(starter)
    outer = {}
    for pid in _pids_in(os.readlink(f"/proc/{init}/ns/pid")):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
        outer[int(numbers[-1])] = pid
    return outer


def _pids_in(pid_namespace: str) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                if os.readlink(f"/proc/{entry}/ns/pid") == pid_namespace:
                    found.append(int(entry))
            except OSError:
                continue  # another user's process, or one that has just ended
    return sorted(found)
