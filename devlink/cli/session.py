"""`devlink up` and `down`: the link itself."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from devlink.agent.client import caller_environment, connect, connect_or_start
from devlink.cli import offers
from devlink.cli.status import show_session, states
from devlink.errors import DevlinkError, NotTrustedError, NotUpError, UsageError

EXIT_INTERRUPTED = 128 + signal.SIGINT


@click.command()
@offers.profile_or_context("The profile that the cluster of C publishes: a kubeconfig context, or a login.")
@click.option("--dry-run", is_flag=True, help="Show what would be installed, and change nothing.")
@click.option("--replace", is_flag=True, help="Take down your other sessions in the same step.")
@click.option("--no-dns", is_flag=True, help="Leave the resolver alone: routes only.")
@click.option("--no-routes", is_flag=True, help="Install no routes: names only.")
@click.option(
    "--exclude",
    multiple=True,
    metavar="PREFIX",
    help="Install no route to PREFIX, a part of the cluster's networks. May be repeated.",
)
@click.option(
    "--override",
    multiple=True,
    metavar="PREFIX",
    help="Win for PREFIX, or for `all`, where another program, such as a VPN, routes it already. May be repeated.",
)
@click.option(
    "--routing",
    # Written out: what defines them (core.profile) takes `down`, too, 15 ms to import.
    type=click.Choice(["auto", "per-node", "gateway", "router", "relay"]),
    help="Who carries the packets, instead of what the profile says. relay: the cluster's API server.",
)
@click.option(
    "--relay-undeclared-ports", is_flag=True, help="Relay also to ports that no Service and no container declares."
)
@click.option(
    "--relay-host-network", is_flag=True, help="Relay also to pods in their node's network: to that node's loopback."
)
@click.option(
    "--relay-containers",
    multiple=True,
    metavar="BRIDGE",
    help="Relay also for containers on BRIDGE, such as docker0. May be repeated.",
)
@click.option("--foreground", is_flag=True, help="Stay, and take it down on Ctrl-C (exit code 0).")
def up(
    profile: str | None,
    context: str,
    dry_run: bool,
    replace: bool,
    no_dns: bool,
    no_routes: bool,
    exclude: tuple[str, ...],
    override: tuple[str, ...],
    routing: str | None,
    relay_undeclared_ports: bool,
    relay_host_network: bool,
    relay_containers: tuple[str, ...],
    foreground: bool,
) -> int:
    """Bring PROFILE up: its routes and names, verified, or nothing at all.

    PROFILE is a name that `devlink profile list` shows, or a file. Without it: the default of config.toml, else the
    only file in the folder of profiles, else what the cluster of the current kubeconfig context publishes; without one,
    that of the only login.

    Where no next hop is on the laptop's link and the network does not carry the cluster's networks, TCP is relayed
    through the cluster's API server, for you alone, if you may forward ports to its pods.

    What --exclude, --override and the --relay options name adds to what config.toml says under [profiles.NAME].
    Networks that are on a link by themselves, and routes to single hosts, stay with who has them unless --override
    names exactly them.
    """
    from devlink.agent.profiles import absolute, check_argument

    check_argument(profile)
    chosen = absolute(profile)
    if chosen and context:
        raise UsageError("PROFILE and --context both say which profile.", next_step="Leave one of them out.")
    if no_dns and no_routes:
        raise UsageError(
            "With neither routes nor names there is nothing to bring up.",
            next_step="Leave --no-dns or --no-routes out.",
        )
    if no_routes and routing == "relay":
        raise UsageError(
            "--no-routes leaves nothing to relay.",
            why="It is by the routes to the cluster's networks that packets come to the relay.",
            next_step="Leave one of them out.",
        )
    relay = {
        "undeclared_ports": relay_undeclared_ports, "host_network": relay_host_network,
        "containers": list(relay_containers),
    }  # fmt: skip
    if dry_run:
        from devlink.cli.plan import show_plan

        return show_plan(
            chosen, context, with_dns=not no_dns, with_routes=not no_routes, exclude=exclude, override=override,
            routing=routing, relay=relay,
        )  # fmt: skip
    began = time.monotonic()
    wish = {
        "profile": chosen, "context": context, "environment": caller_environment(),
        "replace": replace, "dns": not no_dns, "routes": not no_routes,
        "exclude": list(exclude), "override": list(override), "routing": routing, "relay": relay,
    }  # fmt: skip
    # In the foreground, whatever ends this command ends what it brought up. Else SIGTERM and SIGHUP kill it, and the
    # agent takes back what nobody waits for.
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if foreground else (signal.SIGINT,)
    try:
        session = _bring_up(wish, ending)
    except DevlinkError as error:
        error.next_step = error.next_step.replace(
            "devlink trust PROFILE", f"devlink trust {shlex.quote(profile) if profile else ''}".strip()
        )
        if not isinstance(error, NotTrustedError):
            raise
        _on_signals(ending, signal.SIG_DFL)
        _on_signals((signal.SIGINT,), signal.default_int_handler)
        from devlink.cli.trust import offer

        if not offer(error):
            raise
        began = time.monotonic()  # what a person took to answer is not counted
        session = _bring_up(wish, ending)
    if session is None:
        return EXIT_INTERRUPTED
    name = str(session["name"])
    try:
        _on_signals(ending, signal.default_int_handler if foreground else signal.SIG_IGN)
        click.echo(f"{name} is up ({time.monotonic() - began:.1f} s).", err=True)
        show_session(session, err=True)
        if not foreground:
            return 0
        _stay(name)
    except KeyboardInterrupt:
        _on_signals(ending, signal.SIG_IGN)  # the way back is short, and must not be cut
    return _down(name, everything=False)


def _bring_up(wish: Mapping[str, Any], ending: tuple[signal.Signals, ...]) -> Mapping[str, Any] | None:
    """The session that is up, or None if one of the signals came: then it was taken back, and that was said."""
    steps = Steps()
    session: Mapping[str, Any] = {}
    cancelled = False
    with connect_or_start() as agent:

        def cancel(*_: object) -> None:
            # No exception: it could come between the arrival of a reply and its being noted.
            nonlocal cancelled
            if not cancelled:
                cancelled = True
                steps.cut("cancelled: taking everything back")
                agent.give_up()

        _on_signals(ending, cancel)
        try:
            for reply in agent.stream("io.devlink.Agent.Up", wish):
                if "session" in reply:
                    session = reply["session"]
                else:
                    steps.show(str(reply.get("step", "")), bool(reply.get("done")))
        except DevlinkError as error:
            if not cancelled:
                raise
            steps.end()
            click.echo(str(error), err=True)
            return None
        finally:
            steps.end()
    if not cancelled:
        return session
    # It was up before the agent heard of it.
    _down(str(session["name"]), everything=False)
    click.echo("Cancelled, and everything was taken back.", err=True)
    return None


def _on_signals(numbers: tuple[signal.Signals, ...], handler: Any) -> None:
    for number in numbers:
        signal.signal(number, handler)


class Steps:
    """What is going on, on stderr: one line that moves on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._open = False

    def show(self, step: str, done: bool) -> None:
        """A step that begins, or one that is done."""
        if self._terminal and self._open:
            click.echo("\r\x1b[K", nl=False, err=True)
        mark = click.style("✓", fg="green") if done else "…"
        self._open = self._terminal and not done
        if done or self._terminal:
            click.echo(f"{mark} {step}", nl=not self._open, err=True)

    def cut(self, step: str) -> None:
        """A last step that may come in the middle of another one's being shown: for a signal handler."""
        if self._terminal:
            os.write(sys.stderr.fileno(), f"\r\x1b[K… {step}".encode())
            self._open = True

    def end(self) -> None:
        """The moving line, if one stands, goes."""
        if self._open:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._open = False


def _stay(name: str) -> None:
    """Watch a session until Ctrl-C, or raise NotUpError when another command takes it down."""
    click.echo("Ctrl-C takes it down.", err=True)
    with connect_or_start(timeout=None) as agent:
        for state in states(agent):
            if name not in (session["name"] for session in state["sessions"]):
                raise NotUpError(
                    f"{name} was taken down by another command.", next_step="Bring it up again: devlink up"
                )


@click.command()
@click.argument("profile", required=False, shell_complete=offers.sessions)
@click.option("--all", "everything", is_flag=True, help="Take down all your sessions.")
def down(profile: str | None, everything: bool) -> int:
    """Take PROFILE down, or the one that is up: everything is as it was before."""
    if profile is not None:
        if everything:
            raise UsageError("--all takes down all your sessions.", next_step="Name none, or leave --all out.")
        from devlink.agent.profiles import check_argument

        check_argument(profile)
    return _down(profile, everything=everything)


def _down(name: str | None, *, everything: bool) -> int:
    agent = connect()
    if agent is None:
        from devlink.cli.orphans import release

        names = release(name, everything=everything)
    else:
        with agent:
            try:
                names = agent.call("io.devlink.Agent.Down", {"session": name or "", "all": everything})["sessions"]
            except NotUpError as error:
                if not name:
                    from devlink.cli.remains import check_nothing_left

                    check_nothing_left()
                    raise
                names = _released_elsewhere(name, error)
    for each in names:
        click.echo(f"{each} is down.", err=True)
    return 0


def _released_elsewhere(name: str, error: NotUpError) -> tuple[str, ...]:
    """A session of this user that this agent does not have: another agent of theirs does, or lost it."""
    from devlink.cli.orphans import release

    try:
        return release(name, everything=False)
    except NotUpError:
        raise error from None
