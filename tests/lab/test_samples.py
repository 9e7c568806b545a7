"""The sample profiles are of the networks that the lab has: whoever starts from one starts from what is tested."""

from pathlib import Path

import pytest

from devlink import lab
from devlink.core.profile import BridgeProfile
from devlink.core.profile_document import decode_profile
from devlink.lab.profile import profile_text

FOLDER = Path(__file__).resolve().parents[2] / "profiles"
WORLDS = {
    "a-calico-rr": lab.network_a(reflectors=2),
    "b-calico-overlay": lab.network_b(),
    "c-flannel-hostgw": lab.network_c(),
    "d-macvlan-underlay": lab.network_d(),
    "e-calico-ebgp": lab.network_e(),
}


def test_each_network_has_a_sample() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(WORLDS)


@pytest.mark.parametrize("name", WORLDS)
def test_the_sample_is_of_the_world(name: str) -> None:
    def facts(profile: BridgeProfile) -> dict[str, object]:
        spec = profile.spec
        assert spec.dns is not None
        return {
            "name": profile.metadata.name,
            "pods": spec.pods,
            "services": spec.services,
            "domain": spec.dns.domain,
            "server": spec.dns.servers[0].address,
            "knows nodes": spec.nodes is not None,
        }

    sample = decode_profile((FOLDER / f"{name}.yaml").read_text("utf-8"))
    world = decode_profile(profile_text(WORLDS[name]))
    assert facts(world) == facts(sample)
    ours, theirs = ([gateway.address for gateway in (each.spec.gateways or ())] for each in (world, sample))
    assert ours[0] == theirs[0]
    assert set(ours) <= set(theirs)
