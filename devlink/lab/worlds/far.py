"""A cluster like network A, in both families, whose laptop is far from it: the API server is all that it reaches."""

from dataclasses import replace

from devlink.lab.spec import Host, Interface, Parts, Place, Pod, Port, Process, Service, WorldSpec
from devlink.lab.worlds.calico_rr import SERVICES, SERVICES6, LaptopPlace, network_a
from devlink.lab.worlds.common import ips

HOME = Place("nodes", ("172.16.0.100/24", "fd00:172:16::100/64"), ("172.16.0.1", "fd00:172:16::1"))
"""On the LAN of the nodes."""
OFFICE = Place("office", ("10.10.0.100/24", "fd00:10:10::100/64"), ("10.10.0.1", "fd00:10:10::1"))
"""Where the laptop is at first."""
WEB = ("web-0", "web-1")


def far(*, router_carries: bool = False) -> WorldSpec:
    """Network A with real parts, the laptop behind a router that drops what goes to pods and services.

    The router is the laptop's default gateway, so whatever of that leaves the laptop passes it (`World.capture`). What
    the pods `redis-0`, `stream-0` and `shy-0` run is a test's own; `lonely` is a service without a pod, `both` has two
    pods and its clients' affinity, `agent` a pod in the network of its node. The laptop's second interface is in the
    network of the nodes, without an address: given one, the laptop is at home and yet where it was.
    """
    spec = network_a(laptop=LaptopPlace.BEHIND_ROUTER, router_carries=router_carries, ipv6=True, parts=Parts.REAL)
    cluster = spec.cluster
    http = Port(name="http", port=80, target=8080)
    if not router_carries:
        prefixes = (*cluster.pods, *cluster.services)
        spec = replace(
            spec,
            hosts=tuple(_dropping(host, prefixes) if host.name == spec.router.name else host for host in spec.hosts),
        )
    laptop = replace(spec.laptop, interfaces=(*spec.laptop.interfaces, Interface(network="nodes", addresses=())))
    spec = replace(spec, hosts=tuple(laptop if host == spec.laptop else host for host in spec.hosts))
    hosts = tuple(
        replace(host, processes=(*host.processes, Process.HTTP)) if host.name == "node2" else host
        for host in spec.hosts
    )
    return replace(
        spec, name="far", hosts=hosts,
        cluster=replace(
            cluster,
            pod_objects=(
                *cluster.pod_objects,
                Pod(name="redis-0", node="node2", addresses=ips("10.20.120.140", "fd00:10:20:120::10"), processes=()),
                Pod(name="web-1", node="node2", addresses=ips("10.20.120.142", "fd00:10:20:120::12")),
                Pod(name="stream-0", node="node1", addresses=ips("10.20.73.70", "fd00:10:20:73::10"), processes=()),
                Pod(
                    name="shy-0", node="node2", addresses=ips("10.20.120.141", "fd00:10:20:120::11"), processes=(),
                    ports=(Port(name="http", port=8080, target=8080),),
                ),
            ),
            service_objects=(
                *(replace(s, endpoints=WEB) if s.name == "peers" else s for s in cluster.service_objects),
                _service("redis", 30, Port(name="redis", port=6379, target=6379), endpoints=("redis-0",)),
                _service(
                    "stream", 31, Port(name="h2", port=80, target=8081), Port(name="echo", port=7, target=7007),
                    endpoints=("stream-0",),
                ),
                _service("lonely", 32, http),
                replace(_service("both", 33, http, endpoints=WEB), affinity=True),
                _service("agent", 34, Port(name="http", port=9100, target=80), endpoints=("node2",)),
            ),
        ),
    )  # fmt: skip


def _service(name: str, number: int, *ports: Port, endpoints: tuple[str, ...] = ()) -> Service:
    """In both families; `number` ends its addresses."""
    addresses = ips(SERVICES.replace("0.0/16", f"0.{number}"), SERVICES6.replace("/112", str(number)))
    return Service(name=name, namespace="default", cluster_ips=addresses, ports=ports, endpoints=endpoints)


def _dropping(host: Host, prefixes: tuple[object, ...]) -> Host:
    """Nothing of what comes from the office's side gets to `prefixes`, and nobody is told."""
    rules = "\n".join(
        f"iifname eth1 {'ip6' if ':' in str(prefix) else 'ip'} daddr {prefix} drop" for prefix in prefixes
    )
    chain = f"chain prerouting {{\ntype filter hook prerouting priority raw;\n{rules}\n}}"
    return replace(host, nftables=f"{host.nftables}table inet closed {{\n{chain}\n}}\n")
