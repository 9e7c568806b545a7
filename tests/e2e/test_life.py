"""The laptop moves, sleeps its links and shares its kernel with others: sessions go with it, without anybody asking."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from devlink import lab
from tests.certificates import Authority, Issued
from tests.e2e.link import PROFILE, RESOLV_CONF, Link, linked

pytestmark = pytest.mark.lab

NAME = "calico-rr"
OFFICE = ("172.16.0.100/24", "172.16.0.1")
CAFE = ("10.66.0.100/24", "10.66.0.1")
"""The laptop's address and its router's, in a network of the same router that carries nothing of the cluster."""
DEFAULT = f"ip route replace default via {OFFICE[1]} proto static"
CLUSTER = Authority()
API = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
listener = socket.create_server(("", 6443))
print("ready", flush=True)
while True:
    client, _ = listener.accept()
    try:
        client.settimeout(2)
        context.wrap_socket(client, server_side=True).close()
    except OSError:
        client.close()
"""
SILENCE = """
import socket
listener = socket.create_server(("", 6443))
print("ready", flush=True)
held = []
while True:
    held.append(listener.accept())
"""
"""An API server that hangs: who connects is told nothing, not even that nobody is there."""
BUS = 'exec dbus-daemon --session --nofork --nopidfile --print-address --address="unix:path=$XDG_RUNTIME_DIR/bus"'
DESKTOP = """
import os
from jeepney import HeaderFields, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection(f"unix:path={os.environ['XDG_RUNTIME_DIR']}/bus")
bus.send_and_get_reply(message_bus.RequestName("org.freedesktop.Notifications"))
print("ready", flush=True)
while True:
    call = bus.receive()
    member = call.header.fields.get(HeaderFields.member)
    if member == "GetCapabilities":
        bus.send(new_method_return(call, "as", (["body"],)))
    elif member == "Notify":
        bus.send(new_method_return(call, "u", (7,)))
        print(call.body[1], call.body[3], call.body[4].splitlines()[0], sep=" | ", flush=True)
"""
"""A notification service: which notification each one replaces, its summary and what happened."""
SEEN_BEFORE = "does not answer; the cluster was seen through gateway"


@pytest.fixture(scope="module")
def node_lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """Network A, whose profile has the cluster's CA, with a café beside it."""
    with linked(lab.network_a(), tmp_path_factory.mktemp("life") / "helper.log") as link:
        link.world.run(lab.ROUTER, ["ip", "address", "add", f"{CAFE[1]}/24", "dev", "eth0"], check=True)
        tree = yaml.safe_load(link.world.profile())
        tree["spec"]["identity"] = {"ca": CLUSTER.pem}
        link.world.write_file(lab.LAPTOP, PROFILE, yaml.safe_dump(tree))
        link.trust(PROFILE)
        yield link


@pytest.fixture
def link(node_lan: Link, api: None) -> Iterator[Link]:
    """The laptop, up in the office; the test must leave it there."""
    before = node_lan.world.snapshot()
    node_lan.up()
    yield node_lan
    node_lan.thaw()
    node_lan.devlink("down", "--all")
    node_lan.await_equal(before)


@pytest.fixture
def api(node_lan: Link) -> Iterator[None]:
    with answering(node_lan, CLUSTER.issue("kubernetes.default.svc")):
        yield


@contextmanager
def answering(link: Link, issued: Issued) -> Iterator[None]:
    """The cluster's API has that certificate while the block runs."""
    link.world.write_file("node2", "/tmp/api.pem", issued.key + issued.certificate)
    with serving(link, API, "/tmp/api.pem"):
        yield


@contextmanager
def serving(link: Link, *program: str) -> Iterator[None]:
    """That runs in the place of the cluster's API while the block runs."""
    with link.world.popen("node2", [sys.executable, "-c", *program]) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            server.kill()


def move(link: Link, address: str, router: str) -> None:
    """As DHCP in another network does it: the link goes, and comes back with other numbers."""
    script = (
        "ip link set eth0 down; ip address flush dev eth0; ip address add $0 dev eth0; ip link set eth0 up; "
        "ip route replace default via $1 proto static"
    )
    link.run("sh", "-ec", script, address, router)


def unplug(link: Link) -> None:
    """The cable is out, and that was noticed: so what comes next is looked at."""
    link.run("ip", "link", "set", "eth0", "down")
    link.wait_until(lambda: "no network in which its cluster" in finding(link), "it is seen that the cable is out")


def plug(link: Link) -> None:
    link.run("sh", "-ec", f"ip link set eth0 up; {DEFAULT}")


def replug(link: Link) -> None:
    """The cable is out for a moment."""
    link.run("sh", "-ec", f"ip link set eth0 down; sleep .2; ip link set eth0 up; {DEFAULT}")


def state(link: Link) -> str:
    return link.states().get(NAME, "")


def finding(link: Link) -> str:
    (session,) = link.status()["sessions"]
    return str(session["findings"][0])


def agent_log(link: Link) -> str:
    return link.run("cat", "/root/.local/state/devlink/log/agent.log")


def kept(link: Link) -> str:
    """The files from which an agent that is started knows what it shall have up."""
    return link.run("sh", "-ec", 'find "$XDG_RUNTIME_DIR/devlink/sessions" -type f')


def names_work(link: Link) -> bool:
    return link.devlink("status").returncode == 0 and bool(
        link.world.run(lab.LAPTOP, ["getent", "hosts", link.world.spec.service_name("web")]).stdout
    )


def prompt(link: Link) -> tuple[str, int]:
    """What a shell's prompt shows, and the exit code."""
    done = link.devlink("status", "--short")
    return done.stdout, done.returncode


def test_in_a_network_that_carries_nothing_it_is_suspended_and_at_home_it_is_up_again_by_itself(link: Link) -> None:
    move(link, *CAFE)
    link.wait_until(lambda: state(link) == "suspended", "it is suspended")
    done = link.devlink("status")
    assert done.returncode == 4
    assert f"172.16.0.13 is behind {CAFE[1]}" in done.stdout
    assert "comes back by itself" in done.stdout
    assert prompt(link) == (f"{NAME}~\n", 4)
    assert link.run("ip", "route", "show", "proto", "231") == ""
    assert "devlink" not in link.run("cat", RESOLV_CONF)
    assert link.run("getent", "hosts", lab.ORDINARY_NAME), "names are ordinary again"
    link.up(expect=4)
    assert state(link) == "suspended", "trying costs nothing"
    move(link, *OFFICE)
    link.wait_until(lambda: names_work(link), "it is up again")
    assert prompt(link) == (f"{NAME}\n", 0)


@pytest.mark.matrix
def test_the_desktop_is_told_that_it_is_suspended_and_that_it_is_back_in_one_notification(link: Link) -> None:
    with link.world.popen(lab.LAPTOP, ["sh", "-c", BUS]) as bus:
        assert bus.stdout is not None
        assert bus.stdout.readline().startswith("unix:")
        with link.world.popen(lab.LAPTOP, [sys.executable, "-c", DESKTOP]) as desktop:
            assert desktop.stdout is not None
            assert desktop.stdout.readline() == "ready\n"
            try:
                move(link, *CAFE)
                told = desktop.stdout.readline()
                assert told.startswith(f"0 | {NAME} is suspended | "), told
                move(link, *OFFICE)
                assert desktop.stdout.readline().startswith(f"7 | {NAME} is back | ")
            finally:
                desktop.kill()
                bus.kill()
                link.run("sh", "-c", 'rm "$XDG_RUNTIME_DIR/bus"')


def test_what_is_suspended_can_be_taken_down_for_good(link: Link) -> None:
    move(link, *CAFE)
    link.wait_until(lambda: state(link) == "suspended", "it is suspended")
    assert kept(link)
    link.down()
    move(link, *OFFICE)
    link.wait_until(lambda: "agent" not in link.remains(), "the agent ends: there is nothing that it waits for")
    assert link.devlink("status").returncode == 3
    assert prompt(link) == ("", 3)
    assert link.run("ip", "route", "show", "proto", "231") == ""
    assert not kept(link), "nor has the next agent anything to bring back"


@contextmanager
def strangers_at_home(link: Link) -> Iterator[None]:
    """While the block runs, other machines have the numbers of the office's: its router, its nodes and its API."""
    with answering(link, Authority.another().issue("kubernetes.default.svc")):
        kept = {host: link_address(link, host) for host in (lab.ROUTER, "node1")}
        for number, host in enumerate(kept):
            link_address(link, host, f"02:00:00:00:66:0{number}")
        yield
        for host, address in kept.items():
            link_address(link, host, address)


def link_address(link: Link, host: str, new: str = "") -> str:
    """That of its first link, before it gets a `new` one."""
    before = link.world.run(host, ["cat", "/sys/class/net/eth0/address"], check=True).stdout.strip()
    if new:
        link.world.run(host, ["ip", "link", "set", "eth0", "address", new], check=True)
    return before


def test_a_home_that_numbers_itself_like_the_office_gets_nothing(node_lan: Link) -> None:
    link = node_lan
    before = link.world.snapshot()
    with answering(link, CLUSTER.issue("kubernetes.default.svc")):
        link.up()
    with strangers_at_home(link):
        move(link, *OFFICE)
        link.wait_until(lambda: state(link) == "suspended", "the stranger is found out")
        assert "is not the cluster of profile" in finding(link)
        assert link.run("ip", "route", "show", "proto", "231") == ""
        link.run("ip", "link", "set", "eth0", "down")
        link.wait_until(
            lambda: "is not the cluster of profile" not in finding(link), "it is seen that this is no place"
        )
        move(link, *OFFICE)
        link.wait_until(lambda: "is not the cluster of profile" in finding(link), "it is looked at anew")
        assert state(link) == "suspended"
        assert link.run("ip", "route", "show", "proto", "231") == ""
    with answering(link, CLUSTER.issue("kubernetes.default.svc")):
        move(link, *OFFICE)
        link.wait_until(lambda: names_work(link), "at the office it is up again")
    link.down()
    link.await_equal(before)


def test_an_api_that_is_merely_silent_takes_nothing_down(node_lan: Link) -> None:
    link = node_lan
    before = link.world.snapshot()
    with answering(link, CLUSTER.issue("kubernetes.default.svc")):
        link.up()
    during, seen = link.run("ip", "route", "show", "proto", "231"), agent_log(link).count(SEEN_BEFORE)
    with serving(link, SILENCE):
        unplug(link)
        plug(link)
        link.wait_until(lambda: agent_log(link).count(SEEN_BEFORE) > seen, "the API was asked, and is silent")
        link.wait_until(lambda: state(link) == "up", "the gateway speaks for it")
        assert names_work(link)
        assert link.run("ip", "route", "show", "proto", "231") == during
    link.down()
    link.await_equal(before)


def test_routes_come_back_with_their_link_though_the_agent_is_frozen(link: Link) -> None:
    during = link.run("ip", "route", "show", "proto", "231")
    link.kill("agent", number=signal.SIGSTOP)
    replug(link)
    link.wait_until(lambda: link.run("ip", "route", "show", "proto", "231") == during, "they are back")
    link.run("ip", "nexthop", "flush", "proto", "231")
    link.wait_until(lambda: link.run("ip", "route", "show", "proto", "231") == during, "they are back")
    link.kill("agent", number=signal.SIGCONT)
    link.wait_until(lambda: names_work(link), "all is well")


def test_ten_thousand_routes_of_others_wake_nobody_for_long_and_change_nothing(link: Link) -> None:
    routes = [f"198.18.{high}.{low}/32" for high in range(50) for low in range(200)]
    link.world.write_file(lab.LAPTOP, "/tmp/add", "".join(f"route add {r} via 172.16.0.1\n" for r in routes))
    link.world.write_file(lab.LAPTOP, "/tmp/del", "".join(f"route del {r}\n" for r in routes))
    link.wait_until(lambda: names_work(link), "it is up")
    link.wait_until(lambda: is_quiet(link), "it has looked around, and what asks the gateways after traffic is made")
    during, log = link.run("ip", "route", "show", "proto", "231"), link.logs()
    woken = wakeups(link)
    link.run("ip", "-batch", "/tmp/add")
    link.run("ip", "-batch", "/tmp/del")
    more = wakeups(link) - woken
    assert more < len(routes) / 10, "not once for each"
    assert link.run("ip", "route", "show", "proto", "231") == during
    assert link.logs() == log, "nothing was planned, applied or said"
    assert names_work(link)


def is_quiet(link: Link) -> bool:
    """Whether nothing more is said for a moment."""
    log = link.logs()
    time.sleep(0.8)
    return link.logs() == log


def wakeups(link: Link) -> int:
    """How often agent and helper went to sleep, in sum."""
    return sum(
        int(line.split()[1])
        for role in ("agent", "helper")
        for pid in link.pids(role)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for line in (task / "status").read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


@pytest.mark.parametrize("role", ["agent", "helper"])
def test_a_move_while_one_of_ours_dies_ends_well(link: Link, role: str) -> None:
    move(link, *CAFE)
    link.kill(role)
    if role == "agent":
        link.wait_until(lambda: link.run("ip", "route", "show", "proto", "231") == "", "its lease ends")
        move(link, *OFFICE)
        link.up()
    else:
        link.wait_until(lambda: state(link) == "suspended", "it is suspended")
        move(link, *OFFICE)
    link.wait_until(lambda: names_work(link), "it is up")
