"""The forwarder's own sockets."""

import pytest

from devlink.dns.rules import Server
from devlink.dns.sockets import TcpExchange, UdpExchange
from tests.dns.messages import question


@pytest.mark.parametrize("kind", [UdpExchange, TcpExchange])
def test_a_link_local_server_whose_link_is_gone_is_an_error_and_no_look_up(
    kind: type[UdpExchange] | type[TcpExchange],
) -> None:
    """A look-up would fail too, but with another text, and after asking ourselves."""
    with pytest.raises(OSError, match="no interface with this name"):
        kind(Server("fe80::1%gone0", 53), question("www.example"))


def test_the_link_of_a_link_local_server_may_be_a_number() -> None:
    with pytest.raises(OSError, match=r"No such device|unreachable|Cannot assign|Invalid argument") as raised:
        UdpExchange(Server("fe80::1%99999", 53), question("www.example"))
    assert raised.value.errno is not None
