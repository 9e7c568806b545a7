"""The main job, shown step by step in a private world, each step checked: `devlink demo`."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from devlink.errors import VerificationError
from devlink.lab import kit
from devlink.lab.rootfs import HOME
from devlink.lab.snapshot import RESOLVER, Snapshot
from devlink.lab.spec import LAPTOP, UPSTREAM, WorldSpec
from devlink.lab.world import Entered, World
from devlink.lab.worlds import ORDINARY_NAME, network_a

HELPER_SOCKET = "/run/devlink/helper"
HELPER_LOG = "/run/lab/helper.log"
HELPER_PATIENCE = 10.0
"""Seconds that the helper has to open its socket, and to end."""
NOT_UP = 3
"""What `devlink status` ends with where nothing is up."""
SAY = ("curl", "-sS", "--max-time", "2")
Check = Callable[[int, str], bool]
"""Whether a program's exit status and output are what the step promises."""


class Teller(Protocol):
    """Who tells the story to the person at the terminal."""

    def heading(self, text: str) -> None: ...
    def note(self, text: str) -> None: ...
    def command(self, line: str) -> None: ...
    def output(self, text: str) -> None: ...
    def proven(self, text: str) -> None: ...


def picture(spec: WorldSpec) -> str:
    """The world at a glance."""
    cluster = spec.cluster
    node2 = next(node.host for node in cluster.nodes if node.host != spec.gateway.name)
    pods = {node.host: [p for p in cluster.pod_objects if p.node == node.host] for node in cluster.nodes}

    def shown(host: str) -> str:
        return ", ".join(f"{pod.name} {pod.address}" for pod in pods[host])

    dns = "CoreDNS" if kit.coredns() else "a stand-in for CoreDNS (make kit builds the real one)"
    real = [f"cp        {spec.control_plane.address}, the control plane"] if cluster.is_real else []
    return "\n".join(
        (
            f"{LAPTOP}    {spec.laptop.address}",
            f"router    {spec.router.address}, and behind it the ordinary DNS server {spec.upstream.address}",
            *real,
            f"node1     {spec.gateway.address}, the gateway, with pods {shown(spec.gateway.name)}",
            f"node2     {spec.host(node2).address}, with pods {shown(node2)}",
            f"cluster   pods {cluster.pods[0]}, services {cluster.services[0]}, DNS by {dns}",
        )
    )


class Demo:
    """One run of the story. Raises VerificationError at the first step that is not true."""

    def __init__(self, world: World, tell: Teller) -> None:
        self.world = world
        self.tell = tell
        self.name = world.spec.name
        """The profile's, too."""
        self._profile = f"{self.name}.yaml"

    def step(
        self, argv: tuple[str, ...], check: Check, promise: str, *, env: Mapping[str, str] | None = None
    ) -> str:  # fmt: skip
        """Run one command on the laptop as a person would, show it, and see whether it kept its promise."""
        line = " ".join((*(f"{key}={value}" for key, value in (env or {}).items()), *argv))
        self.tell.command(line)
        with self.world.popen(LAPTOP, argv, env=env) as running:
            try:
                output, _ = running.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                running.kill()
                raise VerificationError(f"`{line}` did not end within a minute.", next_step=self._log()) from None
        self.tell.output(output.rstrip())
        if not check(running.returncode, output.strip()):
            raise VerificationError(
                f"Not true: {promise}.",
                why=f"`{line}` ended with {running.returncode} and said: {output.strip() or 'nothing'}",
                next_step=self._log(),
            )
        self.tell.proven(promise)
        return output

    def _log(self) -> str:
        return f"The helper's log says:\n{self.world.run(LAPTOP, ['tail', '-n', '20', HELPER_LOG]).stdout}"

    def before(self) -> None:
        """The laptop as it came."""
        spec = self.world.spec
        self.tell.heading("Before: the laptop knows nothing of the cluster")
        pod = spec.pod("web-0").address
        self.step((*SAY, f"http://{pod}:8080/"), lambda code, _: code in (7, 28), "a pod is out of reach")
        name = spec.service_name("web")
        self.step(("getent", "hosts", name), lambda code, _: code == 2, "the cluster's names do not resolve")

    @contextmanager
    def helper(self) -> Iterator[Entered]:
        """The helper, started as its service unit would start it, and ended as systemd would end it."""
        self.tell.heading("Once for each machine: the helper, and trust in this profile")
        self.tell.command("devlink helper run &      (on a real laptop: a system service)")
        self.world.run(LAPTOP, ["mkdir", "-p", os.path.dirname(HELPER_LOG)], check=True)
        run = ["sh", "-c", f"exec devlink helper run >{HELPER_LOG} 2>&1"]
        with self.world.popen(LAPTOP, run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            try:
                self._await_helper(running)
                yield running
            finally:
                running.send_signal(signal.SIGTERM)
                try:
                    running.wait(HELPER_PATIENCE)
                except subprocess.TimeoutExpired:
                    running.kill()

    def _await_helper(self, running: Entered) -> None:
        deadline = time.monotonic() + HELPER_PATIENCE
        while self.world.run(LAPTOP, ["test", "-S", HELPER_SOCKET]).returncode:
            if running.poll() is not None or time.monotonic() > deadline:
                raise VerificationError("The helper does not start.", next_step=self._log())
            time.sleep(0.02)

    def trust(self) -> None:
        """The machine's owner trusts the profile."""
        self.world.write_file(LAPTOP, f"/root/{self._profile}", self.world.profile())
        self.step(("devlink", "trust", self._profile, "--yes"), succeeds, "the profile is trusted on this machine")

    def up(self) -> None:
        """`devlink up`."""
        self.tell.heading("The main job")
        self.step(("devlink", "up", self._profile), succeeds, "up, and verified")

    def make_default(self) -> None:
        """Put the profile where `devlink profile list` finds it: a bare `devlink up` then means it."""
        folder = f"{HOME}/.config/devlink/profiles"
        self.world.run(LAPTOP, ["mkdir", "-p", folder], check=True)
        self.world.write_file(LAPTOP, f"{folder}/{self._profile}", self.world.profile())

    def use(self) -> None:
        """Unmodified programs reach what they could not reach before."""
        spec = self.world.spec
        self.tell.heading("Any program, unmodified")
        for pod in (spec.pod("web-0"), spec.pod("api-0")):
            promise = f"a pod on {pod.node} answers at its own address"
            self.step((*SAY, f"http://{pod.address}:8080/"), says(pod.name), promise)
        api = spec.service("api", "qa")
        self.step((*SAY, f"http://{api.address}/"), says(api.endpoints[0]), "a ClusterIP answers")
        web, name = spec.service("web"), spec.service_name("web")
        self.step(("getent", "hosts", name), shows(str(web.address)), "libc knows the service by its name")
        self.step((*SAY, f"http://{name}"), says(web.endpoints[0]), "and so does curl")
        srv = f"_{web.ports[0].name}._tcp.{name}"
        self.step(("dig", "+short", "SRV", srv), shows(f"{web.ports[0].port} {name}."), "SRV records arrive whole")
        self.step(("dig", "+short", "-x", str(web.address)), says(f"{name}."), "addresses have their names")

    def ordinary(self) -> None:
        """The rest of the world goes its ordinary way."""
        promise = "an ordinary name still resolves, at the ordinary upstream"
        self.step((*SAY, f"http://{ORDINARY_NAME}"), says(UPSTREAM), promise)

    def status(self) -> None:
        """`devlink status`."""
        self.tell.heading("What is going on")
        self.step(("devlink", "status"), succeeds, "up")

    def outage(self) -> None:
        """What may fail meanwhile: here nothing does."""

    def down(self) -> None:
        """`devlink down`."""
        self.tell.heading("And back")
        self.step(("devlink", "down"), succeeds, "down")

    def down_if_up(self) -> None:
        """`devlink down`, if the person has not done it."""
        if self.world.run(LAPTOP, ["devlink", "status"]).returncode == NOT_UP:
            self.tell.proven("down already")
        else:
            self.step(("devlink", "down"), succeeds, "down")

    def same(self, before: Snapshot) -> None:
        """The laptop is exactly as `before`. The agent that `up` started may run on: it holds nothing."""
        after = self.world.snapshot()
        changes = before.diff(after)
        if before != after:
            raise VerificationError(
                "The laptop is not as it was before.", why="\n".join(changes), next_step=self._log()
            )
        self.tell.proven(
            f"exactly as before: {len(after.routes)} routes, {len(after.rules)} rules, {len(after.links)} links, "
            f"{len(after.listening)} listening sockets, "
            f"{len(after.files)} files, and {RESOLVER} with its content, mode and owner"
        )

    def no_leak(self, at_upstream: set[str], at_cluster: set[str]) -> None:
        """What the wire showed at both DNS servers."""
        domain = str(self.world.spec.cluster.domain)
        leaked = sorted(name for name in at_upstream if domain in name)
        strayed = sorted(name for name in at_cluster if not name.endswith((domain, ".arpa")))
        if leaked or strayed or ORDINARY_NAME not in at_upstream or not at_cluster:
            raise VerificationError(
                "The names did not go where they belong.",
                why=f"At the ordinary upstream: {sorted(at_upstream)}; at the cluster: {sorted(at_cluster)}.",
            )
        self.tell.proven(
            f"on the wire: the ordinary upstream saw no cluster name, the cluster saw its {len(at_cluster)} names only"
        )


def succeeds(code: int, _: str) -> bool:
    """It ended well, whatever it said."""
    return code == 0


def says(text: str) -> Check:
    """It ended well and said just this."""
    return lambda code, output: code == 0 and output == text


def shows(text: str) -> Check:
    """It ended well, and this is in what it said."""
    return lambda code, output: code == 0 and text in output


@contextmanager
def a_world(tell: Teller, spec: WorldSpec) -> Iterator[World]:
    """A running world that was shown."""
    began = time.monotonic()
    with World.start(spec) as world:
        tell.heading(f"A private world, made of namespaces ({time.monotonic() - began:.1f} s)")
        tell.note(picture(spec))
        yield world


@contextmanager
def prepared(tell: Teller) -> Iterator[Demo]:
    """A world with the helper running and the profile trusted."""
    with a_world(tell, network_a()) as world:
        demo = Demo(world, tell)
        demo.before()
        with demo.helper():
            demo.trust()
            yield demo


def run(begun: AbstractContextManager[Demo]) -> None:
    """The whole story. Raises VerificationError where a step was not true, HelperError where no world can be built."""
    with begun as demo:
        world = demo.world
        before = world.snapshot()
        with world.capture(UPSTREAM) as at_upstream, world.capture(world.spec.dns_pod.name) as at_cluster:
            demo.up()
            demo.use()
            demo.ordinary()
            demo.status()
            demo.outage()
            demo.down()
        demo.same(before)
        demo.ordinary()
        demo.no_leak(at_upstream.names, at_cluster.names)


def shell(tell: Teller, begun: AbstractContextManager[Demo]) -> None:
    """What was `begun`, up to `devlink up`, then a shell on the laptop; when it ends, `down` and what is different.

    What the person did meanwhile is theirs: they may have taken it down, or changed the laptop.
    """
    with begun as demo:
        demo.make_default()
        before = demo.world.snapshot()
        demo.up()
        name = demo.world.spec.service_name("web")
        tell.heading("A shell on the laptop; exit or Ctrl-D ends the world")
        tell.note(f"Try: curl http://{name}\n     devlink status   devlink down   devlink up   ip route")
        _interactive(demo.world)
        tell.heading("And back")
        demo.down_if_up()
        changes = before.diff(demo.world.snapshot())
        if changes:
            tell.note("\n".join(("different from before:", *changes)))
        else:
            demo.same(before)


def _interactive(world: World) -> None:
    """A shell at this terminal; its exit status does not matter."""
    start = "command -v bash >/dev/null && exec bash --norc -i; exec sh -i"
    argv = world.enter_argv(LAPTOP, ["sh", "-c", start], env={"PS1": r"root@laptop:\w# "})
    # Ctrl-C is for what runs in the shell. Afterwards the terminal is to be ours again, without being stopped for it.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        subprocess.run(argv, check=False, preexec_fn=_default_signals)
        if os.isatty(0):
            os.tcsetpgrp(0, os.getpgrp())
    finally:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTTOU, output)


def _default_signals() -> None:
    """Ignored signals would stay ignored in the shell and all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
