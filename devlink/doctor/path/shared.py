"""What the checks of the way to the cluster share: whether anything carries its packets, and what comes back."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from devlink.core.diagnosis import Seen
from devlink.core.findings import Finding
from devlink.core.profile import RoutingMode
from devlink.doctor.case import Case, Subject
from devlink.doctor.path.attested import has_its_ca
from devlink.doctor.path.exchange import look
from devlink.doctor.path.identity import Proof, prove
from devlink.errors import IdentityError
from devlink.rpc.tasks import spawn

T = TypeVar("T")


class Shared(Generic[T]):
    """A look at one subject, which all who ask while it lasts share; whoever asks later has it made again. It ends when
    nobody waits for it any more."""

    def __init__(self, look: Callable[[Case, Subject], Coroutine[Any, Any, T]]) -> None:
        """What `look` raises, all of them get."""
        self._look = look
        self._running: dict[tuple[int, int], asyncio.Task[T]] = {}
        self._waiting: Counter[asyncio.Task[T]] = Counter()

    async def __call__(self, case: Case, subject: Subject) -> T:
        key = (id(case), id(subject))  # the task holds both, so no other one has this key meanwhile
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = spawn(self._look(case, subject), name=f"look at {subject.name}")
            task.add_done_callback(lambda ended: self._forget(key, ended))
        self._waiting[task] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiting[task] -= 1
            if not self._waiting[task]:
                del self._waiting[task]
                self._forget(key, task)  # at once: whoever asks next must not share its end
                task.cancel()

    def _forget(self, key: tuple[int, int], task: asyncio.Task[T]) -> None:
        if self._running.get(key) is task:
            del self._running[key]


def why_not_carried(subject: Subject) -> str:
    """Why nothing that is sent to the cluster now would get there, or nothing of it can be judged; empty where it
    should."""
    if subject.plan is None:
        return "nothing can be planned"
    if subject.is_installed:
        return ""
    if subject.session is not None:
        return f"it is {subject.session['state']}"
    return "" if subject.plan.mode is RoutingMode.ROUTER and subject.profile.spec.prefixes else "nothing is up"


def is_relayed(subject: Subject) -> bool:
    """Whether its TCP goes through the API server, and nothing else goes anywhere."""
    return subject.plan is not None and subject.plan.mode is RoutingMode.RELAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """Who was met by the way that packets go."""

    proof: Proof = field(default_factory=Proof)
    stranger: IdentityError | None = None
    """Another cluster answers."""
    is_behind_proxy: bool = False
    """Another's certificate is shown, and by its API, which that stands before, it is the cluster, or may be."""


async def _meet(case: Case, subject: Subject) -> Met:
    assert subject.plan is not None
    try:
        return Met(proof=await prove(subject.profile, subject.plan, remember=False))
    except IdentityError as error:
        told = await _attested(case, subject) if is_relayed(subject) else False
        if told is False:
            return Met(stranger=error)
        return Met(proof=Proof(answered=True, findings=() if told is True else (told,)), is_behind_proxy=True)


async def _attested(case: Case, subject: Subject) -> Finding | bool:
    """As the agent asks when it brings up what is relayed (`attested.has_its_ca`)."""
    context = str(subject.session["context"]) if subject.session is not None else ""
    return await has_its_ca(subject.profile, context, case.environ)


async def _exchange(_: Case, subject: Subject) -> tuple[Seen, ...]:
    assert subject.plan is not None
    return await look(subject.profile, subject.plan)


meet = Shared(_meet)
"""Shake hands with the cluster's API. Only where something carries."""
exchange = Shared(_exchange)
"""What the cluster's DNS, its service and its pods answer. Only where something carries."""


def with_api(seen: tuple[Seen, ...], met: Met) -> tuple[Seen, ...]:
    """What was seen, with whether the API answered."""
    return tuple(replace(each, api=met.proof.answered) for each in seen)
