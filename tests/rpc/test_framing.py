"""Varlink's frames: whole, in pieces, glued together, and from a peer that means harm."""

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.errors import ProtocolError
from devlink.rpc.framing import MAX_FRAME, FrameReader, pack

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
messages = st.dictionaries(st.text(), json_values, max_size=4)


def read(pieces: Iterable[bytes], reader: FrameReader | None = None) -> list[dict[str, Any]]:
    reader = reader or FrameReader()
    return [message for piece in pieces for message in reader.feed(piece)]


@given(sent=st.lists(messages, max_size=4))
def test_messages_fed_whole_come_out_as_they_were_sent(sent: list[dict[str, Any]]) -> None:
    assert read([b"".join(pack(message) for message in sent)]) == sent


@given(sent=st.lists(messages, max_size=4))
def test_messages_fed_byte_by_byte_come_out_as_they_were_sent(sent: list[dict[str, Any]]) -> None:
    assert read(bytes([octet]) for message in sent for octet in pack(message)) == sent


@given(sent=st.lists(messages, min_size=1, max_size=4), cuts=st.lists(st.integers(min_value=0), max_size=5))
def test_messages_cut_anywhere_come_out_as_they_were_sent(sent: list[dict[str, Any]], cuts: list[int]) -> None:
    stream = b"".join(pack(message) for message in sent)
    places = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
    assert read(stream[a:b] for a, b in itertools.pairwise(places)) == sent


@given(message=messages, trailing=messages)
def test_trailing_data_waits_for_its_own_end(message: dict[str, Any], trailing: dict[str, Any]) -> None:
    reader, start = FrameReader(), pack(trailing)
    assert reader.feed(pack(message) + start[:-1]) == [message]
    assert reader.feed(start[-1:]) == [trailing]


@given(message=messages)
def test_a_frame_holds_one_nul_and_that_is_its_end(message: dict[str, Any]) -> None:
    assert pack(message).index(0) == len(pack(message)) - 1


def test_half_a_surrogate_pair_from_a_peer_can_be_sent_back() -> None:
    # JSON can spell it and UTF-8 cannot, so an error that quotes its caller would otherwise end the server.
    (message,) = FrameReader().feed(b'{"method":"\\ud800"}\0')
    assert FrameReader().feed(pack(message)) == [message]


def test_no_data_is_no_message() -> None:
    assert FrameReader().feed(b"") == []


def test_a_frame_of_100_mb_is_refused_before_it_has_come() -> None:
    reader, piece = FrameReader(), b"x" * (64 << 10)
    taken = itertools.count()

    def stream() -> Iterable[bytes]:
        while next(taken) * len(piece) < 100_000_000:
            yield piece

    with pytest.raises(ProtocolError, match="larger than 8 MiB"):
        read(stream(), reader)
    assert next(taken) * len(piece) <= MAX_FRAME + 2 * len(piece)


def _message_of(octets: int) -> bytes:
    """A message whose frame has that many octets, its NUL not counted."""
    return b'{"x":"' + b"y" * (octets - 8) + b'"}\0'


def test_a_frame_of_exactly_the_limit_is_read() -> None:
    (message,) = FrameReader(limit=100).feed(_message_of(100))
    assert len(message["x"]) == 92


@pytest.mark.parametrize("pieces", [[_message_of(101)], [_message_of(101)[:50], _message_of(101)[50:]]])
def test_a_frame_past_the_limit_is_refused_even_if_its_end_has_come(pieces: list[bytes]) -> None:
    with pytest.raises(ProtocolError, match="larger"):
        read(pieces, FrameReader(limit=100))


def test_many_small_frames_may_come_at_once_though_together_they_pass_the_limit() -> None:
    assert len(FrameReader(limit=100).feed(_message_of(90) * 50)) == 50


@pytest.mark.parametrize("flood", [b"\0", b"\0" * 100_000])
def test_nuls_without_a_message_are_refused(flood: bytes) -> None:
    with pytest.raises(ProtocolError, match="not JSON"):
        FrameReader().feed(flood)


@pytest.mark.parametrize("frame", [b"[]", b"1", b"null", b'"text"', b"true", b'[{"method":"x"}]'])
def test_json_that_is_no_object_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a JSON object"):
        FrameReader().feed(frame + b"\0")


@pytest.mark.parametrize(
    "frame",
    [
        b" ",
        b"{",
        b"{}{}",
        b"GET / HTTP/1.1\r\n\r\n",
        b'{"method":"\xff"}',  # not UTF-8
        b'{"number":' + b"1" * 5_000 + b"}",  # CPython refuses to read an integer of so many digits
    ],
)
def test_what_is_not_json_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError, match="not JSON"):
        FrameReader().feed(frame + b"\0")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_refused_and_does_not_end_the_process(opening: bytes) -> None:
    with pytest.raises(ProtocolError, match="not JSON"):
        FrameReader().feed(opening * 1_000_000 + b"\0")


@given(noise=st.binary(max_size=200))
def test_noise_is_a_message_or_a_protocol_error_and_nothing_else(noise: bytes) -> None:
    try:
        read_messages = FrameReader().feed(noise)
    except ProtocolError:
        return
    assert len(read_messages) == noise.count(0)
