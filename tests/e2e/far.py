"""A laptop from which only the API server of a cluster is reached, and what runs in that cluster."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from devlink import lab
from devlink.lab.credentials import ADMIN, GROUPS, RELAYER
from devlink.lab.world import Entered, World
from tests.e2e.link import Link

ROOT = str(Path(__file__).parents[2])
STREAMS = [sys.executable, "-m", "tests.e2e.streams"]
ENV = {"PYTHONPATH": ROOT}
DOMAIN = "default.svc.cluster.local"
ECHO_PORT, H2_PORT = 7007, 8081
"""What the pod `stream-0` serves at; the service `stream` has them as 7 and 80."""


class Far(Link):
    """alice's devlink in the world `lab.far`, with the rights that a relay needs and no others."""

    user = "alice"
    env: Mapping[str, str] = {"KUBECONFIG": "/home/alice/config"}

    def __init__(self, world: World, log: Path) -> None:
        super().__init__(world, log)
        # The interpreter may lie in root's home.
        world.run(lab.LAPTOP, ["chmod", "711", "/root"], check=True)
        world.write_file(lab.LAPTOP, "/home/alice/profile.yaml", world.profile())
        for user in GROUPS:
            world.write_file(lab.LAPTOP, f"/home/alice/{user}.kubeconfig", world.kubeconfig(user))
        self.login(world.kubeconfig(RELAYER))

    def login(self, kubeconfig: str) -> None:
        """What alice's kubeconfig is from now on."""
        self.world.write_file(lab.LAPTOP, self.env["KUBECONFIG"], kubeconfig)

    def up(self, profile: str = "/home/alice/profile.yaml", *options: str, expect: int = 0) -> str:
        return super().up(profile, *options, expect=expect)

    @property
    def session(self) -> dict[str, Any]:
        """The one session, as the agent tells it."""
        (session,) = self.status()["sessions"]
        return dict(session)

    @property
    def relay(self) -> dict[str, Any]:
        """What the session's relay says of itself."""
        return dict(self.session["relay"])

    def codes(self) -> set[str]:
        """Of the session's findings, and of its relay's."""
        findings = [*self.session["findings"], *self.relay.get("findings", [])]
        return {finding["code"] for finding in findings}

    def refused(self) -> dict[str, int]:
        """How often, by reason."""
        return {each["reason"]: each["count"] for each in self.relay.get("refused", [])}

    def curl(self, url: str, *options: str, user: str | None = "alice") -> "subprocess.CompletedProcess[str]":
        return self.world.run(
            lab.LAPTOP, ["curl", "-sS", "--max-time", "8", *options, url], user=user, timeout=30
        )  # fmt: skip

    def reaches(self, url: str, pod: str) -> bool:
        """Whether that pod answers there."""
        return self.curl(url).stdout == f"{pod}\n"

    def client(self, *arguments: str, timeout: float = 60.0) -> str:
        """What one of the clients of `streams` prints, as alice's."""
        done = self.world.run(lab.LAPTOP, [*STREAMS, *arguments], user="alice", env=ENV, timeout=timeout)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout.strip()

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """As the cluster's owner, beside the API server."""
        argv = ["kubectl", "--kubeconfig", "/root/admin", *arguments]
        self.world.write_file(lab.CONTROL_PLANE, "/root/admin", self.world.kubeconfig(ADMIN))
        done = self.world.run(lab.CONTROL_PLANE, argv, input=input, timeout=30)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
        return done.stdout

    def lead(self, service: str, pod: str) -> None:
        """The service's endpoints are that pod alone from now on, of both families."""
        for family, address in zip(("ipv4", "ipv6"), self.world.spec.pod(pod).addresses, strict=True):
            endpoint = {
                "addresses": [str(address)], "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "namespace": "default", "name": pod},
            }  # fmt: skip
            change = json.dumps({"endpoints": [endpoint]})
            self.kubectl("patch", "endpointslice", f"{service}-{family}", "--type=merge", "-p", change)

    def start_streams(self) -> None:
        """The server that the clients speak with, in its pod."""
        line = f"setsid {shlex.join(STREAMS)} serve {ECHO_PORT} >/dev/null 2>&1 </dev/null &"
        self.world.run("stream-0", ["sh", "-c", line], env=ENV, check=True)
        listening = ["ss", "-Hltn", f"sport = :{ECHO_PORT}"]
        self.wait_until(lambda: self.world.run("stream-0", listening).stdout, "it listens")

    def kill_streams(self) -> None:
        """SIGKILL it, with its connections."""
        for pid, argv in self.world.processes():
            if argv[-2:] == ["serve", str(ECHO_PORT)]:
                os.kill(pid, signal.SIGKILL)

    @contextmanager
    def holding(self, host: str, port: int) -> Iterator["Held"]:
        """A connection that stays open while the block runs."""
        argv = [*STREAMS, "hold", host, str(port)]
        with self.world.popen(lab.LAPTOP, argv, user="alice", env=ENV, stdin=subprocess.PIPE) as running:
            try:
                yield Held(running)
            finally:
                running.kill()


class Held:
    """One connection to a server that echoes."""

    def __init__(self, running: Entered) -> None:
        self._running = running

    def echo(self, word: str) -> str:
        """What comes back."""
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        self._running.stdin.write(f"{word}\n")
        self._running.stdin.flush()
        return self._running.stdout.readline().strip()


@contextmanager
def serving(world: World, pod: str, argv: Iterable[str], says: str = "") -> Iterator[Entered]:
    """A program in a pod while the block runs; it is ready once it has said a line with `says`."""
    with world.popen(pod, list(argv), env=ENV) as running:
        assert running.stdout is not None
        try:
            while says and says not in (line := running.stdout.readline()):
                assert line, f"{argv} in {pod} has ended"
            yield running
        finally:
            running.kill()


@contextmanager
def far_away(log: Path, spec: lab.WorldSpec | None = None) -> Iterator[Far]:
    """The far world with all that its pods run, while the block runs."""
    with World.start(spec or lab.far()) as world, ExitStack() as servers:
        # Debian's redis-server comes with a service that starts itself; the program is the one that redis-tools has.
        redis = 'exec -a redis-server redis-check-rdb --port 6379 --bind "*" --protected-mode no --save ""'
        servers.enter_context(serving(world, "redis-0", ["bash", "-c", redis], "Ready to accept"))
        h2 = ["nghttpd", "--no-tls", "--echo-upload", "--htdocs=/tmp", str(H2_PORT)]
        servers.enter_context(serving(world, "stream-0", h2))
        shy = ["python3", "-um", "http.server", "8080", "--bind", str(world.spec.pod("shy-0").address)]
        servers.enter_context(serving(world, "shy-0", shy, "Serving"))
        with Far(world, log) as far:
            far.start_streams()
            yield far
