"""The Kubernetes API over HTTP: objects, lists by pages, watches, server-side apply; each within its time and size."""

import asyncio
import contextlib
import datetime
import json
import random
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import httpx2

from devlink import __version__
from devlink.cluster import tls
from devlink.cluster.access import Access, Credentials
from devlink.cluster.answers import expired, is_passing, refused, unreachable
from devlink.cluster.headers import authorization, current_token, impersonation
from devlink.cluster.proxies import proxy_for
from devlink.cluster.signer import Signer
from devlink.errors import ClusterError, UsageError, reason

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
"""Its body may be JSON, which is YAML."""
MAX_ANSWER = 64 * 1024 * 1024
"""Octets of one answer, unpacked: a page of 500 nodes has 10 MB at most."""
PAGE = 500
"""Objects on one page, as kubectl asks for them."""
TIMEOUT = 10.0
"""Seconds for one request with its whole answer."""
WAITS = 2
"""How often a server that says "later" (429, 503 with Retry-After) is waited for."""
LONGEST_LINE = 8 * 1024 * 1024
"""Octets of one event of a watch."""
FROM_NOW = "0"
"""A watch's resource version: whatever the server has at this moment."""
RESUME_PAUSE = 1.0
"""Seconds before a broken watch is taken up again, about; twice as long each time until something comes."""
LONGEST_PAUSE = 30.0
MAX_PAGES = 10_000
TOO_LARGE = "Have the cluster's people look at that object: no Kubernetes API keeps one that large."
BOOKMARK = "BOOKMARK"
KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
"""A watch is silent for long, and the laptop may have slept: the kernel finds out, and wakes nobody meanwhile."""
_FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError)
_DROPPED = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)

_Params = Mapping[str, str]


class Api:
    """One cluster's API. Use it in an `async with`. Every method raises ClusterError, with the API's status."""

    def __init__(
        self, access: Access, *, environ: Mapping[str, str], terminal: bool = False, timeout: float = TIMEOUT
    ) -> None:
        """`environ` is for proxies and for programs that sign in; `terminal`: they may ask at this process's terminal.

        `timeout`: seconds for one request with its whole answer.
        """
        self.access = access
        self._signer = Signer(access, environ=environ, terminal=terminal)
        self._timeout = timeout
        self._proxy = proxy_for(access, environ)
        self._client: httpx2.AsyncClient | None = None
        self._clients: list[httpx2.AsyncClient] = []
        self._certificate = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._clients:
            await self._clients.pop().aclose()
        self._client = None

    async def get(
        self, path: str, params: _Params | None = None, *, limit: int = MAX_ANSWER, accept: str = JSON
    ) -> dict[str, Any]:
        """One object, or one page. `limit`: octets of the answer, unpacked."""
        return await self._ask("GET", path, params, accept=accept, limit=limit)

    async def items(
        self, path: str, params: _Params | None = None, *, page: int = PAGE
    ) -> AsyncIterator[dict[str, Any]]:
        """Each object of a list once, page by page, with the kind and apiVersion that lists leave out.

        Where the list changed so much that the rest of it is gone (410), it is read again from its beginning.
        """
        seen: set[tuple[str, str]] = set()
        start = {**(params or {}), "limit": str(page)}
        token, restarted = "", False
        for _ in range(MAX_PAGES):
            try:
                found = await self._ask("GET", path, {**start, **({"continue": token} if token else {})})
            except ClusterError as error:
                if error.status != 410 or not token or restarted:
                    raise
                token, restarted = "", True
                continue
            common = {
                "kind": str(found.get("kind", "")).removesuffix("List"),
                "apiVersion": found.get("apiVersion", ""),
            }
            metadata = found.get("metadata")
            listed = found.get("items")
            for item in listed if isinstance(listed, list) else ():
                if not isinstance(item, dict):
                    continue
                own = item.get("metadata")
                own = own if isinstance(own, dict) else {}
                key = (str(own.get("namespace", "")), str(own.get("name", "")))
                if key in seen:
                    continue
                seen.add(key)
                yield {**common, **item}
            token = str(metadata.get("continue") or "") if isinstance(metadata, dict) else ""
            if not token:
                return
        raise ClusterError(
            f"The API of {self.access.name} gives {path} page after page, without an end.",
            next_step=f"Show the cluster's people what they see: kubectl get --raw '{path}?limit={page}'",
        )

    async def watch(
        self, path: str, params: _Params | None = None, *, resource_version: str, seconds: float, accept: str = JSON
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """The changes of a list since `resource_version`, as (ADDED, MODIFIED or DELETED, object), for `seconds`.

        Once it stands, a connection that breaks is taken up where it was, and a server that fails is asked again.
        Raises ClusterError with status 410 where that is too long ago to be told; then the list must be read again.
        From FROM_NOW on, what is there comes first, as ADDED, and may come once more.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        version, pause = resource_version, RESUME_PAUSE
        stood = asked_anew = False
        begun = 0
        while (left := end - loop.time()) > 0:
            wanted = {
                **(params or {}),
                "watch": "1",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "timeoutSeconds": str(max(1, round(left))),
            }
            credentials = await self._signer.credentials()
            try:
                async with contextlib.aclosing(self._events(path, wanted, accept, end, credentials)) as events:
                    async for kind, item in events:
                        stood, asked_anew = True, False
                        metadata = item.get("metadata")
                        if isinstance(metadata, dict):
                            version, pause = str(metadata.get("resourceVersion") or version), RESUME_PAUSE
                        if kind != BOOKMARK:
                            yield kind, item
            except ClusterError as error:
                if error.status == 401 and not asked_anew and self._signer.forget(credentials):
                    asked_anew = True
                    continue
                if error.status == 410 and stood and resource_version == FROM_NOW:
                    version = FROM_NOW  # as it began: a server that has started again knows no edition of before
                    pause, begun = RESUME_PAUSE * 2**begun, min(begun + 1, 5)
                elif not stood or not is_passing(error):
                    raise
            await asyncio.sleep(min(pause * random.uniform(0.5, 1.5), max(0.0, end - loop.time())))  # noqa: S311
            pause = min(2 * pause, LONGEST_PAUSE)

    async def apply(
        self, path: str, body: Mapping[str, Any], *, manager: str, force: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        """Server-side apply. Status 409: another manager owns what is to be changed, and `force` was not given."""
        params = {"fieldManager": manager, "force": str(force).lower(), **({"dryRun": "All"} if dry_run else {})}
        return await self._ask("PATCH", path, params, body=body, kind=APPLY)

    async def create(self, path: str, body: Mapping[str, Any], params: _Params | None = None) -> dict[str, Any]:
        """POST one object; `params` may be dryRun=All."""
        return await self._ask("POST", path, params, body=body)

    async def _ask(
        self,
        method: str,
        path: str,
        params: _Params | None,
        *,
        body: Mapping[str, Any] | None = None,
        kind: str = JSON,
        accept: str = JSON,
        limit: int = MAX_ANSWER,
    ) -> dict[str, Any]:
        content = json.dumps(body).encode() if body is not None else None
        kinds = [(b"Accept", accept.encode())]
        if content is not None:
            kinds.append((b"Content-Type", kind.encode()))
        loop = asyncio.get_running_loop()
        end, waits, dropped, asked_anew = 0.0, 0, False, False
        while True:
            credentials = await self._signer.credentials()
            end = end or loop.time() + self._timeout
            try:
                async with asyncio.timeout_at(end):
                    response = await self._send(method, path, params, kinds, credentials, content)
                    try:
                        text = await _read(response, limit)
                    finally:
                        await response.aclose()
                    status = response.status_code
                    after = _seconds(response.headers.get("retry-after", ""))
                    if status in (429, 503) and after is not None and waits < WAITS and loop.time() + after < end:
                        waits += 1
                        await asyncio.sleep(after)
                        continue
            except _FAILURES as error:
                # A kept connection that the server had closed meanwhile, say; to ask once more does no harm where
                # nothing was to be changed.
                if isinstance(error, _DROPPED) and method == "GET" and not dropped:
                    dropped = True
                    continue
                raise self._unreachable(error) from error
            if status == 401 and not asked_anew and self._signer.forget(credentials):
                asked_anew, end = True, 0.0
                continue
            if status not in (200, 201):
                raise self._refused(method, path, status, text, credentials)
            return self._parsed(text)

    def _parsed(self, text: bytes) -> dict[str, Any]:
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError):
            tree = None
        if not isinstance(tree, dict):
            begin = "a web page" if text.lstrip()[:1] == b"<" else f"{len(text)} octets of something else"
            raise ClusterError(
                f"What answers at {self.access.name} is no Kubernetes API.",
                why=f"{self.access.server} sends {begin} where an object was asked for: a login page, perhaps, or a "
                "proxy's own words.",
                next_step="Look at the cluster's server in the kubeconfig, and at the proxy: kubectl config view",
            )
        return tree

    async def _events(
        self, path: str, params: _Params, accept: str, end: float, credentials: Credentials
    ) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """Of one connection. The first is an empty bookmark: the watch stands."""
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._send("GET", path, params, [(b"Accept", accept.encode())], credentials)
            try:
                if response.status_code != 200:
                    async with asyncio.timeout(self._timeout):
                        text = await _read(response, MAX_ANSWER)
                    raise self._refused("GET", path, response.status_code, text, credentials)
                yield BOOKMARK, {}
                async with contextlib.aclosing(_lines(response)) as lines:
                    while True:
                        try:
                            async with asyncio.timeout_at(end):
                                line = await anext(lines)
                        except (StopAsyncIteration, TimeoutError):
                            return
                        event = self._parsed(line)
                        kind, item = str(event.get("type", "")), event.get("object")
                        if not isinstance(item, dict):
                            raise ClusterError(
                                f"The API of {self.access.name} sends events without objects.",
                                next_step=f"Look at its server, and at the proxy before it: {self.access.server}",
                            )
                        if kind == "ERROR":
                            code = item.get("code")
                            status = code if isinstance(code, int) else 500
                            raise self._refused("GET", path, status, json.dumps(item).encode(), credentials)
                        yield kind, item
            finally:
                await response.aclose()
        except _FAILURES as error:
            raise self._unreachable(error) from error

    async def _send(
        self,
        method: str,
        path: str,
        params: _Params | None,
        kinds: Iterable[tuple[bytes, bytes]],
        credentials: Credentials,
        content: bytes | None = None,
    ) -> httpx2.Response:
        """The beginning of the answer; whoever gets it closes it."""
        client = self._client_for(credentials)
        name = self.access.server_name
        request = client.build_request(
            method,
            path,
            params=params,
            headers=[*kinds, *authorization(credentials), *impersonation(self.access.credentials)],
            content=content,
            # the name for SNI and for the check of the certificate, whatever host was dialled
            extensions={"sni_hostname": name} if name else None,
        )
        return await client.send(request, stream=True)

    def _client_for(self, credentials: Credentials) -> httpx2.AsyncClient:
        if self._client is None or credentials.certificate != self._certificate:
            try:
                transport = httpx2.AsyncHTTPTransport(
                    verify=tls.context(self.access, credentials),
                    trust_env=False,
                    proxy=_proxy(self._proxy),
                    socket_options=KEEPALIVE,
                )
            except (httpx2.InvalidURL, ValueError) as error:
                raise UsageError(
                    f"The proxy of {self.access.name} cannot be used.",
                    why=reason(error),
                    next_step="Correct proxy-url in the kubeconfig, or HTTPS_PROXY: http://HOST:PORT",
                ) from None
            self._client = httpx2.AsyncClient(
                base_url=self.access.server,
                transport=transport,
                trust_env=False,
                timeout=None,  # each request is bounded as a whole
                headers={"User-Agent": f"devlink/{__version__}", "Accept-Encoding": "gzip"},
            )
            self._clients.append(self._client)  # the one before may still be in use
            self._certificate = credentials.certificate
        return self._client

    def _refused(self, method: str, path: str, status: int, body: bytes, credentials: Credentials) -> ClusterError:
        stale = ""
        if status == 401:
            now = datetime.datetime.now(datetime.UTC)
            stale = expired(replace(credentials, token=current_token(credentials)), now)
        return refused(self.access, method, path, status, body, stale=stale)

    def _unreachable(self, error: BaseException) -> ClusterError:
        return unreachable(self.access, error, self._timeout, proxy=self._proxy)


def _proxy(url: str) -> httpx2.Proxy | None:
    if not url:
        return None
    return httpx2.Proxy(url, ssl_context=ssl.create_default_context() if url.startswith("https:") else None)


def _seconds(retry_after: str) -> int | None:
    return int(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 6 else None


async def _read(response: httpx2.Response, limit: int) -> bytes:
    """The body, unpacked; ClusterError as soon as it passes `limit` octets."""
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > limit:
            raise ClusterError(
                f"An answer of the API is larger than {limit} octets, and was not read.", next_step=TOO_LARGE
            )
        parts.append(part)
    return b"".join(parts)


async def _lines(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    buffer = bytearray()
    async for part in response.aiter_bytes():
        buffer += part
        *lines, rest = buffer.split(b"\n")
        buffer = bytearray(rest)
        if len(buffer) > LONGEST_LINE:
            raise ClusterError(
                f"An event of the API is larger than {LONGEST_LINE} octets, and was not read.", next_step=TOO_LARGE
            )
        for line in lines:
            if line.strip():
                yield bytes(line)
