"""The installation: helper, agent, versions, who may use them, and the other program of this name."""

import asyncio
import os
import shutil
import socket
from dataclasses import dataclass
from typing import Literal

from devlink import __version__
from devlink.core.findings import Finding, Severity
from devlink.core.text import listed
from devlink.doctor.case import Case, Part
from devlink.doctor.check import Check, LaptopCheck, Seen, skipped
from devlink.doctor.laptop.packaged import SOCKETS, Packaged, look_at_package
from devlink.doctor.laptop.remains import remains
from devlink.errors import HelperError, NotPermittedError, UsageError, reason
from devlink.helper.client import SOCKET
from devlink.helper.policy import Paths, read_policy
from devlink.hints import HELPER_UNIT, as_root, log_of, program, restart_helper, start_helper
from devlink.rpc.peer import peer_of
from devlink.service.user import RESTART, is_managed

ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Root's, as Debian's sudoers sets it (`secure_path`)."""
ELF = b"\x7fELF"
"""How a compiled program begins (elf(5)): ours is a script, iproute2's is not."""


# What is left of something that is gone


async def _look_for_remains(case: Case) -> Seen:
    if case.is_up:
        return skipped("a profile is up")
    if case.agent.error is not None:
        return skipped("the agent does not say what is up")
    if case.helper.told is not None:
        found = left_behind(case)
    elif why_no_answer(case.helper) == "missing":
        found = left_without_helper(await asyncio.to_thread(remains))
    else:
        return skipped("the helper does not say")
    return Seen(
        text="something of devlink's is left" if found else "nothing is left of earlier sessions", findings=found
    )


def left_behind(case: Case) -> tuple[Finding, ...]:
    """What a helper that answers has though no agent of this user's has it."""
    told = case.helper.told
    assert told is not None
    found = []
    if told["left"]:
        found.append(
            Finding(
                code="DL-LEFT-BEHIND",
                severity=Severity.ERROR,
                title="Nothing is up, but not everything is taken back: names may not resolve.",
                evidence="the helper finds something of devlink's that no session has",
                fix=as_root("helper", "restore"),
            )
        )
    orphaned = [s["name"] for s in told["sessions"] if s["state"] == "orphaned" and s["uid"] == case.uid]
    if orphaned:
        found.append(
            Finding(
                code="DL-ORPHANED",
                severity=Severity.WARNING,
                title=f"The agent is gone that had {listed(orphaned)} up; its routes and names are still there.",
                evidence="the helper gives an agent time to come back, and then takes everything back",
                fix="`devlink up` goes on with it, `devlink down` takes it back now",
            )
        )
    return tuple(found)


def left_without_helper(what: list[str]) -> tuple[Finding, ...]:
    """`what`: in clauses, what is there that only a helper puts there."""
    if not what:
        return ()
    return (
        Finding(
            code="DL-LEFT-BEHIND",
            severity=Severity.ERROR,
            title="devlink's helper and agent are gone, and what they had installed is still there.",
            evidence="; ".join(what),
            fix=as_root("helper", "restore"),
        ),
    )


# The helper

Answer = Literal["yes", "not to you", "missing", "silent", "otherwise"]


def why_no_answer(helper: Part) -> Answer:
    """What came of asking the helper."""
    error = helper.error
    if error is None:
        return "yes"
    if isinstance(error, NotPermittedError):
        return "not to you"
    cause = error.__cause__
    if isinstance(cause, TimeoutError) or (cause is None and isinstance(error, HelperError)):
        return "silent"
    return "missing" if isinstance(cause, OSError) else "otherwise"


async def _look_at_helper(case: Case) -> Seen:
    packaged, fault = await asyncio.to_thread(lambda: (look_at_package(), _policy_fault()))
    found = judge_helper(case.helper, packaged, fault)
    texts = {
        "yes": f"answers, version {case.helper.version}", "not to you": "answers, but not to you",
        "missing": f"nobody answers at {SOCKET}", "silent": "runs, but does not answer", "otherwise": "fails",
    }  # fmt: skip
    return Seen(text=texts[why_no_answer(case.helper)], findings=found)


def _policy_fault() -> str:
    path = Paths().policy
    if path.exists() and not os.access(path, os.R_OK):  # the helper reads it with other rights
        return ""
    try:
        read_policy(path)
    except HelperError as error:
        return reason(error)
    return ""


def judge_helper(helper: Part, packaged: Packaged, policy_fault: str = "") -> tuple[Finding, ...]:
    """`policy_fault`: why policy.toml cannot be used; without it no helper starts. Pure but for the lines to type."""
    answer = why_no_answer(helper)
    half = packaged.findings()
    if any(finding.severity is Severity.ERROR for finding in half) or answer in ("yes", "not to you"):
        return half
    assert helper.error is not None
    evidence = reason(helper.error)
    if answer != "missing":
        silent = Finding(
            code="DL-HELPER-SILENT",
            severity=Severity.ERROR,
            title="The devlink helper does not answer as it should: it is stopped, hangs, or is another program.",
            evidence=" ".join(filter(None, (evidence, packaged.state))),
            fix=f"{restart_helper()} ({log_of(HELPER_UNIT, 'what it wrote to its terminal says more')})",
        )
        return (silent, *half)
    fix = start_helper()
    if policy_fault:
        fix = f"Correct {Paths().policy}. {fix}"
    elif packaged.units:
        fix = f"sudo systemctl enable --now {' '.join(SOCKETS)}. {fix}"
    missing = Finding(
        code="DL-HELPER-MISSING",
        severity=Severity.ERROR,
        title="The devlink helper is not running: nothing can be brought up.",
        evidence=" ".join(filter(None, (evidence, policy_fault, packaged.state))),
        fix=fix,
    )
    return (missing, *half)


async def _look_at_access(case: Case) -> Seen:
    error = case.helper.error
    if case.helper.told is not None:
        return Seen(text="you may use the helper")
    if not isinstance(error, NotPermittedError):
        return skipped("the helper does not say")
    finding = Finding(
        code="DL-NOT-PERMITTED", severity=Severity.ERROR, title=error.what, evidence=error.why, fix=error.next_step
    )
    return Seen(text="you may not use the helper", findings=(finding,))


# The agent


async def _look_at_agent(case: Case) -> Seen:
    error = case.agent.error
    if error is None:
        return Seen(text=f"answers, version {case.agent.version}" if case.agent.told else "none runs: nothing is up")
    if isinstance(error, UsageError):
        finding = Finding(
            code="DL-NO-RUNTIME-DIR", severity=Severity.WARNING, title=error.what, evidence=error.why,
            fix=error.next_step,
        )  # fmt: skip
        return Seen(text="it has no place for its socket here", findings=(finding,))
    pid = await asyncio.to_thread(_agent_pid, case)
    number = str(pid or "PID")
    finding = Finding(
        code="DL-AGENT-SILENT",
        severity=Severity.ERROR,
        title="Your devlink agent runs, but does not answer as it should.",
        evidence=reason(error) + (f" It is process {pid}." if pid else ""),
        fix=f"let it go on, if it is stopped: kill -CONT {number}; else end it: kill -KILL {number}, then: devlink up",
    )
    return Seen(text="runs, but does not answer", findings=(finding,))


def _agent_pid(case: Case) -> int:
    """Who listens at the agent's socket (SO_PEERCRED, which a stopped process need not answer); 0 for nobody."""
    path = os.path.join(case.environ.get("XDG_RUNTIME_DIR", ""), "devlink", "agent")
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(1.0)
        try:
            line.connect(path)
            return peer_of(line).pid
        except OSError:
            return 0


# Versions


async def _look_at_versions(case: Case) -> Seen:
    parts = [(name, part.version) for name, part in (("agent", case.agent), ("helper", case.helper)) if part.version]
    if not parts:
        return skipped("nothing else runs")
    found = judge_versions(case, is_managed=await asyncio.to_thread(is_managed))
    shown = ", ".join(f"{name} {version}" for name, version in parts)
    return Seen(text=f"command {__version__}, {shown}" if found else f"all {__version__}", findings=found)


def judge_versions(case: Case, own: str = __version__, *, is_managed: bool = False) -> tuple[Finding, ...]:
    """A part of another version is an error where `up` refuses it: the agent, or a helper that speaks otherwise.

    What is up already goes on. `is_managed`: the agent is a service of its user.
    """
    steps = []
    if case.agent.version not in ("", own):
        steps.append(f"replace the agent: {RESTART if is_managed else 'devlink down --all, then devlink up'}")
    is_error = bool(steps) or not case.helper.is_understood
    if case.helper.version not in ("", own):
        steps.append(restart_helper())
    if not steps:
        return ()
    running = [f"{name} {part.version}" for name, part in (("agent", case.agent), ("helper", case.helper))
               if part.version]  # fmt: skip
    return (
        Finding(
            code="DL-VERSION-SKEW",
            severity=Severity.ERROR if is_error and not case.is_up else Severity.WARNING,
            title="Not all running parts of devlink are of this command's version.",
            evidence=f"command {own}, {', '.join(running)}",
            fix="; ".join(steps),
        ),
    )


# The command


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a person gets who types `devlink`."""

    typed: str
    """The program that the PATH finds, its links followed; empty where it finds none."""
    own: str
    """This very program; empty where it is called by its interpreter."""
    is_compiled: bool = False


async def _look_at_command(case: Case) -> Seen:
    if "SUDO_USER" in case.environ:  # root's PATH, which sudo has set: our lines for root have an absolute path
        return skipped("sudo has set the PATH")
    command = await asyncio.to_thread(_command, case.environ.get("PATH", ""))
    of_root = await asyncio.to_thread(_command, ROOT_PATH)
    found = judge_command(command)
    text = f"`devlink` is {command.typed or 'not on the PATH'}"
    if of_root.is_compiled and of_root.typed != command.typed:
        text += f"; after sudo it is iproute2's: {of_root.typed}"
    return Seen(text=text, findings=found)


def _command(path: str) -> Command:
    typed = shutil.which("devlink", path=path)
    if typed is None:
        return Command(typed="", own="")
    typed = os.path.realpath(typed)
    words = program()
    try:
        with open(typed, "rb") as file:
            is_compiled = file.read(len(ELF)) == ELF
    except OSError:
        is_compiled = False
    return Command(typed=typed, own=words[0] if len(words) == 1 else "", is_compiled=is_compiled)


def judge_command(command: Command) -> tuple[Finding, ...]:
    """A warning where a person who types `devlink` gets something else than what runs now."""
    if not command.typed or command.typed == command.own or not (command.own or command.is_compiled):
        return ()
    other = "iproute2's program of the same name" if command.is_compiled else "another installation"
    folder = os.path.dirname(command.own)
    return (
        Finding(
            code="DL-SHADOWED",
            severity=Severity.WARNING,
            title=f"Who types `devlink` in this shell gets {other}.",
            evidence=f"the PATH finds {command.typed} first" + (f", this is {command.own}" if command.own else ""),
            fix=f"put the folder of this one first: export PATH={folder}:$PATH" if folder else
            "put the folder in which this devlink is installed first in the PATH",
        ),
    )  # fmt: skip


CHECKS: tuple[Check, ...] = (
    LaptopCheck(name="remains", look=_look_for_remains),
    LaptopCheck(name="helper", look=_look_at_helper, after=("remains",)),
    LaptopCheck(name="access", look=_look_at_access, after=("helper",)),
    LaptopCheck(name="agent", look=_look_at_agent, after=("helper",)),
    LaptopCheck(name="versions", look=_look_at_versions),
    LaptopCheck(name="command", look=_look_at_command),
)
