"""`devlink service`: the agent as a service of its user, which brings profiles up at login."""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from devlink.cli import offers
from devlink.cli.output import Lines, emit, output_option
from devlink.core.text import duration
from devlink.errors import DevlinkError, UsageError

EXIT_INACTIVE = 3
EXIT_FAILED = 4
AGENT_LIMIT = 2.0
"""Seconds for the agent to say what it waits for: it looks at nothing for that."""


@click.group()
def service() -> None:
    """The link by itself: up whenever you are logged in, by a systemd service of yours. Needs no root."""


@service.command(short_help="Bring profiles up at login, and now.")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    metavar="P",
    shell_complete=offers.names_of_profiles,
    help="A profile to bring up at login, as `devlink up P` takes it; may be repeated. Without one: what a bare "
    "`devlink up` means.",
)
@click.option("--no-start", is_flag=True, help="Start it at the next login, not now.")
def install(profiles: tuple[str, ...], no_start: bool) -> int:
    """Bring profiles up at login, and now: writes, enables and starts a unit. Installing again replaces it.

    The agent waits by itself for what is not there yet: the network, the keyring, the helper, trust (`devlink status`
    says for what). PATH, KUBECONFIG and proxies are those of this very command.
    """
    from devlink.agent.client import caller_environment
    from devlink.agent.login import forget
    from devlink.agent.profiles import absolute, check_argument, load
    from devlink.service import user

    for profile in profiles:
        check_argument(profile)
    wished = tuple(dict.fromkeys(map(absolute, profiles)))
    user.check_manager()
    if not no_start:
        forget()  # what was taken down since login is wished again
    text = user.install(wished, caller_environment(), starting=not no_start)
    click.echo(f"{user.file()}:", err=True)
    for line in text.splitlines():
        click.echo(f"  {line}", err=True)
    click.echo(f"It is enabled{'' if no_start else ' and runs'}: {_wished(wished)} at login.", err=True)
    for profile in profiles:
        try:
            load(profile)
        except DevlinkError as error:  # a file may come later, a cluster's profile with the next `up`
            click.echo(f"! {error.what} It waits until there is one: install again if another was meant.", err=True)
    seen = user.look()
    if not seen.lingers:
        click.echo("From boot on, before anybody logs in: loginctl enable-linger", err=True)
    return 0


@service.command(short_help="Stop it, with its sessions, and remove it.")
def uninstall() -> int:
    """Stop it, with its sessions, and remove all that `service install` wrote."""
    from devlink.agent.login import forget
    from devlink.service import user

    was_there = user.uninstall()
    with contextlib.suppress(UsageError):  # no login, nothing remembered
        forget()
    click.echo("The service is gone." if was_there else "There is no service: nothing to remove.", err=True)
    return 0


@service.command()
@output_option("json", "yaml")
def status(output: str) -> int:
    """Show whether it is installed and runs, and what waits. Exit code: 0 active, 3 not, 4 failed."""
    from devlink.service import user

    seen = user.look()
    waiting = _waiting()
    if output != "text":
        told = {**asdict(seen), "profiles": list(seen.profiles), "waiting": waiting or [], "hangs": waiting is None}
        emit(told, output)
    else:
        tell = Lines()
        since = f" for {duration(seen.since)}" if seen.since is not None else ""
        installed = "at login" if seen.enabled else "not enabled: it does not start at login"
        tell.line("installed  ", f"{seen.file}, {installed}" if seen.installed else "no (devlink service install)")
        tell.line("runs       ", f"{seen.active}{since}{f', failed {seen.restarts} times' if seen.restarts else ''}")
        if seen.installed:
            tell.line("profiles   ", _wished(seen.profiles))
        tell.line("lingers    ", "yes: from boot on, and after logout" if seen.lingers else "no: it ends at logout")
        if waiting is None:
            tell.line("answers    ", f"not within {AGENT_LIMIT:g} s. If that stays so: {user.RESTART}")
        if waiting:
            from devlink.cli.status import show_waiting

            for each in waiting:
                show_waiting(each)
    if seen.active in ("active", "activating", "deactivating"):
        return 0
    return EXIT_FAILED if seen.active == "failed" else EXIT_INACTIVE


def _wished(profiles: tuple[str, ...]) -> str:
    return ", ".join(profiles) or "the default profile"


def _waiting() -> list[Mapping[str, Any]] | None:
    """What the agent waits with; nothing where there is none, or one of another version. None where one hangs."""
    from devlink.agent.client import connect

    try:
        agent = connect(timeout=AGENT_LIMIT, greeting=AGENT_LIMIT)
        if agent is None:
            return []
        with agent:
            asked = {"routes": False, "look": False}
            return list(agent.call("io.devlink.Agent.Status", asked)["status"].get("waiting", ()))
    except TimeoutError:
        return None
    except DevlinkError:
        return []
