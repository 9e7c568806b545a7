"""What flannel's configuration and the nodes' annotations say. Nothing here chooses."""

from collections.abc import Sequence
from dataclasses import dataclass

from devlink.cluster.discovery.kubernetes import ClusterNode
from devlink.cluster.discovery.objects import Declared, Objects, json_in, number, source_of, text

CONFIG_MAPS = (
    "kube-flannel/kube-flannel-cfg",
    "kube-system/kube-flannel-cfg",
    "kube-system/canal-config",
    "kube-system/rke2-canal-config",
)
"""Where `net-conf.json` is: flannel's manifest, its older one, Canal's, RKE2's. k3s has it in a file on its nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flannel:
    """flannel, as far as it is configured."""

    network: Declared
    backend: str
    """host-gw, vxlan, wireguard, ...; empty where flannel does not run."""
    mtu: int | None
    """The backend's `MTU`, in octets, where one is set."""
    source: str
    runs: bool
    """Nodes are annotated by it."""


def read_flannel(objects: Objects, nodes: Sequence[ClusterNode]) -> Flannel:
    """All that is said of flannel."""
    item = objects.config_map(*CONFIG_MAPS)
    conf = json_in(item, "data", "net-conf.json")
    networks = [text(conf, key) for key in ("Network", "IPv6Network")]
    annotated = next((node for node in nodes if node.flannel_backend), None)
    source = source_of(item, "net-conf.json")
    backend = annotated.flannel_backend if annotated else text(conf, "Backend", "Type")
    return Flannel(
        network=objects.declared(item, filter(None, networks), "net-conf.json"),
        backend=backend.lower() or ("udp" if conf else ""),
        mtu=number(conf, "Backend", "MTU") or None,
        source=source if conf else f"{annotated.source} (backend-type)" if annotated else "",
        runs=annotated is not None or bool(conf),
    )
