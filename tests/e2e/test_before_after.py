"""Before `up` and after `down` the laptop is the same: in every world, with every resolver file, with every option."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devlink import lab
from devlink.lab.snapshot import Snapshot
from tests.e2e.link import PROFILE, RESOLV_CONF, Link, linked

pytestmark = pytest.mark.lab

Change = Callable[[dict[str, Any]], object]


def unchanged(spec: dict[str, Any]) -> None:
    """The profile as the cluster publishes it."""


def over(transport: str) -> Change:
    """Cluster DNS over this transport only."""

    def change(spec: dict[str, Any]) -> None:
        for server in spec["dns"]["servers"]:
            server["transport"] = transport

    return change


def only_gateway(spec: dict[str, Any]) -> None:
    """A profile that knows no nodes."""
    del spec["nodes"]


def asking(mode: str) -> Change:
    def change(spec: dict[str, Any]) -> None:
        spec["routing"] = mode

    return change


BEHIND = lab.LaptopPlace.BEHIND_ROUTER
WAYS: dict[str, tuple[lab.WorldSpec, Change, str]] = {
    "a-node-lan": (lab.network_a(), unchanged, "per-node"),
    "a-node-lan-udp": (lab.network_a(), over("udp"), "per-node"),
    "a-gateway-profile": (lab.network_a(), only_gateway, "gateway"),
    "a-gateway-asked": (lab.network_a(), asking("gateway"), "gateway"),
    "a-dual-stack": (lab.network_a(ipv6=True), unchanged, "per-node"),
    "a-dual-stack-gateway": (lab.network_a(ipv6=True), only_gateway, "gateway"),
    "a-invalid-drop": (lab.network_a(drop_invalid=True), unchanged, "per-node"),
    "a-behind-router": (lab.network_a(laptop=BEHIND), unchanged, "router"),
    "a-behind-router-udp": (lab.network_a(laptop=BEHIND), over("udp"), "router"),
    "a-behind-router-dual-stack": (lab.network_a(laptop=BEHIND, ipv6=True), unchanged, "router"),
    "c-auto": (lab.network_c(), unchanged, "router"),
    "c-tcp": (lab.network_c(), over("tcp"), "router"),
    "a-standin-dns": (lab.network_a(dns_program=lab.ClusterDnsProgram.STANDIN), unchanged, "per-node"),
}
"""Worlds with a profile, and the mode that is right there."""
IN_EACH_RUN = (
    "a-gateway-profile", "a-dual-stack", "a-dual-stack-gateway", "a-behind-router-dual-stack", "c-auto", "a-standin-dns"
)  # fmt: skip


def curl(link: Link, host: object, port: int = 80) -> str:
    shown = f"[{host}]" if ":" in str(host) else str(host)
    return link.run("curl", "-gsS", "--max-time", "5", f"http://{shown}:{port}/").strip()


def assert_carries(link: Link) -> None:
    """Pods, services and names answer to programs that know nothing of devlink, and ordinary names as ever."""
    spec = link.world.spec
    for address in spec.pod("api-0").addresses:
        assert curl(link, address, 8080) == "api-0"
    for address in spec.service("web").cluster_ips:
        assert curl(link, address) == "web-0"
    assert curl(link, spec.service_name("web")) == "web-0"
    assert curl(link, spec.service_name("api", "qa")) == "api-0"
    assert curl(link, lab.ORDINARY_NAME) == lab.UPSTREAM


def inode(link: Link) -> str:
    """Of the name itself, whatever it is; and of what it leads to."""
    return link.run("sh", "-c", f"stat -c '%i %F %a %u:%g %Y' {RESOLV_CONF}; stat -Lc '%i %a' {RESOLV_CONF} || true")


@pytest.mark.parametrize(
    "way", [way if way in IN_EACH_RUN else pytest.param(way, marks=pytest.mark.matrix) for way in WAYS]
)
def test_in_this_world(tmp_path_factory: pytest.TempPathFactory, way: str) -> None:
    spec, change, mode = WAYS[way]
    with linked(spec, tmp_path_factory.mktemp(way) / "helper.log") as link:
        profile = link.write_profile("qa", change)
        before, file = link.world.snapshot(), inode(link)
        said = link.up(profile)
        print(said)  # with the time that it took
        (session,) = link.status()["sessions"]
        assert (session["mode"], session["state"]) == (mode, "up")
        while_up = link.world.snapshot()
        ours = [line for line in while_up.routes if '"231"' in line]
        assert bool(ours) == (mode != "router")
        assert set(while_up.routes) - set(ours) == set(before.routes)
        assert_carries(link)
        link.down()
        link.assert_equal(before)
        assert inode(link) == file


RESOLVERS = {
    "symlink": "mkdir -p /run/net; mv resolv.conf /run/net/; ln -s /run/net/resolv.conf resolv.conf",
    "relative-symlink": "mkdir -p /run/net; mv resolv.conf /run/net/; ln -s ../run/net/resolv.conf resolv.conf",
    "symlink-chain": "mv resolv.conf real.conf; ln -s real.conf middle; ln -s middle resolv.conf",
    "hard-link": "ln resolv.conf second-name",
    "odd-mode": "chmod 0640 resolv.conf",
    "odd-owner": "chown nobody:daemon resolv.conf 2>/dev/null || chgrp 0 resolv.conf",
    "search-and-options": "printf 'search corp.example b.example\\noptions ndots:2\\n# mine\\n' >>resolv.conf",
    "domain-and-sortlist": "printf 'domain corp.example\\nsortlist 10.0.0.0\\n' >>resolv.conf",
    "crlf-and-no-last-line-end": "printf '# odd\\r\\nnameserver 192.0.2.53\\r\\noptions edns0' >resolv.conf",
    "three-nameservers": "printf 'nameserver 192.0.2.99\\nnameserver 2001:db8::1\\n' >>resolv.conf",
}
"""What the resolver file can be, each as the commands that make it so, in /etc."""
SAVE = "cp resolv.conf /root/saved"
PUT_BACK = "rm -f resolv.conf real.conf middle second-name; cp /root/saved resolv.conf; chmod 644 resolv.conf"


def in_etc(link: Link, script: str) -> None:
    link.run("sh", "-ec", f"cd /etc; {script}")


@pytest.fixture
def restored_file(node_lan: Link) -> Iterator[Link]:
    """A laptop whose resolver file a test may make anything of."""
    in_etc(node_lan, SAVE)
    yield node_lan
    node_lan.devlink("down", "--all")
    in_etc(node_lan, PUT_BACK)


@pytest.mark.parametrize("kind", RESOLVERS)
def test_with_this_resolver_file(restored_file: Link, kind: str) -> None:
    link = restored_file
    in_etc(link, RESOLVERS[kind])
    before, file = link.world.snapshot(), inode(link)
    link.up()
    assert link.world.snapshot().resolver != before.resolver
    assert_carries(link)
    link.down()
    link.assert_equal(before)
    assert inode(link) == file


@pytest.mark.parametrize("kind", ["missing", "dangling"])
def test_without_a_resolver_file(restored_file: Link, kind: str) -> None:
    """libc then asks 127.0.0.1, where nobody answers; cluster names work all the same."""
    link = restored_file
    in_etc(link, "rm resolv.conf" + ("; ln -s /run/nowhere/resolv.conf resolv.conf" if kind == "dangling" else ""))
    before = link.world.snapshot()
    link.up()
    assert curl(link, link.world.spec.service_name("web")) == "web-0"
    link.down()
    link.assert_equal(before)


def test_what_others_change_meanwhile_is_kept(restored_file: Link) -> None:
    """Their newer file is the new "before"; their routes stay."""
    link = restored_file
    link.up()
    link.run("ip", "route", "add", "10.77.0.0/16", "via", "172.16.0.1", "proto", "dhcp")
    in_etc(link, "echo nameserver 192.0.2.53 >new; echo search hotel.example >>new; chmod 644 new; mv new resolv.conf")
    link.down()
    after = link.world.snapshot()
    # not a snapshot taken while up: devlink is quick to name itself again
    assert after.resolver == (
        "/etc/resolv.conf -rw-r--r-- 0:0",
        "nameserver 192.0.2.53\n",
        "search hotel.example\n",
    )
    assert [line for line in after.routes if "10.77.0.0/16" in line]
    assert not [line for line in after.routes if '"231"' in line]
    assert not [line for line in after.files if "devlink" in line and "resolv" in line]
    link.run("ip", "route", "delete", "10.77.0.0/16")


@pytest.fixture
def before(link: Link) -> Snapshot:
    return link.world.snapshot()


def test_no_dns_leaves_the_resolver_alone(link: Link, before: Snapshot) -> None:
    link.up(PROFILE, "--no-dns")
    while_up = link.world.snapshot()
    assert (while_up.resolver, while_up.files, while_up.listening) == (before.resolver, before.files, before.listening)
    assert not link.pids("forwarder")
    assert curl(link, link.world.spec.service("web").address) == "web-0"
    link.down()
    link.assert_equal(before)


def test_no_routes_leaves_the_routes_alone(link: Link, before: Snapshot) -> None:
    """Names only, over a way that somebody made by hand."""
    spec = link.world.spec
    prefixes = [*(str(prefix) for prefix in spec.cluster.pods), *(str(prefix) for prefix in spec.cluster.services)]
    for prefix in prefixes:
        link.run("ip", "route", "add", prefix, "via", str(spec.gateway.address))
    by_hand = link.world.snapshot()
    link.up(PROFILE, "--no-routes")
    assert link.world.snapshot().routes == by_hand.routes
    assert_carries(link)
    link.down()
    link.assert_equal(by_hand)
    for prefix in prefixes:
        link.run("ip", "route", "delete", prefix)


def test_up_twice_and_down_twice(link: Link, before: Snapshot) -> None:
    link.up()
    while_up = link.world.snapshot()
    link.up()
    link.assert_equal(while_up)
    link.down()
    link.assert_equal(before)
    link.down(expect=3)
    link.assert_equal(before)


def test_up_again_with_other_options_changes_to_them(link: Link, before: Snapshot) -> None:
    link.up()
    link.up(PROFILE, "--no-dns")
    assert link.world.snapshot().resolver == before.resolver
    link.up()
    assert_carries(link)
    link.down()
    link.assert_equal(before)


@pytest.fixture(scope="module")
def twins(node_lan: Link) -> tuple[str, str]:
    """Two trusted profiles for the same cluster, the second of which names a DNS server that does not answer."""

    def deaf(spec: dict[str, Any]) -> None:
        spec["dns"]["servers"] = [{"address": "10.254.0.99"}]

    return node_lan.write_profile("twin"), node_lan.write_profile("deaf", deaf)


def test_another_profile_for_the_same_prefixes_is_a_conflict(link: Link, twins: tuple[str, str]) -> None:
    link.up()
    while_up = link.world.snapshot()
    said = link.up(twins[0], expect=5)
    assert "calico-rr" in said
    assert "--replace" in said
    link.assert_equal(while_up)
    assert link.states() == {"calico-rr": "up"}
    assert_carries(link)
    link.down()


def test_replace_switches_in_one_step(link: Link, twins: tuple[str, str]) -> None:
    before = link.world.snapshot()
    link.up()
    link.up(twins[0], "--replace")
    assert link.states() == {"twin": "up"}
    assert_carries(link)
    link.up(PROFILE, "--replace")
    assert link.states() == {"calico-rr": "up"}
    assert_carries(link)
    link.down()
    link.assert_equal(before)


def test_a_replacement_that_fails_leaves_the_first_one_up(link: Link, twins: tuple[str, str]) -> None:
    before = link.world.snapshot()
    link.up()
    while_up = link.world.snapshot()
    link.up(twins[1], "--replace", expect=4)
    assert link.states() == {"calico-rr": "up"}
    link.assert_equal(while_up)
    assert_carries(link)
    link.down()
    link.assert_equal(before)


def test_a_replacement_that_is_not_trusted_touches_nothing(link: Link, twins: tuple[str, str]) -> None:
    before = link.world.snapshot()
    link.up()
    while_up = link.world.snapshot()
    untrusted = link.world.read_file(lab.LAPTOP, PROFILE).replace("name: calico-rr", "name: stranger")
    link.world.write_file(lab.LAPTOP, "/root/stranger.yaml", untrusted)
    link.up("/root/stranger.yaml", "--replace", expect=6)
    assert link.states() == {"calico-rr": "up"}
    link.assert_equal(while_up)
    assert_carries(link)
    link.down()
    link.assert_equal(before)
