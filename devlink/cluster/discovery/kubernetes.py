"""What Kubernetes' own objects say: nodes, services, pods, and the ConfigMaps of kubeadm, kubelet, kube-proxy, CoreDNS.

Read here and judged elsewhere: nothing in this file chooses.
"""

import contextlib
import ipaddress
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from devlink.cluster.discovery.corefile import kubernetes_zones
from devlink.cluster.discovery.objects import (
    CORE,
    Declared,
    Object,
    Objects,
    dig,
    flag,
    json_in,
    mappings,
    name_of,
    source_of,
    text,
    texts,
    words,
)
from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.core.reserved import objection_to_address

DNS_LABEL = {"k8s-app": "kube-dns"}
DNS_SERVICES = ("kube-dns", "rke2-coredns-rke2-coredns", "coredns")
"""What the cluster DNS's Service is called: kubeadm and k3s, RKE2, some Helm installations; the best name first."""
WITNESSES = 2_000
"""Pods that are looked at for where pods have addresses; a dump may have 100,000."""
SLICE_OF = "kubernetes.io/service-name"
"""The label of an EndpointSlice that names its Service."""
NODE_ARGUMENTS = ("k3s.io/node-args", "rke2.io/node-args")
"""Node annotations: the arguments that k3s or RKE2 was started with, as JSON."""
NODE_ADDRESSES = {
    4: ("projectcalico.org/IPv4Address", "flannel.alpha.coreos.com/public-ip"),
    6: ("projectcalico.org/IPv6Address", "flannel.alpha.coreos.com/public-ipv6"),
}
"""Node annotations with the address that other nodes use, by IP version; the first that is there."""
OLD_KUBELET_CONFIG = re.compile(r"kubelet-config-([0-9]{1,3})\.([0-9]{1,4})")
VALID_RANGE = re.compile(r"range of valid IPs is ([0-9A-Fa-f:./]{1,80})")
"""What an API server before 1.33 says of a ClusterIP that is out of its range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNode:
    """A node of the cluster."""

    name: str
    addresses: Mapping[int, IPAddress]
    """By IP version, as the cluster's network uses them."""
    lans: tuple[IPNetwork, ...]
    """Those that it is taken to be on: of the netmask that Calico found, else as `lan_of`."""
    reported: frozenset[IPAddress]
    """All that `status.addresses` has."""
    is_ready: bool
    """Its kubelet reports, and its network is there; true also where no condition says anything."""
    pod_prefixes: tuple[IPNetwork, ...]
    """`spec.podCIDRs`, which nobody keeps to under an IPAM of another kind."""
    labels: Mapping[str, str]
    """Kubernetes' and Calico's own, for selectors."""
    is_reflector: bool
    """It has a `projectcalico.org/RouteReflectorClusterID`."""
    has_calico: bool
    flannel_backend: str
    """`flannel.alpha.coreos.com/backend-type`; empty where flannel does not run."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsService:
    """The Service of the cluster's DNS."""

    cluster_ips: tuple[IPAddress, ...]
    source: str
    endpoints: tuple[IPAddress, ...]
    """Of its EndpointSlices, those that are ready."""
    endpoints_source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePod:
    """A running pod with an address."""

    addresses: tuple[IPAddress, ...]
    hosts: tuple[IPAddress, ...]
    """Its node's."""
    on_host_network: bool
    is_dns: bool
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeProxy:
    """kube-proxy's configuration (kubeproxy.config.k8s.io/v1alpha1)."""

    mode: str
    """`iptables` where none is given, as on Linux."""
    cluster_cidr: str
    detect_local_mode: str
    masquerade_all: bool
    tcp_be_liberal: bool
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsConfig:
    """What CoreDNS, kubelet and kubeadm say of the cluster's names."""

    served: tuple[tuple[str, str], ...]
    """Cluster domains that CoreDNS answers for, with their sources."""
    searched: tuple[tuple[str, str], ...]
    """Those that pods are told to search, the most direct source first."""
    kubelet_servers: tuple[IPAddress, ...]
    """What pods are told to ask (`clusterDNS`)."""
    kubelet_source: str


def read_nodes(objects: Objects) -> tuple[ClusterNode, ...]:
    """All nodes, by name."""
    return tuple(_node(objects, item) for item in objects.of("Node", CORE))


def _node(objects: Objects, item: Object) -> ClusterNode:
    notes = dig(item, "metadata", "annotations")
    conditions = [(text(one, "type"), text(one, "status")) for one in mappings(item, "status", "conditions")]
    labels = [dig(item, "metadata", "labels"), json_in(notes, "projectcalico.org/labels")]
    addresses = dict(_node_addresses(objects, item))
    reported = objects.addresses(item, [text(one, "address") for one in _ip_addresses(item)])
    pairs = (pair for found in labels if isinstance(found, dict) for pair in found.items())
    return ClusterNode(
        name=text(item, "metadata", "name"),
        addresses=addresses,
        lans=tuple(_lan_of_node(address, notes) for address in dict.fromkeys((*addresses.values(), *reported))),
        reported=frozenset(reported),
        is_ready=all(status == "True" for kind, status in conditions if kind == "Ready")
        and ("NetworkUnavailable", "True") not in conditions,
        pod_prefixes=objects.prefixes(item, texts(item, "spec", "podCIDRs") or words(text(item, "spec", "podCIDR"))),
        labels={key: value for key, value in pairs if isinstance(value, str)},
        is_reflector=bool(text(notes, "projectcalico.org/RouteReflectorClusterID")),
        has_calico=any(text(notes, NODE_ADDRESSES[version][0]) for version in (4, 6)),
        flannel_backend=text(notes, "flannel.alpha.coreos.com/backend-type"),
        source=source_of(item),
    )  # fmt: skip


def _lan_of_node(address: IPAddress, notes: object) -> IPNetwork:
    """Narrower than `lan_of`, where Calico says so: a host's own /32 is no LAN, and of a wider one pods may be part."""
    noted = text(notes, NODE_ADDRESSES[address.version][0])
    guess = lan_of(address)
    with contextlib.suppress(ValueError):
        told = ipaddress.ip_interface(noted)
        if told.ip == address and guess.prefixlen < told.network.prefixlen < address.max_prefixlen - 1:
            return told.network
    return guess


def _ip_addresses(item: Object) -> list[Object]:
    """Of `status.addresses`, those that are no names."""
    return [one for one in mappings(item, "status", "addresses") if text(one, "type") in ("InternalIP", "ExternalIP")]


def _node_addresses(objects: Objects, item: Object) -> Iterator[tuple[int, IPAddress]]:
    reported = [text(one, "address") for one in _ip_addresses(item) if text(one, "type") == "InternalIP"]
    for version, annotations in NODE_ADDRESSES.items():
        noted = [text(item, "metadata", "annotations", key) for key in annotations]
        for found in filter(None, [*noted, *(one for one in reported if (":" in one) is (version == 6))]):
            address = objects.address(item, found)
            if address is not None and address.version == version and not objection_to_address(address):
                yield version, address
                break


def read_service_cidrs(objects: Objects) -> tuple[Declared, ...]:
    """Of the ServiceCIDR objects; the API server's own one, `kubernetes`, first."""
    found = sorted(objects.of("ServiceCIDR", "networking.k8s.io"), key=lambda item: name_of(item) != "kubernetes")
    return tuple(objects.declared(item, texts(item, "spec", "cidrs")) for item in found)


def read_kubeadm(objects: Objects, key: str) -> Declared:
    """`podSubnet` or `serviceSubnet` of kubeadm's configuration."""
    item = objects.config_map("kube-system/kubeadm-config")
    found = text(objects.yaml_in(item, "ClusterConfiguration"), "networking", key)
    return objects.declared(item, words(found), key)


def read_flag(objects: Objects, component: str, option: str) -> Declared:
    """An option of a control-plane program that runs as a pod, or that k3s or RKE2 was started with."""
    spelled = f"--{option}"
    for item in objects.of("Pod", CORE):
        if text(item, "metadata", "labels", "component") == component:
            for container in mappings(item, "spec", "containers"):
                arguments = texts(container, "command") + texts(container, "args")
                if found := _option(arguments, spelled):
                    return objects.declared(item, words(found), spelled)
    return Declared()


def read_node_argument(objects: Objects, option: str) -> Declared:
    """An option that k3s or RKE2 was started with, by the node's annotation."""
    for item, key, arguments in _node_arguments(objects):
        if found := _option(arguments, f"--{option}"):
            return objects.declared(item, words(found), key)
    return Declared()


def find_server_arguments(objects: Objects) -> str:
    """The source of the arguments of a k3s or RKE2 server, whose options hold for the cluster; empty for none."""
    of_servers = ((item, key) for item, key, arguments in _node_arguments(objects) if arguments[:1] == ("server",))
    return next((source_of(item, key) for item, key in of_servers), "")


def _node_arguments(objects: Objects) -> Iterator[tuple[Object, str, tuple[str, ...]]]:
    """Nodes with such an annotation, the annotation's key, and the arguments."""
    for item in objects.of("Node", CORE):
        for key in NODE_ARGUMENTS:
            arguments = json_in(item, "metadata", "annotations", key)
            if isinstance(arguments, list):
                yield item, key, texts({"": arguments}, "")


def _option(arguments: tuple[str, ...], spelled: str) -> str:
    """The value of `--option=VALUE` or `--option VALUE`; of several, which k3s takes together, a list."""
    found = []
    for place, argument in enumerate(arguments):
        if argument.startswith(f"{spelled}="):
            found.append(argument.partition("=")[2])
        if argument == spelled and place + 1 < len(arguments):
            found.append(arguments[place + 1])
    return ",".join(found)


def read_valid_range(objects: Objects) -> Declared:
    """What the API server answered to a Service that it was only asked to imagine (`dryRun=All`)."""
    for item in objects.of("Status", CORE):
        if match := VALID_RANGE.search(text(item, "message")):
            source = "the API server's answer to a Service with dryRun=All"
            return Declared(prefixes=objects.prefixes(item, [match[1].rstrip(".")]), source=source)
    return Declared()


def read_cluster_ips(objects: Objects) -> tuple[tuple[IPAddress, str], ...]:
    """The ClusterIPs that are in use, with their Services; that of `kubernetes` first."""
    items = sorted(objects.of("Service", CORE), key=lambda item: name_of(item) != "kubernetes")
    return tuple((address, source_of(item)) for item in items for address in _cluster_ips(objects, item))


def read_dns_service(objects: Objects) -> DnsService | None:
    """The Service of the cluster's DNS, the best known name first; None where no Service is known to be it."""
    found = [item for item in objects.of("Service", CORE) if _answers_dns(item) and _cluster_ips(objects, item)]
    found.sort(key=lambda item: (_rank(name_of(item)), name_of(item)))
    slices = objects.of("EndpointSlice", "discovery.k8s.io")
    name = text(found[0], "metadata", "name") if found else ""
    names = (name,) if found else DNS_SERVICES
    about = [one for one in slices if text(one, "metadata", "labels", SLICE_OF) in names]
    if not found and not about:
        return None
    ready = [
        address
        for item in about
        for endpoint in mappings(item, "endpoints")
        if flag(endpoint, "conditions", "ready") is not False
        for address in objects.addresses(item, texts(endpoint, "addresses"))
    ]
    return DnsService(
        cluster_ips=_cluster_ips(objects, found[0]) if found else (),
        source=source_of(found[0]) if found else "",
        endpoints=tuple(dict.fromkeys(ready)),
        endpoints_source=", ".join(source_of(item) for item in about[:2]),
    )


def _rank(name: str) -> int:
    return DNS_SERVICES.index(name) if name in DNS_SERVICES else len(DNS_SERVICES)


def _answers_dns(item: Object) -> bool:
    """Whether a Service is the cluster's DNS: by its label or name, and by its port, since metrics have that label."""
    if text(item, "metadata", "namespace") not in ("kube-system", ""):
        return False
    labelled = all(text(item, "metadata", "labels", key) == value for key, value in DNS_LABEL.items())
    ports = [dig(port, "port") for port in mappings(item, "spec", "ports")]
    return (labelled or name_of(item) in DNS_SERVICES) and (not ports or 53 in ports)


def _cluster_ips(objects: Objects, item: Object) -> tuple[IPAddress, ...]:
    found = texts(item, "spec", "clusterIPs") or (text(item, "spec", "clusterIP"),)
    return objects.addresses(item, [one for one in found if one not in ("", "None")])


def read_pods(objects: Objects) -> tuple[LivePod, ...]:
    """The pods that run and have an address: the cluster DNS' ones, and enough others to show where pods are."""
    pods: list[LivePod] = []
    for item in objects.of("Pod", CORE):
        is_dns = all(text(item, "metadata", "labels", key) == value for key, value in DNS_LABEL.items())
        if text(item, "status", "phase") in ("Succeeded", "Failed") or (len(pods) >= WITNESSES and not is_dns):
            continue
        reported = [text(one, "ip") for one in mappings(item, "status", "podIPs")] or [text(item, "status", "podIP")]
        addresses = objects.addresses(item, [one for one in reported if one])
        if addresses:
            hosts = [text(one, "ip") for one in mappings(item, "status", "hostIPs")] or [text(item, "status", "hostIP")]
            pods.append(
                LivePod(
                    addresses=addresses,
                    hosts=objects.addresses(item, [one for one in hosts if one]),
                    on_host_network=flag(item, "spec", "hostNetwork") or reported[0] in hosts,
                    is_dns=is_dns,
                    source=source_of(item),
                )
            )
    return tuple(pods)


def read_pod_endpoints(objects: Objects) -> tuple[IPAddress, ...]:
    """Addresses behind Services that are pods', as far as they are needed; some are of pods on the nodes' network."""
    found = (
        address
        for item in objects.of("EndpointSlice", "discovery.k8s.io")
        for endpoint in mappings(item, "endpoints")
        if text(endpoint, "targetRef", "kind") == "Pod"
        for address in objects.addresses(item, texts(endpoint, "addresses"))
    )
    return tuple(itertools.islice(found, WITNESSES))


def read_kube_proxy(objects: Objects) -> KubeProxy | None:
    """kube-proxy's configuration, where it is a ConfigMap (kubeadm's way)."""
    item = objects.config_map("kube-system/kube-proxy")
    tree = objects.yaml_in(item, "config.conf")
    if not isinstance(tree, dict):
        return None
    return KubeProxy(
        mode=text(tree, "mode") or "iptables",
        cluster_cidr=text(tree, "clusterCIDR"),
        detect_local_mode=text(tree, "detectLocalMode") or "ClusterCIDR",
        masquerade_all=bool(flag(tree, "iptables", "masqueradeAll") or flag(tree, "nftables", "masqueradeAll")),
        tcp_be_liberal=bool(flag(tree, "conntrack", "tcpBeLiberal")),
        source=source_of(item),
    )


def read_dns_config(objects: Objects) -> DnsConfig:
    """The cluster's domain and its DNS servers, as the programs that use them are configured."""
    corefile = objects.config_map("kube-system/coredns", "kube-system/rke2-coredns-rke2-coredns")
    kubeadm = objects.config_map("kube-system/kubeadm-config")
    kubelet = objects.config_map("kube-system/kubelet-config", *_old_kubelet_configs(objects))
    kubelet_tree = objects.yaml_in(kubelet, "kubelet")
    networking = dig(objects.yaml_in(kubeadm, "ClusterConfiguration"), "networking")
    zones = kubernetes_zones(text(corefile, "data", "Corefile"))
    return DnsConfig(
        served=_named((zone, source_of(corefile, "Corefile")) for zone in zones),
        searched=_named(
            (
                (text(kubelet_tree, "clusterDomain"), source_of(kubelet, "clusterDomain")),
                (text(networking, "dnsDomain"), source_of(kubeadm, "dnsDomain")),
            )
        ),
        kubelet_servers=objects.addresses(kubelet, texts(kubelet_tree, "clusterDNS")),
        kubelet_source=source_of(kubelet, "clusterDNS"),
    )


def _named(zones: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((zone.lower().rstrip("."), source) for zone, source in zones if zone)


def _old_kubelet_configs(objects: Objects) -> list[str]:
    """kubeadm before 1.24 wrote the version into the name, and left those of older versions there; the newest first."""
    names = (text(item, "metadata", "name") for item in objects.of("ConfigMap", CORE))
    found = (match for name in names if (match := OLD_KUBELET_CONFIG.fullmatch(name)))
    return [f"kube-system/{one[0]}" for one in sorted(found, key=lambda one: (int(one[1]), int(one[2])), reverse=True)]


def read_ca(objects: Objects) -> tuple[str, str]:
    """The cluster's CA certificates as every namespace has them (PEM), and the source."""
    item = objects.config_map(
        "kube-public/kube-root-ca.crt", "kube-system/kube-root-ca.crt", "default/kube-root-ca.crt"
    )
    return text(item, "data", "ca.crt"), source_of(item)


def lan_of(address: IPAddress) -> IPNetwork:
    """The network that an address is taken to share with its neighbours, since no API tells a node's netmask."""
    return ipaddress.ip_network((int(address), 24) if address.version == 4 else (int(address), 64), strict=False)
