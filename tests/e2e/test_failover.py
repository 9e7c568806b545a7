"""Gateways that die in every way that one can, under a busy connection to a pod: the connection goes on."""

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from devlink import lab
from devlink.core.health import Times
from devlink.lab.snapshot import Snapshot
from tests.benchmarks.wakeups import wakeups
from tests.e2e.link import PATIENCE
from tests.e2e.test_lifecycle import cluster_name_answers
from tests.e2e.two_gateways import FIRST, GATEWAY, SECOND, WORKER, Gateways, beside_two

pytestmark = pytest.mark.lab
POWER_OFF, NO_FORWARDING, DROP, REJECT = "powered off", "not forwarding", "dropping", "rejecting"
NOBODY = "10.20.120.180"
"""In the node's own block, which no pod has."""
TOLERABLE = 8.0
"""Seconds without an answer: a failure, not a figure (see tests/benchmarks/failover.py)."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    with beside_two(tmp_path_factory.mktemp("failover") / "helper.log") as gateways:
        yield gateways


@pytest.fixture(scope="module")
def before(world: Gateways) -> Snapshot:
    return world.world.snapshot()


@pytest.fixture
def gateways(world: Gateways, before: Snapshot) -> Iterator[Gateways]:
    """Up by the first gateway; afterwards down, and the laptop as it was."""
    world.link.up(world.by_gateway)
    assert world.way() == FIRST
    yield world
    world.mend()
    world.link.down()
    world.link.await_equal(before)


def wall_off(gateways: Gateways) -> None:
    """The node with the pods forwards nothing that comes from the laptop itself."""
    links = json.loads(gateways.link.run("ip", "-j", "link"))
    (address,) = [each["address"] for each in links if each["ifname"] == "eth0"]
    wall = (
        f"table inet wall {{ chain forward {{ type filter hook forward priority -10; ether saddr {address} drop; }}; }}"
    )
    gateways.world.run("node2", ["nft", wall], check=True)


def harm(gateways: Gateways, address: str, how: str) -> None:
    deeds: dict[str, Callable[[str], None]] = {
        POWER_OFF: gateways.power_off,
        NO_FORWARDING: gateways.stop_forwarding,
        DROP: gateways.drop,
        REJECT: partial(gateways.drop, verdict="reject"),
    }
    deeds[how](address)


def await_rest(gateways: Gateways) -> list[int]:
    """Until nothing is asked any more for what was sent. The PIDs of our processes."""
    pids = [pid for role in ("agent", "helper", "forwarder") for pid in gateways.link.pids(role)]
    assert len(pids) >= 3
    gateways.link.wait_until(lambda: wakeups(pids, 0.5) == 0, "they come to rest")
    return pids


@pytest.mark.parametrize("how", [POWER_OFF, NO_FORWARDING, DROP, REJECT])
def test_a_connection_to_a_pod_goes_on_when_its_gateway_is(gateways: Gateways, how: str) -> None:
    with gateways.stream() as stream:
        harm(gateways, FIRST, how)
        stream.go_on(2)
        assert gateways.way() == SECOND
        assert max(stream.gaps) < TOLERABLE
    states = gateways.states()
    assert (states[FIRST], states[SECOND]) == ("silent", "healthy")
    session = gateways.session()
    assert session["state"] == "up"
    (finding,) = [each for each in session["findings"] if each["code"] == "DL-FAILED-OVER"]
    assert FIRST in finding["title"]
    assert "TCP connections to services (ClusterIPs)" in finding["evidence"]
    assert [each["address"] for each in session["gateways"] if each["carries"]] == [SECOND]
    assert "carries the packets" in gateways.link.run("devlink", "status")
    assert cluster_name_answers(gateways.link)


def test_where_both_are_dead_the_first_that_returns_goes_on_with_the_connection(gateways: Gateways) -> None:
    try:
        with gateways.stream() as stream:
            wall_off(gateways)  # a node would carry the services
            gateways.stop_forwarding(FIRST)
            gateways.stop_forwarding(SECOND)
            gateways.link.wait_until(lambda: "DL-GATEWAYS-SILENT" in gateways.codes(), "it is said that nobody answers")
            assert gateways.way() == FIRST, "there is no reason to go anywhere"
            assert gateways.session()["state"] == "degraded"
            gateways.mend(SECOND)
            stream.go_on()
            assert gateways.way() == SECOND
        gateways.link.wait_until(lambda: "DL-GATEWAYS-SILENT" not in gateways.codes(), "that is not said any more")
        gateways.link.wait_until(lambda: gateways.session()["state"] == "up", "it is up again")
    finally:
        gateways.world.run("node2", ["nft", "delete table inet wall"])


def test_the_only_gateway_is_told_of_while_it_does_not_forward(world: Gateways, before: Snapshot) -> None:
    def only_one(spec: dict[str, Any]) -> None:
        spec["routing"], spec["gateways"] = "gateway", spec["gateways"][:1]

    world.link.up(world.link.write_profile("only-one", only_one))
    try:
        with world.stream():
            world.link.wait_until(lambda: world.states() == {FIRST: "healthy"}, "it is asked")
            world.stop_forwarding(FIRST)
            world.link.wait_until(lambda: "DL-GATEWAYS-SILENT" in world.codes(), "it is said that it is silent")
            assert world.link.devlink("status").returncode == 4
            assert world.link.devlink("failover").returncode == 2
            world.mend(FIRST)
            world.link.wait_until(lambda: world.session()["state"] == "up", "it is up again")
            assert "DL-GATEWAYS-SILENT" not in world.codes()
    finally:
        world.mend(FIRST)
        world.link.down()
        world.link.run("devlink", "trust", "revoke", "only-one")
    world.link.await_equal(before)


def test_a_gateway_that_nobody_sends_to_is_left_alone(gateways: Gateways) -> None:
    await_rest(gateways)
    gateways.stop_forwarding(FIRST)
    log = gateways.link.helper_log
    time.sleep(5 * (Times().pause + sum(Times().limits)))  # so long as one that is asked would be dead several times
    assert gateways.way() == FIRST
    assert set(gateways.states().values()) <= {"unknown", "healthy"}
    assert gateways.link.helper_log == log
    with gateways.stream():
        assert gateways.way() == SECOND, "it was only that nobody sent anything"


@pytest.mark.matrix  # the hold is half a minute
def test_packets_go_back_once_the_preferred_gateway_has_answered_for_the_whole_hold(gateways: Gateways) -> None:
    link = gateways.link
    with gateways.stream() as stream:
        gateways.stop_forwarding(FIRST)
        link.wait_until(lambda: gateways.way() == SECOND, "the other one carries it")
        mended = time.monotonic()
        gateways.mend(FIRST)
        link.wait_until(
            lambda: gateways.way() == FIRST, "packets go back", Times().hold + PATIENCE, meanwhile=stream.go_on
        )
        assert time.monotonic() - mended >= Times().hold
        stream.go_on(2)
        assert max(stream.gaps) < TOLERABLE
    link.wait_until(lambda: "DL-FAILED-OVER" not in gateways.codes(), "that is not said any more")


@pytest.mark.matrix
def test_a_gateway_that_comes_and_goes_gets_nothing_back(gateways: Gateways) -> None:
    before = switches(gateways)
    with gateways.stream() as stream:
        for _ in range(8):
            gateways.stop_forwarding(FIRST)
            gateways.link.wait_until(lambda: gateways.states()[FIRST] == "silent", "it is seen that it is silent")
            assert gateways.way() == SECOND
            stream.go_on()
            gateways.mend(FIRST)
            gateways.link.wait_until(lambda: gateways.states()[FIRST] == "returning", "it is seen that it answers")
            assert gateways.way() == SECOND
            stream.go_on()
        assert max(stream.gaps) < TOLERABLE
    assert switches(gateways) == before + 1


def switches(gateways: Gateways) -> int:
    """How often packets have gone over to another gateway, by the agent's word."""
    log = gateways.world.run(lab.LAPTOP, ["cat", "/root/.local/state/devlink/log/agent.log"]).stdout
    return log.count(f"what prefers {FIRST} goes by ")


def test_by_hand_the_next_one_carries_the_packets_and_the_preferred_one_again(gateways: Gateways) -> None:
    link = gateways.link
    with gateways.stream() as stream:
        assert SECOND in link.run("devlink", "failover")
        assert gateways.way() == SECOND
        stream.go_on()
        said = json.loads(link.run("devlink", "failover", FIRST, "-o", "json"))
        assert said == {"session": GATEWAY, "before": SECOND, "gateway": FIRST}
        assert gateways.way() == FIRST
        stream.go_on()
    assert "DL-FAILED-OVER" not in gateways.codes()
    link.run("devlink", "failover", SECOND)
    (session,) = link.status()["sessions"]
    assert [each["address"] for each in session["gateways"] if each["by_hand"]] == [SECOND]
    (finding,) = [each for each in session["findings"] if each["code"] == "DL-FAILED-OVER"]
    assert finding["severity"] == "info"
    assert f"devlink failover {FIRST}" in finding["fix"]


def test_a_choice_that_does_not_forward_is_left_again(gateways: Gateways) -> None:
    """Nobody has asked it before, and it answers ARP."""
    gateways.stop_forwarding(SECOND)
    with gateways.stream() as stream:
        gateways.link.run("devlink", "failover", SECOND)
        gateways.link.wait_until(lambda: gateways.way() == FIRST, "the one that answers carries the packets again")
        stream.go_on()
    assert gateways.states()[SECOND] == "silent"


@pytest.mark.parametrize(("gateway", "code", "words"), [("172.16.0.99", 2, FIRST), ("not-an-address", 2, "address")])
def test_what_is_no_gateway_is_refused_with_those_that_are(
    gateways: Gateways, gateway: str, code: int, words: str
) -> None:
    done = gateways.link.devlink("failover", gateway)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert gateways.way() == FIRST


def test_a_choice_that_cannot_be_leaves_everything_as_it_is(gateways: Gateways) -> None:
    """The gateway is not on the laptop's link any more."""
    gateways.link.run("ip", "route", "add", f"{SECOND}/32", "via", "172.16.0.1")
    try:
        done = gateways.link.devlink("failover", SECOND)
        # By the helper, or by the agent, where that one has seen by now that it is no candidate any more.
        assert done.returncode == 4, done.stderr
        assert re.search("it is not on (link|its link)", done.stderr), done.stderr
        assert SECOND in done.stderr
        assert gateways.way() == FIRST
        assert "DL-FAILED-OVER" not in gateways.codes()
    finally:
        gateways.link.run("ip", "route", "delete", f"{SECOND}/32", "via", "172.16.0.1")


def test_up_goes_by_the_second_gateway_where_the_first_is_dead(world: Gateways, before: Snapshot) -> None:
    world.stop_forwarding(FIRST)
    try:
        world.link.up(world.by_gateway)
        assert world.way() == SECOND
        assert "DL-FAILED-OVER" in world.codes()
        assert cluster_name_answers(world.link)
    finally:
        world.mend()
        world.link.down()
    world.link.await_equal(before)


@pytest.mark.matrix  # four verifications, three of which wait in vain
def test_up_tries_the_other_gateways_of_each_next_hop_to_the_dns_and_leaves_none_where_it_was_tried_in_vain(
    world: Gateways, before: Snapshot
) -> None:
    def with_nobody_first(spec: dict[str, Any]) -> None:
        spec["dns"]["servers"].insert(0, {"address": NOBODY, "transport": "auto"})

    profile = world.link.write_profile("nobody-first", with_nobody_first)
    world.stop_forwarding(FIRST)
    try:
        world.link.up(profile)
        services = [each for each in world.session()["gateways"] if each["address"] == SECOND]
        assert [each["carries"] for each in services] == [True]
        assert world.way() == WORKER, "no gateway of that node's brought it up"
        assert cluster_name_answers(world.link)
    finally:
        world.mend()
        world.link.down()
        world.link.run("devlink", "trust", "revoke", "nobody-first")
    world.link.await_equal(before)


def test_failover_without_a_session_says_so(world: Gateways) -> None:
    assert world.link.devlink("failover").returncode == 3


def test_a_killed_agent_takes_everything_along_while_another_gateway_carries(
    gateways: Gateways, before: Snapshot
) -> None:
    with gateways.stream() as stream:
        gateways.stop_forwarding(FIRST)
        stream.go_on()
    assert gateways.way() == SECOND
    assert gateways.link.kill("agent") == 1
    gateways.link.await_equal(before)
    gateways.mend()
    gateways.link.up(gateways.by_gateway)


def test_a_killed_helper_comes_back_and_gateways_are_watched_again(gateways: Gateways) -> None:
    with gateways.stream() as stream:
        assert gateways.link.kill("helper", number=signal.SIGKILL) == 1
        gateways.link.wait_until(lambda: "degraded" in gateways.link.states().values(), "the agent has noticed")
        gateways.link.wait_until(lambda: set(gateways.link.states().values()) == {"up"}, "it is up again by itself")
        gateways.stop_forwarding(FIRST)
        gateways.link.wait_until(lambda: gateways.way() == SECOND, "the other gateway carries it")
        stream.go_on()


def test_a_helper_that_is_killed_and_up_again_leave_packets_with_the_gateway_that_was_chosen(
    gateways: Gateways,
) -> None:
    link = gateways.link
    link.run("devlink", "failover", SECOND)
    gateways.stop_forwarding(FIRST)  # packets that are led there are lost
    with gateways.stream() as stream:
        assert link.kill("helper", number=signal.SIGKILL) == 1
        link.wait_until(lambda: "degraded" in link.states().values(), "the agent has noticed")
        link.wait_until(lambda: set(link.states().values()) == {"up"}, "it is up again by itself")
        assert gateways.way() == SECOND
        stream.go_on()
    carriers = [(each["address"], each["by_hand"]) for each in gateways.session()["gateways"] if each["carries"]]
    assert carriers == [(SECOND, True)]
    link.up(gateways.by_gateway)
    assert gateways.way() == SECOND
    assert "as you chose" in str(gateways.session()["findings"])


def test_a_silent_nodes_blocks_go_by_a_gateway(world: Gateways, before: Snapshot) -> None:
    """Per-node: the laptop's own packets are lost at the node, and those that a gateway brings are not."""
    link = world.link
    link.up(world.by_node)
    assert world.way() == WORKER
    try:
        with world.stream() as stream:
            wall_off(world)
            stream.go_on()
            assert world.way() == FIRST
        assert [each["address"] for each in world.session()["gateways"] if each["state"] == "silent"] == [WORKER]
        assert WORKER in link.run("devlink", "status")
    finally:
        world.world.run("node2", ["nft", "delete table inet wall"])
        link.down()
    link.await_equal(before)


def test_while_nothing_is_sent_nobody_wakes(gateways: Gateways) -> None:
    """Figures: tests/benchmarks/wakeups.py."""
    with gateways.stream() as stream:
        stream.go_on()
    assert wakeups(await_rest(gateways), 3.0) <= 3


def test_the_log_names_each_change_of_gateway(gateways: Gateways) -> None:
    gateways.link.run("devlink", "failover", SECOND)
    log = gateways.world.run(lab.LAPTOP, ["cat", "/root/.local/state/devlink/log/agent.log"]).stdout
    assert f"what prefers {FIRST} goes by {SECOND} now" in log
