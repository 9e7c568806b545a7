"""The helper's end of the forwarder: messages with descriptors in, and what is counted out."""

import os
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from devlink.core.codec import encode
from devlink.dns.control import (
    INTERFACE,
    MAX_FDS,
    MAX_UNSENT,
    ControlConnection,
    log_tree,
    parse_configuration,
    stats_tree,
)
from devlink.dns.counts import RecentQueries
from devlink.errors import ProtocolError
from devlink.rpc.framing import FrameReader, pack
from devlink.rpc.varlink import interface_description
from tests.dns.messages import CLUSTER, ORDINARY, ORDINARY_TWO, SPLIT
from tests.dns.moved_engine import WEB, WWW, Bench, config_of


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture
def pair() -> Iterator[tuple[ControlConnection, socket.socket]]:
    """The forwarder's end and the helper's; whatever happens, no descriptor is left."""
    before = open_fds()
    ours, theirs = socket.socketpair()
    control = ControlConnection(ours)
    yield control, theirs
    control.close()
    theirs.close()
    assert open_fds() == before


@pytest.fixture
def bound() -> Iterator[dict[str, socket.socket]]:
    """What a helper may pass, and what it may not."""
    sockets = {
        "udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "tcp": socket.create_server(("127.0.0.1", 0)),
        "not listening": socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "unix": socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    }
    sockets["udp"].bind(("127.0.0.1", 0))
    yield sockets
    for sock in sockets.values():
        sock.close()


# Configure


def test_a_configuration_may_come_with_sockets_or_keep_the_present_ones() -> None:
    tree = encode(SPLIT)
    assert parse_configuration({"config": tree}) == (config_of(SPLIT), None)
    assert parse_configuration({"config": tree, "sockets": None}).sockets is None
    assert parse_configuration({"config": tree, "sockets": []}).sockets == ()
    told = [{"kind": "udp"}, {"kind": "tcp"}, {"kind": "udp"}]
    assert parse_configuration({"config": tree, "sockets": told}).sockets == ("udp", "tcp", "udp")


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"config": 5},
        {"config": {}, "more": 1},
        {"config": {"unknown": 1}},
        {"config": {}, "sockets": ["udp"]},
        {"config": {}, "sockets": [{"kind": "raw"}]},
        {"config": {}, "sockets": [{}]},
    ],
)
def test_another_helpers_configuration_is_refused_with_what_to_do(parameters: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_configuration(parameters)
    assert caught.value.next_step


# The connection


def test_messages_come_whole_however_they_are_sent(pair: tuple[ControlConnection, socket.socket]) -> None:
    control, helper = pair
    assert control.receive() == []
    octets = pack({"method": "a"}) + pack({"method": "b"})
    helper.sendall(octets[:5])
    assert control.receive() == []
    helper.sendall(octets[5:])
    assert control.receive() == [{"method": "a"}, {"method": "b"}]
    helper.shutdown(socket.SHUT_WR)
    assert control.receive() is None


def test_what_is_no_message_is_an_error(pair: tuple[ControlConnection, socket.socket]) -> None:
    control, helper = pair
    helper.sendall(b"nonsense\0")
    with pytest.raises(ProtocolError):
        control.receive()


def test_sockets_come_in_order_and_are_checked(
    pair: tuple[ControlConnection, socket.socket], bound: dict[str, socket.socket]
) -> None:
    control, helper = pair
    socket.send_fds(helper, [pack({})], [bound["udp"].fileno(), bound["tcp"].fileno()])
    assert control.receive() == [{}]
    udp, tcp = control.take_sockets(("udp", "tcp"))
    with udp, tcp:
        assert udp.getsockname() == bound["udp"].getsockname()
        assert tcp.getsockname() == bound["tcp"].getsockname()
        assert not udp.getblocking()
        assert not tcp.getblocking()
        assert not os.get_inheritable(udp.fileno())
    assert control.take_sockets(()) == []


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        (["udp"], ("tcp",)),
        (["tcp"], ("udp",)),
        (["udp", "not listening"], ("udp", "tcp")),
        (["udp", "unix"], ("udp", "udp")),
        (["unix", "udp"], ("udp", "udp")),
        (["udp"], ("udp", "udp")),
        (["udp", "udp"], ("udp",)),
        ([], ("udp",)),
        (["file", "udp"], ("udp", "udp")),
    ],
)
def test_sockets_that_are_not_what_was_told_are_refused_and_all_closed(
    pair: tuple[ControlConnection, socket.socket],
    bound: dict[str, socket.socket],
    passed: list[str],
    expected: tuple[str, ...],
) -> None:
    control, helper = pair
    before = open_fds()
    with open(os.devnull) as file:
        fds = [file.fileno() if name == "file" else bound[name].fileno() for name in passed]
        socket.send_fds(helper, [pack({})], fds)
        control.receive()
    with pytest.raises(ProtocolError):
        control.take_sockets(expected)
    assert open_fds() == before


def test_descriptors_that_no_message_asks_for_are_closed(
    pair: tuple[ControlConnection, socket.socket], bound: dict[str, socket.socket]
) -> None:
    control, helper = pair
    before = open_fds()
    socket.send_fds(helper, [pack({})], 3 * [bound["udp"].fileno()])
    control.receive()
    assert len(open_fds()) == len(before) + 3
    control.drop_fds()
    assert open_fds() == before
    socket.send_fds(helper, [pack({})], [bound["udp"].fileno()])
    control.receive()  # and those of a connection that ends, by the fixture


def test_too_many_descriptors_end_the_connection(
    pair: tuple[ControlConnection, socket.socket], bound: dict[str, socket.socket]
) -> None:
    control, helper = pair
    before = open_fds()
    socket.send_fds(helper, [pack({})], MAX_FDS * [bound["udp"].fileno()])
    assert control.receive() == [{}]
    control.drop_fds()
    socket.send_fds(helper, [pack({})], (MAX_FDS + 1) * [bound["udp"].fileno()])
    with pytest.raises(ProtocolError):
        control.receive()
    control.drop_fds()
    assert open_fds() == before


def test_replies_wait_for_a_slow_helper_but_not_for_one_that_takes_none(
    pair: tuple[ControlConnection, socket.socket],
) -> None:
    control, helper = pair
    reply = {"text": "x" * 10000}
    for _ in range(60):
        control.send(reply)
    waits = [control.wants_write]
    reader, received = FrameReader(), 0
    while received < 60:
        received += len(reader.feed(helper.recv(1 << 20)))
        control.flush()
    waits.append(control.wants_write)
    assert waits == [True, False]
    for _ in range(MAX_UNSENT // 10100):
        control.send(reply)
    with pytest.raises(ConnectionError):
        control.send({"text": "x" * MAX_UNSENT})


# What is told


def fields_of(type_name: str) -> dict[str, bool]:
    """The fields of a type in the interface's file, and which of them may be left out."""
    text = re.sub(r"#[^\n]*", "", interface_description(INTERFACE))
    text = re.sub(r": (\??)\([^()]*\)", r": \1string", text)  # a field's own choices
    found = re.search(rf"(?:type {type_name} |method {type_name}\(\) -> )\(([^()]*)\)", text)
    assert found is not None, type_name
    return {name: bool(optional) for name, optional in re.findall(r"(\w+): (\??)", found[1])}


def assert_fits(tree: dict[str, Any], type_name: str) -> None:
    fields = fields_of(type_name)
    assert set(tree) <= set(fields)
    assert {name for name, may_be_left_out in fields.items() if not may_be_left_out} <= set(tree)


def busy() -> Bench:
    bench = Bench()
    bench.query(WWW)
    bench.now += 0.02
    bench.serve("@ 300 A 192.0.2.80")
    for _ in range(4):
        bench.query(WWW)
    bench.query(WEB)
    bench.query("a.cluster.local.corp")
    return bench


def test_the_statistics_are_what_the_interface_declares_and_add_up() -> None:
    bench = busy()
    tree = stats_tree(bench.engine, bench.now)
    assert_fits(tree, "GetStats")
    for each in tree["zones"]:
        assert_fits(each, "ZoneStats")
    for each in tree["servers"]:
        assert_fits(each, "ServerStats")
    assert_fits(tree["cache"], "CacheStats")
    assert (tree["queries"], tree["cached"], tree["in_flight"], tree["answered"], tree["local"]) == (7, 4, 1, 1, 1)
    zones = {each["suffix"]: each for each in tree["zones"]}
    assert {"cluster.local", "."} <= set(zones)
    assert sum(each["queries"] for each in zones.values()) == tree["queries"]
    assert (zones["."]["queries"], zones["."]["cached"], zones["."]["local"]) == (6, 4, 1)
    assert zones["."]["p50_ms"] == zones["."]["p99_ms"] == 20.0
    assert "p50_ms" not in zones["cluster.local"]
    assert tree["cache"]["entries"] == 1
    assert 0 < tree["cache"]["bytes"] <= tree["cache"]["limit"] == SPLIT.cache_bytes


def test_each_server_is_told_with_its_zones_and_state() -> None:
    bench = busy()
    bench.give_up()
    servers = {each["server"]: each for each in stats_tree(bench.engine, bench.now)["servers"]}
    assert set(servers) == {f"{host}#53" for host in (CLUSTER, ORDINARY, ORDINARY_TWO)}
    cluster, first, second = (servers[f"{host}#53"] for host in (CLUSTER, ORDINARY, ORDINARY_TWO))
    assert (cluster["zones"], cluster["state"], cluster["answered"]) == (
        ["cluster.local", "254.10.in-addr.arpa"],
        "silent",
        0,
    )
    assert (cluster["asked"], cluster["timeouts"]) == (3, 3)
    assert "rtt_ms" not in cluster
    assert (first["zones"], first["state"], first["asked"], first["answered"]) == (["."], "ok", 1, 1)
    assert first["rtt_ms"] == first["p50_ms"] == 20.0
    assert (second["state"], second["asked"]) == ("unasked", 0)


def test_log_records_are_what_the_interface_declares() -> None:
    bench = Bench()
    bench.engine.log = RecentQueries()
    bench.query(WWW)
    bench.now += 0.0125
    bench.serve("@ 300 A 192.0.2.80")
    bench.query("a.cluster.local.corp")
    records, lost = bench.engine.log.take()
    began = time.time()
    tree = log_tree(records, lost, bench.now + 5)
    first, second = tree["records"]
    for each in (first, second):
        assert_fits(each, "LogRecord")
    assert {key: first[key] for key in ("name", "qtype", "zone", "source", "server", "rcode", "ms")} == {
        "name": "www.example.", "qtype": 1, "zone": ".", "source": "upstream", "server": f"{ORDINARY}#53", "rcode": 0,
        "ms": 12.5,
    }  # fmt: skip
    assert began - 6 < first["time"] < time.time() - 4, "on the wall's clock"
    assert (second["source"], second["rcode"], "server" in second) == ("local", 3, False)
    assert second["reason"]
    assert "reason" not in first
    assert tree["lost"] == 0
    assert log_tree([], 7, bench.now) == {"records": [], "lost": 7}
