"""`devlink up` where no route reaches the cluster: by its API server's port-forward, with nothing else said."""

import json
from collections.abc import Iterator

import pytest

from devlink import lab
from tests.e2e.far import DOMAIN, Far, far_away
from tests.e2e.streams import digest

pytestmark = pytest.mark.cluster
TRANSFER = 64 << 20
"""Octets, each way."""
AT_ONCE = 2000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    with far_away(tmp_path_factory.mktemp("far") / "helper.log") as made:
        yield made


@pytest.fixture(scope="module")
def said(world: Far) -> str:
    """What the first `up` said."""
    return world.up()


@pytest.fixture
def far(world: Far, said: str) -> Far:
    """It is up; a test may leave connections behind, and nothing else."""
    if not world.status()["sessions"]:
        world.up()
    return world


def test_up_goes_over_to_the_relay_by_itself_and_says_what_that_cannot_do(far: Far, said: str) -> None:
    assert far.session["mode"] == "relay", said
    assert far.session["state"] == "up"
    assert "DL-RELAYED" in far.codes()
    assert "relay" in said
    assert "UDP" in said + json.dumps(far.session["findings"])
    far.wait_until(lambda: far.relay.get("form") == "spdy-websocket", "it is known how it speaks")


@pytest.mark.parametrize(
    ("url", "pod"),
    [
        (f"http://web.{DOMAIN}", "web-0"),
        ("http://10.254.0.10", "web-0"),
        ("http://[fd00:10:254::10]", "web-0"),
        ("http://10.20.120.130:8080", "api-0"),
        ("http://[fd00:10:20:73::3]:8080", "web-0"),
        (f"http://web-0.peers.{DOMAIN}:8080", "web-0"),
    ],
)
def test_names_services_and_pods_of_both_families_answer(far: Far, url: str, pod: str) -> None:
    done = far.curl(url)
    assert done.stdout == f"{pod}\n", done.stderr + far.logs()


def test_a_client_stays_with_its_pod_where_the_service_asks_for_that(far: Far) -> None:
    assert len({far.curl(f"http://both.{DOMAIN}").stdout for _ in range(6)}) == 1


def test_redis_is_spoken_with_by_its_own_client(far: Far) -> None:
    commands = "set key value\nget key\n"
    done = far.world.run(lab.LAPTOP, ["redis-cli", "-h", f"redis.{DOMAIN}"], user="alice", input=commands)
    assert done.stdout.split() == ["OK", "value"], done.stderr


def test_an_http2_stream_goes_both_ways(far: Far) -> None:
    body = "x" * 300_000
    argv = ["curl", "-sS", "--max-time", "8", "--http2-prior-knowledge", "-T", "-", f"http://stream.{DOMAIN}/"]
    done = far.world.run(lab.LAPTOP, argv, user="alice", input=body)
    assert done.stdout == body, done.stderr


def test_thousands_at_once_are_answered_while_one_of_them_is_not_read(far: Far) -> None:
    assert far.client("many", f"stream.{DOMAIN}", "7", str(AT_ONCE)) == str(AT_ONCE - 1)


@pytest.mark.parametrize("way", ["take", "give"])
@pytest.mark.parametrize("size", [TRANSFER, pytest.param(1 << 30, marks=pytest.mark.matrix)])
def test_every_octet_arrives_in_its_place(far: Far, way: str, size: int) -> None:
    assert far.client(way, f"stream.{DOMAIN}", "7", str(size), timeout=50) == digest(size)


def test_a_client_that_says_its_end_first_gets_its_whole_answer(far: Far) -> None:
    assert far.client("late", f"stream.{DOMAIN}", "7") == "said before the FIN"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://10.254.0.10:81", "undeclared"),
        ("http://10.20.73.67:9", "undeclared"),
        ("http://10.20.99.99:8080", "no-object"),
        ("http://10.254.0.32", "no-pods"),
        ("http://10.254.0.34:9100", "host-network"),
        ("http://10.20.120.141:8080", "port-closed"),
    ],
)
def test_what_leads_nowhere_is_reset_at_once_and_told(far: Far, url: str, reason: str) -> None:
    before = far.refused().get(reason, 0)
    done = far.curl(url)
    assert done.returncode in (7, 52, 56), f"{done.returncode} {done.stderr}"  # by how soon curl looks
    far.wait_until(lambda: far.refused().get(reason, 0) > before, f"{reason} is told")


def test_the_api_servers_own_service_is_the_api_server(far: Far) -> None:
    far.world.write_file(lab.LAPTOP, "/home/alice/ca.crt", far.world.secrets.ca)
    done = far.curl(f"https://kubernetes.{DOMAIN}/readyz", "--cacert", "/home/alice/ca.crt")
    assert done.stdout == "ok", done.stderr


UDP = """
import socket, sys
for family, host in ((socket.AF_INET, "10.254.0.10"), (socket.AF_INET6, "fd00:10:254::10")):
    s = socket.socket(family, socket.SOCK_DGRAM)
    try:
        s.connect((host, 80))
        s.send(b"x")
        s.settimeout(5)
        s.recv(1)
    except OSError as error:
        print(type(error).__name__)
"""


def test_what_is_no_tcp_is_refused_and_nothing_of_it_reaches_the_default_gateway(far: Far) -> None:
    cluster = far.world.spec.cluster
    with far.world.capture(lab.ROUTER, to=(*cluster.pods, *cluster.services)) as seen:
        done = far.world.run(lab.LAPTOP, ["python3", "-c", UDP], user="alice")
        assert "Timeout" not in done.stdout
        assert len(done.stdout.split()) == 2, done.stderr
        assert far.reaches(f"http://web.{DOMAIN}", "web-0")
        far.curl("http://10.20.99.99:8080")
    assert seen.packets == []


@pytest.mark.parametrize("user", ["mallory", "root"])
def test_who_else_is_on_the_machine_gets_nothing_through_it_and_has_the_ways_of_before(far: Far, user: str) -> None:
    with far.world.capture(lab.ROUTER, to=far.world.spec.cluster.services) as seen:
        done = far.curl("http://10.254.0.10", "--connect-timeout", "0.5", user=user)
    assert done.returncode == 28, done.stderr
    assert {packet.destination for packet in seen.packets} == {"10.254.0.10"}, "it left by the default gateway"
    assert far.curl("http://192.0.2.80", user=user).stdout == "upstream\n"


# To look at


def explained(far: Far, what: str, expect: int) -> dict[str, dict[str, str]]:
    """Each link's outcome, what was seen and its finding, by its name."""
    done = far.devlink("explain", what, "-o", "json")
    assert done.returncode == expect, done.stdout + done.stderr
    return {link["link"]: link for link in json.loads(done.stdout)["links"]}


def test_explain_follows_a_url_to_the_node_and_has_data_come_back(far: Far) -> None:
    links = explained(far, "http://10.254.0.10/", 0)
    assert links["service"]["seen"] == "default/web, port http (80)"
    assert links["pod"]["seen"] == "default/web-0 (10.20.73.67), port 8080"
    assert links["node"]["seen"].startswith("node1: the node's end dials 127.0.0.1:8080 in the pod")
    assert links["relay"]["seen"] == "through https://172.16.0.10:6443, SPDY in a websocket"
    assert "HEAD / is answered" in links["data"]["seen"]


def test_explain_says_why_a_port_is_refused_and_that_a_server_binds_only_its_pods_address(far: Far) -> None:
    refused = explained(far, "10.254.0.10:81", 4)
    assert refused["relay"]["finding"] == "DL-RELAY-REFUSED"
    assert "no port 81" in refused["relay"]["seen"]
    assert (
        explained(far, f"http://{far.world.spec.pod('shy-0').address}:8080/", 4)["data"]["finding"] == "DL-RELAY-POD-IP"
    )


def test_doctor_finds_no_error_and_leaves_out_what_is_about_packets_on_a_link(far: Far) -> None:
    done = far.devlink("doctor", "-o", "json")
    found = json.loads(done.stdout)
    checks = {each["check"]: each for each in found["checks"]}
    assert done.returncode == 0, found["findings"]
    assert {name for name in ("gateway", "mtu", "rp_filter") if checks[name]["outcome"] == "skipped"} == {
        "gateway", "mtu", "rp_filter",
    }  # fmt: skip
    assert checks["relay rights"]["outcome"] == "ok"
    assert checks["relay upgrade"]["seen"] == "gets through: SPDY in a websocket"


def test_the_path_goes_by_the_api_server_to_the_pod_of_the_clusters_dns(far: Far) -> None:
    with far.agent() as agent:
        legs = agent.call("io.devlink.Agent.FollowPath", {"session": far.session["name"]})["legs"]
    assert [leg["name"] for leg in legs] == ["laptop", "API server", "node", "pod"]
    assert {leg["state"] for leg in legs} <= {"ok", "slow"}, legs
    assert legs[1]["about"] == "172.16.0.10:6443"
    assert (legs[2]["about"], legs[3]["about"]) == ("node1", "kube-system/coredns")


def test_status_says_through_whom_how_much_and_what_was_refused(far: Far) -> None:
    far.curl("http://10.254.0.10:81")
    said = far.devlink("status").stdout
    assert "  relay     through https://172.16.0.10:6443, SPDY in a websocket\n" in said
    assert "  refused   " in said
    assert "default/web-" in said


# What changes meanwhile


def test_an_endpoint_that_moved_is_found_by_the_next_connection(far: Far) -> None:
    assert far.reaches(f"http://web.{DOMAIN}", "web-0")
    pods = "/run/lab/kubernetes/pods/default_web-0"
    node = far.world.spec.host("node1").name
    link = far.world.run(node, ["readlink", pods], check=True).stdout.strip()
    far.lead("web", "web-1")
    far.world.run(node, ["rm", pods], check=True)
    try:
        far.wait_until(lambda: far.reaches(f"http://web.{DOMAIN}", "web-1"), "the service leads to its new pod")
    finally:
        far.world.run(node, ["ln", "-s", link, pods], check=True)
        far.lead("web", "web-0")
