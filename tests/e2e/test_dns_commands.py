"""`devlink dns` on a laptop: how names are answered, who may see them, what is forgotten and when."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from devlink import lab
from devlink.lab.world import Entered
from tests.e2e.link import BACKUP, Link, linked
from tests.e2e.test_names import getent, speaks_of_the_cluster, watched

pytestmark = pytest.mark.lab

UPSTREAM, OTHER_UPSTREAM = "192.0.2.53", "192.0.2.80"
"""Two addresses at which the ordinary upstream answers."""
UNSETTLED = 1.5
"""Seconds in which a change of the network would have been looked at."""


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """Network A with devlink up: namespace `default` alone, and its services by two labels as well."""
    with linked(lab.network_a(), tmp_path_factory.mktemp("named") / "helper.log") as link:

        def search(spec: dict[str, Any]) -> None:
            spec["dns"] |= {"namespaces": ["default"], "search": ["default"]}

        link.up(link.write_profile("named", search))
        yield link
        link.down()


def web(link: Link) -> tuple[str, str]:
    """A service's name and address."""
    spec = link.world.spec
    return spec.service_name("web"), str(spec.service("web").address)


def query(link: Link, *arguments: str, expect: int = 0) -> dict[str, Any]:
    """What `devlink dns query` says, as data."""
    done = link.devlink("dns", "query", *arguments, "-o", "json")
    assert done.returncode == expect, f"{done.stdout}{done.stderr}\n{link.logs()}"
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def source(link: Link, name: str) -> str:
    return str(query(link, name)["trace"]["source"])


def keep(link: Link, name: str) -> None:
    """Have the forwarder keep the answer for a name."""
    query(link, name)
    assert source(link, name) == "cache"


@contextmanager
def following(link: Link, *, user: str | None = None, heard: list[str] | None = None) -> Iterator[list[dict[str, Any]]]:
    """The log while the block runs; complete once it is left. `heard` gets what is said beside it."""
    records: list[dict[str, Any]] = []
    argv = ["devlink", "dns", "log", "--follow", "-o", "json"]
    with link.world.popen(lab.LAPTOP, argv, user=user, stderr=subprocess.PIPE) as running:
        assert running.stderr is not None
        assert "Ctrl-C" in running.stderr.readline()
        yield records
        time.sleep(0.5)  # as long as the last names may be on their way
        out, err = end(running)
        records += [json.loads(line) for line in out.splitlines()]
        if heard is not None:
            heard += err.splitlines()


def end(running: Entered) -> tuple[str, str]:
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=10)
    assert running.returncode == 0, err
    return str(out), str(err)


def names(records: list[dict[str, Any]]) -> set[str]:
    return {record["name"].removesuffix(".") for record in records}


def test_a_query_tells_the_rule_the_server_and_the_records(named: Link) -> None:
    name, address = web(named)
    named.run("devlink", "dns", "flush")
    said = query(named, name)
    assert said["status"] == "NOERROR"
    assert [record.split()[-1] for record in said["answers"]] == [address]
    assert (said["trace"]["zone"], said["trace"]["source"]) == ("cluster.local", "upstream")
    assert said["trace"]["server"] == f"{named.world.spec.cluster_dns.address}#53"
    assert source(named, name) == "cache"
    back = query(named, address)
    assert [record.split()[-1] for record in back["answers"]] == [f"{name}."]
    assert back["trace"]["zone"].endswith("in-addr.arpa")
    ordinary = query(named, lab.ORDINARY_NAME, "--tcp")
    assert ordinary["trace"]["zone"] == "."
    assert ordinary["trace"]["server"] == f"{UPSTREAM}#53"
    text = named.run("devlink", "dns", "query", name)
    assert "zone cluster.local" in text
    assert "kept from before" in text


def test_no_such_name_and_no_such_record_are_answers_and_a_refusal_is_none(named: Link) -> None:
    name, _ = web(named)
    assert query(named, "nope.default.svc.cluster.local")["status"] == "NXDOMAIN"
    assert query(named, name, "TXT")["status"] == "NODATA"
    refused = query(named, named.world.spec.service_name("api", "qa"), expect=4)
    assert (refused["status"], refused["trace"]["source"]) == ("REFUSED", "local")
    assert [error["code"] for error in refused["extended_errors"]] == [18]
    assert "devlink profile show" in named.devlink("dns", "query", refused["name"]).stderr


def test_a_service_is_found_by_two_labels_and_the_ordinary_upstream_is_never_asked(named: Link) -> None:
    name, address = web(named)
    with watched(named.world) as (ordinary, cluster):
        assert getent(named, "web.default") == address
        assert getent(named, "nope.default") == ""
        assert getent(named, "web.qa") == "", "its namespace is not searched"
    assert not {each for each in ordinary.names if each.endswith(".default") or speaks_of_the_cluster(each)}
    assert "web.qa" in ordinary.names
    assert name in cluster.names
    assert query(named, "web.default")["trace"]["zone"] == "cluster.local"


def test_what_is_forgotten_is_asked_anew(named: Link) -> None:
    keep(named, lab.ORDINARY_NAME)
    said = named.devlink("dns", "flush").stderr
    assert int(said.split()[0]) >= 1
    assert source(named, lab.ORDINARY_NAME) == "upstream"


def test_what_is_asked_is_counted_by_zone_and_by_server(named: Link) -> None:
    def counted() -> dict[str, dict[str, Any]]:
        stats = json.loads(named.run("devlink", "dns", "stats", "-o", "json"))["stats"]
        servers = {each["server"]: each for each in stats["servers"]}
        return {**{each["suffix"]: each for each in stats["zones"]}, **servers}

    name, _ = web(named)
    named.run("devlink", "dns", "flush")
    before = counted()
    for asked in (name, name, lab.ORDINARY_NAME):
        query(named, asked)
    after = counted()
    assert after["cluster.local"]["queries"] - before["cluster.local"]["queries"] == 2
    assert after["cluster.local"]["cached"] - before["cluster.local"]["cached"] == 1
    assert after["."]["queries"] > before["."]["queries"]
    server = after[f"{UPSTREAM}#53"]
    assert (server["state"], server["zones"]) == ("ok", ["."])
    assert 0 < server["p50_ms"] <= server["p99_ms"]
    text = named.run("devlink", "dns", "stats")
    assert "cluster.local" in text
    assert f"{UPSTREAM}#53" in text


def test_the_log_has_what_any_program_asks_while_somebody_follows(named: Link) -> None:
    name, address = web(named)
    with following(named) as records:
        assert getent(named, name, "ahostsv4") == address
        assert getent(named, lab.ORDINARY_NAME, "ahostsv4")
    assert {name, lab.ORDINARY_NAME} <= names(records)
    (first, *_) = [record for record in records if record["name"] == f"{name}."]
    assert (first["zone"], first["rcode"]) == ("cluster.local", 0)
    assert abs(first["time"] - time.time()) < 60


def test_the_log_goes_on_when_the_forwarder_is_killed(named: Link) -> None:
    name, address = web(named)
    heard: list[str] = []
    with following(named, heard=heard) as records:
        assert getent(named, "before.default", "ahostsv4") == ""
        time.sleep(0.5)
        assert named.kill("forwarder") == 1
        assert getent(named, name, "ahostsv4") == address
        time.sleep(0.5)
        assert getent(named, "after.default", "ahostsv4") == ""
    assert {"before.default", "after.default"} <= names(records)
    assert heard == ["The forwarder was started anew: some questions are missing here."]


ALICE = {
    "session": "alices",
    "zones": [{"suffix": "alice.example", "servers": [{"address": "10.254.0.2"}]}],
}
HOLD = """
import json, sys
from devlink.rpc.client import Client
with Client.connect("/run/devlink/helper") as client:
    client.call("io.devlink.Helper.Apply", {"plan": json.loads(sys.argv[1])})
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.system
def test_a_user_sees_the_names_of_their_own_sessions_and_root_sees_all(named: Link) -> None:
    name, address = web(named)
    record = {"name": "alices", "domains": ["alice.example"], "dns_servers": ["10.254.0.2/32"]}
    named.world.write_file(lab.LAPTOP, "/var/lib/devlink/trust/alices.json", json.dumps(record))
    named.run("chmod", "711", "/root")  # the interpreter may lie there
    hold = ["python", "-c", HOLD, json.dumps(ALICE)]
    try:
        with named.world.popen(lab.LAPTOP, hold, user="alice", stdin=subprocess.PIPE) as holding:
            assert holding.stdout is not None
            assert holding.stdout.readline() == "held\n"
            with following(named, user="alice") as alices, following(named) as roots:
                getent(named, "db.alice.example", "ahostsv4")
                assert getent(named, name, "ahostsv4") == address
                getent(named, lab.ORDINARY_NAME, "ahostsv4")
            said = named.world.run(lab.LAPTOP, ["devlink", "dns", "stats", "-o", "json"], user="alice")
            zones = {zone["suffix"] for zone in json.loads(said.stdout)["stats"]["zones"]}
            refused = named.world.run(lab.LAPTOP, ["devlink", "dns", "log"], user="mallory")
            assert holding.stdin is not None
            holding.stdin.close()
            holding.wait(10)
        # With a session's zones goes all that was kept, which the next test must not meet.
        named.wait_until(lambda: "alices" not in named.run("devlink", "helper", "status"), "alice's session is gone")
    finally:
        named.run("chmod", "700", "/root")
        named.run("rm", "/var/lib/devlink/trust/alices.json")
    assert names(alices) == {"db.alice.example"}
    assert {"db.alice.example", name, lab.ORDINARY_NAME} <= names(roots)
    assert zones == {"alice.example", "."}
    assert refused.returncode == 6
    assert "usermod -aG devlink mallory" in refused.stderr


def test_links_of_containers_come_and_go_and_nothing_is_forgotten(named: Link) -> None:
    keep(named, lab.ORDINARY_NAME)
    for _ in range(3):
        named.run("ip", "link", "add", "veth7", "type", "veth", "peer", "name", "veth8")
        named.run("ip", "address", "add", "172.17.0.1/16", "dev", "veth7")
        named.run("ip", "link", "set", "veth7", "up")
        named.run("ip", "link", "set", "veth8", "up")
        named.run("ip", "route", "add", "172.18.0.0/16", "via", "172.17.0.2")
        named.run("ip", "link", "delete", "veth7")
    time.sleep(UNSETTLED)
    assert source(named, lab.ORDINARY_NAME) == "cache"


def test_a_change_of_the_default_route_has_everything_forgotten(named: Link) -> None:
    keep(named, lab.ORDINARY_NAME)
    link_name = named.run("ip", "route", "show", "default").partition(" dev ")[2].split()[0]
    named.run("ip", "route", "add", "default", "dev", link_name, "metric", "4000")
    try:
        named.wait_until(
            lambda: source(named, lab.ORDINARY_NAME) == "upstream", "what the old network said is forgotten"
        )
    finally:
        keep(named, lab.ORDINARY_NAME)
        named.run("ip", "route", "delete", "default", "dev", link_name, "metric", "4000")
    named.wait_until(lambda: source(named, lab.ORDINARY_NAME) == "upstream", "and so it is on the way back")


def test_another_saved_upstream_is_asked_from_then_on(named: Link) -> None:
    before = named.world.read_file(lab.LAPTOP, BACKUP)
    assert UPSTREAM in before

    def asked() -> str:
        named.devlink("dns", "flush")
        return str(query(named, lab.ORDINARY_NAME)["trace"]["server"])

    def replace(text: str) -> None:
        named.world.write_file(lab.LAPTOP, BACKUP, text)
        named.run("ip", "link", "add", "veth7", "type", "veth", "peer", "name", "veth8")  # something happens
        named.run("ip", "link", "delete", "veth7")

    assert asked() == f"{UPSTREAM}#53"
    replace(before.replace(UPSTREAM, OTHER_UPSTREAM))
    try:
        named.wait_until(lambda: asked() == f"{OTHER_UPSTREAM}#53", "the other upstream is asked")
        assert getent(named, web(named)[0]) == web(named)[1]
    finally:
        replace(before)
    named.wait_until(lambda: asked() == f"{UPSTREAM}#53", "the first one is asked again")


def test_with_nothing_up_each_command_says_what_to_do_first(link: Link) -> None:
    for command in (("query", lab.ORDINARY_NAME), ("log",), ("flush",), ("stats",)):
        done = link.devlink("dns", *command)
        assert (done.returncode, done.stdout) == (3, "")
        assert "devlink up" in done.stderr
