"""Worlds described as data: networks, hosts, pods, the cluster's services and names, and the switches of its nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.lab.bgp import Speaker

LAPTOP = "laptop"
ROUTER = "router"
UPSTREAM = "upstream"
"""The host "out there": the ordinary DNS server and an ordinary web server."""
CONTROL_PLANE = "cp"
"""The host of the API server, in worlds with real parts."""


class Process(StrEnum):
    """What may run on a host beside what a test starts there."""

    HTTP = "http"
    """Answers every path on port 8080 (pods) or 80 (others) with the host's name."""
    CLUSTER_DNS = "cluster-dns"
    """The cluster's names on port 53: CoreDNS or the stand-in."""
    CONTROL_PLANE = "control-plane"
    """etcd, kube-apiserver and kube-controller-manager, and in them all that the world's cluster has."""
    KUBE_PROXY = "kube-proxy"
    """The real one, on a node."""
    KUBELET = "kubelet"
    """A node's end of port-forward: the kubelet's own code, and a runtime's behind it."""
    BIRD = "bird"
    """The real one: says and learns what `Host.bgp` says."""
    UPSTREAM_DNS = "upstream-dns"
    """`WorldSpec.upstream_records` on port 53; every other name does not exist."""


class ClusterDnsProgram(StrEnum):
    """Which program answers for the cluster's zones where the other parts are not real."""

    AUTO = "auto"
    """CoreDNS where the kit has it, else the stand-in."""
    COREDNS = "coredns"
    STANDIN = "standin"


class Parts(StrEnum):
    """What the cluster is made of."""

    BY_HAND = "by-hand"
    """Packet filters that do what kube-proxy would, and zone files. Stands in a quarter of a second."""
    REAL = "real"
    """The kit's programs: a control plane, kube-proxy on each node, CoreDNS that asks the API."""


class Routes(StrEnum):
    """Where the hosts of a world have their routes to pods and services from."""

    BY_HAND = "by-hand"
    """Static ones, the same that BGP would bring."""
    BIRD = "bird"


class ProxyMode(StrEnum):
    """kube-proxy's `mode`."""

    IPTABLES = "iptables"
    NFTABLES = "nftables"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address as it sits on an interface."""

    address: IPAddress
    length: int
    """Prefix length of the network that is on the link."""

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoute:
    """A route that a host has from the start, out of one of its own interfaces."""

    destination: IPNetwork
    next_hop: IPAddress | None = None
    """None: on the link of `dev`."""
    dev: str = "eth0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A host's way into a network."""

    network: str
    """The bridge that it is plugged into."""
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a laptop is plugged in, with what DHCP would tell it there."""

    network: str
    addresses: tuple[str, ...]
    """With the lengths of their prefixes."""
    routers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """A device that carries packets between nodes inside others: VXLAN, which every kernel has, in place of IPIP.

    As IPIP's it takes routes without a next hop: the nodes answer in it for what they own.
    """

    name: str
    address: IPAddress
    """This end's, out of the node's first block."""
    remotes: tuple[IPAddress, ...]
    """Where the other ends are."""
    mtu: int = 1450
    """Octets: what VXLAN leaves of 1500 (IPIP leaves 1480)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """What /etc/resolv.conf says on a host before anyone touches it."""

    nameservers: tuple[IPAddress, ...]
    search: tuple[DomainName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine of the world. Its interfaces are eth0, eth1, ... in the order given."""

    name: str
    interfaces: tuple[Interface, ...]
    routes: tuple[HostRoute, ...] = ()
    forwards: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """By dotted name below `net`, beyond what every host of the lab gets."""
    tunnel: Tunnel | None = None
    bgp: Speaker | None = None
    """For `Process.BIRD`."""
    nftables: str = ""
    """A ruleset that this host loads, in nft's own language; a node's comes from `Cluster`."""
    resolver: Resolver | None = None
    processes: tuple[Process, ...] = ()

    @property
    def address(self) -> IPAddress:
        """Its first address."""
        return self.interfaces[0].addresses[0].address

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        return tuple(a.address for interface in self.interfaces for a in interface.addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One port of a service, or of a pod (then `port` is `target`)."""

    name: str
    port: int
    target: int
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod: a namespace behind its node, with host addresses only, as Calico plugs them, or with a place on the LAN
    (`Cluster.underlay`)."""

    name: str
    node: str
    addresses: tuple[IPAddress, ...]
    namespace: str = "default"
    ports: tuple[Port, ...] = ()
    """What it declares beside the ports that services lead to."""
    processes: tuple[Process, ...] = (Process.HTTP,)

    @property
    def address(self) -> IPAddress:
        return self.addresses[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeBlocks:
    """A node of the cluster and the pod blocks that it owns."""

    host: str
    pods: tuple[IPNetwork, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Kubernetes Service with its endpoints."""

    name: str
    namespace: str
    cluster_ips: tuple[IPAddress, ...] = ()
    """None for a headless service and for an external name."""
    ports: tuple[Port, ...] = ()
    endpoints: tuple[str, ...] = ()
    """Names of pods, or of hosts for endpoints on the host's network. Real kube-proxy draws lots among them; by hand
    the first takes all."""
    external_name: DomainName | None = None
    affinity: bool = False
    """`sessionAffinity: ClientIP`."""

    @property
    def address(self) -> IPAddress:
        """Its first ClusterIP."""
        return self.cluster_ips[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Underlay:
    """Pods that are on the nodes' LAN themselves: macvlan on the node's eth0."""

    length: int
    """Prefix length of the LAN."""
    gateway: IPAddress
    """The LAN's."""
    has_veth: bool = True
    """Whether a second interface joins each pod with its own node, which macvlan keeps apart (chained CNI plugins)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calico:
    """What Calico's objects say in the API."""

    block_length: int = 26
    ipip: str = "Never"
    """`ipipMode` of the IPv4 pool: Always, CrossSubnet or Never."""
    nat_outgoing: bool = True
    has_mesh: bool = False
    """`nodeToNodeMeshEnabled`."""
    as_number: int = 64512
    reflectors: tuple[str, ...] = ()
    """Nodes with the label that the peerings select."""
    cluster_id: IPAddress | None = None
    """The reflectors'."""
    router: tuple[IPAddress, int] | None = None
    """Whom the reflectors speak with outside the cluster, and its AS."""
    advertises_services: bool = False
    """`serviceClusterIPs`."""


class Masquerade(StrEnum):
    """For which traffic to pods a node hides the source, besides ClusterIPs."""

    NONE = "none"
    FLANNEL = "flannel"
    """`--ip-masq`: off-cluster sources, unless the pod is the node's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The cluster's networks and how its nodes treat packets."""

    domain: DomainName
    pods: tuple[IPNetwork, ...]
    services: tuple[IPNetwork, ...]
    gateways: tuple[str, ...]
    """Hosts that forward for all pods and services, best first."""
    gateway_role: str
    """What the profile calls them."""
    nodes: tuple[NodeBlocks, ...]
    names_nodes: bool = True
    """Whether the profile says which node owns which block."""
    pod_objects: tuple[Pod, ...]
    service_objects: tuple[Service, ...]
    pod_mtu: int = 1500
    underlay: Underlay | None = None
    """Then pods need no route, and the profile names none."""
    calico: Calico | None = None
    """Its objects in the API, where the parts are real."""
    drop_invalid: bool = False
    """The `ctstate INVALID` drop of kube-proxy's iptables mode (facts: R2)."""
    snat_services: bool = True
    """Whether ClusterIPs that come from outside the cluster are masqueraded (facts: R3)."""
    masquerade: Masquerade = Masquerade.NONE
    dns_program: ClusterDnsProgram = ClusterDnsProgram.AUTO
    parts: Parts = Parts.BY_HAND
    proxy_mode: ProxyMode = ProxyMode.NFTABLES
    """Of the real kube-proxy. Only `iptables` can `drop_invalid`: the other has no such rule."""

    @property
    def is_real(self) -> bool:
        return self.parts is Parts.REAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One DNS record in the presentation form of a zone file (RFC 1035 section 5.1)."""

    name: str
    """Absolute, with the last dot."""
    type: str
    data: str
    ttl: int
    """Seconds."""

    def __str__(self) -> str:
        return f"{self.name} {self.ttl} IN {self.type} {self.data}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSpec:
    """A whole world. Addresses are asked for by role, so that no test repeats a literal."""

    name: str
    """The name that its profile gets, too."""
    networks: tuple[str, ...]
    hosts: tuple[Host, ...]
    cluster: Cluster
    upstream_records: tuple[Record, ...] = ()

    def host(self, name: str) -> Host:
        """The host of that name. Raises KeyError."""
        return {host.name: host for host in self.hosts}[name]

    def pod(self, name: str) -> Pod:
        """The pod of that name. Raises KeyError."""
        return {pod.name: pod for pod in self.cluster.pod_objects}[name]

    def service(self, name: str, namespace: str = "default") -> Service:
        """The service of that name. Raises KeyError."""
        return {(s.name, s.namespace): s for s in self.cluster.service_objects}[name, namespace]

    def service_name(self, name: str, namespace: str = "default") -> str:
        """The full name of a service, without the last dot."""
        self.service(name, namespace)
        return f"{name}.{namespace}.svc.{self.cluster.domain}"

    def endpoint_addresses(self, service: Service) -> tuple[IPAddress, ...]:
        """The addresses behind a service, in the order of its endpoints."""
        places = {pod.name: pod.addresses for pod in self.cluster.pod_objects}
        places |= {host.name: host.addresses for host in self.hosts}
        return tuple(address for endpoint in service.endpoints for address in places[endpoint])

    @property
    def laptop(self) -> Host:
        return self.host(LAPTOP)

    @property
    def router(self) -> Host:
        return self.host(ROUTER)

    @property
    def upstream(self) -> Host:
        return self.host(UPSTREAM)

    @property
    def gateway(self) -> Host:
        """The cluster's first gateway node."""
        return self.host(self.cluster.gateways[0])

    @property
    def control_plane(self) -> Host:
        """The host of the API server. Raises KeyError in a world without one."""
        return self.host(CONTROL_PLANE)

    @property
    def cluster_dns(self) -> Service:
        return self.service("kube-dns", "kube-system")

    @property
    def dns_servers(self) -> tuple[IPAddress, ...]:
        """Where the profile says that the cluster's DNS is: the service, or the node whose network its pod shares."""
        on_host = [host for host in self.hosts if host.name in self.cluster_dns.endpoints]
        return tuple(a for host in on_host for a in host.addresses) or self.cluster_dns.cluster_ips

    @property
    def dns_pod(self) -> Pod:
        """The pod that answers for the cluster's names."""
        return self.pod(self.cluster_dns.endpoints[0])
