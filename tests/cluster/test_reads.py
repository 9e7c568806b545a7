"""What is read of an API, in how few requests, and that no single refusal costs more than its own fact."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from devlink.cluster import reads
from devlink.cluster.discovery import Discovery, Wishes, discover
from devlink.cluster.reads import FIRST, READS, Collected, Read, collect, collect_owners
from devlink.errors import ClusterError
from tests.cluster.discovery import networks
from tests.cluster.discovery.networks import Object

RESOURCES = {
    "Node": "/api/v1/nodes",
    "ServiceCIDR": "/apis/networking.k8s.io/v1/servicecidrs",
    "IPPool": "/apis/{api}/ippools",
    "BlockAffinity": "/apis/{api}/blockaffinities",
    "BGPConfiguration": "/apis/{api}/bgpconfigurations",
    "BGPPeer": "/apis/{api}/bgppeers",
    "FelixConfiguration": "/apis/{api}/felixconfigurations",
    "CiliumNode": "/apis/cilium.io/v2/ciliumnodes",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
    "BGPFilter": "/apis/{api}/bgpfilters",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
}
ALWAYS = (
    "/api/v1/nodes",
    "/api/v1/pods",
    "/api/v1/namespaces/kube-system/services",
    "/api/v1/namespaces/kube-system/pods",
)
"""Lists that every API has, though they may be empty."""


class FakeApi:
    """An API that has some objects, and that may refuse some paths; it counts what it is asked."""

    def __init__(
        self, objects: list[Object], *, refuse: Mapping[str, int | None] | None = None, valid_range: str = ""
    ) -> None:
        self.lists: dict[str, list[Object]] = {path: [] for path in ALWAYS}
        self.single: dict[str, Object] = {}
        for item in objects:
            namespace, name = item.get("metadata", {}).get("namespace", ""), item.get("metadata", {}).get("name", "")
            if item["kind"] == "ConfigMap":
                self.single[f"/api/v1/namespaces/{namespace}/configmaps/{name}"] = item
            elif item["kind"] in RESOURCES:
                path = RESOURCES[item["kind"]].format(api=item["apiVersion"], namespace=namespace)
                self.lists.setdefault(path, []).append(item)
                if item["kind"] == "Pod":
                    self.lists["/api/v1/pods"].append(item)
                if item["kind"] == "Service":
                    self.single[f"{path}/{name}"] = item
        self.refuse = dict(refuse or {})
        self.valid_range = valid_range
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, limit: int = 0) -> Object:
        await self._ask(path)
        if path not in self.single:
            raise ClusterError(f"The cluster has no {path}.", status=404)
        return self.single[path]

    async def items(
        self, path: str, params: Mapping[str, str] | None = None, *, page: int = 500
    ) -> AsyncIterator[Object]:
        await self._ask(path)
        if path not in self.lists:
            raise ClusterError(f"The cluster has no {path}.", status=404)
        selector = (params or {}).get("labelSelector", "")
        for place, item in enumerate(self.lists[path]):
            if place and place % page == 0:
                await self._ask(path)
            if _is_selected(item, selector):
                yield item

    async def create(self, path: str, body: Object, params: Mapping[str, str] | None = None) -> Object:
        assert params == {"dryRun": "All"}
        await self._ask(f"POST {path}")
        if self.valid_range:
            raise ClusterError("It is invalid.", why=networks.refusal(self.valid_range)["message"], status=422)
        raise ClusterError("It is invalid.", why="does not match the current range", status=422)

    async def _ask(self, path: str) -> None:
        self.asked.append(path)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if path in self.refuse:
            status = self.refuse[path]
            raise ClusterError("The cluster does not allow that.", why=f"{path} is forbidden.", status=status)


def _is_selected(item: Object, selector: str) -> bool:
    """`key=value` and `key in (a,b)`, as far as the table of reads uses them."""
    labels = item["metadata"].get("labels", {})
    if " in (" in selector:
        key, _, values = selector.partition(" in (")
        return labels.get(key) in values.rstrip(")").split(",")
    key, _, value = selector.partition("=")
    return not selector or labels.get(key) == value


def collected(api: FakeApi) -> Collected:
    return asyncio.run(collect(api))


def discovered(api: FakeApi) -> Discovery:
    found = collected(api)
    return discover(found.objects, Wishes(name="qa"), unread=found.unread)


CLUSTERS: list[Callable[[], list[Object]]] = [
    networks.network_a, networks.network_b, networks.network_d, networks.network_e, networks.k3s, networks.rke2,
    networks.cilium, networks.dual_stack,
]  # fmt: skip


@pytest.mark.parametrize("objects", CLUSTERS, ids=lambda f: f.__name__)
def test_what_is_read_is_all_that_discovery_needs(objects: Callable[[], list[Object]]) -> None:
    whole = discover(objects(), Wishes(name="qa"))
    read = discovered(FakeApi(objects()))
    assert read.profile == whole.profile
    silent = {"DL-NOT-THERE"}
    assert [f for f in read.findings if f.code not in silent] == list(whole.findings)


def test_objects_are_cut_down_to_what_is_looked_at() -> None:
    found = collected(FakeApi(networks.network_a()))
    nodes = [item for item in found.objects if item["kind"] == "Node"]
    assert nodes
    assert all("images" not in item["status"] and "managedFields" not in item["metadata"] for item in nodes)
    assert all("node.alpha.kubernetes.io/ttl" not in item["metadata"]["annotations"] for item in nodes)
    assert len(json.dumps(nodes)) < len(json.dumps(networks.network_a()[:5])) / 1.5


def test_a_few_reads_are_under_way_at_once_and_no_more() -> None:
    api = FakeApi(networks.network_a())
    collected(api)
    assert 1 < api.most_at_once <= reads.AT_ONCE


def test_where_calicos_api_server_answers_its_storage_is_not_asked() -> None:
    bgp_filter = networks.thing(networks.SERVED, "BGPFilter", "a", spec={})
    api = FakeApi([*networks.network_a(networks.SERVED), bgp_filter])
    collected(api)
    served = [path for path in api.asked if path.startswith("/apis/projectcalico.org/v3/")]
    assert len(served) == 6
    assert not any(path.startswith("/apis/crd.projectcalico.org/") for path in api.asked)


def test_where_calicos_api_server_is_down_its_storage_is_asked() -> None:
    api = FakeApi(networks.network_a(), refuse={"/apis/projectcalico.org/v3/ippools": 503})
    profile = discovered(api).profile
    assert profile is not None
    assert list(map(str, profile.spec.pods or ())) == ["10.20.0.0/16"]


def test_a_sample_of_the_pods_is_one_page() -> None:
    pods = [networks.pod(f"p{n}", f"10.20.{n // 250}.{n % 250}", namespace="default") for n in range(2000)]
    api = FakeApi([*networks.network_a(), *pods])
    found = collected(api)
    assert len([item for item in found.objects if item["kind"] == "Pod"]) <= reads.SAMPLE + 2
    assert api.asked.count("/api/v1/pods") == 1


def test_a_kind_that_a_cluster_does_not_have_is_no_warning() -> None:
    found = discovered(FakeApi(networks.network_a()))
    assert {one.status for one in found.unread} == {404}
    assert "list ciliumnodes.cilium.io" in {one.right for one in found.unread}
    assert not [finding for finding in found.findings if finding.code == "DL-NOT-READ"]


@pytest.mark.parametrize("status", [403, 404, 500, None])
@pytest.mark.parametrize("read", [FIRST, *READS], ids=lambda read: f"{read.right} {dict(read.params)}")
def test_any_single_read_may_fail(read: Read, status: int | None) -> None:
    api = FakeApi(networks.network_a(), refuse=dict.fromkeys(read.paths, status))
    if status is None and read is FIRST:
        with pytest.raises(ClusterError):
            collected(api)
        return
    found = discovered(api)
    assert found.profile is not None
    assert found.profile.spec.dns is not None or "services" in read.right
    lost = [one for one in found.unread if one.right == read.right]
    assert [one.status for one in lost][:1] == [status]
    assert any(read.right in finding.fix for finding in found.findings)


def test_one_right_at_a_time_is_enough_for_a_profile() -> None:
    """All but one resource refused, each in turn: there is a profile, or the reason why there is none."""
    every = {path for read in (FIRST, *READS, reads.KUBERNETES) for path in read.paths} | {f"POST {reads.IMAGINED_AT}"}
    for read in READS:
        api = FakeApi(networks.network_a(), refuse=dict.fromkeys(every - set(read.paths), 403))
        found = discovered(api)
        assert found.profile is None or found.profile.spec is not None
        assert any(finding.code == "DL-NOT-READ" for finding in found.findings)


def test_without_any_right_there_is_no_profile_and_every_right_is_named() -> None:
    every = {path for read in (FIRST, *READS, reads.KUBERNETES) for path in read.paths} | {f"POST {reads.IMAGINED_AT}"}
    found = discovered(FakeApi(networks.network_a(), refuse=dict.fromkeys(every, 403)))
    assert found.profile is None
    fixes = " ".join(finding.fix for finding in found.findings if finding.code == "DL-NOT-READ")
    assert all(read.right in fixes for read in (FIRST, *READS))


@pytest.mark.parametrize("path", [FIRST.paths[0], "/api/v1/nodes", "/api/v1/pods"])
def test_an_api_that_does_not_know_who_asks_ends_the_run(path: str) -> None:
    with pytest.raises(ClusterError) as caught:
        collected(FakeApi(networks.network_a(), refuse={path: 401}))
    assert caught.value.status == 401


def test_an_api_that_goes_away_ends_the_run() -> None:
    class Dying(FakeApi):
        async def _ask(self, path: str) -> None:
            if len(self.asked) > 5:
                raise ClusterError("The API cannot be reached.")
            await super()._ask(path)

    with pytest.raises(ClusterError, match="cannot be reached"):
        collected(Dying(networks.network_a()))


def test_a_single_read_without_an_answer_costs_its_fact_only() -> None:
    found = discovered(FakeApi(networks.network_a(), refuse={"/api/v1/nodes": None}))
    assert found.profile is not None
    assert found.profile.spec.nodes is None
    assert [one.right for one in found.unread if one.status is None] == ["list nodes"]


def test_an_older_api_server_is_asked_for_a_service_that_cannot_be_only_where_nothing_else_knows() -> None:
    unknown = networks.without(networks.network_c(), "Status")
    api = FakeApi(unknown, valid_range="10.68.0.0/16")
    profile = discovered(api).profile
    assert profile is not None
    assert list(map(str, profile.spec.services or ())) == ["10.68.0.0/16"]
    assert profile.provenance["services"] == "the API server's answer to a Service with dryRun=All"
    assert api.asked[-1] == f"POST {reads.IMAGINED_AT}"
    known = FakeApi(networks.network_a(), valid_range="10.68.0.0/16")
    discovered(known)
    assert f"POST {reads.IMAGINED_AT}" not in known.asked


def test_an_api_server_that_names_no_range_leaves_a_guess_that_is_marked() -> None:
    unknown = [
        *networks.without(networks.network_c(), "Status"),
        networks.service("kubernetes", "default", "10.68.0.1"),
    ]
    found = discovered(FakeApi(unknown))
    assert found.profile is not None
    assert list(map(str, found.profile.spec.services or ())) == ["10.68.0.0/16"]
    assert found.profile.provenance["services"].startswith("guess: ")
    assert "DL-GUESS" in {finding.code for finding in found.findings}


def test_an_object_of_another_shape_than_its_list_costs_nothing() -> None:
    api = FakeApi(networks.network_a())
    odd: list[Any] = [
        {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "odd", "labels": {}}, "spec": [], "status": "?"},
        {
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {"name": 7, "annotations": []},
            "spec": {"podCIDRs": {"a": 1}},
        },
    ]
    api.lists["/api/v1/nodes"] += odd
    profile = discovered(api).profile
    assert profile is not None
    assert len(profile.spec.nodes or ()) == 5


def test_owners_are_read_whole_or_not_at_all() -> None:
    api = FakeApi(networks.network_a())
    assert {item["kind"] for item in asyncio.run(collect_owners(api))} == {"Node", "BlockAffinity"}
    for status in (403, 500, None):
        with pytest.raises(ClusterError) as caught:
            asyncio.run(collect_owners(FakeApi(networks.network_a(), refuse={"/api/v1/nodes": status})))
        assert caught.value.status == status


def test_of_places_that_are_missing_and_one_that_may_not_be_read_the_latter_is_told() -> None:
    place = "/api/v1/namespaces/kube-system/configmaps/kube-flannel-cfg"
    found = collected(FakeApi(networks.network_a(), refuse={place: 403}))
    assert [(one.path, one.status) for one in found.unread if "kube-flannel-cfg" in one.right] == [(place, 403)]
