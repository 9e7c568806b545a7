"""The command line: one file for each group of commands, loaded when it is used."""

import os
import signal
import sys


def main() -> None:
    """The `devlink` command. Ends the process with the exit code of DESIGN.md's user's surface."""
    _main(is_plugin=False)


def as_plugin() -> None:
    """The `kubectl-devlink` command: what kubectl runs for `kubectl devlink`."""
    _main(is_plugin=True)


def completing_plugin() -> None:
    """The `kubectl_complete-devlink` command: what kubectl asks, at TAB, for what may stand behind `devlink`."""
    os.environ["_DEVLINK_COMPLETE"] = "kubectl"
    _main(is_plugin=True)


def _main(*, is_plugin: bool) -> None:
    # Until a command runs there is nothing to take back: Ctrl-C ends us as it ends any program, without a traceback
    # from within an import. Where it is ignored (nohup, a background job) it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "win32":  # where even --version would end on what is not there
        from devlink.cli.platforms import refuse

        sys.exit(refuse(sys.platform))
    from devlink.cli.short import is_asked_for, show

    if is_asked_for(sys.argv[1:]):  # by a shell's prompt, which cannot wait until click is imported
        sys.exit(show())
    from devlink.cli.streams import make_safe

    make_safe()
    if "_DEVLINK_COMPLETE" in os.environ:
        from devlink.cli.completing import main as complete

        sys.exit(complete())
    from devlink.cli.root import run

    # The exit code is decided when run() returns, and the interpreter's end must not change it; of all handlers only
    # SIG_IGN is left in place by it.
    sys.exit(run(afterwards=signal.SIG_IGN, is_plugin=is_plugin))
