"""`devlink explain`: a chain that is whole, and one for each link that can break; nothing is changed by it."""

import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from devlink import lab
from tests.e2e.breakages import R2, dropping
from tests.e2e.link import Link, linked

pytestmark = pytest.mark.lab

GATEWAY = "node1"
POD, SERVICE = "10.20.120.130", "10.254.0.11"
"""`api`, whose pod is on the other node: packets go there by the gateway, and come back past it."""
WEB, FRESH = "web.default.svc.cluster.local", "nobody-asked-yet.default.svc.cluster.local"
ORDINARY = "192.0.2.80"
LIMIT = 6.0
"""Seconds that anybody waits at most, as the command promises; the machine's load comes on top."""


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """Up through one gateway, with the names of one namespace; no test takes it down."""

    def by_gateway(spec: dict[str, Any]) -> None:
        spec["routing"] = "gateway"
        spec["dns"]["namespaces"] = ["default"]

    with linked(lab.network_a(), tmp_path_factory.mktemp("explain") / "helper.log") as made:
        made.up(made.write_profile("by-gateway", by_gateway))
        yield made


def explained(link: Link, what: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The chain; its exit code says whether a link is broken."""
    done = link.devlink("explain", what, "-o", "json", env=env)
    assert done.returncode in (0, 4), f"{done.stdout}{done.stderr}{link.logs()}"
    said: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) == said["whole"]
    return said


def assert_broken(said: dict[str, Any], where: str, code: str) -> dict[str, Any]:
    """That link is broken, and no other, with this finding; which it returns."""
    broken = [each for each in said["links"] if each["outcome"] == "error"]
    assert [(each["link"], each["finding"]) for each in broken] == [(where, code)], said
    assert [each["code"] for each in said["findings"]] == [code]
    finding: dict[str, Any] = said["findings"][0]
    return finding


def assert_whole(link: Link, what: str) -> dict[str, str]:
    """Nothing is broken; what was seen of each link."""
    said = explained(link, what)
    assert said["whole"], said
    assert said["findings"] == []
    return {each["link"]: each["seen"] for each in said["links"]}


def shell(link: Link, script: str) -> None:
    link.run("sh", "-ec", script)


# Whole


def test_a_url_is_followed_from_the_proxy_to_the_data(link: Link) -> None:
    before = link.world.snapshot()
    seen = assert_whole(link, f"http://{WEB}/")
    link.assert_equal(before)
    assert list(seen) == ["asked", "proxy", "rule", "forwarder", "libc", "address", "way", "next hop", "data"]
    assert seen["rule"] == "zone cluster.local of by-gateway: asked from 10.254.0.2"
    assert seen["forwarder"].startswith("10.254.0.10; ")
    assert seen["libc"] == "says 10.254.0.10; resolver mode direct"
    assert "10.254.0.0/16 via 172.16.0.13 dev eth0" in seen["way"]
    assert seen["next hop"].startswith("172.16.0.13 on eth0 is ")
    assert "is answered: HTTP/1" in seen["data"]


def test_a_service_a_pod_and_a_stranger_without_a_port_are_whole_where_packets_come_back(link: Link) -> None:
    assert assert_whole(link, WEB)["address"] == "a ClusterIP of by-gateway (10.254.0.0/16)"
    seen = assert_whole(link, POD)
    assert seen["address"] == "in the pod network of by-gateway (10.20.0.0/16), on node 172.16.0.19"
    assert seen["data"].endswith("Packets come back")
    assert assert_whole(link, f"{POD}:8080")["data"] == (
        "port 8080: connects, and packets come back; its protocol was not spoken"
    )
    link.run("devlink", "dns", "flush")
    seen = assert_whole(link, "www.example.com")
    assert seen["rule"] == "in no zone of what is up: an ordinary name"
    assert "asked just now 192.0.2.53#53 over " in seen["forwarder"]
    # libc alone knows that one.
    assert assert_whole(link, "localhost")["address"] == "the laptop's own address"


def test_for_people_it_fits_80_columns_without_colour_where_it_is_piped(link: Link) -> None:
    done = link.devlink("explain", f"http://{WEB}/")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stdout.endswith("The way is whole.\n")


def test_where_nothing_is_up_every_name_is_ordinary(node_lan: Link) -> None:
    assert assert_whole(node_lan, "www.example.com")["rule"] == "nothing is up: an ordinary name"
    said = explained(node_lan, WEB)
    assert "devlink up" in assert_broken(said, "libc", "DL-NAME-UNKNOWN")["fix"]


# The name


@pytest.mark.parametrize(
    ("name", "where", "code"),
    [
        ("kube-dns.kube-system.svc.cluster.local", "rule", "DL-NAME-EXCLUDED"),
        (f"{WEB}.corp.example", "rule", "DL-NAME-EXPANDED"),
        ("nobody.default.svc.cluster.local", "forwarder", "DL-NAME-UNKNOWN"),
    ],
)
def test_a_name_that_has_no_address_says_why(link: Link, name: str, where: str, code: str) -> None:
    assert_broken(explained(link, name), where, code)


def test_a_proxy_that_catches_the_cluster_is_named_with_what_excepts_it(link: Link) -> None:
    proxied = {"http_proxy": "http://me:secret@proxy.example:3128"}
    said = explained(link, f"http://{WEB}/", env=proxied)
    assert "secret" not in json.dumps(said)
    assert "cluster.local" in assert_broken(said, "proxy", "DL-PROXY-CATCHES")["fix"]
    assert explained(link, f"http://{WEB}/", env={**proxied, "NO_PROXY": ".cluster.local"})["whole"]
    # What the proxy does with an ordinary URL cannot be seen from here.
    assert [each["link"] for each in explained(link, "http://www.example.com", env=proxied)["links"]] == [
        "asked", "proxy",
    ]  # fmt: skip


@contextmanager
def file_with(link: Link, path: str, text: str) -> Iterator[None]:
    """That file holds something else meanwhile."""
    shell(link, f"if [ -e {path} ]; then cp -p {path} /root/kept; fi; printf '{text}' > {path}")
    try:
        yield
    finally:
        shell(link, f"if [ -e /root/kept ]; then cat /root/kept > {path}; rm /root/kept; else rm {path}; fi")


def test_a_line_in_the_file_of_hosts_that_hides_a_service_is_named(link: Link) -> None:
    with file_with(link, "/etc/hosts", f"{ORDINARY} {WEB}\\n"):
        said = explained(link, WEB)
        assert_broken(said, "libc", "DL-HOSTS-FILE")
        assert said["links"][1]["seen"] == f"/etc/hosts has it: {ORDINARY}"
    # Of a name that devlink refuses, such a line is what somebody wants.
    refused = "kube-dns.kube-system.svc.cluster.local"
    with file_with(link, "/etc/hosts", f"{ORDINARY} {refused}\\n"):
        assert_whole(link, refused)
    assert_whole(link, WEB)


def test_a_libc_that_does_not_ask_for_names_is_named(link: Link) -> None:
    with file_with(link, "/etc/nsswitch.conf", "hosts: files\\n"):
        assert_broken(explained(link, WEB), "libc", "DL-LIBC-NAMES")
    assert_whole(link, WEB)


# The way


@contextmanager
def elsewhere(link: Link, *commands: str) -> Iterator[None]:
    """A link of another program's, and what it routes there."""
    shell(
        link,
        "ip link add docker9 type veth peer name docker8; ip link set docker8 up; ip link set docker9 up; "
        + "; ".join(commands),
    )
    try:
        yield
    finally:
        shell(link, "ip link del docker9; ip rule del pref 5270 2>/dev/null || true")


@pytest.mark.parametrize(
    ("commands", "code", "owner"),
    [
        ((f"ip route add {POD}/32 dev docker9",), "DL-ROUTE-KEPT", "Docker (interface docker9)"),
        (
            ("ip route add default dev docker9 table 52", f"ip rule add pref 5270 to {POD} lookup 52"),
            "DL-POLICY-WINS",
            "Tailscale (interface docker9)",
        ),
    ],
)
def test_a_route_or_a_rule_of_another_program_that_wins_is_named_with_its_owner(
    link: Link, commands: tuple[str, ...], code: str, owner: str
) -> None:
    with elsewhere(link, *commands):
        assert owner in assert_broken(explained(link, POD), "way", code)["evidence"]
    assert_whole(link, POD)


def test_a_neighbour_that_nobody_is_is_told_from_a_gateway_that_is_gone(link: Link) -> None:
    assert_broken(explained(link, "172.16.0.77:80"), "next hop", "DL-HOST-DOWN")


def test_an_address_without_a_route_is_said_to_have_none(link: Link) -> None:
    shell(link, "ip route add unreachable 198.51.100.7")
    try:
        assert_broken(explained(link, "198.51.100.7:80"), "way", "DL-NO-ROUTE")
    finally:
        shell(link, "ip route del unreachable 198.51.100.7")


# What comes back


@pytest.mark.parametrize(
    ("what", "code"),
    [(f"{SERVICE}:81", "DL-SERVICE-REFUSED"), (f"{POD}:81", "DL-PORT-REFUSED"), (f"{ORDINARY}:81", "DL-PORT-REFUSED")],
)
def test_a_port_that_refuses_is_told_from_one_that_is_silent(link: Link, what: str, code: str) -> None:
    assert_broken(explained(link, what), "data", code)


def test_connections_that_open_and_hang_are_told_whatever_their_protocol(link: Link) -> None:
    with dropping(link, R2):
        running = [link.start("explain", what, "-o", "json") for what in (f"http://{POD}:8080/", f"{POD}:8080")]
        for each in running:
            code, said = link.await_end(each)
            assert code == 4
            assert_broken(json.loads(said), "data", "DL-POD-HANGS")
    assert_whole(link, f"http://{POD}:8080/")


def test_silence_is_told_of_whose_it_is(link: Link) -> None:
    dropped = f"ip daddr {{ {POD}, {SERVICE} }} drop; ct original ip daddr {SERVICE} drop"
    with dropping(link, dropped.replace("; ", "\n")), dropping(link, f"ip daddr {ORDINARY} drop", node=lab.ROUTER):
        expected = {
            f"{POD}:8080": "DL-POD-SILENT", f"{SERVICE}:80": "DL-SERVICE-SILENT", f"{ORDINARY}:80": "DL-PORT-SILENT",
        }  # fmt: skip
        before = link.world.snapshot()
        running = {what: link.start("explain", what, "-o", "json") for what in expected}
        for what, each in running.items():
            assert_broken(json.loads(link.await_end(each)[1]), "data", expected[what])
        link.assert_equal(before)
    assert_whole(link, f"{SERVICE}:80")


@contextmanager
def without_arp(link: Link) -> Iterator[None]:
    """The gateway answers nobody who asks for its link address."""
    link.world.run(GATEWAY, ["ip", "link", "set", "eth0", "arp", "off"], check=True)
    shell(link, "ip neigh flush dev eth0")
    try:
        yield
    finally:
        link.world.run(GATEWAY, ["sh", "-c", "ip link set eth0 arp on; ip neigh flush dev eth0"], check=True)
        shell(link, "ip neigh flush dev eth0")


def test_a_next_hop_that_is_gone_is_named_also_as_why_names_have_no_answer(link: Link) -> None:
    with without_arp(link):
        began = time.monotonic()
        address, name = link.start("explain", POD, "-o", "json"), link.start("explain", FRESH, "-o", "json")
        assert_broken(json.loads(link.await_end(address)[1]), "next hop", "DL-GATEWAY-DOWN")
        said = json.loads(link.await_end(name)[1])
        assert time.monotonic() - began < 3 * LIMIT
        broken = [each["finding"] for each in said["links"] if each["outcome"] == "error"]
        assert broken == ["DL-DNS-SILENT", "DL-GATEWAY-DOWN"], said
        assert {each["about"] for each in said["links"] if each["link"] == "address"} == {"10.254.0.2"}
    assert_whole(link, POD)


def test_an_agent_that_hangs_is_said_to_and_nobody_waits_long_for_it(link: Link) -> None:
    link.kill("agent", number=signal.SIGSTOP)
    try:
        began = time.monotonic()
        said = explained(link, f"{POD}:8080")
        assert time.monotonic() - began < 3 * LIMIT
    finally:
        link.thaw()
    assert said["links"][1]["link"] == "sessions"
    assert said["links"][1]["outcome"] == "skipped"
