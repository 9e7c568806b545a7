"""An address of a session that is relayed: who is behind it, by the relay's word, and whether data come back."""

import asyncio
from ipaddress import ip_address
from typing import Any

import pytest

from devlink.core.diagnosis import Outcome
from devlink.core.judging import Reached
from devlink.core.prefixes import IPAddress
from devlink.core.relay import Pod, RelayChain
from devlink.doctor.case import Case, Subject
from devlink.doctor.explain import relaying
from devlink.doctor.explain.chain import Link, outcome
from devlink.doctor.explain.reaching import COMMON
from devlink.doctor.explain.relaying import RESET, follow_relayed
from devlink.errors import NotUpError
from tests.core.plans import PROFILE
from tests.doctor.subjects import PLAN, session

ADDRESS = ip_address("10.254.0.9")
POD = Pod(namespace="default", name="web-1", port=8080, node="node-a", address=ip_address("10.20.0.7"))
WEB = RelayChain(service="default/web", service_port="http (80)", endpoint="web-x7k2p", pod=POD, ready=2)
RELAY = {"server": "https://172.16.0.20:6443", "form": "spdy-websocket"}


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """How a connection goes; whom it was made to."""
    told: dict[str, Any] = {"reached": Reached(port=80, outcome=Outcome.ANSWERED, detail="HEAD / is answered: 200")}

    async def reach(*asked: Any) -> Reached:
        told["asked"] = asked
        return told["reached"]  # type: ignore[no-any-return]

    monkeypatch.setattr(relaying, "reach", reach)
    return told


def followed(chain: RelayChain | Exception, port: int | None = 80, protocol: str = "http") -> dict[str, Link]:
    async def resolve(of: str, address: IPAddress, asked: int) -> RelayChain:
        assert (of, address) == (PROFILE.metadata.name, ADDRESS)
        assert asked in ((port,) if port is not None else COMMON)
        if isinstance(chain, Exception):
            raise chain
        return chain

    subject = Subject(profile=PROFILE, plan=PLAN, session=session(relay=RELAY))
    case = Case(subjects=(subject,), resolve=resolve)
    links = asyncio.run(follow_relayed(ADDRESS, port, protocol, "web.default", PROFILE.metadata.name, case))
    return {link.name: link for link in links}


def test_each_link_from_the_service_to_the_node_is_named_with_the_api_server_that_it_goes_through(
    data: dict[str, Any],
) -> None:
    links = followed(WEB)
    assert list(links) == ["redirect", "service", "endpoint", "pod", "node", "relay", "data"]
    assert links["service"].text == "default/web, port http (80)"
    assert links["endpoint"].text == "web-x7k2p: 2 ready"
    assert links["pod"].text == "default/web-1 (10.20.0.7), port 8080"
    assert links["node"].text.startswith("node-a: the node's end dials 127.0.0.1:8080 in the pod")
    assert links["relay"].text == "through https://172.16.0.20:6443, SPDY in a websocket"
    assert {outcome(link) for link in links.values()} == {"ok"}


def test_a_port_that_is_refused_is_broken_at_the_relay_with_how_to_let_it_in(data: dict[str, Any]) -> None:
    host = Pod(namespace="kube-system", name="proxy", port=10249, node="node-a", host_network=True)
    links = followed(RelayChain(pod=host, refused="host-network", why="kube-system/proxy"), 10249, "")
    assert "the node's own loopback" in links["node"].text
    assert links["relay"].is_broken
    assert links["relay"].finding is not None
    assert "--relay-host-network" in links["relay"].finding.fix
    assert "asked" not in data, "nothing was sent"


def test_udp_is_refused_before_it_is_asked_who_is_there(data: dict[str, Any]) -> None:
    links = followed(WEB, 53, "udp")
    assert list(links) == ["redirect"]
    assert links["redirect"].finding is not None
    assert links["redirect"].finding.code == "DL-RELAY-UDP"
    assert "asked" not in data, "nothing was sent"


def test_without_a_port_a_refusal_of_the_common_ones_proves_nothing(data: dict[str, Any]) -> None:
    links = followed(RelayChain(refused="undeclared"), None, "")
    assert outcome(links["relay"]) == "skipped"
    assert "Name one" in links["relay"].text


@pytest.mark.parametrize(
    "reached",
    [Reached(port=80, outcome=Outcome.ANSWERED, detail=RESET), Reached(port=80, outcome=Outcome.REFUSED)],
)
def test_a_connection_that_is_reset_as_soon_as_it_is_there_has_met_no_server(
    data: dict[str, Any], reached: Reached
) -> None:
    data["reached"] = reached
    found = followed(WEB)["data"].finding
    assert found is not None
    assert found.code == "DL-RELAY-POD-IP"


def test_of_a_protocol_that_is_not_spoken_only_the_relay_is_known_to_have_answered(data: dict[str, Any]) -> None:
    data["reached"] = Reached(port=6379, outcome=Outcome.ANSWERED, detail="connects, and packets come back")
    assert outcome(followed(WEB, 6379, "")["data"]) == "skipped"


@pytest.mark.parametrize("error", [NotUpError("It is not up."), TimeoutError()])
def test_where_the_relay_does_not_say_nothing_is_claimed(data: dict[str, Any], error: Exception) -> None:
    links = followed(error)
    assert list(links) == ["redirect", "relay"]
    assert outcome(links["relay"]) == "skipped"


def test_the_api_servers_own_address_has_no_pod_behind_it(data: dict[str, Any]) -> None:
    links = followed(RelayChain(service="default/kubernetes", direct="172.16.0.20:6443"), 443, "https")
    assert links["direct"].text.startswith("172.16.0.20:6443: the API server itself")
    assert "pod" not in links
