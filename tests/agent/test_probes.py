"""The line by which probes' sockets come from the helper."""

import asyncio
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import pytest

from devlink.agent import probes
from devlink.agent.probes import ProbeLine
from devlink.errors import HelperError, ProtocolError
from devlink.rpc.tasks import spawn


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
