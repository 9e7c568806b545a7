"""What completion offers for an argument: from files and the user's own processes, never from a network."""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

AGENT_LIMIT = 0.15
"""Seconds for each of the agent's two answers."""


def profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Profiles that `up` knows by name; files where a path was begun, or where no name fits."""
    from devlink.agent.profiles import is_path, known_profiles

    if is_path(incomplete) or incomplete.startswith("."):
        return [_file(incomplete)]
    known = known_profiles()
    names = {one.name: f"of {one.origin.context}" if one.origin is not None else str(one.path) for one in known}
    return _beginning(incomplete, names) or [_file(incomplete)]


def names_of_profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The same where no file can be meant."""
    from devlink.agent.profiles import known_profiles

    return _beginning(incomplete, [one.name for one in known_profiles()])


def contexts(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Contexts of the kubeconfig, and logins."""
    from devlink.cluster import kubeconfig, logins

    names: list[str] = []
    with contextlib.suppress(Exception):  # of a broken kubeconfig's sake the logins are not left out
        names += kubeconfig.read(os.environ).contexts
    return _beginning(incomplete, dict.fromkeys([*names, *logins.names()], ""))


def logins(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The names of logins."""
    from devlink.cluster import logins as known

    return _beginning(incomplete, known.names())


def sessions(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """What is up."""
    return _beginning(incomplete, [str(session["name"]) for session in _sessions()])


def gateways(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The gateways of what is up, of the session that --profile names if it does."""
    wanted = ctx.params.get("profile")
    found: dict[str, str] = {}
    for session in _sessions():
        if wanted in (None, "", session["name"]):
            found |= {str(one["address"]): f"{session['name']}, {one['state']}" for one in session["gateways"]}
    return _beginning(incomplete, found)


def codes(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Codes of findings; a name or an address is the user's to know."""
    from devlink.doctor.reference import sections

    return _beginning(incomplete.upper(), {one.code: one.first_sentence for one in sections()})


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Files, which the shell itself knows best."""
    return [_file(incomplete)]


def _file(incomplete: str) -> "CompletionItem":
    from click.shell_completion import CompletionItem

    return CompletionItem(incomplete, type="file")


def _beginning(incomplete: str, names: Iterable[str] | Mapping[str, str]) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    about = names if isinstance(names, Mapping) else {}
    return [CompletionItem(name, help=about.get(name) or None) for name in names if name.startswith(incomplete)]


def _sessions() -> list[dict[str, Any]]:
    from devlink.agent.client import connect

    agent = connect(timeout=AGENT_LIMIT, greeting=AGENT_LIMIT)
    if agent is None:
        return []
    with agent:
        return list(agent.call("io.devlink.Agent.Status")["status"]["sessions"])


def profile_or_context(help: str) -> Callable[[Any], Any]:
    """The parameters `profile` and `context` of a command that means one profile; `help` is of what --context gives."""
    context = click.option("--context", default="", metavar="C", shell_complete=contexts, help=help)
    profile = click.argument("profile", required=False, shell_complete=profiles)
    return lambda command: profile(context(command))
