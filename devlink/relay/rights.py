"""Whether the API lets its user relay: asked beforehand, and again now and then, by SelfSubjectAccessReviews.

What is asked of the API server is little: it holds roles in its memory. All of it takes RIGHTS requests where the whole
cluster is allowed, and as many for each namespace where it is not; again, only what the look-ups do not show by
themselves: port-forward is authorised when a session is opened, and not while it goes on.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from devlink.cluster.access import Access
from devlink.core.fields import flag
from devlink.core.findings import Finding, Severity
from devlink.core.text import listed

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
ROLE = "devlink-relay"
"""Of packaging/kubernetes/rights/relay.yaml."""
MANIFEST = "packaging/kubernetes/rights/relay.yaml"
AT_ONCE = 4
MOST_NAMESPACES = 16


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """A verb on a resource."""

    verb: str
    resource: str
    """With its subresource, if any: `pods/portforward`."""
    group: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


FORWARD = Right("create", "pods/portforward"), Right("get", "pods/portforward")
"""A websocket is asked for by GET, SPDY's own upgrade by POST; which of them counts depends on server and release."""
LOOK_UP = Right("list", "services"), Right("list", "endpointslices", "discovery.k8s.io"), Right("list", "pods")
RIGHTS = (*FORWARD, *LOOK_UP)


class Reviewer(Protocol):
    """The part of devlink.cluster.api.Api that this needs."""

    access: Access

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What one user may do that a relay needs."""

    everywhere: frozenset[Right] = frozenset()
    """In every namespace."""
    namespaces: Mapping[str, frozenset[Right]] = field(default_factory=dict)
    """In each of those that were asked, what is allowed there or everywhere."""

    @property
    def is_enough(self) -> bool:
        """Whether pods of some namespace at least can be reached."""
        return any(_is_enough(each) for each in (self.everywhere, *self.namespaces.values()))

    @property
    def reached(self) -> tuple[str, ...]:
        """The namespaces whose pods can be reached; none where it is the whole cluster, or nothing."""
        if _is_enough(self.everywhere):
            return ()
        return tuple(name for name, held in self.namespaces.items() if _is_enough(held))

    @property
    def lacking(self) -> tuple[Right, ...]:
        """What is not allowed everywhere, nor in the namespace where most is."""
        best = max((self.everywhere, *self.namespaces.values()), key=len)
        return tuple(right for right in RIGHTS if right not in best)

    def finding(self) -> Finding | None:
        """DL-RELAY-RIGHTS: an error where nothing can be relayed, a warning where one verb of port-forward lacks."""
        lacking = self.lacking
        if not lacking:
            return None
        verb = next((each.verb for each in lacking if each in FORWARD), "create")
        where = f" -n {next(iter(self.namespaces))}" if self.namespaces else ""
        return Finding(
            code="DL-RELAY-RIGHTS",
            severity=Severity.WARNING if self.is_enough else Severity.ERROR,
            title="You may not do all that a relay through the API server needs."
            if self.is_enough
            else "You may not reach pods through the API server.",
            evidence=f"not allowed: {listed(lacking)}",
            fix=f"ask the cluster's people for the ClusterRole {ROLE} ({MANIFEST}); "
            f"see: kubectl auth can-i {verb} pods --subresource=portforward{where}",
        )


async def check_rights(api: Reviewer, namespaces: Iterable[str] = (), *, known: Rights | None = None) -> Rights:
    """What the API's user may do in the whole cluster, else in `namespaces` and in that of its context.

    With `known`, which said enough, only port-forward is asked anew, and all only where that is no longer enough: a
    withdrawn right to look something up shows by itself.

    Raises ClusterError where the API does not answer, or does not know who asks (401).
    """
    turns = asyncio.Semaphore(AT_ONCE)

    async def is_allowed(right: Right, namespace: str) -> bool:
        async with turns:
            found = await api.create(REVIEWS, _review(right, namespace))
        return flag(found, "status", "allowed") is True

    async def held(wanted: Iterable[Right], namespace: str = "") -> frozenset[Right]:
        asked = tuple(wanted)
        said = await asyncio.gather(*(is_allowed(right, namespace) for right in asked))
        return frozenset(right for right, allowed in zip(asked, said, strict=True) if allowed)

    before = known or Rights()
    if before.is_enough:
        everywhere = before.everywhere - set(FORWARD)
        everywhere |= await held(right for right in FORWARD if right in before.everywhere)
        namespaced = {
            name: before.namespaces[name] - set(FORWARD) | everywhere | await held(set(FORWARD) - everywhere, name)
            for name in before.reached
        }
        again = Rights(everywhere=everywhere, namespaces=namespaced)
        if again.is_enough:
            return again
    everywhere = await held(RIGHTS)
    names = tuple(dict.fromkeys((api.access.namespace or "default", *namespaces, *before.namespaces)))[:MOST_NAMESPACES]
    lacking = tuple(right for right in RIGHTS if right not in everywhere)
    found = {name: everywhere | await held(lacking, name) for name in names}
    return Rights(everywhere=everywhere, namespaces=found)


def _is_enough(held: frozenset[Right]) -> bool:
    return held.issuperset(LOOK_UP) and not held.isdisjoint(FORWARD)


def _review(right: Right, namespace: str) -> dict[str, Any]:
    """An empty namespace means all of them."""
    resource, _, subresource = right.resource.partition("/")
    wanted = {"verb": right.verb, "group": right.group, "resource": resource, "subresource": subresource}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {**wanted, "namespace": namespace}},
    }
