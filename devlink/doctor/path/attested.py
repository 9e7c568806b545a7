"""Whose API it is by which a session is relayed, where its own certificate is not seen: as the cluster says itself."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from devlink.core.findings import Finding, Severity
from devlink.core.profile import BridgeProfile, Identity
from devlink.errors import ClusterError, DevlinkError, reason

if TYPE_CHECKING:
    from devlink.cluster.api import Api

CA_LIMIT = 10.0
"""Seconds to read the cluster's CA by its API."""
ROOT_CA = "/api/v1/namespaces/{}/configmaps/kube-root-ca.crt"
"""What every namespace has of the CA (RootCAConfigMap, since Kubernetes 1.20)."""


async def has_its_ca(profile: BridgeProfile, context: str, environ: Mapping[str, str]) -> Finding | bool:
    """Whether the API of that context, or the current one, is that of a cluster with the profile's CA, as the cluster
    says itself; what is to be said where it does not say.

    That is what is left where the API server's own certificate is not seen: a proxy in between (Rancher) has another.
    """
    from devlink.cluster.api import Api
    from devlink.cluster.contexts import choose_access

    identity, dns = profile.spec.identity, profile.spec.dns
    assert identity is not None  # else nobody would have been asked
    try:
        async with asyncio.timeout(CA_LIMIT):
            access = await asyncio.to_thread(choose_access, context or None, environ)
            if access.insecure:
                return _unproven("the kubeconfig has its API's certificate unchecked")
            # Who may reach one namespace may read it there, and where the cluster's DNS is.
            own = (access.namespace, *((dns.namespaces or ()) if dns is not None else ()))
            places = dict.fromkeys(("default", *filter(None, own), "kube-system"))
            async with Api(access, environ=environ) as api:
                found = await _first_allowed(api, places)
        data = found.get("data")
        said = Identity(ca=str(data["ca.crt"])) if isinstance(data, dict) and "ca.crt" in data else None
    except TimeoutError:
        return _unproven("its API does not answer in time")
    except (DevlinkError, ValueError) as error:
        return _unproven(reason(error))
    return _unproven("kube-root-ca.crt has no certificate") if said is None else said.ca_hash == identity.ca_hash


async def _first_allowed(api: "Api", namespaces: Iterable[str]) -> Mapping[str, Any]:
    """The ConfigMap from the first of the namespaces in which it may be read. Raises ClusterError."""
    refusal: ClusterError | None = None
    for namespace in namespaces:
        try:
            return await api.get(ROOT_CA.format(namespace))
        except ClusterError as error:
            if error.status not in (403, 404):
                raise
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def _unproven(why: str) -> Finding:
    return Finding(
        code="DL-UNAUTHENTICATED",
        severity=Severity.WARNING,
        title="Nothing proves at this moment that this is the cluster that the profile means.",
        evidence="a proxy before its API shows a certificate of its own, and what the cluster says of its CA cannot "
        f"be read: {why}",
        fix="ask the cluster's people for the right to read the ConfigMap kube-root-ca.crt in a namespace of yours",
    )
