"""Our end of a websocket, and SPDY inside of it: whole, octet by octet, and against a server that breaks the rules."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.relay.dialect import Closed, Data, End, Event, Pong
from devlink.relay.websocket import BINARY, CLOSE, PING, PONG, TEXT, Piece, SpdyWebsocket, Websocket, masked
from tests.relay.node_end import NodeEnd, control, data, message, messages

KEY = b"\x01\x80\x0f\xff"


def sent(websocket: Websocket | SpdyWebsocket) -> list[tuple[int, bytes]]:
    return messages(b"".join(websocket.take()))


def read(websocket: Websocket, *parts: bytes) -> tuple[list[bytes], list[object]]:
    """The whole messages, and the other events; of a message that has not ended what has come."""
    whole: list[bytes] = []
    others: list[object] = []
    for part in parts:
        for event in websocket.receive(part):
            if not isinstance(event, Piece):
                others.append(event)
            elif event.begins:
                whole.append(bytes(event.octets))
            else:
                whole[-1] += bytes(event.octets)
    return whole, others


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70000])
def test_a_message_of_any_length_goes_both_ways(size: int) -> None:
    octets = bytes(each % 251 for each in range(size))
    websocket = Websocket()
    websocket.message([octets[:10], memoryview(octets)[10:]])
    assert sent(websocket) == [(BINARY, octets)]
    assert read(websocket, message(octets)) == ([octets], [])


def test_where_others_may_read_along_each_frame_has_a_key_of_its_own() -> None:
    keys = iter([KEY, KEY[::-1]])
    websocket = Websocket(mask=lambda: next(keys))
    websocket.message([b"GET / HTTP/1.1", b"\r\n"])
    websocket.message([b"GET / HTTP/1.1\r\n"])
    octets = b"".join(websocket.take())
    assert b"GET" not in octets
    assert octets[2:6] == KEY
    assert messages(octets) == [(BINARY, b"GET / HTTP/1.1\r\n")] * 2


def test_masking_by_octets_and_by_one_large_number_are_the_same() -> None:
    octets = bytes(range(256)) * 3 + b"xyz"
    assert masked(octets, KEY) == bytes(each ^ KEY[at % 4] for at, each in enumerate(octets))


def test_a_message_in_parts_is_one_though_pings_come_between() -> None:
    websocket = Websocket()
    come = [
        message(b"one ", first=0),
        message(b"?", code=PING),
        message(b"two ", code=0, first=0),
        message(b"", code=0),
    ]
    assert read(websocket, b"".join(come)) == ([b"one two "], [])
    assert sent(websocket) == [(PONG, b"?")]
    assert read(websocket, message(b"next")) == ([b"next"], [])


def test_a_piece_says_whether_its_message_begins_and_ends_there() -> None:
    websocket = Websocket()
    first, last = message(b"abcd", first=0), message(b"ef", code=0)
    found = [*websocket.receive(first[:4]), *websocket.receive(first[4:] + last), *websocket.receive(message(b""))]
    assert [(bytes(each.octets), each.begins, each.ends) for each in found if isinstance(each, Piece)] == [
        (b"ab", True, False), (b"cd", False, False), (b"ef", False, True), (b"", True, True),
    ]  # fmt: skip


def test_a_ping_of_ours_is_answered_by_a_pong() -> None:
    websocket = Websocket()
    websocket.ping()
    assert sent(websocket) == [(PING, b"")]
    assert read(websocket, message(b"", code=PONG)) == ([], [Pong()])


def test_a_close_is_answered_and_its_reason_is_told() -> None:
    websocket = Websocket()
    _, (closed,) = read(websocket, message((1011).to_bytes(2, "big") + b"pod\nis gone", code=CLOSE))
    assert closed == Closed("the server closed it (code 1011) pod is gone")
    assert sent(websocket) == [(CLOSE, (1011).to_bytes(2, "big"))]
    websocket.message([b"late"])
    assert (websocket.take(), read(websocket, message(b"late"))) == ([], ([], []))


def test_the_connections_end_closes_it() -> None:
    assert read(Websocket(), b"")[1] == [Closed("the connection ended")]


@pytest.mark.parametrize(
    "come",
    [
        message(b"text", code=TEXT),
        message(b"x", mask=KEY),
        message(b"x", first=0xC0),
        message(b"x", code=3),
        message(b"x", code=0xB),
        message(b"x", code=0),
        message(b"x", first=0) + message(b"y"),
        message(b"x", first=0) + message(b"another one"),
        message(b"x", code=PING, first=0),
        message(bytes(126), code=PING),
        b"\x82\x7f" + b"\xff" * 8,
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    ],
)
def test_what_breaks_the_protocol_closes_it_once(come: bytes) -> None:
    websocket = Websocket()
    _, others = read(websocket, come, message(b"late"))
    assert [type(event) for event in others] == [Closed]


def test_a_server_that_masks_is_told_by_that_and_not_by_what_comes_of_it() -> None:
    assert read(Websocket(), message(b"x", mask=KEY))[1] == [Closed("a masked frame came from a server")]


def test_a_frame_of_any_length_is_handed_on_as_it_comes() -> None:
    websocket = Websocket()
    come = b"\x82\x7f" + (1 << 62).to_bytes(8, "big") + b"begin"
    assert read(websocket, come, bytes(70000))[0] == [b"begin" + bytes(70000)]


def test_a_length_that_looks_like_a_head_is_no_head() -> None:
    come = message(bytes(0x8205))
    assert come[2:4] == b"\x82\x05"
    assert read(Websocket(), come[:2], come[2:]) == ([bytes(0x8205)], [])


def test_octets_go_through_both_protocols_without_a_copy() -> None:
    dialect = SpdyWebsocket()
    stream = dialect.open(80)
    dialect.take()
    block = bytes(100_000)
    dialect.send(stream, block)
    assert any(part is block for part in dialect.take())
    come = message(data(stream, block))
    (event,) = dialect.receive(come)
    assert isinstance(event, Data)
    assert isinstance(event.octets, memoryview)
    assert event.octets.obj is come


def test_what_waits_for_a_node_is_one_message() -> None:
    dialect, node = SpdyWebsocket(), NodeEnd()
    stream = dialect.open(80)
    dialect.send(stream, b"hello")
    dialect.end(stream)
    (whole,) = dialect.take()
    ((code, octets),) = messages(bytes(whole))
    assert code == BINARY
    assert [(frame.stream, frame.fin) for frame in node.read(octets)] == [
        (1, False), (1, True), (3, False), (3, False), (3, True),
    ]  # fmt: skip


def test_ends_that_come_together_are_asked_after_by_one_ping() -> None:
    dialect = SpdyWebsocket()
    streams = [dialect.open(80) for _ in range(3)]
    dialect.take()
    assert dialect.receive(b"".join(message(data(stream, b"", fin=True)) for stream in streams)) == []
    assert sent(dialect) == [(BINARY, control(6, b"\0\0\0\1"))]
    assert dialect.receive(message(control(6, b"\0\0\0\1"))) == [Pong(), *map(End, streams)]


def test_a_ping_asks_the_server_and_the_node() -> None:
    dialect = SpdyWebsocket()
    dialect.ping()
    assert sent(dialect) == [(PING, b""), (BINARY, control(6, b"\0\0\0\1"))]
    assert dialect.receive(message(control(6, b"\0\0\0\1"))) == [Pong()]
    assert dialect.receive(message(b"", code=PONG)) == [Pong()]


def test_whichever_of_the_two_protocols_is_broken_it_is_closed_once() -> None:
    for come in (message(b"", code=CLOSE), message(control(7, bytes(8))), message(b"\xff" * 8) + message(b"", code=8)):
        dialect = SpdyWebsocket()
        dialect.open(80)
        assert [type(event) for event in (*dialect.receive(come), *dialect.receive(come))] == [Closed]
        with pytest.raises(ConnectionError):
            dialect.open(80)


BODIES = st.binary(max_size=300)
MESSAGES = st.one_of(
    BODIES.map(lambda octets: [message(octets)]),
    st.lists(BODIES, min_size=2, max_size=4).map(
        lambda parts: [
            message(each, code=0 if at else 2, first=0x80 if at == len(parts) - 1 else 0)
            for at, each in enumerate(parts)
        ]
    ),
    st.binary(max_size=125).map(lambda octets: [message(octets, code=PING)]),
    st.binary(max_size=125).map(lambda octets: [message(octets, code=PONG)]),
)


@given(st.lists(MESSAGES, max_size=6), st.integers(1, 50))
def test_how_it_is_cut_changes_nothing(come: list[list[bytes]], step: int) -> None:
    octets = b"".join(frame for each in come for frame in each)
    whole, cut = Websocket(), Websocket()
    pieces = [octets[at : at + step] for at in range(0, len(octets), step)]
    assert read(cut, *pieces) == read(whole, *([octets] if octets else []))
    assert sent(cut) == sent(whole)


@given(st.lists(st.lists(st.binary(max_size=200), max_size=3), max_size=5), st.binary(min_size=4, max_size=4))
def test_what_is_sent_is_what_the_server_reads(parts: list[list[bytes]], key: bytes) -> None:
    websocket = Websocket(mask=lambda: key)
    for each in parts:
        websocket.message(each)
    assert sent(websocket) == [(BINARY, b"".join(each)) for each in parts]


@given(st.binary(max_size=300))
def test_no_octets_make_it_fail(come: bytes) -> None:
    dialect = SpdyWebsocket()
    dialect.open(80)
    events: Sequence[Event] = [*dialect.receive(come), *dialect.receive(come)]
    assert sum(isinstance(each, Closed) for each in events) <= 1
