"""What doctor and explain do, done by the agent for whoever asks it by its socket."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from devlink.agent.case import Told, gather, gather_sessions, subject_of
from devlink.agent.log import hushed
from devlink.agent.profiles import check_argument, shown
from devlink.agent.supervisor import Supervisor
from devlink.doctor.case import Case, Part
from devlink.doctor.check import Check
from devlink.doctor.examination import examine
from devlink.doctor.examination import tree as tree_of_examination
from devlink.doctor.reference import is_code
from devlink.errors import UnexpectedError, UsageError

if TYPE_CHECKING:
    from devlink.core.explain import Target
    from devlink.doctor.explain.chain import Chain

LOOK_LIMIT = 1.0
"""Seconds for the sessions to be held against what is there, before they are shown. It takes longer only where the
helper hangs, which a check says."""
HELPER_LIMIT = 1.0
"""Seconds for each answer of the helper, of those that somebody waits for who asks about one destination."""
LONGEST = 8000
"""Characters of what is explained, as many as a URL may have anywhere (RFC 9110 section 4.1). A file that was pasted by
mistake would keep the agent from its gateways for seconds."""
MAX_THREADS = 128
"""Threads of the agent with which it looks no more. Between looks it has hardly any, so these hang."""


class Examiner:
    """Looks, and changes nothing. All checks together may send some hundred packets and start some ten programs, so
    only one examination is made at a time; who asks meanwhile waits."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._turn = asyncio.Lock()

    async def examine(self, profile: str, context: str, environ: Mapping[str, str]) -> Mapping[str, Any]:
        """As `devlink doctor -o json` tells it. `profile` and `context` as of `up`, `environ` the caller's.

        Takes as long as the slowest check; some 10 s at most, where the helper and a cluster are silent. Cancelled, it
        looks at nothing more. Raises UsageError for a profile that none can be, UnexpectedError where too much hangs.
        """
        check_argument(profile or None)
        async with self._turn:
            refuse_if_much_hangs()
            with suppress(TimeoutError):  # not within `hushed`: what the sessions notice is the log's affair
                async with asyncio.timeout(LOOK_LIMIT):
                    await self._supervisor.look()
            with hushed():
                checks = await asyncio.to_thread(_checks)
                case = await gather(profile, context, environ, self._sessions, self._supervisor.resolve)
                return tree_of_examination(case, await examine(case, checks))

    async def explain(self, what: str, environ: Mapping[str, str]) -> Mapping[str, Any]:
        """As `devlink explain -o json` tells it of a name, an address or a URL; 6 s at most.

        Raises UsageError for what is none, UnexpectedError where too much hangs.
        """
        from devlink.core.explain import parse_target
        from devlink.doctor.explain.chain import tree

        if len(what) > LONGEST:
            raise UsageError(
                f"That is no name, address or URL: it has {len(what)} characters.",
                next_step="Give a host alone, such as web.default.svc.cluster.local.",
            )
        if is_code(what):
            raise UsageError(
                f"{shown(what.strip())} is the code of a finding: there is no way to it.",
                next_step=f"What it means: devlink explain {shown(what.strip().upper())}",
            )
        target = parse_target(what)
        if not self._turn.locked():  # else many may be an examination's, of twenty sessions
            refuse_if_much_hangs()
        with hushed():
            look = await asyncio.to_thread(_explain)
            sessions = self._sessions, HELPER_LIMIT, self._supervisor.resolve
            return tree(await look(target, await gather_sessions(environ, *sessions)))

    async def _sessions(self) -> Told:
        status = self._supervisor.status()
        inside = {session["name"]: self._supervisor.inspect(session["name"]) for session in status["sessions"]}
        subjects = tuple(subject_of(session, *inside[session["name"]]) for session in status["sessions"])
        return Part(told=status, version=str(status["version"])), subjects


def _checks() -> Sequence[Check]:
    """Imported when they are wanted, in a thread: that takes 0.1 s, and three megabytes of an agent that few ask."""
    from devlink.doctor.checks import CHECKS

    return CHECKS


def _explain() -> "Callable[[Target, Case], Awaitable[Chain]]":
    from devlink.doctor.explain.explaining import explain

    return explain


def refuse_if_much_hangs() -> None:
    """A thread that hangs ends with the process alone: a lost file server must not fill it with them."""
    count = threading.active_count()
    if count > MAX_THREADS:
        raise UnexpectedError(
            "The agent looks no more: too many of its looks hang.",
            why=f"{count} threads wait, for files of a lost server, a keyring or a resolver perhaps.",
            next_step="Mend what hangs (mount shows file servers), or begin anew: devlink down --all, then devlink up",
        )
