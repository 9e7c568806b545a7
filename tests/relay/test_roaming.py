"""What a relay gives up when the laptop comes to another network."""

import asyncio
from typing import cast

import pytest

from devlink.relay.sessions import Session, Watcher
from devlink.relay.spdy import Spdy


class Out(asyncio.Transport):
    """A connection from an address."""

    def __init__(self, address: str) -> None:
        super().__init__({"sockname": (address, 40000, *((0, 0) if ":" in address else ()))})


@pytest.mark.parametrize(("address", "is_ours"), [("127.0.0.1", True), ("192.0.2.1", False), ("2001:db8::1", False)])
def test_a_session_has_lost_its_address_where_the_laptop_has(address: str, is_ours: bool) -> None:
    async def body() -> None:
        session = Session(Spdy(), ("shop", "db"), 80, cast(Watcher, None))
        assert session.has_address, "nobody says"
        session._transport = Out(address)
        assert session.has_address is is_ours

    asyncio.run(body())
