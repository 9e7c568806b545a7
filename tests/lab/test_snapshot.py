"""A snapshot notices everything that devlink may touch, and calms down where nothing changed."""

from collections.abc import Iterator

import pytest

from devlink import lab
from devlink.lab import World

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World.start(lab.network_a()) as started:
        started.run(lab.LAPTOP, ["cp", "-a", "/etc/resolv.conf", "/root"], check=True)
        yield started


@pytest.fixture
def node_lan(world: World) -> Iterator[World]:
    """One world for all: each test compares with what it found. Only the changes to the resolver file could meet."""
    yield world
    put_back = "rm -f /etc/resolv.conf; cp -a /root/resolv.conf /etc"
    world.run(lab.LAPTOP, ["sh", "-ec", put_back], check=True)


def test_two_snapshots_of_an_untouched_laptop_are_equal_whatever_traffic_there_was(node_lan: World) -> None:
    before = node_lan.snapshot()
    node_lan.run(lab.LAPTOP, ["curl", "-sS", f"http://{lab.ORDINARY_NAME}/"], check=True)
    after = node_lan.snapshot()
    assert (after == before, before.diff(after)) == (True, [])
    assert before.routes
    assert before.rules
    assert before.links


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("ip route add 10.20.0.0/16 via 172.16.0.13 proto 231", "routes"),
        ("ip route add 10.20.0.0/16 via 172.16.0.13 table 231", "routes"),
        ("ip -6 route add unreachable fd00:1::/64", "routes"),
        ("ip rule add pref 5200 table 231", "rules"),
        ("ip nexthop add id 231 via 172.16.0.13 dev eth0", "nexthops"),
        ("ip link set eth0 mtu 1400", "links"),
        ("ip address add 127.0.0.231/32 dev lo", "links"),
        ("nft add table inet devlink", "packet_filter"),
        ("echo options trust-ad >>/etc/resolv.conf", "resolver"),
        ("chmod 600 /etc/resolv.conf", "resolver"),
        ("mv /etc/resolv.conf /run/r && ln -s /run/r /etc/resolv.conf", "resolver"),
        ("touch /etc/resolv.conf.before-devlink", "files"),
        ("mkdir -p /var/lib/devlink && touch /var/lib/devlink/journal", "files"),
        ("mkdir /run/devlink", "files"),
        ("touch /etc/devlink/policy.toml", "files"),
    ],
)
def test_a_change_is_seen_where_it_belongs(node_lan: World, change: str, part: str) -> None:
    before = node_lan.snapshot()
    node_lan.run(lab.LAPTOP, ["sh", "-ec", change], check=True)
    after = node_lan.snapshot()
    assert getattr(after, part) != getattr(before, part)
    assert part in {line.partition(":")[0] for line in before.diff(after)}


def test_a_listening_socket_is_seen(node_lan: World) -> None:
    before = node_lan.snapshot()
    listen = "import socket; s = socket.create_server(('127.0.0.231', 53)); print('ready', flush=True); s.accept()"
    with node_lan.popen(lab.LAPTOP, ["python3", "-c", listen]) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        (seen,) = before.diff(node_lan.snapshot())
        listener.kill()
    assert seen.startswith("listening: +tcp")
    assert "127.0.0.231:53" in seen
