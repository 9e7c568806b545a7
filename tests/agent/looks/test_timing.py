"""What answers takes time, what does not takes the limit: on the loopback, and with nobody's privilege."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from devlink.agent.looks import timing
from devlink.agent.looks.timing import first_of
from devlink.core.legs import Answer
from devlink.core.profile import DnsServer, Transport
from devlink.doctor.path.questions import numbered
from tests.kernel.private_network import in_private_network, make_links

HERE = ip_address("127.0.0.1")
QUESTION = numbered(b"\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1")[2:]


def after(seconds: float, rtt: float | None) -> Callable[[], Awaitable[float | None]]:
    async def asking() -> float | None:
        await asyncio.sleep(seconds)
        return rtt

    return asking


async def refused() -> float | None:
    raise PermissionError


def test_the_first_answer_counts_and_a_failure_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "AGAIN", 0.01)

    def asked(*askings: timing.Timed, limit: float = 5.0) -> float | None:
        return asyncio.run(first_of(*askings, limit=limit))

    assert asked(after(0.0, 1.0), after(0.0, 2.0)) == 1.0
    assert asked(after(60.0, 1.0), after(0.0, 2.0)) == 2.0, "the second is asked where the first is late"
    assert asked(refused, after(0.0, 2.0)) == 2.0
    assert asked(refused, after(0.0, None)) is None
    assert asked(after(60.0, 1.0), limit=0.02) is None


def test_who_answers_all_questions_at_once_took_as_long_as_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "AGAIN", 0.0)

    async def body() -> float | None:
        thawed = asyncio.Event()

        def after_thaw(turns: int, rtt: float) -> timing.Timed:
            async def asking() -> float | None:
                await thawed.wait()
                for _ in range(turns):
                    await asyncio.sleep(0)
                return rtt

            return asking

        asyncio.get_running_loop().call_later(0.01, thawed.set)
        return await first_of(after_thaw(4, 0.7), after_thaw(0, 0.1), limit=5.0)

    assert asyncio.run(body()) == 0.7


def test_a_second_is_not_asked_where_the_first_answers() -> None:
    asked: list[str] = []

    async def second() -> float | None:
        asked.append("second")
        return 2.0

    assert asyncio.run(first_of(after(0.0, 1.0), second, limit=5.0)) == 1.0
    assert asked == []


def test_a_port_that_refuses_is_an_answer_and_a_user_who_may_not_ping_needs_no_more() -> None:
    answer = asyncio.run(timing.ask_machine(HERE, "lo"))
    assert answer.is_there
    assert answer.rtt is not None
    assert 0 < answer.rtt < timing.LIMIT


@pytest.mark.lab
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_echo_takes_its_time_where_the_user_may_ask_for_one(address: str) -> None:
    def body() -> None:
        make_links()
        with open("/proc/sys/net/ipv4/ping_group_range", "w") as file:
            file.write("0 0")
        rtt = asyncio.run(first_of(lambda: timing.echo(ip_address(address), "lo"), limit=5.0))
        assert rtt is not None
        assert 0 < rtt < timing.LIMIT

    in_private_network(body)


@pytest.mark.parametrize("is_on_link", [True, False, None])
def test_where_nothing_can_be_timed_the_neighbour_tells(
    monkeypatch: pytest.MonkeyPatch, is_on_link: bool | None
) -> None:
    async def tells() -> bool | None:
        return is_on_link

    monkeypatch.setattr(timing, "echo", lambda *_: refused())
    monkeypatch.setattr(timing, "knock", lambda *_: refused())
    assert asyncio.run(timing.ask_machine(HERE, "lo", tells)) == Answer(is_there=is_on_link)


def test_a_neighbour_that_says_nothing_in_time_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never() -> bool | None:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(timing, "echo", lambda *_: refused())
    monkeypatch.setattr(timing, "knock", lambda *_: refused())
    monkeypatch.setattr(timing, "LIMIT", timing.PING_LIMIT + 0.02)
    assert asyncio.run(timing.ask_machine(HERE, "lo", never)) == Answer(is_there=False)


def test_a_link_that_is_gone_is_no_answer_and_leaves_no_socket_open() -> None:
    assert asyncio.run(timing.ask_machine(HERE, "nothere0")) == Answer()


@contextmanager
def served(deaf: int = 0) -> Iterator[int]:
    """The port of a DNS server on the loopback that overhears the first questions."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10.0)

        def serve() -> None:
            for number in range(deaf + 1):
                packet, sender = sock.recvfrom(512)
                if number >= deaf:
                    sock.sendto(packet[:2] + bytes((0x81, 0x80)) + packet[4:], sender)

        thread = threading.Thread(target=serve)
        thread.start()
        yield sock.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_question_to_the_dns_that_is_lost_is_asked_again(monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    monkeypatch.setattr(timing, "AGAIN", 0.02)
    server = DnsServer(address=ip_address("10.254.0.2"), transport=Transport.UDP)
    object.__setattr__(server, "address", HERE)  # no profile may name it
    with served(lost) as port:
        monkeypatch.setattr(timing, "PORT", port)
        rtt = asyncio.run(timing.ask_dns(server, QUESTION))
    assert rtt is not None
    assert 0 < rtt < timing.LIMIT


def test_a_service_that_takes_connections_answers_and_one_that_refuses_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(timing, "API_PORT", listener.getsockname()[1])
        assert asyncio.run(timing.ask_api(HERE)) is not None
    assert asyncio.run(timing.ask_api(HERE)) is None
