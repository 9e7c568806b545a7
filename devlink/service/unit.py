"""The text of the user's unit, and what can be read back from it. PURE."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NAME = "devlink-agent.service"
MARK = "# Written by `devlink service install`; `devlink service uninstall` takes it away."
"""The first line of a unit that is ours."""
GROWING_SINCE = 254
"""The systemd that knows pauses which grow; one before it warns of each key that it does not know."""
PASSED_ON = (
    "PATH", "KUBECONFIG", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME",
    "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
)  # fmt: skip
"""What a shell has and the user's manager has not: where programs that sign in lie, which clusters there are, and the
way to them."""
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@,+")
TEXT = f"""\
{MARK}
[Unit]
Description=devlink: the user's way to Kubernetes clusters
# Never given up: what it waits for may come in a week.
StartLimitIntervalSec=0
# Who removes devlink itself leaves this file to its user: there is nothing to start then, and nothing that fails.
{{conditions}}\

[Service]
Type=notify
NotifyAccess=main
ExecStart=:{{command}}
{{environment}}\
# One that hangs is killed, and the next takes over within the grace of the helper's lease. By SIGKILL, and no core: it
# has the clusters' credentials.
WatchdogSec=30
WatchdogSignal=SIGKILL
LimitCORE=0
Restart=on-failure
{{pauses}}\
# What the agent runs ends after it, at its word.
KillMode=mixed
# Sessions go down first.
TimeoutStopSec=30
UMask=0077
# No NoNewPrivileges, and so nothing of what needs it in a user's unit (each filter of system calls, each namespace):
# programs that sign in may be snaps, or call sudo, and both need a set-user-ID program. What an agent may do to the
# machine is the helper's to decide; it has no privilege itself.

[Install]
WantedBy=default.target

[X-devlink]
Profiles={{profiles}}
Folders={{folders}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a unit of ours says of itself."""

    profiles: tuple[str, ...]
    """As `up` takes them; none is the default one."""
    folders: tuple[str, ...]
    """Absolute paths of those that had to be made for it, the uppermost first."""


def text(command: Sequence[str], written: Written, environ: Mapping[str, str], version: int) -> str:
    """The unit that runs `command` with what of `environ` the agent needs, for systemd `version`.

    A proxy's URL that has a password is left out: a unit is no place for it.
    """
    kept = [f"{name}={environ[name]}" for name in PASSED_ON if environ.get(name)]
    kept = [each for each in kept if not ("proxy" in each.partition("=")[0].lower() and "@" in each)]
    # The first within the lease's grace, and the 60 s of the last are what an agent itself waits at most.
    growing = "RestartSec=1\nRestartSteps=6\nRestartMaxDelaySec=60\n"
    programs = [each for each in command[: command.index("devlink.agent")] if each.startswith("/")]
    return TEXT.format(
        conditions="".join(f"ConditionPathExists={each.replace('%', '%%')}\n" for each in programs),
        command=" ".join(map(quoted, command)),
        environment="".join(f"Environment={quoted(each)}\n" for each in kept),
        pauses=growing if version >= GROWING_SINCE else "RestartSec=3\n",
        profiles=json.dumps(written.profiles),
        folders=json.dumps(written.folders),
    )


def arguments(profiles: Sequence[str]) -> tuple[str, ...]:
    """What the agent is called with."""
    return ("--linger", "--login", *(word for profile in profiles for word in ("--profile", profile)))


def read(unit: str) -> Written | None:
    """What a unit's text says of itself; None where it is not ours."""
    lines = unit.splitlines()
    if lines[:1] != [MARK]:
        return None
    found = dict(line.split("=", 1) for line in lines if line.startswith(("Profiles=", "Folders=")))
    try:
        profiles, folders = (json.loads(found.get(key, "[]")) for key in ("Profiles", "Folders"))
        return Written(profiles=tuple(map(str, profiles)), folders=tuple(map(str, folders)))
    except (ValueError, TypeError):
        return Written(profiles=(), folders=())


def quoted(word: str) -> str:
    """A word of a command line or an assignment, as systemd reads it back (systemd.syntax(7), systemd.unit(5)).

    `$` stays: the command line is marked as one in which no variable is put in.
    """
    word = word.replace("%", "%%")
    if word and set(word) <= PLAIN | {"%"}:
        return word
    escaped = "".join(_escaped(character) for character in word)
    return f'"{escaped}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else "".join(f"\\x{octet:02x}" for octet in character.encode())


def version_of(said: str) -> int:
    """The number in what `systemctl --version` says; 0 where it says none."""
    words = said.split()
    digits = words[1].partition(".")[0].partition("~")[0] if len(words) > 1 else ""
    return int(digits) if digits.isdecimal() else 0
