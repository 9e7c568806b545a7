"""Two users of one machine at the same time, each with a cluster: neither sees, hinders or ends what is the other's."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from devlink.core.codec import encode
from tests.system import setups
from tests.system.inside import lan
from tests.system.logins import RETRIED
from tests.system.machine import Machine
from tests.system.world import PROFILE, PROFILE_2, TRUST_2, add_user, address, machine, snapshot, until

pytestmark = pytest.mark.system
FILES = {
    "/etc/devlink/trust.d/prod.json": json.dumps(encode(TRUST_2)),
    "/etc/devlink/policy.toml": "lease_grace = 0.3\n",
}
CALL = """\
import json, sys
sys.path.insert(0, "/usr/share/devlink")
from devlink.errors import DevlinkError
from devlink.rpc.client import Client
for line in sys.stdin:
    method, parameters = json.loads(line)
    with Client.connect("/run/devlink/helper") as client:
        try:
            said = next(client.stream("io.devlink.Helper." + method, parameters))
        except DevlinkError as error:
            said = {"exit": error.exit_code, "what": error.what}
    print(json.dumps(said))
"""
"""What a user can do who does not care for our programs: any call, by the helper's own socket."""
FOLLOW = """\
import json, sys
sys.path.insert(0, "/usr/share/devlink")
from devlink.rpc.client import Client
with Client.connect("/run/devlink/helper") as client:
    for reply in client.stream("io.devlink.Helper.FollowDnsLog"):
        print(json.dumps(reply), flush=True)
"""
NOT_UP, CONFLICT, NOT_PERMITTED = 3, 5, 6
WHOSE = {"alice": ("qa", lan.PODS, lan.WEB_NAME, lan.WEB), "carol": ("prod", lan.PODS_2, lan.WEB_NAME_2, lan.WEB_2)}
"""The session of each of them, its pods, and a name with its address."""
OTHER = {"alice": "carol", "carol": "alice"}


SETUPS = ["trixie-resolved", pytest.param("plain", marks=pytest.mark.matrix)]
"""Where the OS splits, and where the forwarder sees every name of both."""


@pytest.fixture(scope="module", params=SETUPS)
def laptop(request: pytest.FixtureRequest) -> Iterator[Machine]:
    setup = setups.SETUPS[request.param]
    with machine(setup.image, setup.link, resolv_conf=setup.resolv_conf, files={**setup.files, **FILES}) as booted:
        add_user(booted, "carol", {"prod.yaml": PROFILE_2, "qa.yaml": PROFILE})
        yield booted


@pytest.fixture
def both(laptop: Machine) -> Machine:
    """Each has a cluster up; who has it from the test before keeps it."""
    for user, (session, *_) in WHOSE.items():
        if session not in routes(laptop):
            laptop.devlink("up", session, user=user)
    return laptop


def routes(laptop: Machine) -> set[str]:
    """The sessions whose routes the kernel has."""
    text = laptop.run("ip", "route", "show", "proto", "231").stdout
    return {session for session, pods, *_ in WHOSE.values() if pods in text}


def ask(laptop: Machine, user: str, *calls: tuple[str, dict[str, object]]) -> list[dict[str, Any]]:
    """What the helper says to calls of that user, each on a connection of its own."""
    lines = "".join(f"{json.dumps(call)}\n" for call in calls)
    said = laptop.run("/usr/bin/python3", "-ISc", CALL, user=user, input=lines).stdout
    return [json.loads(line) for line in said.splitlines()]


def carols(laptop: Machine) -> object:
    """Her session as root sees it, with the trust in it."""
    said, trust = ask(laptop, "root", ("List", {}), ("ListTrust", {}))
    sessions: list[dict[str, object]] = said["sessions"]
    return [each for each in sessions if each["name"] == "prod"], trust


def ask_for(laptop: Machine, *names: str, user: str) -> None:
    """Whether they are there or not."""
    for name in names:
        laptop.run("getent", "hosts", name, user=user, check=False)


def test_each_has_a_cluster_and_then_nothing_is_left(laptop: Machine) -> None:
    before = snapshot(laptop)
    for user, (session, *_) in WHOSE.items():
        laptop.devlink("up", session, user=user)
    for _, _, name, wanted in WHOSE.values():
        assert address(laptop, name) == wanted
        assert laptop.run("curl", "-sS", f"http://{name}/").stdout == "web\n"
    laptop.devlink("down", "qa", user="alice")
    assert routes(laptop) == {"prod"}
    assert address(laptop, lan.WEB_NAME) == ""
    assert address(laptop, lan.WEB_NAME_2) == lan.WEB_2
    laptop.devlink("down", "prod", user="carol")
    assert before.diff(snapshot(laptop)) == []


def test_the_same_cluster_twice_is_a_conflict_that_names_the_session_and_the_user(both: Machine) -> None:
    done = both.devlink("up", "qa", user="carol", check=False)
    assert done.returncode == CONFLICT
    assert "Session qa" in done.stderr
    assert "user alice" in done.stderr
    assert routes(both) == {"qa", "prod"}


def test_the_same_cluster_under_another_name_is_one_too(both: Machine) -> None:
    both.write("/home/carol/mine.yaml", PROFILE.replace("name: qa", "name: prod"), mode=0o644)
    both.devlink("down", "prod", user="carol")
    both.write("/etc/devlink/trust.d/prod.json", both.read("/etc/devlink/trust.d/qa.json").replace('"qa"', '"prod"'))
    try:
        done = both.devlink("up", "/home/carol/mine.yaml", user="carol", check=False)
    finally:
        both.write("/etc/devlink/trust.d/prod.json", FILES["/etc/devlink/trust.d/prod.json"])
    assert done.returncode == CONFLICT
    assert f"Session qa of user alice has {lan.PODS}" in done.stderr
    assert routes(both) == {"qa"}


@pytest.mark.parametrize("user", WHOSE)
def test_what_devlink_tells_a_user_has_nothing_of_the_other(both: Machine, user: str) -> None:
    mine, theirs = WHOSE[user], WHOSE[OTHER[user]]
    assert address(both, theirs[2]) == theirs[3]
    assert address(both, mine[2]) == mine[3]
    told = json.dumps(ask(both, user, ("List", {}), ("GetDnsStats", {})))
    for command in ("status", "status -o json", "helper status", "dns stats", "dns stats -o json"):
        told += both.devlink(*command.split(), user=user).stdout
    zone, their_zone = (name.split(".svc.")[1] for name in (mine[2], theirs[2]))
    assert mine[1] in told
    assert zone in told
    for word in (f'"{theirs[0]}"', f"{theirs[0]} ", theirs[1], their_zone, theirs[3]):
        assert word not in told


def test_a_report_has_no_session_and_no_name_of_another_user(both: Machine) -> None:
    assert address(both, lan.WEB_NAME) == lan.WEB
    both.devlink("report", "/home/carol/report.tar.gz", user="carol")
    both.run("mkdir", "--parents", "/tmp/report")
    both.run("tar", "--extract", "--file=/home/carol/report.tar.gz", "--directory=/tmp/report")
    told = both.run("grep", "--recursive", "", "/tmp/report").stdout
    assert lan.DOMAIN_2 in told
    assert [line for line in told.splitlines() if lan.WEB_NAME in line or "alice" in line] == []


def test_neither_sees_which_names_the_other_asks_for(both: Machine) -> None:
    as_alice = ("setpriv", "--reuid=alice", "--regid=alice", "--init-groups")
    with subprocess.Popen(
        both.enter_argv(*as_alice, "/usr/bin/python3", "-ISc", FOLLOW),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    ) as following:  # fmt: skip
        assert following.stdout is not None
        first = json.loads(following.stdout.readline())
        assert "cluster.local" in first["zones"]
        asked = (
            lan.WEB_NAME_2,
            f"secret.default.svc.{lan.DOMAIN_2}",
            lan.WEB_POD_2,
            f"web.{lan.DOMAIN_2}.corp.example",
        )
        ask_for(both, *asked, user="carol")
        ask_for(both, lan.WEB_NAME, user="alice")
        seen = ""
        while lan.WEB_NAME not in seen:
            seen += following.stdout.readline()
        following.terminate()
    assert lan.DOMAIN_2 not in seen
    assert "secret" not in seen
    assert ".40.10.in-addr.arpa" not in seen


REFUSED: dict[str, dict[str, object]] = {
    "Release": {"session": "prod"},
    "Release, whoever holds it": {"session": "prod", "take": True},
    "Confirm": {"session": "prod"},
    "Switch": {"session": "prod", "next_hop": lan.NODE_2, "via": lan.NODE},
    "OpenProbe": {"session": "prod", "via": lan.NODE_2, "target": lan.WEB_2, "kind": "tcp"},
    "AskNeighbour": {"session": "prod", "via": lan.NODE_2},
    "FollowTraffic": {"session": "prod"},
    "Restore": {},
    "Trust": {"profile": PROFILE_2},
    "Revoke": {"name": "prod"},
}


def test_no_verb_of_the_helper_lets_one_touch_what_is_the_others(both: Machine) -> None:
    before = carols(both)
    calls = [(verb.split(",")[0], parameters) for verb, parameters in REFUSED.items()]
    for verb, said in zip(REFUSED, ask(both, "alice", *calls), strict=True):
        assert said.get("exit") in (NOT_UP, CONFLICT, NOT_PERMITTED), (verb, said)
    for command, status in (("down prod", NOT_UP), ("down --all", 0), (f"failover {lan.NODE_2}", NOT_UP)):
        done = both.devlink(*command.split(), user="alice", check=False)
        assert done.returncode == status, (command, done.stderr)
    assert carols(both) == before
    assert routes(both) == {"prod"}
    assert address(both, lan.WEB_NAME_2) == lan.WEB_2


def test_replacing_is_for_ones_own(both: Machine) -> None:
    done = both.devlink("up", "qa", "--replace", user="carol", check=False)
    assert done.returncode == CONFLICT
    assert routes(both) == {"qa", "prod"}


def test_who_is_not_in_the_group_is_told_nothing_and_may_do_nothing(both: Machine) -> None:
    before = snapshot(both)
    verbs = {**REFUSED, "List": {}, "ListTrust": {}, "GetDnsStats": {}, "FlushDns": {}, "FollowDnsLog": {}}
    calls = [(verb.split(",")[0], parameters) for verb, parameters in verbs.items()]
    for verb, said in zip(verbs, ask(both, "bob", *calls), strict=True):
        assert said.get("exit") == NOT_PERMITTED, (verb, said)
    assert both.devlink("status", user="bob", check=False).stdout == "Nothing is up.\n"
    for place in ("/run/user/1000/devlink/agent", "/run/devlink/forwarder", "/run/devlink/files"):
        connect = f"import socket; socket.socket(socket.AF_UNIX).connect({place!r})"
        assert both.run("python3", "-c", connect, user="bob", check=False).returncode == 1
    readable = both.run("find", "/run/devlink", "/var/lib/devlink", "-type", "f", "-readable", user="bob", check=False)
    assert readable.stdout == ""
    assert before.diff(snapshot(both)) == []


def test_who_logs_out_takes_away_what_is_theirs_alone(both: Machine) -> None:
    both.run("pkill", "--uid", "carol")  # as logind does it where KillUserProcesses=yes
    until(lambda: routes(both), {"qa"})
    until(lambda: address(both, lan.WEB_NAME_2), "")
    assert address(both, lan.WEB_NAME) == lan.WEB
    assert json.loads(both.devlink("status", "-o", "json", user="alice").stdout)["sessions"][0]["state"] == "up"


@pytest.mark.matrix
def test_who_logs_in_second_waits_for_the_cluster_of_the_first_and_then_has_it(laptop: Machine) -> None:
    add_user(laptop, "dave", {"qa.yaml": PROFILE})
    laptop.devlink("up", "qa", user="alice")
    laptop.devlink("service", "install", "--profile", "qa", user="dave")
    until(lambda: "waiting" in laptop.devlink("status", user="dave", check=False).stdout)
    assert "user alice" in laptop.devlink("status", user="dave", check=False).stdout
    laptop.devlink("down", "qa", user="alice")
    until(lambda: address(laptop, lan.WEB_NAME), lan.WEB, RETRIED)
    (session,) = json.loads(laptop.devlink("status", "-o", "json", user="dave").stdout)["sessions"]
    assert session["name"] == "qa"
    laptop.devlink("service", "uninstall", user="dave")
    assert routes(laptop) <= {"prod"}
