"""The name servers that the forwarder is measured beside: on loopback, each on one CPU, ended with the bench."""

import contextlib
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from devlink.lab import kit
from tests.kit import peers

PATIENCE = 10.0
"""Seconds until a server must answer."""
ALLOWED_CPUS = sorted(os.sched_getaffinity(0))
SERVER_CPU, LOAD_CPU = ALLOWED_CPUS[0], ALLOWED_CPUS[-1]
"""For the servers, and for what asks them and what they ask. The same one where no other is allowed."""
READY = b"\x53\x53\x01\0\0\x01\0\0\0\0\0\0\x05ready\x05bench\x07example\0\0\x01\0\x01"
"""A question: ready.bench.example, A."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a server listens, UDP and TCP."""

    address: str
    port: int

    @classmethod
    def free(cls, last: int) -> Self:
        """A free port of 127.0.53.`last`. Each server has an address of its own: a forwarder never asks itself."""
        address = f"127.0.53.{last}"
        with socket.create_server((address, 0)) as tcp:
            return cls(address=address, port=tcp.getsockname()[1])

    def client(self, patience: float) -> socket.socket:
        """A connected UDP socket."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(patience)
        sock.connect((self.address, self.port))
        return sock

    def answers(self) -> bool:
        """Whether READY is answered with a record."""
        with self.client(0.2) as client:
            try:
                client.send(READY)
                reply = client.recv(4096)
            except OSError:
                return False
        return reply[:2] == READY[:2] and not reply[3] & 15 and reply[6:8] != b"\0\0"


def pinned(argv: Sequence[str], cpu: int = SERVER_CPU) -> list[str]:
    """A command that runs on one CPU and ends with the thread that started it, even by SIGKILL."""
    return ["taskset", "--cpu-list", str(cpu), "setpriv", "--pdeathsig", "KILL", *argv]


class Server:
    """A running server."""

    def __init__(self, place: Place, argv: Sequence[str], log: Path) -> None:
        """Starts it. `argv` ends up as this very process, no child of it."""
        self.place = place
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=peers.environment()
            )

    def await_answer(self) -> None:
        """Raises RuntimeError with the last line of its log."""
        end = time.monotonic() + PATIENCE
        while not self.place.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                lines = self.log.read_text("utf-8", "replace").split("\n")
                raise RuntimeError(next((line for line in reversed(lines) if line.strip()), "it does not answer"))
            time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def cpu_seconds(self) -> tuple[float, float]:
        """What its threads have run, and what it had to wait for its CPU, as the scheduler counted it (schedstat).

        Threads wait for each other, so with several of them the waiting tells nothing, and is 0.
        """
        ran = waited = threads = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                times = task.joinpath("schedstat").read_text().split()
                ran += int(times[0])
                waited += int(times[1])
                threads += 1
        return ran / 1e9, waited / 1e9 if threads == 1 else 0.0

    def wakeups(self) -> int:
        """How often its threads went to sleep, and so were woken."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int(_field(task / "status", "voluntary_ctxt_switches")) for task in tasks)

    def resident_mb(self) -> float:
        """VmRSS, in MB of 1024 KB."""
        return int(_field(Path(f"/proc/{self.process.pid}/status"), "VmRSS")) / 1024


def _field(status: Path, name: str) -> str:
    return next(line.split()[1] for line in status.read_text().splitlines() if line.startswith(f"{name}:"))


def answerer(place: Place, folder: Path, cpu: int) -> Server:
    """The C program that answers everything: the limit on SERVER_CPU, the upstream on LOAD_CPU."""
    argv = [str(folder / "answer"), place.address, str(place.port)]
    return Server(place, pinned(argv, cpu), folder / f"answer{cpu}.log")


def dnsmasq(place: Place, upstream: Place, folder: Path, cache: int | None = None) -> Server:
    """dnsmasq with a cache of so many names, or its default; it asks from random ports."""
    argv = [
        peers.program("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-hosts",
        "--no-resolv", f"--server={upstream.address}#{upstream.port}", f"--listen-address={place.address}",
        f"--port={place.port}", "--bind-interfaces", "--user=", "--group=", "--log-facility=-",
        *([] if cache is None else [f"--cache-size={cache}"]),
    ]  # fmt: skip
    return Server(place, pinned(argv), folder / "dnsmasq.log")


def unbound(place: Place, upstream: Place, folder: Path) -> Server:
    """unbound with one thread, without DNSSEC validation, with room for all names and connections of the bench."""
    configuration = folder / "unbound.conf"
    configuration.write_text(f"""
server:
  num-threads: 1
  module-config: "iterator"
  interface: {place.address}@{place.port}
  do-not-query-localhost: no
  qname-minimisation: no
  msg-cache-size: 32m
  rrset-cache-size: 64m
  incoming-num-tcp: 100
  use-syslog: no
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: {upstream.address}@{upstream.port}
""")
    return Server(place, pinned([peers.program("unbound"), "-c", str(configuration)]), folder / "unbound.log")


def resolved(place: Place, upstream: Place, folder: Path) -> Server:
    """systemd-resolved as whoever runs this: /run, its configuration and its user are seen by it alone."""
    configuration = folder / "resolved.conf"
    configuration.write_text(f"""
[Resolve]
DNS={upstream.address}:{upstream.port}
FallbackDNS=
LLMNR=no
MulticastDNS=no
DNSSEC=no
DNSOverTLS=no
DNSStubListener=no
DNSStubListenerExtra={place.address}:{place.port}
""")
    (folder / "passwd").write_text("systemd-resolve:x:0:0::/:/bin/false\n")
    script = f"""
mount --bind {shlex.quote(str(folder / "passwd"))} /etc/passwd
mount -t tmpfs tmpfs /etc/systemd
cp {shlex.quote(str(configuration))} /etc/systemd/resolved.conf
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/systemd
exec {shlex.join(pinned([peers.program("systemd-resolved")]))}
"""
    return Server(
        place, ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", script], folder / "resolved.log"
    )


def coredns(place: Place, upstream: Place, folder: Path) -> Server:
    """CoreDNS with the plugins `cache` and `forward`."""
    corefile = folder / "Corefile"
    corefile.write_text(f"""
.:{place.port} {{
  bind {place.address}
  cache
  forward . {upstream.address}:{upstream.port}
}}
""")
    return Server(place, pinned([str(kit.folder() / "coredns"), "-conf", str(corefile)]), folder / "coredns.log")


def started(make: Callable[[], Server], why_not: str | None) -> Server | str:
    """The server once it answers, or one line why there is none."""
    if why_not is not None:
        return why_not
    try:
        server = make()
    except OSError as error:
        return str(error)
    try:
        server.await_answer()
    except RuntimeError as error:
        server.stop()
        return str(error)
    return server
