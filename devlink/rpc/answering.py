"""From one varlink message to its reply, for a process that answers one call after another."""

from collections.abc import Callable, Mapping
from typing import Any

from devlink.errors import DevlinkError, UnexpectedError
from devlink.rpc import varlink

Method = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def answer(
    interface: str, methods: Mapping[str, Method], message: Mapping[str, Any], *, failed: Callable[[str], None]
) -> dict[str, Any]:
    """The reply to one message. Raises ProtocolError where it is not even a call.

    `failed` is told of a defect while its exception is being handled.
    """
    call = varlink.parse_call(message)
    described = varlink.describe_service(call, (interface,))
    if described is not None:
        return described
    method = methods.get(call.method.rpartition(".")[2]) if call.interface == interface else None
    if method is None:
        return varlink.no_such_method(call.method)
    try:
        return varlink.reply(method(call.parameters))
    except DevlinkError as error:
        return varlink.error_reply(interface, error)
    except Exception as error:  # a defect must reach the caller as an error, not end the process
        failed(f"{call.method} failed")
        return varlink.error_reply(interface, UnexpectedError(f"{call.method} failed: {error!r}."))
