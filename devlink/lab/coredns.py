"""CoreDNS in a pod of a world: its names from zone files, or from the API as in a real cluster."""

import os
import socket
from collections.abc import Iterable
from pathlib import Path

import dnslib

from devlink.core.prefixes import IPAddress
from devlink.lab import control_plane, objects
from devlink.lab.daemons import LOGS, Daemon, execute
from devlink.lab.order import Order
from devlink.lab.zones import ZoneData

PATIENCE = 10.0
"""Seconds until CoreDNS must answer; it takes a tenth of one, from the API a whole one."""


def start_with_zones(program: str, zones: tuple[ZoneData, ...], addresses: tuple[IPAddress, ...]) -> None:
    """Each zone from a file. Raises TimeoutError if it does not answer in time."""
    folder = f"{LOGS}/zones"
    os.makedirs(folder, exist_ok=True)
    for zone in zones:
        Path(folder, str(zone.origin)).write_text(str(zone))
    Path(LOGS, "Corefile").write_text(corefile(zones, addresses, folder))
    running = execute("dns", program, "-conf", f"{LOGS}/Corefile")
    _await(running, addresses, str(zones[0].origin), "SOA", PATIENCE)


def start_with_api(order: Order, addresses: tuple[IPAddress, ...]) -> None:
    """The plugin `kubernetes`, as kubeadm sets it up. Raises TimeoutError if it does not answer in time."""
    # Started sooner it would begin to serve without names, five seconds later.
    control_plane.await_cluster(order)
    source = f"kubeconfig {control_plane.write_kubeconfig(order, 'coredns')}"
    # By the loopback a port-forward comes in.
    control_plane.write({"Corefile": objects.corefile(order.spec, source, f"127.0.0.1 {_joined(addresses)}")})
    running = execute("dns", f"{order.kit}/coredns", "-conf", f"{control_plane.FOLDER}/Corefile")
    _await(running, addresses, order.spec.service_name("kube-dns", "kube-system"), "A", control_plane.PATIENCE)


def corefile(zones: Iterable[ZoneData], addresses: Iterable[IPAddress], folder: str) -> str:
    """CoreDNS' configuration: each zone from a file of its own in `folder`."""
    bind = _joined(addresses)
    return "".join(
        f"{zone.origin}:53 {{\n  bind {bind}\n  errors\n  file {folder}/{zone.origin}\n}}\n" for zone in zones
    )


def _joined(addresses: Iterable[IPAddress]) -> str:
    return " ".join(str(address) for address in addresses)


def _await(running: Daemon, addresses: tuple[IPAddress, ...], name: str, qtype: str, patience: float) -> None:
    question = bytes(dnslib.DNSRecord.question(name, qtype).pack())
    running.wait_until(lambda: all(_answers(address, question) for address in addresses), patience)


def _answers(address: IPAddress, question: bytes) -> bool:
    """Whether a server answers there with a record by UDP, and listens by TCP."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.2)
        try:
            asking.connect((str(address), 53))
            asking.send(question)
            reply = dnslib.DNSRecord.parse(asking.recv(4096))
            socket.create_connection((str(address), 53), timeout=0.2).close()
        except OSError:
            return False
    return reply.header.rcode == dnslib.RCODE.NOERROR and bool(reply.rr)
