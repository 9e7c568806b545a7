"""A look that several checks share is made once, and for nobody else."""

import asyncio

import pytest

from devlink.doctor.case import Case, Subject
from devlink.doctor.path.shared import Shared
from devlink.rpc.tasks import spawn
from tests.doctor.subjects import UP


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
