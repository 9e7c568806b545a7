"""Fetches what a cluster publishes, and publishes: the ConfigMap through an Api."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from devlink.cluster.api import Api
from devlink.cluster.publication import (
    CONFIG_MAP,
    KEY,
    MANAGER,
    NAMESPACE,
    PACKED_KEY,
    emptied,
    is_same,
    manifests,
    published_profile,
)
from devlink.core.profile import BridgeProfile
from devlink.errors import ClusterError, ConflictError, ProfileError, UsageError

PATH = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}"
MAX_ANSWER = 8 * 1024 * 1024
"""Octets of the object: the API stores 1.5 MiB at most."""
MAX_NAME = 80
"""Characters of a name that an object gives and an error repeats."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What came of publishing."""

    profile: BridgeProfile
    """What the cluster publishes now."""
    changed: bool
    """False: it was published already, and keeps its revision, so that no laptop fetches it again."""
    remarks: tuple[str, ...]
    """What could not be done besides, in words."""


async def fetch(api: Api) -> Published:
    """The published profile. Raises ClusterError (status 404 where nobody has published one), ProfileError."""
    try:
        found = await api.get(PATH, limit=MAX_ANSWER)
    except ClusterError as error:
        if error.status == 404:
            raise ClusterError(
                f"The cluster of {api.access.name} publishes no profile.",
                why=f"There is no ConfigMap {NAMESPACE}/{CONFIG_MAP}.",
                next_step="Whoever may read its nodes and write there can do it, once: devlink profile publish",
                status=404,
            ) from error
        if error.status == 403:
            raise ClusterError(
                f"You may not read the profile that the cluster of {api.access.name} may publish.",
                why=error.why,
                next_step=f"Ask the cluster's people for the right to get configmaps/{CONFIG_MAP} in {NAMESPACE}: "
                "`devlink profile publish` gives it to everybody.",
                status=403,
            ) from error
        raise
    profile = published_profile(found)
    if api.access.insecure:
        profile = without_identity(profile)
    return Published(
        profile=profile, resource_version=str(_metadata(found).get("resourceVersion", "")), insecure=api.access.insecure
    )


async def known(api: Api, *, overwrite: bool) -> BridgeProfile | None:
    """What is published, for those who publish again; None where nothing is, or nothing that is a profile.

    Raises ClusterError where that cannot be known; unless told to `overwrite`, also where it may not be read.
    """
    try:
        return (await fetch(api)).profile
    except ProfileError:
        return None
    except ClusterError as error:
        if error.status == 404 or (error.status == 403 and overwrite):
            return None
        if error.status == 403:
            raise _unseen(error) from error
        raise


def without_identity(profile: BridgeProfile) -> BridgeProfile:
    """A profile that came by a way on which anyone could have written it: its CA would prove nothing."""
    provenance = {key: source for key, source in profile.provenance.items() if not key.startswith("identity")}
    return dataclasses.replace(
        profile, spec=dataclasses.replace(profile.spec, identity=None), provenance=provenance
    )  # fmt: skip


async def publish(api: Api, profile: BridgeProfile, *, overwrite: bool) -> Written:
    """Write the profile, and give everybody the right to read it.

    Raises ConflictError where another has written what is there, unless told to `overwrite`; nothing is changed then.
    Raises UsageError over a connection that is not checked: whoever sits in between could put a CA of his own into
    the profile, and with it become every laptop's cluster.
    """
    if api.access.insecure:
        raise UsageError(
            f"Nothing is published over a connection that is not checked, as that of {api.access.name}.",
            why="Whoever sits in between could change the profile, and all laptops would trust what he wrote.",
            next_step="Put the cluster's CA into the kubeconfig (certificate-authority-data), or publish the output "
            "of --dry-run by a way that is checked.",
        )
    present = await _present(api, overwrite=overwrite)
    if not overwrite:
        _check_ours(present, profile)
    held = _profile_in(present)
    changed = held is None or not is_same(held, profile)
    wanted = profile if changed or held is None else held
    if changed and present.get("immutable") is True:
        raise ConflictError(
            f"The ConfigMap {NAMESPACE}/{CONFIG_MAP} is immutable.",
            why="Somebody has set `immutable: true` in it: nobody can change what it holds.",
            next_step=f"Delete it first: kubectl -n {NAMESPACE} delete configmap {CONFIG_MAP}. Then publish again, "
            "with what people gave it (--name, --namespace, --transport, --gateway).",
        )
    remarks = []
    for manifest in manifests(wanted):
        kind = manifest["kind"]
        base, resource = _PLACES[kind]
        path = f"{base}/namespaces/{NAMESPACE}/{resource}/{manifest['metadata']['name']}"
        if kind == "ConfigMap":
            manifest = emptied(manifest, present)
        try:
            written = await api.apply(path, manifest, manager=MANAGER, force=overwrite)
        except ClusterError as error:
            if kind == "ConfigMap":
                raise _not_written(error) from error
            if error.status not in (403, 409):
                raise
            remarks.append(f"{kind} {NAMESPACE}/{CONFIG_MAP} was not written: {error.why or error.what}")
        else:
            if kind == "ConfigMap":
                _check_whole(written)
    return Written(profile=wanted, changed=changed, remarks=tuple(remarks))


async def _present(api: Api, *, overwrite: bool) -> Mapping[str, Any]:
    """The ConfigMap as it is; empty where there is none, or where what nobody lets us see is to be overwritten."""
    try:
        return await api.get(PATH, limit=MAX_ANSWER)
    except ClusterError as error:
        if error.status == 404 or (error.status == 403 and overwrite):
            return {}
        if error.status == 403:
            raise _unseen(error) from error
        raise


def _unseen(error: ClusterError) -> ClusterError:
    return ClusterError(
        "Nothing was published: you may not read what may be published already.",
        why=error.why,
        next_step=f"It takes the right to get configmaps/{CONFIG_MAP} in {NAMESPACE}, so that what people gave stays. "
        "To write over whatever is there: --overwrite",
        status=403,
    )


def _profile_in(found: Mapping[str, Any]) -> BridgeProfile | None:
    """None also for a broken one: to write it anew is the cure."""
    try:
        return published_profile(found) if found else None
    except ProfileError:
        return None


def _check_ours(found: Mapping[str, Any], profile: BridgeProfile) -> None:
    """Raises ConflictError where the profile is another one, or another program keeps its text.

    The API compares values, and would let us add a text in the other key beside that of another program.
    """
    present = _profile_in(found)
    others = list(_other_writers(found))
    if present is not None and present.metadata.name != profile.metadata.name:
        written = f" Written by {', '.join(others)}." if others else ""
        revision = f", revision {present.metadata.revision}" if present.metadata.revision else ""
        raise _conflict(f"It holds profile {present.metadata.name}{revision}, not {profile.metadata.name}.{written}")
    if others:
        raise _conflict(f"Its text was written by {', '.join(others)}.")


def _other_writers(found: Mapping[str, Any]) -> Iterator[str]:
    """Who besides us owns the ConfigMap's data, and since when: `metadata.managedFields`."""
    for each in _metadata(found).get("managedFields") or ():
        if not isinstance(each, dict):
            continue
        manager, fields = str(each.get("manager", "?"))[:MAX_NAME], each.get("fieldsV1")
        if _owns_text(fields) and not (manager == MANAGER and each.get("operation") == "Apply"):
            shown = "".join(c if c.isprintable() else " " for c in manager)
            yield f"{shown} at {each.get('time', '?')}"


def _owns_text(fields: Any) -> bool:
    """Whether these fields (fieldsV1) hold a key of ours; other keys are nobody's harm."""
    if not isinstance(fields, dict):
        return False
    maps = (fields.get("f:data"), fields.get("f:binaryData"))
    return any(isinstance(each, dict) and not each.keys().isdisjoint((f"f:{KEY}", f"f:{PACKED_KEY}")) for each in maps)


def _check_whole(written: Mapping[str, Any]) -> None:
    """Another manager may keep the other key alive, after --overwrite too."""
    try:
        published_profile(written)
    except ProfileError as error:
        raise ClusterError(
            f"The profile was written into ConfigMap {NAMESPACE}/{CONFIG_MAP}, and cannot be read from it.",
            why=" ".join(error.faults) or error.why,
            next_step=f"Remove it and publish again: kubectl -n {NAMESPACE} delete configmap {CONFIG_MAP}",
        ) from error


def _not_written(error: ClusterError) -> ClusterError | ConflictError:
    if error.status == 409:
        return _conflict(error.why)
    if error.status == 403:
        return ClusterError(
            "You may not publish in this cluster.",
            why=error.why,
            next_step=f"You need to get, create and patch configmaps/{CONFIG_MAP} in {NAMESPACE}; or let the output of "
            "`devlink profile publish --dry-run` be applied by those who may.",
            status=403,
        )
    return error


def _conflict(why: str) -> ConflictError:
    return ConflictError(
        f"The ConfigMap {NAMESPACE}/{CONFIG_MAP} is another's.",
        why=why,
        next_step="See what would change: devlink profile diff. To write it all the same: --overwrite",
    )


def _metadata(found: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = found.get("metadata")
    return metadata if isinstance(metadata, dict) else {}
