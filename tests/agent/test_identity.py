"""Whether the cluster behind the routes is the profile's, told by its certificate; over loopback."""

import asyncio
import dataclasses
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path as FilePath

import pytest

from devlink.agent import identity as module
from devlink.agent.identity import NAME, check_identity
from devlink.core.findings import Finding
from devlink.core.network import ObservedNetwork, Path
from devlink.core.plan import make_plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, Identity
from devlink.core.profile_document import decode_profile
from devlink.errors import IdentityError
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
    """The way to the ClusterIP goes by one gateway, and TLS to loopback."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def observe(addresses: tuple[IPAddress, ...]) -> ObservedNetwork:
        assert addresses == (ipaddress.ip_address("10.254.0.1"),)
        return ObservedNetwork(
            paths={a: Path(oif="eth0", next_hop=ipaddress.ip_address("172.16.0.13")) for a in addresses}
        )

    monkeypatch.setattr(module, "observe", observe)
    monkeypatch.setattr(module, "link_address", lambda *_: GATEWAY)
    connect = asyncio.open_connection
    monkeypatch.setattr(asyncio, "open_connection", lambda _, *rest, **named: connect("127.0.0.1", *rest, **named))


@asynccontextmanager
async def answering(issued: Issued | None, folder: FilePath, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """An API server with that certificate; None: something that greets in plain text."""

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
    monkeypatch.setattr(module, "PORT", server.sockets[0].getsockname()[1])
    async with server:
        yield


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await body()

    asyncio.run(main())


async def check(wanted: BridgeProfile | None = None) -> tuple[Finding, ...]:
    wanted = wanted or profile()
    return await check_identity(wanted, make_plan(wanted, ObservedNetwork()))


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
        monkeypatch.setattr(module, "link_address", lambda *_: "02:00:00:00:00:66")
        (elsewhere,) = await check()
        assert elsewhere.code == "DL-UNAUTHENTICATED", "and for this gateway only"
        monkeypatch.setattr(module, "link_address", lambda *_: "")
        (unknown,) = await check()
        assert unknown.code == "DL-UNAUTHENTICATED"

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


async def _nothing(found: Awaitable[tuple[Finding, ...]]) -> None:
    assert await found == ()
