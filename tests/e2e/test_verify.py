"""What `up` promises before it says "up": the profile's domain is the cluster's, and a dry run tells no tales."""

from typing import Any

import pytest

from devlink import lab
from tests.e2e.link import PROFILE, RESOLV_CONF, Link

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def typo(node_lan: Link) -> str:
    """A profile whose domain is below the cluster's; its path."""

    def misspell(spec: dict[str, Any]) -> None:
        spec["dns"]["domain"] = "typo.cluster.local"

    return node_lan.write_profile("typo", misspell)


@pytest.fixture(scope="module")
def mute(node_lan: Link) -> str:
    """A profile whose DNS server nobody is; its path."""

    def kill_dns(spec: dict[str, Any]) -> None:
        spec["dns"]["servers"] = [{"address": "10.254.0.253", "transport": "tcp"}]

    return node_lan.write_profile("mute", kill_dns)


@pytest.fixture(scope="module")
def near_upstream(node_lan: Link) -> str:
    """An upstream of the laptop inside the cluster's pod network: its way is kept by a pin."""
    node_lan.world.write_file(lab.LAPTOP, RESOLV_CONF, "nameserver 192.0.2.53\nnameserver 10.20.0.53\n")
    return "10.20.0.53"


def test_a_domain_that_the_cluster_does_not_have_is_refused_and_nothing_is_left(typo: str, link: Link) -> None:
    before = link.world.snapshot()
    said = link.up(typo, expect=4)
    assert "The cluster's DNS does not know kubernetes.default.svc.typo.cluster.local." in said
    assert "dns.domain is probably wrong" in said
    link.await_equal(before)


def test_without_names_a_dead_cluster_dns_is_only_a_warning(mute: str, link: Link) -> None:
    before = link.world.snapshot()
    link.up(mute, expect=4)
    link.await_equal(before)
    link.up(mute, "--no-dns")
    (session,) = link.status()["sessions"]
    assert session["state"] == "up"
    assert "DL-DNS-SILENT" in [finding["code"] for finding in session["findings"]]
    link.down()
    link.await_equal(before)


def test_a_dry_run_prints_the_routes_that_up_then_installs(near_upstream: str, link: Link) -> None:
    planned = link.devlink("up", PROFILE, "--dry-run").stdout
    lines = [line.removeprefix("ip route add ") for line in planned.splitlines() if line.startswith("ip route add ")]
    printed = {line.partition("  #")[0] for line in lines}
    link.up()
    (session,) = link.status()["sessions"]
    assert printed == set(session["routes"])
    assert any(route.startswith(f"{near_upstream}/32 ") for route in printed)
