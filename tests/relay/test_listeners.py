"""Who comes in by a listener, also where the process is out of descriptors for a moment."""

import asyncio
import errno
import socket
from ipaddress import ip_address
from typing import Any

import pytest

from devlink.core.relay import RelayListener
from devlink.relay import listeners
from devlink.relay.listeners import Listeners
from devlink.relay.sockets import Endpoint


class Tired(socket.socket):
    """A listener whose process has no descriptor left, once."""

    tried = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.tried += 1
        if self.tried == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.mark.parametrize("is_closed_meanwhile", [False, True])
def test_without_descriptors_who_comes_waits_for_a_moment(
    monkeypatch: pytest.MonkeyPatch, is_closed_meanwhile: bool
) -> None:  # fmt: skip
    monkeypatch.setattr(listeners, "PAUSE", 0.01)
    troubles: list[object] = []

    async def story() -> int:
        come: list[socket.socket] = []
        arrived = asyncio.Event()

        def take(sock: socket.socket, _: Endpoint, __: Endpoint | None) -> None:
            come.append(sock)
            arrived.set()

        asyncio.get_running_loop().set_exception_handler(lambda _, what: troubles.append(what))
        listener = Tired()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        told = RelayListener(purpose="names", address=ip_address("127.0.0.1"), port=0)
        there = Listeners(take)
        there.replace((told,), (listener,))
        with socket.create_connection(listener.getsockname()):
            async with asyncio.timeout(20):
                while not listener.tried:  # noqa: ASYNC110 - nobody is told
                    await asyncio.sleep(0)
                if is_closed_meanwhile:
                    there.close()
                    await asyncio.sleep(0.03)
                else:
                    await arrived.wait()
        there.close()
        for sock in come:
            sock.close()
        return len(come)

    assert asyncio.run(story()) == (0 if is_closed_meanwhile else 1)
    assert troubles == []
