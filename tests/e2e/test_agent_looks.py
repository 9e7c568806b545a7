"""What the agent tells a dashboard, by its own socket: routes, events, counts, and what is asked."""

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest

from devlink.core.codec import decode
from devlink.core.network import METRIC
from devlink.errors import HelperError, NotUpError
from devlink.tui import records
from devlink.tui.records import DnsStats, Event, RouteRow
from tests.e2e.link import Link
from tests.e2e.test_names import getent
from tests.e2e.two_gateways import FIRST, GATEWAY, SECOND, Gateways, beside_two

pytestmark = pytest.mark.lab
AGENT = "io.devlink.Agent"
INSIDE = "10.20.7.0/24"
"""A part of the pods' network that a bridge of the laptop's has, as container engines make them."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    """Up by the first of two gateways."""
    with beside_two(tmp_path_factory.mktemp("looks") / "helper.log") as gateways:
        gateways.link.up(gateways.by_gateway)
        yield gateways
        gateways.mend()


@contextmanager
def followed(link: Link, method: str) -> Iterator[Iterator[dict[str, Any]]]:
    """The replies of a stream, each within ten seconds."""
    with link.agent() as agent:
        yield agent.stream(f"{AGENT}.{method}")


def ask(link: Link, method: str, **parameters: Any) -> dict[str, Any]:
    with link.agent() as agent:
        return agent.call(f"{AGENT}.{method}", parameters)


def table(link: Link) -> list[RouteRow]:
    return records.route_rows(ask(link, "ListRoutes", session=GATEWAY))


def events(link: Link) -> list[str]:
    return [event.text for event in decode(tuple[Event, ...], ask(link, "FollowEvents")["events"])]


def numbers(counts: DnsStats) -> int:
    (zone,) = (zone for zone in counts.zones if zone.suffix == "cluster.local")
    return zone.queries


def test_the_table_has_our_routes_in_order_and_those_of_others_inside_them(up: Gateways) -> None:
    link = up.link
    link.run("sh", "-ec", f"ip link add other type bridge; ip link set other up; ip route add {INSIDE} dev other")
    try:
        rows = table(link)
    finally:
        link.run("ip", "link", "del", "other")
    foreign = next(row for row in rows if row.destination == INSIDE)
    assert foreign == RouteRow(INSIDE, None, "other", "a bridge (interface other)", "foreign", "inside 10.20.0.0/16")
    ours = {row.destination: row for row in rows if row.owner == "devlink"}
    there = {line.split()[0] for line in link.run("ip", "route", "show", "proto", "231").splitlines()}
    assert {each.removesuffix("/32") for each in ours} == there
    assert {row.state for row in ours.values()} == {"installed"}
    assert (ours["10.20.0.0/16"].next_hop, ours["10.20.0.0/16"].oif) == (FIRST, "eth0")
    places = [ipaddress.ip_network(row.destination) for row in rows]
    assert places == sorted(places, key=lambda net: (net.version, net))


def test_a_place_that_another_program_took_names_it_in_the_table(up: Gateways) -> None:
    link, place = up.link, ("10.20.0.0/16", "metric", str(METRIC))
    link.run("ip", "route", "replace", *place, "via", "172.16.0.1", "proto", "bird")
    try:
        link.wait_until(lambda: any(row.state == "taken" for row in table(link)), "it is told")
        taken, theirs = (row for row in table(link) if row.destination == "10.20.0.0/16")
    finally:
        link.run("ip", "route", "delete", *place)
    assert (taken.state, taken.owner, taken.next_hop) == ("taken", "the routing daemon BIRD", FIRST)
    assert (theirs.state, theirs.owner, theirs.next_hop) == ("foreign", "the routing daemon BIRD", "172.16.0.1")
    link.wait_until(lambda: not any(row.state == "taken" for row in table(link)), "it is ours again")


def test_a_name_that_any_program_asks_for_is_counted_and_told_until_nobody_looks(up: Gateways) -> None:
    link, name = up.link, up.world.spec.service_name("web")
    with followed(link, "FollowDnsStats") as counts, followed(link, "FollowDnsLog") as log:
        assert next(log)["records"] == []
        first = next(counts)
        before = numbers(decode(DnsStats, first["stats"]))
        assert ipaddress.ip_address(first["nameserver"])
        assert getent(link, name) == str(up.world.spec.service("web").address)
        told = next(piece for reply in log if (piece := records.queries(reply)).queries)
        assert name in {query.name.removesuffix(".") for query in told.queries}
        assert told.lost == 0
        assert any(numbers(decode(DnsStats, reply["stats"])) > before for reply in islice(counts, 9))
    assert ask(link, "FlushDns")["entries"] > 0
    assert ask(link, "FlushDns")["entries"] == 0


def test_a_gateway_that_dies_is_told_with_who_carries_the_packets_then(up: Gateways) -> None:
    link = up.link
    with followed(link, "FollowEvents") as stream:
        past = [event["text"] for event in next(stream)["events"]]
        assert [text for text in past if text.startswith(f"{GATEWAY} is")] == [
            f"{GATEWAY} is being brought up", f"{GATEWAY} is up",
        ]  # fmt: skip
        with up.stream():
            up.stop_forwarding(FIRST)
            told: list[str] = []
            try:
                over = f"{GATEWAY} goes by {SECOND} now, instead of {FIRST}"
                while over not in told:
                    told += [event["text"] for event in next(stream)["events"]]
                assert f"{FIRST} is silent" in told
                row = next(row for row in table(link) if row.destination == "10.20.0.0/16")
                assert (row.next_hop, row.note) == (SECOND, f"instead of {FIRST}")
            finally:
                up.mend()
    chosen = ask(link, "Failover", session=GATEWAY, gateway=FIRST)
    assert chosen["gateway"] == FIRST
    assert f"{GATEWAY} goes by {FIRST} again" in events(link)


def test_a_helper_that_dies_ends_the_streams_with_an_error_to_read_and_they_work_with_the_next_one(
    up: Gateways,
) -> None:
    link = up.link
    with followed(link, "FollowDnsStats") as counts, followed(link, "FollowDnsLog") as log:
        next(counts), next(log)
        link.kill("helper")
        for stream in (counts, log):
            with pytest.raises(HelperError) as failure:
                list(islice(stream, 20))
            assert failure.value.next_step
    link.wait_until(lambda: link.states() == {GATEWAY: "up"}, "it is up again")
    with followed(link, "FollowDnsStats") as counts, followed(link, "FollowDnsLog") as log:
        assert next(counts)["stats"]["zones"]
        assert next(log)["records"] == []
    told = events(link)
    since = told[told.index("the helper is away: routes and names may be too") :]
    assert {"the helper is back", f"{GATEWAY} is degraded", f"{GATEWAY} is up"} <= set(since)


def test_of_a_session_that_is_down_there_is_an_event_and_no_table(up: Gateways) -> None:
    with up.link.agent() as agent:  # an agent that nobody asks ends soon after
        up.link.down()
        assert agent.call(f"{AGENT}.FollowEvents")["events"][-1]["text"] == f"{GATEWAY} is down"
        with pytest.raises(NotUpError):
            agent.call(f"{AGENT}.ListRoutes", {"session": GATEWAY})
