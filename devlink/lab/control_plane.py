"""The real control plane of a world, and the real kube-proxy of its nodes. Each is ready on return."""

import json
import os
import shlex
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from devlink.core.prefixes import IPAddress
from devlink.lab.api_server import ApiServer
from devlink.lab.credentials import API_PORT, GROUPS, kubeconfig
from devlink.lab.daemons import execute
from devlink.lab.objects import KUBELET_PORT, PUBLIC, SYSTEM, cluster_objects, kube_proxy_config
from devlink.lab.order import Order, Secrets

PATIENCE = 60.0
"""Seconds for any of them to be ready; a failure, not a figure: all together take five to eight."""
FOLDER = "/run/lab/kubernetes"
"""Keys, tokens and configurations, on the host that needs them."""
API_SERVER = "kube-apiserver"
API_SERVER_SCRIPT = f"{FOLDER}/{API_SERVER}.sh"
"""Runs the API server in place of the shell; for its second start too."""
ETCD = "http://127.0.0.1:2379"
KUBELET = "kubelet-portforward"
KUBELET_SCRIPT = f"{FOLDER}/{KUBELET}.sh"
PODS = f"{FOLDER}/pods"
"""On a node: a link for each of its pods, NAMESPACE_NAME, to the pod's network namespace."""


def start_control_plane(order: Order) -> None:
    """etcd, the API server, all objects of the cluster in it, and the controller that hands out the cluster's CA.

    Raises OSError, and TimeoutError with the end of the log of what did not come up.
    """
    secrets = _secrets(order)
    write(
        {
            "ca.crt": secrets.ca,
            "server.crt": secrets.certificate,
            "server.key": secrets.key,
            "accounts.key": secrets.service_account_key,
            "tokens.csv": "".join(
                f'{secrets.tokens[user]},{user},{user},"{",".join(groups)}"\n' for user, groups in GROUPS.items()
            ),
        }
    )
    execute("etcd",
        f"{order.kit}/etcd", "--data-dir=/var/lib/etcd", f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}", "--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync",
        "--heartbeat-interval=20", "--election-timeout=200", "--log-level=warn",
    )  # fmt: skip
    write({os.path.basename(API_SERVER_SCRIPT): f'exec {shlex.join(_api_server(order))} "$@"\n'})
    running = execute(API_SERVER, "/bin/sh", API_SERVER_SCRIPT)
    with closing(ApiServer(order)) as api:
        running.wait_until(lambda: api.has("/readyz"), PATIENCE)
        user = "system:kube-controller-manager"
        controllers = execute("kube-controller-manager",
            f"{order.kit}/kube-controller-manager", f"--kubeconfig={write_kubeconfig(order, user)}",
            "--controllers=root-ca-certificate-publisher-controller", f"--root-ca-file={FOLDER}/ca.crt",
            f"--service-account-private-key-file={FOLDER}/accounts.key", "--use-service-account-credentials",
            "--leader-elect=false", "--bind-address=127.0.0.1",
        )  # fmt: skip
        api.create(cluster_objects(order.spec, secrets.ca))
        for namespace in (PUBLIC, SYSTEM):
            path = f"/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt"
            controllers.wait_until(partial(api.has, path), PATIENCE)


def _api_server(order: Order) -> tuple[str, ...]:
    spec = order.spec
    return (
        f"{order.kit}/{API_SERVER}", f"--etcd-servers={ETCD}", f"--advertise-address={spec.control_plane.address}",
        f"--secure-port={API_PORT}", f"--tls-cert-file={FOLDER}/server.crt",
        f"--tls-private-key-file={FOLDER}/server.key", f"--token-auth-file={FOLDER}/tokens.csv",
        f"--service-cluster-ip-range={','.join(str(prefix) for prefix in spec.cluster.services)}",
        f"--service-account-issuer=https://kubernetes.default.svc.{spec.cluster.domain}",
        f"--service-account-key-file={FOLDER}/accounts.key",
        f"--service-account-signing-key-file={FOLDER}/accounts.key",
        "--authorization-mode=RBAC", f"--cert-dir={FOLDER}", f"--client-ca-file={FOLDER}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
    )  # fmt: skip


def start_kube_proxy(order: Order, node: str) -> None:
    """The packet filter of a node follows the API. Raises TimeoutError."""
    await_cluster(order)
    config = kube_proxy_config(order.spec, node, write_kubeconfig(order, "system:kube-proxy"))
    write({"kube-proxy.conf": json.dumps(config)})
    running = execute("kube-proxy", f"{order.kit}/kube-proxy", f"--config={FOLDER}/kube-proxy.conf")
    for address in order.spec.service("kubernetes").cluster_ips:
        running.wait_until(partial(_is_identified, order, address), PATIENCE)


def start_kubelet(order: Order) -> None:
    """A node's end of port-forward. It needs no API: the pods of its node are in PODS. Raises TimeoutError."""
    os.makedirs(PODS)
    argv = (f"{order.kit}/{KUBELET}", f"-listen=:{KUBELET_PORT}", f"-pods={PODS}")
    write({os.path.basename(KUBELET_SCRIPT): f'exec {shlex.join(argv)} "$@"\n'})
    execute(KUBELET, "/bin/sh", KUBELET_SCRIPT).wait_until(partial(_listens, KUBELET_PORT), PATIENCE)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def await_cluster(order: Order) -> None:
    """Wait until the API has all of the cluster's objects. Raises TimeoutError."""
    last = order.spec.cluster.nodes[-1].host
    with closing(ApiServer(order, "system:kube-proxy")) as api:
        deadline = time.monotonic() + PATIENCE
        while not api.has(f"/api/v1/nodes/{last}"):
            if time.monotonic() > deadline:
                raise TimeoutError("the API server does not answer, or lacks a node")
            time.sleep(0.02)


def _is_identified(order: Order, address: IPAddress) -> bool:
    """Whether the API server answers at the `kubernetes` ClusterIP, by its certificate."""
    context = ssl.create_default_context(cadata=_secrets(order).ca)
    try:
        with (
            socket.create_connection((str(address), 443), timeout=1) as plain,
            context.wrap_socket(plain, server_hostname="kubernetes.default.svc"),
        ):
            return True
    except OSError:
        return False


def _secrets(order: Order) -> Secrets:
    assert order.secrets is not None, "a world with real parts is ordered with secrets"
    return order.secrets


def write_kubeconfig(order: Order, user: str) -> str:
    """For a program on this host; its path."""
    secrets = _secrets(order)
    name = f"{user.removeprefix('system:')}.kubeconfig"
    write({name: kubeconfig(order.spec, secrets.ca, user, secrets.tokens[user])})
    return f"{FOLDER}/{name}"


def write(files: Mapping[str, str]) -> None:
    """Into this host's FOLDER."""
    os.makedirs(FOLDER, mode=0o700, exist_ok=True)
    for name, text in files.items():
        Path(FOLDER, name).write_text(text)
