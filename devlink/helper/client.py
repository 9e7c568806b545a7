"""How a command reaches the helper: one blocking connection, or the reason why there is none."""

from collections.abc import Mapping
from typing import Any

from devlink.errors import HelperError, reason
from devlink.hints import HELPER_UNIT, log_of, start_helper
from devlink.rpc.client import Client

SOCKET = "/run/devlink/helper"
"""Where the helper listens, on every machine: a world that wants another place brings its own root."""
LIMIT = 20.0
"""Seconds for one answer: above all of the helper's own limits together."""
QUICK_LIMIT = 5.0
"""Seconds for an answer that changes nothing: above what the helper gives its forwarder to answer."""


def connect(*, timeout: float = LIMIT) -> Client:
    """A connection to the running helper; `timeout` (seconds) bounds each wait on it. Raises HelperError."""
    try:
        return Client.connect(SOCKET, timeout=timeout)
    except OSError as error:
        raise HelperError(
            f"The devlink helper cannot be reached at {SOCKET}.",
            why=reason(error),
            next_step=start_helper(),
        ) from error


def ask(
    method: str, parameters: Mapping[str, Any] | None = None, *, limit: float | None = None
) -> dict[str, Any]:  # fmt: skip
    """The helper's answer to a call that is quick, within `limit` seconds, else QUICK_LIMIT.

    Raises HelperError, and whatever it says against it.
    """
    with connect(timeout=limit or QUICK_LIMIT) as client:
        return ask_quickly(client, f"io.devlink.Helper.{method}", parameters, limit=limit)


def ask_quickly(
    client: Client, method: str, parameters: Mapping[str, Any] | None = None, *, limit: float | None = None
) -> dict[str, Any]:
    """As `ask`, over a connection that there is."""
    limit = limit or QUICK_LIMIT
    client.bound(limit)
    try:
        return client.call(method, parameters)
    except TimeoutError as error:
        raise HelperError(
            "The devlink helper runs, but does not answer.",
            why=f"It had {limit:g} s: it is stopped, or hangs. Names may be answered all the same.",
            next_step=log_of(HELPER_UNIT, "The helper's log may say more; start it again."),
        ) from error


ORDINARY = "."
"""How the forwarder calls all names that are in no zone, in its counts and its log."""
