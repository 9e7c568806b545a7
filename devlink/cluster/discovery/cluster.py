"""All that the objects say, side by side and typed: what the facts of a profile are chosen from."""

from dataclasses import dataclass
from enum import Enum

from devlink.cluster.discovery import kubernetes
from devlink.cluster.discovery.calico import Calico, read_calico
from devlink.cluster.discovery.cilium import Cilium, read_cilium
from devlink.cluster.discovery.flannel import Flannel, read_flannel
from devlink.cluster.discovery.kubernetes import ClusterNode, DnsConfig, DnsService, KubeProxy, LivePod
from devlink.cluster.discovery.objects import Declared, Objects
from devlink.core.prefixes import IPAddress
from devlink.core.reserved import objection_to_address


class Cni(Enum):
    """Who gives pods their addresses and moves their packets."""

    CALICO = "Calico"
    FLANNEL = "flannel"
    CILIUM = "Cilium"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What the API says of one cluster. Where it says nothing, a part is empty or None."""

    nodes: tuple[ClusterNode, ...]
    calico: Calico
    flannel: Flannel
    cilium: Cilium
    kube_proxy: KubeProxy | None
    pods: tuple[LivePod, ...]
    pod_endpoints: tuple[IPAddress, ...]
    """Addresses behind Services that are pods'."""
    cluster_ips: tuple[tuple[IPAddress, str], ...]
    """In use, with their Services; that of `kubernetes` first."""
    service_cidrs: tuple[Declared, ...]
    kubeadm_pods: Declared
    kubeadm_services: Declared
    api_server_services: Declared
    controller_manager_services: Declared
    controller_manager_pods: Declared
    node_argument_services: Declared
    node_argument_pods: Declared
    valid_range: Declared
    """What the API server says to a ClusterIP out of its range."""
    dns_service: DnsService | None
    dns_config: DnsConfig
    ca: str
    ca_source: str

    @property
    def ready_nodes(self) -> tuple[ClusterNode, ...]:
        """A node that is silent forwards nothing."""
        return tuple(node for node in self.nodes if node.is_ready)

    @property
    def cni(self) -> Cni:
        """By the first of these traces; Canal has Calico's pools and flannel's network, and no block of Calico's."""
        traces = (
            (Cni.CALICO, bool(self.calico.blocks)),
            (Cni.FLANNEL, self.flannel.runs),
            (Cni.CILIUM, self.cilium.is_there),
            (Cni.CALICO, bool(self.calico.pools) or any(node.has_calico for node in self.nodes)),
        )
        return next((cni for cni, seen in traces if seen), Cni.UNKNOWN)

    @property
    def pod_addresses(self) -> tuple[IPAddress, ...]:
        """Addresses that some pods have at this moment, of a network of their own or of an underlay's LAN."""
        of_nodes = {address for node in self.nodes for address in (*node.reported, *node.addresses.values())}
        of_nodes |= {address for pod in self.pods if pod.on_host_network for address in pod.addresses}
        of_pods = [address for pod in self.pods for address in pod.addresses]
        found = dict.fromkeys((*of_pods, *self.pod_endpoints))
        return tuple(address for address in found if address not in of_nodes and not objection_to_address(address))


def read_cluster(objects: Objects) -> Cluster:
    """All that the objects say."""
    nodes = kubernetes.read_nodes(objects)
    manager = "kube-controller-manager"
    ca, ca_source = kubernetes.read_ca(objects)
    return Cluster(
        nodes=nodes,
        calico=read_calico(objects),
        flannel=read_flannel(objects, nodes),
        cilium=read_cilium(objects),
        kube_proxy=kubernetes.read_kube_proxy(objects),
        pods=kubernetes.read_pods(objects),
        pod_endpoints=kubernetes.read_pod_endpoints(objects),
        cluster_ips=kubernetes.read_cluster_ips(objects),
        service_cidrs=kubernetes.read_service_cidrs(objects),
        kubeadm_pods=kubernetes.read_kubeadm(objects, "podSubnet"),
        kubeadm_services=kubernetes.read_kubeadm(objects, "serviceSubnet"),
        api_server_services=kubernetes.read_flag(objects, "kube-apiserver", "service-cluster-ip-range"),
        controller_manager_services=kubernetes.read_flag(objects, manager, "service-cluster-ip-range"),
        controller_manager_pods=kubernetes.read_flag(objects, manager, "cluster-cidr"),
        node_argument_services=kubernetes.read_node_argument(objects, "service-cidr"),
        node_argument_pods=kubernetes.read_node_argument(objects, "cluster-cidr"),
        valid_range=kubernetes.read_valid_range(objects),
        dns_service=kubernetes.read_dns_service(objects),
        dns_config=kubernetes.read_dns_config(objects),
        ca=ca,
        ca_source=ca_source,
    )
