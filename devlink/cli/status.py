"""`devlink status`: what is up, how, and what waits."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from devlink.agent.client import connect
from devlink.cli.output import MARKS, Lines, emit, output_option
from devlink.core.text import duration
from devlink.errors import ProtocolError, UsageError, VerificationError
from devlink.rpc.client import Client

EXIT_NOT_UP = 3
STATUS_LIMIT = 10.0
"""Seconds for the agent to look at what there is."""
MAX_GATEWAYS = 8
"""Lines; in per-node mode there may be hundreds of nodes."""
MAX_PODS = 8
"""Lines; a relay may speak with as many pods as its user's programs do."""


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Show it again whenever it changes.")
@click.option("--short", is_flag=True, help="One short line for a shell prompt: `qa`, `qa!`, `qa~`.")
@output_option("json", "yaml")
def status(watch: bool, short: bool, output: str) -> int:
    """Show what is up. Exit code: 0 up, 3 nothing is up (yet), 4 degraded, suspended, or some of it waits.

    With --short, each session is its name: `qa` is up, `qa!` degraded, `qa~` suspended or waiting. A lone `?` is an
    agent that does not answer within 0.2 s (exit code 6), and nothing is nothing. In a prompt:

    \b
      bash      PS1='$(devlink status --short) \\$ '
      zsh       setopt prompt_subst; PROMPT='$(devlink status --short) %# '
      starship  [custom.devlink]
                command = "devlink status --short; true"
                when = true
    """
    if short:
        if watch or output != "text":
            raise UsageError("--short is one line of text.", next_step="Leave --watch and --output out.")
        from devlink.cli.short import show

        return show()
    agent = connect(timeout=None if watch else STATUS_LIMIT)
    if agent is None:
        nothing = {"version": "", "helper": "", "helper_version": "", "sessions": [], "asking": [], "waiting": []}
        return _show_status(nothing, output, is_all=True)
    with agent:
        if not watch:
            return _show_status(agent.call("io.devlink.Agent.Status")["status"], output, is_all=True)
        code = EXIT_NOT_UP
        try:
            for state in states(agent):
                if sys.stdout.isatty() and output == "text":
                    click.clear()
                code = _show_status(state, output)
                sys.stdout.flush()
        except KeyboardInterrupt:
            pass
        return code


def states(agent: Client) -> Iterator[Mapping[str, Any]]:
    """Each state that the agent tells. Raises VerificationError when it ends."""
    try:
        for reply in agent.stream("io.devlink.Agent.Status"):
            yield reply["status"]
    except ProtocolError as error:
        raise VerificationError(
            "The agent has ended, and not by a command.",
            why="It was stopped or killed. What it had up, the helper takes back after a while.",
            next_step="`devlink up` goes on with it, `devlink down` takes it back now.",
        ) from error


def _show_status(data: Mapping[str, Any], output: str, *, is_all: bool = False) -> int:
    """`is_all`: nothing more will be said, so that nothing is up must be true of what no agent has, too."""
    from devlink.cli.short import exit_code

    sessions, waiting = data["sessions"], data.get("waiting", ())
    if output != "text":
        emit(data, output)
    else:
        for each in waiting:
            show_waiting(each)
    if not sessions:
        if is_all:
            from devlink.cli.remains import check_nothing_left

            check_nothing_left()
        if output == "text" and (data.get("asking") or not waiting):
            asking = " and ".join(wanted or "the default profile" for wanted in data.get("asking", ()))
            click.echo(f"Nothing is up yet, and still asked for: {asking}." if asking else "Nothing is up.")
    elif output == "text":
        for session in sessions:
            show_session(session)
    return exit_code(data)


def show_waiting(each: Mapping[str, Any]) -> None:
    """What shall be up since login, and what keeps it: the agent brings it up by itself as soon as it can."""
    state = click.style("waiting", fg="yellow", bold=True)
    click.echo(f"{each['profile'] or 'the default profile'}  {state}  for {duration(each['since'])}")
    tell = Lines()
    tell.line("  why       ", each["why"])
    if each["next_step"]:
        tell.line("  next      ", each["next_step"])


def show_session(session: Mapping[str, Any], *, err: bool = False) -> None:
    """What is up: how, by whom, which names, and what is wrong; to stderr with `err`."""
    colour = {"up": "green", "degraded": "red"}.get(session["state"], "yellow")
    state = click.style(session["state"], fg=colour, bold=True)
    click.echo(f"{session['name']}  {state}  for {duration(session['since'])}", err=err)
    tell = Lines(err=err)
    if session["context"]:
        revision = f", revision {session['revision']}" if session["revision"] else ""
        given = f"from the cluster of context {session['context']}, {duration(session['age'])} ago{revision}"
        tell.line("  profile   ", given)
    tell.line("  routing   ", f"{session['mode']}: {session['reason']}")
    if session.get("relay") is not None:
        _show_relay(session["relay"], tell)
    routes = session["routes"]
    for index, route in enumerate(routes[:8]):
        tell.line(f"  {'routes' if index == 0 else '':<9} ", route)
    if len(routes) > 8:
        tell.line("            ", f"and {len(routes) - 8} more (devlink status -o json)")
    gateways = _worth_showing(session)
    for index, gateway in enumerate(gateways[:MAX_GATEWAYS]):
        tell.line(f"  {'gateways' if index == 0 else '':<9} ", _gateway(gateway))
    if len(gateways) > MAX_GATEWAYS:
        tell.line("            ", f"and {len(gateways) - MAX_GATEWAYS} more (devlink status -o json)")
    for choice in ("exclude", "override"):
        if session[choice]:
            tell.line(f"  {choice:<9} ", ", ".join(session[choice]))
    if session["zones"]:
        forward = [zone for zone in session["zones"] if not zone.endswith(".arpa")]
        reverse = len(session["zones"]) - len(forward)
        also = "".join(f", NAME.{namespace}" for namespace in session["search"])
        also += f" and {reverse} reverse zone{'s' if reverse != 1 else ''}" if reverse else ""
        tell.line("  names     ", f"{', '.join(forward)}{also} to the cluster")
        why = f": {session['resolver_reason']}" if session["resolver_reason"] else ""
        tell.line("  resolver  ", f"{session['resolver']}{why}")
    for finding in session["findings"]:
        mark, paint = MARKS[finding["severity"]]
        tell.line(f"  {mark} ", f"{finding['title']} [{finding['code']}]", colour=paint)
        for text in (finding.get("evidence"), finding.get("fix")):
            if text:
                tell.line("      ", text)


def _show_relay(told: Mapping[str, Any], tell: Lines) -> None:
    """By what it relays, how much goes through, where to, and what it refuses. `told` is a `core.relay.RelayState`."""
    from devlink.core import relay_words as words
    from devlink.core.codec import decode
    from devlink.core.relay import RelayState

    state = decode(RelayState, told)
    speaks = words.form(state)
    tell.line("  relay     ", f"through {state.server or 'the API server'}" + (f", {speaks}" if speaks else ""))
    tell.line("            ", words.traffic(state))
    pods = words.busiest(state.pods)
    for index, pod in enumerate(pods[:MAX_PODS]):
        tell.line(f"  {'pods' if index == 0 else '':<9} ", words.pod_in_use(pod))
    if len(pods) > MAX_PODS:
        tell.line("            ", f"and {len(pods) - MAX_PODS} more (devlink status -o json)")
    for index, refused in enumerate(state.refused):
        tell.line(f"  {'refused' if index == 0 else '':<9} ", words.refusal(refused))


def _worth_showing(session: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Those that are no plain nodes, and nodes that are ill or carry; what says most comes first."""
    carries_own = session["mode"] == "per-node"  # every node does, and that tells nothing

    def is_special(gateway: Mapping[str, Any]) -> bool:
        is_ill = gateway["state"] in ("silent", "returning")
        return is_ill or bool(gateway["by_hand"]) or (bool(gateway["carries"]) and not carries_own)

    worth = [each for each in session["gateways"] if each["role"] != "node" or is_special(each)]
    return sorted(worth, key=is_special, reverse=True)  # else as the profile has them


def _gateway(gateway: Mapping[str, Any]) -> str:
    carries = ", carries the packets" if gateway["carries"] else ""
    carries += ", by hand" if gateway["by_hand"] else ""
    rtt = f", {gateway['rtt_ms']} ms" if gateway.get("rtt_ms") is not None and gateway["state"] != "silent" else ""
    state = "no answer yet" if gateway["state"] == "unknown" else gateway["state"]  # whether or not it was asked
    return f"{gateway['address']} ({gateway['role']}) {state} for {duration(gateway['since'])}{rtt}{carries}"
