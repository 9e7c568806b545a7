"""The command line: one file for each group of commands, loaded when it is used."""

import sys


def main() -> None:
    """The `devlink` command. Ends the process with the exit code of DESIGN.md's user's surface."""
    from devlink.cli.root import run

    sys.exit(run())
