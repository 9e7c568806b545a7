"""`devlink doctor` on names where systemd-resolved has them: what only a whole operating system can break."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.setups import SETUPS
from tests.system.test_docker import LAPTOPS, START, start
from tests.system.world import address, until

pytestmark = pytest.mark.system

STUB_CONF, UPLINKS = "/run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/resolv.conf"
FORWARDER, API = "127.0.0.231", "10.254.0.1"


@pytest.fixture(scope="module")
def laptop() -> Iterator[Machine]:
    """The profile is up; each test leaves it so."""
    with SETUPS["bookworm-resolved"].boot() as booted:
        booted.devlink("up", "qa")
        yield booted


def findings(laptop: Machine) -> list[dict[str, Any]]:
    """By a user who is nobody special."""
    done = laptop.devlink("doctor", "-o", "json", check=False)
    assert done.returncode in (0, 4), done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return found


def told(laptop: Machine, code: str) -> dict[str, Any]:
    """The finding, which is the first; no error has another code."""
    found = findings(laptop)
    assert found, f"nothing instead of {code}"
    assert found[0]["code"] == code, found
    assert {each["code"] for each in found if each["severity"] == "error"} <= {code}
    return found[0]


def codes(laptop: Machine) -> set[str]:
    return {each["code"] for each in findings(laptop)} - {"DL-NO-ENDPOINT-ELSEWHERE", "DL-UNAUTHENTICATED"}


@contextmanager
def domains(laptop: Machine, *named: str) -> Iterator[None]:
    """eth0 has these domains, as DHCP or a VPN would say, while the block runs."""
    laptop.run("resolvectl", "domain", "eth0", *named)
    try:
        yield
    finally:
        laptop.run("resolvectl", "domain", "eth0", "")


@contextmanager
def order(laptop: Machine, services: str) -> Iterator[None]:
    """libc asks these services while the block runs."""
    before = laptop.read("/etc/nsswitch.conf")
    lines = (f"hosts: {services}" if line.startswith("hosts:") else line for line in before.splitlines())
    laptop.write("/etc/nsswitch.conf", "\n".join(lines) + "\n")
    try:
        yield
    finally:
        laptop.write("/etc/nsswitch.conf", before)


@pytest.fixture
def well(laptop: Machine) -> Iterator[Machine]:
    """The same, on which doctor finds nothing when the test has mended what it broke."""
    yield laptop
    assert codes(laptop) == set()


def test_a_link_that_has_the_clusters_domain_too_is_named(well: Machine) -> None:
    with domains(well, "~."):
        assert codes(well) == set()  # the longer one wins
    with domains(well, "~cluster.local"):
        assert "eth0 has cluster.local" in told(well, "DL-DOMAIN-SHARED")["evidence"]
    with domains(well, "~svc.cluster.local"):  # there it wins, and nothing is found
        assert told(well, "DL-DOMAIN-SHARED")["severity"] == "error"


def test_a_firewall_between_resolved_and_the_forwarder_is_named(well: Machine) -> None:
    rules = (
        "add table ip broken; add chain ip broken it { type filter hook output priority 0; }; "
        f"add rule ip broken it meta skuid systemd-resolve ip daddr {FORWARDER} reject"
    )
    well.run("nft", rules)
    try:
        well.run("resolvectl", "flush-caches")
        assert f"the forwarder {API}" in told(well, "DL-RESOLVED-ASTRAY")["evidence"]
    finally:
        well.run("nft", "delete table ip broken")
    until(lambda: address(well, lan.WEB_NAME), lan.WEB)


def test_a_resolv_conf_that_names_the_networks_server_is_named_though_libc_goes_another_way(well: Machine) -> None:
    well.run("ln", "-sf", UPLINKS, "/etc/resolv.conf")
    try:
        with order(well, "files resolve [!UNAVAIL=return] dns"):
            assert lan.OFFICE_DNS in told(well, "DL-RESOLV-CONF-BYPASSED")["evidence"]
    finally:
        well.run("ln", "-sf", STUB_CONF, "/etc/resolv.conf")


def test_a_search_domain_behind_names_that_are_not_there_is_told_where_it_leaks(well: Machine) -> None:
    with domains(well, "corp.example"):
        until(lambda: "search corp.example" in well.read("/etc/resolv.conf"))
        assert codes(well) == set()  # by `resolve` none is put behind
        with order(well, "files dns"):
            assert codes(well) == {"DL-SEARCH-LEAK"}


def test_a_resolved_that_does_not_run_is_named(well: Machine) -> None:
    well.run("systemctl", "stop", "systemd-resolved")
    try:
        assert "does not run" in told(well, "DL-RESOLVER-GONE")["evidence"]
    finally:
        well.run("systemctl", "start", "systemd-resolved")
    until(lambda: address(well, lan.WEB_NAME), lan.WEB)


def test_a_resolved_that_hangs_is_named(well: Machine) -> None:
    well.kill("systemd-resolved", signal.SIGSTOP)
    try:
        assert "does not answer" in told(well, "DL-RESOLVER-GONE")["evidence"]
    finally:
        well.kill("systemd-resolved", signal.SIGCONT)
    until(lambda: address(well, lan.WEB_NAME), lan.WEB)


@pytest.mark.matrix
def test_a_dnsmasq_of_networkmanager_that_hangs_is_named() -> None:
    with SETUPS["bookworm-nm-dnsmasq"].boot() as laptop:
        laptop.devlink("up", "qa")
        assert codes(laptop) == set()
        laptop.run("pkill", "--signal", "STOP", "--full", "dnsmasq.*NetworkManager")
        assert "127.0.0.1" in told(laptop, "DL-RESOLVER-GONE")["evidence"]
        laptop.run("pkill", "--signal", "CONT", "--full", "dnsmasq.*NetworkManager")
        assert codes(laptop) == set()


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.matrix) for name in SETUPS])
def test_a_healthy_laptop_of_each_kind_has_nothing_to_mend(name: str) -> None:
    with SETUPS[name].boot() as laptop:
        assert codes(laptop) == set()
        laptop.devlink("up", "qa")
        assert codes(laptop) == set()
        laptop.devlink("down", "--all")
        assert codes(laptop) == set()


AVAHI = """
import os, socket
os.makedirs("/run/avahi-daemon")
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind("/run/avahi-daemon/socket")
    listener.listen()
    os.chmod("/run/avahi-daemon/socket", 0o666)
    while True:
        asked, _ = listener.accept()
        with asked:
            asked.recv(1024)
            asked.sendall(b"-15 Timeout reached\\n")
"""
"""What nss-mdns asks, where nobody near has the name: it is in none of the images."""


@pytest.fixture
def avahi(laptop: Machine) -> Iterator[None]:
    laptop.run("systemd-run", "--quiet", "--collect", "--unit=avahi", "python3", "-c", AVAHI)
    until(lambda: laptop.run("test", "-S", "/run/avahi-daemon/socket", check=False).returncode, 0)
    yield
    laptop.run("systemctl", "stop", "avahi")
    laptop.run("rm", "-r", "/run/avahi-daemon")


@pytest.mark.usefixtures("avahi")
def test_multicast_dns_is_named_where_it_takes_all_of_local_and_only_there(well: Machine) -> None:
    well.write("/etc/mdns.allow", ".local\n")
    try:
        with order(well, "files mdns4 [NOTFOUND=return] resolve [!UNAVAIL=return] dns"):
            assert "mdns4 [NOTFOUND=return]" in told(well, "DL-NSS-MDNS")["evidence"]
        with order(well, "files mdns4_minimal [NOTFOUND=return] dns"):  # as most laptops have it
            assert codes(well) == set()
    finally:
        well.run("rm", "/etc/mdns.allow")


@pytest.mark.matrix
def test_what_docker_gave_its_containers_is_seen_by_who_may_ask_docker() -> None:
    with LAPTOPS["direct"]() as laptop:
        laptop.run("groupadd", "--force", "docker")
        laptop.run("gpasswd", "--add", "alice", "docker")
        laptop.run("sh", "-ec", START)
        laptop.devlink("up", "qa")
        start(laptop, "new")

        def named() -> list[tuple[str, str]]:
            said = json.loads(laptop.devlink("doctor", "qa", "-o", "json", check=False).stdout)
            return [(each["code"], each["evidence"]) for each in said["findings"] if "CONTAINER" in each["code"]]

        ((code, evidence),) = named()
        assert code == "DL-CONTAINER-NO-NAMES"
        assert f"new-bridge: nameserver {lan.OFFICE_DNS}" in evidence
        assert "new-own" not in evidence
        assert "new-host" not in evidence
        laptop.devlink("down", "qa")
        assert named() == []  # test_docker.py has what they find then
