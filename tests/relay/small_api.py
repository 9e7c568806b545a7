"""An API of a few objects in memory, which knows the selectors that a relay asks by, and fails as a test says."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from devlink.cluster.access import Access
from devlink.errors import ClusterError, UsageError
from tests.relay.objects import Object

PLURALS = {"Service": "services", "Pod": "pods", "EndpointSlice": "endpointslices"}
FIELDS: Mapping[str, Callable[[Object], str]] = {
    "spec.clusterIP": lambda item: str(item["spec"]["clusterIP"]),
    "status.podIP": lambda item: str(item["status"]["podIP"]),
    "metadata.name": lambda item: str(item["metadata"]["name"]),
}


class SmallApi:
    """The objects, and each request that was made."""

    def __init__(self, *objects: Object, namespace: str = "", addresses: Mapping[str, Object] | None = None) -> None:
        """`addresses`: IPAddress objects by their names; None: a server that knows no such thing."""
        self.access = Access(name="qa", server="https://api.example:6443", namespace=namespace)
        self.objects = list(objects)
        self.addresses = addresses
        self.asked: list[tuple[str, str]] = []
        """Path and selector."""
        self.denied: set[str] = set()
        """Paths, without the objects below."""
        self.status: int | None = 0
        """Of every answer; None: nobody answers; 0: as it should be."""
        self.can_sign_in = True
        self.selects = True
        """False: it gives all of a kind, whatever is asked for."""
        self.gate = asyncio.Event()
        """Answers come while it is set."""
        self.gate.set()

    async def get(
        self, path: str, params: Mapping[str, str] | None = None, *, limit: int = 0
    ) -> dict[str, Any]:  # fmt: skip
        given = dict(params or {})
        assert given.pop("resourceVersion") == "0", "asked of etcd"
        assert limit
        selector = "".join(given.values())
        self.asked.append((path, selector))
        await self.gate.wait()
        if not self.can_sign_in:
            raise UsageError("The program that signs in fails.", next_step="Sign in.")
        if self.status != 0:
            raise ClusterError("The API fails.", next_step="Wait.", status=self.status)
        if path in self.denied:
            raise ClusterError("Not allowed.", next_step="Ask.", status=403)
        *_, resource = path.split("/")
        if "/ipaddresses/" in path:
            if self.addresses is None or resource not in self.addresses:
                raise ClusterError("Not found.", next_step="Look.", status=404)
            return self.addresses[resource]
        return {"items": list(self._found(path, resource, given))}

    def _found(self, path: str, resource: str, given: Mapping[str, str]) -> Iterable[Object]:
        namespace = path.split("/namespaces/")[1].split("/")[0] if "/namespaces/" in path else ""
        for item in self.objects:
            if PLURALS[item["kind"]] != resource or namespace not in ("", item["metadata"]["namespace"]):
                continue
            if not self.selects:
                yield item
                continue
            field, _, value = given.get("fieldSelector", "").partition("=")
            label = given.get("labelSelector", "").partition("=")[2]
            if field and FIELDS[field](item) != value:
                continue
            if label and item["metadata"].get("labels", {}).get("kubernetes.io/service-name") != label:
                continue
            yield item

    def count(self) -> int:
        """Requests since it was last asked."""
        asked = len(self.asked)
        self.asked.clear()
        return asked
