"""How the OS is told of the forwarder: the mode chosen, proved, kept while other programs write, and taken back."""

import logging
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto

from devlink.core.plan import ProofRecord, Upstream
from devlink.core.prefixes import IPAddress
from devlink.errors import DevlinkError, HelperError
from devlink.faults import POINTS, fault_point
from devlink.helper.journal import Entry, Journal
from devlink.resolvers.detect import detect
from devlink.resolvers.mode import Place, ResolverMode, Telling, Tools, Watched
from devlink.resolvers.modes import all_modes
from devlink.resolvers.observe import observe
from devlink.resolvers.proof import prove
from devlink.resolvers.reading import RESOLV_CONF

log = logging.getLogger(__name__)

POINTS.update(
    {
        "helper.journal-written": "the journal names the resolver mode, which is not applied yet",
        "helper.resolver-on": "the resolver names the forwarder, not proved yet",
        "helper.resolver-restored": "the resolver is as before; the journal still names it",
    }
)

AT_REST = Watched(files=(RESOLV_CONF,))
PROOF_LIMIT = 3.0
"""Seconds for libc to find the proof name."""
BURST, BURST_TIME = 10, 60.0
"""At the so-manieth time within so many seconds, what another program wrote is left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A mode, and why it is tried."""

    mode: ResolverMode
    reason: str

    def after(self, failure: "tuple[Candidate, DevlinkError]") -> "Candidate":
        """The same, with what became of the one before it."""
        failed, error = failure
        return replace(self, reason=f"{self.reason}; {failed.mode.name} did not serve: {error.what}")


class Kept(Enum):
    """What became of a look at the mode in force."""

    AS_IT_IS = auto()
    TOLD_AGAIN = auto()
    """Its link may be another now."""
    TO_BE_TRIED_AGAIN = auto()
    """In a while."""


class Resolver:
    """Blocking; one call at a time."""

    def __init__(self, tools: Tools, journal: Journal, *, modes: Iterable[type[ResolverMode]] | None = None) -> None:
        self._nameserver = tools.nameserver
        self._journal = journal
        self._kinds = tuple(all_modes() if modes is None else modes)
        self._modes = {kind.name: kind(tools) for kind in self._kinds}
        self._in_force: Candidate | None = None
        self._telling: Telling | None = None
        self._proof: ProofRecord | None = None
        self._written_over: deque[float] = deque(maxlen=BURST - 1)
        """When it was told again, or not even that could be done; by the monotonic clock."""
        self._has_given_up = False

    # What is so

    @property
    def can_split(self) -> bool:
        """Whether ordinary names do without the forwarder, by the mode in force."""
        return self._in_force is not None and self._in_force.mode.can_split

    def state(self) -> tuple[str, str]:
        """The mode in force and why it is that one; `overwritten` and why it stays so; empty where none is."""
        if self._in_force is None:
            return self._state_left()
        if self._is_ours(self._in_force.mode) is not False:
            return self._in_force.mode.name, self._in_force.reason
        reason = "another program has taken its place"
        if self._has_given_up:
            reason += f", {BURST} times within {BURST_TIME:g} s; it is left alone"
        return "overwritten", reason

    def _state_left(self) -> tuple[str, str]:
        """What an earlier helper has told, or we could not take back."""
        entry = self._journal.read()
        mode = self._modes.get(entry.resolver) if entry is not None else None
        if mode is not None and self._is_ours(mode):
            return mode.name, "it could not be taken back yet"
        return ("overwritten", "another program has taken its place") if self._journal.is_there else ("", "")

    def has_remains(self) -> bool:
        """Whether a mode has left something. Raises HelperError."""
        return any(mode.has_remains() for mode in self._modes.values())

    def watched(self) -> Watched:
        """What may change under the mode in force; without one, where another program may put back what was ours."""
        return self._in_force.mode.watched() if self._in_force is not None else AT_REST

    def upstreams(self, mode: ResolverMode | None = None) -> tuple[Upstream, ...]:
        """Whom the OS asks without us, by this mode or the one in force. Raises HelperError."""
        return self._mode(mode).read_upstreams()

    def ways(self) -> tuple[IPAddress, ...]:
        """The servers on which ordinary names depend in the end. Raises HelperError."""
        try:
            return self._mode().read_ways()
        except HelperError as error:
            others = self.candidates()[1:] if self._in_force is not None else []
            if not others:
                raise
            log.info("whoever was told is gone: %s", error)
            return others[0].mode.read_ways()

    def _mode(self, mode: ResolverMode | None = None) -> ResolverMode:
        if mode is not None:
            return mode
        return self._in_force.mode if self._in_force is not None else self.candidates()[0].mode

    def one_that_is_ours(self) -> ResolverMode | None:
        """A mode that nobody here has applied, and that sends every name to the forwarder all the same. Raises
        HelperError."""
        return next((mode for mode in self._modes.values() if not mode.can_split and mode.is_ours()), None)

    # Telling

    def candidates(self) -> list[Candidate]:
        """The modes to be tried, in order: the one in force, then what fits this machine."""
        choices = detect(observe(self._kinds), self._kinds)
        found = [Candidate(mode=self._modes[choice.mode.name], reason=choice.reason) for choice in choices]
        if self._in_force is None:
            return found
        mode = self._in_force.mode
        return [self._in_force, *(candidate for candidate in found if candidate.mode is not mode)]

    def places(self) -> tuple[Place, ...]:
        """Where the forwarder is to listen for the mode in force. Raises HelperError."""
        assert self._in_force is not None
        assert self._telling is not None
        return self._in_force.mode.prepare(self._telling)

    def tell(self, candidate: Candidate, telling: Telling, proof: ProofRecord, *, by_itself: bool = False) -> None:
        """Have the OS ask the forwarder, which listens already, and prove it. Raises DevlinkError.

        Unless `by_itself`, somebody wants it: what was given up is tried anew.
        """
        mode = candidate.mode
        if candidate != self._in_force or telling != self._telling or self._is_ours(mode) is False:
            self._write_journal(mode)
            fault_point("helper.journal-written")
            mode.apply(telling)
            log.info("resolver %s: nameserver %s (%s)", mode.name, self._nameserver, candidate.reason)
            fault_point("helper.resolver-on")
        self._in_force, self._telling, self._proof = candidate, telling, proof
        if not by_itself:
            self._has_given_up = False
            self._written_over.clear()
        for service in ("", *mode.nss_services()):
            prove(proof.name, proof.address, PROOF_LIMIT, service=service)

    def tell_less(self, telling: Telling) -> None:
        """Some of the domains are no longer ours, which only a mode that splits need know. Raises HelperError."""
        if self._in_force is not None and telling != self._telling and not self._has_given_up:
            if self._in_force.mode.can_split:
                self._in_force.mode.apply(telling)
            self._telling = telling

    def keep(self) -> Kept:
        """Tell the OS again where another program has written over it, or it forgot."""
        if self._in_force is None or self._telling is None or self._has_given_up:
            return Kept.AS_IT_IS
        mode, now = self._in_force.mode, time.monotonic()
        ours = self._is_ours(mode)
        if ours or (ours is None and self._is_proved()):
            return Kept.AS_IT_IS
        if ours is None:  # whoever it was told is gone for good, perhaps
            return Kept.TO_BE_TRIED_AGAIN
        try:
            if len(self._written_over) == BURST - 1 and now - self._written_over[0] < BURST_TIME:
                self._has_given_up = True
                log.error("resolver %s: %s; `devlink up` tries again", mode.name, self.state()[1])
                return Kept.AS_IT_IS
            self._written_over.append(now)
            mode.apply(self._telling)
        except DevlinkError as error:
            log.error("resolver %s: another program has taken its place, trying again: %s", mode.name, error)
            return Kept.TO_BE_TRIED_AGAIN
        log.warning("resolver %s: another program had taken its place; it is told again", mode.name)
        return Kept.TOLD_AGAIN

    def _is_proved(self) -> bool:
        """Whether libc still finds the name by which it was proved."""
        if self._proof is None:
            return True
        try:
            prove(self._proof.name, self._proof.address, PROOF_LIMIT)
        except DevlinkError as error:
            log.warning("names do not reach the forwarder: %s", error)
            return False
        return True

    def withdraw(self) -> None:
        """Take back all that any mode has told or left. Raises HelperError; what it could take back is taken back."""
        in_force = self._in_force.mode if self._in_force is not None else None
        entry = self._journal.read()
        failed: HelperError | None = None
        for mode in self._modes.values():
            try:
                if mode is in_force or (entry is not None and entry.resolver == mode.name) or mode.has_remains():
                    mode.restore()
                    log.info("resolver %s: restored", mode.name)
            except HelperError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        self._in_force = self._telling = None
        if self._journal.is_there:
            fault_point("helper.resolver-restored")
            try:
                self._journal.clear()
            except OSError as error:  # the next undo finds nothing to do; routes must not stay for it
                log.error("the journal cannot be cleared: %s", error)

    def _write_journal(self, mode: ResolverMode) -> None:
        try:
            self._journal.write(Entry(resolver=mode.name, nameserver=self._nameserver))
        except OSError as error:
            raise HelperError(
                "The undo journal cannot be written, so nothing was changed.",
                why=f"{self._journal.path}: {error.strerror}.",
                next_step="Make room on that disk, or mend its permissions.",
            ) from error

    @staticmethod
    def _is_ours(mode: ResolverMode) -> bool | None:
        """None where it cannot be looked at, as while the bus is away: what was told goes on without it."""
        try:
            return mode.is_ours()
        except HelperError as error:
            log.warning("resolver %s cannot be looked at: %s", mode.name, error)
            return None


def none_proved(failures: list[tuple[Candidate, DevlinkError]]) -> DevlinkError:
    """What to say where no mode proved itself: the first one's error, as it fits best, with what the others said."""
    first = failures[0][1]
    for candidate, error in failures[1:]:
        if error.what == first.what:
            continue
        first.why += f" Tried next, {candidate.mode.name}: {error.what}"
    return first
