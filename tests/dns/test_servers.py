"""What is learnt of servers, and in which order they are asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.plan import ForwarderConfig
from devlink.core.profile import Transport
from devlink.dns.config import Server
from devlink.dns.counts import SAMPLES
from devlink.dns.rules import ORDINARY, Destination
from devlink.dns.servers import BUDGET, CLUSTER_WAIT, FIRST_PAUSE, MAX_PAUSE, ORDINARY_WAIT, Servers, ServerState
from tests.dns.messages import upstream
from tests.dns.moved_engine import config_of

NOW = 1000.0
ADDRESSES = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


def state() -> ServerState:
    return ServerState(Server("192.0.2.1"))


def destination(*transports: Transport, zone: str = ORDINARY) -> Destination:
    servers = tuple(upstream(ADDRESSES[i], transport=each) for i, each in enumerate(transports))
    return Destination(zone, config_of(ForwarderConfig(upstreams=servers)).upstreams)


def steps_of(servers: Servers, where: Destination, now: float = NOW) -> list[tuple[str, str]]:
    return [(step.server.host, step.transport) for step in servers.steps(where, now)[0]]


AUTO, UDP, TCP = Transport.AUTO, Transport.UDP, Transport.TCP
ONE, TWO, THREE = ADDRESSES


@pytest.mark.parametrize("zone", [ORDINARY, "cluster.local"])
@pytest.mark.parametrize(
    ("transports", "expected"),
    [
        ((AUTO, UDP, TCP), [(ONE, "udp"), (TWO, "udp"), (THREE, "tcp"), (ONE, "tcp")]),
        ((UDP,), [(ONE, "udp"), (ONE, "udp")]),
        ((TCP,), [(ONE, "tcp"), (ONE, "tcp")]),
        ((AUTO,), [(ONE, "udp"), (ONE, "udp"), (ONE, "tcp")]),
        ((AUTO, AUTO), [(ONE, "udp"), (TWO, "udp"), (ONE, "tcp"), (TWO, "tcp")]),
    ],
)
def test_udp_goes_before_tcp_and_tcp_only_where_it_may(
    transports: tuple[Transport, ...], expected: list[tuple[str, str]], zone: str
) -> None:
    servers = Servers()
    assert steps_of(servers, destination(*transports, zone=zone)) == expected
    steps, probes = servers.steps(destination(*transports, zone=zone), NOW)
    assert not probes
    assert all(step.shares_port is (zone != ORDINARY) for step in steps)


@given(
    st.lists(st.sampled_from(list(Transport)), min_size=1, max_size=3),
    st.sampled_from([ORDINARY, "cluster.local"]),
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([None, 0.001, 0.1, 0.9, 4.0])), max_size=20),
)
def test_all_steps_fit_into_the_budget_and_none_has_no_time(
    transports: list[Transport], zone: str, history: list[tuple[int, float | None]]
) -> None:
    servers, where, now = Servers(), destination(*transports, zone=zone), NOW
    for number, seconds in history:
        each = servers.state(Server(ADDRESSES[number]))
        now += 5
        if seconds is None:
            each.owes(now - 1, now)
        else:
            each.replied(seconds, now)
    steps, probes = servers.steps(where, now)
    assert sum(step.wait for step in steps) <= BUDGET + 1e-9
    assert all(step.wait >= 0.01 for step in steps)
    assert {step.server.host for step in steps} == set(ADDRESSES[: len(transports)])
    assert all(step.server != steps[0].server for step in probes)
    silent = [step.state.is_silent for step in steps if step.transport == steps[0].transport]
    assert not silent[0] or all(silent), "a silent server is never asked before one that is not"


def test_a_silent_server_comes_last_until_it_says_something() -> None:
    servers, where = Servers(), destination(AUTO, AUTO, AUTO)
    servers.state(Server(ONE)).owes(NOW - 0.5, NOW)
    order = [host for host, transport in steps_of(servers, where) if transport == "udp"]
    assert order == [TWO, THREE, ONE]
    servers.state(Server(ONE)).replied(0.01, NOW + 0.1)
    order = [host for host, transport in steps_of(servers, where, NOW + 1) if transport == "udp"]
    assert order == [ONE, TWO, THREE]


def test_a_silent_server_is_noticed_at_once_and_not_after_a_while() -> None:
    servers, where = Servers(), destination(UDP, UDP)
    assert steps_of(servers, where)[0][0] == ONE
    servers.state(Server(ONE)).owes(NOW - 0.5, NOW)
    assert steps_of(servers, where)[0][0] == TWO


def test_an_answer_since_the_question_excuses_its_silence() -> None:
    one = state()
    one.replied(0.01, NOW)
    one.owes(NOW - 0.5, NOW + 1)
    assert not one.is_silent, "it lost one question, and answered a later one"
    one.owes(NOW + 0.5, NOW + 1)
    assert one.is_silent


def test_pauses_double_to_a_bound_and_begin_anew_after_an_answer() -> None:
    one, now, pauses = state(), NOW, []
    for _ in range(8):
        one.owes(now, now)
        pauses.append(one.ask_again - now)
        one.owes(now, now)
        assert one.ask_again - now == pauses[-1], "while it pauses, more silence does not count"
        now = one.ask_again
    assert pauses == [min(FIRST_PAUSE * 2**n, MAX_PAUSE) for n in range(8)]
    one.replied(0.01, now)
    one.owes(now + 1, now + 1)
    assert one.ask_again - (now + 1) == FIRST_PAUSE


@pytest.mark.parametrize("bounds", [ORDINARY_WAIT, CLUSTER_WAIT])
def test_the_wait_follows_what_was_measured_within_bounds(bounds: tuple[float, float]) -> None:
    least, most = bounds
    one = state()
    assert one.wait(bounds) == most
    for _ in range(100):
        one.replied(0.0001, NOW)
    assert one.wait(bounds) == least
    middle = (least + most) / 4
    for _ in range(100):
        one.replied(middle, NOW)
    assert one.wait(bounds) == pytest.approx(2 * middle, rel=0.05)
    for _ in range(100):
        one.replied(3.0, NOW)
    assert one.wait(bounds) == most


def test_the_round_trip_time_is_smoothed_as_rfc_6298_says() -> None:
    one = state()
    one.replied(0.1, NOW)
    assert (one.rtt, one.deviation) == (0.1, 0.05)
    one.replied(0.2, NOW)
    assert one.deviation == pytest.approx(0.75 * 0.05 + 0.25 * 0.1)
    assert one.rtt == pytest.approx(0.1 * 7 / 8 + 0.2 / 8)
    for _ in range(2 * SAMPLES):
        one.replied(0.1, NOW)
    assert len(one.latencies) == SAMPLES
    assert one.answered == 2 * SAMPLES + 2


def test_a_reply_that_lay_in_the_socket_while_the_laptop_slept_tells_no_round_trip_time() -> None:
    one = state()
    one.replied(0.01, NOW)
    one.replied(8 * 3600.0, NOW + 8 * 3600)
    assert (one.rtt, one.rank, list(one.latencies)) == (0.01, 0.01, [0.01])
    assert (one.answered, one.heard) == (2, NOW + 8 * 3600)


def test_an_answer_ends_its_trouble() -> None:
    one = state()
    one.trouble = "connection refused"
    one.replied(0.1, NOW)
    assert one.trouble == ""


def test_people_are_told_how_a_server_is() -> None:
    one = state()
    assert one.status(NOW) == "unasked"
    one.replied(0.1, NOW)
    assert one.status(NOW) == "ok"
    one.tcp_until = NOW + 1
    assert one.status(NOW) == "tcp"
    assert one.status(NOW + 2) == "ok"
    one.owes(NOW + 1, NOW + 1)
    assert one.status(NOW) == "silent"


def test_what_is_known_of_a_server_outlives_a_change_but_not_its_silence() -> None:
    servers = Servers()
    for host in (ONE, TWO):
        each = servers.state(Server(host))
        each.replied(0.1, NOW)
        each.owes(NOW + 1, NOW + 1)
        each.tcp_until = NOW + 100
    servers.keep_only({Server(ONE), Server(THREE)})
    assert {each.server.host for each in servers} == {ONE, THREE}
    kept = servers.state(Server(ONE))
    assert (kept.rtt, kept.is_silent, kept.tcp_until) == (0.1, False, 0.0)
    assert servers.state(Server(TWO)).rtt is None
