"""Netlink's framing, by itself and beside pyroute2's decoder."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.kernel.netlink import (
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    NetlinkSocket,
    Request,
    attribute,
    pack_message,
    parse_attributes,
    parse_error,
    parse_messages,
)

ATTRIBUTES = st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=40), max_size=8)
ECHOED_HEADER = struct.pack("=IHHII", 36, 24, 5, 7, 0)


@given(ATTRIBUTES)
def test_attributes_come_back_as_they_were_packed(attributes: dict[int, bytes]) -> None:
    packed = b"".join(attribute(kind, value) for kind, value in attributes.items())
    assert len(packed) % 4 == 0
    assert parse_attributes(packed) == attributes


@given(st.binary(max_size=200))
def test_any_octets_are_parsed_without_an_exception(data: bytes) -> None:
    parse_attributes(data)
    list(parse_messages(data))


@given(st.lists(st.tuples(st.integers(16, 200), st.integers(0, 0xFFFF), st.binary(max_size=50)), max_size=5))
def test_messages_in_one_datagram_are_told_apart(requests: list[tuple[int, int, bytes]]) -> None:
    data = b"".join(pack_message(Request(*r), number, 99) for number, r in enumerate(requests))
    parsed = list(parse_messages(data))
    assert [(m.type, m.flags, m.sequence, m.port) for m in parsed] == [
        (kind, flags, number, 99) for number, (kind, flags, _) in enumerate(requests)
    ]
    assert [m.body.rstrip(b"\0") for m in parsed] == [body.rstrip(b"\0") for _, _, body in requests]


def error_message(code: int, flags: int, rest: bytes, kind: int = NLMSG_ERROR) -> Message:
    return Message(kind, flags, 7, 1, struct.pack("=i", -code) + rest)


def test_the_kernels_words_are_read_behind_a_capped_request() -> None:
    words = attribute(1, b"Nexthop has invalid gateway\0")
    refusal = parse_error(error_message(101, NLM_F_CAPPED | NLM_F_ACK_TLVS, ECHOED_HEADER + words))
    assert refusal == (101, "Nexthop has invalid gateway")


def test_the_kernels_words_are_read_behind_an_echoed_request() -> None:
    words = attribute(1, b"Nexthop has invalid gateway\0")
    refusal = parse_error(error_message(101, NLM_F_ACK_TLVS, ECHOED_HEADER + bytes(20) + words))
    assert refusal == (101, "Nexthop has invalid gateway")


def test_a_dump_that_ends_in_an_error_says_so() -> None:
    words = attribute(1, b"Invalid header for dump\0")
    refusal = parse_error(error_message(22, NLM_F_ACK_TLVS, words, NLMSG_DONE))
    assert refusal == (22, "Invalid header for dump")


def test_without_words_of_the_kernel_the_error_number_speaks() -> None:
    assert parse_error(error_message(errno.EPERM, NLM_F_CAPPED, ECHOED_HEADER)).text == "Operation not permitted"
    assert parse_error(error_message(0, NLM_F_CAPPED, ECHOED_HEADER)) == (0, "")


def test_a_malformed_request_raises_the_kernels_error_and_the_socket_stays_usable() -> None:
    with NetlinkSocket() as netlink:
        with pytest.raises(OSError, match="No such device"):
            netlink.get(18, struct.pack("=BxHiII", 0, 0, 1 << 30, 0, 0))
        with pytest.raises(OSError, match="header"):
            netlink.dump(18, struct.pack("=BxHiII", 0, 0, 0, 1, 0), 16)  # flags, which strict checking refuses
        assert netlink.dump(18, struct.pack("=BxHiII", 0, 0, 0, 0, 0), 16)
