"""What the callers of the helper's verbs send, as typed values."""

from typing import Any

from devlink.core.codec import DecodeError, decode
from devlink.errors import UsageError
from devlink.rpc.varlink import Call


def argument(kind: Any, call: Call, key: str, **default: Any) -> Any:
    """A parameter of the call, as `kind`; `default` where it is left out. Raises UsageError for a malformed one."""
    if call.parameters.get(key) is None and "default" in default:
        return default["default"]
    try:
        return decode(kind, call.parameters.get(key), key)
    except DecodeError as error:
        raise UsageError(
            f"The call {call.method} is malformed.",
            why="; ".join(str(fault) for fault in error.faults[:4]) + ".",
            next_step="Agent and helper may be of different versions: `devlink --version` shows them.",
        ) from error
