"""The real forwarder under the bench, and the one who feeds it and keeps its sockets: what the helper does."""

import socket
import subprocess
import sys
import time
from pathlib import Path

from devlink.rpc import varlink
from devlink.rpc.framing import pack
from tests.benchmarks.servers import PATIENCE, READY, Place, Server, pinned

ZONE = "bench.cluster"
"""Its server is asked as a cluster's is; all other names are asked of the same server as of the laptop's own."""
# As the helper does it: the listening socket becomes fd 3, and only the child itself knows its pid.
_START = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0 0</dev/null'


class Forwarder(Server):
    """`python -m devlink.dns`, configured."""

    def __init__(self, place: Place, upstream: Place, folder: Path) -> None:
        """Starts it. Raises RuntimeError with its log if it does not take its configuration."""
        self.place = place
        self.log = folder / "devlink.log"
        self._path = str(folder / "control")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self._path)
        self._listener.listen()
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((place.address, place.port))
        self._tcp = socket.create_server((place.address, place.port))
        server = {"address": upstream.address, "port": upstream.port}
        self._config = {"zones": [{"suffix": ZONE, "servers": [server]}], "upstreams": [server]}
        try:
            self._start()
        except (OSError, RuntimeError) as error:
            self.stop()
            raise RuntimeError(f"{error}: {self.log.read_text('utf-8', 'replace')}") from error

    def _start(self) -> None:
        argv = ["/bin/sh", "-c", _START, "sh", *pinned([sys.executable, "-P", "-m", "devlink.dns"])]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, stdin=self._listener.fileno(), stdout=log, stderr=log)
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._control.settimeout(PATIENCE)
        self._control.connect(self._path)
        sockets = [{"kind": "udp"}, {"kind": "tcp"}]
        call = varlink.call("io.devlink.Forwarder.Configure", {"config": self._config, "sockets": sockets})
        socket.send_fds(self._control, [pack(call)], [self._udp.fileno(), self._tcp.fileno()])
        reply = self._control.recv(65536)
        if not reply or b'"error"' in reply:
            raise RuntimeError(f"the forwarder did not take its configuration: {reply!r}")

    def recovery_ms(self) -> float:
        """From SIGKILL until the next process answers a question that was sent when the first was dead."""
        with self.place.client(PATIENCE) as client:
            began = time.monotonic()
            super().stop()
            self._control.close()
            client.send(READY)
            self._start()
            client.recv(4096)
            return (time.monotonic() - began) * 1000

    def stop(self) -> None:
        super().stop()
        for sock in (self._control, self._listener, self._udp, self._tcp):
            sock.close()
