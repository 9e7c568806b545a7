"""A gateway behind which another cluster answers: named when a session comes up, and never let carry its packets."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.certificates import Authority
from tests.e2e import breakages
from tests.e2e.two_gateways import FIRST, HOSTS, SECOND, WORKER, Gateways, beside_two

pytestmark = pytest.mark.lab
CLUSTER = Authority()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    with (
        beside_two(tmp_path_factory.mktemp("identity") / "helper.log") as gateways,
        breakages.api(gateways.link, HOSTS[WORKER], CLUSTER.issue("kubernetes.default.svc")),
    ):
        yield gateways


@pytest.fixture
def gateways(world: Gateways) -> Iterator[Gateways]:
    """The test leaves the laptop as it found it."""
    before = world.world.snapshot()
    yield world
    world.link.devlink("down", "--all")
    world.link.await_equal(before)


@pytest.fixture(scope="module")
def proven(world: Gateways) -> str:
    """A profile that carries the cluster's CA; its path."""
    return world.link.write_profile(
        "proven", lambda spec: spec.update(routing="gateway", identity={"ca": CLUSTER.pem})
    )  # fmt: skip


@contextmanager
def stranger(gateways: Gateways, address: str) -> Iterator[None]:
    with breakages.stranger(gateways.link, HOSTS[address]):
        yield


def test_where_both_lead_to_the_cluster_nothing_is_said(proven: str, gateways: Gateways) -> None:
    gateways.link.up(proven)
    assert not {"DL-UNAUTHENTICATED", "DL-GATEWAY-IDENTITY", "DL-GATEWAY-SILENT"} & gateways.codes()
    gateways.link.devlink("failover", SECOND)
    assert gateways.way() == SECOND


def test_one_that_leads_to_another_cluster_is_named_and_cannot_take_over(proven: str, gateways: Gateways) -> None:
    with stranger(gateways, SECOND):
        gateways.link.up(proven)
        assert "DL-GATEWAY-IDENTITY" in gateways.codes()
        assert gateways.link.devlink("failover", SECOND).returncode != 0
        assert gateways.way() == FIRST


def test_where_the_preferred_one_leads_to_another_cluster_nothing_is_installed(proven: str, gateways: Gateways) -> None:
    before = gateways.world.snapshot()
    with stranger(gateways, FIRST):
        said = gateways.link.devlink("up", proven)
    assert said.returncode == 4
    assert "not the cluster of profile proven" in said.stderr
    gateways.link.await_equal(before)


def test_one_that_is_silent_is_told_before_it_is_needed_and_looked_behind_before_it_takes_over(
    proven: str, gateways: Gateways
) -> None:
    gateways.stop_forwarding(SECOND)
    try:
        gateways.link.up(proven)
    finally:
        gateways.mend(SECOND)
    assert gateways.codes() & {"DL-GATEWAY-SILENT", "DL-GATEWAY-IDENTITY"} == {"DL-GATEWAY-SILENT"}
    with stranger(gateways, SECOND):
        gateways.drop(FIRST)
        try:
            gateways.link.wait_until(
                lambda: "DL-GATEWAY-IDENTITY" in gateways.codes(), "the second is looked behind",
                meanwhile=lambda: gateways.link.run("bash", "-c", f"echo > /dev/udp/{gateways.pod}/9"),
            )  # fmt: skip
            assert gateways.way() == FIRST
        finally:
            gateways.mend(FIRST)
        assert gateways.link.devlink("failover", SECOND).returncode != 0
        assert gateways.way() == FIRST
    gateways.link.up(proven)
    gateways.link.devlink("failover", SECOND)
    assert gateways.way() == SECOND
