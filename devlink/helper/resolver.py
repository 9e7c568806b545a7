"""How the OS is told of the forwarder: the mode chosen, proved, kept while other programs write, and taken back."""

import logging
import time
from dataclasses import dataclass, replace

from devlink.core.plan import ProofRecord
from devlink.core.prefixes import IPAddress
from devlink.errors import DevlinkError, HelperError
from devlink.faults import POINTS, fault_point
from devlink.helper.journal import Entry, Journal
from devlink.helper.restraint import BURST, BURST_TIME, Restraint
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A mode, and why it is tried."""

    mode: ResolverMode
    reason: str

    def after(self, failure: "tuple[Candidate, DevlinkError]") -> "Candidate":
        """The same, with what became of the one before it."""
        failed, error = failure
        return replace(self, reason=f"{self.reason}; {failed.mode.name} did not serve: {error.what}")


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """A mode that is told of the forwarder, and what is known of that."""

    candidate: Candidate
    telling: Telling
    places: tuple[Place, ...]
    """Where the forwarder is to listen."""
    is_told: bool = True
    """Not where the mode refused this telling, or was left alone: it may go by an older one."""

    @property
    def mode(self) -> ResolverMode:
        return self.candidate.mode


class Resolver:
    """Blocking; one call at a time, except for `state`."""

    def __init__(self, tools: Tools, journal: Journal) -> None:
        self._nameserver = tools.nameserver
        self._journal = journal
        self._kinds = tuple(all_modes())
        self._modes = {kind.name: kind(tools) for kind in self._kinds}
        self.in_force: InForce | None = None
        """None while no mode is."""
        self._restraint = Restraint()
        """Of telling it again, or trying to."""
        self._counted: ResolverMode | None = None
        """Of which mode that is so."""

    # What is so

    def state(self) -> tuple[str, str]:
        """The mode in force and why it is that one; `overwritten` and why it stays so; empty where none is."""
        in_force = self.in_force  # another thread may take it back meanwhile
        if in_force is None:
            return self._state_left()
        if self._is_ours(in_force.mode) is not False:
            return in_force.mode.name, in_force.candidate.reason
        reason = "another program has taken its place"
        if self._restraint.has_given_up:
            reason += f", {BURST} times within {BURST_TIME:g} s; it is left alone"
        elif not in_force.is_told:
            reason = "it refused what it was last told"
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
        return self.in_force.mode.watched() if self.in_force is not None else AT_REST

    def ways(self) -> tuple[IPAddress, ...]:
        """The servers on which ordinary names depend in the end. Raises HelperError."""
        try:
            return (self.in_force or self.candidates()[0]).mode.read_ways()
        except HelperError as error:
            others = self.candidates()[1:] if self.in_force is not None else []
            if not others:
                raise
            log.info("whoever was told is gone: %s", error)
            return others[0].mode.read_ways()

    def one_that_is_left(self) -> ResolverMode | None:
        """A mode that could not be taken back, and by which every name may still come to the forwarder. Raises
        HelperError."""
        return next((mode for mode in self._modes.values() if not mode.can_split and mode.has_remains()), None)

    # Telling

    def candidates(self) -> list[Candidate]:
        """The modes to be tried, in order: the one in force, then what fits this machine."""
        choices = detect(observe(self._kinds), self._kinds)
        found = [Candidate(mode=self._modes[choice.mode.name], reason=choice.reason) for choice in choices]
        if self.in_force is None:
            return found
        first = self.in_force.candidate
        return [first, *(candidate for candidate in found if candidate.mode is not first.mode)]

    def tell(self, wanted: InForce, proof: ProofRecord, *, by_itself: bool = False) -> None:
        """Have the OS ask the forwarder, which listens and answers `proof` already, and prove it. Raises DevlinkError.

        Unless `by_itself`, somebody wants it: what was given up is tried anew. So is a mode that is not the one before.
        By itself, what was given up is told this once more, and no new count begins.
        """
        mode, before = wanted.mode, self.in_force
        holds = before is not None and before.is_told and before.telling == wanted.telling
        if not holds or self._is_ours(mode) is False:
            self._write_journal(mode)
            fault_point("helper.journal-written")
            mode.apply(wanted.telling)
            log.info("resolver %s: nameserver %s (%s)", mode.name, self._nameserver, wanted.candidate.reason)
            fault_point("helper.resolver-on")
        self.in_force = wanted
        if not by_itself or mode is not self._counted:
            self._counted = mode
            self._restraint.begin_anew()
        for service in ("", *mode.nss_services()):
            prove(proof.name, proof.address, PROOF_LIMIT, service=service)

    def tell_less(self, telling: Telling) -> None:
        """Some of the domains are no longer ours, which only a mode that splits need know. Raises HelperError; what it
        is told from now on is the less all the same."""
        before = self.in_force
        if before is None:
            return
        less = replace(before, telling=telling)
        if not less.mode.can_split or telling == before.telling:
            self.in_force = less
            return
        self.in_force = replace(less, is_told=False)
        if not self._restraint.has_given_up:
            less.mode.apply(telling)
            self.in_force = replace(less, is_told=True)

    def keep(self, proof: ProofRecord) -> bool:
        """Tell the OS again where another program has written over it, or it forgot; `proof` is what the forwarder
        answers. Whether that is to be tried again in a while."""
        in_force = self.in_force
        if in_force is None or self._restraint.has_given_up:
            return False
        mode, now = in_force.mode, time.monotonic()
        ours = self._is_ours(mode)
        if ours or (ours is None and self._is_proved(proof)):
            return False
        if ours is None:  # whoever it was told is gone for good, perhaps
            return True
        try:
            if not self._restraint.permits(now):
                log.error("resolver %s: %s; `devlink up` tries again", mode.name, self.state()[1])
                return False
            self._restraint.note(now)
            # Noted though `apply` should fail: the link may be another already, and the old one's sockets are dead.
            self.in_force = in_force = replace(in_force, places=mode.prepare(in_force.telling))
            mode.apply(in_force.telling)
        except DevlinkError as error:
            log.error("resolver %s: another program has taken its place, trying again: %s", mode.name, error)
            return True
        self.in_force = replace(in_force, is_told=True)
        log.warning("resolver %s: another program had taken its place; it is told again", mode.name)
        return False

    @staticmethod
    def _is_proved(proof: ProofRecord) -> bool:
        """Whether libc still finds the name by which it was proved."""
        try:
            prove(proof.name, proof.address, PROOF_LIMIT)
        except DevlinkError as error:
            log.warning("names do not reach the forwarder: %s", error)
            return False
        return True

    def withdraw(self) -> None:
        """Take back all that any mode has told or left. Raises HelperError; what it could take back is taken back.

        The mode in force first: what another finds of ours in its files goes by that.
        """
        in_force = self.in_force.mode if self.in_force is not None else None
        entry = self._journal.read()
        named = (in_force, self._modes.get(entry.resolver) if entry is not None else None)
        failed: HelperError | None = None
        for mode in sorted(self._modes.values(), key=lambda mode: mode not in named):
            try:
                if mode in named or mode.has_remains():
                    mode.restore()
                    log.info("resolver %s: restored", mode.name)
                    if mode is in_force:
                        self.in_force = None  # though another should resist: `keep` must not tell this one again
            except HelperError as error:
                failed = failed or error
        if failed is not None:
            raise failed
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
