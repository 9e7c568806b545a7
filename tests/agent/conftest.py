"""What tests of sessions share."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path as FilePath

import pytest

from tests.agent.fakes import LIMIT, World


@pytest.fixture
def run(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[World], Awaitable[None]]], None]:
    def runner(body: Callable[[World], Awaitable[None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(LIMIT):
                await body(World(tmp_path / "sessions", monkeypatch))

        asyncio.run(main())

    return runner
