"""The line by which probes' sockets come from the helper, and what is heard on them."""

import asyncio
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import pytest

from devlink.agent import probes
from devlink.agent.probes import ProbeLine, Probes
from devlink.core.plan import Upstream
from devlink.core.prefixes import IPAddress
from devlink.core.profile import Transport
from devlink.core.profile_document import decode_profile
from devlink.errors import HelperError, ProtocolError, UsageError, VerificationError
from devlink.rpc.tasks import spawn
from tests.core.profiles import SAMPLE

HERE, VIA = ip_address("127.0.0.1"), ip_address("172.16.0.13")


class SlowLine:
    """To a helper that gives a socket after a moment."""

    made: "list[SlowLine]"

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.made.append(self)

    @classmethod
    async def connect(cls, path: str) -> "SlowLine":
        line = cls()
        await asyncio.sleep(0)
        return line

    async def call_for_descriptor(self, method: str, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        for _ in range(5):
            await asyncio.sleep(0)
        if self.closed.done():
            raise ProtocolError("The line is closed.")
        return {}, socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()

    def close(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


@pytest.mark.parametrize("steps", range(12))
def test_a_line_that_is_closed_while_sockets_are_waited_for_leaves_none_open(
    monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setattr(probes, "Connection", SlowLine)
    SlowLine.made = []

    async def body() -> None:
        line = ProbeLine("qa")
        via, target = ip_address("172.16.0.13"), ip_address("10.254.0.2")
        waiting = [spawn(line.open(via, target, "udp"), name="open") for _ in range(3)]
        for _ in range(steps):
            await asyncio.sleep(0)
        line.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, socket.socket):  # it was given before
                outcome.close()
            else:
                assert isinstance(outcome, HelperError)
        assert any(isinstance(outcome, HelperError) for outcome in outcomes)
        assert all(made.closed.done() for made in SlowLine.made)

    asyncio.run(body())


class DirectLine(SlowLine):
    """To a helper that gives sockets which go to loopback as the routes say."""

    made: "list[SlowLine]" = []  # noqa: RUF012 - nobody looks

    async def call_for_descriptor(self, method: str, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        kind = socket.SOCK_DGRAM if parameters["kind"] == "udp" else socket.SOCK_STREAM
        return {}, socket.socket(socket.AF_INET, kind).detach()


class MeanLine(SlowLine):
    """To a helper that refuses, or does not come to it."""

    made: "list[SlowLine]" = []  # noqa: RUF012 - nobody looks
    refusal: Exception | None = None

    async def call_for_descriptor(self, method: str, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        if self.refusal is None:
            await asyncio.Event().wait()
        assert self.refusal is not None
        raise self.refusal


@pytest.mark.parametrize(
    ("refusal", "attempt", "is_unput"),
    [
        (UsageError("There are too many."), 0, True),
        (UsageError("There are too many."), 1, True),
        (None, 0, True),
        (None, 1, False),
        (BlockingIOError("backlog"), 0, True),
        (VerificationError("It is not on the link."), 0, False),
        (HelperError("The kernel refused."), 0, False),
    ],
)
def test_a_question_for_which_there_is_no_socket_is_told_from_one_that_was_lost(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception | None, attempt: int, is_unput: bool
) -> None:
    monkeypatch.setattr(probes, "Connection", MeanLine)
    monkeypatch.setattr(MeanLine, "refusal", refusal)
    server = Upstream(address=HERE, transport=Transport.UDP)
    monkeypatch.setattr(probes, "first_by_version", lambda _: {4: server})
    monkeypatch.setattr(probes, "PORT", 9)

    async def body() -> None:
        asking = Probes("qa", decode_profile(SAMPLE), lambda _, __: None)
        try:
            asking.ask(VIA, attempt)
            for _ in range(10):
                await asyncio.sleep(0)
            assert (VIA in asking.unput) is is_unput
            monkeypatch.setattr(probes, "Connection", DirectLine)
            asking._line, asking._awaited = ProbeLine("qa"), set()
            asking.ask(VIA, 0)
            for _ in range(10):
                await asyncio.sleep(0)
            assert VIA not in asking.unput
        finally:
            asking.close()

    asyncio.run(body())


def test_what_answers_another_question_than_the_one_that_was_put_is_no_answer_of_a_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probes, "Connection", DirectLine)
    server = Upstream(address=HERE, transport=Transport.UDP)  # no profile may name loopback
    monkeypatch.setattr(probes, "first_by_version", lambda _: {4: server})

    async def body() -> None:
        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[IPAddress] = asyncio.Queue()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dns:
            dns.bind((str(HERE), 0))
            dns.setblocking(False)
            monkeypatch.setattr(probes, "PORT", dns.getsockname()[1])
            asking = Probes("qa", decode_profile(SAMPLE), lambda via, _: heard.put_nowait(via))
            try:
                asking.ask(VIA, 0)
                async with asyncio.timeout(10):
                    packet, who = await loop.sock_recvfrom(dns, 512)
                    answer = packet[:2] + bytes((0x85, 0x03)) + packet[4:]
                    dns.sendto(answer.replace(b"default", b"another"), who)
                    await asyncio.sleep(0.05)
                    assert heard.empty()
                    dns.sendto(answer, who)
                    assert await heard.get() == VIA
            finally:
                asking.close()

    asyncio.run(body())


def test_probes_whose_line_has_ended_at_the_other_end_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "Connection", DirectLine)
    DirectLine.made = []

    async def body() -> None:
        asking = Probes("qa", decode_profile(SAMPLE), lambda _, __: None)
        seen = [asking.is_lost]
        (await asking.socket_by(VIA, ip_address("10.254.0.2"))).close()
        seen.append(asking.is_lost)
        DirectLine.made[0].close()
        seen.append(asking.is_lost)
        asking.close()
        assert seen == [False, False, True]

    asyncio.run(body())


@pytest.mark.parametrize("transport", Transport)
def test_while_the_helper_hangs_questions_do_not_pile_up(monkeypatch: pytest.MonkeyPatch, transport: Transport) -> None:
    monkeypatch.setattr(probes, "Connection", MeanLine)
    monkeypatch.setattr(probes, "first_by_version", lambda _: {4: Upstream(address=HERE, transport=transport)})
    expected = 4 if transport is Transport.AUTO else 2

    async def body() -> None:
        asking = Probes("qa", decode_profile(SAMPLE), lambda _, __: None)
        before = len(asyncio.all_tasks())
        for _ in range(9):
            for attempt in (0, 1):
                asking.ask(VIA, attempt)
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) - before == expected
        assert VIA in asking.unput
        asking.close()

    asyncio.run(body())
