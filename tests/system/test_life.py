"""On each kind of laptop: names for every program while it is up, nothing leaks, and afterwards all is as it was."""

import json

import pytest

from tests.system.containers import copied_nameservers
from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.setups import RESOLVED, Setup
from tests.system.world import leaks, questions, snapshot

pytestmark = pytest.mark.system
WAYS = {
    "getent hosts": ("getent", "hosts", lan.WEB_NAME),
    "getent ahosts": ("getent", "ahostsv4", lan.WEB_NAME),
    "python": ("python3", "-c", f"import socket; print(socket.getaddrinfo({lan.WEB_NAME!r}, 80)[0][4][0])"),
    "dig": ("dig", "+short", lan.WEB_NAME),
    "dig over TCP": ("dig", "+short", "+tcp", lan.WEB_NAME),
    "dig with EDNS and DNSSEC": ("dig", "+short", "+dnssec", lan.WEB_NAME),
}
"""Each prints the service's address."""


WITHOUT_CONTAINERS = ("NetworkManager-dnsmasq",)
"""The modes in which Docker finds loopback addresses alone: beside dnsmasq before `up` as well, and Debian's resolvconf
lists no server after one."""


def asked_at_the_cluster(laptop: Machine) -> list[str]:
    return [question.split()[0] for question in questions(laptop, lan.CLUSTER_DNS)]


def test_the_whole_life(shared_laptop: Machine, shared_setup: Setup) -> None:
    laptop = shared_laptop
    before = snapshot(laptop)
    laptop.devlink("up", "qa")
    (session,) = json.loads(laptop.devlink("status", "-o", "json").stdout)["sessions"]
    assert session["resolver"] == shared_setup.mode
    assert session["resolver_reason"]
    for way, argv in WAYS.items():
        assert lan.WEB in laptop.run(*argv, user="root").stdout, way
    assert lan.WEB in laptop.run("getent", "hosts", lan.WEB_NAME, user="bob").stdout, "he is not in the group"
    assert laptop.run("curl", "-sS", f"http://{lan.WEB_NAME}/").stdout == "web\n"
    assert "cluster.local" in laptop.run("getent", "hosts", lan.WEB_POD).stdout, "an address has its name"
    assert "cluster.local" in laptop.run("dig", "+short", "-x", lan.WEB_POD).stdout
    if RESOLVED in shared_setup.services:
        assert lan.WEB in laptop.run("resolvectl", "query", lan.WEB_NAME).stdout
    assert laptop.run("getent", "hosts", lan.WIKI).stdout.split()[0] == lan.ORDINARY[lan.OFFICE_DNS][lan.WIKI]
    assert laptop.run("getent", "hosts", "nobody.default.svc.cluster.local", check=False).returncode == 2
    assert f"{lan.WIKI}. A" in questions(laptop)
    assert leaks(laptop) == []
    assert [name for name in asked_at_the_cluster(laptop) if "corp.example" in name or "example.com" in name] == []
    laptop.devlink("down", "qa")
    assert before.diff(snapshot(laptop)) == []
    assert laptop.run("getent", "hosts", lan.WEB_NAME, check=False).returncode == 2
    assert laptop.run("getent", "hosts", lan.WIKI).stdout.split()[0] == lan.ORDINARY[lan.OFFICE_DNS][lan.WIKI]


def test_a_container_that_is_started_while_it_is_up_has_ordinary_names_then_and_afterwards(
    shared_laptop: Machine, shared_setup: Setup
) -> None:
    laptop = shared_laptop
    before = snapshot(laptop)
    laptop.devlink("up", "qa")
    copied = copied_nameservers(laptop)
    laptop.devlink("down", "qa")
    assert before.diff(snapshot(laptop)) == []
    assert copied == ([] if shared_setup.mode in WITHOUT_CONTAINERS else [lan.OFFICE_DNS])
    for server in copied:
        asked = laptop.run("dig", "+short", "+tries=1", "+time=1", f"@{server}", lan.WIKI).stdout.split()
        assert asked == [lan.ORDINARY[lan.OFFICE_DNS][lan.WIKI]]
