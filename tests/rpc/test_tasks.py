"""A command's own threads: as many as are asked for, and none that is waited for at the end."""

import asyncio
import threading
import time

import pytest

from devlink.rpc.tasks import run

MANY = 40
"""More than the loop's own pool has on any laptop that this was seen on."""


def test_a_thread_that_hangs_keeps_nobody_from_the_end_and_no_other_from_its_turn() -> None:
    hangs = threading.Event()

    async def main() -> int:
        for _ in range(MANY):
            asyncio.get_running_loop().run_in_executor(None, hangs.wait)
        return await asyncio.wait_for(asyncio.to_thread(lambda: 1), 5)

    began = time.monotonic()
    assert run(main()) == 1
    assert time.monotonic() - began < 5
    hangs.set()


def test_what_a_thread_raises_comes_to_who_asked() -> None:
    async def main() -> int:
        return await asyncio.to_thread(int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        run(main())
