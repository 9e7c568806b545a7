"""All that the objects say, side by side and typed: what the facts of a profile are chosen from."""

from collections.abc import Iterable
from dataclasses import dataclass

from devlink.cluster.discovery import kubernetes
from devlink.cluster.discovery.calico import Calico, read_calico
from devlink.cluster.discovery.cilium import Cilium, read_cilium
from devlink.cluster.discovery.cni import Cni, is_disproved, networks_of, traces_of
from devlink.cluster.discovery.flannel import Flannel, read_flannel
from devlink.cluster.discovery.kubernetes import ClusterNode, DnsConfig, DnsService, KubeProxy, LivePod
from devlink.cluster.discovery.objects import Declared, Objects
from devlink.core.prefixes import IPAddress
from devlink.core.reserved import objection_to_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What the API says of one cluster. Where it says nothing, a part is empty or None."""

    nodes: tuple[ClusterNode, ...]
    calico: Calico
    flannel: Flannel
    cilium: Cilium
    cni: Cni
    """The one that runs."""
    left_behind: tuple[Cni, ...]
    """Others, of which objects are there while no pod that runs has an address of theirs."""
    kube_proxy: KubeProxy | None
    pods: tuple[LivePod, ...]
    pod_addresses: tuple[IPAddress, ...]
    """That some pods have at this moment, of a network of their own or of an underlay's LAN."""
    cluster_ips: tuple[tuple[IPAddress, str], ...]
    """In use, with their Services; that of `kubernetes` first."""
    service_cidrs: tuple[Declared, ...]
    kubeadm_pods: Declared
    kubeadm_services: Declared
    api_server_services: Declared
    controller_manager_services: Declared
    controller_manager_pods: Declared
    node_arguments: str
    """The source of the arguments that k3s or RKE2 was started with on a server; empty where none are noted."""
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


def read_cluster(objects: Objects) -> Cluster:
    """All that the objects say."""
    nodes = kubernetes.read_nodes(objects)
    pods = kubernetes.read_pods(objects)
    in_use = tuple(_pod_addresses(nodes, pods, kubernetes.read_pod_endpoints(objects)))
    calico, flannel, cilium = read_calico(objects), read_flannel(objects, nodes), read_cilium(objects)
    traces = traces_of(calico, flannel, cilium, nodes)
    left = [cni for cni in traces if is_disproved(networks_of(cni, calico, flannel, cilium, nodes), in_use)]
    running = [cni for cni in traces if cni not in left]
    manager = "kube-controller-manager"
    ca, ca_source = kubernetes.read_ca(objects)
    return Cluster(
        nodes=nodes,
        calico=calico,
        flannel=flannel,
        cilium=cilium,
        cni=(*running, *traces, Cni.UNKNOWN)[0],
        left_behind=tuple(left) if running else (),
        kube_proxy=kubernetes.read_kube_proxy(objects),
        pods=pods,
        pod_addresses=in_use,
        cluster_ips=kubernetes.read_cluster_ips(objects),
        service_cidrs=kubernetes.read_service_cidrs(objects),
        kubeadm_pods=kubernetes.read_kubeadm(objects, "podSubnet"),
        kubeadm_services=kubernetes.read_kubeadm(objects, "serviceSubnet"),
        api_server_services=kubernetes.read_flag(objects, "kube-apiserver", "service-cluster-ip-range"),
        controller_manager_services=kubernetes.read_flag(objects, manager, "service-cluster-ip-range"),
        controller_manager_pods=kubernetes.read_flag(objects, manager, "cluster-cidr"),
        node_arguments=kubernetes.find_server_arguments(objects),
        node_argument_services=kubernetes.read_node_argument(objects, "service-cidr"),
        node_argument_pods=kubernetes.read_node_argument(objects, "cluster-cidr"),
        valid_range=kubernetes.read_valid_range(objects),
        dns_service=kubernetes.read_dns_service(objects),
        dns_config=kubernetes.read_dns_config(objects),
        ca=ca,
        ca_source=ca_source,
    )


def _pod_addresses(
    nodes: Iterable[ClusterNode], pods: Iterable[LivePod], endpoints: Iterable[IPAddress]
) -> Iterable[IPAddress]:
    """The pods' own ones, and what is behind Services, less what is of the nodes' network."""
    of_nodes = {address for node in nodes for address in (*node.reported, *node.addresses.values())}
    of_nodes |= {address for pod in pods if pod.on_host_network for address in pod.addresses}
    found = dict.fromkeys((*(address for pod in pods for address in pod.addresses), *endpoints))
    return (address for address in found if address not in of_nodes and not objection_to_address(address))
