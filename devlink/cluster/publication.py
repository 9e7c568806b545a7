"""How a profile lies in its cluster: the ConfigMap, and the right to read it, as objects of the API; and back. PURE."""

import gzip
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from devlink.core.profile import BridgeProfile, Spec
from devlink.core.profile_document import MAX_BYTES, decode_profile, encode_profile
from devlink.errors import ProfileError

NAMESPACE = "kube-public"
CONFIG_MAP = "devlink-profile"
KEY = "profile.yaml"
PACKED_KEY = "profile.yaml.gz"
MANAGER = "devlink"
"""The field manager of what we write (server-side apply)."""
PLAIN_LIMIT = 512 * 1024
"""Octets up to which the profile lies in `data` as text; larger ones lie gzipped in `binaryData`."""
STORED_LIMIT = 1000 * 1024
"""Octets of base64 that an object may hold: etcd takes 1.5 MiB in all, the API 1 MiB of a ConfigMap's values."""
LABELS = {"app.kubernetes.io/name": "devlink", "app.kubernetes.io/managed-by": "devlink"}


def config_map(profile: BridgeProfile) -> dict[str, Any]:
    """The ConfigMap that publishes a profile. Raises ProfileError for one that fits into none."""
    import base64

    text = encode_profile(profile).encode()
    tree: dict[str, Any] = {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE, "labels": dict(LABELS)},
    }  # fmt: skip
    if len(text) <= PLAIN_LIMIT:
        return {**tree, "data": {KEY: text.decode()}}
    packed = base64.b64encode(gzip.compress(text, mtime=0)).decode()
    if len(text) > MAX_BYTES or len(packed) > STORED_LIMIT:
        raise ProfileError(
            f"The profile is too large to publish: {len(text)} octets, {len(packed)} as they would be stored.",
            why=f"A profile has {MAX_BYTES} at most, and a ConfigMap holds {STORED_LIMIT}.",
            next_step="Publish it without `nodes`: all pods then go through the gateways.",
        )
    return {**tree, "binaryData": {PACKED_KEY: packed}}


def emptied(manifest: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, Any]:
    """`manifest`, which also empties the other of the two keys where somebody else has filled it.

    Server-side apply takes nothing away that another manager put there; it can only be given another value.
    """
    cleared = dict(manifest)
    for place, key in (("data", KEY), ("binaryData", PACKED_KEY)):
        if _value(present, place, key) and not _value(manifest, place, key):
            cleared[place] = {key: ""}
    return cleared


def reader_rights() -> tuple[dict[str, Any], ...]:
    """The Role and its binding by which everybody whom the cluster knows may read the profile, and nothing else."""
    metadata = {"name": CONFIG_MAP, "namespace": NAMESPACE, "labels": dict(LABELS)}
    return (
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
            # watch is allowed for a single name where the request selects it: fieldSelector metadata.name.
            "rules": [
                {
                    "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CONFIG_MAP],
                    "verbs": ["get", "watch"],
                }
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": CONFIG_MAP},
            "subjects": [
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}
            ],
        },
    )  # fmt: skip


def manifests(profile: BridgeProfile) -> tuple[dict[str, Any], ...]:
    """All that `publish` applies, in this order."""
    return (config_map(profile), *reader_rights())


def yaml_of(objects: Iterable[Mapping[str, Any]]) -> str:
    """Objects as YAML documents, for `kubectl apply -f` and for GitOps: texts of several lines stay readable."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Without anchors: the objects share parts."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    Dumper.add_representer(
        str,
        lambda dumper, text: dumper.represent_scalar(
            "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
        ),
    )
    return str(yaml.dump_all(objects, Dumper=Dumper, sort_keys=False, width=120, explicit_start=True))


def published_profile(found: Mapping[str, Any]) -> BridgeProfile:
    """The profile in a ConfigMap that the API gave. Raises ProfileError, whatever it holds."""
    return decode_profile(_text(found), name=f"The profile in ConfigMap {NAMESPACE}/{CONFIG_MAP}")


def is_same(one: BridgeProfile, other: BridgeProfile) -> bool:
    """Whether two profiles tell laptops the same: all but the revision, and where the facts came from."""
    return _essence(one) == _essence(other)


def _essence(profile: BridgeProfile) -> tuple[str, Spec]:
    return profile.metadata.name, profile.spec


def _text(found: Mapping[str, Any]) -> str | bytes:
    # Empty is as good as not there: that is how we take over the place that another has filled.
    plain, packed = _value(found, "data", KEY) or None, _value(found, "binaryData", PACKED_KEY) or None
    if (plain is None) == (packed is None):
        count = "neither" if plain is None else "both"
        raise _broken(f"it has {count} of data[{KEY!r}] and binaryData[{PACKED_KEY!r}]; one is wanted")
    if packed is None and isinstance(plain, str):
        return plain
    if plain is None and isinstance(packed, str):
        return _unpacked(packed)
    raise _broken("its value is no text")


def _unpacked(packed: str) -> bytes:
    """Never more than a profile may have: what would grow on is not unpacked."""
    import base64
    import binascii

    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # gzip's own header (RFC 1952)
    try:
        text = unpacker.decompress(base64.b64decode(packed, validate=True), MAX_BYTES + 1)
    except (binascii.Error, zlib.error, ValueError):
        raise _broken(f"binaryData[{PACKED_KEY!r}] is no gzip") from None
    if len(text) > MAX_BYTES:
        raise _broken(f"binaryData[{PACKED_KEY!r}] holds more than {MAX_BYTES} octets once unpacked")
    if not unpacker.eof or unpacker.unused_data:
        raise _broken(f"binaryData[{PACKED_KEY!r}] is {'followed by more' if unpacker.eof else 'cut off'}")
    return text


def _value(found: Mapping[str, Any], place: str, key: str) -> Any:
    values = found.get(place)
    return values.get(key) if isinstance(values, dict) else None


def _broken(fault: str) -> ProfileError:
    return ProfileError(
        f"The ConfigMap {NAMESPACE}/{CONFIG_MAP} holds no profile.",
        why=f"{fault[0].upper()}{fault[1:]}.",
        next_step="Tell its publisher: `devlink profile publish` writes it anew.",
        faults=(fault,),
    )
