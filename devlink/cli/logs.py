"""`devlink logs`: what agent, helper and forwarder have said."""

import os
import selectors
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import IO

import click

from devlink import hints
from devlink.core.text import printable_lines
from devlink.doctor.report import logs as kept

LINES = 100
JOURNAL_LIMIT = 10.0
"""Seconds for the journal to show its last entries."""
LOOK_AGAIN = 0.2
"""Seconds after which the agent's file is looked at again."""
SIZE_LIMIT = 4 << 20
"""Octets of each file of ours, from its end."""


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what is said from now on, until Ctrl-C.")
@click.option(
    "-n", "--lines", default=LINES, show_default=True, type=click.IntRange(min=0), help="How many lines of the past."
)
def logs(follow: bool, lines: int) -> int:
    """Show what devlink's processes have said: agent, helper, forwarder, by time.

    From the systemd journal where there is one, as far as you may read it, and from the agent's own file.
    """
    from devlink.agent.places import log_file

    path = log_file()
    began = time.time()
    has_journal = kept.has_journal()
    _tell_what_is_missing(has_journal=has_journal)
    file = kept.Tail(path)
    try:
        past = _past(lines) if has_journal else []
        said = kept.of_lines(kept.tail(path, lines, SIZE_LIMIT, until=file.begin), "agent")
        _show(kept.last([past, said], lines))
        if follow:
            since = f"--after-cursor={past[-1].cursor}" if past else f"--since=@{began:.6f}"
            _follow(file, since if has_journal else "")
    except KeyboardInterrupt:
        pass
    finally:
        file.close()
    return 0


def _tell_what_is_missing(*, has_journal: bool) -> None:
    if not has_journal:
        click.echo("There is no journal here: what helper and forwarder say is where they were started.", err=True)
    elif kept.is_hidden():
        from devlink.helper.access import user_name

        user = shlex.quote(user_name(os.getuid()))
        click.echo("You may not read the system's journal: what helper and forwarder say is missing here.", err=True)
        click.echo(f"  Next: {hints.as_root('logs')}", err=True)
        click.echo(f"  Or, for good, from your next login on: sudo usermod -aG systemd-journal {user}", err=True)


def _past(lines: int) -> list[kept.Entry]:
    """The last entries of the journal."""
    if not lines:
        return []
    try:
        done = subprocess.run(
            kept.journalctl(f"--lines={lines}"), stdin=subprocess.DEVNULL, capture_output=True, timeout=JOURNAL_LIMIT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        click.echo(f"The journal cannot be read: {error}", err=True)
        return []
    if done.returncode:
        click.echo(f"The journal cannot be read: {printable_lines(done.stderr.decode(errors='replace'))}", err=True)
    return [entry for line in done.stdout.splitlines() if (entry := kept.of_journal(line)) is not None]


def _follow(file: kept.Tail, since: str) -> None:
    """Show what comes, until it is interrupted. `since`: where the journal's part begins; empty without a journal."""
    if not since:
        while True:
            _show(kept.of_lines(file.read(), "agent", time.time()))
            time.sleep(LOOK_AGAIN)
    with subprocess.Popen(
        kept.journalctl("--follow", "--no-tail", since), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as journal:
        try:
            assert journal.stdout is not None
            _follow_both(file, journal.stdout)
        finally:
            journal.kill()
    click.echo("The journal has ended, and shows nothing more.", err=True)
    _follow(file, "")


def _follow_both(file: kept.Tail, journal: IO[bytes]) -> None:
    """Return when the journal ends."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(journal, selectors.EVENT_READ)
        while True:
            entries = []
            if selector.select(LOOK_AGAIN):
                data = os.read(journal.fileno(), 1 << 16)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                entries = [entry for line in lines if (entry := kept.of_journal(line)) is not None]
            _show(kept.last([entries, kept.of_lines(file.read(), "agent", time.time())], sys.maxsize))


def _show(entries: Iterable[kept.Entry]) -> None:
    for entry in entries:
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time))
        head = f"{clock}.{int(entry.time % 1 * 1000):03} {entry.part:<9} "
        click.echo(head + printable_lines(entry.text).replace("\n", f"\n{' ' * len(head)}"))
    sys.stdout.flush()
