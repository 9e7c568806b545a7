"""What a test does in the machine's world: how its link is set up, a trusted profile, questions seen, snapshots."""

import difflib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_network

from devlink.core.codec import encode
from devlink.core.names import DomainName
from devlink.core.trust import TrustRecord
from devlink.lab.snapshot import Snapshot, take_snapshot
from tests.system.inside import lan
from tests.system.machine import Machine

NETWORK_MANAGER = ("NetworkManager.service", "NetworkManager-dispatcher.service")
RESOLVED = ("systemd-resolved.service",)
PLAIN = f"search corp.example\nnameserver {lan.OFFICE_DNS}\n"
"""A resolv.conf for the office, as a person would write it."""
PROFILE = f"""\
apiVersion: devlink/v1alpha1
kind: BridgeProfile
metadata: {{name: qa, revision: "2026-11-20T09:00:00Z"}}
spec:
  pods: [{lan.PODS}]
  services: [{lan.SERVICES}]
  routing: gateway
  gateways: [{{address: {lan.NODE}, role: gateway, priority: 10}}]
  dns:
    domain: cluster.local
    servers: [{{address: {lan.CLUSTER_DNS}}}]
    reverse: true
provenance: {{spec: a test}}
"""
TRUST = TrustRecord(
    name="qa",
    prefixes=(ip_network(lan.PODS), ip_network(lan.SERVICES)),
    domains=(DomainName.parse("cluster.local"),),
    next_hops=(ip_network(lan.OFFICE),),
)
"""As configuration management lays it down."""
PROFILE_2 = f"""\
apiVersion: devlink/v1alpha1
kind: BridgeProfile
metadata: {{name: prod, revision: "2026-11-20T09:00:00Z"}}
spec:
  pods: [{lan.PODS_2}]
  services: [{lan.SERVICES_2}]
  routing: gateway
  gateways: [{{address: {lan.NODE_2}, role: gateway, priority: 10}}]
  dns:
    domain: {lan.DOMAIN_2}
    servers: [{{address: {lan.CLUSTER_DNS_2}}}]
    reverse: true
provenance: {{spec: a test}}
"""
"""Of the other cluster; nobody has it from the start."""
TRUST_2 = TrustRecord(
    name="prod",
    prefixes=(ip_network(lan.PODS_2), ip_network(lan.SERVICES_2)),
    domains=(DomainName.parse(lan.DOMAIN_2),),
    next_hops=(ip_network(lan.OFFICE),),
)
PROFILE_FILE = ".config/devlink/profiles/qa.yaml"
NETWORKD = "[Match]\nName=eth*\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n"
INTERFACES = "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n"
DHCPCD = """\
[Unit]
Wants=network-pre.target
After=network-pre.target
[Service]
ExecStart=/usr/sbin/dhcpcd --nobackground --noipv4ll --noarp --ipv4only --timeout 10 eth0
[Install]
WantedBy=multi-user.target
"""


class Link(StrEnum):
    """Who sets up eth0."""

    STATIC = "static"
    """Nobody: it has its address from the start."""
    NETWORKD = "networkd"
    NETWORK_MANAGER = "NetworkManager"
    DHCPCD = "dhcpcd"
    """Only in the image `openresolv`, which it tells of the servers."""
    DHCLIENT = "dhclient"
    """By ifupdown; only in the image `resolvconf`, which it tells of the servers."""


def machine(
    image: str,
    link: Link,
    *,
    resolv_conf: str | None = None,
    mask: Iterable[str] = (),
    wants: Iterable[str] = (),
    files: Mapping[str, str] | None = None,
    trusted: bool = True,
    settled: bool = True,
    installed: bool = True,
) -> Machine:
    """A machine in the office, with the profile `qa` for alice, which is trusted; eth0 has its address.

    With `settled`, ordinary names are answered, too, where somebody has been told of a server.

    With `resolv_conf` its text is a plain file, and nobody is there to write it but who sets up the link: resolved does
    not run.
    """
    masked, wanted = list(mask), list(wants)
    laid = {f"/home/alice/{PROFILE_FILE}": PROFILE, f"/root/{PROFILE_FILE}": PROFILE}
    if link is not Link.NETWORK_MANAGER:
        masked += NETWORK_MANAGER
    match link:
        case Link.STATIC:
            laid[f"{lan.SETTINGS}/static"] = ""
        case Link.NETWORKD:
            laid["/etc/systemd/network/50-lan.network"] = NETWORKD
            wanted.append("systemd-networkd.service")
        case Link.DHCPCD:
            laid["/usr/lib/systemd/system/lan-dhcpcd.service"] = DHCPCD
            wanted.append("lan-dhcpcd.service")
        case Link.DHCLIENT:
            laid["/etc/network/interfaces"] = INTERFACES
        case Link.NETWORK_MANAGER:
            pass
    if resolv_conf is not None:
        laid["/etc/resolv.conf"] = resolv_conf
        masked += RESOLVED
    if trusted:
        laid["/etc/devlink/trust.d/qa.json"] = json.dumps(encode(TRUST))
    made = Machine(image, mask=masked, wants=wanted, files={**laid, **(files or {})}, installed=installed)
    try:
        wait_for_link(made)
        if settled and (link is not Link.STATIC or resolv_conf is not None):
            wait_for_names(made)
    except BaseException:
        made.close()
        raise
    return made


def wait_for_link(machine: Machine, name: str = "eth0") -> None:
    """Return when it has an IPv4 address."""
    machine.run("sh", "-c", f"until ip -4 -o address show dev {name} scope global | grep -q .; do sleep .05; done")


def wait_for_names(machine: Machine, name: str = lan.WIKI, address: str = "") -> None:
    """Return when libc finds the name, with this address if one is given."""
    machine.run(
        "sh", "-c", f"until getent ahostsv4 {name} | grep -q '^{address.replace('.', '[.]')}'; do sleep .05; done"
    )


def add_user(machine: Machine, name: str, profiles: Mapping[str, str]) -> None:
    """A new member of the group who has never logged in, with these profiles by file name; nothing is trusted by it."""
    machine.run("useradd", "--create-home", "--shell", "/bin/bash", "--groups", "devlink", name)
    for file, text in profiles.items():
        machine.write(f"/home/{name}/.config/devlink/profiles/{file}", text)
    machine.run("chown", "-R", f"{name}:{name}", f"/home/{name}")


def until(look: Callable[[], object], expected: object = True, limit: float = 15.0) -> None:
    """Return when it says what is expected; AssertionError with what it said last after `limit` seconds."""
    deadline = time.monotonic() + limit
    while (seen := look()) != expected:
        assert time.monotonic() < deadline, f"{seen} instead of {expected}"
        time.sleep(0.05)


def address(machine: Machine, name: str) -> str:
    """What libc finds; empty if nothing."""
    return (machine.run("getent", "hosts", name, check=False).stdout.split() or [""])[0]


def devlink_without_login(machine: Machine, *arguments: str) -> None:
    """By alice who is there already: without a bus nobody logs in."""
    alice = ("setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "env", "HOME=/home/alice")
    machine.run(*alice, "XDG_RUNTIME_DIR=/run/user/1000", "/usr/bin/devlink", *arguments)


def make_etc_read_only(machine: Machine) -> None:
    """For the mode `direct`, which comes first where it can write."""
    machine.run("mount", "--bind", "/etc", "/etc")
    machine.run("mount", "-o", "remount,bind,ro", "/etc")


def plug(machine: Machine) -> None:
    """Plug eth1 into the other network, at home. What sets links up by itself does so with this one."""
    peer = ("peer", "name", "eth1", "netns", "lan")
    machine.run("ip", "link", "add", "eth1", "address", lan.ETH1, "type", "veth", *peer)
    machine.run("ip", "-netns", "lan", "link", "set", "eth1", "master", "home", "up")


def unplug(machine: Machine, name: str = "eth0") -> None:
    """Pull its cable: the link is there, without a carrier, and the kernel, which may take a second, has said so."""
    machine.run("ip", "-netns", "lan", "link", "set", name, "down")
    machine.run("sh", "-c", f"until ip -br link show {name} | grep -q DOWN; do sleep .01; done")


def plug_in(machine: Machine, name: str = "eth0") -> None:
    """Put the cable back that `unplug`, or a boot with `unplugged` in lan.SETTINGS, left out."""
    machine.run("ip", "-netns", "lan", "link", "set", name, "up")


READ_AGAIN = f"""
count() {{ grep -c 'read .*/options' {lan.DHCP_LOG} || true; }}
before=$(count); kill -HUP $(cat {lan.DHCP_PID})
until [ "$(count)" -gt "$before" ]; do sleep .01; done
"""
"""Has the DHCP server read its options; who asks for a lease before it has gets the old ones."""


def offer_dns(machine: Machine, *addresses: str, network: str = "office") -> None:
    """From the next lease on DHCP names these servers in the office, or at `home`."""
    machine.write(f"{lan.SETTINGS}/options", f"tag:{network},option:dns-server,{','.join(addresses)}\n")
    machine.run("sh", "-c", READ_AGAIN)


def questions(machine: Machine, server: str = lan.OFFICE_DNS) -> list[str]:
    """The names that this DNS server was asked for, with their types, since the first boot: `www.example.com. A`."""
    text = machine.read(f"{lan.LOGS}/{server}.log")
    return [line.split(" ", 2)[2] for line in text.splitlines()]


def leaks(machine: Machine, server: str = lan.OFFICE_DNS) -> list[str]:
    """Those of them that should never have left for an ordinary server."""
    return [each for each in questions(machine, server) if each.split()[0].lower().endswith(lan.ENDS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSnapshot:
    """What devlink may touch on a machine, with the view of those who manage its DNS servers."""

    host: Snapshot
    resolved: tuple[str, ...]
    """What resolvectl says of each link, where systemd-resolved runs."""
    managed: tuple[str, ...]
    """The files below /run in which each of the managers keeps the servers, with their lines."""

    def diff(self, other: "MachineSnapshot") -> list[str]:
        """As Snapshot.diff: empty when equal."""
        changed = self.host.diff(other.host)
        for part, mine, theirs in (
            ("resolved", self.resolved, other.resolved), ("managed", self.managed, other.managed),
        ):  # fmt: skip
            lines = difflib.unified_diff(mine, theirs, n=0, lineterm="")
            changed += [f"{part}: {line}" for line in lines if not line.startswith(("---", "+++", "@@"))]
        return changed


MANAGED = """
find /run/resolvconf /run/NetworkManager/conf.d /run/NetworkManager/*resolv.conf /run/systemd/resolve/*resolv.conf \
    /run/systemd/network /run/systemd/resolved.conf.d -type f -not -name lock 2>/dev/null | sort |
while read -r file; do sed "s|^|$file: |" "$file"; echo "$file"; done
"""


def snapshot(machine: Machine) -> MachineSnapshot:
    """Everything on the machine that devlink may touch, at this moment."""
    host = take_snapshot(lambda argv: machine.run(*argv).stdout, machine.init)
    host = replace(
        host,
        # A DHCP client's own, which it opens some time after the names work.
        listening=tuple(line for line in host.listening if ":68 " not in line),
        # NetworkManager's next resolv.conf, where the power goes before it is renamed.
        files=tuple(line for line in host.files if not re.match(r"/etc/resolv\.conf\.\w{6} ", line)),
    )
    resolved: tuple[str, ...] = ()
    if machine.run("systemctl", "is-active", "systemd-resolved.service", check=False).stdout.strip() == "active":
        said = machine.run("resolvectl", "--no-pager", "status").stdout
        # Which of several servers it likes best at the moment is its own affair.
        resolved = tuple(line.rstrip() for line in said.splitlines() if "Current DNS Server" not in line)
    managed = machine.run("sh", "-c", MANAGED).stdout
    return MachineSnapshot(host=host, resolved=resolved, managed=tuple(managed.splitlines()))


def brought_up(machine: Machine) -> Iterator[Machine]:
    """For a fixture: the profile is up; taken down after the test, all must be as it was."""
    before = snapshot(machine)
    machine.devlink("up", "qa")
    yield machine
    machine.devlink("down", "--all")
    assert before.diff(snapshot(machine)) == []
