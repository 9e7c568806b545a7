"""Keeps sessions at the newest edition of their profile: watches what their clusters publish, and goes over to it.

Five thousand laptops must not hurt an API server. Each holds one watch on the metadata of one object, renewed after
five to ten minutes: 5,000 / 450 s = 11 requests a second, of about 1 KB each. A change is told to all at once, in 1 KB;
each then waits up to a minute by chance (`refresh_spread` in config.toml) before it fetches the whole: 5,000 / 60 s =
83 requests a second, for that minute. Who may read nodes and pod blocks, which are the few who run the cluster, reads
one of them every fifth of a second on average, however large the cluster: 50 KB a second at most. Who may not asks
again all the same, for a 403 may pass (an API server says it while it starts): after 15 s, 30 s, and so on, and from
ten minutes on once in 600 s: 5,000 / 600 s = 8 requests a second, refused in 1 KB each; at most three of them, of one
object each, where some of what it takes may be read.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from devlink.agent.config import Config, read_config
from devlink.agent.notes import broken, held, renamed, unasked
from devlink.agent.session import Wish
from devlink.agent.sources import Obtained, fetch
from devlink.agent.supervisor import Supervisor
from devlink.cluster.access import Access
from devlink.core.findings import Finding
from devlink.core.profile import Node
from devlink.errors import ClusterError, ConflictError, DevlinkError, NotTrustedError, ProfileError, UsageError
from devlink.rpc.tasks import spawn

if TYPE_CHECKING:  # an HTTP client takes long to import
    from devlink.cluster.api import Api

log = logging.getLogger(__name__)

WATCH = (300.0, 600.0)
"""Seconds that one watch lasts, and that pass between two looks where watching is not allowed."""
EACH_NODE = 0.2
"""Seconds that pass for each node of the cluster until the nodes are read again."""
SHORTEST = 30.0
"""Seconds that pass at least."""
PAUSES = (15.0, 600.0)
"""Seconds after a first failure, and the longest; doubled in between, and halved to one and a half by chance."""
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""Accept header: what an API server sends of an object is then about 1 KB, however large the object is."""


class Refresher:
    """One task for each session whose profile came from a cluster."""

    def __init__(self, supervisor: Supervisor, *, chance: random.Random | None = None) -> None:
        """`chance` draws the jitter."""
        self._supervisor = supervisor
        self._chance = chance or random.Random()  # noqa: S311  # spreads load, keeps no secret
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._config = Config()

    def follow(self, name: str, environ: Mapping[str, str], *, stale: bool) -> None:
        """From now on keep that session at what its cluster publishes; `stale`: it may have published another one."""
        for each in list(self._tasks):  # this one, and those that have been replaced
            if each == name or self._supervisor.wish(each) is None:
                self.leave(each)
        wish = self._supervisor.wish(name)
        if wish is None or wish.origin is None:
            return
        self._tasks[name] = [spawn(self._follow(name, environ, "" if stale else wish.version), name=f"follow {name}")]
        self._follow_any_nodes(name, environ)

    def _follow_any_nodes(self, name: str, environ: Mapping[str, str]) -> None:
        """Where this edition has nodes, and they are not followed yet."""
        wish, tasks = self._supervisor.wish(name), self._tasks.get(name)
        if tasks is None:  # it was left meanwhile
            return
        first, *others = tasks
        if wish is not None and wish.routes and wish.profile.spec.nodes and all(task.done() for task in others):
            self._tasks[name] = [first, spawn(self._follow_nodes(name, environ), name=f"nodes of {name}")]

    def close(self) -> None:
        """Follow nothing any more."""
        for name in list(self._tasks):
            self.leave(name)

    def leave(self, name: str) -> None:
        """That session is followed no more."""
        for task in self._tasks.pop(name, ()):
            task.cancel()

    async def _follow(self, name: str, environ: Mapping[str, str], version: str) -> None:
        """`version`: the one that is up; empty where that is not known."""
        pause, longest = PAUSES
        while (wish := self._supervisor.wish(name)) is not None:
            assert wish.origin is not None
            try:
                access = await _access(wish.origin.context, environ)
                if version and not await self._has_changed(access, environ, version):
                    self._supervisor.is_current(name, time.time())
                    pause = PAUSES[0]
                    continue
                if version:
                    await asyncio.sleep(self._chance.uniform(0, await asyncio.to_thread(self._spread)))
                obtained = await fetch(access, environ)
                if not version or obtained.version != version:  # else one API server knows less than another
                    if await self._use(name, obtained):
                        self._follow_any_nodes(name, environ)
                        version, pause = obtained.version, PAUSES[0]
                        continue
                    version = ""  # the session has not gone over to it, and may in a while
            except DevlinkError as error:
                self._tell_failure(name, error)
            await asyncio.sleep(pause * self._chance.uniform(0.5, 1.5))
            pause = min(2 * pause, longest)

    def _spread(self) -> float:
        """Seconds, as config.toml says; where it has become unusable, as it said last."""
        try:
            self._config = read_config()
        except UsageError as error:
            log.warning("newer profiles are fetched over %g s all the same: %s", self._config.refresh_spread, error)
        return max(0.0, self._config.refresh_spread)

    async def _follow_nodes(self, name: str, environ: Mapping[str, str]) -> None:
        """Move the per-node routes with the nodes, as long as the profile has some; if we may see them."""
        pause, longest = PAUSES
        is_refused, told = False, ""
        while (wish := self._supervisor.wish(name)) is not None and wish.profile.spec.nodes:
            seconds = max(SHORTEST, EACH_NODE * len(wish.profile.spec.nodes))
            try:
                nodes = await self._nodes(wish, environ, carefully=is_refused)
                now = self._supervisor.wish(name)
                if now is not None and now.profile is wish.profile and nodes and nodes != wish.profile.spec.nodes:
                    log.info("%s goes on with the nodes as they are now: %d", name, len(nodes))
                    spec = replace(wish.profile.spec, nodes=nodes)
                    await self._go_over(name, replace(now, profile=replace(wish.profile, spec=spec)))
                pause, is_refused, told = PAUSES[0], False, ""
            except (DevlinkError, ValueError) as error:
                if str(error) != told:  # who has no right hears the same for as long as the session lasts
                    log.info("%s lives by the published list of nodes at this moment: %s", name, error)
                is_refused = isinstance(error, ClusterError) and error.status == 403
                seconds, pause, told = pause, min(2 * pause, longest), str(error)
            await asyncio.sleep(seconds * self._chance.uniform(0.5, 1.5))

    async def _nodes(self, wish: Wish, environ: Mapping[str, str], *, carefully: bool) -> tuple[Node, ...]:
        """As the API has them. Raises ClusterError, with status 403 where we may not see them.

        `carefully`: look first whether we may. Who may see the nodes, and not the blocks, would else read the one in
        vain, again and again.
        """
        from devlink.cluster.api import Api
        from devlink.cluster.discovery import discover_nodes
        from devlink.cluster.reads import collect_owners

        assert wish.origin is not None
        async with Api(await _access(wish.origin.context, environ), environ=environ) as api:
            if carefully:
                await collect_owners(_Glance(api))
            objects = await collect_owners(api)
        spec = wish.profile.spec
        return await asyncio.to_thread(discover_nodes, objects, spec.pods or (), spec.nodes or ())

    async def _has_changed(self, access: Access, environ: Mapping[str, str], version: str) -> bool:
        """Wait until what is published is not `version` any more: True; False when the watch's time is over."""
        from devlink.cluster.api import FROM_NOW, Api
        from devlink.cluster.publication import CONFIG_MAP, NAMESPACE

        seconds = self._chance.uniform(*WATCH)
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
        async with Api(access, environ=environ) as api:
            # An API server that has just started knows nobody's rights yet; refused again, it may be got, not watched.
            for pause in (PAUSES[0] * self._chance.uniform(0.5, 1.5), seconds):
                try:
                    # From now on: from the object's own edition, which may be years old, the API would say each time
                    # that this is too long ago.
                    field = {"fieldSelector": f"metadata.name={CONFIG_MAP}"}
                    events = api.watch(path, field, resource_version=FROM_NOW, seconds=seconds, accept=METADATA)
                    is_there = False
                    async for kind, found in events:
                        if kind == "DELETED" or _version_of(found) != version:
                            return True
                        is_there = True
                    return not is_there
                except ClusterError as error:
                    if error.status != 403:
                        raise
                    log.info("what is published may not be watched; it is looked at again in %d s", pause)
                await asyncio.sleep(pause)
            found = await api.get(f"{path}/{CONFIG_MAP}", accept=METADATA)
        return _version_of(found) != version

    async def _use(self, name: str, obtained: Obtained) -> bool:
        """Go over to what the cluster publishes now. False where that is to be tried again."""
        wish = self._supervisor.wish(name)
        profile = obtained.profile
        if wish is None:
            return True
        if profile.metadata.name != name:
            self._supervisor.note(name, renamed(name, profile.metadata.name))
            return True
        newer = replace(
            wish, profile=profile, origin=obtained.origin, fetched=obtained.fetched, version=obtained.version,
            pins=obtained.pins,
        )  # fmt: skip
        return await self._go_over(name, newer, *obtained.findings)

    async def _go_over(self, name: str, newer: Wish, *notes: Finding) -> bool:
        try:
            if not await self._supervisor.renew(newer):
                return False
        except DevlinkError as error:
            log.warning("the newer profile of %s is not used: %s", name, error)
            self._supervisor.note(name, held(name, error))
            return isinstance(error, NotTrustedError | ConflictError)  # what else it was may pass
        log.info("%s is at revision %s", name, newer.profile.metadata.revision or "-")
        self._supervisor.note(name, *notes)
        return True

    def _tell_failure(self, name: str, error: DevlinkError) -> None:
        if isinstance(error, ProfileError):
            self._supervisor.note(name, broken(error))
        elif isinstance(error, ClusterError) and error.status in (401, 403, 404):
            self._supervisor.note(name, unasked(error))
        else:  # its API is away: the session does not need it
            log.info("what the cluster of %s publishes cannot be seen: %s", name, error)


class _Glance:
    """An Api that shows the first object of each list: enough to see what may be read."""

    def __init__(self, api: "Api") -> None:
        self._api = api

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, limit: int = 1024) -> dict[str, Any]:
        raise AssertionError("who owns what stands in lists")

    async def create(self, path: str, body: object, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        raise AssertionError("who owns what stands in lists")

    async def items(
        self, path: str, params: Mapping[str, str] | None = None, *, page: int = 1
    ) -> AsyncIterator[dict[str, Any]]:
        async with contextlib.aclosing(self._api.items(path, params, page=1)) as items:  # type: ignore[type-var]  # an async generator, in truth
            async for item in items:
                yield item
                return


def _version_of(found: Mapping[str, Any]) -> str:
    metadata = found.get("metadata")
    return str(metadata.get("resourceVersion", "")) if isinstance(metadata, dict) else ""


async def _access(context: str, environ: Mapping[str, str]) -> Access:
    from devlink.cluster.contexts import choose_access

    return await asyncio.to_thread(choose_access, context, environ)
