"""One resolver mode in force on a machine, held by a process as the helper would: uid devlink, two capabilities."""

import json
import signal
from typing import Any

from tests.system.inside import lan
from tests.system.machine import Machine

UNIT = "mode-holder.service"
START = (
    "systemd-run", "--quiet", "--collect", f"--unit={UNIT}", "--uid=devlink", "--property=RuntimeDirectory=mode-holder",
    "--property=AmbientCapabilities=CAP_NET_ADMIN CAP_NET_BIND_SERVICE",
    "--property=CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE", "--property=NoNewPrivileges=yes",
    "--property=DevicePolicy=closed", "--property=DeviceAllow=/dev/net/tun rw", "--property=ProtectSystem=strict",
    "--setenv=PYTHONPATH=/usr/share/devlink", "python3", "/usr/lib/devlink-lab/holder.py",
)  # fmt: skip
ASK = """\
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect("/run/mode-holder/socket"); s.sendall(sys.argv[1].encode() + b"\\n")
while data := s.recv(65536): print(data.decode(), end="")
"""


class Held:
    """What the tests ask of the process."""

    def __init__(self, machine: Machine, mode: str, *options: str) -> None:
        self.machine = machine
        self._arguments = (mode, *options)
        self.start()

    def start(self) -> None:
        self.machine.run(*START, *self._arguments)
        self.machine.run("sh", "-c", "until [ -S /run/mode-holder/socket ]; do sleep .02; done")

    def kill(self) -> None:
        """As SIGKILL of the helper; its link is gone when this returns."""
        self.machine.kill(UNIT, signal.SIGKILL)
        self.machine.run("sh", "-c", f"while systemctl is-active -q {UNIT}; do sleep .02; done")

    def ask(self, verb: str, **given: Any) -> Any:
        """The answer; AssertionError with the words of a DevlinkError."""
        said = json.loads(self.machine.run("python3", "-ISc", ASK, json.dumps({"verb": verb, **given})).stdout)
        assert "error" not in said, said["error"]
        return said["said"]

    def up(self, **given: Any) -> Any:
        """prepare, listen, apply; the places."""
        return self.ask("up", **given)

    def questions(self) -> list[str]:
        """What reached the forwarder's places: `udp web.default.svc.cluster.local. A`."""
        return self.machine.read("/run/mode-holder/log").splitlines()

    def ordinary(self) -> list[str]:
        """Those of them that are no cluster's."""
        return [each for each in self.questions() if not each.split()[1].lower().endswith(lan.ENDS)]
