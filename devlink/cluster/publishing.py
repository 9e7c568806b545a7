"""Fetches what a cluster publishes, and publishes: the ConfigMap through an Api."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devlink.cluster.api import Api
from devlink.cluster.publication import CONFIG_MAP, MANAGER, NAMESPACE, manifests, published_profile
from devlink.core.profile import BridgeProfile
from devlink.errors import ClusterError, ConflictError, ProfileError

PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}"
MAX_ANSWER = 8 * 1024 * 1024
"""Octets of the object: the API stores 1.5 MiB at most."""
_PLACES = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "Role": ("/apis/rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a cluster says of itself."""

    profile: BridgeProfile
    resource_version: str
    """The object's edition, for a watch."""
    insecure: bool
    """The connection was not checked: then the profile has no identity, since anyone may have written it."""


async def fetch(api: Api) -> Published:
    """The published profile. Raises ClusterError (status 404 where nobody has published one), ProfileError."""
    try:
        found = await api.get(PATH, limit=MAX_ANSWER)
    except ClusterError as error:
        if error.status not in (403, 404):
            raise
        raise ClusterError(
            f"The cluster of {api.access.name} publishes no profile."
            if error.status == 404
            else f"You may not read the profile that the cluster of {api.access.name} may publish.",
            why=f"There is no ConfigMap {NAMESPACE}/{CONFIG_MAP}." if error.status == 404 else error.why,
            next_step="Whoever may read its nodes and write there can do it, once: devlink profile publish"
            if error.status == 404
            else f"Ask the cluster's people for the right to get configmaps/{CONFIG_MAP} in {NAMESPACE}: "
            "`devlink profile publish` gives it to everybody.",
            status=error.status,
        ) from error
    profile = published_profile(found)
    if api.access.insecure:
        profile = dataclasses.replace(profile, spec=dataclasses.replace(profile.spec, identity=None))
    return Published(
        profile=profile, resource_version=_metadata(found, "resourceVersion"), insecure=api.access.insecure
    )  # fmt: skip


async def publish(api: Api, profile: BridgeProfile, *, overwrite: bool) -> tuple[str, ...]:
    """Write the profile, and give everybody the right to read it; what could not be done besides, in words.

    Raises ConflictError where another has written what is there, unless told to `overwrite`; nothing is changed then.
    """
    if not overwrite:
        await _check_ours(api, profile)
    remarks = []
    for manifest in manifests(profile):
        base, resource = _PLACES[manifest["kind"]]
        path = f"{base}/namespaces/{NAMESPACE}/{resource}/{manifest['metadata']['name']}"
        try:
            await api.apply(path, manifest, manager=MANAGER, force=overwrite)
        except ClusterError as error:
            if manifest["kind"] == "ConfigMap":
                if error.status == 409:
                    raise _conflict(error.why) from error
                raise
            if error.status not in (403, 409):
                raise
            remarks.append(f"{manifest['kind']} {NAMESPACE}/{CONFIG_MAP} was not written: {error.why}")
    return tuple(remarks)


async def _check_ours(api: Api, profile: BridgeProfile) -> None:
    """Field managers tell whether another program wrote it; the profile's name, whether it is another profile."""
    try:
        found = await api.get(PATH, limit=MAX_ANSWER)
    except ClusterError as error:
        if error.status in (403, 404):
            return  # nothing there, or not to be seen: what is applied finds out by itself
        raise
    try:
        present = published_profile(found).metadata.name
    except ProfileError:
        return  # broken: to write it anew is the cure
    if present != profile.metadata.name:
        raise _conflict(f"It holds profile {present}, not {profile.metadata.name}; written by {_writers(found)}.")


def _conflict(why: str) -> ConflictError:
    return ConflictError(
        f"The ConfigMap {NAMESPACE}/{CONFIG_MAP} is another's.",
        why=why,
        next_step="See what would change: devlink profile diff. To write it all the same: --overwrite",
    )


def _metadata(found: Mapping[str, Any], key: str) -> str:
    metadata = found.get("metadata")
    return str(metadata.get(key, "")) if isinstance(metadata, dict) else ""


def _writers(found: Mapping[str, Any]) -> str:
    metadata = found.get("metadata")
    fields = metadata.get("managedFields") if isinstance(metadata, dict) else None
    writers = [
        f"{each.get('manager', '?')} at {each.get('time', '?')}" for each in fields or () if isinstance(each, dict)
    ]
    return ", ".join(writers) or "somebody"
