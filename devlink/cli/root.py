"""The root command: finds the others when they are asked for, and turns errors into words and exit codes."""

import errno
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from devlink import __version__
from devlink.cli.platforms import check_platform
from devlink.cli.streams import flush
from devlink.core.text import printable_lines
from devlink.errors import DevlinkError, HelperError, ProfileError, UnexpectedError, reason

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("devlink.cli.session:up", "Bring a profile up: routes, names, verified."),
    "down": ("devlink.cli.session:down", "Take a profile down: everything as it was before."),
    "status": ("devlink.cli.status:status", "Show what is up, how, and what is wrong."),
    "dashboard": ("devlink.cli.dashboard:dashboard", "The link at a glance, in the terminal."),
    "failover": ("devlink.cli.failover:failover", "Have another gateway carry the packets, by hand."),
    "doctor": ("devlink.cli.doctor:doctor", "Find out what is wrong, and what to do."),
    "explain": ("devlink.cli.explain:explain", "Show the way to a name, address or URL; or a finding."),
    "report": ("devlink.cli.report:report", "Write all that a colleague needs into one archive."),
    "logs": ("devlink.cli.logs:logs", "Show what devlink's processes have said."),
    "profile": ("devlink.cli.profile:profile", "Profiles: look at them, get them from a cluster, publish."),
    "dns": ("devlink.cli.dns:dns", "Names: ask and see why, watch, forget, count."),
    "login": ("devlink.cli.login:login", "Sign in to a cluster without a kubeconfig."),
    "logout": ("devlink.cli.login:logout", "Forget a login and its token."),
    "trust": ("devlink.cli.trust:trust", "Let a profile change this machine's network."),
    "service": ("devlink.cli.service:service", "The link by itself, whenever you are logged in."),
    "completion": ("devlink.cli.completion:completion", "Have a shell complete devlink's words by TAB."),
    "helper": ("devlink.cli.helper:helper", "The privileged part: install, run, status, restore."),
    "demo": ("devlink.cli.demo:demo", "The main job in a small private world, without root."),
}
"""Each command's place and its line in `devlink --help`: nothing is imported to show it."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run: `devlink --help` must start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        named = [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            ctx.fail(f"There is no command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


def _show_versions(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from devlink.cli.versions import running_versions

    click.echo(f"devlink {__version__}")
    for part, version in running_versions():
        click.echo(f"{part} {version}")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_versions,
    help="Show the versions of this command and of the running agent and helper.",
)  # fmt: skip
def devlink() -> None:
    """Pod IPs, ClusterIPs and service names of a Kubernetes cluster, in every program on this laptop."""
    if not set(click.get_current_context().help_option_names) & set(sys.argv):
        check_platform(sys.platform, click.get_current_context().invoked_subcommand)


def run(*, afterwards: Any = None, is_plugin: bool = False) -> int:
    """Run the command of this process's arguments and give its exit code.

    `afterwards`: how SIGINT is handled from then on; as before where it is None. `is_plugin`: kubectl has run us.
    """
    before = signal.getsignal(signal.SIGINT)
    interrupted = False
    try:
        if before is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = _run(is_plugin)
        unwritten = flush()
        if unwritten is not None:
            code = _show_unwritten(unwritten)
    except KeyboardInterrupt:  # a second one, over the telling of the first
        code, interrupted = 128 + signal.SIGINT, True
    try:
        signal.signal(signal.SIGINT, before if afterwards is None else afterwards)
    except KeyboardInterrupt:  # it came before this call, which then did nothing
        signal.signal(signal.SIGINT, before if afterwards is None else afterwards)
        interrupted = True
    return 128 + signal.SIGINT if interrupted else code


def _run(is_plugin: bool) -> int:
    try:
        if is_plugin:
            from devlink.cli.plugin import NAME, translated

            result = devlink.main(translated(devlink, sys.argv[1:], os.environ), prog_name=NAME, standalone_mode=False)
        else:
            result = devlink.main(prog_name="devlink", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("Cancelled.", err=True)
        return 128 + signal.SIGINT
    except DevlinkError as error:
        show_error(error)
        return error.exit_code
    except SystemExit as ended:
        if ended.code != 1:
            raise
        # click ends so where whoever read our output has enough (EPIPE), and has made stdout hold its peace
        return 128 + signal.SIGPIPE
    except TimeoutError:
        show_error(
            HelperError(
                "Another part of devlink does not answer.",
                why="It is stopped, or hangs.",
                next_step="`devlink --version` asks agent and helper; restart the one that does not answer.",
            )
        )
        return HelperError.exit_code
    except Exception as error:
        unwritten = flush() if isinstance(error, OSError) else None
        if unwritten is not None:
            return _show_unwritten(unwritten)
        if os.environ.get("DEVLINK_DEBUG"):
            raise
        click.echo(f"Error: devlink failed in a way that nobody foresaw: {error!r}", err=True)
        click.echo("  Next: run it again with DEVLINK_DEBUG=1 and report what it prints.", err=True)
        return 1
    return result if isinstance(result, int) else 0


def _show_unwritten(error: OSError) -> int:
    if error.errno == errno.EPIPE:
        return 128 + signal.SIGPIPE
    show_error(
        UnexpectedError(
            "The output cannot be written.", why=reason(error), next_step="Make room there, or write it elsewhere."
        )
    )
    return UnexpectedError.exit_code


def show_error(error: DevlinkError) -> None:
    """What, why and next step, each on its line; what others wrote in them does nothing to the terminal."""

    def show(text: str) -> None:
        click.echo(printable_lines(text), err=True)

    click.echo(click.style("Error: ", fg="red", bold=True), err=True, nl=False)
    show(error.what)
    if isinstance(error, ProfileError):
        for fault in error.faults:
            show(f"  {fault}")
    if error.why:
        show(f"  Why:  {error.why}")
    if error.next_step:
        show(f"  Next: {error.next_step}")
