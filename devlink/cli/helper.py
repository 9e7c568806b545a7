"""`devlink helper`: the privileged part, for whoever owns the machine."""

import os
import sys
from typing import TYPE_CHECKING

import click

from devlink.cli.asking import confirm
from devlink.errors import HelperError, NotPermittedError
from devlink.helper.client import connect
from devlink.hints import as_root

if TYPE_CHECKING:  # for the two commands that only the machine's owner runs, once
    from devlink.service.machine import Plan

UNASKED = "Run it at a terminal; or with --yes"


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


@helper.command(short_help="Show what it has installed for you.")
def status() -> int:
    """Show what the helper has installed for you (for root: for everyone)."""
    from devlink.service.manifest import read_manifest

    installed = read_manifest()
    if installed is not None:
        click.echo(f"installed  {installed.version} in {installed.programs}, SHA-256 {installed.digest[:16]}")
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


@helper.command(short_help="Undo all that it installed, by the journal.")
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


@helper.command(short_help="Install it as system services (pip, pipx).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-member", is_flag=True, help="Leave the group devlink as it is.")
def install(yes: bool, no_member: bool) -> int:
    """Install the privileged part as system services: for a devlink that came by pip or pipx.

    Copies this devlink to /usr/local/lib/devlink, where only root can change it, and runs it from there. Shows what it
    will write, and asks once. Done again with a newer devlink, it takes the place of the older.
    """
    _need_root("install", "Installing system services")
    from devlink import __version__
    from devlink.helper.access import user_name
    from devlink.service import effects, laying, machine, owned, sources

    place = machine.Place()
    machine.check_system(place, os.environ)
    caller = effects.caller()
    found = sources.read_sources({0, caller})
    running = os.path.realpath("/proc/self/exe")
    python = owned.interpreter(running, (sys.version_info.major, sys.version_info.minor))
    layout = {
        path.removeprefix(sources.LAYOUT): content.decode()
        for path, content in found.files.items()
        if path.startswith(sources.LAYOUT)
    }
    member = "" if no_member or caller == 0 else machine.new_member(caller)
    os.umask(0o022)
    os.chdir("/")
    todo = machine.plan(place, found, layout, python, version=__version__, member=member)
    _show(todo, [user_name(uid) for uid in found.owners if uid != 0])
    if not yes:
        confirm("Install it?", refused="Not installed.", unasked=UNASKED)
    machine.install(place, todo)
    click.echo(f"The helper of devlink {__version__} is installed. To take it away: {machine.UNINSTALL}", err=True)
    if not todo.manifest.members and caller != 0:
        click.echo(f"Who may use it is in the group {laying.GROUP}.", err=True)
    return 0


@helper.command(short_help="Take away what `helper install` wrote.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def uninstall(yes: bool) -> int:
    """Take away all that `helper install` wrote, after the machine's network is as it was before."""
    _need_root("uninstall", "Removing system services")
    from devlink.service import machine
    from devlink.service.manifest import read_manifest

    installed = read_manifest()
    if installed is None:
        click.echo("`devlink helper install` has installed nothing here.", err=True)
        return 0
    click.echo(f"devlink {installed.version} goes from {installed.programs}, with:", err=True)
    for path in installed.files:
        if not path.startswith(f"{installed.programs}/"):
            click.echo(f"  {path}", err=True)
    for path in machine.STATE:
        click.echo(f"  {path}/ (trust records, state)", err=True)
    for who in dict.fromkeys((*installed.users, *installed.groups)):
        click.echo(f"  user or group {who}", err=True)
    if not yes:
        confirm("Take it away?", refused="Not removed.", unasked=UNASKED)
    os.umask(0o022)
    os.chdir("/")
    for kept in machine.uninstall(machine.Place()):
        click.echo(f"Kept: {kept}", err=True)
    click.echo("Nothing that `devlink helper install` wrote is there any more.", err=True)
    return 0


def _need_root(verb: str, what: str) -> None:
    if os.geteuid() != 0:
        raise NotPermittedError(
            f"{what} is for root.", why="It shows what it does, and asks.", next_step=as_root("helper", verb)
        )


def _show(plan: "Plan", owners: "list[str]") -> None:
    from devlink.service import laying
    from devlink.service.manifest import PATH

    def say(text: str) -> None:
        click.echo(text, err=True)

    new, old = plan.manifest, plan.old
    say(f"devlink {new.version} from {plan.sources.origin}, SHA-256 {plan.sources.digest}")
    for owner in owners:
        say(f"  ! It belongs to user {owner}: root takes over what is there now, and runs it. Say yes if you trust it.")
    if old is not None:
        say(f"It takes the place of {old.version} (SHA-256 {old.digest[:16]}).")
    packages = sorted({path.partition("/")[0].removesuffix(".py") for path in plan.sources.files})
    say("It will write:")
    say(f"  {new.programs}/ ({len(plan.sources.files)} files, and their bytecode: {', '.join(packages)})")
    for path in (*plan.files, PATH):
        say(f"  {path}" + (f" (yours is kept as {path}.save)" if path in plan.saved else ""))
    folders = [path for path in new.folders if not path.startswith(f"{new.programs}/")]
    if old is None and folders:
        say(f"and make the folders {', '.join(folders)}")
    if new.users:
        say(f"and the users {', '.join(new.users)}")
    if new.groups:
        say(f"and the groups {', '.join(new.groups)}")
    say(f"and enable and start {', '.join(laying.enabled(plan.files))}")
    say(f"All of it is root's, and run by {new.python}, with nothing but its own library on the path.")
    if plan.member:
        say(f"  ! {plan.member} becomes a member of the group {laying.GROUP}, which may bring trusted profiles up and")
        say("    down without a password. To leave that out: --no-member")
