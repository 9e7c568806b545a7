"""What the API is told of a world is what the world is."""

from collections.abc import Iterator

from devlink import lab
from devlink.lab import Parts
from devlink.lab.objects import Object, cluster_objects


def of_kind(spec: lab.WorldSpec, kind: str) -> Iterator[Object]:
    return (each for each in cluster_objects(spec, "") if each["kind"] == kind)


def test_under_flannel_the_nodes_have_the_blocks_that_the_world_routes() -> None:
    spec = lab.network_c(parts=Parts.REAL)
    told = {node["metadata"]["name"]: node["spec"]["podCIDRs"] for node in of_kind(spec, "Node")}
    assert told == {node.host: [str(prefix) for prefix in node.pods] for node in spec.cluster.nodes}


def test_a_pod_on_its_nodes_network_is_an_endpoint_with_the_nodes_address() -> None:
    spec = lab.network_d(parts=Parts.REAL)
    (endpoint,) = next(
        each["endpoints"] for each in of_kind(spec, "EndpointSlice") if each["metadata"]["name"] == "kube-dns-ipv4"
    )
    assert endpoint["addresses"] == [str(spec.host("node1").address)]
    assert endpoint["nodeName"] == "node1"
