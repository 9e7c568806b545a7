"""What callers of the agent's verbs pass along, each of the type that the interface file says."""

import os
from typing import Any

from devlink.core.checks import show
from devlink.core.codec import DecodeError, decode
from devlink.core.profile import RoutingMode
from devlink.core.relay import RelayOptions
from devlink.errors import UsageError
from devlink.rpc.varlink import Call


def parameter(call: Call, key: str, kind: type, default: Any) -> Any:
    """One of them, or `default` where it is not given. Raises UsageError for one of another type than `kind`."""
    value = call.parameters.get(key)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise UsageError(
            f"{call.method}: {key} has the wrong type.", next_step=f"Its types are in the interface {call.interface}."
        )
    return value


def texts(call: Call, key: str) -> list[str]:
    """A list of texts, empty where it is not given. Raises UsageError."""
    return [str(text) for text in parameter(call, key, list, [])]


def environment(call: Call) -> dict[str, str]:
    """The caller's environment, for KUBECONFIG, proxies and programs that sign in; the agent's own where it is not
    given. Raises UsageError."""
    return {str(name): str(value) for name, value in parameter(call, "environment", dict, os.environ).items()}


def routing_mode(call: Call) -> RoutingMode | None:
    """Who shall carry the packets; None where nothing is said. Raises UsageError."""
    word = parameter(call, "routing", str, "")
    try:
        return RoutingMode(word) if word else None
    except ValueError:
        raise UsageError(
            f"{show(word)} is no routing mode.",
            next_step=f"There are: {', '.join(mode.value for mode in RoutingMode)}.",
        ) from None


def relay_options(call: Call) -> RelayOptions:
    """What may be relayed. Raises UsageError."""
    try:
        return decode(RelayOptions, parameter(call, "relay", dict, {}))
    except DecodeError as error:
        raise UsageError(
            f"{call.method}: relay cannot be used: {error}.", next_step=f"See RelayOptions in {call.interface}."
        ) from None
