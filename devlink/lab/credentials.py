"""The CA, the certificate and the tokens of a world's control plane, and the kubeconfig of each of its users."""

import secrets
import subprocess
import tempfile
from pathlib import Path

from devlink.lab.order import Secrets
from devlink.lab.spec import WorldSpec

API_PORT = 6443
ADMIN = "admin"
PUBLISHER = "publisher"
OBSERVER = "observer"
DEVELOPER = "developer"
RELAYER = "relayer"
TENANT = "tenant"
GROUPS = {
    ADMIN: ("system:masters",),
    PUBLISHER: ("devlink-publishers",),
    OBSERVER: ("devlink-observers",),
    DEVELOPER: ("developers",),
    RELAYER: ("devlink-relayers",),
    TENANT: ("devlink-tenants",),
    "system:kube-controller-manager": (),
    "system:kube-proxy": (),
    "coredns": (),
}
"""Whoever has a token, with their groups. The publisher may also discover; the observer may only do that; the
developer may do what everybody may whom the cluster knows. The relayer may reach every pod by port-forward, the tenant
those of one namespace."""
DAYS = "3650"
CA_EXTENSIONS = """
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
SERVER_EXTENSIONS = """
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""
NO_NAME = "[req]\ndistinguished_name = name\n[name]\n"


def make(spec: WorldSpec) -> Secrets:
    """New ones, by the `openssl` program. Raises OSError or subprocess.CalledProcessError."""
    ca_key, key = _key(), _key()
    # openssl takes a CA from files only; these are gone before the world stands.
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "ca.key": ca_key, "server.key": key,
            "ca.cnf": f"{NO_NAME}[ca]{CA_EXTENSIONS}",
            "server.cnf": NO_NAME, "server.ext": SERVER_EXTENSIONS.format(names=_server_names(spec)),
        }  # fmt: skip
        for name, text in files.items():
            Path(folder, name).write_text(text)
        ca = _openssl(
            "req", "-x509", "-new", "-sha256", "-days", DAYS, "-subj", "/CN=kubernetes", "-key", "ca.key",
            "-config", "ca.cnf", "-extensions", "ca", folder=folder,
        )  # fmt: skip
        Path(folder, "ca.crt").write_text(ca)
        request = _openssl(
            "req", "-new", "-subj", "/CN=kube-apiserver", "-key", "server.key", "-config", "server.cnf", folder=folder
        )
        Path(folder, "server.csr").write_text(request)
        certificate = _openssl(
            "x509", "-req", "-sha256", "-days", DAYS, "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-set_serial", "2", "-extfile", "server.ext", folder=folder,
        )  # fmt: skip
    return Secrets(
        ca=ca, ca_key=ca_key, certificate=certificate, key=key, service_account_key=_key(),
        tokens={user: secrets.token_urlsafe(24) for user in GROUPS},
    )  # fmt: skip


def client_certificate(order: Secrets, user: str) -> tuple[str, str]:
    """A certificate by which the API server knows one of GROUPS, and its key. Raises as `make`."""
    key = _key()
    groups = "".join(f"/O={group}" for group in GROUPS[user])
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("ca.crt", order.ca), ("ca.key", order.ca_key), ("key", key), ("cnf", NO_NAME)):
            Path(folder, name).write_text(text)
        subject = f"{groups}/CN={user}"
        request = _openssl("req", "-new", "-subj", subject, "-key", "key", "-config", "cnf", folder=folder)
        Path(folder, "csr").write_text(request)
        certificate = _openssl(
            "x509", "-req", "-sha256", "-days", DAYS, "-in", "csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-set_serial", "3", folder=folder,
        )  # fmt: skip
    return certificate, key


def _key() -> str:
    # In the old form (SEC 1): kube-apiserver reads no other for service accounts.
    return _openssl("ecparam", "-genkey", "-noout", "-name", "prime256v1", folder="/")


def _openssl(*arguments: str, folder: str) -> str:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def _server_names(spec: WorldSpec) -> str:
    """What kubeadm, too, puts into the certificate: the `kubernetes` Service by name and address, and the host."""
    service = spec.service("kubernetes")
    inside = f"kubernetes.default.svc.{spec.cluster.domain}"
    names = (
        "kubernetes", "kubernetes.default", "kubernetes.default.svc", inside, spec.control_plane.name, "localhost"
    )  # fmt: skip
    addresses = (*service.cluster_ips, *spec.control_plane.addresses, "127.0.0.1")
    return ",".join((*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)))


def server_url(spec: WorldSpec) -> str:
    """Where the API answers for everybody whom the cluster's routers reach."""
    address = spec.control_plane.address
    return f"https://[{address}]:{API_PORT}" if address.version == 6 else f"https://{address}:{API_PORT}"


def kubeconfig(spec: WorldSpec, ca: str, user: str, token: str | None) -> str:
    """A kubeconfig with one context, USER@CLUSTER; without a token for somebody whom the API does not know."""
    import base64

    import yaml

    context = f"{user}@{spec.name}"
    tree = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": spec.name,
                "cluster": {
                    "server": server_url(spec),
                    "certificate-authority-data": base64.b64encode(ca.encode()).decode(),
                },
            }
        ],
        "users": [{"name": user, "user": {"token": token} if token else {}}],
        "contexts": [{"name": context, "context": {"cluster": spec.name, "user": user}}],
        "current-context": context,
    }
    text: str = yaml.safe_dump(tree, sort_keys=False)
    return text
