"""A laptop of the lab with devlink on it: what a user types, what systemd does, and what goes wrong."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from devlink import lab
from devlink.errors import ProtocolError
from devlink.faults import VARIABLE
from devlink.helper.client import SOCKET
from devlink.lab.rootfs import USERS
from devlink.lab.snapshot import Snapshot
from devlink.lab.world import Entered, World
from devlink.rpc.client import Client

ROLES = {
    "helper": ("helper", "run"),
    "files": ("devlink.resolvers.files",),
    "agent": ("devlink.agent",),
    "forwarder": ("devlink.dns",),
    "relay": ("devlink.relay",),
}
"""Each process of ours by the end of its argv."""
PROFILE = "/root/profile.yaml"
POLICY = "/etc/devlink/policy.toml"
RESOLV_CONF = "/etc/resolv.conf"
BACKUP = "/etc/resolv.conf.before-devlink"
RESTART_PAUSE = 0.1
"""Seconds until a dead helper is started again, as RestartSec has it by default (systemd.service(5))."""
PLACES = {name: (uid, home) for name, uid, home in USERS}
PATIENCE = 15.0
"""Seconds for anything that must come true; a failure, not a figure."""


class Link:
    """One world whose laptop has devlink's helper running and the cluster's profile trusted.

    A helper that dies is started again, as systemd would, until `stop_helper`.
    """

    user: str | None = None
    """Who types `devlink`; None for root."""
    env: Mapping[str, str] = {}
    """What that user's shell has set."""

    def __init__(self, world: World, log: Path, *, grace: float = 0.3) -> None:
        """`log` gets what the helper and its processes say; `grace` is the lease's, in seconds."""
        self.world = world
        self._log = log
        self._helper: Entered | None = None
        self._keeper: threading.Thread | None = None
        self._wanted = False
        world.run(lab.LAPTOP, ["mkdir", "-p", "/var/lib/devlink/trust"], check=True)
        self.set_grace(grace)
        world.write_file(lab.LAPTOP, PROFILE, world.profile())
        self.start_helper()
        self.trust(PROFILE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_helper(signal.SIGKILL)

    # What a user types

    def run(self, *argv: str, timeout: float = 30.0, env: Mapping[str, str] | None = None) -> str:
        """The stdout of a program on the laptop that must succeed."""
        done = self.world.run(lab.LAPTOP, argv, timeout=timeout, env=env)
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout

    def devlink(
        self, *arguments: str, timeout: float = 30.0, env: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run the command to its end."""
        return self.world.run(
            lab.LAPTOP, ["devlink", *arguments], timeout=timeout, env={**self.env, **(env or {})}, user=self.user
        )

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> Entered:
        """Start the command, for a test that does something to it meanwhile. stdout and stderr come as one."""
        return self.world.popen(lab.LAPTOP, ["devlink", *arguments], env={**self.env, **(env or {})}, user=self.user)

    def up(self, profile: str = PROFILE, *options: str, expect: int = 0) -> str:
        """`devlink up`; what it said. Fails the test with the logs unless it exits with `expect`."""
        return self._expect(self.devlink("up", profile, *options), expect)

    def down(self, *options: str, expect: int = 0) -> str:
        """`devlink down`; what it said."""
        return self._expect(self.devlink("down", *options), expect)

    def _expect(self, done: "subprocess.CompletedProcess[str]", code: int) -> str:
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{done.args}: exit {done.returncode}, not {code}\n{said}\n{self.logs()}"
        return said

    def trust(self, profile: str) -> None:
        """As the machine's administrator."""
        self.run("devlink", "trust", profile, "--yes")

    def write_profile(self, name: str, change: Callable[[dict[str, Any]], object] = lambda _: None) -> str:
        """Write and trust a variant of the cluster's profile under another name; its path."""
        import yaml

        tree = yaml.safe_load(self.world.profile())
        tree["metadata"]["name"] = name
        change(tree["spec"])
        path = f"/root/{name}.yaml"
        self.world.write_file(lab.LAPTOP, path, yaml.safe_dump(tree))
        self.trust(path)
        return path

    def status(self) -> dict[str, Any]:
        """What the agent says, which `devlink status -o json` shows; no sessions where none runs.

        Asked by its socket, because tests ask again and again: to start the command costs a tenth of a second of CPU.
        """
        try:
            with self.agent() as agent:
                status: dict[str, Any] = agent.call("io.devlink.Agent.Status")["status"]
                return status
        except (FileNotFoundError, ConnectionRefusedError, ProtocolError):  # none, or one that was about to end
            return {"sessions": [], "asking": [], "waiting": []}

    def agent(self) -> Client:
        """A line to the agent that runs, to be closed. Raises OSError where there is none."""
        uid, _ = PLACES[self.user or "root"]
        return Client.connect(f"{self._root}/run/user/{uid}/devlink/agent", timeout=PATIENCE)

    def states(self) -> dict[str, str]:
        """The state of each session."""
        return {session["name"]: session["state"] for session in self.status()["sessions"]}

    # What systemd does

    def start_helper(self, fault: str = "") -> None:
        """Run the helper; `fault`: the point where it, or a process that it starts, stops itself, this once."""
        assert self._keeper is None
        self._wanted = True
        self._launch({VARIABLE: fault} if fault else {})
        self._keeper = threading.Thread(target=self._keep_helper, daemon=True)
        self._keeper.start()
        self.wait_until(self.helper_answers, "the helper answers")

    def stop_helper(self, number: int = signal.SIGTERM) -> None:
        """End the helper for good."""
        self._wanted = False
        if self._keeper is not None:
            assert self._helper is not None
            self._helper.send_signal(number)
            self.thaw()
            self._keeper.join()
            self._keeper = None

    def restart_helper(self, fault: str = "") -> None:
        self.stop_helper()
        self.start_helper(fault)

    def helper_answers(self) -> bool:
        """Asked by its socket: to start the command for it costs a tenth of a second of CPU, at each try."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(1.0)
            try:
                line.connect(f"{self._root}{SOCKET}")
                line.sendall(b'{"method":"org.varlink.service.GetInfo"}\0')
                return b'"product"' in line.recv(4096)
            except OSError:
                return False

    @property
    def _root(self) -> str:
        """The laptop's root, as this process sees it."""
        return f"/proc/{self.world.anchor(lab.LAPTOP)}/root"

    def set_grace(self, seconds: float) -> None:
        """For the next helper."""
        self.world.write_file(lab.LAPTOP, POLICY, f"lease_grace = {seconds}\n")

    def _launch(self, env: Mapping[str, str]) -> None:
        with self._log.open("a") as log:
            self._helper = self.world.popen(lab.LAPTOP, ["devlink", "helper", "run"], env=env, stdout=log)

    def _keep_helper(self) -> None:
        while True:
            assert self._helper is not None
            self._helper.wait()
            if self._wanted:
                time.sleep(RESTART_PAUSE)
            if not self._wanted:
                return
            self._launch({})

    # What goes wrong, and what is seen of it

    def ours(self) -> list[tuple[int, str]]:
        """Our processes, each by its outer PID with its role."""
        return [
            (pid, role)
            for pid, argv in self.world.processes()
            for role, tail in ROLES.items()
            if tuple(argv[-len(tail) :]) == tail
        ]

    def pids(self, role: str) -> list[int]:
        """The outer PIDs of a role's processes."""
        return [pid for pid, its in self.ours() if its == role]

    def kill(self, *roles: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to every process of the roles; how many there were."""
        pids = [pid for pid, role in self.ours() if role in roles]
        for pid in pids:
            _signal(pid, number)
        return len(pids)

    def stopped(self) -> list[int]:
        """Our processes that have stopped themselves."""
        return [pid for pid, _ in self.ours() if _state(pid) == "T"]

    def thaw(self) -> None:
        """Let whatever has stopped itself go on."""
        for pid in self.stopped():
            _signal(pid, signal.SIGCONT)
        if self._helper is not None and self._helper.returncode is None:
            # nsenter stops when its child does, and would sleep through the child's death.
            _signal(self._helper.pid, signal.SIGCONT)

    def remains(self) -> list[str]:
        """The processes of ours that run beside the helper."""
        running = {role for _, role in self.ours()}
        return [role for role in ROLES if role != "helper" and role in running]

    def wait_until(
        self, true: Callable[[], object], what: str, limit: float = PATIENCE, *, meanwhile: Callable[[], object] = int
    ) -> None:
        """Poll until `true()`, doing `meanwhile()` in between; fails the test with the logs after `limit` seconds."""
        deadline = time.monotonic() + limit
        while True:
            began = time.monotonic()
            if true():
                return
            meanwhile()
            assert time.monotonic() < deadline, f"it did not come true that {what}\n{self.logs()}"
            # Where a look starts programs, half of the CPU is left for what is waited for.
            time.sleep(max(0.02, time.monotonic() - began))

    def await_end(self, running: Entered, *, limit: float = 25.0, thaw: bool = True) -> tuple[int, str]:
        """The exit code of a command and what it said; whatever stops itself meanwhile is let go on (`thaw`)."""
        meanwhile = self.thaw if thaw else int
        self.wait_until(lambda: running.poll() is not None, f"{running.args!r} ends", limit, meanwhile=meanwhile)
        said, _ = running.communicate()
        return running.returncode, said

    def await_equal(self, before: Snapshot, *, limit: float = PATIENCE) -> None:
        """The laptop becomes what it was, within the time that leases and idle processes take."""
        deadline = time.monotonic() + limit
        while differences := differing(before, self.world.snapshot()):
            assert time.monotonic() < deadline, "\n".join([*differences, self.logs()])
            time.sleep(0.1)

    def put_back(self, before: Snapshot) -> None:
        """End what a test has left, if anything, until the laptop is what it was."""
        self.thaw()
        status = self.status()
        if status["sessions"] or status["asking"] or differing(before, self.world.snapshot()):
            self.devlink("down", "--all")
            self.await_equal(before)

    def assert_equal(self, before: Snapshot) -> None:
        """The laptop is what it was, now."""
        differences = differing(before, self.world.snapshot())
        assert not differences, "\n".join([*differences, self.logs()])

    def logs(self) -> str:
        """The end of what helper and agent have said."""
        _, home = PLACES[self.user or "root"]
        agent = self.world.run(lab.LAPTOP, ["sh", "-c", f"tail -n 30 {home}/.local/state/devlink/log/agent.log"])
        helper = self._log.read_text().splitlines()[-40:]
        return "\n".join(["--- helper:", *helper, "--- agent:", agent.stdout])

    @property
    def helper_log(self) -> str:
        return self._log.read_text()


@contextmanager
def linked(spec: lab.WorldSpec, log: Path, *, grace: float = 0.3) -> Iterator[Link]:
    """A world with devlink on its laptop, while the block runs."""
    with World.start(spec) as world, Link(world, log, grace=grace) as link:
        yield link


def differing(before: Snapshot, after: Snapshot) -> list[str]:
    """As `Snapshot.diff`. While a session is up, what asks its gateways comes and goes, and is no difference."""
    if any('"protocol": "231"' in route for route in before.routes):
        before, after = _without_probes(before), _without_probes(after)
    return before.diff(after)


def _without_probes(snapshot: Snapshot) -> Snapshot:
    """Without the tables and rules of probes, and without what tells of traffic."""
    filters, is_ours = [], False
    for line in snapshot.packet_filter:
        is_ours = is_ours or line.startswith(("table ip devlink-traffic", "table ip6 devlink-traffic"))
        if not is_ours:
            filters.append(line)
        is_ours = is_ours and line != "}"
    return replace(
        snapshot,
        routes=tuple(line for line in snapshot.routes if '"table": "523' not in line or '"table": "5230"' in line),
        rules=tuple(line for line in snapshot.rules if '"priority": 519' not in line),
        packet_filter=tuple(filters),
    )


def at_rest(snapshot: Snapshot) -> Snapshot:
    """Without what says only whether a helper runs: its folder in /run."""
    return replace(snapshot, files=tuple(line for line in snapshot.files if not line.startswith("/run/devlink")))


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _state(pid: int) -> str:
    """The letter of proc(5)'s stat."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
