"""The two questions that `login` asks a cluster: whose CA is it, and whose token is this."""

import base64
import binascii
import ssl
from collections.abc import Mapping
from typing import Any

from devlink.cluster.access import Access
from devlink.cluster.answers import causes
from devlink.cluster.api import Api
from devlink.cluster.pins import pinned
from devlink.errors import ClusterError

CLUSTER_INFO = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
"""Where kubeadm's clusters show their CA to anybody."""
MAX_ANSWER = 1024 * 1024
"""Octets of an answer here."""
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
HOW_TO_PIN = (
    "Give the cluster's CA: --ca-file FILE, or --ca-hash sha256:HEX as `kubeadm token create --print-join-command` "
    "shows it on a control plane node."
)


async def pinned_ca(name: str, server: str, pin: str, environ: Mapping[str, str]) -> str:
    """The certificates (PEM) with the pinned key among those that the cluster shows as its CA. Raises ClusterError.

    They are asked for over a connection that is not checked, without any credential: what does not have the pinned key
    is not believed. As `kubeadm join --discovery-token-ca-cert-hash`, except that a certificate beside the pinned one
    is left out: anyone on the way could have added it.
    """
    async with Api(Access(name=name, server=server, insecure=True), environ=environ) as api:
        try:
            found = await api.get(CLUSTER_INFO, limit=MAX_ANSWER)
        except ClusterError as error:
            if error.status not in (401, 403, 404):
                raise
            raise ClusterError(
                f"The cluster of {name} does not show its CA to strangers.",
                why=f"ConfigMap kube-public/cluster-info, which kubeadm makes, cannot be read. {error.why}".strip(),
                next_step="Give the CA itself: --ca-file FILE (on a control plane node: /etc/kubernetes/pki/ca.crt)",
                status=error.status,
            ) from error
    shown = _authorities(found)
    believed = "".join(pinned(shown, pin))
    if not believed:
        raise ClusterError(
            f"The server of {name} is not the cluster with that hash.",
            why="None of the CA certificates that it shows has the pinned key."
            if shown
            else "Its ConfigMap kube-public/cluster-info shows no CA.",
            next_step="Compare server and hash with what the cluster's people say; someone may be in between.",
        )
    return believed


async def whoami(access: Access, environ: Mapping[str, str]) -> str:
    """The user that the cluster takes the token for; empty where it knows him and does not say. Raises ClusterError."""
    try:
        async with Api(access, environ=environ) as api:
            try:
                body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
                return _user(await api.create(REVIEWS, body))
            except ClusterError as error:
                if error.status == 403:  # who is known may still not ask
                    return ""
                if error.status != 404:
                    raise
            await api.get("/api")  # before Kubernetes 1.28: every known user may ask for that, and a wrong token is 401
            return ""
    except ClusterError as error:
        if error.status == 401:
            raise ClusterError(
                f"The cluster of {access.name} does not accept this token.",
                why=error.why,
                next_step="Get a new one, and sign in again. Nothing was kept.",
                status=401,
            ) from error
        if access.ca is None and _is_unknown_authority(error):
            error.next_step = HOW_TO_PIN
        raise


def _authorities(found: Mapping[str, Any]) -> str:
    """The CA certificates in the kubeconfig in a ConfigMap cluster-info; empty for anything else."""
    import yaml

    data = found.get("data")
    text = data.get("kubeconfig") if isinstance(data, dict) else None
    try:
        tree = yaml.safe_load(text) if isinstance(text, str) else None
        encoded = [each["cluster"]["certificate-authority-data"] for each in tree["clusters"]] if tree else []
        return "\n".join(base64.b64decode(each, validate=True).decode("ascii") for each in encoded)
    except (yaml.YAMLError, LookupError, TypeError, ValueError, binascii.Error, RecursionError):
        return ""


def _user(review: Mapping[str, Any]) -> str:
    status = review.get("status")
    info = status.get("userInfo") if isinstance(status, dict) else None
    name = str(info.get("username") or "") if isinstance(info, dict) else ""
    return "".join(c for c in name if c.isprintable())[:200]


def _is_unknown_authority(error: BaseException) -> bool:
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes(error))
