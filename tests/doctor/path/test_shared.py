"""A look that several checks share is made once, and for nobody else."""

import asyncio
from dataclasses import replace

import pytest

from devlink.core.findings import Finding, Severity
from devlink.core.profile import BridgeProfile, Identity, RoutingMode
from devlink.doctor.case import Case, Subject
from devlink.doctor.path import services, shared
from devlink.doctor.path.identity import Proof
from devlink.doctor.path.shared import Shared
from devlink.errors import IdentityError
from devlink.rpc.tasks import spawn
from tests.certificates import Authority
from tests.core.plans import PROFILE
from tests.doctor.subjects import PLAN, UP, session

UNKNOWN = Finding(code="DL-UNAUTHENTICATED", severity=Severity.WARNING, title="Nothing proves it.")


@pytest.mark.parametrize("said", [True, False, UNKNOWN])
def test_a_proxys_certificate_before_the_api_is_another_clusters_only_where_the_api_does_not_say_otherwise(
    monkeypatch: pytest.MonkeyPatch, said: Finding | bool
) -> None:
    asked = []

    async def prove(*_: object, **__: object) -> Proof:
        raise IdentityError("Another cluster.", next_step="Look.")

    async def has_its_ca(profile: BridgeProfile, context: str, environ: object) -> Finding | bool:
        asked.append((profile.spec.identity, context))
        return said

    monkeypatch.setattr(shared, "prove", prove)
    monkeypatch.setattr(shared, "has_its_ca", has_its_ca)
    identity = Identity(ca=Authority().pem)
    profile = replace(PROFILE, spec=replace(PROFILE.spec, identity=identity))
    routed = Subject(profile=profile, plan=PLAN, session=session(context="of-qa"))
    relayed = replace(routed, plan=replace(PLAN, mode=RoutingMode.RELAY))
    assert asyncio.run(shared.meet(Case(), routed)).stranger is not None
    assert asked == []
    seen = asyncio.run(services._identity(Case(), relayed))
    assert [each.code for each in seen.findings] == (
        ["DL-IDENTITY"] if said is False else [] if said is True else ["DL-UNAUTHENTICATED"]
    )
    assert asked == [(identity, "of-qa")]


class Looking:
    """A look that lasts until it is let go on."""

    def __init__(self) -> None:
        self.begun = self.given_up = 0
        self.go_on = asyncio.Event()

    async def __call__(self, _: Case, __: Subject) -> int:
        self.begun += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return self.begun


def test_who_asks_while_it_lasts_shares_it_and_who_asks_later_has_it_made_again() -> None:
    async def main() -> None:
        looking, case = Looking(), Case()
        shared = Shared(looking)
        asking = [spawn(shared(case, UP), name="ask") for _ in range(3)]
        await asyncio.sleep(0.001)
        asking.pop().cancel()
        looking.go_on.set()
        assert await asyncio.gather(*asking) == [1, 1]
        assert (await shared(case, UP), looking.given_up) == (2, 0)
        assert (shared._running, shared._waiting) == ({}, {})

    asyncio.run(main())


def test_it_ends_when_nobody_waits_for_it_any_more() -> None:
    async def main() -> None:
        looking, case = Looking(), Case()
        shared = Shared(looking)
        asking = [spawn(shared(case, UP), name="ask") for _ in range(2)]
        await asyncio.sleep(0.001)
        for each in asking:
            each.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking[-1]
        looking.go_on.set()
        assert await shared(case, UP) == 2, "who asks at that very moment gets another one, and not its end"
        assert looking.given_up == 1

    asyncio.run(main())
