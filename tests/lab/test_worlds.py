"""Each network fails in the way that it is known for, and not in another: proof of the worlds by hand-made routes."""

import pytest

from devlink import lab
from devlink.lab import World
from tests.lab.by_hand import curl, route_per_node, via

pytestmark = pytest.mark.lab
LOST = "lost"


def heard(world: World) -> dict[str, str]:
    """Whose answer came from each pod and each service; LOST where none came."""
    spec = world.spec
    urls = {name: f"http://{spec.pod(name).address}:8080/" for name in ("web-0", "api-0")}
    urls |= {
        name: f"http://{spec.service(name, where).address}/" for name, where in (("web", "default"), ("api", "qa"))
    }
    said = {name: curl(world, url, "--max-time", "1") for name, url in urls.items()}
    return {name: LOST if answer.startswith("curl: (28)") else answer for name, answer in said.items()}


ALL = {"web-0": "web-0", "api-0": "api-0", "web": "web-0", "api": "api-0"}


@pytest.mark.parametrize(("rp_filter", "lost"), [(1, ["api-0"]), (2, [])])
def test_behind_an_overlay_a_strict_reverse_path_filter_loses_only_pods_elsewhere(
    rp_filter: int, lost: list[str]
) -> None:
    """R4."""
    with World.start(lab.network_b(rp_filter=rp_filter)) as world:
        for prefix in (*world.spec.cluster.pods, *world.spec.cluster.services):
            via(world, prefix, world.spec.gateway.address)
        assert heard(world) == {**ALL, **dict.fromkeys(lost, LOST)}


def test_by_the_node_that_owns_it_a_pod_is_reached_past_the_overlay() -> None:
    with World.start(lab.network_b(rp_filter=1)) as world:
        route_per_node(world)
        assert heard(world) == ALL


def test_a_node_reaches_its_own_macvlan_pod_only_by_a_second_interface() -> None:
    for has_veth in (True, False):
        with World.start(lab.network_d(has_veth=has_veth)) as world:
            via(world, world.spec.cluster.services[0], world.spec.gateway.address)
            own = world.run(
                "node1", ["curl", "-s", "--max-time", "1", f"http://{world.spec.pod('web-0').address}:8080/"]
            )
            assert own.stdout.strip() == ("web-0" if has_veth else "")
            assert heard(world) == ALL if has_veth else {**ALL, "web": LOST}
            for transport in ("+notcp", "+tcp"):
                ask = ["dig", "+short", "+tries=1", "+timeout=1", transport, f"@{world.spec.dns_servers[0]}"]
                said = world.run(lab.LAPTOP, [*ask, world.spec.service_name("web")]).stdout.strip()
                assert said == str(world.spec.service("web").address)


@pytest.mark.parametrize("advertises_services", [True, False])
def test_services_are_behind_the_switch_only_if_they_are_advertised(advertises_services: bool) -> None:
    with World.start(lab.network_e(advertises_services=advertises_services)) as world:
        pods = {name: ALL[name] for name in ("web-0", "api-0")}
        said = heard(world)
        assert {name: said[name] for name in pods} == pods
        assert (said["api"] == "api-0") == advertises_services


def test_beside_the_switch_a_laptop_needs_routes_by_it() -> None:
    with World.start(lab.network_e(attachment=lab.Attachment.BESIDE_SWITCH)) as world:
        assert "api-0" not in heard(world).values()
        for prefix in (*world.spec.cluster.pods, *world.spec.cluster.services):
            via(world, prefix, world.spec.gateway.address)
        assert heard(world) == ALL
        assert curl(world, f"http://{lab.ORDINARY_NAME}/") == lab.UPSTREAM
