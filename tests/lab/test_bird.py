"""The real BIRD brings the worlds their routes: reflectors, a mesh through a tunnel, eBGP with a switch."""

from pathlib import Path

import pytest

from devlink import lab
from devlink.errors import HelperError
from devlink.lab import Routes, World, bird
from tests.lab.by_hand import curl, via
from tests.lab.routers import await_true, kill_bird, learned, next_hop

pytestmark = [pytest.mark.lab, pytest.mark.peers]


def test_two_reflectors_tell_the_router_the_owners_and_one_is_enough() -> None:
    spec = lab.network_a(routes=Routes.BIRD, reflectors=2, laptop=lab.LaptopPlace.BEHIND_ROUTER)
    by_hand = lab.network_a(reflectors=2, laptop=lab.LaptopPlace.BEHIND_ROUTER)
    with World.start(spec) as world:
        owners = {str(route.destination): (str(route.next_hop), "eth0") for route in by_hand.router.routes}
        await_true(lambda: learned(world, lab.ROUTER) == owners, "both reflectors have told all")
        assert curl(world, f"http://{spec.pod('api-0').address}:8080/") == "api-0"
        assert curl(world, f"http://{spec.service('api', 'qa').address}/") == "api-0"
        kill_bird(world, "node1")
        # What the dead one announced of its own is gone, with the services by it; the rest comes by the other.
        gone, services = str(spec.cluster.nodes[0].pods[0]), str(spec.cluster.services[0])
        left = {**owners, services: (str(spec.host("node3").address), "eth0")}
        del left[gone]
        await_true(lambda: learned(world, lab.ROUTER) == left, "the second reflector tells the rest")
        assert curl(world, f"http://{spec.pod('api-0').address}:8080/") == "api-0"


def test_a_full_mesh_leads_into_the_tunnel() -> None:
    spec = lab.network_b(routes=Routes.BIRD)
    with World.start(spec) as world:
        others = {str(node.pods[0]): (None, "tunl0") for node in spec.cluster.nodes if node.host != "node1"}
        assert learned(world, "node1") == others
        for prefix in (*spec.cluster.pods, *spec.cluster.services):
            via(world, prefix, spec.gateway.address)
        for pod in ("web-0", "api-0"):
            assert curl(world, f"http://{spec.pod(pod).address}:8080/") == pod


def test_by_a_single_hop_session_the_switch_sends_to_the_owner() -> None:
    spec = lab.network_e(routes=Routes.BIRD, drop_invalid=True)
    with World.start(spec) as world:
        assert next_hop(world, lab.ROUTER, "api-0") == str(spec.host("node3").address)
        assert curl(world, f"http://{spec.pod('api-0').address}:8080/") == "api-0"


def test_without_bird_a_world_that_wants_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(bird, "SYSTEM_FOLDERS", "/nonexistent")
    with pytest.raises(HelperError, match="BIRD") as refused:
        World.start(lab.network_b(routes=Routes.BIRD))
    assert "peers.sh" in refused.value.next_step
