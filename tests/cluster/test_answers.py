"""What the lack of an answer means, in words for a person."""

import errno

import pytest

from devlink.cluster.access import Access
from devlink.cluster.answers import unreachable

ACCESS = Access(name="a", server="https://api.example:6443")


def test_a_connection_that_is_refused_is_told_in_the_systems_words() -> None:
    error = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('192.0.2.1', 6443)")
    assert unreachable(ACCESS, error, 10.0).why == "https://api.example:6443: Connection refused"


@pytest.mark.parametrize("said", ["407 Proxy Authentication Required", "The proxy refuses: 407"])
def test_a_proxy_that_wants_to_know_who_asks_is_told_by_its_url(said: str) -> None:
    assert "http://USER:PASSWORD@HOST:PORT" in unreachable(ACCESS, OSError(said), 10.0, proxy="http://p:1").next_step
    assert "PASSWORD" not in unreachable(ACCESS, OSError(said), 10.0).next_step
