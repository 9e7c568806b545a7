"""The path of what is relayed: the API server, and the node and pod behind which the cluster's DNS is."""

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from devlink.agent.looks import timing
from devlink.agent.looks.relayed import RelaySeen, host_and_port, see
from devlink.core import legs
from devlink.core.legs import Answer, LegState
from devlink.core.prefixes import IPAddress
from devlink.core.profile import DnsServer, Transport
from devlink.core.relay import REASONS, Pod, RelayChain
from devlink.errors import NotUpError

DNS = DnsServer(address=ip_address("10.254.0.2"))
CHAIN = RelayChain(service="kube-system/kube-dns", pod=Pod(namespace="kube-system", name="dns-1", port=53, node="a"))


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of something that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/k8s/clusters/c-1"


def seen(server: str, chain: RelayChain | Exception = CHAIN, dns: DnsServer | None = DNS) -> RelaySeen:
    async def resolve(address: IPAddress, port: int) -> RelayChain:
        assert (address, port) == (DNS.address, 53)
        if isinstance(chain, Exception):
            raise chain
        return chain

    async def ask(asked: DnsServer, _: bytes) -> float:
        assert asked.transport is Transport.TCP, "nothing else is relayed"
        return 0.02

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "ask_dns", ask)
        return asyncio.run(see(server, dns, b"", resolve))


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ("https://api.example", ("api.example", 443)), ("http://proxy:3128", ("proxy", 3128)),
        ("http://proxy", ("proxy", 80)), ("https://[fd00::1]:6443/k8s", ("fd00::1", 6443)), ("", ("", 443)),
        ("https://[half", ("", 0)),
    ],
)  # fmt: skip
def test_where_an_api_server_is_stands_in_its_url(server: str, place: tuple[str, int]) -> None:
    assert host_and_port(server) == place


def test_both_are_asked_and_the_api_server_is_timed_by_a_handshake(server: str) -> None:
    found = seen(server)
    assert found.server.rtt is not None
    assert found.at == ip_address("127.0.0.1")
    assert (found.chain, found.dns) == (CHAIN, Answer(rtt=0.02, is_there=True))


def test_an_api_server_that_takes_no_connection_is_silent_and_its_address_is_known() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        found = seen(f"https://127.0.0.1:{nobody.getsockname()[1]}")
    assert (found.server, found.at) == (Answer(is_there=False), ip_address("127.0.0.1"))


@pytest.mark.parametrize("error", [NotUpError("It is away."), TimeoutError()])
def test_where_the_relay_does_not_say_who_is_behind_it_nothing_is_asked(server: str, error: Exception) -> None:
    found = seen(server, error)
    assert (found.chain, found.dns) == (None, Answer())


def test_where_the_profile_has_no_dns_only_the_api_server_is_asked(server: str) -> None:
    assert seen(server, dns=None).chain is None


def test_a_refusal_is_told_without_a_question(server: str) -> None:
    refused = RelayChain(service="kube-system/kube-dns", refused="no-pods")
    assert seen(server, refused).dns == Answer()
    node, pod = legs.relayed(refused, Answer())
    assert (node.state, pod.state) == (LegState.UNKNOWN, LegState.DOWN)
    assert pod.about == "kube-system/kube-dns"
    assert "no pod" in pod.text


def test_the_node_is_well_where_its_pod_has_answered_and_not_known_where_it_has_not() -> None:
    node, pod = legs.relayed(CHAIN, Answer(rtt=0.02, is_there=True))
    assert (node.about, node.state) == ("a", LegState.OK)
    assert (pod.about, pod.state, pod.text) == ("kube-system/dns-1", LegState.OK, "its DNS answers")
    node, pod = legs.relayed(CHAIN, Answer(is_there=False))
    assert (node.state, pod.state) == (LegState.UNKNOWN, LegState.SILENT)


@pytest.mark.parametrize("reason", REASONS)
def test_no_leg_says_more_than_fits(reason: str) -> None:
    _, pod = legs.relayed(RelayChain(refused=reason), Answer())
    assert len(pod.text) <= legs.TEXT
