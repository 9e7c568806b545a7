"""The loop: whose events are whose, and a clock that a sleeping laptop does not stop."""

import os
import socket
import subprocess
import sys
import time

import pytest

from devlink.dns.loop import READ, Handler, Loop


def test_a_socket_made_in_this_round_gets_nothing_of_the_closed_one_whose_number_it_has() -> None:
    loop = Loop(time.monotonic)
    pairs = [socket.socketpair() for _ in range(2)]
    near, far = socket.socketpair()
    made: list[socket.socket] = []
    called: list[int] = []

    def replace(other: socket.socket) -> Handler:
        def handler(_mask: int) -> None:
            if made:
                return
            number = other.fileno()
            loop.close(other)
            made.append(socket.socket(fileno=os.dup2(near.fileno(), number)))
            loop.watch(made[0], READ, called.append)

        return handler

    (one, to_one), (two, to_two) = pairs
    loop.watch(one, READ, replace(two))
    loop.watch(two, READ, replace(one))
    to_one.send(b"?")
    to_two.send(b"?")
    loop.turn(loop.clock() + 1)
    assert made
    assert not called, "that event was of the socket which had this number before"
    far.send(b"?")
    loop.turn(loop.clock() + 1)
    assert called
    loop.end()
    for sock in (one, two, to_one, to_two, near, far, *made):
        sock.close()


@pytest.mark.lab
def test_the_time_that_a_laptop_sleeps_passes_for_the_forwarder_too() -> None:
    """A time namespace is ahead by what a night's sleep is: CLOCK_BOOTTIME alone counts that."""
    night = 8 * 3600
    told = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--time", "--boottime", str(night), "--", sys.executable, "-c",
         "import inspect, time; from devlink.dns.server import Forwarder; "
         "print(inspect.signature(Forwarder).parameters['clock'].default() - time.monotonic())"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert float(told) >= night - 1
