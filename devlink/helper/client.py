"""How a command reaches the helper: one blocking connection, or the reason why there is none."""

from devlink.errors import HelperError, reason
from devlink.hints import start_helper
from devlink.rpc.client import Client

SOCKET = "/run/devlink/helper"
"""Where the helper listens, on every machine: a world that wants another place brings its own root."""
LIMIT = 20.0
"""Seconds for one answer: above all of the helper's own limits together."""


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
