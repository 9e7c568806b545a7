"""`python -m devlink.resolvers.files`: serves io.devlink.Files on the socket that it was started with, then ends."""

import ipaddress
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from devlink.core.codec import parse_address
from devlink.core.prefixes import IPAddress, contains
from devlink.errors import UsageError
from devlink.resolvers.files import INTERFACE
from devlink.resolvers.files.tools import ResolvconfProgram
from devlink.resolvers.files.worker import Worker
from devlink.resolvers.resolvconf import DEBIAN, OPENRESOLV
from devlink.rpc.activation import listen_sockets
from devlink.rpc.service import Caller, serve

FOLDER = "/etc"
IDLE = 1.0
"""Seconds without a connection after which the process ends; the next one starts another."""
LOCAL_RANGES = tuple(ipaddress.ip_network(text) for text in ("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fc00::/7"))
"""Where a forwarder on this very machine can be: this process would not name a server elsewhere, whoever asks."""


def nameserver(parameters: Mapping[str, Any]) -> IPAddress | None:
    """The call's address, if it has one. Raises UsageError for what cannot be a forwarder on this machine."""
    text = parameters.get("nameserver")
    if text is None:
        return None
    try:
        address = parse_address(str(text))
    except ValueError as error:
        raise UsageError("The nameserver is not an address.", why=f"{error.args[0]}.") from None
    if not contains(LOCAL_RANGES, address):
        raise UsageError(
            f"{address} cannot be this machine's nameserver for devlink.",
            why=f"Only {', '.join(map(str, LOCAL_RANGES))} are taken.",
        )
    return address


class Writer(Protocol):
    """What each mode has behind the two verbs."""

    def write(self, address: IPAddress) -> None: ...

    def restore(self, address: IPAddress | None = None) -> None: ...


def methods(writers: Mapping[str, Writer]) -> dict[str, Any]:
    """The interface's methods; `writers` by the mode's name."""

    def chosen(parameters: Mapping[str, Any]) -> Writer:
        writer = writers.get(str(parameters.get("mode")))
        if writer is None:
            raise UsageError("There is no such mode.", why=f"It is one of {', '.join(writers)}.")
        return writer

    def write(parameters: Mapping[str, Any]) -> dict[str, Any]:
        address = nameserver(parameters)
        if address is None:
            raise UsageError("Write needs a nameserver.")
        chosen(parameters).write(address)
        return {}

    def restore(parameters: Mapping[str, Any]) -> dict[str, Any]:
        chosen(parameters).restore(nameserver(parameters))
        return {}

    return {"Write": write, "Restore": restore}


def writers(is_called_off: Callable[[], bool]) -> dict[str, Writer]:
    """For the machine itself."""
    return {
        "direct": Worker(FOLDER, is_called_off=is_called_off),
        **{kind: ResolvconfProgram(kind, is_called_off=is_called_off) for kind in (OPENRESOLV, DEBIAN)},
    }


def main() -> None:
    """Serve until nobody asks any more."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sockets = listen_sockets()
    if len(sockets) != 1:
        raise SystemExit("devlink files is started with one listening socket: by devlink's helper, or by systemd.")
    with sockets[0] as listener:
        caller = Caller()
        serve(listener, INTERFACE, methods(writers(caller.is_gone)), idle=IDLE, caller=caller)


if __name__ == "__main__":
    main()
