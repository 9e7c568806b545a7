"""Whatever names an address of ours, in whatever mode: the forwarder never asks itself."""

import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from devlink.resolvers.managers.recorded import RecordedMode
from devlink.resolvers.mode import ResolverMode
from devlink.resolvers.modes import all_modes
from devlink.resolvers.modes.debian_resolvconf import DebianResolvconf
from devlink.resolvers.modes.openresolv import Openresolv
from devlink.resolvers.resolv_conf import MORE, OWN
from tests.resolvers.modes import test_networkmanager, test_recorded, test_resolved
from tests.resolvers.modes.test_direct import OURS, TELLING, direct, upstreams

THEIRS = ipaddress.ip_address("192.0.2.1")
NAMED = (OURS, *MORE, *sorted(OWN, key=str), THEIRS)
TEXT = "".join(f"nameserver {server}\n" for server in NAMED)


def a_direct(folder: Path) -> ResolverMode:
    folder.chmod(0o755)
    (folder / "resolv.conf").write_text(TEXT)
    return direct(folder)


def a_recorded(kind: type[RecordedMode]) -> Callable[[Path], ResolverMode]:
    def make(folder: Path) -> ResolverMode:
        laptop = test_recorded.Laptop(folder / "root", kind)
        # A server on loopback is to hide the others: both programs have it so.
        laptop.hear("".join(line for line in TEXT.splitlines(keepends=True) if " 127." not in line))
        return laptop.mode

    return make


def a_managed(make: Callable[[test_networkmanager.Machine], ResolverMode]) -> Callable[[Path], ResolverMode]:
    def on(folder: Path) -> ResolverMode:
        machine = test_networkmanager.Machine(folder)
        machine.entries = [{**test_networkmanager.UPLINK, "nameservers": [str(server) for server in NAMED]}]
        return make(machine)

    return on


def a_resolved(folder: Path) -> ResolverMode:
    machine = test_resolved.Machine()
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    machine.properties["DNS"] = [(2, families[server.version], server.packed) for server in NAMED]
    uplinks = folder / "uplinks"
    uplinks.write_text(TEXT)
    return machine.mode(uplinks=uplinks)


MAKE: dict[str, Callable[[Path], ResolverMode]] = {
    "direct": a_direct,
    "openresolv": a_recorded(Openresolv),
    "debian-resolvconf": a_recorded(DebianResolvconf),
    "NetworkManager": a_managed(test_networkmanager.Machine.alone),
    "NetworkManager-dnsmasq": a_managed(test_networkmanager.Machine.dnsmasq),
    "systemd-resolved": a_resolved,
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(kind.name, marks=pytest.mark.slow if issubclass(kind, RecordedMode) else ()) for kind in all_modes()],
)
def test_no_address_of_ours_is_ever_an_upstream(tmp_path: Path, name: str) -> None:
    mode = MAKE[name](tmp_path)
    assert upstreams(mode) == [str(THEIRS)]
    assert mode.read_ways() == (THEIRS,)
    mode.apply(TELLING)
    assert upstreams(mode) == [str(THEIRS)]
    assert mode.read_ways() == (THEIRS,)
