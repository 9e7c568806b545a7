"""What Docker gives a container that starts while a profile is up: names for as long as it runs, also after `down`.

Docker copies the host's nameservers when a container starts, and never again; what it makes of an address of loopback
depends on the container's network.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.world import PLAIN, Link, machine

pytestmark = [pytest.mark.system, pytest.mark.matrix]
NETWORKS = ("bridge", "own", "host")
"""Docker's default one, which is given no loopback address; one made by a person, where Docker answers itself and asks
the host's servers, also those on its loopback; and none of its own."""
AT_ONCE = "2"
"""Seconds for an answer: less than the time after which libc asks the next server."""
WIKI = lan.ORDINARY[lan.OFFICE_DNS][lan.WIKI]
# The lab's own disk is an overlay, on which Docker's usual driver does not work; IPv6 wants a kernel module.
FILES = {"/etc/docker/daemon.json": json.dumps({"storage-driver": "vfs", "ip6tables": False})}
UNITS = ("docker.service", "docker.socket", "containerd.service")
# Not by its unit: what the container's systemd starts may not use the kernel's keyrings, which runc does.
START = """
setsid dockerd >/var/log/dockerd 2>&1 </dev/null &
until docker info >/dev/null 2>&1; do sleep .05; done
mkdir -p /root/libc/etc /root/libc/usr
ln -s usr/bin usr/lib usr/lib64 /root/libc/
echo 'hosts: files dns' >/root/libc/etc/nsswitch.conf
tar -C /root/libc -c . | docker import - libc
docker network create own
"""
"""Docker, and an image without a file: the containers see the host's /usr, and with it a libc."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The addresses that containers found, by network; empty where there was none within AT_ONCE."""

    ordinary: dict[str, str]
    """While it was up, in containers that were started while it was up; so in the next one."""
    cluster: dict[str, str]
    afterwards: dict[str, str]
    """The ordinary name, in the same ones, right after `down`."""
    older: dict[str, str]
    """The same at that moment in containers from before `up`."""


def start(laptop: Machine, age: str) -> None:
    for network in NETWORKS:
        options = ("--name", f"{age}-{network}", "--network", network, "--volume", "/usr:/usr:ro")
        laptop.run("docker", "run", "--detach", *options, "libc", "sleep", "1000")


def ask(laptop: Machine, age: str, name: str) -> dict[str, str]:
    found = {}
    for network in NETWORKS:
        command = ("timeout", AT_ONCE, "getent", "ahostsv4", name)
        said = laptop.run("docker", "exec", f"{age}-{network}", *command, check=False).stdout
        found[network] = said.split(" ", 1)[0]
    return found


def collect(laptop: Machine) -> Answers:
    laptop.run("sh", "-ec", START)
    start(laptop, "old")
    laptop.devlink("up", "qa")
    start(laptop, "new")
    ordinary, cluster = ask(laptop, "new", lan.WIKI), ask(laptop, "new", lan.WEB_NAME)
    laptop.devlink("down", "qa")
    afterwards, older = ask(laptop, "new", lan.WIKI), ask(laptop, "old", lan.WIKI)
    return Answers(ordinary=ordinary, cluster=cluster, afterwards=afterwards, older=older)


@pytest.fixture(scope="module")
def plain() -> Iterator[Answers]:
    """Where /etc/resolv.conf is a plain file."""
    with machine("docker", Link.STATIC, resolv_conf=PLAIN, mask=UNITS, files=FILES) as laptop:
        yield collect(laptop)


@pytest.fixture(scope="module")
def resolved() -> Iterator[Answers]:
    """Where it names systemd-resolved's stub."""
    with machine("docker", Link.NETWORKD, mask=UNITS, files=FILES) as laptop:
        yield collect(laptop)


alone = pytest.mark.xfail(strict=True, reason="the forwarder is the file's only nameserver")


def test_a_plain_file_leaves_older_containers_alone(plain: Answers) -> None:
    assert plain.older == dict.fromkeys(NETWORKS, WIKI)


@alone
def test_with_a_plain_file_ordinary_names_are_found_while_it_is_up(plain: Answers) -> None:
    assert plain.ordinary == dict.fromkeys(NETWORKS, WIKI)


@alone
def test_with_a_plain_file_ordinary_names_are_found_at_once_after_down(plain: Answers) -> None:
    assert plain.afterwards == dict.fromkeys(NETWORKS, WIKI)


def test_with_a_plain_file_the_cluster_is_found_but_in_the_default_network(plain: Answers) -> None:
    assert plain.cluster == {"bridge": "", "own": lan.WEB, "host": lan.WEB}


def test_with_resolved_ordinary_names_are_found_while_it_is_up_and_at_once_after_down(resolved: Answers) -> None:
    assert resolved.ordinary == resolved.afterwards == resolved.older == dict.fromkeys(NETWORKS, WIKI)


def test_with_resolved_the_cluster_is_found_but_in_the_default_network(resolved: Answers) -> None:
    # Docker's own server asks the stub; for the default network it takes the servers behind it, where ours is not.
    assert resolved.cluster == {"bridge": "", "own": lan.WEB, "host": lan.WEB}
