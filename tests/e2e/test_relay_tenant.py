"""Who has the rights of one namespace reaches what is in it, and its names where the cluster's DNS is given as well."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from devlink import lab
from devlink.lab.credentials import TENANT
from devlink.lab.rights import TENANTS_NAMESPACE
from tests.e2e.far import Far, far_away

pytestmark = [pytest.mark.cluster, pytest.mark.matrix]
ROLE = Path(__file__).parents[2] / "packaging/kubernetes/rights/relay-namespace.yaml"
PROFILE = "/home/alice/tenant.yaml"


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    with far_away(tmp_path_factory.mktemp("tenant") / "helper.log") as made:
        tree = yaml.safe_load(made.world.profile())
        tree["spec"]["dns"]["namespaces"] = [TENANTS_NAMESPACE]
        made.world.write_file(lab.LAPTOP, PROFILE, yaml.safe_dump(tree))
        made.login(made.world.kubeconfig(TENANT))
        yield made


def test_without_the_namespace_of_the_clusters_dns_it_is_said_where_nothing_could_be_searched(far: Far) -> None:
    said = far.up(PROFILE, expect=4)
    assert f"in {TENANTS_NAMESPACE}; you may not search default, kube-system and the rest of the cluster" in said


def test_with_it_names_and_addresses_of_the_namespace_are_reached_and_no_others(far: Far) -> None:
    far.kubectl("apply", "-n", "kube-system", "-f", "-", input=ROLE.read_text())
    far.up(PROFILE)
    pod, second = far.world.spec.pod("api-0").addresses
    for host in (f"api.{TENANTS_NAMESPACE}.svc.cluster.local", f"{pod}:8080", f"[{second}]:8080"):
        assert far.reaches(f"http://{host}", "api-0"), host
    assert far.curl(f"http://{far.world.spec.service('web').address}").returncode != 0
    far.wait_until(lambda: far.refused() == {"no-object": 1}, "it is told, twice a second at most")
