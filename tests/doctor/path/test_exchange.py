"""Data exchanged with servers on loopback that behave as a cluster's do when something is wrong on the way."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import cast

import pytest

from devlink.core.diagnosis import Outcome
from devlink.core.network import ObservedNetwork, ObservedRoute, Path
from devlink.core.plan import Detour, Plan, make_plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, DnsServer, RoutingMode, Transport
from devlink.core.profile_document import decode_profile
from devlink.doctor.path import exchange as module
from devlink.doctor.path.exchange import look, over_tcp_to, over_udp_to, strays_of
from tests.core.plans import theirs
from tests.core.profiles import SAMPLE

pytestmark = pytest.mark.slow

HERE, ELSEWHERE = ip_address("127.0.0.1"), ip_address("127.0.0.2")
QUESTION = bytes((1, 0, 0, 1, 0, 0, 0, 0, 0, 0)) + b"\7example\3com\0\0\1\0\1"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 0.2)
    monkeypatch.setattr(module, "AGAIN", 0.1)


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await body()

    asyncio.run(main())


def answer(query: bytes) -> bytes:
    """NXDOMAIN: an answer as good as any."""
    return query[:2] + bytes((0x85, 0x03)) + query[4:]


@asynccontextmanager
async def over_tcp(reply: Callable[[bytes], bytes] | None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A server that takes connections; None: and never says a word."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        query = await reader.readexactly(size)
        if reply is not None and (said := reply(query)):
            writer.write(len(said).to_bytes(2, "big") + said)
        elif reply is None:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, str(HERE), 0)
    monkeypatch.setattr(module, "PORT", server.sockets[0].getsockname()[1])
    async with server:
        yield
    await asyncio.sleep(0.01)  # connections end


class Datagrams(asyncio.DatagramProtocol):
    """Answers what it is asked, from the second socket if there is one."""

    def __init__(self, reply: Callable[[bytes], bytes | None], by: socket.socket | None = None) -> None:
        self._reply, self._by = reply, by
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        said = self._reply(data)
        if said is not None and self._by is not None:
            self._by.sendto(said, addr)
        elif said is not None:
            self._transport.sendto(said, addr)


@asynccontextmanager
async def over_udp(server: Datagrams, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: server, (str(HERE), 0))
    monkeypatch.setattr(module, "PORT", transport.get_extra_info("sockname")[1])
    try:
        yield
    finally:
        transport.close()
        await asyncio.sleep(0)


@pytest.mark.slow
def test_over_tcp_an_answer_is_told_from_a_connection_that_hangs_or_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        async with over_tcp(answer, monkeypatch):
            assert await over_tcp_to(HERE, QUESTION) is Outcome.ANSWERED
        assert await over_tcp_to(HERE, QUESTION) is Outcome.REFUSED
        async with over_tcp(None, monkeypatch):
            assert await over_tcp_to(HERE, QUESTION) is Outcome.HANGS
        async with over_tcp(lambda _: b"", monkeypatch):
            assert await over_tcp_to(HERE, QUESTION) is Outcome.REFUSED
        async with over_tcp(lambda query: b"??" + answer(query)[2:], monkeypatch):
            assert await over_tcp_to(HERE, QUESTION) is not Outcome.ANSWERED

    run(body)


def test_over_udp_a_lost_question_is_asked_again_and_what_is_no_answer_is_not_taken_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body() -> None:
        lossy = Datagrams(lambda query: answer(query) if lossy.asked == 2 else None)
        async with over_udp(lossy, monkeypatch):
            assert await over_udp_to(HERE, QUESTION) is Outcome.ANSWERED
            assert lossy.asked == 2
        for nonsense in (lambda query: None, lambda query: b"", lambda query: b"??" + answer(query)[2:]):
            async with over_udp(Datagrams(nonsense), monkeypatch):
                assert await over_udp_to(HERE, QUESTION) is Outcome.SILENT
        assert await over_udp_to(HERE, QUESTION) is Outcome.REFUSED

    run(body)


def test_an_answer_from_another_address_is_seen_over_an_unconnected_socket_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pod:
            pod.bind((str(ELSEWHERE), 0))
            async with over_udp(Datagrams(answer, by=pod), monkeypatch):
                assert await strays_of(HERE, QUESTION) == (ELSEWHERE,)
                assert await over_udp_to(HERE, QUESTION) is Outcome.SILENT
        async with over_udp(Datagrams(answer), monkeypatch):
            assert await strays_of(HERE, QUESTION) == ()
        async with over_udp(Datagrams(lambda _: None), monkeypatch):
            assert await strays_of(HERE, QUESTION) == ()

    run(body)


# Whom it asks

LOCAL, REMOTE, UNKNOWN = "10.20.73.66", "10.20.120.130", "10.20.200.1"
GATEWAY, WORKER = ip_address("172.16.0.13"), ip_address("172.16.0.19")


def profile(*endpoints: str, transport: Transport = Transport.AUTO) -> BridgeProfile:
    """Of IPv4, with those pods of the DNS, and two nodes."""
    sample = decode_profile(SAMPLE)
    assert sample.spec.dns is not None
    assert sample.spec.nodes is not None
    server = DnsServer(address=ip_address("10.254.0.2"), transport=transport)
    dns = replace(sample.spec.dns, servers=(server,), endpoints=tuple(map(ip_address, endpoints)) or None)
    worker = replace(sample.spec.nodes[0], address=WORKER, pods=(ip_network("10.20.120.128/26"),))
    return replace(
        sample, spec=replace(sample.spec, dns=dns, nodes=(*sample.spec.nodes, worker), routing=RoutingMode.GATEWAY)
    )


def plan_of(wanted: BridgeProfile) -> Plan:
    return make_plan(wanted, ObservedNetwork(paths={GATEWAY: Path(oif="eth0")}))


class Answers:
    """Who answers how, by address; everybody else does. All packets go by the gateway, but those of `paths`."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tcp: Mapping[str, Outcome] | None = None,
        *,
        udp: bool = True,
        by: IPAddress = GATEWAY,
        paths: Mapping[str, Path] | None = None,
        routes: tuple[ObservedRoute, ...] = (),
    ) -> None:
        self.asked: list[str] = []
        there = {ip_address(address): path for address, path in (paths or {}).items()}

        def observe_ways(addresses: Iterable[IPAddress]) -> ObservedNetwork:
            paths = {a: there.get(a, Path(oif="eth0", next_hop=by)) for a in addresses}
            return ObservedNetwork(paths=paths, routes=routes)

        monkeypatch.setattr(module, "observe_ways", observe_ways)
        self._tcp, self._udp = tcp or {}, udp
        for name in ("over_tcp_to", "over_udp_to", "strays_of"):
            monkeypatch.setattr(module, name, getattr(self, name))

    async def over_tcp_to(self, address: IPAddress, _: bytes) -> Outcome:
        self.asked.append(str(address))
        return self._tcp.get(str(address), Outcome.ANSWERED)

    async def over_udp_to(self, _: IPAddress, __: bytes) -> Outcome:
        if not self._udp:
            await asyncio.sleep(60)
        return Outcome.ANSWERED

    async def strays_of(self, _: IPAddress, __: bytes) -> tuple[IPAddress, ...]:
        return ()


def test_it_asks_the_service_and_pods_on_other_nodes_first_and_tells_by_whose_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body() -> None:
        answers = Answers(monkeypatch, {REMOTE: Outcome.HANGS})
        wanted = profile(LOCAL, REMOTE, UNKNOWN)
        (seen,) = await look(wanted, plan_of(wanted))
        assert answers.asked == ["10.254.0.2", REMOTE, UNKNOWN, LOCAL]
        assert (seen.server.is_service, seen.server.by) == (True, GATEWAY)
        assert [(pod.node, pod.by, pod.tcp) for pod in seen.pods] == [
            (WORKER, GATEWAY, Outcome.HANGS), (None, GATEWAY, Outcome.ANSWERED), (GATEWAY, GATEWAY, Outcome.ANSWERED),
        ]  # fmt: skip

    run(body)


def test_a_detour_is_the_way_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        Answers(monkeypatch, by=WORKER)
        wanted = profile(REMOTE)
        plan = plan_of(wanted)
        detour = Detour(next_hop=GATEWAY, via=WORKER, oif="eth0")
        (seen,) = await look(wanted, replace(plan, desired=replace(plan.desired, detours=(detour,))))
        assert seen.pods[0].is_direct

    run(body)


def test_what_has_no_route_by_the_plan_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        answers = Answers(monkeypatch)
        both = profile(REMOTE, "fd00:20:0:73::5")
        assert both.spec.dns is not None
        servers = (*both.spec.dns.servers, DnsServer(address=ip_address("fd00:254::2")))
        both = replace(both, spec=replace(both.spec, dns=replace(both.spec.dns, servers=servers)))
        assert len(await look(both, plan_of(both))) == 1
        assert not [address for address in answers.asked if ":" in address]
        carried = make_plan(both, ObservedNetwork(), with_routes=False)
        assert len(await look(both, carried)) == 2, "where the network carries both, both are asked"
        assert "fd00:20:0:73::5" in answers.asked

    run(body)


def test_pods_whose_packets_do_not_go_our_way_are_not_asked_and_it_is_said_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        answers = Answers(monkeypatch, paths={REMOTE: Path(oif="ts0"), UNKNOWN: Path()})
        wanted = profile(LOCAL, REMOTE, UNKNOWN)
        (seen,) = await look(wanted, plan_of(wanted))
        assert answers.asked == ["10.254.0.2", LOCAL]
        assert {str(pod.address): pod.tcp for pod in seen.pods} == {
            LOCAL: Outcome.ANSWERED, REMOTE: Outcome.NOT_OURS, UNKNOWN: Outcome.NO_WAY,
        }  # fmt: skip

    run(body)


@pytest.mark.parametrize("path", [Path(), Path(oif="ts0")])
def test_where_nothing_is_sent_to_the_service_our_way_it_says_nothing_of_the_cluster(
    monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    async def body() -> None:
        answers = Answers(monkeypatch, paths={"10.254.0.2": path})
        wanted = profile(REMOTE)
        assert await look(wanted, plan_of(wanted)) == ()
        assert answers.asked == []

    run(body)


def test_pods_that_need_no_route_are_asked_on_the_laptops_own_links_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pod network nobody has confirmed that their addresses are the cluster's."""

    async def body() -> None:
        near, far, there, taken = "172.16.0.88", "192.0.2.53", "10.77.0.9", "172.16.0.89"
        lan, vpn = theirs("172.16.0.0/24", protocol=2), theirs("0.0.0.0/0", oif="tun0", table=52)
        into_tunnel = dict.fromkeys((there, taken), Path(oif="tun0"))
        answers = Answers(monkeypatch, paths={near: Path(oif="eth0"), **into_tunnel}, routes=(lan, vpn))
        wanted = profile()
        assert wanted.spec.dns is not None
        dns = replace(wanted.spec.dns, endpoints=tuple(map(ip_address, (near, far, there, taken))))
        wanted = replace(wanted, spec=replace(wanted.spec, pods=None, nodes=None, dns=dns))
        (seen,) = await look(wanted, plan_of(wanted))
        assert answers.asked == ["10.254.0.2", near]
        assert [str(pod.address) for pod in seen.pods] == [near]

    run(body)


def test_gateways_that_are_on_no_link_are_told_where_the_network_must_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        wanted = profile(REMOTE)
        wanted = replace(wanted, spec=replace(wanted.spec, routing=RoutingMode.AUTO))
        carried = make_plan(wanted, ObservedNetwork())
        assert carried.mode is RoutingMode.ROUTER
        Answers(monkeypatch)
        (seen,) = await look(wanted, carried)
        assert GATEWAY in seen.off_link
        Answers(monkeypatch, paths={str(GATEWAY): Path(oif="eth0")})
        (seen,) = await look(wanted, carried)
        assert seen.off_link == (), "one of them is there: the routes were not asked for"
        by_router = replace(wanted, spec=replace(wanted.spec, routing=RoutingMode.ROUTER))
        Answers(monkeypatch)
        (seen,) = await look(by_router, carried)
        assert seen.off_link == (), "its profile says that the network carries"

    run(body)


@pytest.mark.parametrize(
    ("number", "outcome"), [(errno.ENETUNREACH, Outcome.UNREACHABLE), (errno.EADDRNOTAVAIL, Outcome.NO_WAY)]
)
def test_a_router_that_knows_no_way_is_not_taken_for_a_laptop_without_one(
    monkeypatch: pytest.MonkeyPatch, number: int, outcome: Outcome
) -> None:
    """ICMP net unreachable, as the socket tells it; whether this laptop has a way is asked of the kernel."""

    async def body() -> None:
        def refuse(*_: object) -> object:
            raise OSError(number, "so it is")

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "sock_connect", refuse)
        assert await over_tcp_to(HERE, QUESTION) is outcome
        assert await over_udp_to(HERE, QUESTION) is outcome

    run(body)


def test_a_kernel_without_an_ip_version_has_no_way_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        def refuse(*_: object) -> object:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

        monkeypatch.setattr(module, "_socket", refuse)
        there = ip_address("fd00:254::2")
        assert await over_tcp_to(there, QUESTION) is Outcome.NO_WAY
        assert await over_udp_to(there, QUESTION) is Outcome.NO_WAY
        assert await strays_of(there, QUESTION) == ()

    run(body)


def test_where_names_are_asked_over_tcp_alone_nobody_waits_for_udp(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        Answers(monkeypatch, udp=False)
        wanted = profile(REMOTE, transport=Transport.TCP)
        (seen,) = await look(wanted, plan_of(wanted))
        assert (seen.server.udp, seen.server.wants_udp) == (Outcome.UNKNOWN, False)

    run(body)


def test_without_dns_there_is_nobody_to_ask() -> None:
    async def body() -> None:
        wanted = decode_profile(SAMPLE)
        wanted = replace(wanted, spec=replace(wanted.spec, dns=None))
        assert await look(wanted, plan_of(wanted)) == ()

    run(body)
