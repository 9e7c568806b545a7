"""Our end of SPDY: whole, octet by octet, and against a node that breaks the rules."""

import itertools
import struct
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.relay.dialect import Closed, Data, End, Event, Failed, Pong
from devlink.relay.spdy import DICTIONARY, MAX_CONTROL, MAX_FRAME, Spdy
from tests.relay.node_end import NodeEnd, control, data

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 6, 7, 8, 9


def taken(spdy: Spdy) -> bytes:
    return b"".join(spdy.take())


def plain(events: Sequence[Event]) -> list[Event]:
    """With the octets of neighbouring pieces put together: how they are cut means nothing."""
    found: list[Event] = []
    for event in events:
        if not isinstance(event, Data):
            found.append(event)
        elif found and isinstance(found[-1], Data) and found[-1].stream == event.stream:
            found[-1] = Data(event.stream, bytes(found[-1].octets) + bytes(event.octets))
        else:
            found.append(Data(event.stream, bytes(event.octets)))
    return found


def in_pieces(spdy: Spdy, octets: bytes, cuts: Sequence[int]) -> list[Event]:
    found: list[Event] = []
    edges = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    for begin, end in itertools.pairwise(edges):
        if begin < end:
            found += plain(spdy.receive(octets[begin:end]))
    return plain(found)


@pytest.fixture
def spdy() -> Spdy:
    """With stream 3 to port 80."""
    made = Spdy()
    assert made.open(80) == 3
    made.take()
    return made


def test_the_dictionary_is_the_drafts() -> None:
    # The Adler-32 of a dictionary is its name in zlib's header (RFC 1950): this one is known to every SPDY/3 program.
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


def test_a_connection_is_a_pair_of_streams_and_the_error_stream_is_ended_at_once() -> None:
    spdy, node = Spdy(), NodeEnd()
    numbers = [spdy.open(80), spdy.open(65535)]
    frames = node.read(taken(spdy))
    assert numbers == [3, 7]
    assert [(frame.kind, frame.stream, frame.fin, frame.headers) for frame in frames] == [
        (SYN_STREAM, 1, False, {"streamtype": "error", "port": "80", "requestid": "0"}),
        (0, 1, True, {}),
        (SYN_STREAM, 3, False, {"streamtype": "data", "port": "80", "requestid": "0"}),
        (SYN_STREAM, 5, False, {"streamtype": "error", "port": "65535", "requestid": "1"}),
        (0, 5, True, {}),
        (SYN_STREAM, 7, False, {"streamtype": "data", "port": "65535", "requestid": "1"}),
    ]


def test_a_ping_of_ours_is_known_by_its_octets(spdy: Spdy) -> None:
    spdy.ping()
    assert taken(spdy).hex() == "800300060000000400000001"
    assert spdy.receive(control(PING, b"\0\0\0\1")) == [Pong()]


def test_octets_go_out_without_a_copy_and_in_frames_that_their_length_can_name(spdy: Spdy) -> None:
    block = bytes(MAX_FRAME + 5)
    spdy.send(3, b"short")
    spdy.send(3, block)
    first, big, second = spdy.take()
    assert isinstance(big, memoryview)
    assert big.obj is block
    assert (bytes(first), len(big)) == (data(3, b"short") + struct.pack(">II", 3, MAX_FRAME), MAX_FRAME)
    assert bytes(second) == data(3, bytes(5))


def test_what_is_small_goes_out_in_one_part_whatever_it_is_made_of() -> None:
    spdy = Spdy()
    for _ in range(50):
        spdy.send(spdy.open(80), b"hello")
    spdy.ping()
    assert len(spdy.take()) == 1


def test_what_is_taken_is_asked_for_once(spdy: Spdy) -> None:
    spdy.send(3, b"x")
    assert taken(spdy)
    assert spdy.take() == []


def test_nothing_is_sent_after_our_end_nor_for_a_stream_that_is_over(spdy: Spdy) -> None:
    spdy.end(3)
    spdy.end(3)
    assert taken(spdy) == data(3, fin=True)
    spdy.send(3, b"late")
    spdy.send(9, b"never opened")
    spdy.reset(3)
    assert [frame.kind for frame in NodeEnd().read(taken(spdy))] == [RST_STREAM]
    spdy.reset(3)
    spdy.end(3)
    assert spdy.take() == []


def test_what_comes_is_handed_on_before_its_frame_is_whole(spdy: Spdy) -> None:
    frame = data(3, b"0123456789")
    assert plain(spdy.receive(frame[:12])) == [Data(3, b"0123")]
    assert plain(spdy.receive(frame[12:])) == [Data(3, b"456789")]


def test_octets_that_come_are_not_copied(spdy: Spdy) -> None:
    come = data(3, bytes(1000))
    (event,) = spdy.receive(come)
    assert isinstance(event, Data)
    assert isinstance(event.octets, memoryview)
    assert event.octets.obj is come


def test_an_answer_that_ends_well_is_an_end(spdy: Spdy) -> None:
    node = NodeEnd()
    come = node.reply(1) + node.reply(3) + data(3, b"yes") + data(3, fin=True) + data(1, fin=True)
    assert plain(spdy.receive(come)) == [Data(3, b"yes"), End(3)]
    spdy.send(3, b"half-close: we may go on")
    assert spdy.take()


def test_what_the_node_says_on_the_error_stream_is_why_it_failed_and_no_end_comes_before(spdy: Spdy) -> None:
    # As the kubelet does it: data is closed first, then the reason is written.
    come = data(3, fin=True) + data(1, b"connect: \x1b[1mconnection\nrefused") + data(1, fin=True)
    assert spdy.receive(come) == [Failed(3, "connect: [1mconnection refused")]
    assert [frame.kind for frame in NodeEnd().read(taken(spdy))] == [RST_STREAM], "the node need not wait for ours"
    assert spdy.receive(data(3, b"late")) == []


def test_an_end_whose_error_stream_stays_open_is_told_once_the_node_has_answered_a_ping(spdy: Spdy) -> None:
    assert spdy.receive(data(3, b"all", fin=True)) == [Data(3, memoryview(b"all"))]
    asked = taken(spdy)
    assert [frame.kind for frame in NodeEnd().read(asked)] == [PING]
    assert spdy.receive(asked) == [Pong(), End(3)]
    assert spdy.receive(data(1, fin=True)) == [], "and not told twice"


def test_a_failure_that_comes_while_we_ask_takes_the_ends_place(spdy: Spdy) -> None:
    spdy.receive(data(3, fin=True))
    asked = taken(spdy)
    assert spdy.receive(data(1, b"reset by peer", fin=True)) == [Failed(3, "reset by peer")]
    assert spdy.receive(asked) == [Pong()]


@pytest.mark.parametrize("number", [1, 3])
def test_a_reset_of_either_stream_is_a_failure_of_the_connection(spdy: Spdy, number: int) -> None:
    (event,) = spdy.receive(control(RST_STREAM, struct.pack(">II", number, 5)))
    assert isinstance(event, Failed)
    assert event.stream == 3
    assert "status 5" in event.why
    spdy.send(3, b"x")
    assert spdy.take() == []


def test_a_stream_that_we_gave_up_says_nothing_any_more(spdy: Spdy) -> None:
    other = spdy.open(81)
    spdy.reset(3)
    come = data(3, b"x") + data(1, b"why", fin=True) + data(3, fin=True) + data(other, b"y")
    assert plain(spdy.receive(come)) == [Data(other, b"y")]


def test_a_pod_that_ended_says_no_more(spdy: Spdy) -> None:
    assert plain(spdy.receive(data(1, fin=True) + data(3, fin=True) + data(3, b"x", fin=True))) == [End(3)]


def test_the_nodes_ping_is_sent_back(spdy: Spdy) -> None:
    asked = control(PING, b"\0\0\0\2")
    assert spdy.receive(asked) == []
    assert taken(spdy) == asked


def test_each_header_that_comes_goes_through_the_one_compressor(spdy: Spdy) -> None:
    node = NodeEnd()
    assert spdy.receive(node.reply(1, more=b"abc" * 99) + node.reply(3, more=b"abc" * 99)) == []
    assert spdy.receive(node.opened(2, more=b"abc" * 99)) == []
    assert [frame.kind for frame in NodeEnd().read(taken(spdy))] == [RST_STREAM], "a node opens nothing"
    assert spdy.receive(node.reply(3, more=b"abc" * 99, fin=True) + data(1, fin=True)) == [End(3)]


def test_frames_that_mean_nothing_here_are_passed_over(spdy: Spdy) -> None:
    come = control(4, bytes(12)) + control(WINDOW_UPDATE, bytes(8)) + control(77, b"") + data(3, b"x")
    assert plain(spdy.receive(come)) == [Data(3, b"x")]


@pytest.mark.parametrize(
    "come",
    [
        control(PING, b"\0\0\0\1", version=2),
        control(PING, b"\0"),
        control(RST_STREAM, b"\0\0\0\3"),
        control(SYN_REPLY, b"\0\0\0\3" + b"no deflate"),
        control(HEADERS, struct.pack(">I", 3) + zlib.compress(bytes(MAX_CONTROL * 2))),
        control(HEADERS, struct.pack(">I", 3) + zlib.compress(b"without the dictionary") * 2),
        struct.pack(">HHI", 0x8003, SYN_REPLY, MAX_CONTROL + 1),
        struct.pack(">HHI", 0x8003, 99, MAX_FRAME),
        control(GOAWAY, bytes(8)),
        b"\xff" * 16,
    ],
)
def test_what_breaks_the_protocol_closes_it_once(spdy: Spdy, come: bytes) -> None:
    *_, last = spdy.receive(come)
    assert isinstance(last, Closed)
    assert last.why
    assert spdy.receive(data(3, b"x")) == ()
    with pytest.raises(ConnectionError):
        spdy.open(80)
    spdy.send(3, b"x")
    assert not taken(spdy)


def test_a_frame_of_nothing_but_its_head_is_passed_over_also_where_that_comes_in_parts(spdy: Spdy) -> None:
    come = control(77, b"") + data(3, b"x")
    assert in_pieces(spdy, come, range(len(come))) == [Data(3, b"x")]


def test_headers_that_inflate_without_bounds_are_not_inflated_to_their_end(spdy: Spdy) -> None:
    node = NodeEnd()
    (event,) = spdy.receive(node.reply(3, more=bytes(MAX_CONTROL * 100)))
    assert isinstance(event, Closed)


def test_a_node_that_talks_without_end_on_the_error_stream_is_kept_in_part(spdy: Spdy) -> None:
    for _ in range(100):
        spdy.receive(data(1, b"a" * 1000))
    (event,) = spdy.receive(data(1, fin=True))
    assert isinstance(event, Failed)
    assert len(event.why) == 4096


def test_the_connections_end_closes_it(spdy: Spdy) -> None:
    assert [type(event) for event in spdy.receive(b"")] == [Closed]
    assert spdy.receive(b"") == ()


def test_thousands_of_connections_leave_nothing_behind() -> None:
    spdy, node = Spdy(), NodeEnd()
    for _ in range(2000):
        number = spdy.open(80)
        spdy.end(number)
        node.read(taken(spdy))
        assert spdy.receive(node.reply(number) + data(number, fin=True) + data(number - 2, fin=True)) == [End(number)]
    assert not spdy._streams


FRAMES = st.one_of(
    st.builds(data, st.sampled_from([1, 3, 5, 7, 9]), st.binary(max_size=40), fin=st.booleans()),
    st.builds(control, st.sampled_from([4, 6, 9, 50]), st.binary(min_size=4, max_size=20)),
    st.sampled_from([control(RST_STREAM, struct.pack(">II", each, 1)) for each in (1, 3, 7)]),
    st.just("reply"),
)


@given(st.lists(FRAMES, min_size=1, max_size=12), st.lists(st.integers(0, 10_000), max_size=30))
def test_how_it_is_cut_changes_nothing(frames: list[bytes | str], cuts: list[int]) -> None:
    node = NodeEnd()
    come = b"".join(each if isinstance(each, bytes) else node.reply(3, more=b"word" * 9) for each in frames)
    whole, cut, bytewise = Spdy(), Spdy(), Spdy()
    for each in (whole, cut, bytewise):
        each.open(80)
        each.open(81)
    expected = kept(plain(whole.receive(come)))
    assert kept(in_pieces(cut, come, cuts)) == expected
    assert kept(in_pieces(bytewise, come, range(len(come)))) == expected


def kept(events: Sequence[Event]) -> dict[object, list[Event]]:
    """By stream, without what a ping settles: that one is asked at another moment."""
    found: dict[object, list[Event]] = {}
    for event in events:
        if not isinstance(event, Pong | End):
            found.setdefault(getattr(event, "stream", None), []).append(event)
    return {key: plain(of_one) for key, of_one in found.items()}


@given(st.binary(max_size=400), st.booleans())
def test_no_octets_make_it_fail(come: bytes, is_control: bool) -> None:
    spdy = Spdy()
    spdy.open(80)
    spdy.receive((b"\x80\x03\0" if is_control else b"") + come)
    spdy.receive(come)


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 65535))
def test_what_is_sent_is_what_the_node_reads(parts: list[bytes], port: int) -> None:
    spdy, node = Spdy(), NodeEnd()
    number = spdy.open(port)
    for part in parts:
        spdy.send(number, part)
    spdy.end(number)
    frames = [frame for frame in node.read(taken(spdy)) if frame.stream == number]
    assert frames[0].headers["port"] == str(port)
    assert b"".join(frame.body for frame in frames[1:]) == b"".join(parts)
    assert [frame.fin for frame in frames[1:]][-1:] == [True]
