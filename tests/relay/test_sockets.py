"""What the kernel says of connections on loopback."""

import ipaddress
import socket
from collections.abc import Iterator

import pytest

from devlink.relay.sockets import Peers, endpoint, original_destination


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A program's end, and ours."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as listener:
        theirs = socket.create_connection(listener.getsockname()[:2])
        ours, _ = listener.accept()
    with theirs, ours:
        yield theirs, ours


def test_a_connection_that_was_not_redirected_has_no_other_destination(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    assert original_destination(pair[1]) is None


def test_who_sends_no_more_still_has_his_connection_and_who_closes_has_not(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    theirs, ours = pair
    peer, here = endpoint(ours.getpeername()), endpoint(ours.getsockname())
    peers = Peers()
    assert not peers.is_orphan(peer, here)
    theirs.shutdown(socket.SHUT_WR)
    assert ours.recv(1) == b""
    assert not peers.is_orphan(peer, here)
    theirs.close()
    assert peers.is_orphan(peer, here)
    peers.close()


def test_a_connection_that_nobody_here_has_is_not_taken_for_closed(pair: tuple[socket.socket, socket.socket]) -> None:
    peers = Peers()
    assert not peers.is_orphan((endpoint(pair[1].getpeername())[0], 1), endpoint(pair[1].getsockname()))
    peers.close()


def test_an_address_of_one_link_is_that_address() -> None:
    assert endpoint(("fe80::1%docker0", 80)) == (ipaddress.ip_address("fe80::1"), 80)
