"""`devlink dashboard`: the link at a glance, in the terminal."""

import sys

import click

from devlink.errors import UsageError


@click.command()
@click.option("--light", is_flag=True, help="For a terminal with a light background; `t` changes it.")
def dashboard(light: bool) -> int:
    """Show the link and what is wrong with it, and bring profiles up and down. `?` shows the keys.

    It asks the agent alone, changes nothing by itself, and may stay open. Without a terminal: devlink status --watch.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("The dashboard needs a terminal.", next_step="For pipes: devlink status --watch")
    from devlink.tui.app import Dashboard

    return Dashboard(light=light).run() or 0
