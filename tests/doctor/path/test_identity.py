"""Whether the cluster behind the routes is the profile's, told by its certificate; over loopback."""

import asyncio
import dataclasses
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path as FilePath

import pytest

from devlink.core.findings import Finding, Severity
from devlink.core.network import ObservedNetwork, Path
from devlink.core.plan import make_plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, Gateway, Identity
from devlink.core.profile_document import decode_profile
from devlink.doctor.path import identity as module
from devlink.doctor.path.identity import NAME, Connect, Proof, prove
from devlink.errors import HelperError, IdentityError
from tests.certificates import Authority, Issued
from tests.core.profiles import SAMPLE

CLUSTER = Authority()
GATEWAY = "02:00:00:00:00:0d"


def profile(ca: str | None = CLUSTER.pem) -> BridgeProfile:
    sample = decode_profile(SAMPLE)
    spec = dataclasses.replace(sample.spec, identity=Identity(ca=ca) if ca else None)
    return dataclasses.replace(sample, spec=spec)


@pytest.fixture(autouse=True)
def laptop(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to the ClusterIP goes by one gateway."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def observe(addresses: tuple[IPAddress, ...]) -> ObservedNetwork:
        assert addresses == (ipaddress.ip_address("10.254.0.1"),)
        return ObservedNetwork(
            paths={a: Path(oif="eth0", next_hop=ipaddress.ip_address("172.16.0.13")) for a in addresses}
        )

    monkeypatch.setattr(module, "observe", observe)
    monkeypatch.setattr(module, "link_address_toward", lambda *_: GATEWAY)
    monkeypatch.setattr(module, "_new_socket", lambda _: Redirected(lambda: module.PORT))


class Redirected(socket.socket):
    """A socket that connects to a port of loopback, whomever it is told."""

    def __init__(self, port: Callable[[], int]) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self._port = port

    def connect(self, _: object) -> None:
        super().connect(("127.0.0.1", self._port()))


@asynccontextmanager
async def serving(issued: Issued | None, folder: FilePath) -> AsyncIterator[int]:
    """The port of an API server with that certificate; None: of something that greets in plain text."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"220 mail.example.com ESMTP\r\n")
            await reader.read(1)
        except OSError:
            pass
        finally:
            writer.close()

    context = None
    if issued is not None:
        (folder / "server.pem").write_text(issued.certificate + issued.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def answering(issued: Issued | None, folder: FilePath, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """It answers by the way that packets go."""
    async with serving(issued, folder) as port:
        monkeypatch.setattr(module, "PORT", port)
        yield


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await body()

    asyncio.run(main())


async def check(wanted: BridgeProfile | None = None) -> tuple[Finding, ...]:
    wanted = wanted or profile()
    return (await prove(wanted, make_plan(wanted, ObservedNetwork()))).findings


USED, OTHER, THIRD, NODE = (ipaddress.ip_address(f"172.16.0.{number}") for number in (13, 16, 17, 19))


def with_gateways() -> BridgeProfile:
    """The first three of them are gateways."""
    wanted = profile()
    gateways = tuple(Gateway(address=address) for address in (USED, OTHER, THIRD))
    return dataclasses.replace(wanted, spec=dataclasses.replace(wanted.spec, gateways=gateways))


def leading(ports: Mapping[IPAddress, int | None]) -> Connect:
    """The port that each gateway leads to; None: the helper gives no socket for it."""

    async def connect(gateway: IPAddress, address: IPAddress) -> socket.socket:
        assert str(address) == "10.254.0.1"
        port = ports[gateway]
        if port is None:
            raise HelperError("No.")
        return Redirected(lambda: port)

    return connect


async def prove_by(ports: Mapping[IPAddress, int | None]) -> Proof:
    """With gateways beside the one in use."""
    wanted = with_gateways()
    on_link = ObservedNetwork(paths={USED: Path(oif="eth0")})
    plan = make_plan(wanted, on_link)
    assert plan.desired.routes
    return await prove(wanted, plan, gateways=(USED, *ports), connect=leading(ports))


def test_the_clusters_own_certificate_needs_no_word(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        async with answering(CLUSTER.issue(NAME), tmp_path, monkeypatch):
            assert await check() == ()

    run(body)


@pytest.mark.parametrize(
    ("issued", "said"),
    [
        (Authority.another().issue(NAME), "certificate verify failed|unable to get|self-signed|signature"),
        (CLUSTER.issue("kubelet.example.com"), "Hostname mismatch"),
        (CLUSTER.issue(NAME, expired=True), "expired"),
        (None, "no TLS"),
    ],
    ids=["another cluster's", "another name's", "expired", "plain text"],
)
def test_anything_else_that_answers_is_another_cluster(
    issued: Issued | None, said: str, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        async with answering(issued, tmp_path, monkeypatch):
            with pytest.raises(IdentityError, match="not the cluster of profile qa") as caught:
                await check()
            assert re.search(said, caught.value.why), caught.value.why

    run(body)


def test_silence_is_told_unless_the_cluster_was_seen_through_this_gateway_before(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        async with answering(CLUSTER.issue(NAME), tmp_path, monkeypatch):
            pass  # its port, which nobody has now
        (silent,) = await check()
        assert silent.code == "DL-UNAUTHENTICATED"
        async with answering(CLUSTER.issue(NAME), tmp_path, monkeypatch):
            assert await check() == ()
        assert await check() == (), "the gateway speaks for it"
        (another,) = await check(profile(Authority.another().pem))
        assert another.code == "DL-UNAUTHENTICATED", "for this cluster only"
        monkeypatch.setattr(module, "link_address_toward", lambda *_: "02:00:00:00:00:66")
        (elsewhere,) = await check()
        assert elsewhere.code == "DL-UNAUTHENTICATED", "and for this gateway only"
        monkeypatch.setattr(module, "link_address_toward", lambda *_: "")
        (unknown,) = await check()
        assert unknown.code == "DL-UNAUTHENTICATED"

    run(body)


def test_who_only_looks_leaves_nothing_behind(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        async with answering(CLUSTER.issue(NAME), tmp_path, monkeypatch):
            wanted = profile()
            plan = make_plan(wanted, ObservedNetwork(), with_routes=False)
            assert (await prove(wanted, plan, remember=False)).answered
            assert not (tmp_path / "devlink").exists()
            assert (await prove(wanted, plan)).answered
            assert (tmp_path / "devlink").exists()

    run(body)


def test_a_silent_server_costs_the_limit_and_not_more(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        monkeypatch.setattr(module, "LIMIT", 0.05)

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        monkeypatch.setattr(module, "PORT", server.sockets[0].getsockname()[1])
        (silent,) = await check()
        assert "silent for" in silent.evidence
        server.close()
        await asyncio.sleep(0.01)  # the held connection ends

    run(body)


def test_a_damaged_memory_is_none_and_begins_anew(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        file = tmp_path / "devlink" / "seen-through.json"
        file.parent.mkdir()
        file.write_text("[1,")
        async with answering(CLUSTER.issue(NAME), tmp_path, monkeypatch):
            assert await check() == ()
        assert await check() == ()

    run(body)


def test_without_a_ca_there_is_nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise AssertionError("nobody is asked")

    monkeypatch.setattr(module, "_shake_hands", refuse)
    run(lambda: _nothing(check(profile(None))))


def test_each_gateway_is_asked_and_those_that_lead_to_the_cluster_need_no_word(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        ours = CLUSTER.issue(NAME)
        async with answering(ours, tmp_path, monkeypatch), serving(ours, tmp_path) as port:
            assert await prove_by({OTHER: port, THIRD: None}) == Proof(answered=True, proven=(USED, OTHER))

    run(body)


def test_a_gateway_that_leads_to_another_cluster_is_named_as_a_stranger_and_the_session_stays(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        stranger = Authority.another().issue(NAME)
        async with answering(CLUSTER.issue(NAME), tmp_path, monkeypatch), serving(stranger, tmp_path) as port:
            proof = await prove_by({OTHER: port})
            assert (tuple(proof.strangers), proof.proven) == ((OTHER,), (USED,))
            assert proof.answered
            assert proof.findings == ()
            finding = proof.strangers[OTHER]
            assert (finding.code, finding.severity) == ("DL-GATEWAY-IDENTITY", Severity.ERROR)
            assert "172.16.0.16" in finding.title
        # Also while the cluster's own API is silent.
        async with serving(stranger, tmp_path) as port:
            proof = await prove_by({OTHER: port})
            assert (tuple(proof.strangers), proof.proven) == ((OTHER,), ())
            assert not proof.answered

    run(body)


def test_a_stranger_by_the_way_that_packets_go_is_refused_whatever_the_others_show(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        stranger = Authority.another().issue(NAME)
        async with answering(stranger, tmp_path, monkeypatch), serving(CLUSTER.issue(NAME), tmp_path) as port:
            with pytest.raises(IdentityError):
                await prove_by({OTHER: port})

    run(body)


def test_a_silent_gateway_is_told_unless_the_api_is_silent_by_every_way(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        async with serving(None, tmp_path) as nobody:
            pass  # its port, which nobody has now
        async with answering(CLUSTER.issue(NAME), tmp_path, monkeypatch):
            (finding,) = (await prove_by({OTHER: nobody, THIRD: nobody, NODE: nobody})).findings
            assert (finding.code, finding.severity) == ("DL-GATEWAY-SILENT", Severity.WARNING)
            assert "by way of 172.16.0.16: Connection refused" in finding.evidence
            assert "172.16.0.17" in finding.evidence
            assert "172.16.0.13" not in finding.evidence
            assert "172.16.0.19" not in finding.evidence, "any node may be down"
        monkeypatch.setattr(module, "link_address_toward", lambda *_: "")
        (finding,) = (await prove_by({OTHER: nobody})).findings
        assert finding.code == "DL-UNAUTHENTICATED"

    run(body)


def test_many_gateways_are_asked_for_no_longer_than_somebody_waits_for(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPENING", 0.1)
    many = tuple(ipaddress.ip_address(f"172.16.1.{number}") for number in range(1, 51))

    async def body() -> None:
        asked: list[IPAddress] = []

        async def connect(gateway: IPAddress, _: IPAddress) -> socket.socket:
            asked.append(gateway)
            await asyncio.sleep(0.03)
            return Redirected(lambda: module.PORT)

        async with answering(CLUSTER.issue(NAME), tmp_path, monkeypatch):
            plan = make_plan(profile(), ObservedNetwork())
            proof = await prove(profile(), plan, gateways=many, connect=connect)
        assert proof.proven == tuple(asked)
        assert len(asked) < len(many)
        assert proof.findings == (), "of the others nothing is known"

    run(body)


async def _nothing(found: Awaitable[tuple[Finding, ...]]) -> None:
    assert await found == ()
