"""Opens an upgraded connection to a pod at the API server, in a form that this one, and what is before it, knows."""

import asyncio
import base64
import hashlib
import json
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import h11

from devlink import __version__
from devlink.cluster import tls
from devlink.cluster.access import Access, Credentials
from devlink.cluster.answers import expired, refused, unreachable
from devlink.cluster.headers import authorization, current_token, impersonation
from devlink.cluster.proxies import PORTS, proxy_for
from devlink.cluster.signer import Signer
from devlink.errors import ClusterError, UsageError, reason
from devlink.relay.channels import Channels
from devlink.relay.dialect import Dialect
from devlink.relay.opening import Opening, asked, opened
from devlink.relay.spdy import Spdy, words
from devlink.relay.websocket import SpdyWebsocket

SPDY_WEBSOCKET, SPDY, WEBSOCKET = "spdy-websocket", "spdy", "websocket"
FORMS = (SPDY_WEBSOCKET, SPDY, WEBSOCKET)
"""In the order in which they are tried: many streams on a connection, and what proxies let through, first."""
TIMEOUT = 10.0
"""Seconds for one try, from its connection to its answer."""
UPGRADE_REFUSED = 426
"""The status of the ClusterError that says that no form got through, whatever the statuses were (RFC 9110)."""
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""
TUNNEL_PROTOCOL, CHANNEL_PROTOCOL, STREAM_PROTOCOL = (
    "SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io", "portforward.k8s.io",
)  # fmt: skip
NOT_FOUND = "404 page not found"
"""What Go's servers say of a path that they do not know; of a pod that is gone the node says so."""
_FAILURES = (OSError, h11.ProtocolError, UnicodeError)


@dataclass(frozen=True, slots=True)
class Dialled:
    """One upgraded connection. `opening.hand_over(protocol)` gives it to whoever feeds the dialect."""

    dialect: Dialect
    opening: Opening
    form: str
    """One of FORMS."""


class _FormError(Exception):
    """This form did not get through; another may. `error` is what to say if none does."""

    def __init__(self, error: ClusterError, *, silent: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.is_silent = silent


class Dialler:
    """Of one cluster. Every method raises ClusterError, and UsageError for what a kubeconfig cannot mean.

    The status of a ClusterError: None, there is no API; 401, the credentials; 403, the rights; 404, the pod is gone;
    UPGRADE_REFUSED; else the API's or the node's own failure.
    """

    def __init__(
        self,
        access: Access,
        *,
        environ: Mapping[str, str],
        forms: tuple[str, ...] = FORMS,
        timeout: float = TIMEOUT,
    ) -> None:
        self.access = access
        self.form = ""
        """The one that got through last; empty before that."""
        self._forms = forms
        self._timeout = timeout
        self._signer = Signer(access, environ=environ)
        self._proxy = proxy_for(access, environ)
        parts = urlsplit(access.server)
        self._is_secret = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 443)
        self._place = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path.rstrip("/")
        self._tls: tuple[str, ssl.SSLContext] | None = None
        self._choosing = asyncio.Lock()

    @property
    def server(self) -> str:
        """Its URL, without a password."""
        return f"{'https' if self._is_secret else 'http'}://{self._place}{self._prefix}"

    async def dial(self, namespace: str, pod: str, port: int) -> Dialled:
        """`port` is for the form that carries one TCP connection; the others open any."""
        if not self.form:
            async with self._choosing:  # many at once, one finds out
                if not self.form:
                    return await self._first_of(self._forms, namespace, pod, port)
        form = self.form
        try:
            return await self._try(form, namespace, pod, port)
        except _FormError as failure:
            if failure.is_silent:
                raise failure.error from failure
            others = tuple(each for each in self._forms if each != form)
            return await self._first_of(others, namespace, pod, port, failure.error)

    async def direct(self, host: str, port: int) -> Opening:
        """Plain TCP to there, through the proxy if the API goes by one."""
        try:
            async with asyncio.timeout(self._timeout):
                return await opened(host, port, proxy=self._proxy, limit=self._timeout)
        except _FAILURES as error:
            raise unreachable(self.access, error, self._timeout, proxy=self._proxy) from error

    async def _first_of(
        self, forms: tuple[str, ...], namespace: str, pod: str, port: int, *failed: ClusterError
    ) -> Dialled:
        failures = list(failed)
        for form in forms:
            try:
                found = await self._try(form, namespace, pod, port)
            except _FormError as failure:
                failures.append(failure.error)
                continue
            self.form = form
            return found
        forbidden = next((each for each in failures if each.status == 403 and each.why), None)
        if forbidden is not None:
            raise forbidden
        if self.form and all(each.status is None for each in failures):
            raise failures[0]  # it got through before: the server is starting again, say
        raise ClusterError(
            f"No port-forward gets through to the cluster of {self.access.name}.",
            why=" ".join(dict.fromkeys(reason(each) for each in failures)),
            next_step="A proxy or load balancer before the API server must let upgrades through (websocket, or SPDY); "
            f"see what kubectl gets: kubectl -n {namespace} port-forward {pod} :{port} -v=8",
            status=UPGRADE_REFUSED,
        )

    async def _try(self, form: str, namespace: str, pod: str, port: int) -> Dialled:
        asked_anew = False
        while True:
            try:
                credentials = await self._signer.credentials()
            except ClusterError as error:  # the program that signs in grants nothing
                error.status = 401
                raise
            try:
                return await self._upgraded(form, namespace, pod, port, credentials)
            except ClusterError as error:
                if error.status != 401 or asked_anew or not self._signer.forget(credentials):
                    raise
                asked_anew = True

    async def _upgraded(self, form: str, namespace: str, pod: str, port: int, credentials: Credentials) -> Dialled:
        path = f"{self._prefix}/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/portforward"
        path += f"?ports={port}" if form == WEBSOCKET else ""
        key = base64.b64encode(os.urandom(16))
        request = self._request(form, path, key, credentials)
        made: Opening | None = None
        try:
            try:
                async with asyncio.timeout(self._timeout):
                    made = await self._connected(credentials)
                    answer, body = await asked(made, request)
            except _FAILURES as error:
                failure = unreachable(self.access, error, self._timeout, proxy=self._proxy)
                if made is None or isinstance(error, ssl.SSLError):  # an alert for our certificate comes late (TLS 1.3)
                    raise failure from error
                raise _FormError(failure, silent=isinstance(error, TimeoutError)) from error
            if answer.status_code != 101:
                raise self._refusal(request, answer.status_code, body, credentials)
            headers = {name.lower(): value for name, value in answer.headers}
            if fault := _fault(form, headers, key):
                raise _FormError(
                    ClusterError(
                        f"The API of {self.access.name}, or a proxy before it, breaks the upgrade to {form}.",
                        why=fault,
                        next_step="Try it without the proxy.",
                        status=101,
                    )
                )
        except BaseException:
            if made is not None:
                made.abort()
            raise
        mask: Callable[[], bytes] | None = None if self._is_secret else _random_mask
        dialect: Dialect = (
            Spdy() if form == SPDY else Channels(port, mask=mask) if form == WEBSOCKET else SpdyWebsocket(mask=mask)
        )
        return Dialled(dialect, made, form)

    async def _connected(self, credentials: Credentials) -> Opening:
        made = await opened(self._host, self._port, proxy=self._proxy, limit=self._timeout)
        if self._is_secret:
            try:
                await made.start_tls(self._context(credentials), self.access.server_name or self._host, self._timeout)
            except BaseException:
                made.abort()
                raise
        return made

    def _context(self, credentials: Credentials) -> ssl.SSLContext:
        if self._tls is None or self._tls[0] != credentials.certificate:
            made = tls.context(self.access, credentials)
            made.set_alpn_protocols(["http/1.1"])  # HTTP/2 has no upgrade
            self._tls = credentials.certificate, made
        return self._tls[1]

    def _request(self, form: str, path: str, key: bytes, credentials: Credentials) -> h11.Request:
        headers: list[tuple[bytes, bytes]] = [
            (b"Host", self._place.encode()),
            (b"User-Agent", f"devlink/{__version__}".encode()),
            *authorization(credentials),
            *impersonation(self.access.credentials),
            (b"Connection", b"Upgrade"),
        ]
        if form == SPDY:
            headers += [
                (b"Upgrade", b"SPDY/3.1"),
                (b"X-Stream-Protocol-Version", STREAM_PROTOCOL.encode()),
                (b"Content-Length", b"0"),
            ]
        else:
            protocol = TUNNEL_PROTOCOL if form == SPDY_WEBSOCKET else CHANNEL_PROTOCOL
            headers += [
                (b"Upgrade", b"websocket"),
                (b"Sec-WebSocket-Version", b"13"),
                (b"Sec-WebSocket-Key", key),
                (b"Sec-WebSocket-Protocol", protocol.encode()),
            ]
        try:
            return h11.Request(method="POST" if form == SPDY else "GET", target=path, headers=headers)
        except h11.LocalProtocolError as error:
            raise UsageError(
                f"What the kubeconfig says of {self.access.name} cannot be sent.",
                why=reason(error),
                next_step="Look at the user's name and groups to impersonate: kubectl config view",
            ) from None

    def _refusal(self, request: h11.Request, status: int, body: bytes, credentials: Credentials) -> Exception:
        stale = ""
        if status == 401:
            stale = expired(replace(credentials, token=current_token(credentials)), datetime.now(UTC))
        method, path = request.method.decode(), request.target.decode().partition("?")[0]
        error = refused(self.access, method, path, status, body, stale=stale)
        return _FormError(error) if _is_of_the_form(status, body) else error


def _is_of_the_form(status: int, body: bytes) -> bool:
    """Whether a refusal may mean the way of asking and not the pod. A node's own words are no Status object.

    403: get is asked of a websocket, create of a POST; and an old node says it, without a word, to a subprotocol that
    it does not know.
    """
    if status in (403, 405):
        return True
    if status in (401, 429, 503, 504) or 300 <= status < 400:
        return False
    try:
        tree = json.loads(body)
        said = str(tree["message"]) if isinstance(tree, dict) and tree.get("kind") == "Status" else None
    except (ValueError, LookupError, RecursionError):
        said = None
    if said is not None:
        return "upgrade" in said.lower()
    text = words(body)
    return status != 404 or text == NOT_FOUND or text.startswith("<") or not text


def _fault(form: str, headers: Mapping[bytes, bytes], key: bytes) -> str:
    """What is wrong with an answer 101, or nothing."""
    upgrade = headers.get(b"upgrade", b"").lower()
    if form == SPDY:
        return "" if upgrade == b"spdy/3.1" else f"It changes to {words(upgrade) or 'nothing'}."
    protocol = TUNNEL_PROTOCOL if form == SPDY_WEBSOCKET else CHANNEL_PROTOCOL
    accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET_GUID, usedforsecurity=False).digest())
    if upgrade != b"websocket" or headers.get(b"sec-websocket-accept") != accept:
        return "Its answer is none to a websocket's request."
    if headers.get(b"sec-websocket-protocol") != protocol.encode():
        return f"It does not agree to {protocol}."
    return ""


def _random_mask() -> bytes:
    return os.urandom(4)
