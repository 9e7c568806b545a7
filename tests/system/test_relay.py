"""A user of the installed system is relayed, the units being as they are packaged; nobody else is, nor notices."""

import json
from collections.abc import Iterator

import pytest

from tests.system import install
from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.world import Link, machine, snapshot, until, wait_for_names

pytestmark = pytest.mark.system
LAB = f"/{install.LAB}"
SOURCES = ("tests/relay/node.py", "tests/system/inside/lan.py", "tests/system/inside/relay_api.py")
KUBECONFIG = {
    "current-context": "c",
    "clusters": [{"name": "c", "cluster": {"server": f"http://{lan.NODE}:6443"}}],
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "users": [{"name": "u", "user": {"token": "one"}}],
}
OTHERS = """\
table inet firewalld {
    chain input {
        type filter hook input priority 10; policy accept
        ct state established,related accept
        iifname lo accept
        reject with icmpx admin-prohibited
    }
}
table ip nat {
    chain output {
        type nat hook output priority -100; policy accept
        ip daddr 172.17.0.9 tcp dport 80 dnat to 172.16.0.13
    }
}
"""
"""As a firewall and Docker have them."""
FILES = {
    "/etc/devlink/policy.toml": "lease_grace = 0.3\n",
    "/etc/others.nft": OTHERS,
    "/home/alice/.kube/config": json.dumps(KUBECONFIG),
    **{f"{LAB}/{path}": (install.SOURCES / path).read_text() for path in SOURCES},
}
LAPTOPS = [("bookworm", Link.NETWORKD), pytest.param(("trixie", Link.NETWORK_MANAGER), marks=pytest.mark.matrix)]
POD = f"http://{lan.WEB_POD}:8080/"


@pytest.fixture(scope="module", params=LAPTOPS, ids=lambda given: given[0])
def laptop(request: pytest.FixtureRequest) -> Iterator[Machine]:
    image, link = request.param
    with machine(image, link, files=FILES) as booted:
        serve(booted)
        yield booted


def serve(laptop: Machine) -> None:
    """After a boot: the API server, and what other programs have in nftables."""
    laptop.run("nft", "--file", "/etc/others.nft")
    api = ("nsenter", "--net=/run/netns/node", "/usr/bin/python3", "-m", "tests.system.inside.relay_api")
    laptop.run("systemd-run", "--quiet", f"--setenv=PYTHONPATH={LAB}:/usr/share/devlink:{LAB}/lib", *api)
    laptop.run("sh", "-c", "until ip netns exec node ss -Hlnt | grep -q ':6443 '; do sleep .02; done")
    wait_for_names(laptop)


def fetched(laptop: Machine, url: str = POD, user: str = "alice") -> str:
    return laptop.run("curl", "-sS", "--max-time", "0.5", url, user=user, check=False).stdout


def way(laptop: Machine, user: str) -> str:
    return laptop.run("ip", "route", "get", lan.WEB_POD, user=user).stdout


def of_alice(laptop: Machine, module: str) -> str:
    """Her process that runs it; empty where there is none."""
    return laptop.run("pgrep", "--uid", "alice", "--full", f"devlink[.]{module}", check=False).stdout.strip()


def refused(laptop: Machine) -> str:
    """What systemd's confinement kept a part of devlink from."""
    return "\n".join(line for line in laptop.journal("--unit=devlink-*").splitlines() if "not permitted" in line)


def test_a_user_is_relayed_and_who_else_is_there_has_what_he_had(laptop: Machine) -> None:
    before = snapshot(laptop)
    ways = {user: way(laptop, user) for user in ("bob", "root")}
    laptop.devlink("up", "qa", "--routing", "relay")
    assert fetched(laptop, f"http://{lan.WEB_NAME}/") == fetched(laptop) == "web\n"
    assert "devlink0" in way(laptop, "alice")
    for user, had in ways.items():
        assert way(laptop, user) == had
        assert fetched(laptop, user=user) == ""
    during = snapshot(laptop).host.packet_filter
    assert set(before.host.packet_filter) <= set(during)
    laptop.devlink("down", "qa")
    assert before.diff(snapshot(laptop)) == []
    assert refused(laptop) == ""


def test_each_process_may_be_killed_and_what_root_restores_is_as_before(laptop: Machine) -> None:
    before = snapshot(laptop)
    laptop.devlink("up", "qa", "--routing", "relay")
    laptop.run("kill", "-9", of_alice(laptop, "relay"))
    until(lambda: fetched(laptop), "web\n")
    for unit in ("devlink-forwarder.service", "devlink-helper.service"):
        laptop.kill_and_wait(unit)
        until(lambda: fetched(laptop, f"http://{lan.WEB_NAME}/"), "web\n")
    laptop.run("/usr/bin/devlink", "helper", "restore")
    assert before.diff(snapshot(laptop)) == [], "its listeners are shut, though the relay may have them still"
    assert fetched(laptop) == ""


def test_nothing_is_left_of_an_agent_that_nobody_starts_again(laptop: Machine) -> None:
    before = snapshot(laptop)
    laptop.devlink("up", "qa", "--routing", "relay")
    laptop.run("kill", "-9", of_alice(laptop, "agent"))
    until(lambda: before.diff(snapshot(laptop)), [])
    assert of_alice(laptop, "relay") == ""


@pytest.mark.matrix
def test_after_a_power_cut_and_after_a_purge_it_is_as_before(laptop: Machine) -> None:
    """The last one: it takes devlink away."""
    laptop.power_cut()
    laptop.boot()
    serve(laptop)
    before = snapshot(laptop)
    laptop.devlink("up", "qa", "--routing", "relay")
    laptop.power_cut()
    laptop.boot()
    serve(laptop)
    assert before.diff(snapshot(laptop)) == []
    laptop.devlink("up", "qa", "--routing", "relay")
    assert fetched(laptop) == "web\n"
    laptop.run("dpkg", "--purge", "devlink")
    changed = before.diff(snapshot(laptop))
    assert [line for line in changed if not line.startswith("files: ")] == []
    assert laptop.run("pgrep", "--full", "devlink/run[.]py", check=False).stdout == ""
