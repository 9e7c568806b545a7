"""The Kubernetes API over HTTP: objects, lists by pages, watches, server-side apply; each within its time and size."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx2

from devlink import __version__
from devlink.cluster import exec_plugin, tls
from devlink.cluster.access import Access, Credentials
from devlink.cluster.answers import refused, unreachable
from devlink.cluster.proxies import proxy_for
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
RESUME_PAUSE = 1.0
"""Seconds before a broken watch is taken up again, about."""

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
        self._environ = environ
        self._terminal = terminal
        self._timeout = timeout
        self._client: httpx2.AsyncClient | None = None
        self._credentials = access.credentials

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

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
        while True:
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
            for item in found.get("items") or ():
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

    async def watch(
        self, path: str, params: _Params | None = None, *, resource_version: str, seconds: float, accept: str = JSON
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """The changes of a list since `resource_version`, as (ADDED, MODIFIED or DELETED, object), for `seconds`.

        A connection that breaks is taken up where it was. Raises ClusterError with status 410 where that is too long
        ago to be told; then the list must be read again.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        version = resource_version
        while (left := end - loop.time()) > 0:
            wanted = {
                **(params or {}),
                "watch": "1",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "timeoutSeconds": str(max(1, round(left))),
            }
            try:
                async for kind, item in self._events(path, wanted, accept, end):
                    metadata = item.get("metadata")
                    version = str(metadata.get("resourceVersion") or version) if isinstance(metadata, dict) else version
                    if kind != "BOOKMARK":
                        yield kind, item
            except ClusterError as error:
                if error.status is not None or not isinstance(error.__cause__, httpx2.TransportError):
                    raise
            await asyncio.sleep(min(RESUME_PAUSE * random.uniform(0.5, 1.5), max(0.0, end - loop.time())))  # noqa: S311

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
        request_headers = {"Accept": accept, **({"Content-Type": kind} if content is not None else {})}
        waits = tries = 0
        while True:
            tries += 1
            client, headers = await self._connected(request_headers)
            try:
                async with asyncio.timeout(self._timeout):
                    async with client.stream(method, path, params=params, content=content, headers=headers) as response:
                        text = await _read(response, limit)
                        after = response.headers.get("retry-after", "")
                    status = response.status_code
                    if status in (429, 503) and after.isdigit() and waits < WAITS and float(after) < self._timeout:
                        waits += 1
                        await asyncio.sleep(float(after))
                        continue
            except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError) as error:
                # A kept connection that the server had closed meanwhile; to ask once more does no harm where nothing
                # was to be changed.
                if isinstance(error, httpx2.RemoteProtocolError) and method == "GET" and tries == 1:
                    continue
                raise unreachable(self.access, error, self._timeout) from error
            if status == 401 and tries == 1 and await self._forget_credentials():
                continue
            if status != 200 and status != 201:
                raise refused(self.access, method, path, status, text)
            return self._parsed(text)

    def _parsed(self, text: bytes) -> dict[str, Any]:
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ClusterError(
                f"The API of {self.access.name} answers no JSON: is it one?", why=reason(error)
            ) from None
        if not isinstance(tree, dict):
            raise ClusterError(f"The API of {self.access.name} answers no object: is it one?")
        return tree

    async def _events(
        self, path: str, params: _Params, accept: str, end: float
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        client, headers = await self._connected({"Accept": accept})
        try:
            async with asyncio.timeout(self._timeout):
                request = client.build_request("GET", path, params=params, headers=headers)
                response = await client.send(request, stream=True)
            try:
                if response.status_code != 200:
                    async with asyncio.timeout(self._timeout):
                        text = await _read(response, MAX_ANSWER)
                    raise refused(self.access, "GET", path, response.status_code, text)
                lines = _lines(response)
                while True:
                    try:
                        async with asyncio.timeout_at(end):
                            line = await anext(lines)
                    except (StopAsyncIteration, TimeoutError):
                        return
                    event = self._parsed(line)
                    kind, item = str(event.get("type", "")), event.get("object")
                    if not isinstance(item, dict):
                        raise ClusterError(f"The API of {self.access.name} sends events without objects.")
                    if kind == "ERROR":
                        raise refused(self.access, "GET", path, int(item.get("code") or 500), json.dumps(item).encode())
                    yield kind, item
            finally:
                await response.aclose()
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError) as error:
            raise unreachable(self.access, error, self._timeout) from error

    async def _connected(self, headers: Mapping[str, str]) -> tuple[httpx2.AsyncClient, list[tuple[str, str]]]:
        """The client, and headers that say who we are at this moment."""
        credentials = self.access.credentials
        if credentials.plugin is not None:
            credentials = await exec_plugin.credentials_of(
                self.access, credentials.plugin, self._environ, terminal=self._terminal
            )
        if self._client is None or credentials.certificate != self._credentials.certificate:
            await self._close()
            proxy = proxy_for(self.access, self._environ)
            try:
                self._client = httpx2.AsyncClient(
                    base_url=self.access.server,
                    verify=tls.context(self.access, credentials),
                    proxy=proxy or None,
                    timeout=None,  # each request is bounded as a whole
                    trust_env=False,
                    headers={"User-Agent": f"devlink/{__version__}"},
                )
            except (httpx2.InvalidURL, ValueError) as error:
                raise UsageError(f"The proxy of {self.access.name} cannot be used.", why=reason(error)) from None
        self._credentials = credentials
        who = [*_authorization(credentials), *_impersonation(self.access.credentials)]
        return self._client, [*headers.items(), *who]

    async def _forget_credentials(self) -> bool:
        """Whether another try may fare better: the program that signs in is asked anew."""
        plugin = self.access.credentials.plugin
        if plugin is None:
            return False
        exec_plugin.forget(self.access, plugin)
        return True

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _authorization(credentials: Credentials) -> list[tuple[str, str]]:
    token = credentials.token
    if credentials.token_file is not None:
        try:
            token = credentials.token_file.read_text("utf-8").strip() or token
        except (OSError, UnicodeDecodeError) as error:
            if not token:
                raise UsageError(
                    f"The token file {credentials.token_file} cannot be read.", why=reason(error)
                ) from error
    if token:
        if not token.isascii() or not token.isprintable():
            raise UsageError("The token in use is damaged.", why="It has characters that no header can carry.")
        return [("Authorization", f"Bearer {token}")]
    if credentials.username:
        import base64

        pair = f"{credentials.username}:{credentials.password}".encode()
        return [("Authorization", f"Basic {base64.b64encode(pair).decode()}")]
    return []


def _impersonation(credentials: Credentials) -> list[tuple[str, str]]:
    return [(header, value) for header, values in credentials.impersonate.items() for value in values]


async def _read(response: httpx2.Response, limit: int) -> bytes:
    """The body, unpacked; ClusterError as soon as it passes `limit` octets."""
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > limit:
            raise ClusterError(f"An answer of the API is larger than {limit} octets, and was not read.")
        parts.append(part)
    return b"".join(parts)


async def _lines(response: httpx2.Response) -> AsyncIterator[bytes]:
    buffer = bytearray()
    async for part in response.aiter_bytes():
        buffer += part
        *lines, rest = buffer.split(b"\n")
        buffer = bytearray(rest)
        if len(buffer) > LONGEST_LINE:
            raise ClusterError(f"An event of the API is larger than {LONGEST_LINE} octets, and was not read.")
        for line in lines:
            if line.strip():
                yield bytes(line)
