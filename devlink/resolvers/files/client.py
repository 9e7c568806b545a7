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
TOOL_TIMEOUT = 20.0
"""Where resolvconf is called, up to three times, and restarts the local resolvers that it feeds: `tools.CALL_LIMIT`."""


class FilesClient:
    """A blocking client; each call is a connection of its own, since the process ends when it is idle."""

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        *,
        dismiss: Callable[[], None] = lambda: None,
        timeout: float = TIMEOUT,
        tool_timeout: float = TOOL_TIMEOUT,
    ) -> None:
        """`connect` gives a connected socket, and starts the process where nobody else does; `dismiss` ends those that
        hang, where that is ours: their lock would keep every other one waiting."""
        self._connect = connect
        self._dismiss = dismiss
        self._timeout = timeout
        self._tool_timeout = tool_timeout

    def write(self, address: IPAddress, *, mode: str = "direct") -> None:
        """Make `address` the nameserver, as the mode has it. Raises HelperError; in `direct` the file is then as it
        was."""
        self._call("Write", mode, address)

    def restore(self, address: IPAddress | None = None, *, mode: str = "direct") -> None:
        """Undo it; in `direct` with `address`, only where ours names it. Raises HelperError."""
        self._call("Restore", mode, address)

    def _call(self, verb: str, mode: str, address: IPAddress | None) -> None:
        parameters = {"mode": mode} | ({"nameserver": str(address)} if address is not None else {})
        timeout = self._timeout if mode == "direct" else self._tool_timeout
        try:
            try:
                self._once(verb, parameters, timeout)
            except (ProtocolError, ConnectionError):
                # It was killed over it, or was ending as we connected. Both verbs may be repeated.
                self._once(verb, parameters, timeout)
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
                why=f"It had {timeout:g} seconds.",
                next_step="See the log of `devlink files`.",
            ) from error
        except OSError as error:
            raise HelperError(
                "The process that writes /etc/resolv.conf cannot be reached.",
                why=reason(error),
                next_step=log_of("devlink-files.socket", "The helper's log says more."),
            ) from error

    def _once(self, verb: str, parameters: dict[str, str], timeout: float) -> None:
        with Client(self._connect(), timeout=timeout) as client:
            client.call(f"{INTERFACE}.{verb}", parameters)
