"""The real forwarder as a child process, and a server for it to ask, on loopback."""

import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

from devlink.core.codec import encode
from devlink.core.plan import ForwarderConfig, Upstream
from devlink.core.profile import Transport
from devlink.rpc import varlink
from devlink.rpc.framing import FrameReader, pack
from tests.dns.messages import Unframer, answer, frame, upstream

PATIENCE = 10.0
"""Seconds after which a test fails that waits for something."""
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "devlink.dns"])
"""

Respond = Callable[[bytes], Iterable[bytes]]


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def at_one_port(host: str, family: socket.AddressFamily = socket.AF_INET) -> tuple[socket.socket, socket.socket]:
    """A UDP socket and a listener at a port of this host that nobody has: what is free for one may not be for both."""
    while True:
        tcp = socket.create_server((host, 0), family=family)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            udp.close()
            tcp.close()
        else:
            return udp, tcp


class FakeServer:
    """A DNS server on one ephemeral port of loopback, UDP and TCP; `respond` gives the packets for a question."""

    def __init__(self, address: str = "10.20.0.1", *, respond: Respond | None = None, udp: bool = True) -> None:
        self.respond: Respond = respond or (lambda asked: [answer(asked, address)])
        self.asked: list[tuple[str, bytes, int]] = []
        """Transport, packet, and the source port of each question."""
        self.connections = 0
        self._answers_udp = udp
        self._stopping = False
        self._udp, self._tcp = at_one_port("127.0.0.1")
        self.port: int = self._tcp.getsockname()[1]
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._serve_udp, self._serve_tcp)]

    def upstream(self, transport: Transport = Transport.AUTO) -> Upstream:
        return upstream("127.0.0.1", port=self.port, transport=transport)

    def __enter__(self) -> Self:
        for sock in (self._udp, self._tcp):
            sock.settimeout(0.05)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while not self._stopping:
            try:
                packet, source = self._udp.recvfrom(65535)
            except TimeoutError:
                continue
            self.asked.append(("udp", packet, source[1]))
            if self._answers_udp:
                for reply in self.respond(packet):
                    self._udp.sendto(reply, source)

    def _received(self, connection: socket.socket) -> bytes:
        """The next octets; none at the end of the connection or of the server."""
        while not self._stopping:
            if select.select([connection], [], [], 0.05)[0]:
                return connection.recv(65535)
        return b""

    def _serve_tcp(self) -> None:
        while not self._stopping:
            try:
                connection, source = self._tcp.accept()
            except TimeoutError:
                continue
            self.connections += 1
            with connection:
                connection.settimeout(PATIENCE)
                reader = Unframer()
                while data := self._received(connection):
                    for packet in reader.feed(data):
                        self.asked.append(("tcp", packet, source[1]))
                        for reply in self.respond(packet):
                            connection.sendall(frame(reply))


class Forwarder:
    """A forwarder process and the one who feeds it: the tests' stand-in for the helper."""

    def __init__(self, *, host: str = "127.0.0.1") -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name) / "forwarder"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.udp, self.tcp = at_one_port(host, family)
        self.host, self.port = self.tcp.getsockname()[:2]
        self.process: subprocess.Popen[str] | None = None
        self.control: socket.socket | None = None

    def start(self) -> Self:
        """Start a process, or another one after the first has ended."""
        command = [sys.executable, "-c", _START, str(self._listener.fileno())]
        self.process = subprocess.Popen(
            command, pass_fds=[self._listener.fileno()], stderr=subprocess.PIPE, text=True, cwd=os.sep
        )
        return self

    def connect(self) -> None:
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.settimeout(PATIENCE)
        self.control.connect(str(self.path))

    def call(
        self, method: str, parameters: dict[str, Any] | None = None, fds: list[int] | None = None
    ) -> dict[str, Any]:
        """One call, one reply. Raises the DevlinkError of the reply."""
        assert self.control is not None
        message = pack(varlink.call(method, parameters))
        if fds:
            socket.send_fds(self.control, [message], fds)
        else:
            self.control.sendall(message)
        return varlink.parse_reply(self.read_message())[0]

    def read_message(self) -> dict[str, Any]:
        assert self.control is not None
        reader = FrameReader()
        while True:
            data = self.control.recv(65536)
            assert data, "the forwarder closed the connection"
            if messages := reader.feed(data):
                return messages[0]

    def configure(self, config: ForwarderConfig, *, sockets: bool = False) -> None:
        parameters: dict[str, Any] = {"config": encode(config)}
        fds: list[int] = []
        if sockets:
            parameters["sockets"] = [{"kind": "udp"}, {"kind": "tcp"}]
            fds = [self.udp.fileno(), self.tcp.fileno()]
        self.call("io.devlink.Forwarder.Configure", parameters, fds)

    def stats(self) -> dict[str, Any]:
        return self.call("io.devlink.Forwarder.GetStats")

    def hang_up(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None

    def wait(self) -> tuple[int, str]:
        """The exit status of the process and what it logged."""
        assert self.process is not None
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors

    def close(self) -> None:
        self.hang_up()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        elif self.process is not None and self.process.stderr is not None:
            self.process.stderr.close()
        for sock in (self.udp, self.tcp, self._listener):
            sock.close()
        self._folder.cleanup()

    def udp_client(self, *, source: str | None = None) -> socket.socket:
        sock = socket.socket(self.udp.family, socket.SOCK_DGRAM)
        if source is not None:
            sock.bind((source, 0))
        sock.settimeout(PATIENCE)
        sock.connect((self.host, self.port))
        return sock

    def tcp_client(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=PATIENCE)

    def exchange(self, packet: bytes) -> bytes:
        """One question over UDP."""
        with self.udp_client() as sock:
            sock.send(packet)
            return sock.recv(65535)


def read_stream(sock: socket.socket, count: int) -> list[bytes]:
    """So many messages from a TCP connection."""
    reader = Unframer()
    messages: list[bytes] = []
    while len(messages) < count:
        data = sock.recv(65535)
        assert data, f"the connection ended after {len(messages)} messages"
        messages += reader.feed(data)
    return messages
