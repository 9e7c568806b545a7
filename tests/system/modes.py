"""Drives one resolver mode inside a machine, by the real `devlink files` and without helper or forwarder."""

import json
from typing import Any

from tests.system.machine import Machine

OURS = "127.0.0.231"
DRIVER = """
import importlib, ipaddress, json, socket, sys
from devlink.resolvers.files.client import FilesClient
from devlink.resolvers.mode import Telling, Tools

def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("/run/devlink/files")
    return connection

name, verbs = sys.argv[1], sys.argv[2:]
module = importlib.import_module("devlink.resolvers.modes." + name)
mode = module.MODE(Tools(nameserver=ipaddress.ip_address("127.0.0.231"), files=FilesClient(connect)))
if verbs == ["apply"]:
    mode.apply(Telling(domains=(), families=frozenset([4])))
elif verbs == ["restore"]:
    mode.restore()
print(json.dumps({
    "is_ours": mode.is_ours(),
    "has_remains": mode.has_remains(),
    "upstreams": [str(upstream.address) for upstream in mode.read_upstreams()],
}))
"""


def driver(mode: str, *verbs: str) -> tuple[str, ...]:
    """The command inside the machine: `mode` is the module's name; a verb is `apply` or `restore`, none only looks."""
    return ("env", "PYTHONPATH=/usr/share/devlink", "python3", "-P", "-c", DRIVER, mode, *verbs)


def drive(machine: Machine, mode: str, *verbs: str) -> dict[str, Any]:
    """Do it, and tell what the mode says then."""
    said: dict[str, Any] = json.loads(machine.run(*driver(mode, *verbs)).stdout)
    return said


def nameservers(machine: Machine) -> list[str]:
    """Those of /etc/resolv.conf."""
    lines = machine.read("/etc/resolv.conf").splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver ")]
