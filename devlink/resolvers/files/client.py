"""Asks the process `devlink files` for its two verbs, and asks again if it died over one."""

import socket
from collections.abc import Callable

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError, ProtocolError, reason
from devlink.hints import log_of
from devlink.resolvers.files import INTERFACE
from devlink.rpc.client import Client

TIMEOUT = 5.0
"""Seconds for one answer; the disk is what takes long."""


class FilesClient:
    """A blocking client; each call is a connection of its own, since the process ends when it is idle."""

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        *,
        dismiss: Callable[[], None] = lambda: None,
        timeout: float = TIMEOUT,
    ) -> None:
        """`connect` gives a connected socket, and starts the process where nobody else does; `dismiss` ends those that
        hang, where that is ours: their lock would keep every other one waiting."""
        self._connect = connect
        self._dismiss = dismiss
        self._timeout = timeout

    def write(self, address: IPAddress) -> None:
        """Make `address` the only nameserver of resolv.conf. Raises HelperError; the file is then as it was."""
        self._call("Write", {"nameserver": str(address)})

    def restore(self, address: IPAddress | None = None) -> None:
        """Put the file from before back; with `address`, only where ours names it. Raises HelperError."""
        self._call("Restore", {"nameserver": str(address)} if address is not None else {})

    def _call(self, verb: str, parameters: dict[str, str]) -> None:
        try:
            try:
                self._once(verb, parameters)
            except (ProtocolError, ConnectionError):
                # It was killed over it, or was ending as we connected. Both verbs may be repeated.
                self._once(verb, parameters)
        except ProtocolError as error:
            raise HelperError(
                "The process that writes /etc/resolv.conf gave no answer, twice.",
                why=reason(error),
                next_step=error.next_step or "See the log of `devlink files`.",
            ) from error
        except TimeoutError as error:
            self._dismiss()
            raise HelperError(
                "The process that writes /etc/resolv.conf does not answer.",
                why=f"It had {self._timeout:g} seconds.",
                next_step="See the log of `devlink files`.",
            ) from error
        except OSError as error:
            raise HelperError(
                "The process that writes /etc/resolv.conf cannot be reached.",
                why=reason(error),
                next_step=log_of("devlink-files.socket", "The helper's log says more."),
            ) from error

    def _once(self, verb: str, parameters: dict[str, str]) -> None:
        with Client(self._connect(), timeout=self._timeout) as client:
            client.call(f"{INTERFACE}.{verb}", parameters)
