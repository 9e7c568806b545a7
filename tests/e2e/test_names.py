"""The names rule, seen on the wire: cluster names go to the cluster alone, ordinary names never."""

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devlink import lab
from devlink.lab.capture import Capture
from devlink.lab.world import World
from tests.e2e.link import Link, linked
from tests.e2e.test_conflict import silenced

pytestmark = pytest.mark.lab

SEARCH = "corp.example"


@pytest.fixture(scope="module")
def searching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """Network A with a search domain on the laptop, and devlink up."""
    spec = lab.network_a(search=(SEARCH,))
    with linked(spec, tmp_path_factory.mktemp("searching") / "helper.log") as link:
        link.up()
        yield link
        link.down()


def is_clusters(name: str) -> bool:
    """Whether a name is the cluster's: below its domain, or of its reverse zones."""
    zones = ("cluster.local", "20.10.in-addr.arpa", "254.10.in-addr.arpa")
    return any(name == zone or name.endswith(f".{zone}") for zone in zones)


def speaks_of_the_cluster(name: str) -> bool:
    """A leak: a cluster's name, whatever a search list has made of it."""
    return is_clusters(name) or ".cluster.local." in f".{name}"


@contextmanager
def watched(world: World) -> Iterator[tuple[Capture, Capture]]:
    """What the ordinary upstream and the cluster's DNS are asked while the block runs."""
    with world.capture(lab.UPSTREAM) as ordinary, world.capture("coredns") as cluster:
        yield ordinary, cluster


def getent(link: Link, name: str, database: str = "hosts") -> str:
    """The first address that any program gets for a name, or nothing."""
    done = link.world.run(lab.LAPTOP, ["getent", database, name], timeout=30)
    return done.stdout.split()[0] if done.returncode == 0 else ""


def dig(link: Link, *arguments: str) -> str:
    return link.world.run(lab.LAPTOP, ["dig", "+tries=1", "+timeout=8", *arguments], timeout=30).stdout


def test_each_name_goes_where_it_belongs_and_nowhere_else(searching: Link) -> None:
    link, spec = searching, searching.world.spec
    web, api = str(spec.service("web").address), str(spec.service("api", "qa").address)
    name = spec.service_name("web")
    with watched(link.world) as (ordinary, cluster):
        assert getent(link, name) == web
        assert getent(link, f"{name}.") == web
        assert getent(link, name.upper(), "ahostsv4") == web
        assert getent(link, spec.service_name("api", "qa"), "ahosts") == api
        assert getent(link, "nope.default.svc.cluster.local") == ""
        assert getent(link, "cluster.local") == ""
        assert getent(link, f"{name}.{SEARCH}") == ""
        assert getent(link, lab.ORDINARY_NAME) == "192.0.2.80"
        assert getent(link, f"{lab.ORDINARY_NAME}.") == "192.0.2.80"
        assert getent(link, "wiki") == "192.0.2.81"
        assert getent(link, "nowhere.example.org") == ""
        assert getent(link, "notcluster.local") == ""
        assert getent(link, web) == web  # by PTR
        assert getent(link, "192.0.2.53") == "192.0.2.53"
        assert getent(link, "10.21.0.1") == ""  # a private address that is not the cluster's
        assert link.run("curl", "-sS", "--max-time", "5", f"http://{name}/").strip() == "web-0"
        assert link.run("curl", "-sS", "--max-time", "5", f"http://{lab.ORDINARY_NAME}/").strip() == lab.UPSTREAM
        assert web in dig(link, "+tcp", name)
        assert web in dig(link, "+bufsize=512", name)
        assert "NXDOMAIN" in dig(link, f"{name}.{SEARCH}")
        assert "NXDOMAIN" in dig(link, f"NOPE.default.SVC.Cluster.Local.{SEARCH}", "AAAA")
        assert name in dig(link, "-x", web)
        assert "mail.example.com" in dig(link, "example.com", "MX")
        dig(link, "docs.default.svc.cluster.local")
        dig(link, "+search", "web.default.svc")
    assert ordinary.names, "the ordinary upstream was watched"
    assert cluster.names, "the cluster's DNS was watched"
    assert not {each for each in ordinary.names if speaks_of_the_cluster(each)}
    assert not {each for each in cluster.names if not is_clusters(each)}
    assert {lab.ORDINARY_NAME, "nowhere.example.org", "notcluster.local", "1.0.21.10.in-addr.arpa"} <= ordinary.names
    assert {name, "nope.default.svc.cluster.local", "cluster.local", "10.0.254.10.in-addr.arpa"} <= cluster.names


def test_while_up_itself_no_name_goes_astray(searching: Link) -> None:
    """The proof of the resolver and the verification ask too."""
    searching.down()
    with watched(searching.world) as (ordinary, cluster):
        searching.up()
        searching.down()
        searching.up()
    assert cluster.names, "verification asks the cluster's DNS"
    assert not {each for each in ordinary.names if speaks_of_the_cluster(each)}
    assert not {each for each in cluster.names if not is_clusters(each)}


def test_while_the_clusters_dns_is_silent_its_names_fail_and_go_nowhere_else(searching: Link) -> None:
    name = searching.world.spec.service_name("api", "qa")
    with silenced(searching.world, "coredns"), watched(searching.world) as (ordinary, _):
        assert "SERVFAIL" in dig(searching, name)
        assert "SERVFAIL" in dig(searching, "+tcp", name)
        assert getent(searching, lab.ORDINARY_NAME) == "192.0.2.80"
    assert ordinary.names
    assert not {each for each in ordinary.names if speaks_of_the_cluster(each)}
    assert getent(searching, name) == str(searching.world.spec.service("api", "qa").address)


def test_the_programs_of_bind_ask_nobody_else_while_the_clusters_dns_is_silent(searching: Link) -> None:
    """Their parser of resolv.conf is not libc's, and they ask every server that it finds within these few seconds."""
    link, domain = searching, "default.svc.cluster.local"
    programs = (["host", "-W", "1"], ["nslookup", "-timeout=1", "-retry=1"], ["dig", "+timeout=1", "+tries=1"])
    with silenced(link.world, "coredns"), watched(link.world) as (ordinary, _):
        running = [link.world.popen(lab.LAPTOP, [*argv, f"{argv[0]}.{domain}."]) for argv in programs]
        for each in running:
            _, said = link.await_end(each)
            assert "NXDOMAIN" not in said, "another's answer"
        dig(link, "bind.example.org")
    assert "bind.example.org" in ordinary.names
    assert not {each for each in ordinary.names if speaks_of_the_cluster(each)}


def test_while_the_ordinary_upstream_is_silent_cluster_names_go_on(searching: Link) -> None:
    name = searching.world.spec.service_name("web")
    with silenced(searching.world, lab.UPSTREAM), watched(searching.world) as (_, cluster):
        assert getent(searching, name) == str(searching.world.spec.service("web").address)
        assert "SERVFAIL" in dig(searching, "example.com", "MX")
        assert getent(searching, name) == str(searching.world.spec.service("web").address)
    assert not {each for each in cluster.names if not is_clusters(each)}


FLOOD = """
import os, select, socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect(("127.0.0.231", 53))
    for number in range(6000):
        name = b"".join(bytes([len(label)]) + label for label in {labels!r}.split(b"."))
        header = number.to_bytes(2, "big") + b"\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0"
        sock.send(header + b"\\7n%06d" % number + name + b"\\0\\0\\1\\0\\1")
    readable, _, _ = select.select([sock], [], [], 3)
    print(sock.recv(512)[3] & 15 if readable else "silence")
"""
"""A program that asks 6000 names below a domain at once, and says what became of the first that was answered."""


@pytest.mark.parametrize("dead", [lab.UPSTREAM, "coredns"])
def test_programs_that_wait_for_a_dead_server_do_not_keep_others_from_a_living_one(searching: Link, dead: str) -> None:
    cluster_name, address = searching.world.spec.service_name("web"), searching.world.spec.service("web").address
    domain, name, expected = (
        (b"example.org", cluster_name, str(address))
        if dead == lab.UPSTREAM
        else (b"default.svc.cluster.local", lab.ORDINARY_NAME, "192.0.2.80")
    )
    with silenced(searching.world, dead):
        said = searching.run(sys.executable, "-c", FLOOD.format(labels=domain))
        assert said.strip() == "2", "the dead server's share was used up: the flood was enough"
        assert getent(searching, name) == expected
        assert expected in dig(searching, "+tcp", name)
    # What still waits is answered in a few seconds; until then the next test would see its share taken.
    fresh = (f"fresh{number}" for number in itertools.count())  # what is in the cache tells nothing
    for below in ("default.svc.cluster.local", "example.org"):

        def is_back(below: str = below) -> bool:
            return "SERVFAIL" not in dig(searching, f"{next(fresh)}.{below}")

        searching.wait_until(is_back, f"names below {below} are back")


def test_a_killed_forwarder_leaks_nothing_when_it_comes_back(searching: Link) -> None:
    name = searching.world.spec.service_name("web")
    with watched(searching.world) as (ordinary, cluster):
        for _ in range(3):
            searching.kill("forwarder")
            assert getent(searching, name) == str(searching.world.spec.service("web").address)
            assert getent(searching, lab.ORDINARY_NAME) == "192.0.2.80"
    assert not {each for each in ordinary.names if speaks_of_the_cluster(each)}
    assert not {each for each in cluster.names if not is_clusters(each)}
