"""What runs on the hosts of a world: the DNS servers and the web servers. Each is listening before it is reported."""

import asyncio
import http.server
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

import dnslib

from devlink.core.prefixes import IPAddress
from devlink.lab import linux, standin_dns
from devlink.lab.spec import Process, WorldSpec
from devlink.lab.zones import ZoneData, cluster_zones, upstream_zone

LOGS = "/run/lab"
"""Where each process of the lab writes, on its own host."""
BIG = 3_000_000
"""Octets behind the path /big: more than any socket buffer, so that a path that loses data hangs."""
COREDNS_PATIENCE = 10.0
"""Seconds until CoreDNS must listen; it takes a tenth of one."""


def start(process: Process, name: str, addresses: Iterable[IPAddress], spec: WorldSpec, coredns: str | None) -> None:
    """Start one process of host or pod `name` in this process's namespaces. It listens when this returns.

    Raises OSError, or TimeoutError if CoreDNS (`coredns`: its path, None for the stand-in) does not listen in time.
    """
    addresses = tuple(addresses)
    os.makedirs(LOGS, exist_ok=True)
    if process is Process.HTTP:
        _fork("http", _http_server(addresses, 8080 if _is_pod(spec, name) else 80))
    elif process is Process.UPSTREAM_DNS:
        _fork("dns", _standin((upstream_zone(spec),), addresses))
    elif coredns is None:
        _fork("dns", _standin(cluster_zones(spec), addresses))
    else:
        _start_coredns(coredns, cluster_zones(spec), addresses)


def _is_pod(spec: WorldSpec, name: str) -> bool:
    return any(pod.name == name for pod in spec.cluster.pod_objects)


def _fork(name: str, run: Callable[[], None]) -> None:
    """Run in a child that lives on when this process is gone; the init of the world reaps it.

    No exec: a fresh interpreter for each of a world's servers would take more time than all the rest.
    """
    if os.fork() == 0:
        try:
            linux.set_process_name(f"lab-{name}")
            os.dup2(os.open("/dev/null", os.O_RDWR), 0)
            log = os.open(f"{LOGS}/{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            run()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)


def _standin(zones: tuple[ZoneData, ...], addresses: tuple[IPAddress, ...]) -> Callable[[], None]:
    udp, tcp = standin_dns.bind(addresses)
    table = standin_dns.Zones(zones)

    def run() -> None:
        asyncio.run(standin_dns.serve(table, udp, tcp, lambda line: print(line, flush=True)))

    return run


class _Handler(http.server.BaseHTTPRequestHandler):
    """Says whose answer it is, so that a test sees which pod it reached."""

    def do_GET(self) -> None:
        body = b"x" * BIG if self.path == "/big" else f"{socket.gethostname()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        print(self.client_address[0].removeprefix("::ffff:"), format % args, flush=True)


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that went away in the middle is what some tests are about


class _Server6(_Server):
    address_family = socket.AF_INET6


def _http_server(addresses: tuple[IPAddress, ...], port: int) -> Callable[[], None]:
    # The wildcard is right for TCP: a connection keeps the address that it came to.
    server = (_Server6 if any(a.version == 6 for a in addresses) else _Server)(("", port), _Handler)
    return server.serve_forever


def corefile(zones: Iterable[ZoneData], addresses: Iterable[IPAddress], folder: str) -> str:
    """CoreDNS' configuration: each zone from a file of its own in `folder`."""
    bind = " ".join(str(address) for address in addresses)
    return "".join(
        f"{zone.origin}:53 {{\n  bind {bind}\n  errors\n  file {folder}/{zone.origin}\n}}\n" for zone in zones
    )


def _start_coredns(program: str, zones: tuple[ZoneData, ...], addresses: tuple[IPAddress, ...]) -> None:
    folder = f"{LOGS}/zones"
    os.makedirs(folder, exist_ok=True)
    for zone in zones:
        Path(folder, str(zone.origin)).write_text(str(zone))
    Path(LOGS, "Corefile").write_text(corefile(zones, addresses, folder))

    def run() -> None:
        os.execv(program, [program, "-conf", f"{LOGS}/Corefile"])

    _fork("dns", run)
    deadline = time.monotonic() + COREDNS_PATIENCE
    question = bytes(dnslib.DNSRecord.question(str(zones[0].origin), "SOA").pack())
    while not all(_answers(address, question) for address in addresses):
        if time.monotonic() > deadline:
            raise TimeoutError(f"CoreDNS does not answer: {Path(LOGS, 'dns.log').read_text()[-500:]}")
        time.sleep(0.01)


def _answers(address: IPAddress, question: bytes) -> bool:
    """Whether a server answers there by UDP and listens by TCP."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.2)
        try:
            asking.connect((str(address), 53))
            asking.send(question)
            asking.recv(512)
            socket.create_connection((str(address), 53), timeout=0.2).close()
        except OSError:
            return False
    return True
