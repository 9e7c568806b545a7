"""What discovery reads of a cluster's API: one table, and the edge that reads it. Any single read may fail."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from devlink.cluster.discovery import Unread, flannel, knows_services
from devlink.errors import ClusterError, reason

Object = dict[str, Any]
Fields = Mapping[str, Any]
"""Which fields of an object are kept: by key, either what is kept below it (also of each entry of a list), or ALL."""
ALL: Fields = {}
AT_ONCE = 4
"""Reads under way at the same time: quick enough, and no burden for an API server."""
MAX_OBJECT = 4 * 1024 * 1024
"""Octets of one object; etcd keeps 1.5 MB."""
SAMPLE = 250
"""Pods that are looked at to see where pods' addresses are: one page."""


class Reader(Protocol):
    """The part of devlink.cluster.api.Api that this needs."""

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, limit: int = ...) -> Object: ...
    def items(
        self, path: str, params: Mapping[str, str] | None = None, *, page: int = ...
    ) -> AsyncIterator[Object]: ...
    async def create(self, path: str, body: Object, params: Mapping[str, str] | None = None) -> Object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One thing to read."""

    right: str
    """That is needed for it, in words."""
    paths: tuple[str, ...]
    """Where it may be; the first that answers counts, the others are not asked."""
    keep: Fields
    is_list: bool = True
    params: Mapping[str, str] = field(default_factory=dict)
    most: int | None = None
    """Objects after which it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What could be read, and what not."""

    objects: tuple[Object, ...] = field(repr=False)
    """Not shown: asyncio makes the text of a task's result, and throws it away."""
    unread: tuple[Unread, ...]


_NAME: Fields = {"name": ALL, "namespace": ALL, "deletionTimestamp": ALL}
_LABELLED: Fields = {**_NAME, "labels": ALL}
_NODE: Fields = {
    "metadata": {
        **_LABELLED,
        "annotations": {
            "projectcalico.org/IPv4Address": ALL,
            "projectcalico.org/IPv6Address": ALL,
            "projectcalico.org/RouteReflectorClusterID": ALL,
            "projectcalico.org/labels": ALL,
            "flannel.alpha.coreos.com/backend-type": ALL,
            "flannel.alpha.coreos.com/public-ip": ALL,
            "flannel.alpha.coreos.com/public-ipv6": ALL,
            "k3s.io/node-args": ALL,
            "rke2.io/node-args": ALL,
        },
    },
    "spec": {"podCIDR": ALL, "podCIDRs": ALL},
    "status": {"addresses": ALL, "conditions": {"type": ALL, "status": ALL}},
}
_POD: Fields = {
    "metadata": _LABELLED,
    "spec": {"hostNetwork": ALL, "containers": {"command": ALL, "args": ALL}},
    "status": {"phase": ALL, "podIP": ALL, "podIPs": ALL, "hostIP": ALL, "hostIPs": ALL},
}
_SERVICE: Fields = {"metadata": _LABELLED, "spec": {"clusterIP": ALL, "clusterIPs": ALL, "ports": ALL}}
_SLICE: Fields = {"metadata": _LABELLED, "endpoints": {"addresses": ALL, "conditions": ALL, "targetRef": {"kind": ALL}}}
_SPEC: Fields = {"metadata": _NAME, "spec": ALL}
_BLOCK: Fields = {"metadata": _NAME, "spec": {"cidr": ALL, "node": ALL, "state": ALL, "deleted": ALL}}
_DATA: Fields = {"metadata": _NAME, "data": ALL}
_DNS_SLICES = "kubernetes.io/service-name in (kube-dns,rke2-coredns-rke2-coredns,coredns)"
_KUBE_SYSTEM = "/api/v1/namespaces/kube-system"


def _config_map(*places: str) -> Read:
    """A ConfigMap by its namespace and name; `places` are where it may be."""
    namespace, _, name = places[0].partition("/")
    paths = tuple(f"/api/v1/namespaces/{p.replace('/', '/configmaps/')}" for p in places)
    return Read(right=f"get configmaps/{name} in {namespace}", paths=paths, keep=_DATA, is_list=False)


def _calico(resource: str, keep: Fields = _SPEC) -> Read:
    """What Calico's API server serves, else its storage."""
    paths = (f"/apis/projectcalico.org/v3/{resource}", f"/apis/crd.projectcalico.org/v1/{resource}")
    return Read(right=f"list {resource}.crd.projectcalico.org", paths=paths, keep=keep)


FIRST = _config_map("kube-public/kube-root-ca.crt", "kube-system/kube-root-ca.crt", "default/kube-root-ca.crt")
"""Small, and in every namespace: it shows whether there is an API at all."""
READS = (
    Read(right="list nodes", paths=("/api/v1/nodes",), keep=_NODE),
    Read(
        right="list servicecidrs.networking.k8s.io",
        paths=("/apis/networking.k8s.io/v1/servicecidrs", "/apis/networking.k8s.io/v1beta1/servicecidrs"),
        keep=_SPEC,
    ),
    _calico("ippools", {"metadata": _LABELLED, "spec": ALL}),
    _calico("blockaffinities", _BLOCK),
    _calico("bgpconfigurations"),
    _calico("bgppeers"),
    _calico("bgpfilters"),
    _calico("felixconfigurations"),
    Read(
        right="list ciliumnodes.cilium.io",
        paths=("/apis/cilium.io/v2/ciliumnodes",),
        keep={"metadata": _NAME, "spec": {"ipam": ALL}},
    ),
    _config_map("kube-system/cilium-config", "cilium/cilium-config"),
    _config_map(*flannel.CONFIG_MAPS),
    _config_map("kube-system/kubeadm-config"),
    _config_map("kube-system/kubelet-config"),
    _config_map("kube-system/kube-proxy"),
    _config_map("kube-system/coredns", "kube-system/rke2-coredns-rke2-coredns"),
    Read(right="list services in kube-system", paths=(f"{_KUBE_SYSTEM}/services",), keep=_SERVICE),
    Read(
        right="list endpointslices.discovery.k8s.io in kube-system",
        paths=("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices",),
        params={"labelSelector": _DNS_SLICES},
        keep=_SLICE,
    ),
    Read(
        right="list pods in kube-system",
        paths=(f"{_KUBE_SYSTEM}/pods",),
        params={"labelSelector": "component in (kube-apiserver,kube-controller-manager)"},
        keep=_POD,
    ),
    Read(
        right="list pods in kube-system",
        paths=(f"{_KUBE_SYSTEM}/pods",),
        params={"labelSelector": "k8s-app=kube-dns"},
        keep=_POD,
    ),
    Read(
        right="list pods in kube-system",
        paths=("/api/v1/pods", f"{_KUBE_SYSTEM}/pods"),
        params={"fieldSelector": "status.phase=Running"},
        keep=_POD,
        most=SAMPLE,
    ),
)
OWNERS = tuple(
    read for read in READS if read.paths[-1].rpartition("/")[2] in ("nodes", "blockaffinities", "ciliumnodes")
)
"""What says which node owns which pod blocks."""
KUBERNETES = Read(
    right="get services/kubernetes in default",
    paths=("/api/v1/namespaces/default/services/kubernetes",),
    keep=_SERVICE,
    is_list=False,
)
"""Read only where nothing said which network ClusterIPs are of."""
IMAGINED: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "devlink-probe"},
    "spec": {"clusterIP": "1.1.1.1", "ports": [{"port": 80}]},
}
"""A Service that no cluster can have: an API server before 1.33 says which addresses it could have had."""
IMAGINED_AT = "/api/v1/namespaces/default/services"


async def collect(api: Reader) -> Collected:
    """All that the table names, trimmed to what discovery looks at.

    A read that is refused or fails is in `unread`, with the right that it needs. Raises ClusterError where there is
    no API to ask, or where it does not know who asks (401).
    """
    objects: list[Object] = []
    unread: list[Unread] = []

    async def take(read: Read) -> None:
        found = await _read(api, read)
        if isinstance(found, Unread):
            unread.append(found)
        else:
            objects.extend(found)

    await take(FIRST)
    await _still_there(api, unread)
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(read: Read) -> None:
        async with turns:
            await take(read)

    try:
        async with asyncio.TaskGroup() as group:
            for read in READS:
                group.create_task(in_turn(read))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    await _still_there(api, unread)
    if not knows_services(objects):
        await take(KUBERNETES)
        objects, unread = await _imagine(api, objects, unread)
    return Collected(objects=tuple(objects), unread=tuple(sorted(unread, key=lambda one: one.path)))


async def collect_owners(api: Reader) -> tuple[Object, ...]:
    """The objects that say which node owns which pod blocks.

    Raises ClusterError where one of them may not be read or is not answered: half of them would be wrong.
    """
    objects: list[Object] = []
    for read in OWNERS:
        found = await _read(api, read)
        if not isinstance(found, Unread):
            objects += found
        elif found.status != 404:  # what is not there, this cluster does not have
            right = f"It takes the right to {found.right}." if found.status == 403 else ""
            raise ClusterError(found.why, next_step=right, status=found.status)
    return tuple(objects)


async def _read(api: Reader, read: Read) -> list[Object] | Unread:
    """The objects of one read, or why there are none. Raises ClusterError for a 401."""
    failures: list[tuple[str, ClusterError]] = []
    for path in read.paths:
        try:
            if read.is_list:
                return await _listed(api, path, read)
            found = await api.get(path, limit=MAX_OBJECT)
            return [kept(found, read.keep)]
        except ClusterError as error:
            if error.status == 401:
                raise
            failures.append((path, error))
            if error.status is None:
                break  # nobody answered: what else there may be would not be answered either
    # What is not there needs no right; what may not be read may be there.
    place, worst = min(failures, key=lambda failure: failure[1].status == 404)
    return Unread(path=place, status=worst.status, why=reason(worst), right=read.right)


async def _listed(api: Reader, path: str, read: Read) -> list[Object]:
    found: list[Object] = []
    pages = api.items(path, read.params, page=read.most) if read.most else api.items(path, read.params)
    async with contextlib.aclosing(pages) as items:  # type: ignore[type-var]  # an async generator, in truth
        async for item in items:
            found.append(kept(item, read.keep))
            if len(found) == read.most:
                break
    return found


def kept(item: Mapping[str, Any], fields: Fields) -> Object:
    """An object with its kind, cut down to `fields`: of 5,000 nodes of 8 KB each one KB is looked at."""
    return {"apiVersion": item.get("apiVersion"), "kind": item.get("kind"), **_below(item, fields)}


def _below(tree: Any, fields: Fields) -> Any:
    if isinstance(tree, list):
        return [_below(entry, fields) for entry in tree]
    if not isinstance(tree, Mapping) or not fields:
        return tree
    return {key: _below(tree[key], below) for key, below in fields.items() if key in tree}


async def _still_there(api: Reader, unread: list[Unread]) -> None:
    """Where a read got no answer, see whether there still is an API: without one there is no end to failures."""
    if any(one.status is None for one in unread):
        try:
            await api.get(FIRST.paths[0], limit=MAX_OBJECT)
        except ClusterError as error:
            if error.status is None or error.status == 401:
                raise


async def _imagine(api: Reader, objects: list[Object], unread: list[Unread]) -> tuple[list[Object], list[Unread]]:
    """Ask for a Service that cannot be, as a dry run; the refusal may name the network of ClusterIPs."""
    try:
        await api.create(IMAGINED_AT, IMAGINED, {"dryRun": "All"})
    except ClusterError as error:
        if error.status == 422:
            return [*objects, {"apiVersion": "v1", "kind": "Status", "message": error.why}], unread
        right = "create services in default (it asks for a dry run only)"
        refused = Unread(path=IMAGINED_AT, status=error.status, why=reason(error), right=right)
        return objects, [*unread, refused]
    return objects, unread
