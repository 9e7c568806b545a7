"""Varlink calls and replies as data, without any I/O (varlink.org): parse, build, and our errors across a socket."""

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from devlink import __version__
from devlink.errors import BY_NAME, DevlinkError, ProfileError, ProtocolError, UnexpectedError

INTERFACE_DESCRIPTIONS = "devlink.rpc.interfaces"
"""The package folder with one `.varlink` file for each interface."""


class Call(NamedTuple):
    """One call as it came."""

    method: str
    """The whole name: `io.devlink.Helper.Apply`."""
    parameters: Mapping[str, Any] = MappingProxyType({})
    more: bool = False
    """The caller takes several replies."""
    oneway: bool = False
    """The caller takes none."""

    @property
    def interface(self) -> str:
        return self.method.rpartition(".")[0]


def call(method: str, parameters: Mapping[str, Any] | None = None, *, more: bool = False) -> dict[str, Any]:
    """A call as a message."""
    message: dict[str, Any] = {"method": method, "parameters": dict(parameters or {})}
    if more:
        message["more"] = True
    return message


def parse_call(message: Mapping[str, Any]) -> Call:
    """A message as a call. Raises ProtocolError."""
    method, parameters = message.get("method"), message.get("parameters") or {}
    if not isinstance(method, str) or "." not in method or not isinstance(parameters, dict):
        raise ProtocolError("A message on a devlink socket is not a varlink call.")
    return Call(
        method=method,
        parameters=parameters,
        more=message.get("more") is True,
        oneway=message.get("oneway") is True,
    )


def reply(parameters: Mapping[str, Any] | None = None, *, continues: bool = False) -> dict[str, Any]:
    """A reply as a message; `continues` where more follow."""
    message: dict[str, Any] = {"parameters": dict(parameters or {})}
    if continues:
        message["continues"] = True
    return message


def error_reply(interface: str, error: DevlinkError) -> dict[str, Any]:
    """A deliberate error as the interface's error `Failed`, with all that a person shall read."""
    parameters: dict[str, Any] = {
        "kind": type(error).__name__.removesuffix("Error"),
        "what": error.what,
        "why": error.why,
        "next_step": error.next_step,
    }
    if isinstance(error, ProfileError):
        parameters["faults"] = list(error.faults)
    return {"error": f"{interface}.Failed", "parameters": parameters}


def no_such_method(method: str) -> dict[str, Any]:
    """The standard error for a method that nobody serves."""
    return {"error": "org.varlink.service.MethodNotFound", "parameters": {"method": method}}


def parse_reply(message: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The parameters of a reply, and whether more follow. Raises the DevlinkError that the other side raised."""
    parameters = message.get("parameters")
    if not isinstance(parameters, dict):
        parameters = {}
    error = message.get("error")
    if error is None:
        return parameters, message.get("continues") is True
    if isinstance(error, str) and error.endswith(".Failed"):
        cls = BY_NAME.get(str(parameters.get("kind")), UnexpectedError)
        texts = {key: str(parameters.get(key, "")) for key in ("why", "next_step")}
        what = str(parameters.get("what", error))
        if cls is ProfileError:
            raise ProfileError(what, **texts, faults=tuple(str(f) for f in parameters.get("faults", ())))
        raise cls(what, **texts)
    raise ProtocolError(
        f"The other side of a devlink socket refused a call: {error} {dict(parameters)}.",
        why="It is probably of another version.",
        next_step="Run `devlink --version`, and restart the part that differs.",
    )


def describe_service(message_call: Call, interfaces: tuple[str, ...]) -> dict[str, Any] | None:
    """The reply to a call of `org.varlink.service`, which every varlink server owes; None if it is no such call."""
    if message_call.method == "org.varlink.service.GetInfo":
        return reply(
            {
                "vendor": "devlink",
                "product": "devlink",
                "version": __version__,
                "url": "",
                "interfaces": ["org.varlink.service", *interfaces],
            }
        )
    if message_call.method == "org.varlink.service.GetInterfaceDescription":
        wanted = message_call.parameters.get("interface")
        if wanted in interfaces:
            return reply({"description": interface_description(str(wanted))})
        return {"error": "org.varlink.service.InterfaceNotFound", "parameters": {"interface": str(wanted)}}
    return None


@cache
def interface_description(interface: str) -> str:
    """The text of the interface's `.varlink` file; as it was when it was first asked for, since an upgrade lays another
    one over it, which a process of the old version must not give for its own."""
    from importlib import resources  # 4 ms that a command does not need

    return resources.files(INTERFACE_DESCRIPTIONS).joinpath(f"{interface}.varlink").read_text("utf-8")


def includes(theirs: str, ours: str) -> bool:
    """Whether a description has every type, method and error of ours, word for word; comments do not count.

    Then who was written for ours is served by them as by his own version, whatever they have besides.
    """
    return _declarations(ours) <= _declarations(theirs)


def _declarations(description: str) -> frozenset[str]:
    text = re.sub("#.*", "", description)
    parts = re.split(r"^(?=(?:interface|type|method|error)\b)", text, flags=re.MULTILINE)
    return frozenset(" ".join(part.split()) for part in parts)
