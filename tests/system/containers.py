"""What a container is given of the machine's DNS servers when it starts, and keeps for good: Docker's rules.

moby, daemon/libnetwork/internal/resolvconf: on the default bridge a copy of /etc/resolv.conf without its loopback
addresses; where it names 127.0.0.53 alone, of /run/systemd/resolve/resolv.conf; Google's servers if none is left.
Podman does the same. In networks of one's own the engine asks them itself, those on loopback too.
"""

import ipaddress

from devlink.resolvers.resolv_conf import parse
from tests.system.machine import Machine

STUB = ipaddress.ip_address("127.0.0.53")
UPLINKS = "/run/systemd/resolve/resolv.conf"


def copied_nameservers(machine: Machine) -> list[str]:
    """Of the file that a container on the default bridge gets now; none where Docker would fall back to 8.8.8.8."""
    named = parse(machine.read("/etc/resolv.conf")).nameservers
    if named == (STUB,):
        named = parse(machine.read(UPLINKS)).nameservers
    return [str(server) for server in named if not server.is_loopback]
