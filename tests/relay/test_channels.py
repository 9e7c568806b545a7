"""The older way of port-forward: one connection, two channels, each message with its channel before it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.relay.channels import STREAM, Channels
from devlink.relay.dialect import Closed, Data, End, Event, Failed, Pong
from tests.relay.node_end import message, messages

PORT = 8080
PORTS = message(b"\0\x90\x1f") + message(b"\1\x90\x1f")
CLOSE = message(b"\x03\xe8", code=8)


@pytest.fixture
def channels() -> Channels:
    made = Channels(PORT)
    assert made.open(PORT) == STREAM
    return made


def plain(events: Sequence[Event]) -> list[Event]:
    found: list[Event] = []
    for event in events:
        if isinstance(event, Data) and found and isinstance(found[-1], Data):
            found[-1] = Data(event.stream, bytes(found[-1].octets) + bytes(event.octets))
        else:
            found.append(Data(event.stream, bytes(event.octets)) if isinstance(event, Data) else event)
    return found


def test_octets_go_out_on_the_channel_of_data_without_a_copy(channels: Channels) -> None:
    block = bytes(70_000)
    channels.send(STREAM, block)
    parts = channels.take()
    assert any(part is block for part in parts)
    assert messages(b"".join(parts)) == [(2, b"\0" + block)]


def test_one_connection_carries_one_stream_to_the_port_that_was_asked_for(channels: Channels) -> None:
    assert channels.streams_limit == 1
    with pytest.raises(ConnectionError):
        channels.open(PORT)
    with pytest.raises(ConnectionError):
        Channels(PORT).open(PORT + 1)


def test_the_ports_that_come_first_are_no_data(channels: Channels) -> None:
    assert plain(channels.receive(PORTS + message(b"\0hello") + message(b"\0") + message(b"\0 world"))) == [
        Data(STREAM, b"hello world")
    ]


def test_what_the_node_says_on_the_channel_of_errors_is_why_it_failed(channels: Channels) -> None:
    said = message(b"\1conn", first=0) + message(b"ection refused", code=0)
    assert channels.receive(PORTS + said + message(b"\0late")) == [Failed(STREAM, "connection refused")]
    channels.send(STREAM, b"late")
    assert channels.take() == []
    assert [type(event) for event in channels.receive(CLOSE)] == [Closed]


def test_the_connections_end_is_the_streams(channels: Channels) -> None:
    (end, closed) = channels.receive(PORTS + CLOSE)
    assert (end, type(closed)) == (End(STREAM), Closed)
    assert channels.receive(CLOSE) == []


def test_our_end_is_not_said_for_it_would_end_both_ways(channels: Channels) -> None:
    channels.end(STREAM)
    assert channels.take() == []
    assert plain(channels.receive(PORTS + message(b"\0rest"))) == [Data(STREAM, b"rest")]


def test_a_stream_that_we_gave_up_says_nothing_any_more(channels: Channels) -> None:
    channels.reset(STREAM)
    events = channels.receive(PORTS + message(b"\0x") + message(b"\1why") + CLOSE)
    assert [type(event) for event in events] == [Closed]


def test_a_ping_is_answered(channels: Channels) -> None:
    channels.ping()
    assert messages(b"".join(channels.take())) == [(9, b"")]
    assert channels.receive(message(b"", code=10)) == [Pong()]


@pytest.mark.parametrize(
    "come",
    [
        message(b"\0\x90\x20"),
        message(b"\0\x90\x1fdata"),
        message(b"\0\x90"),
        message(b"\2"),
        message(b""),
        message(b"\0", code=1),
    ],
)
def test_what_breaks_the_protocol_closes_it_once(channels: Channels, come: bytes) -> None:
    events = [*channels.receive(come), *channels.receive(come)]
    assert [type(event) for event in events if not isinstance(event, End)] == [Closed]
    with pytest.raises(ConnectionError):
        channels.open(PORT)


def test_a_node_that_talks_without_end_is_kept_in_part(channels: Channels) -> None:
    channels.receive(PORTS + message(b"\1" + b"a" * 5000, first=0))
    (event,) = channels.receive(message(b"a" * 5000, code=0))
    assert isinstance(event, Failed)
    assert len(event.why) == 4096


PARTS = st.lists(st.tuples(st.sampled_from([b"\0", b"\0", b"\1"]), st.binary(max_size=200)), max_size=6)


@given(PARTS, st.integers(1, 40))
def test_how_it_is_cut_changes_nothing(parts: list[tuple[bytes, bytes]], step: int) -> None:
    come = PORTS + b"".join(message(channel + octets) for channel, octets in parts) + CLOSE
    whole, cut = Channels(PORT), Channels(PORT)
    pieces = [cut.receive(come[at : at + step]) for at in range(0, len(come), step)]
    assert plain([event for each in pieces for event in plain(each)]) == plain(whole.receive(come))


@given(st.binary(max_size=300))
def test_no_octets_make_it_fail(come: bytes) -> None:
    dialect = Channels(PORT)
    dialect.open(PORT)
    dialect.receive(come)
    dialect.receive(come)
