"""One question at several servers: who is asked when, and what of all that comes back is the answer."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from devlink.dns import replies, wire
from devlink.dns.counts import Counts
from devlink.dns.effects import Ask, Effect, Forget
from devlink.dns.questions import Attempt, Transaction
from devlink.dns.replies import Digest
from devlink.dns.servers import BUDGET, NO_EDNS, PREFER_TCP, Servers, Step
from devlink.dns.wire import Rcode

STALE_AFTER = 1.8
"""Seconds after which a client gets a stale answer rather than none (RFC 8767 section 5)."""
NEVER = float("inf")
# As plain numbers: a reply's rcode is one, and meets no method of IntEnum's.
FAILURES = frozenset(int(rcode) for rcode in (Rcode.SERVFAIL, Rcode.REFUSED, Rcode.FORMERR, Rcode.NOTIMP))
_NO_EDNS = frozenset(int(rcode) for rcode in (Rcode.FORMERR, Rcode.NOTIMP))


class Outcome(NamedTuple):
    """How a transaction ends."""

    digest: Digest | None
    """What a server said, a failure perhaps; None: none said anything."""
    attempt: Attempt | None
    """Which one."""


_NOTHING = Outcome(None, None)


class Asking:
    """Each method appends what is to be done to `effects`, and returns the outcome once there is one.

    The caller ends the transaction then.
    """

    def __init__(self, entropy: Callable[[int], bytes], counts: Counts) -> None:
        """`entropy(n)` gives n unpredictable octets."""
        self.servers = Servers()
        self.mixes_case = False
        """Whether questions go out with letters in random case."""
        self.next_due = NEVER
        """No transaction is due before. It is not raised when one ends: whoever looks at them all then finds out."""
        self._entropy = entropy
        self._counts = counts

    def begin(self, transaction: Transaction, now: float, effects: list[Effect]) -> Sequence[Step]:
        """Take the first step. Returns those with which a transaction each shall find out whether a server is back."""
        transaction.steps, probes = self.servers.steps(transaction.destination, now)
        self._take_next_step(transaction, now, effects)
        return probes

    def probe(self, transaction: Transaction, step: Step, now: float, effects: list[Effect]) -> None:
        """Take this step, and no other."""
        transaction.steps = (step,)
        self._take_next_step(transaction, now, effects)

    def receive_reply(self, attempt: Attempt, packet: bytes, now: float, effects: list[Effect]) -> Outcome | None:
        """A packet from the attempt's server under its id. What does not answer the very question is ignored."""
        transaction, step = attempt.transaction, attempt.step
        if transaction is None:
            return None
        state = step.state
        question_end = len(transaction.key) + 2
        if not replies.is_reply_to(packet, attempt.packet, question_end):
            self._counts.mismatched += 1
            if step.edns and replies.is_bare_failure(packet):
                self._again_without_edns(transaction, attempt, now, effects)
            elif replies.differs_in_case(packet, attempt.packet, question_end):
                return self._again_by_tcp(transaction, attempt, now, effects)
            return None
        try:
            digest = replies.digest(packet, question_end)
        except ValueError:
            self._counts.mismatched += 1
            return self.fail(attempt, f"{step.server.host} sends what is no answer", now, effects)
        state.replied(now - attempt.sent, now)
        rcode = digest.rcode
        if digest.has_opt and rcode <= 15:
            state.knows_edns = True
        if rcode in FAILURES or rcode > 15:
            if step.edns and (rcode > 15 or (rcode in _NO_EDNS and not digest.has_opt)):
                self._again_without_edns(transaction, attempt, now, effects)
                return None
            self._close(attempt, effects)
            if rcode <= 15:  # the others are about OPT, which is between the server and us
                transaction.fallback = digest, attempt
            return self._go_on(transaction, now, effects)
        if step.transport == "udp":
            state.tcp_until = 0.0
        if packet[2] & wire.TC and (step.transport != "udp" or _may_use_tcp(transaction, step)):
            return self._again_by_tcp(transaction, attempt, now, effects)
        if transaction.went_plain and not step.edns and not state.knows_edns:
            state.plain_until = now + NO_EDNS
            self.servers.changed()
        if step.transport == "tcp" and _waits_for_udp_of(step, transaction):
            state.tcp_until = now + PREFER_TCP
            self.servers.changed()
        return Outcome(digest, attempt)

    def fail(self, attempt: Attempt, trouble: str, now: float, effects: list[Effect]) -> Outcome | None:
        """The attempt can bring nothing; `trouble` says why, for people."""
        transaction, step = attempt.transaction, attempt.step
        if transaction is None:
            return None
        step.state.failures += 1
        step.state.trouble = transaction.trouble = trouble
        if not transaction.is_probe:  # what it is after is known to owe an answer
            step.state.owes(attempt.sent, now)
        if step.transport == "tcp":
            step.state.tcp_until = 0.0
        is_latest = transaction.attempts[-1] is attempt
        self._close(attempt, effects)
        return self._go_on(transaction, now, effects) if is_latest else None

    def time_out(self, transaction: Transaction, now: float, effects: list[Effect]) -> Outcome | None:
        """The latest step was waited for long enough."""
        transaction.silent = True
        self._counts.timeouts += 1
        if transaction.attempts:
            latest = transaction.attempts[-1]
            state = latest.step.state
            state.timeouts += 1
            if not transaction.is_probe:
                state.owes(latest.sent, now)
            if latest.step.transport == "tcp":
                state.tcp_until = 0.0
        return self._go_on(transaction, now, effects, has_waited=True)

    def wait(self, transaction: Transaction, due: float) -> None:
        """Have it looked at when `due` comes, or when those who wait shall have a stale answer."""
        transaction.step_due = due
        if transaction.stale is not None and transaction.waiters:
            due = min(due, transaction.started + STALE_AFTER)
        transaction.due = due
        if due < self.next_due:
            self.next_due = due

    def _take_next_step(self, transaction: Transaction, now: float, effects: list[Effect]) -> None:
        steps = transaction.steps
        transaction.steps = steps[1:]
        self._try(transaction, steps[0], now, effects)
        due = transaction.started + BUDGET
        if len(steps) > 1 and now + steps[0].wait < due:
            due = now + steps[0].wait
        self.wait(transaction, due)

    def _try(self, transaction: Transaction, step: Step, now: float, effects: list[Effect]) -> None:
        packet = wire.question_for_server(transaction.key, step.edns, transaction.dnssec_ok)
        if self.mixes_case and step.transport == "udp" and not step.shares_port:
            packet = wire.with_random_case(packet, len(transaction.key), self._entropy)
        attempt = Attempt(transaction, step, packet, now)
        transaction.attempts.append(attempt)
        transaction.tried += (step.state,)
        step.state.asked += 1
        effects.append(Ask(attempt))

    def _go_on(
        self, transaction: Transaction, now: float, effects: list[Effect], *, has_waited: bool = False
    ) -> Outcome | None:
        """The latest step brought nothing: take the next one, wait for what is still open, or give up."""
        end = transaction.started + BUDGET
        fallback = transaction.fallback
        if fallback is not None and all(step.state in transaction.tried for step in transaction.steps):
            # Every server was asked, and one has said that it cannot tell. The others have their usual time.
            if has_waited or not transaction.attempts:
                return Outcome(*fallback)
            self.wait(transaction, min(now + transaction.attempts[-1].step.wait, end))
        elif transaction.steps and now < end:
            self._take_next_step(transaction, now, effects)
        elif transaction.attempts and now < end:
            self.wait(transaction, end)
        else:
            return _NOTHING
        return None

    def _again_without_edns(
        self, transaction: Transaction, attempt: Attempt, now: float, effects: list[Effect]
    ) -> None:
        """The server does not understand OPT, or not with this question: ask without."""
        state = attempt.step.state
        transaction.went_plain = True
        self._close(attempt, effects)
        again = (attempt.step, *transaction.steps)
        transaction.steps = tuple(step._replace(edns=False) if step.state is state else step for step in again)
        self._take_next_step(transaction, now, effects)

    def _again_by_tcp(
        self, transaction: Transaction, attempt: Attempt, now: float, effects: list[Effect]
    ) -> Outcome | None:
        """The answer does not fit, or nobody can tell whether it is one."""
        self._close(attempt, effects)
        if attempt.step.transport != "udp" or not _may_use_tcp(transaction, attempt.step):
            return self._go_on(transaction, now, effects)
        rest = (step for step in transaction.steps if step.state is not attempt.step.state)
        transaction.steps = (attempt.step._replace(transport="tcp", wait=2 * attempt.step.wait), *rest)
        self._take_next_step(transaction, now, effects)
        return None

    def _close(self, attempt: Attempt, effects: list[Effect]) -> None:
        if attempt.transaction is not None:
            attempt.transaction.attempts.remove(attempt)
            attempt.transaction = None
            effects.append(Forget(attempt))


def _may_use_tcp(transaction: Transaction, step: Step) -> bool:
    upstreams = transaction.destination.upstreams
    return any(u.server == step.server and u.transport != "udp" for u in upstreams)


def _waits_for_udp_of(step: Step, transaction: Transaction) -> bool:
    open_steps = (attempt.step for attempt in transaction.attempts)
    return any(other.state is step.state and other.transport == "udp" for other in open_steps)
