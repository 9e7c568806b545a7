"""`devlink dashboard`: the link at a glance, in the terminal."""

import codecs
import os
import sys
from typing import TYPE_CHECKING

import click

from devlink.core.text import listed
from devlink.errors import UsageError

if TYPE_CHECKING:
    from devlink.tui.app import Dashboard


@click.command()
@click.option("--light", is_flag=True, help="For a terminal with a light background; `t` changes it.")
def dashboard(light: bool) -> int:
    """Show the link and what is wrong with it, and bring profiles up and down. `?` shows the keys.

    It asks the agent alone, changes nothing by itself, and may stay open: leaving it takes nothing down. It runs
    without an agent, too, and can start one. Without a terminal: devlink status --watch.
    """
    for_pipes = "For pipes and plain terminals: devlink status --watch"
    # Textual draws on stderr and reads stdin; what is drawn on nothing would look like a hang.
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise UsageError("The dashboard needs a terminal.", next_step=for_pipes)
    if os.environ.get("TERM", "dumb") in ("", "dumb"):
        raise UsageError(
            "The dashboard cannot draw on this terminal.", why="TERM says that it moves no cursor.", next_step=for_pipes
        )
    if codecs.lookup(sys.stderr.encoding).name != "utf-8":  # Python writes UTF-8 in the locale C, too (PEP 540)
        raise UsageError(
            "The dashboard cannot draw in this locale.",
            why=f"It draws in UTF-8, and the locale's encoding is {sys.stderr.encoding}.",
            next_step="Draw in UTF-8 all the same: LC_ALL=C.UTF-8 devlink dashboard",
        )
    import logging

    from devlink.rpc.tasks import run
    from devlink.tui.app import Dashboard

    logging.getLogger().addHandler(logging.NullHandler())  # else Python's last resort writes into what is drawn
    logging.captureWarnings(True)
    app = Dashboard(light=light)
    code = run(_shown(app))
    if app.defect is not None:
        raise app.defect
    names = [session.name for session in app.main.status.sessions] if app.main.status is not None else []
    if names and code == 0:
        click.echo(f"{listed(names)} {'stays' if len(names) == 1 else 'stay'} up.", err=True)
    return code


async def _shown(app: "Dashboard") -> int:
    """Until its user leaves it, or it is told to end: then the terminal is given back, too."""
    import asyncio
    import signal

    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, app.exit, 128 + number)
    return await app.run_async() or 0
