"""The cluster as one relay reaches it: endpoints, sessions and rights together, and what is found wrong on the way."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

from devlink.cluster.access import Access
from devlink.cluster.api import Api
from devlink.cluster.contexts import choose_access
from devlink.cluster.exec_plugin import is_of_sign_in
from devlink.core.fields import dig, text
from devlink.core.findings import Finding, Severity
from devlink.core.prefixes import IPAddress
from devlink.core.relay import Pod, PodUse, RelayConfig
from devlink.errors import ClusterError, DevlinkError, UsageError, reason
from devlink.relay.counting import Counts, Cut
from devlink.relay.dial import UPGRADE_REFUSED, Dialler
from devlink.relay.endpoints import Direct, Endpoints
from devlink.relay.pool import Key, Pool
from devlink.relay.refusal import RefusedError
from devlink.relay.rights import Rights, check_rights
from devlink.relay.sessions import Session, Sink, Way
from devlink.relay.sockets import Endpoint
from devlink.relay.straight import Straight
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

RIGHTS_EVERY = 180.0
"""Seconds after which the API is asked again what its user may do: a session that is open is not authorised anew."""
RIGHTS_AGAIN = 3.0
"""Seconds at least between two such questions, also where what is refused or granted says that it has changed."""
SILENT_EVERY = 15.0
"""Seconds after which an API that did not answer twice is asked again, though nobody connects."""
TRIES = 2
"""Pods that are tried for one connection, where the first turns out to be gone."""


class Cluster:
    """One cluster's pods, by its API server."""

    def __init__(self, config: RelayConfig, access: Access, environ: Mapping[str, str], counts: Counts) -> None:
        self.config = config
        self._counts = counts
        self._api = Api(access, environ=environ)
        self._dialler = Dialler(access, environ=environ)
        self.endpoints = Endpoints(self._api, config)
        self.pool = Pool(self._dialler.dial, failed=self._dialled, cut=self._cut, changed=self._note)
        self._nodes: dict[Key, str] = {}
        self._rights: Rights | None = None
        self._changed = asyncio.Event()
        self._is_asking = False
        self._doubt = asyncio.Event()
        self._watching = spawn(self._watch_rights(), name="rights")

    @classmethod
    async def reached(cls, config: RelayConfig, environ: Mapping[str, str], counts: Counts) -> Self:
        """By the config's context. Raises UsageError and ClusterError where nothing says how."""
        access = await asyncio.to_thread(choose_access, config.context or None, environ)
        return cls(config, access, environ, counts)

    @property
    def server(self) -> str:
        """The API's URL."""
        return self._dialler.server

    @property
    def form(self) -> str:
        """How sessions are made."""
        return self._dialler.form

    @property
    def names(self) -> tuple[Endpoint, ...]:
        """The cluster's DNS servers."""
        return tuple((each.address, each.port) for each in self.config.names)

    def pods(self) -> tuple[PodUse, ...]:
        """Those that sessions lead to."""
        found: dict[Key, tuple[int, int]] = {}
        for session in self.pool.sessions:
            streams, sessions = found.get(session.key, (0, 0))
            found[session.key] = streams + len(session.streams), sessions + 1
        return tuple(
            PodUse(namespace=key[0], name=key[1], node=self._nodes.get(key, ""), streams=streams, sessions=sessions)
            for key, (streams, sessions) in sorted(found.items())
        )

    async def open(self, address: IPAddress, port: int, client: IPAddress, sink: Sink) -> tuple[Way, Pod | None]:
        """A way to there. Raises RefusedError."""
        for attempt in range(1, TRIES + 1):
            try:
                found = await self.endpoints.find(address, port, client=client)
            except RefusedError as refused:
                if refused.reason in ("rights", "api"):
                    self._doubt.set()
                raise
            if isinstance(found, Direct):
                return await self._straight(found, sink), None
            key = found.namespace, found.name
            try:
                stream = await self.pool.open(key, found.port, sink)
            except RefusedError as error:
                if error.reason == "api":
                    self._doubt.set()
                if error.reason != "pod-gone" or attempt == TRIES:
                    raise
                self.endpoints.forget(found)
                continue
            self._nodes[key] = found.node
            return stream, found
        raise AssertionError

    async def _straight(self, found: Direct, sink: Sink) -> Way:
        try:
            opening = await self._dialler.direct(found.host, found.port)
        except ClusterError as error:
            raise RefusedError("api", reason(error)) from error
        straight = Straight(sink)
        opening.hand_over(straight)
        return straight

    def retire(self) -> None:
        """Another configuration has taken its place: it goes when its last session has."""
        self._watching.cancel()  # as the later one asks
        spawn(self._end_when_idle(), name="an earlier configuration")

    async def _end_when_idle(self) -> None:
        self.pool.retire()
        while not self.pool.is_empty:
            self._changed.clear()
            await self._changed.wait()
        await self.close()

    def _note(self) -> None:
        self._changed.set()
        self._counts.changed()

    async def close(self) -> None:
        """Break everything off."""
        self._watching.cancel()
        self.endpoints.close()
        self.pool.close()
        await self._api.__aexit__(None, None, None)

    # what is found on the way

    async def _watch_rights(self) -> None:
        silent = 0
        while True:
            try:
                self._rights = await check_rights(self._api, self.config.namespaces, known=self._rights)
            except DevlinkError as error:
                log.info("cannot ask what is allowed: %s", reason(error))
                self._dialled(error)
                silent = silent + 1 if _is_silence(error) else 0
                if silent > 1:  # once may have been a restart of its own, or a network's change
                    self._counts.find(_silent(error))
            else:
                silent = 0
                self._judge(self._rights)
                self._counts.clear("DL-RELAY-CREDENTIALS", "DL-RELAY-API")
            self._doubt.clear()
            await asyncio.sleep(RIGHTS_AGAIN)
            if silent == 1:
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(SILENT_EVERY if silent else RIGHTS_EVERY - RIGHTS_AGAIN):
                    await self._doubt.wait()

    def _judge(self, rights: Rights) -> None:
        finding = rights.finding()
        if finding is None:
            self._counts.clear("DL-RELAY-RIGHTS")
            return
        self._counts.find(finding)
        if not rights.is_enough:
            self.pool.retire()  # a session is authorised when it is made, and never again: no newcomers in those

    def _dialled(self, error: DevlinkError | None) -> None:
        if error is None:
            self._counts.clear("DL-RELAY-CREDENTIALS", "DL-RELAY-UPGRADE", "DL-RELAY-API")
            if self._rights is not None and not self._rights.is_enough:
                self._doubt.set()
            else:
                self._counts.clear("DL-RELAY-RIGHTS")
            return
        status = error.status if isinstance(error, ClusterError) else None
        if status == 401 or isinstance(error, UsageError) or is_of_sign_in(error):
            code, title = "DL-RELAY-CREDENTIALS", "The API server does not know who you are any more."
        elif status == 403:
            code, title = "DL-RELAY-RIGHTS", "The API server does not allow a port-forward."
        elif status == UPGRADE_REFUSED:
            code, title = "DL-RELAY-UPGRADE", "No port-forward gets through to the API server."
        else:
            return
        self._counts.find(
            Finding(code=code, severity=Severity.ERROR, title=title, evidence=reason(error), fix=error.next_step)
        )

    def _cut(self, session: Session, why: str) -> None:
        log.info("the session to %s has ended: %s", "/".join(session.key), why)
        now = asyncio.get_running_loop().time()
        cut = Cut(at=now, lived=now - session.begun, silent=now - session.heard, streams=session.broken)
        if not session.is_single and not self._is_asking:
            self._is_asking = True
            spawn(self._tell_cut(session.key, cut), name="why a session ended")

    async def _tell_cut(self, key: Key, cut: Cut) -> None:
        """A session ends with its pod or with the API server; where both are there, something on the way has cut it."""
        try:
            pod = await self._api.get("/api/v1/namespaces/{}/pods/{}".format(*key), {"resourceVersion": "0"})
        except ClusterError as error:
            if _is_silence(error):
                self._doubt.set()
            return
        finally:
            self._is_asking = False
        if dig(pod, "metadata", "deletionTimestamp") is None and text(pod, "status", "phase") == "Running":
            self._counts.cut(cut)


def _is_silence(error: DevlinkError) -> bool:
    """Whether the API server has said nothing at all."""
    return isinstance(error, ClusterError) and error.status is None and not is_of_sign_in(error)


def _silent(error: DevlinkError) -> Finding:
    return Finding(
        code="DL-RELAY-API",
        severity=Severity.ERROR,
        title="The API server does not answer, so nothing new is relayed.",
        evidence=reason(error),
        fix="see whether its network is there (a VPN?): kubectl get --raw /readyz",
    )


class Target:
    """Where one connection shall go: the first of several that can be reached."""

    def __init__(self, cluster: Cluster, asked: tuple[Endpoint, ...], client: IPAddress) -> None:
        self._cluster = cluster
        self._asked = asked
        self._client = client

    async def open(self, sink: Sink) -> tuple[Way, Pod | None]:
        """Raises RefusedError, the last one."""
        refusal = RefusedError("no-pods", "The cluster has no DNS servers.")
        for address, port in self._asked:
            try:
                return await self._cluster.open(address, port, self._client, sink)
            except RefusedError as error:
                refusal = error
        raise refusal

    def gone(self, pod: Pod) -> None:
        """It is looked up anew."""
        self._cluster.endpoints.forget(pod)
