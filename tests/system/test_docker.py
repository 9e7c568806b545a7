"""What Docker gives a container that starts while a profile is up: names for as long as it runs, also after `down`.

Docker copies the host's nameservers when a container starts, and never again; what it makes of an address of loopback
depends on the container's network.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.setups import network_manager
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

    mode: str
    """One of LAPTOPS."""
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


def collect(laptop: Machine, mode: str) -> Answers:
    laptop.run("sh", "-ec", START)
    start(laptop, "old")
    laptop.devlink("up", "qa")
    start(laptop, "new")
    ordinary, cluster = ask(laptop, "new", lan.WIKI), ask(laptop, "new", lan.WEB_NAME)
    laptop.devlink("down", "qa")
    afterwards, older = ask(laptop, "new", lan.WIKI), ask(laptop, "old", lan.WIKI)
    return Answers(mode=mode, ordinary=ordinary, cluster=cluster, afterwards=afterwards, older=older)


LAPTOPS: dict[str, Callable[[], Machine]] = {
    "direct": lambda: machine("docker", Link.STATIC, resolv_conf=PLAIN, mask=UNITS, files=FILES),
    "direct beside NetworkManager": lambda: machine(
        "docker", Link.NETWORK_MANAGER, resolv_conf="", mask=UNITS, files={**FILES, **network_manager("default")}
    ),
    "systemd-resolved": lambda: machine("docker", Link.NETWORKD, mask=UNITS, files=FILES),
}
"""By the resolver mode that is chosen there."""


@pytest.fixture(scope="module", params=LAPTOPS)
def answers(request: pytest.FixtureRequest) -> Iterator[Answers]:
    """On one of LAPTOPS."""
    with LAPTOPS[request.param]() as laptop:
        yield collect(laptop, request.param)


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_older_containers_are_left_alone(answers: Answers, network: str) -> None:
    assert answers.older[network] == WIKI


def test_ordinary_names_are_found_while_it_is_up(answers: Answers, network: str) -> None:
    assert answers.ordinary[network] == WIKI


def test_ordinary_names_are_found_at_once_after_down(answers: Answers, network: str) -> None:
    assert answers.afterwards[network] == WIKI


def test_the_cluster_is_found_but_in_the_default_network(answers: Answers, network: str) -> None:
    # With resolved, Docker's own server asks its stub; for the default network Docker takes the servers behind it,
    # where ours is not.
    assert answers.cluster[network] == ("" if network == "bridge" else lan.WEB)
