"""One connection to a pod: whose octets come, who holds it up, and when it is given up."""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from devlink.relay.dialect import Closed, Data, End, Event, Failed
from devlink.relay.sessions import Session, Stream, Watcher
from devlink.relay.spdy import Spdy


class Out(asyncio.Transport):
    """A connection from an address."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__({"sockname": (address, 40000, *((0, 0) if ":" in address else ()))})
        self.is_paused = False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def close(self) -> None: ...


class Script(Spdy):
    """Says what a test wants, whatever comes."""

    events: Sequence[Event] = ()

    def receive(self, octets: bytes | memoryview) -> Sequence[Event]:
        return self.events

    def take(self) -> list[bytes | bytearray | memoryview]:
        return []


class Told:
    """A stream's end here."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def received(self, pieces: Sequence[bytes | memoryview]) -> None:
        self.events.append(b"".join(pieces))

    def ended(self) -> None:
        self.events.append("end")

    def failed(self, why: str) -> None:
        self.events.append(why)

    def cut(self, why: str) -> None:
        self.events.append(why)

    def writable(self, yes: bool) -> None: ...


class Nobody:
    def session_freed(self, session: Session) -> None: ...

    def session_closed(self, session: Session, why: str) -> None: ...


def in_a_session(body: Callable[[Session, Script, Out], None]) -> None:
    async def inside() -> None:
        script, out = Script(), Out()
        session = Session(script, ("shop", "db"), 80, Nobody())
        session._transport = out
        body(session, script, out)

    asyncio.run(inside())


def opened(session: Session) -> tuple[Stream, Told, int]:
    told = Told()
    stream = session.open(80, told)
    return stream, told, max(session.streams)


@pytest.mark.parametrize(
    ("last", "said"), [(End, "end"), (lambda number: Failed(number, "gone"), "gone"), (lambda _: Closed("cut"), "cut")]
)
def test_what_a_stream_got_comes_before_its_end_and_to_nobody_else(
    last: Callable[[int], Event], said: str
) -> None:  # fmt: skip
    def body(session: Session, script: Script, __: Out) -> None:
        _, first, one = opened(session)
        _, second, other = opened(session)
        script.events = [Data(one, b"a"), Data(one, b"b"), Data(other, b"x"), Data(one, b"c"), last(one)]
        session.buffer_updated(1)
        assert first.events == [b"ab", b"c", said]
        assert second.events[:1] == [b"x"]

    in_a_session(body)


def test_of_a_stream_that_the_pod_has_ended_more_may_be_told() -> None:
    def body(session: Session, script: Script, __: Out) -> None:
        _, told, number = opened(session)
        for events in ([End(number)], [Failed(number, "reset")]):
            script.events = events
            session.buffer_updated(1)
        assert told.events == ["end", "reset"]
        assert not session.streams

    in_a_session(body)


def test_it_is_read_again_once_nobody_holds_it_any_more_be_it_that_he_has_left() -> None:
    def body(session: Session, _: Script, out: Out) -> None:
        one, other = opened(session)[0], opened(session)[0]
        one.hold()
        other.hold()
        one.release()
        found = [(out.is_paused, session.is_free)]
        other.drop(reset=True)
        assert [*found, (out.is_paused, session.is_free)] == [(True, False), (False, True)]

    in_a_session(body)


def test_one_whose_other_end_takes_nothing_gets_no_newcomer() -> None:
    def body(session: Session, _: Script, __: Out) -> None:
        found = [session.is_free]
        session.pause_writing()
        found.append(session.is_free)
        session.resume_writing()
        assert [*found, session.is_free] == [True, False, True]

    in_a_session(body)


@pytest.mark.parametrize(("address", "is_ours"), [("127.0.0.1", True), ("192.0.2.1", False), ("2001:db8::1", False)])
def test_a_session_has_lost_its_address_where_the_laptop_has(address: str, is_ours: bool) -> None:
    async def body() -> None:
        session = Session(Spdy(), ("shop", "db"), 80, cast(Watcher, None))
        assert session.has_address, "nobody says"
        session._transport = Out(address)
        assert session.has_address is is_ours

    asyncio.run(body())
