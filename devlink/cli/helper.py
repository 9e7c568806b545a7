"""`devlink helper`: the privileged part, for whoever owns the machine."""

import click

from devlink.errors import HelperError
from devlink.helper.client import connect


@click.group()
def helper() -> None:
    """The privileged part of devlink: it changes routes and the resolver, and undoes it."""


@helper.command()
def run() -> int:
    """Be the helper, in the foreground. Service managers start it so; needs root or the two capabilities."""
    from devlink.helper.policy import Paths
    from devlink.helper.server import log_to_stderr
    from devlink.helper.server import run as run_helper

    log_to_stderr()
    run_helper(Paths())
    return 0


@helper.command()
def status() -> int:
    """Show what the helper has installed for you (for root: for everyone)."""
    with connect() as client:
        state = client.call("io.devlink.Helper.List")
    why = f" ({state['resolver_reason']})" if state["resolver_reason"] else ""
    click.echo(f"resolver   {state['resolver'] or 'untouched'}{why}")
    click.echo(f"forwarder  {state['forwarder']}")
    if state["left"]:
        click.echo("left       something that no session has: the log says what keeps it from being taken back")
    for session in state["sessions"]:
        click.echo(f"session    {session['name']}  {session['state']}  uid {session['uid']}")
        for route in session["routes"]:
            click.echo(f"           {route}")
    return 0


@helper.command()
@click.option("--no-helper", is_flag=True, help="Do not ask the helper: for its own unit, when it has ended.")
def restore(no_helper: bool) -> int:
    """Undo all that devlink installed, by the journal, with or without a helper; needs root or its capabilities."""
    try:
        # Under systemd to connect is to start it, and while it is being stopped nobody would answer.
        client = None if no_helper else connect()
    except HelperError:
        client = None
    if client is None:
        from devlink.helper.policy import Paths
        from devlink.helper.server import log_to_stderr
        from devlink.helper.server import restore as restore_machine

        log_to_stderr()
        restore_machine(Paths())
    else:
        with client:
            client.call("io.devlink.Helper.Restore")
    click.echo("Nothing of devlink's is installed any more.", err=True)
    return 0
