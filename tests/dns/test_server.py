"""The forwarder as a process of its own, over real sockets on loopback."""

import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from devlink.core.plan import ForwarderConfig, ProofRecord
from devlink.core.profile import Transport
from devlink.dns.streams import MAX_PIPELINED
from devlink.dns.wire import frame
from devlink.errors import ProtocolError
from tests.dns.forwarder_process import FakeServer, Forwarder, read_stream, wait_until
from tests.dns.messages import answer, extended_error, name, parse, question, upstream, with_id, zone

pytestmark = pytest.mark.slow

WEB = question("web.default.svc.cluster.local")
WWW = question("www.example")


@pytest.fixture
def cluster() -> Iterator[FakeServer]:
    with FakeServer("10.20.0.1") as server:
        yield server


@pytest.fixture
def ordinary() -> Iterator[FakeServer]:
    with FakeServer("192.0.2.80") as server:
        yield server


@pytest.fixture
def idle() -> Iterator[Forwarder]:
    """Started and connected, not configured yet."""
    forwarder = Forwarder().start()
    try:
        forwarder.connect()
        yield forwarder
    finally:
        forwarder.close()


def split(cluster: FakeServer, ordinary: FakeServer) -> ForwarderConfig:
    return ForwarderConfig(
        zones=(replace(zone("cluster.local"), servers=(cluster.upstream(),)),),
        upstreams=(ordinary.upstream(),),
        proofs=(ProofRecord(name=name("proof.devlink.example"), address=ip_address("127.0.0.77")),),
    )


@pytest.fixture
def forwarder(idle: Forwarder, cluster: FakeServer, ordinary: FakeServer) -> Forwarder:
    """Serving a cluster and an ordinary server."""
    idle.configure(split(cluster, ordinary), sockets=True)
    return idle


def addresses(reply: bytes) -> list[str]:
    return [str(record.rdata) for record in parse(reply).rr]


def names_asked(server: FakeServer) -> set[str]:
    return {str(parse(packet).q.qname) for _, packet, _ in server.asked}


def test_names_are_split_and_nobody_sees_the_others(
    forwarder: Forwarder, cluster: FakeServer, ordinary: FakeServer
) -> None:
    assert addresses(forwarder.exchange(WEB)) == ["10.20.0.1"]
    assert addresses(forwarder.exchange(WWW)) == ["192.0.2.80"]
    assert addresses(forwarder.exchange(question("proof.devlink.example"))) == ["127.0.0.77"]
    assert parse(forwarder.exchange(question("web.svc.cluster.local.corp.example"))).header.rcode == 3
    assert names_asked(cluster) == {"web.default.svc.cluster.local."}
    assert names_asked(ordinary) == {"www.example."}
    zones = {z["suffix"]: (z["queries"], z["local"]) for z in forwarder.stats()["zones"]}
    assert zones == {".": (3, 2), "cluster.local": (1, 0)}


def test_each_question_has_its_own_port_and_id(forwarder: Forwarder, ordinary: FakeServer) -> None:
    for i in range(20):
        forwarder.exchange(question(f"www{i}.example"))
    ports = {port for _, _, port in ordinary.asked}
    ids = {packet[:2] for _, packet, _ in ordinary.asked}
    assert len(ports) > 10
    assert len(ids) > 10


def test_pipelined_questions_over_tcp_are_all_answered(forwarder: Forwarder) -> None:
    count = 3 * MAX_PIPELINED
    with forwarder.tcp_client() as sock:
        packets = [question(f"w{i}.qa.svc.cluster.local", ident=i) for i in range(count)]
        sock.sendall(b"".join(map(frame, packets)))
        sock.shutdown(socket.SHUT_WR)  # a client that is done with asking still gets its answers
        replies = read_stream(sock, count)
        assert sock.recv(1) == b""
    assert {parse(reply).header.id: str(parse(reply).q.qname) for reply in replies} == {
        i: f"w{i}.qa.svc.cluster.local." for i in range(count)
    }


def test_local_answers_over_tcp_pass_the_pipeline_limit_too(forwarder: Forwarder) -> None:
    """They never wait for a server, so nothing but the reading itself moves the loop on."""
    count = 20 * MAX_PIPELINED
    with forwarder.tcp_client() as sock:
        packets = b"".join(frame(question("proof.devlink.example", ident=i)) for i in range(count))
        writer = threading.Thread(target=sock.sendall, args=[packets])
        writer.start()
        replies = read_stream(sock, count)
        writer.join()
    assert [parse(reply).header.id for reply in replies] == list(range(count))


def test_answers_over_tcp_may_overtake_each_other(forwarder: Forwarder, cluster: FakeServer) -> None:
    cluster.respond = lambda asked: [] if b"slow" in asked else [answer(asked, "10.20.0.1")]
    with forwarder.tcp_client() as sock:
        slow, fast = question("slow.qa.svc.cluster.local", ident=1), question("fast.qa.svc.cluster.local", ident=2)
        sock.sendall(frame(slow) + frame(fast))
        assert [parse(reply).header.id for reply in read_stream(sock, 1)] == [2]


def test_a_slow_reader_gets_everything_in_the_end(forwarder: Forwarder, cluster: FakeServer) -> None:
    """More than the kernel's buffers hold: answers are sent in parts."""
    big = answer(WEB, *(f"10.20.{i >> 8}.{i & 255}" for i in range(1500)))
    cluster.respond = lambda asked: [with_id(big, asked[:2])]
    count = 300
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(10)
        sock.connect((forwarder.host, forwarder.port))
        packets = b"".join(frame(with_id(WEB, i.to_bytes(2, "big"))) for i in range(count))
        writer = threading.Thread(target=sock.sendall, args=[packets])
        writer.start()
        wait_until(lambda: forwarder.stats()["queries"] >= MAX_PIPELINED)
        replies = read_stream(sock, count)
        writer.join()
    assert {reply[:2] for reply in replies} == {i.to_bytes(2, "big") for i in range(count)}
    assert len({len(reply) for reply in replies}) == 1


def test_a_client_that_asks_more_than_it_may_is_read_no_further(forwarder: Forwarder, cluster: FakeServer) -> None:
    cluster.respond = lambda asked: []
    with forwarder.tcp_client() as sock:
        sock.sendall(b"".join(frame(question(f"w{i}.qa.svc.cluster.local")) for i in range(3 * MAX_PIPELINED)))
        wait_until(lambda: len(cluster.asked) >= MAX_PIPELINED)
        forwarder.exchange(WWW)  # the loop went round once more
        assert len(names_asked(cluster)) == MAX_PIPELINED
        assert forwarder.stats()["in_flight"] == MAX_PIPELINED


def test_a_client_that_takes_no_answers_is_not_saved_up_for(forwarder: Forwarder, cluster: FakeServer) -> None:
    big = answer(WEB, *(f"10.20.{i >> 8}.{i & 255}" for i in range(4000)))
    cluster.respond = lambda asked: [with_id(big, asked[:2])]
    count = 1000
    with forwarder.tcp_client() as sock:
        sock.sendall(frame(WEB) * count)
        answered = -1
        while answered != (answered := forwarder.stats()["answered"]):
            threading.Event().wait(0.3)
        assert 0 < answered < count


def test_a_client_that_is_done_asking_costs_nothing_while_it_waits(forwarder: Forwarder, cluster: FakeServer) -> None:
    cluster.respond = lambda asked: []
    assert forwarder.process is not None
    pid = forwarder.process.pid

    def ticks() -> int:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    with forwarder.tcp_client() as sock:
        sock.sendall(frame(WEB))
        sock.shutdown(socket.SHUT_WR)
        wait_until(lambda: bool(cluster.asked))
        before = ticks()
        threading.Event().wait(0.5)
        assert ticks() - before < 0.5 * os.sysconf("SC_CLK_TCK") / 4
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing it is a reset
    before = ticks()
    threading.Event().wait(0.5)
    assert ticks() - before < 0.5 * os.sysconf("SC_CLK_TCK") / 4


def test_a_truncated_upstream_answer_reaches_a_tcp_client_whole(forwarder: Forwarder, cluster: FakeServer) -> None:
    many = [f"10.20.{i >> 8}.{i & 255}" for i in range(100)]

    def respond(asked: bytes) -> list[bytes]:
        is_tcp = cluster.asked[-1][0] == "tcp"
        return [answer(asked, *many) if is_tcp else answer(asked, tc=True)]

    cluster.respond = respond
    assert parse(forwarder.exchange(WEB)).header.tc == 1
    with forwarder.tcp_client() as sock:
        sock.sendall(frame(WEB))
        (reply,) = read_stream(sock, 1)
    assert addresses(reply) == many


def test_a_server_that_answers_over_tcp_only_is_found(idle: Forwarder, ordinary: FakeServer) -> None:
    with FakeServer("10.20.0.1", udp=False) as cluster:
        idle.configure(split(cluster, ordinary), sockets=True)
        assert addresses(idle.exchange(WEB)) == ["10.20.0.1"]
        assert [transport for transport, _, _ in cluster.asked] == ["udp", "udp", "tcp"]
        idle.exchange(question("other.default.svc.cluster.local"))
        assert cluster.asked[-1][0] == "tcp"
        assert len(cluster.asked) == 4


def test_a_server_set_to_tcp_is_never_asked_over_udp(
    idle: Forwarder, cluster: FakeServer, ordinary: FakeServer
) -> None:
    servers = (cluster.upstream(Transport.TCP),)
    idle.configure(
        replace(split(cluster, ordinary), zones=(replace(zone("cluster.local"), servers=servers),)), sockets=True
    )
    assert addresses(idle.exchange(WEB)) == ["10.20.0.1"]
    assert [transport for transport, _, _ in cluster.asked] == ["tcp"]


def test_lies_are_passed_over_for_the_truth(forwarder: Forwarder, cluster: FakeServer) -> None:
    def respond(asked: bytes) -> list[bytes]:
        wrong_id = bytes((asked[0] ^ 1, asked[1]))
        other = question("evil.default.svc.cluster.local", ident=int.from_bytes(asked[:2], "big"))
        return [
            b"",
            b"\xff" * 3,
            asked,
            with_id(answer(asked, "192.0.2.66"), wrong_id),
            answer(other, "192.0.2.66"),
            answer(asked, "10.20.0.9"),
            answer(asked, "192.0.2.66"),
        ]

    cluster.respond = respond
    assert addresses(forwarder.exchange(WEB)) == ["10.20.0.9"]
    wait_until(lambda: forwarder.stats()["mismatched"] == 6)  # the last of them came too late


def test_a_port_that_nobody_listens_on_is_a_network_error_at_once(idle: Forwarder, ordinary: FakeServer) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = upstream("127.0.0.1", port=closed.getsockname()[1])
        config = ForwarderConfig(
            zones=(replace(zone("cluster.local"), servers=(dead,)),), upstreams=(dead, ordinary.upstream())
        )
        idle.configure(config, sockets=True)
        reply = idle.exchange(question("web.default.svc.cluster.local", payload=1232))
        assert parse(reply).header.rcode == 2
        assert extended_error(reply) == 23
        assert addresses(idle.exchange(WWW)) == ["192.0.2.80"]
    assert idle.stats()["timeouts"] == 0


def test_noise_is_survived(forwarder: Forwarder) -> None:
    with forwarder.udp_client() as sock:
        for size in (0, 1, 11, 12, 13, 100, 5000):
            sock.send(os.urandom(size))
            sock.send(WEB[:size])
            sock.send(WEB[:2] + b"\x80" + WEB[3:])
    with forwarder.tcp_client() as sock:
        sock.sendall(frame(WEB[:2] + b"\x80" + WEB[3:]))
        assert sock.recv(1) == b""
    with forwarder.tcp_client() as sock:
        sock.sendall(frame(WEB[:-1]))
        assert parse(read_stream(sock, 1)[0]).header.rcode == 1
    assert addresses(forwarder.exchange(WEB)) == ["10.20.0.1"]


def test_half_open_connections_do_not_lock_out_the_next_client(forwarder: Forwarder) -> None:
    held = [forwarder.tcp_client() for _ in range(300)]
    try:
        with forwarder.tcp_client() as sock:
            sock.sendall(frame(WEB))
            assert addresses(read_stream(sock, 1)[0]) == ["10.20.0.1"]
    finally:
        for sock in held:
            sock.close()


def test_ipv6_clients_are_served(cluster: FakeServer, ordinary: FakeServer) -> None:
    forwarder = Forwarder(host="::1").start()
    try:
        forwarder.connect()
        forwarder.configure(split(cluster, ordinary), sockets=True)
        assert addresses(forwarder.exchange(WEB)) == ["10.20.0.1"]
        with forwarder.tcp_client() as sock:
            sock.sendall(frame(WEB))
            assert addresses(read_stream(sock, 1)[0]) == ["10.20.0.1"]
    finally:
        forwarder.close()


def test_new_rules_lose_no_question_in_flight(forwarder: Forwarder, cluster: FakeServer, ordinary: FakeServer) -> None:
    config = split(cluster, ordinary)
    release = threading.Event()

    def respond(asked: bytes) -> list[bytes]:
        assert release.wait(10)
        return [answer(asked, "10.20.0.1")]

    cluster.respond = respond
    with forwarder.udp_client() as udp, forwarder.tcp_client() as tcp:
        udp.send(WEB)
        tcp.sendall(frame(WEB))
        wait_until(lambda: forwarder.stats()["in_flight"] == 2)
        forwarder.configure(replace(config, zones=(*config.zones, zone("cluster.kube", "127.0.0.9"))))
        release.set()
        assert addresses(udp.recv(512)) == ["10.20.0.1"]
        assert addresses(read_stream(tcp, 1)[0]) == ["10.20.0.1"]
    with FakeServer("10.20.0.5") as other:
        forwarder.configure(split(other, ordinary))
        assert addresses(forwarder.exchange(WEB)) == ["10.20.0.5"]


@pytest.mark.parametrize("change", ["nothing", "flush", "rules"])
def test_another_network_is_asked_over_other_sockets(
    forwarder: Forwarder, cluster: FakeServer, ordinary: FakeServer, change: str
) -> None:
    """A socket is bound to the address that the laptop had when it was connected."""
    forwarder.exchange(question("one.default.svc.cluster.local"))
    if change == "flush":
        forwarder.call("io.devlink.Forwarder.Flush")
    elif change == "rules":
        forwarder.configure(split(cluster, ordinary))
    forwarder.exchange(question("two.default.svc.cluster.local"))
    assert len({port for _, _, port in cluster.asked}) == (1 if change == "nothing" else 2)


def test_sockets_passed_again_still_carry_the_answers_in_flight(
    forwarder: Forwarder, cluster: FakeServer, ordinary: FakeServer
) -> None:
    release = threading.Event()

    def respond(asked: bytes) -> list[bytes]:
        assert release.wait(10)
        return [answer(asked, "10.20.0.1")]

    cluster.respond = respond
    with forwarder.udp_client() as udp:
        udp.send(WEB)
        wait_until(lambda: forwarder.stats()["in_flight"] == 1)
        forwarder.configure(split(cluster, ordinary), sockets=True)
        release.set()
        assert addresses(udp.recv(512)) == ["10.20.0.1"]


def test_the_end_of_the_control_connection_is_the_end_of_the_process(forwarder: Forwarder) -> None:
    for sock in (forwarder.udp, forwarder.tcp):
        sock.close()  # the feeder's duplicates
    forwarder.hang_up()
    status, errors = forwarder.wait()
    assert status == 0
    assert "Traceback" not in errors
    with pytest.raises(ConnectionRefusedError):
        forwarder.tcp_client()
    with pytest.raises(ConnectionRefusedError):
        forwarder.exchange(WEB)


def test_after_sigkill_a_new_process_answers_what_waited_in_the_sockets(
    forwarder: Forwarder, cluster: FakeServer, ordinary: FakeServer
) -> None:
    assert forwarder.process is not None
    forwarder.process.send_signal(signal.SIGKILL)
    forwarder.wait()
    forwarder.hang_up()
    with forwarder.udp_client() as udp, forwarder.tcp_client() as tcp:
        udp.send(WEB)
        tcp.sendall(frame(WWW))
        forwarder.start()
        forwarder.connect()
        forwarder.configure(split(cluster, ordinary), sockets=True)
        assert addresses(udp.recv(512)) == ["10.20.0.1"]
        assert addresses(read_stream(tcp, 1)[0]) == ["192.0.2.80"]


def test_bad_calls_are_errors_and_change_nothing(forwarder: Forwarder) -> None:
    bad: list[dict[str, Any]] = [
        {},
        {"config": {"zones": 1}},
        {"config": {}, "sockets": [{"kind": "raw"}]},
        {"config": {}, "nonsense": {}},
    ]
    for parameters in bad:
        with pytest.raises(ProtocolError, match="cannot read its configuration"):
            forwarder.call("io.devlink.Forwarder.Configure", parameters)
    with pytest.raises(ProtocolError, match="MethodNotFound"):
        forwarder.call("io.devlink.Forwarder.Explode")
    assert addresses(forwarder.exchange(WEB)) == ["10.20.0.1"]


def test_descriptors_that_are_not_what_was_said_are_refused_and_closed(forwarder: Forwarder) -> None:
    reader, writer = os.pipe()
    one_udp = {"config": {}, "sockets": [{"kind": "udp"}]}
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as not_listening:
        for fds, parameters in (
            ([writer], one_udp),
            ([forwarder.tcp.fileno()], one_udp),
            ([not_listening.fileno()], {"config": {}, "sockets": [{"kind": "tcp"}]}),
            ([], one_udp),
            ([forwarder.udp.fileno(), writer], one_udp),
        ):
            with pytest.raises(ProtocolError):
                forwarder.call("io.devlink.Forwarder.Configure", parameters, fds)
    forwarder.call("io.devlink.Forwarder.GetStats", {}, [writer])
    forwarder.stats()
    os.close(writer)
    assert os.read(reader, 1) == b""  # no copy of the writing end was left over there
    os.close(reader)
    assert addresses(forwarder.exchange(WEB)) == ["10.20.0.1"]


@pytest.mark.parametrize("noise", [b"garbage\0", b"[]\0", b"{}\0", b'{"method": 7}\0', b"x" * (9 << 20)])
def test_a_feeder_that_does_not_speak_varlink_ends_it_cleanly(idle: Forwarder, noise: bytes) -> None:
    assert idle.control is not None
    try:
        idle.control.sendall(noise)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it need not read 9 MiB to the end
    status, errors = idle.wait()
    assert status == 0
    assert "Traceback" not in errors


def test_a_message_in_small_pieces_is_understood(forwarder: Forwarder) -> None:
    assert forwarder.control is not None
    for octet in json.dumps({"method": "io.devlink.Forwarder.GetStats"}).encode() + b"\0":
        forwarder.control.sendall(bytes((octet,)))
    assert "parameters" in forwarder.read_message()


def test_it_describes_itself_as_varlink_asks(idle: Forwarder) -> None:
    assert "io.devlink.Forwarder" in idle.call("org.varlink.service.GetInfo")["interfaces"]
    described = idle.call("org.varlink.service.GetInterfaceDescription", {"interface": "io.devlink.Forwarder"})
    assert "method Configure" in described["description"]
    stats = idle.stats()
    for key in stats:
        assert f"  {key}: " in described["description"]


def test_a_second_feeder_waits_for_the_first_to_end(forwarder: Forwarder) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as second:
        second.settimeout(0.2)
        second.connect(str(forwarder.path))
        second.sendall(b'{"method": "io.devlink.Forwarder.GetStats"}\0')
        with pytest.raises(TimeoutError):
            second.recv(1)
    assert forwarder.stats()["queries"] == 0


def test_idle_it_is_never_woken(forwarder: Forwarder) -> None:
    forwarder.exchange(WEB)
    assert forwarder.process is not None
    pid = forwarder.process.pid

    def switches() -> int:
        with open(f"/proc/{pid}/status") as status:
            return sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)

    def is_asleep() -> bool:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "S"

    wait_until(is_asleep)
    before = switches()
    threading.Event().wait(1.0)
    assert switches() == before
