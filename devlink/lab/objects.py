"""A world's cluster as objects of the Kubernetes API: what kubeadm, Calico and people create. PURE."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from devlink.core.prefixes import IPAddress, IPNetwork
from devlink.lab.credentials import DEVELOPER, kubeconfig
from devlink.lab.rights import rights
from devlink.lab.spec import Calico, Masquerade, NodeBlocks, Port, Service, WorldSpec

Object = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
CALICO = "crd.projectcalico.org"
CALICO_KINDS = ("IPPool", "BlockAffinity", "BGPConfiguration", "BGPPeer", "FelixConfiguration")
RR_LABEL = "route-reflector"
SYSTEM = "kube-system"
PUBLIC = "kube-public"
KUBELET_PORT = 10250


def cluster_objects(spec: WorldSpec, ca: str) -> tuple[Object, ...]:
    """All of them, in an order in which each finds what it needs; the nodes come last."""
    return (
        *_namespaces(spec),
        *(_calico_kind(kind) for kind in CALICO_KINDS),
        *_config_maps(spec, ca),
        *rights(),
        *_pods(spec),
        *(obj for service in spec.cluster.service_objects for obj in _service(spec, service)),
        *_calico(spec),
        *(_node(spec, number, node) for number, node in enumerate(spec.cluster.nodes)),
    )


def collection(obj: Object) -> str:
    """The path that objects like this one are created at."""
    group, version, kind = obj["apiVersion"].rpartition("/")[0], obj["apiVersion"], obj["kind"]
    plural = _plural(kind)
    namespace = obj["metadata"].get("namespace")
    root = f"/apis/{version}" if group else f"/api/{version}"
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


def _plural(kind: str) -> str:
    word = kind.lower()
    return word[:-1] + "ies" if word.endswith("y") else word + "s"


def kube_proxy_config(spec: WorldSpec, node: str, kubeconfig_path: str) -> Object:
    """kube-proxy's configuration; the conntrack limits are the machine's, and not ours to set from a namespace."""
    cluster = spec.cluster
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": str(cluster.proxy_mode),
        "clusterCIDR": _joined(cluster.pods) if cluster.snat_services else "",
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": kubeconfig_path},
        "healthzBindAddress": "0.0.0.0:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {
            "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
            "tcpBeLiberal": not cluster.drop_invalid,
        },
    }  # fmt: skip


def corefile(spec: WorldSpec, kubernetes: str = "", bind: str = "") -> str:
    """CoreDNS' configuration as kubeadm writes it, with more options for the plugin and the addresses to serve at."""
    listen = f"    bind {bind}\n" if bind else ""
    more = f"       {kubernetes}\n" if kubernetes else ""
    return (
        f".:53 {{\n{listen}    errors\n    ready\n"
        f"    kubernetes {spec.cluster.domain} in-addr.arpa ip6.arpa {{\n{more}"
        "       pods insecure\n       fallthrough in-addr.arpa ip6.arpa\n       ttl 30\n    }\n}\n"
    )


def _joined(prefixes: tuple[IPNetwork, ...]) -> str:
    return ",".join(str(prefix) for prefix in prefixes)


def _namespaces(spec: WorldSpec) -> Iterator[Object]:
    """The API server makes its own only some time after it is ready."""
    names = dict.fromkeys(("default", SYSTEM, PUBLIC, *(s.namespace for s in spec.cluster.service_objects)))
    for name in names:
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        # The work of a controller that does not run here; no pod is admitted without.
        yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}


def _pods(spec: WorldSpec) -> Iterator[Object]:
    services = [service for service in spec.cluster.service_objects if service.name != "kubernetes"]
    for pod in spec.cluster.pod_objects:
        leading = [service for service in services if pod.name in service.endpoints]
        ports = [port for service in leading for port in service.ports]
        labels = {key: value for service in leading for key, value in _selector(spec, service).items()}
        yield _pod(spec, (pod.namespace, pod.name), pod.node, pod.addresses, (*ports, *pod.ports), labels)
    for service in services:
        for host in host_endpoints(spec, service):
            name, addresses = (service.namespace, host_pod(service, host)), spec.host(host).addresses
            yield _pod(spec, name, host, addresses, service.ports, _selector(spec, service), host_network=True)


def host_endpoints(spec: WorldSpec, service: Service) -> tuple[str, ...]:
    """The endpoints of a service that are no pod's of their own: pods in their node's network."""
    own = {pod.name for pod in spec.cluster.pod_objects}
    return tuple(name for name in service.endpoints if name not in own) if service.name != "kubernetes" else ()


def host_pod(service: Service, host: str) -> str:
    """The name of a service's pod in the network of a node."""
    return f"{service.name}-{host}"


def _selector(spec: WorldSpec, service: Service) -> dict[str, str]:
    """By which a service finds its pods; a pod can be several services'."""
    return {"k8s-app": "kube-dns"} if service == spec.cluster_dns else {f"lab.example/{service.name}": "yes"}


def _pod(
    spec: WorldSpec, full_name: tuple[str, str], node: str, addresses: tuple[IPAddress, ...], ports: Iterable[Port],
    labels: dict[str, str], *, host_network: bool = False,
) -> Object:  # fmt: skip
    """A pod that runs; `ports` by their targets, of which several services may have the same."""
    namespace, name = full_name
    declared = {(port.target, port.protocol): port.name for port in ports}
    hosts = spec.host(node).addresses
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "nodeName": node,
            "hostNetwork": host_network,
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "app",
                    "image": f"registry.example/{name}",
                    "ports": [
                        {
                            "name": port_name, "containerPort": number, "protocol": protocol.upper(),
                            **({"hostPort": number} if host_network else {}),
                        }
                        for (number, protocol), port_name in declared.items()
                    ],
                }
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {
                    "name": "app", "image": f"registry.example/{name}", "imageID": "", "ready": True, "started": True,
                    "restartCount": 0, "state": {"running": {}},
                }
            ],
            "hostIP": str(hosts[0]),
            "hostIPs": [{"ip": str(address)} for address in hosts],
            "podIP": str(addresses[0]),
            "podIPs": [{"ip": str(address)} for address in addresses],
        },
    }  # fmt: skip


def _config_maps(spec: WorldSpec, ca: str) -> Iterator[Object]:
    cluster = spec.cluster
    yield _config_map(
        SYSTEM, "kubeadm-config",
        ClusterConfiguration={
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "clusterName": spec.name,
            "networking": {
                "dnsDomain": str(cluster.domain),
                "podSubnet": _joined(cluster.pods),
                "serviceSubnet": _joined(cluster.services),
            },
        },
    )  # fmt: skip
    yield _config_map(SYSTEM, "kube-proxy", **{"config.conf": kube_proxy_config(spec, "", "/var/lib/kube-proxy/c")})
    yield _config_map(
        SYSTEM, "kubelet-config",
        kubelet={
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "clusterDomain": str(cluster.domain),
            "clusterDNS": [str(address) for address in spec.cluster_dns.cluster_ips],
        },
    )  # fmt: skip
    yield _config_map(SYSTEM, "coredns", Corefile=corefile(spec))
    # Without a user: whoever joins a cluster, or logs in to it, learns from it which CA to check by a hash.
    yield _config_map(PUBLIC, "cluster-info", kubeconfig=kubeconfig(spec, ca, DEVELOPER, None))


def _config_map(namespace: str, name: str, **data: object) -> Object:
    """JSON is YAML, and that is what the values of these are."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in data.items()}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": texts}


def _service(spec: WorldSpec, service: Service) -> Iterator[Object]:
    """The Service and its EndpointSlices; those of `kubernetes` are the API server's own work."""
    if service.name == "kubernetes":
        return
    is_dns = service == spec.cluster_dns
    metadata = {"name": service.name, "namespace": service.namespace}
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"} if is_dns else {}
    if service.external_name is not None:
        body: Object = {"type": "ExternalName", "externalName": str(service.external_name)}
    else:
        ports = [
            {"name": p.name, "port": p.port, "targetPort": p.target, "protocol": p.protocol.upper()}
            for p in service.ports
        ]
        addresses = [str(address) for address in service.cluster_ips] or ["None"]
        families = _families(service.cluster_ips or spec.endpoint_addresses(service))
        body = {
            "clusterIP": addresses[0], "clusterIPs": addresses, "ports": ports, "ipFamilies": families,
            "ipFamilyPolicy": "RequireDualStack" if len(families) == 2 else "SingleStack",
            "selector": _selector(spec, service),
            "sessionAffinity": "ClientIP" if service.affinity else "None",
        }  # fmt: skip
    yield {"apiVersion": "v1", "kind": "Service", "metadata": {**metadata, "labels": labels}, "spec": body}
    for family in _families(spec.endpoint_addresses(service)):
        yield _slice(spec, service, family)


def _families(addresses: tuple[IPAddress, ...]) -> list[str]:
    return list(dict.fromkeys(f"IPv{address.version}" for address in addresses))


def _slice(spec: WorldSpec, service: Service, family: str) -> Object:
    headless = not service.cluster_ips
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service.name}-{family.lower()}",
            "namespace": service.namespace,
            "labels": {
                "kubernetes.io/service-name": service.name,
                **({"service.kubernetes.io/headless": ""} if headless else {}),
            },
        },
        "addressType": family,
        "ports": [{"name": p.name, "port": p.target, "protocol": p.protocol.upper()} for p in service.ports],
        "endpoints": [
            {
                "addresses": [str(address) for address in addresses if f"IPv{address.version}" == family],
                "nodeName": node,
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod},
                "conditions": {"ready": True, "serving": True, "terminating": False},
                **({"hostname": name} if headless else {}),
            }
            for name, namespace, pod, node, addresses in (_endpoint(spec, service, name) for name in service.endpoints)
        ],
    }


def _endpoint(spec: WorldSpec, service: Service, name: str) -> tuple[str, str, str, str, tuple[IPAddress, ...]]:
    """A pod, or a node whose network a pod shares: its name, its pod's namespace and name, its node, its addresses."""
    for pod in spec.cluster.pod_objects:
        if pod.name == name:
            return name, pod.namespace, name, pod.node, pod.addresses
    return name, service.namespace, host_pod(service, name), name, spec.host(name).addresses


def _calico_kind(kind: str) -> Object:
    """Calico's own kinds, taking whatever is written, as its older releases did."""
    plural = _plural(kind)
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{CALICO}"},
        "spec": {
            "group": CALICO,
            "scope": "Cluster",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def _calico(spec: WorldSpec) -> Iterator[Object]:
    cluster, calico = spec.cluster, spec.cluster.calico
    if calico is None:
        return
    for prefix in cluster.pods:
        four = prefix.version == 4
        yield _calico_object(
            "IPPool", f"default-ipv{prefix.version}-ippool",
            cidr=str(prefix), blockSize=calico.block_length if four else 122, ipipMode=calico.ipip if four else "Never",
            vxlanMode="Never", natOutgoing=calico.nat_outgoing, nodeSelector="all()",
            allowedUses=["Workload", "Tunnel"],
        )  # fmt: skip
    for node in cluster.nodes:
        for block in node.pods:
            name = f"{node.host}-{str(block).translate(str.maketrans('.:/', '---'))}"
            yield _calico_object(
                "BlockAffinity", name, cidr=str(block), node=node.host, state="confirmed", deleted="false"
            )
    advertised = (
        {"serviceClusterIPs": [{"cidr": str(prefix)} for prefix in cluster.services]}
        if calico.advertises_services
        else {}
    )
    yield _calico_object(
        "BGPConfiguration", "default", nodeToNodeMeshEnabled=calico.has_mesh, asNumber=calico.as_number, **advertised
    )
    yield from _calico_peers(calico)
    yield _calico_object("FelixConfiguration", "default", bpfEnabled=False, ipipEnabled=calico.ipip != "Never")


def _calico_peers(calico: Calico) -> Iterator[Object]:
    reflector = f"has({RR_LABEL})"
    if calico.reflectors:
        yield _calico_object("BGPPeer", "peer-to-rrs", nodeSelector=f"!{reflector}", peerSelector=reflector)
        yield _calico_object("BGPPeer", "rr-mesh", nodeSelector=reflector, peerSelector=reflector)
    if calico.router is not None:
        address, as_number = calico.router
        yield _calico_object(
            "BGPPeer", "router", nodeSelector=reflector, peerIP=str(address), asNumber=as_number
        )  # fmt: skip


def _calico_object(kind: str, name: str, **spec: object) -> Object:
    return {"apiVersion": f"{CALICO}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _node(spec: WorldSpec, number: int, node: NodeBlocks) -> Object:
    host, calico = spec.host(node.host), spec.cluster.calico
    annotations: dict[str, str] = {}
    labels = {"kubernetes.io/hostname": node.host, "kubernetes.io/os": "linux"}
    if calico is not None:
        annotations |= {
            f"projectcalico.org/IPv{a.address.version}Address": str(a)
            for interface in host.interfaces
            for a in interface.addresses
        }
        if node.host in calico.reflectors:
            annotations["projectcalico.org/RouteReflectorClusterID"] = str(calico.cluster_id)
            labels[RR_LABEL] = "true"
    # The controller manager's idea, which is flannel's too; the IPAM of others gives out other blocks.
    is_flannel = spec.cluster.masquerade is Masquerade.FLANNEL
    blocks = [str(prefix) for prefix in node.pods] if is_flannel else [f"10.244.{number}.0/24"]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.host,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {"podCIDR": blocks[0], "podCIDRs": blocks},
        "status": {
            "addresses": [
                *({"type": "InternalIP", "address": str(address)} for address in host.addresses),
                {"type": "Hostname", "address": node.host},
            ],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
        },
    }  # fmt: skip
