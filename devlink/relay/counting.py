"""What a relay has done since it was started, and what is wrong with it now: the state that it tells."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from devlink.core.findings import Finding, Severity
from devlink.core.relay import Pod, Refused

CUTS = 2
"""Sessions that were cut while the API server went on answering, from which on it is told."""
CUT_FOR = 3600.0
"""Seconds for which a cut is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A session that ended by itself."""

    at: float
    """Monotonic seconds."""
    lived: float
    """Seconds."""
    silent: float
    """Seconds since anything was heard on it."""
    streams: int
    """Broken off with it."""


class Counts:
    """Counts and findings. `changed` is called whenever something of it is another than before."""

    def __init__(
        self, changed: Callable[[], None] = lambda: None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.changed = changed
        self._clock = clock
        self.streams = 0
        self.opened = 0
        self.sent = 0
        self.received = 0
        self._refused: dict[str, tuple[int, str]] = {}
        self._findings: dict[str, Finding] = {}
        self._deaf: dict[tuple[str, str, int], str] = {}
        """What was said of declared ports of ready pods that refuse on loopback."""
        self._cuts: list[Cut] = []

    @property
    def refused(self) -> tuple[Refused, ...]:
        """By reason."""
        return tuple(Refused(reason=reason, count=count, last=last) for reason, (count, last) in self._refused.items())

    def refuse(self, reason: str, destination: str, why: str) -> None:
        """A connection was refused."""
        count, _ = self._refused.get(reason, (0, ""))
        self._refused[reason] = count + 1, f"{destination}: {why}" if destination else why
        self.changed()

    def find(self, finding: Finding) -> None:
        """Something is wrong; one finding for each code."""
        if self._findings.get(finding.code) != finding:
            self._findings[finding.code] = finding
            self.changed()

    def clear(self, *codes: str) -> None:
        """These are no longer so."""
        for code in codes:
            if self._findings.pop(code, None) is not None:
                self.changed()

    def port_refused(self, pod: Pod, why: str) -> None:
        """Nobody listens on a pod's port, as its node says, which asks on the pod's loopback."""
        self._deaf[pod.namespace, pod.name, pod.port] = why
        while len(self._deaf) > 64:
            del self._deaf[next(iter(self._deaf))]

    def port_open(self, pod: Pod) -> None:
        """It answers."""
        if self._deaf:
            self._deaf.pop((pod.namespace, pod.name, pod.port), None)

    def cut(self, cut: Cut) -> None:
        """A session ended by itself, not because the API server or the pod had gone."""
        self._cuts = [each for each in self._cuts if cut.at - each.at < CUT_FOR][-63:]
        self._cuts.append(cut)
        self.changed()

    def findings(self) -> tuple[Finding, ...]:
        """What is wrong now."""
        found = list(self._findings.values())
        if self._deaf:
            (namespace, name, port), why = next(reversed(self._deaf.items()))
            found.append(
                Finding(
                    code="DL-RELAY-POD-IP",
                    severity=Severity.WARNING,
                    title=f"Port {port} of pod {namespace}/{name} is declared, and refuses on its loopback.",
                    evidence=why,
                    fix="If the server binds only the pod's IP, have it bind 0.0.0.0 or 127.0.0.1 as well: a "
                    "port-forward is dialled there. `kubectl port-forward` fails in the same way.",
                )
            )
        now = self._clock()
        cuts = [each for each in self._cuts if now - each.at < CUT_FOR]
        if len(cuts) >= CUTS:
            last = cuts[-1]
            found.append(
                Finding(
                    code="DL-RELAY-CUT",
                    severity=Severity.WARNING,
                    title="Something between here and the cluster cuts connections to the API server.",
                    evidence=f"{len(cuts)} in the last hour; the last one after {last.lived:.0f} s, {last.silent:.0f} "
                    f"of them silent, and {last.streams} connections broke with it.",
                    fix="Have the API server's proxy or load balancer keep upgraded connections for longer (its idle "
                    "and its session time-out), or ask for a way round it.",
                )
            )
        return tuple(found)
