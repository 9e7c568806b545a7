"""What is relayed when something breaks: the program is told, devlink says why, and it comes back by itself."""

import base64
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml

from devlink import lab
from devlink.lab.credentials import RELAYER, client_certificate
from devlink.lab.snapshot import Snapshot
from devlink.lab.worlds.far import HOME, OFFICE
from tests.e2e.far import DOMAIN, Far, far_away

pytestmark = pytest.mark.cluster
MATRIX = pytest.mark.matrix
WEB = f"http://web.{DOMAIN}"
STREAM = f"stream.{DOMAIN}"
RELAYED = ("/home/alice/profile.yaml", "--routing", "relay")
"""Spares each `up` the seconds in which it sees that the network does not carry the cluster."""
BROKEN = ("ended", "broken ConnectionResetError", "broken BrokenPipeError")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    with far_away(tmp_path_factory.mktemp("far") / "helper.log") as made:
        yield made


@pytest.fixture(scope="module")
def before(world: Far) -> Snapshot:
    return world.world.snapshot()


@pytest.fixture
def far(world: Far, before: Snapshot) -> Far:
    """It is relayed."""
    if not world.status()["sessions"]:
        world.up(*RELAYED)
    world.wait_until(lambda: world.reaches(WEB, "web-0"), "it works")
    return world


@pytest.fixture
def roaming(far: Far) -> Far:
    """It is relayed for want of anything better."""
    if "you asked for it" in far.session["reason"]:
        far.up()
    return far


def refused_as(far: Far, code: str) -> bool:
    """Whether a connection is refused, and told about by that finding."""
    return far.curl("http://10.254.0.10").returncode in (7, 52, 56) and code in far.codes()


@contextmanager
def logged_in(far: Far, **user: object) -> Iterator[None]:
    """alice has other credentials while the block runs, and devlink is up by them."""
    text = yaml.safe_load(far.world.kubeconfig(RELAYER))
    text["users"][0]["user"] = user
    far.down()
    far.login(yaml.safe_dump(text))
    try:
        far.up(*RELAYED)
        yield
    finally:
        far.devlink("down")
        far.login(far.world.kubeconfig(RELAYER))


def test_while_the_api_server_is_away_connections_end_and_afterwards_new_ones_work(far: Far) -> None:
    with far.holding(STREAM, 7) as held:
        assert held.echo("before") == "before"
        far.world.kill_api()
        try:
            assert held.echo("after") in BROKEN
            assert far.curl(WEB).returncode in (6, 7, 28, 52, 56)
        finally:
            far.world.restart_api()
    far.wait_until(lambda: far.reaches(WEB, "web-0"), "it works again")


def test_a_pod_that_dies_ends_its_connections_and_no_others(far: Far) -> None:
    with far.holding(STREAM, 7) as held, far.holding(f"redis.{DOMAIN}", 6379) as other:
        assert held.echo("before") == "before"
        assert other.echo("ping").startswith("-ERR"), "it takes our first line for a command"
        far.kill_streams()
        try:
            assert held.echo("after") in BROKEN
            assert other.echo("ping") == "+PONG"
        finally:
            far.start_streams()


def test_rights_that_are_withdrawn_are_told_and_given_again_they_work(far: Far) -> None:
    binding = far.kubectl("get", "clusterrolebinding", "devlink-relay", "-o", "json")
    far.kubectl("delete", "clusterrolebinding", "devlink-relay")
    far.world.restart_kubelets()  # nothing is asked of who is in already
    try:
        far.wait_until(lambda: refused_as(far, "DL-RELAY-RIGHTS"), "it is told why")
    finally:
        far.kubectl("apply", "-f", "-", input=binding)
    far.wait_until(lambda: far.reaches(WEB, "web-0"), "it works again")
    far.wait_until(lambda: "DL-RELAY-RIGHTS" not in far.codes(), "and nothing is said of it any more")


PLUGIN = """#!/bin/sh
echo run >>/home/alice/plugin.runs
[ -s /home/alice/token ] || exit 1
printf '{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "%s",
"expirationTimestamp": "%s"}}' "$(cat /home/alice/token)" "$(date -u -d '+2 seconds' +%Y-%m-%dT%H:%M:%SZ)"
"""


def test_a_credential_that_expires_is_renewed_in_the_middle_of_a_session(far: Far) -> None:
    far.world.write_file(lab.LAPTOP, "/home/alice/plugin", PLUGIN, mode=0o755)
    far.world.write_file(lab.LAPTOP, "/home/alice/plugin.runs", "", mode=0o666)
    far.world.write_file(lab.LAPTOP, "/home/alice/token", far.world.secrets.tokens[RELAYER])

    def runs() -> int:
        return len(far.world.read_file(lab.LAPTOP, "/home/alice/plugin.runs").splitlines())

    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "/home/alice/plugin"}
    with logged_in(far, exec={**plugin, "interactiveMode": "Never"}):
        assert far.reaches(WEB, "web-0"), far.logs()
        first = runs()
        far.run("sleep", "2.1")
        far.world.restart_kubelets()  # who is in is not asked again
        far.wait_until(lambda: far.reaches(WEB, "web-0"), "it goes on")
        assert runs() > first
        far.world.write_file(lab.LAPTOP, "/home/alice/token", "")
        far.run("sleep", "2.1")
        far.world.restart_kubelets()
        far.wait_until(lambda: refused_as(far, "DL-RELAY-CREDENTIALS"), "it is told why")
        far.world.write_file(lab.LAPTOP, "/home/alice/token", far.world.secrets.tokens[RELAYER])
        far.wait_until(lambda: far.reaches(WEB, "web-0"), "it works again")


@MATRIX
def test_a_client_certificate_is_as_good_as_a_token(far: Far) -> None:
    certificate, key = (base64.b64encode(t.encode()).decode() for t in client_certificate(far.world.secrets, RELAYER))
    with logged_in(far, **{"client-certificate-data": certificate, "client-key-data": key}):
        assert far.reaches(WEB, "web-0"), far.logs()


@pytest.mark.parametrize(("form", "refused"), [pytest.param("spdy", "websocket", marks=MATRIX), ("websocket", "spdy")])
def test_where_a_server_knows_another_form_that_one_is_spoken(far: Far, form: str, refused: str) -> None:
    far.down()
    far.world.kill_api()
    far.world.restart_api("--feature-gates=PortForwardWebsockets=false")
    far.world.restart_kubelets(f"-refuse={refused}")
    try:
        far.up(*RELAYED)
        assert far.reaches(WEB, "web-0"), far.logs()
        far.wait_until(lambda: far.relay.get("form") == form, "it is known how it speaks")
        assert far.client("late", STREAM, "7") == "said before the FIN"
        assert far.client("many", STREAM, "7", "100") == "99"
    finally:
        far.devlink("down")
        far.world.kill_api()
        far.world.restart_api()
        far.world.restart_kubelets()


@pytest.mark.parametrize("victim", ["relay", *(pytest.param(other, marks=MATRIX) for other in ("helper", "forwarder"))])
def test_whoever_is_killed_it_works_again_by_itself(far: Far, before: Snapshot, victim: str) -> None:
    assert far.kill(victim)
    far.wait_until(lambda: far.reaches(WEB, "web-0"), f"it works without the {victim} that was")
    far.down()
    far.await_equal(before)


def test_nothing_remains_of_a_session_whose_agent_was_killed(far: Far, before: Snapshot) -> None:
    assert far.kill("agent")
    far.await_equal(before)
    far.wait_until(lambda: "relay" not in far.remains(), "the relay has ended with it")


def test_no_redirect_outlives_the_helper(far: Far, before: Snapshot) -> None:
    far.stop_helper(signal.SIGKILL)
    try:
        assert "devlink" not in "\n".join(far.world.snapshot().packet_filter)
    finally:
        far.start_helper()
    far.wait_until(lambda: far.reaches(WEB, "web-0"), "it works again")
    far.down()
    far.await_equal(before)


def test_at_home_the_session_has_routes_and_away_from_it_the_relay_again(roaming: Far) -> None:
    roaming.world.plug(HOME)
    try:
        roaming.wait_until(lambda: roaming.session["mode"] in ("per-node", "gateway"), "it has routes")
        roaming.wait_until(lambda: roaming.reaches(WEB, "web-0"), "it works at home")
        roaming.wait_until(lambda: "relay" not in roaming.remains(), "nothing is relayed any more")
    finally:
        roaming.world.plug(OFFICE)
    roaming.wait_until(lambda: roaming.session["mode"] == "relay", "it is relayed again", limit=30)
    roaming.wait_until(lambda: roaming.reaches(WEB, "web-0"), "it works away from home")


def test_a_connection_that_is_relayed_goes_on_at_home_beside_those_that_go_by_its_routes(roaming: Far) -> None:
    address = [HOME.addresses[0], "dev", "eth1"]
    with roaming.holding(STREAM, 7) as held:
        assert held.echo("away") == "away"
        roaming.run("ip", "address", "add", *address)
        try:
            roaming.wait_until(lambda: roaming.session["mode"] in ("per-node", "gateway"), "it has routes")
            assert held.echo("at home") == "at home"
            assert roaming.reaches(WEB, "web-0")
            assert held.echo("still") == "still"
        finally:
            roaming.run("ip", "address", "del", *address)
        roaming.wait_until(lambda: roaming.session["mode"] == "relay", "it is relayed again", limit=30)
        assert held.echo("away again") == "away again"


@MATRIX
def test_a_router_that_begins_to_carry_is_gone_over_to_and_one_that_ends_is_left(roaming: Far) -> None:
    def on_router(*argv: str) -> str:
        return roaming.world.run(lab.ROUTER, argv, check=True).stdout

    def become(mode: str, change: str) -> None:
        roaming.run("ip", "address", change, "10.10.0.101/24", "dev", "eth0")  # else nobody looks
        roaming.wait_until(lambda: (roaming.session["mode"], roaming.states()["far"]) == (mode, "up"), mode, limit=40)
        assert held.echo(mode) == mode
        assert roaming.reaches(WEB, "web-0")

    ways = ("10.20.73.64/26 via 172.16.0.13", "10.20.120.128/26 via 172.16.0.19", "10.254.0.0/16 via 172.16.0.13")
    closed = on_router("nft", "list", "table", "inet", "closed")
    with roaming.holding(STREAM, 7) as held:
        assert held.echo("away") == "away"
        on_router("nft", "delete", "table", "inet", "closed")
        try:
            for way in ways:
                on_router("ip", "route", "add", *way.split())
            become("router", "add")
        finally:
            roaming.world.write_file(lab.ROUTER, "/root/closed", closed)
            on_router("nft", "-f", "/root/closed")
            for way in ways:
                roaming.world.run(lab.ROUTER, ["ip", "route", "del", *way.split()])
        become("relay", "del")
