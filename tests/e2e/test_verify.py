"""What `up` promises before it says "up": the profile's domain is the cluster's, and a dry run tells no tales."""

from collections.abc import Iterator
from typing import Any

import pytest

from devlink import lab
from tests.e2e.breakages import DNS_POD, R2, R4, UDP_53, dns_elsewhere, dropping, not_forwarding, without_snat
from tests.e2e.link import PROFILE, RESOLV_CONF, Link, linked

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


# What keeps packets from coming back: each made on the nodes of one world, whose DNS is not on its gateway


@pytest.fixture(scope="module")
def far_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    with linked(dns_elsewhere(), tmp_path_factory.mktemp("far") / "helper.log") as link:
        link.write_profile("by-gateway", lambda spec: spec.update(routing="gateway"))
        yield link


@pytest.fixture
def far(far_world: Link) -> Iterator[Link]:
    """The laptop there; the test must leave it as it found it."""
    before = far_world.world.snapshot()
    yield far_world
    far_world.devlink("down", "--all")
    far_world.await_equal(before)


BY_GATEWAY = "/root/by-gateway.yaml"


def findings(link: Link) -> dict[str, dict[str, str]]:
    """Of the only session, by code."""
    (session,) = link.status()["sessions"]
    assert session["state"] == "up"
    return {finding["code"]: finding for finding in session["findings"]}


DIAGNOSED = {"DL-POD-HANGS", "DL-POD-SILENT", "DL-SERVICE-NO-RETURN", "DL-SERVICE-SILENT", "DL-UDP53-BLOCKED",
             "DL-NOT-FORWARDING", "DL-NO-ENDPOINT-ELSEWHERE"}  # fmt: skip


def test_where_all_comes_back_nothing_is_said_of_it(far: Link) -> None:
    far.up(BY_GATEWAY)
    assert not DIAGNOSED & findings(far).keys()


@pytest.mark.parametrize(
    ("rule", "code", "evidence", "fix"),
    [
        (R2, "DL-POD-HANGS", f"{DNS_POD} (on 172.16.0.19, by way of 172.16.0.13): TCP connects, then", "tcpBeLiberal"),
        (R4, "DL-POD-SILENT", f"{DNS_POD} (on 172.16.0.19, by way of 172.16.0.13): TCP no answer", "rp_filter=2"),
        (UDP_53, "DL-UDP53-BLOCKED", "TCP answered, UDP no answer", "transport: tcp"),
    ],
    ids=["R2", "R4", "UDP 53"],
)
def test_a_session_whose_names_work_stays_up_and_says_what_does_not(
    far: Link, rule: str, code: str, evidence: str, fix: str
) -> None:
    with dropping(far, rule):
        far.up(BY_GATEWAY)
        found = findings(far)
    assert DIAGNOSED & found.keys() == {code}
    assert evidence in found[code]["evidence"]
    assert fix in found[code]["fix"]
    assert far.run("getent", "ahostsv4", "web.default.svc.cluster.local").split()[0] == "10.254.0.10"


def test_by_the_pods_own_node_the_same_drop_harms_nobody(far: Link) -> None:
    with dropping(far, R2):
        far.up()
        assert not DIAGNOSED & findings(far).keys()


def test_services_whose_answers_go_past_the_gateway_are_the_reason_why_names_do_not_work(far: Link) -> None:
    before = far.world.snapshot()
    with without_snat(far):
        said = far.up(BY_GATEWAY, expect=4)
    assert "The cluster's DNS does not answer" in said
    assert f"DL-SERVICE-NO-RETURN: a question to 10.254.0.2 was answered by {DNS_POD}" in said
    assert "clusterCIDR" in said
    far.await_equal(before)


def test_a_gateway_that_does_not_forward_is_named(far: Link) -> None:
    before = far.world.snapshot()
    with not_forwarding(far):
        said = far.up(BY_GATEWAY, expect=4)
    assert "DL-NOT-FORWARDING" in said
    assert "On 172.16.0.13: is net.ipv4.ip_forward 1" in said
    far.await_equal(before)


@pytest.fixture(scope="module")
def one_gateway(node_lan: Link) -> str:
    """By a gateway which the DNS is on; its path."""
    return node_lan.write_profile("one-gateway", lambda spec: spec.update(routing="gateway"))


def test_through_a_gateway_that_has_all_pods_of_the_dns_it_is_said_what_could_not_be_seen(
    one_gateway: str, link: Link
) -> None:
    link.up(one_gateway)
    assert "are on 172.16.0.13" in findings(link)["DL-NO-ENDPOINT-ELSEWHERE"]["evidence"]
