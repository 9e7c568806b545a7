"""Dialling a pod: what is asked, through which proxy, and in which form where one does not get through."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from devlink.cluster.access import Access, Credentials, ExecPlugin
from devlink.errors import ClusterError, UsageError
from devlink.relay.channels import Channels
from devlink.relay.dial import FORMS, SPDY, SPDY_WEBSOCKET, UPGRADE_REFUSED, WEBSOCKET, Dialled, Dialler
from devlink.relay.spdy import Spdy
from devlink.relay.websocket import SpdyWebsocket
from tests.relay.upgrading import (
    AUTHORITY,
    SILENCE,
    Asked,
    Proxy,
    Upgrading,
    agree,
    listening,
    refuse,
    server_context,
    serving,
)

LIMIT = 20.0
"""Seconds; a test that hangs, not one that is slow."""


@contextmanager
def told() -> Iterator[list[ClusterError]]:
    """The error that the block ends with."""
    found: list[ClusterError] = []
    with pytest.raises(ClusterError) as raised:
        yield found
    found.append(raised.value)


class Kept(asyncio.Protocol):
    """Whoever gets the connection: what it is told."""

    def __init__(self) -> None:
        self.come = b""
        self.made: asyncio.BaseTransport | None = None
        self.news = asyncio.Event()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made = transport

    def data_received(self, data: bytes) -> None:
        self.come += data
        self.news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class KeptInBuffer(asyncio.BufferedProtocol):
    """The same, with a buffer that is smaller than what comes."""

    def __init__(self) -> None:
        self.come = b""
        self.news = asyncio.Event()
        self._buffer = bytearray(3)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.come += self._buffer[:nbytes]
        self.news.set()


def run(
    upgrading: Upgrading, folder: Path, work: Callable[[Upgrading], Awaitable[Any]], issued: tuple[str, ...] = ()
) -> Any:
    async def all_of_it() -> Any:
        async with asyncio.timeout(LIMIT), serving(upgrading, folder):
            return await work(upgrading)

    if issued:
        upgrading.issued = AUTHORITY.issue(*issued)
    return asyncio.run(all_of_it())


async def dialled(dialler: Dialler) -> Dialled:
    """One that nobody takes."""
    made = await dialler.dial("default", "web", 8080)
    made.opening.abort()
    return made


def only(*forms: str) -> Callable[[Asked], bytes]:
    """A server that knows these."""
    return lambda asked: agree(asked) if asked.form in forms else refuse(400, "unable to upgrade")


def status(code: int, message: str) -> bytes:
    return refuse(code, json.dumps({"kind": "Status", "message": message}))


@pytest.mark.parametrize(
    ("form", "dialect", "line"),
    [
        (
            SPDY_WEBSOCKET,
            SpdyWebsocket,
            "GET /k8s/clusters/c-1/api/v1/namespaces/default/pods/web/portforward HTTP/1.1",
        ),
        (SPDY, Spdy, "POST /k8s/clusters/c-1/api/v1/namespaces/default/pods/web/portforward HTTP/1.1"),
        (
            WEBSOCKET,
            Channels,
            "GET /k8s/clusters/c-1/api/v1/namespaces/default/pods/web/portforward?ports=8080 HTTP/1.1",
        ),
    ],
)
def test_each_form_asks_in_its_own_way_below_the_servers_path(
    form: str, dialect: type, line: str, tmp_path: Path
) -> None:
    async def work(server: Upgrading) -> None:
        credentials = Credentials(token="secret", impersonate={"Impersonate-User": ("jürgen",)})
        access = server.access(path="/k8s/clusters/c-1/", credentials=credentials)
        made = await dialled(Dialler(access, environ={}, forms=(form,)))
        assert type(made.dialect) is dialect
        assert made.form == form
        (asked,) = server.asked
        assert asked.line == line
        assert asked.headers["host"] == f"127.0.0.1:{server.port}"
        assert asked.headers["authorization"] == "Bearer secret"
        assert asked.headers["impersonate-user"] == "jürgen"
        assert asked.headers["connection"] == "Upgrade"
        if form == SPDY:
            assert asked.headers["x-stream-protocol-version"] == "portforward.k8s.io"
            assert asked.headers["content-length"] == "0"

    run(Upgrading(), tmp_path, work)


def test_the_certificate_is_checked_for_the_name_that_the_kubeconfig_gives_and_http_2_is_not_offered(
    tmp_path: Path,
) -> None:
    async def work(server: Upgrading) -> None:
        await dialled(Dialler(server.access(server_name="api.example"), environ={}))
        assert (server.asked[0].name, server.asked[0].alpn) == ("api.example", "http/1.1")
        with told() as errors:
            await dialled(Dialler(server.access(), environ={}))
        assert errors[0].status is None
        assert "certificate" in errors[0].why
        assert len(server.asked) == 1

    run(Upgrading(), tmp_path, work, issued=("api.example",))


@pytest.mark.parametrize("known", FORMS)
def test_the_first_form_that_gets_through_is_kept(known: str, tmp_path: Path) -> None:
    async def work(server: Upgrading) -> None:
        dialler = Dialler(server.access(), environ={})
        assert dialler.form == ""
        assert (await dialled(dialler)).form == known
        tried = list(FORMS[: FORMS.index(known) + 1])
        assert server.forms == tried
        await dialled(dialler)
        assert server.forms == [*tried, known]
        assert dialler.form == known

    run(Upgrading(only(known)), tmp_path, work)


def test_many_at_once_find_the_form_out_once(tmp_path: Path) -> None:
    async def work(server: Upgrading) -> None:
        dialler = Dialler(server.access(), environ={})
        await asyncio.gather(*(dialled(dialler) for _ in range(20)))
        assert server.forms.count(SPDY_WEBSOCKET) == 1
        assert server.forms.count(SPDY) == 20

    run(Upgrading(only(SPDY)), tmp_path, work)


def test_a_form_that_is_broken_later_gives_way_to_another(tmp_path: Path) -> None:
    async def work(server: Upgrading) -> None:
        dialler = Dialler(server.access(), environ={})
        await dialled(dialler)
        server.respond = only(WEBSOCKET)
        await dialled(dialler)
        await dialled(dialler)
        assert server.forms == [SPDY_WEBSOCKET, SPDY_WEBSOCKET, SPDY, WEBSOCKET, WEBSOCKET]

    run(Upgrading(), tmp_path, work)


@pytest.mark.parametrize(
    "broken",
    [
        lambda asked: b"",
        lambda asked: refuse(200, "<html>Welcome</html>"),
        lambda asked: refuse(404, "404 page not found"),
        lambda asked: refuse(426, ""),
        lambda asked: refuse(502, "<html>Bad Gateway</html>"),
        lambda asked: status(400, "Upgrade request required"),
        lambda asked: refuse(403, ""),
        lambda asked: b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        lambda asked: agree(asked, accept=b"of another key"),
        lambda asked: agree(asked, protocol="v5.channel.k8s.io"),
    ],
)
def test_what_breaks_one_form_is_not_the_end(broken: Callable[[Asked], bytes], tmp_path: Path) -> None:
    async def work(server: Upgrading) -> None:
        assert (await dialled(Dialler(server.access(), environ={}))).form == SPDY

    run(Upgrading(lambda asked: agree(asked) if asked.form == SPDY else broken(asked)), tmp_path, work)


def test_where_no_form_gets_through_each_refusal_is_told(tmp_path: Path) -> None:
    async def work(server: Upgrading) -> None:
        with told() as errors:
            await dialled(Dialler(server.access(), environ={}))
        assert errors[0].status == UPGRADE_REFUSED
        assert all(f"no {form} here" in errors[0].why for form in FORMS)
        assert server.forms == list(FORMS)

    run(Upgrading(lambda asked: refuse(400, f"no {asked.form} here")), tmp_path, work)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (status(404, 'pods "web" not found'), 404),
        (refuse(404, "pod does not exist"), 404),
        (status(400, "pod web does not have a host assigned"), 400),
        (status(500, "error dialing backend: dial tcp 10.0.0.1:10250: connect: no route to host"), 500),
        (refuse(503, "busy"), 503),
        (refuse(302, "<html>Sign in</html>"), 302),
    ],
)
def test_what_is_said_of_the_pod_or_the_server_is_said_once(answer: bytes, code: int, tmp_path: Path) -> None:
    async def work(server: Upgrading) -> None:
        dialler = Dialler(server.access(), environ={})
        with told() as errors:
            await dialled(dialler)
        assert errors[0].status == code
        assert server.forms == [SPDY_WEBSOCKET]

    run(Upgrading(lambda asked: answer), tmp_path, work)


def test_a_right_to_create_alone_is_enough_for_the_form_that_needs_no_other(tmp_path: Path) -> None:
    def respond(asked: Asked) -> bytes:
        return agree(asked) if asked.form == SPDY else status(403, "cannot get pods/portforward")

    async def work(server: Upgrading) -> None:
        assert (await dialled(Dialler(server.access(), environ={}))).form == SPDY

    run(Upgrading(respond), tmp_path, work)


def test_without_the_right_the_error_is_the_apis_own(tmp_path: Path) -> None:
    def respond(asked: Asked) -> bytes:
        return refuse(400, "unable to upgrade") if asked.form == SPDY else status(403, "cannot get pods/portforward")

    async def work(server: Upgrading) -> None:
        with told() as errors:
            await dialled(Dialler(server.access(), environ={}))
        assert (errors[0].status, errors[0].why) == (403, "cannot get pods/portforward.")

    run(Upgrading(respond), tmp_path, work)


def test_credentials_that_are_refused_are_asked_for_once_anew(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("")
    script = tmp_path / "sign-in"
    script.write_text(
        f"#!/bin/sh\nprintf x >> {tmp_path}/count\n"
        'printf \'{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", '
        f'"status": {{"token": "t%s"}}}}\' "$(wc -c < {tmp_path}/count | tr -d " ")"\n'
    )
    script.chmod(0o755)
    plugin = ExecPlugin(api_version="client.authentication.k8s.io/v1", command=str(script))

    def respond(asked: Asked) -> bytes:
        return agree(asked) if asked.headers["authorization"] == "Bearer t2" else status(401, "Unauthorized")

    async def work(server: Upgrading) -> None:
        dialler = Dialler(server.access(credentials=Credentials(plugin=plugin)), environ={"PATH": "/usr/bin:/bin"})
        assert (await dialled(dialler)).form == SPDY_WEBSOCKET
        server.respond = lambda asked: status(401, "Unauthorized")
        with told() as errors:
            await dialled(dialler)
        assert errors[0].status == 401
        assert [asked.headers["authorization"][-2:] for asked in server.asked] == ["t1", "t2", "t2", "t3"]

    run(Upgrading(respond), tmp_path, work)


def test_a_token_that_no_program_renews_is_refused_once(tmp_path: Path) -> None:
    async def work(server: Upgrading) -> None:
        with told() as errors:
            await dialled(Dialler(server.access(), environ={}))
        assert errors[0].status == 401
        assert len(server.asked) == 1

    run(Upgrading(lambda asked: status(401, "Unauthorized")), tmp_path, work)


def test_a_server_that_ends_each_connection_is_away_and_no_word_on_its_forms(tmp_path: Path) -> None:
    async def work(server: Upgrading) -> None:
        dialler = Dialler(server.access(), environ={})
        await dialled(dialler)
        server.respond = lambda asked: b""
        with told() as errors:
            await dialled(dialler)
        assert errors[0].status is None
        server.respond = agree
        await dialled(dialler)
        assert server.forms == [SPDY_WEBSOCKET, *FORMS, SPDY_WEBSOCKET]

    run(Upgrading(), tmp_path, work)


def test_a_server_that_falls_silent_is_not_asked_in_the_other_forms(tmp_path: Path) -> None:
    async def work(server: Upgrading) -> None:
        dialler = Dialler(server.access(), environ={}, timeout=0.2)
        dialler.form = SPDY
        server.respond = lambda asked: SILENCE
        with told() as errors:
            await dialled(dialler)
        assert errors[0].status is None
        assert "does not answer" in errors[0].what
        assert server.forms == [SPDY]

    run(Upgrading(), tmp_path, work)


def test_where_nobody_listens_there_is_no_status(tmp_path: Path) -> None:
    async def work(server: Upgrading) -> None:
        access = server.access()
        server.port = 1
        with told() as errors:
            await dialled(Dialler(server.access(), environ={}))
        assert errors[0].status is None
        assert access.server != errors[0].why

    run(Upgrading(), tmp_path, work)


def test_what_no_header_can_carry_is_the_kubeconfigs_fault(tmp_path: Path) -> None:
    async def work(server: Upgrading) -> None:
        credentials = Credentials(impersonate={"Impersonate-User": ("one\r\nImpersonate-Group: system:masters",)})
        with pytest.raises(UsageError):
            await dialled(Dialler(server.access(credentials=credentials), environ={}))
        assert not server.asked

    run(Upgrading(), tmp_path, work)


@pytest.mark.parametrize("kept", [Kept, KeptInBuffer])
@pytest.mark.parametrize("issued", [(), ("127.0.0.1",)])
def test_octets_that_come_with_the_answer_reach_whoever_gets_the_connection(
    kept: type[Kept] | type[KeptInBuffer], issued: tuple[str, ...], tmp_path: Path
) -> None:
    async def work(server: Upgrading) -> None:
        made = await Dialler(server.access(), environ={}).dial("default", "web", 80)
        protocol = kept()
        made.opening.hand_over(protocol)
        while len(protocol.come) < 9:
            protocol.news.clear()
            await protocol.news.wait()
        assert protocol.come == b"!12345678"
        made.opening.abort()

    run(Upgrading(lambda asked: agree(asked) + b"12345678"), tmp_path, work, issued)


def test_an_end_that_came_before_is_told_to_whoever_gets_the_connection(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nlast")
        await writer.drain()

    async def work() -> None:
        async with asyncio.timeout(LIMIT), listening(talk) as port:
            access = Access(name="qa", server=f"http://127.0.0.1:{port}")
            made = await Dialler(access, environ={}, forms=(SPDY,)).dial("default", "web", 80)
            assert await made.opening.some() == b"last"
            assert await made.opening.some() == b"", "it has ended"
            made.opening.give_back(b"last")
            protocol = Kept()
            made.opening.hand_over(protocol)
            await protocol.lost.wait()
            assert protocol.come == b"last"
            assert protocol.made is not None

    asyncio.run(work())


def test_in_the_clear_what_is_sent_is_masked_and_inside_of_tls_it_is_not(tmp_path: Path) -> None:
    async def work(server: Upgrading) -> bytes:
        made = await dialled(Dialler(server.access(), environ={}))
        made.dialect.open(80)
        return b"".join(made.dialect.take())

    assert b"78f9e3c6a7c2" not in run(Upgrading(), tmp_path, work).hex().encode()
    assert b"78f9e3c6a7c2" in run(Upgrading(), tmp_path, work, issued=("127.0.0.1",)).hex().encode()


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
def test_a_proxy_leads_to_the_server_by_its_name_and_is_told_who_asks(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text(AUTHORITY.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))  # a proxy by https is checked as the system says
    context = server_context(AUTHORITY.issue("127.0.0.1"), tmp_path) if scheme == "https" else None
    proxy = Proxy()

    async def work(server: Upgrading) -> None:
        async with listening(proxy.by_socks if scheme == "socks5" else proxy.by_http, context) as port:
            access = Access(
                name="qa",
                server=f"https://api.example:{server.port}",
                ca=AUTHORITY.pem,
                proxy=f"{scheme}://jane:p%40ss@127.0.0.1:{port}",
            )
            dialler = Dialler(access, environ={})
            assert (await dialled(dialler)).form == SPDY_WEBSOCKET
            assert server.asked[0].name == "api.example"
            opening = await dialler.direct("10.96.0.1", server.port)
            opening.abort()

    run(Upgrading(), tmp_path, work, issued=("api.example",))
    if scheme == "socks5":
        assert proxy.heard == [b"jane:p@ss", b"api.example", b"jane:p@ss", bytes((10, 96, 0, 1))]
    else:
        assert [head.split(b" ")[1].partition(b":")[0] for head in proxy.heard] == [b"api.example", b"10.96.0.1"]
        assert b"Proxy-Authorization: Basic amFuZTpwQHNz\r\n" in proxy.heard[0]


@pytest.mark.parametrize(
    ("scheme", "refusal", "why"),
    [
        ("http", b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "407 Proxy Auth"),
        ("socks5", b"\5\2\0\1\0\0\0\0\0\0", "its rules do not allow that"),
        ("socks5", b"\5\x99\0\1\0\0\0\0\0\0", "reply 153"),
        ("http", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "illegal"),
        ("http", b"HTTP/1.1 200 OK\r\n\r\nwho speaks first", "before TLS"),
        ("socks5", b"\5", "ended the connection"),
    ],
)
def test_a_proxy_that_refuses_is_told_in_its_words_and_not_asked_again(
    scheme: str, refusal: bytes, why: str, tmp_path: Path
) -> None:
    proxy = Proxy(refusal=refusal)

    async def work() -> None:
        async with (
            asyncio.timeout(LIMIT),
            listening(proxy.by_socks if scheme == "socks5" else proxy.by_http) as port,
        ):
            access = Access(name="qa", server="https://127.0.0.1:1", proxy=f"{scheme}://127.0.0.1:{port}")
            with told() as errors:
                await dialled(Dialler(access, environ={}))
            assert errors[0].status is None
            assert why in errors[0].why
            assert "through the proxy" in errors[0].what

    asyncio.run(work())
    assert len(proxy.heard) == 1


@pytest.mark.parametrize(
    ("refusal", "as_proxy"), [(status(404, "gone"), False), (refuse(407, ""), True), (b"SSH-2.0-x\r\n\r\n", False)]
)
def test_a_connection_that_was_refused_is_not_left_open(refusal: bytes, as_proxy: bool) -> None:
    async def work() -> None:
        left: list[bytes] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(refusal)
            try:
                left.append(await reader.read())
            except ConnectionError:
                left.append(b"")
            over.set()

        over = asyncio.Event()
        async with asyncio.timeout(LIMIT), listening(talk) as port:
            here = f"http://127.0.0.1:{port}"
            access = Access(
                name="qa", server="http://api.example" if as_proxy else here, proxy=here if as_proxy else ""
            )
            dialler = Dialler(access, environ={}, forms=(SPDY,))
            with told() as errors:
                await dialler.dial("default", "web", 8080)
            await over.wait()
            assert left == [b""]
            assert errors[0].__traceback__ is not None, "kept: it is not the collector that closed the connection"

    asyncio.run(work())


@pytest.mark.parametrize("proxy", ["", "socks5"])
def test_a_name_that_no_resolver_takes_is_a_server_that_cannot_be_reached(proxy: str) -> None:
    async def work() -> None:
        async with asyncio.timeout(LIMIT), listening(Proxy().by_socks) as port:
            access = Access(
                name="qa", server=f"https://{'a' * 70}.example", proxy=proxy and f"{proxy}://127.0.0.1:{port}"
            )
            with told() as errors:
                await dialled(Dialler(access, environ={}))
            assert errors[0].status is None

    asyncio.run(work())
