"""The five networks, and some other clusters, as their APIs show them: with what real objects have besides."""

import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.core.profiles import pem

Object = dict[str, Any]
CA = pem(b"the cluster's own")
CRD, SERVED = "crd.projectcalico.org/v1", "projectcalico.org/v3"
"""Calico's storage, and the API that its API server serves."""
KUBE_PROXY = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
clusterCIDR: {cluster_cidr}
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  tcpBeLiberal: {liberal}
  tcpEstablishedTimeout: null
detectLocalMode: "{detect}"
iptables:
  masqueradeAll: {masquerade_all}
  masqueradeBit: null
kind: KubeProxyConfiguration
mode: "{mode}"
nodePortAddresses: null
"""
COREFILE = """\
.:53 {{
    errors
    health {{
       lameduck 5s
    }}
    ready
    # what the cluster is called
    kubernetes {zones} in-addr.arpa ip6.arpa {{
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }}
    prometheus :9153
    forward . /etc/resolv.conf {{
       max_concurrent 1000
    }}
    cache 30
    loop
    reload
    loadbalance
}}
"""
CLUSTER_CONFIGURATION = """\
apiServer:
  certSANs:
  - api.example
  extraArgs:
  - name: authorization-mode
    value: Node,RBAC
apiVersion: kubeadm.k8s.io/v1beta4
certificatesDir: /etc/kubernetes/pki
clusterName: kubernetes
dns: {{}}
etcd:
  local:
    dataDir: /var/lib/etcd
kind: ClusterConfiguration
kubernetesVersion: v1.31.4
networking:
{networking}
proxy: {{}}
scheduler: {{}}
"""


def thing(api_version: str, kind: str, name: str, namespace: str = "", **parts: Any) -> Object:
    """An object with the metadata that real ones have; `labels` and `annotations` go there."""
    metadata: Object = {
        "name": name,
        "uid": "5f0c1f6e-7a51-4d5b-9d9f-0d0d5b8a6f10",
        "resourceVersion": "1234567",
        "creationTimestamp": "2024-03-05T08:00:00Z",
        "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {}}}],
    }  # fmt: skip
    if namespace:
        metadata["namespace"] = namespace
    for key in ("labels", "annotations"):
        if parts.get(key):
            metadata[key] = parts.pop(key)
        parts.pop(key, None)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts}


def node(
    name: str,
    *addresses: str,
    pod_cidrs: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    ready: str = "True",
) -> Object:
    """A Node: 64 images' worth of noise is left to the benchmark, the conditions are not."""
    return thing(
        "v1", "Node", name,
        labels={"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **(labels or {})},
        annotations={"node.alpha.kubernetes.io/ttl": "0", **(annotations or {})},
        spec={"podCIDR": pod_cidrs[0], "podCIDRs": list(pod_cidrs)} if pod_cidrs else {},
        status={
            "addresses": [
                {"type": "Hostname", "address": name}, *({"type": "InternalIP", "address": a} for a in addresses)
            ],
            "conditions": [
                {"type": "NetworkUnavailable", "status": "False", "reason": "CalicoIsUp"},
                {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory"},
                {"type": "Ready", "status": ready, "reason": "KubeletReady"},
            ],
            "nodeInfo": {"kubeletVersion": "v1.31.4", "osImage": "Debian GNU/Linux 12 (bookworm)"},
            "images": [{"names": ["registry.k8s.io/pause:3.9"], "sizeBytes": 321520}],
        },
    )  # fmt: skip


def config_map(name: str, data: Mapping[str, str], namespace: str = "kube-system") -> Object:
    return thing("v1", "ConfigMap", name, namespace, data=dict(data))


def root_ca() -> Object:
    return config_map("kube-root-ca.crt", {"ca.crt": CA}, "kube-public")


def kubeadm(**networking: str) -> Object:
    lines = "\n".join(f"  {key}: {value}" for key, value in networking.items())
    text = CLUSTER_CONFIGURATION.format(networking=lines)
    return config_map("kubeadm-config", {"ClusterConfiguration": text})


def kubelet(domain: str, *servers: str) -> Object:
    listed = "\n".join(f"- {server}" for server in servers)
    text = f"clusterDNS:\n{listed}\nclusterDomain: {domain}\nkind: KubeletConfiguration\n"
    return config_map("kubelet-config", {"kubelet": f"apiVersion: kubelet.config.k8s.io/v1beta1\n{text}"})


def coredns(zones: str, name: str = "coredns") -> Object:
    return config_map(name, {"Corefile": COREFILE.format(zones=zones), "NodeHosts": "10.0.0.1 n1\n"})


def kube_proxy(
    cluster_cidr: str, *, mode: str = "", liberal: str = "false", detect: str = "", masquerade_all: str = "false"
) -> Object:
    text = KUBE_PROXY.format(
        cluster_cidr=cluster_cidr or '""', mode=mode, liberal=liberal, detect=detect, masquerade_all=masquerade_all
    )
    return config_map("kube-proxy", {"config.conf": text, "kubeconfig.conf": "apiVersion: v1\nkind: Config\n"})


def service(
    name: str, namespace: str, *cluster_ips: str, labels: Mapping[str, str] | None = None, port: int = 53
) -> Object:
    return thing(
        "v1", "Service", name, namespace, labels=dict(labels or {}),
        spec={
            "clusterIP": cluster_ips[0], "clusterIPs": list(cluster_ips), "type": "ClusterIP",
            "ports": [{"name": "dns", "port": port, "protocol": "UDP", "targetPort": port}],
        },
    )  # fmt: skip


def kube_dns(*cluster_ips: str, name: str = "kube-dns") -> Object:
    return service(name, "kube-system", *cluster_ips, labels={"k8s-app": "kube-dns"})


def endpoints(*addresses: str, of: str = "kube-dns", ready: bool = True) -> Object:
    return thing(
        "discovery.k8s.io/v1", "EndpointSlice", f"{of}-x7f2k", "kube-system",
        labels={"kubernetes.io/service-name": of, "k8s-app": "kube-dns"},
        addressType="IPv4",
        endpoints=[{"addresses": [a], "conditions": {"ready": ready, "serving": ready}} for a in addresses],
        ports=[{"name": "dns", "port": 53, "protocol": "UDP"}],
    )  # fmt: skip


def pod(
    name: str,
    *addresses: str,
    host: str = "",
    labels: Mapping[str, str] | None = None,
    command: Sequence[str] = ("/bin/sh",),
    namespace: str = "kube-system",
) -> Object:
    """A running pod; on the host's network where its address is the host's."""
    spec: Object = {"containers": [{"name": "main", "image": "registry.example/x:1", "command": list(command)}]}
    if host in addresses:
        spec["hostNetwork"] = True
    return thing(
        "v1", "Pod", name, namespace, labels=dict(labels or {}), spec=spec,
        status={
            "phase": "Running", "hostIP": host, "podIP": addresses[0], "podIPs": [{"ip": a} for a in addresses],
            "containerStatuses": [{"name": "main", "ready": True, "restartCount": 0}],
        },
    )  # fmt: skip


def api_server(node_address: str, *options: str) -> Object:
    return pod(
        "kube-apiserver-cp1", node_address, host=node_address, labels={"component": "kube-apiserver"},
        command=["kube-apiserver", f"--advertise-address={node_address}", *options],
    )  # fmt: skip


def service_cidr(*cidrs: str, name: str = "kubernetes") -> Object:
    conditions = [{"type": "Ready", "status": "True", "message": "Kubernetes Service CIDR is ready"}]
    spec = {"cidrs": list(cidrs)}
    return thing("networking.k8s.io/v1", "ServiceCIDR", name, spec=spec, status={"conditions": conditions})


def refusal(valid: str) -> Object:
    """What an API server before 1.33 answers to a Service with ClusterIP 1.1.1.1."""
    message = (
        'Service "devlink-probe" is invalid: spec.clusterIPs: Invalid value: []string{"1.1.1.1"}: failed to allocate '
        f"IP 1.1.1.1: the provided IP (1.1.1.1) is not in the valid range. The range of valid IPs is {valid}"
    )
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "reason": "Invalid",
        "code": 422,
        "message": message,
    }


def pool(cidr: str, name: str = "default-ipv4-ippool", api: str = CRD, **spec: Any) -> Object:
    usual = {
        "cidr": cidr, "blockSize": 26, "ipipMode": "Never", "vxlanMode": "Never", "natOutgoing": True,
        "nodeSelector": "all()", "allowedUses": ["Workload", "Tunnel"],
    }  # fmt: skip
    return thing(api, "IPPool", name, spec=usual | spec)


def block(node_name: str, cidr: str, api: str = CRD, **spec: Any) -> Object:
    name = f"{node_name}-{cidr.replace('.', '-').replace(':', '-').replace('/', '-')}"
    usual = {"cidr": cidr, "node": node_name, "state": "confirmed", "deleted": "false"}
    return thing(api, "BlockAffinity", name, spec=usual | spec)


def calico_node(name: str, address: str, *, prefix: str = "24", asn: str = "", reflects: str = "") -> Object:
    """A Node as calico-node annotates it, with the podCIDR that nobody uses; `reflects`: with that cluster id."""
    lie = f"10.244.{int(ipaddress.ip_address(address)) % 256}.0/24"
    annotations = {"projectcalico.org/IPv4Address": f"{address}/{prefix}", "projectcalico.org/ASNumber": asn}
    if reflects:
        annotations["projectcalico.org/RouteReflectorClusterID"] = reflects
    labels = {"route-reflector": "true"} if reflects else {}
    return node(name, address, pod_cidrs=[lie], labels=labels, annotations=annotations)


def network_a(api: str = CRD) -> list[Object]:
    """Calico with route reflectors within; kubeadm said 10.244.0.0/16 once, and nobody listens to it."""
    blocks = {
        10: "10.20.12.128/26", 13: "10.20.73.64/26", 16: "10.20.101.0/26", 17: "10.20.166.192/26", 19: "10.20.209.64/26"
    }  # fmt: skip
    reflectors = {13: "172.16.20.1", 16: "172.16.20.1"}
    nodes = [
        calico_node(f"d{n}.node", f"172.16.0.{n}", prefix="19", asn="63400", reflects=reflectors.get(n, ""))
        for n in blocks
    ]
    return [
        *nodes,
        *(block(f"d{n}.node", cidr, api) for n, cidr in blocks.items()),
        block("d10.node", "10.20.1.0/26", api, state="pendingDeletion"),
        block("d10.node", "10.20.2.0/26", api, deleted="true"),
        pool("10.20.0.0/16", api=api, ipipMode="CrossSubnet"),
        thing(
            api, "BGPConfiguration", "default",
            spec={
                "asNumber": 63400, "nodeToNodeMeshEnabled": False, "logSeverityScreen": "Info",
                "serviceClusterIPs": [{"cidr": "10.254.0.0/16"}], "serviceExternalIPs": [{"cidr": "192.0.2.0/24"}],
            },
        ),
        thing(
            api, "BGPPeer", "peer-to-rrs",
            spec={"nodeSelector": "!has(route-reflector)", "peerSelector": "has(route-reflector)"},
        ),
        thing(
            api, "BGPPeer", "rr-mesh",
            spec={"nodeSelector": "has(route-reflector)", "peerSelector": "has(route-reflector)"},
        ),
        thing(
            api, "FelixConfiguration", "default",
            spec={"bpfEnabled": False, "ipipEnabled": True, "externalNodesList": ["10.10.0.0/24"]},
        ),
        kube_dns("10.254.0.2"), endpoints("10.20.73.66", "10.20.101.2"),
        coredns("cluster.local"), kubelet("cluster.local", "10.254.0.2"),
        kubeadm(dnsDomain="cluster.local", podSubnet="10.244.0.0/16", serviceSubnet="10.254.0.0/16"),
        kube_proxy("10.20.0.0/16"), root_ca(),
        pod("coredns-1", "10.20.73.66", host="172.16.0.13", labels={"k8s-app": "kube-dns"}),
        api_server("172.16.0.10", "--service-cluster-ip-range=10.254.0.0/16"),
    ]  # fmt: skip


def network_b(api: str = CRD) -> list[Object]:
    """Calico with a full mesh and IPIP Always, installed by hand: no kubeadm, and a domain of its own."""
    numbers = (214, 227, 228, 229)
    return [
        *(calico_node(f"node{n}", f"10.20.16.{n}") for n in numbers),
        *(block(f"node{n}", f"192.168.{n}.0/24", api) for n in numbers),
        pool("192.168.0.0/16", api=api, ipipMode="Always", blockSize=24),
        thing(api, "FelixConfiguration", "default", spec={"ipipEnabled": True, "logSeverityScreen": "Info"}),
        kube_dns("10.254.0.2", name="coredns"), endpoints("192.168.214.3", of="coredns"),
        coredns("cluster.kube"), service_cidr("10.254.0.0/16"), root_ca(),
    ]  # fmt: skip


def network_c() -> list[Object]:
    """flannel host-gw, installed by hand, on an API server that has no ServiceCIDR."""
    addresses = {"172.16.1.106": 0, "172.16.1.107": 1, "172.16.2.106": 2}
    net_conf = json.dumps({"Network": "172.20.0.0/16", "Backend": {"Type": "host-gw"}}, indent="\t")
    return [
        *(
            node(
                f"k{number}", address, pod_cidrs=[f"172.20.{number}.0/24"],
                annotations={
                    "flannel.alpha.coreos.com/backend-type": "host-gw",
                    "flannel.alpha.coreos.com/backend-data": "null",
                    "flannel.alpha.coreos.com/kube-subnet-manager": "true",
                    "flannel.alpha.coreos.com/public-ip": address,
                },
            )
            for address, number in addresses.items()
        ),
        config_map("kube-flannel-cfg", {"cni-conf.json": "{}", "net-conf.json": net_conf}, "kube-flannel"),
        kube_dns("10.68.0.2"), endpoints("172.20.0.4"), coredns("cluster.local"), refusal("10.68.0.0/16"), root_ca(),
        pod("coredns-1", "172.20.0.4", host="172.16.1.106", labels={"k8s-app": "kube-dns"}),
    ]  # fmt: skip


def network_d() -> list[Object]:
    """macvlan: pods have addresses of the node's LAN, whatever kubeadm was told; CoreDNS is on the host's network."""
    host = "10.10.20.152"
    return [
        node("lan1", host, pod_cidrs=["10.244.0.0/24"]),
        kubeadm(dnsDomain="cluster.local", podSubnet="10.244.0.0/16", serviceSubnet="10.96.0.0/12"),
        kube_dns("10.96.0.10"), endpoints(host), coredns("cluster.local"), kubelet("cluster.local", host),
        kube_proxy("10.244.0.0/16"), root_ca(),
        pod("coredns-1", host, host=host, labels={"k8s-app": "kube-dns"}),
        *(pod(f"web-{n}", f"10.10.20.{n}", host=host, namespace="default") for n in (50, 51, 57)),
        service("kubernetes", "default", "10.96.0.1", port=443),
    ]  # fmt: skip


def network_e(api: str = CRD) -> list[Object]:
    """Calico whose route reflectors speak eBGP with a switch, without overlay and NAT."""
    return [
        calico_node("e27", "172.31.13.27", reflects="244.0.0.1"),
        calico_node("e28", "172.31.13.28", reflects="244.0.0.1"),
        calico_node("e29", "172.31.13.29"),
        *(block(f"e{n}", f"172.27.{208 + n - 27}.0/26", api) for n in (27, 28, 29)),
        pool("172.27.208.0/22", api=api, natOutgoing=False),
        thing(api, "BGPConfiguration", "default", spec={"asNumber": 64512, "nodeToNodeMeshEnabled": False}),
        thing(
            api, "BGPPeer", "peer-to-rrs",
            spec={"nodeSelector": "!has(route-reflector)", "peerSelector": "has(route-reflector)"},
        ),
        thing(
            api, "BGPPeer", "rr-peer",
            spec={"nodeSelector": "route-reflector == 'true'", "peerIP": "172.31.13.116", "asNumber": 7675},
        ),
        kube_dns("10.96.0.10"), endpoints("172.27.208.4"), coredns("cluster.local"),
        kubeadm(dnsDomain="cluster.local", podSubnet="172.27.208.0/22", serviceSubnet="10.96.0.0/12"),
        kube_proxy("172.27.208.0/22", mode="ipvs"), root_ca(),
    ]  # fmt: skip


def k3s() -> list[Object]:
    """k3s: one program, no kubeadm, flannel's network in a file; services of 1.33 and later."""
    return [
        *(
            node(
                f"k3s-{n}", f"192.0.2.{10 + n}", pod_cidrs=[f"10.42.{n}.0/24"],
                annotations={
                    "flannel.alpha.coreos.com/backend-type": "vxlan",
                    "flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"a6:e0:2b:4c:11:07"}',
                    "flannel.alpha.coreos.com/public-ip": f"192.0.2.{10 + n}",
                    "k3s.io/node-args": '["server"]' if n == 0 else '["agent"]',
                    "k3s.io/internal-ip": f"192.0.2.{10 + n}",
                },
            )
            for n in range(2)
        ),
        kube_dns("10.43.0.10"), endpoints("10.42.0.5"), coredns("cluster.local"), service_cidr("10.43.0.0/16"),
        root_ca(),
    ]  # fmt: skip


def rke2() -> list[Object]:
    """RKE2 with Canal: Calico's objects without its IPAM, flannel's network, other names, the API server in a pod."""
    addresses = ("10.1.0.11", "10.1.0.12")
    return [
        *(
            node(
                f"rke2-{n}", address, pod_cidrs=[f"10.42.{n}.0/24"],
                annotations={
                    "flannel.alpha.coreos.com/backend-type": "vxlan", "flannel.alpha.coreos.com/public-ip": address,
                    "projectcalico.org/IPv4Address": f"{address}/24", "rke2.io/node-args": '["server"]',
                },
            )
            for n, address in enumerate(addresses)
        ),
        pool("10.42.0.0/16", ipipMode="Always"),
        thing(CRD, "FelixConfiguration", "default", spec={"bpfEnabled": False}),
        kube_dns("10.43.0.10", name="rke2-coredns-rke2-coredns"),
        endpoints("10.42.0.5", of="rke2-coredns-rke2-coredns"),
        coredns(" cluster.local  cluster.local", "rke2-coredns-rke2-coredns"),
        api_server("10.1.0.11", "--service-cluster-ip-range=10.43.0.0/16"),
        pod(
            "kube-controller-manager-rke2-0", "10.1.0.11", host="10.1.0.11",
            labels={"component": "kube-controller-manager"},
            command=["kube-controller-manager", "--cluster-cidr=10.42.0.0/16"],
        ),
        root_ca(),
    ]  # fmt: skip


def cilium(**config: str) -> list[Object]:
    """Cilium with its own IPAM, in place of kube-proxy."""
    usual = {
        "ipam": "cluster-pool", "cluster-pool-ipv4-cidr": "10.0.0.0/8", "cluster-pool-ipv4-mask-size": "24",
        "routing-mode": "tunnel", "tunnel-protocol": "vxlan", "kube-proxy-replacement": "true",
        "bpf-lb-external-clusterip": "false", "cluster-pool-ipv6-cidr": "",
    } | {"cluster-pool-ipv4-cidr": "10.128.0.0/14"}  # fmt: skip
    return [
        *(node(f"c{n}", f"192.0.2.{10 + n}") for n in range(2)),
        *(
            thing("cilium.io/v2", "CiliumNode", f"c{n}", spec={"ipam": {"podCIDRs": [f"10.128.{n}.0/24"]}})
            for n in range(2)
        ),
        config_map("cilium-config", usual | {key.replace("_", "-"): value for key, value in config.items()}),
        kube_dns("10.96.0.10"), coredns("cluster.local"), service_cidr("10.96.0.0/12"), root_ca(),
    ]  # fmt: skip


def dual_stack() -> list[Object]:
    """Calico with pools of both families, VXLAN between subnets, and kubeadm."""
    nodes = [
        node(
            f"n{n}", f"172.16.0.{n}", f"fd00:16::{n}",
            annotations={
                "projectcalico.org/IPv4Address": f"172.16.0.{n}/24", "projectcalico.org/IPv6Address": f"fd00:16::{n}/64"
            },
        )
        for n in (1, 2)
    ]  # fmt: skip
    return [
        *nodes,
        *(block(f"n{n}", f"10.20.{n}.0/26") for n in (1, 2)),
        *(block(f"n{n}", f"fd00:20::{n}00/122") for n in (1, 2)),
        pool("10.20.0.0/16", vxlanMode="CrossSubnet"),
        pool("fd00:20::/48", name="default-ipv6-ippool", blockSize=122, vxlanMode="Never"),
        kube_dns("10.96.0.10", "fd00:96::a"), coredns("cluster.local"), service_cidr("10.96.0.0/12", "fd00:96::/112"),
        root_ca(),
    ]  # fmt: skip


def without(objects: Iterable[Object], *kinds_or_names: str) -> list[Object]:
    """The objects less those of a kind or name."""
    return [
        o
        for o in objects
        if o["kind"] not in kinds_or_names and o.get("metadata", {}).get("name") not in kinds_or_names
    ]
