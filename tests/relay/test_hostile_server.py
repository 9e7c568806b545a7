"""One upgraded connection, before an API server that does not mean well."""

import asyncio
import contextlib
import socket
import struct

import pytest

from devlink.relay import sessions
from devlink.relay.sessions import Session
from devlink.relay.spdy import Spdy

PINGS = struct.pack(">HHII", 0x8003, 6, 4, 2) * 4096


class Watcher:
    why = ""

    def session_freed(self, session: Session) -> None: ...

    def session_closed(self, session: Session, why: str) -> None:
        self.why = why


@pytest.mark.slow
def test_a_server_that_asks_without_end_and_takes_no_answer_fills_no_memory() -> None:
    async def body() -> None:
        ours, theirs = socket.socketpair()
        watcher = Watcher()
        theirs.setblocking(False)
        with theirs:
            loop = asyncio.get_running_loop()
            session = Session(Spdy(), ("shop", "db"), 80, watcher)
            await loop.create_connection(lambda: session, sock=ours)
            most = 4 * (sessions.ANSWERS + sessions.WRITE_HIGH)
            with contextlib.suppress(ConnectionError):
                for _ in range(most // len(PINGS)):
                    await loop.sock_sendall(theirs, PINGS)
            assert watcher.why == "The API server asks and asks, and takes no answer."

    asyncio.run(body())
