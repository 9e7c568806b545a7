"""The lab's own way to its API server, from within the world: one connection, as one user."""

import http.client
import json
import ssl
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from devlink.lab.credentials import ADMIN, server_url
from devlink.lab.objects import collection
from devlink.lab.order import Order

TIME_LIMIT = 5.0
"""Seconds for one answer."""
KIND_PATIENCE = 10.0
"""Seconds until a kind that was just defined must be there."""


class ApiServer:
    """Close it after use."""

    def __init__(self, order: Order, user: str = ADMIN) -> None:
        assert order.secrets is not None
        url = urlsplit(server_url(order.spec))
        assert url.hostname is not None
        context = ssl.create_default_context(cadata=order.secrets.ca)
        self._connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=TIME_LIMIT, context=context)
        self._headers = {
            "Authorization": f"Bearer {order.secrets.tokens[user]}", "Content-Type": "application/json"
        }  # fmt: skip

    def close(self) -> None:
        self._connection.close()

    def has(self, path: str) -> bool:
        """Whether a GET finds it; False where nobody answers."""
        try:
            return self._request("GET", path)[0] == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return False

    def create(self, objects: Iterable[dict[str, Any]]) -> None:
        """Create objects in their order; one that is there already is left as it is. Raises OSError.

        The state of a pod is no part of its creation, and written after it.
        """
        for obj in objects:
            deadline = time.monotonic() + KIND_PATIENCE
            while True:
                status, said = self._request("POST", collection(obj), obj)
                if status in (http.HTTPStatus.CREATED, http.HTTPStatus.CONFLICT):
                    break
                if status != http.HTTPStatus.NOT_FOUND or time.monotonic() > deadline:
                    raise OSError(f"{obj['kind']} {obj['metadata']['name']}: {status} {said}")
                time.sleep(0.02)  # its kind is on its way
            if obj["kind"] == "Pod" and status == http.HTTPStatus.CREATED:
                path = f"{collection(obj)}/{obj['metadata']['name']}/status"
                status, said = self._request("PATCH", path, {"status": obj["status"]})
                if status != http.HTTPStatus.OK:
                    raise OSError(f"{path}: {status} {said}")

    def _request(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        headers = (
            {**self._headers, "Content-Type": "application/merge-patch+json"} if method == "PATCH" else self._headers
        )
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        with self._connection.getresponse() as answer:
            return answer.status, answer.read().decode(errors="replace")
