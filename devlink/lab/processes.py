"""What runs on the hosts of a world: web servers, DNS servers, a control plane. Each is ready before it is reported."""

import asyncio
import http.server
import os
import socket
from collections.abc import Callable, Iterable

from devlink.core.prefixes import IPAddress
from devlink.lab import bird, control_plane, coredns, standin_dns
from devlink.lab.daemons import LOGS, fork
from devlink.lab.order import Order
from devlink.lab.spec import Process, WorldSpec
from devlink.lab.zones import ZoneData, cluster_zones, upstream_zone

BIG = 3_000_000
"""Octets behind the path /big: more than any socket buffer, so that a path that loses data hangs."""


def start(process: Process, name: str, addresses: Iterable[IPAddress], order: Order) -> None:
    """Start one process of host or pod `name` in this process's namespaces. It is ready when this returns.

    Raises OSError, or TimeoutError with the end of its log if a program does not become ready in time.
    """
    spec, addresses = order.spec, tuple(addresses)
    os.makedirs(LOGS, exist_ok=True)
    match process:
        case Process.HTTP:
            fork("http", _http_server(addresses, 8080 if _is_pod(spec, name) else 80))
        case Process.UPSTREAM_DNS:
            fork("dns", _standin((upstream_zone(spec),), addresses))
        case Process.CONTROL_PLANE:
            control_plane.start_control_plane(order)
        case Process.KUBE_PROXY:
            control_plane.start_kube_proxy(order, name)
        case Process.KUBELET:
            control_plane.start_kubelet(order)
        case Process.BIRD:
            bird.start(name, order)
        case Process.CLUSTER_DNS if spec.cluster.is_real:
            coredns.start_with_api(order, addresses)
        case Process.CLUSTER_DNS if order.coredns is not None:
            coredns.start_with_zones(order.coredns, cluster_zones(spec), addresses)
        case Process.CLUSTER_DNS:
            fork("dns", _standin(cluster_zones(spec), addresses))


def _is_pod(spec: WorldSpec, name: str) -> bool:
    return any(pod.name == name for pod in spec.cluster.pod_objects)


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
