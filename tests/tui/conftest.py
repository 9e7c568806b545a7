"""The dashboard beside a scripted agent."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from devlink.tui.app import Dashboard
from devlink.tui.link import Link
from tests.tui.scripted import ScriptedAgent

LIMIT = 20.0
Body = Callable[[Dashboard, Pilot[int], ScriptedAgent], Awaitable[None]]
Pilots = Callable[..., None]


@pytest.fixture
def agent_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the agent of this test is, or would be."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    tmp_path.chmod(0o700)
    return tmp_path / "devlink" / "agent"


@pytest.fixture
def piloted(agent_socket: Path) -> Pilots:
    """Run a body with the app, its pilot, and an agent that listens from the beginning (unless `absent`)."""

    def run(body: Body, *, size: tuple[int, int] = (80, 24), light: bool = False, absent: bool = False) -> None:
        async def main() -> None:
            async with asyncio.timeout(LIMIT):
                agent = ScriptedAgent(agent_socket)
                if not absent:
                    await agent.start()
                app = Dashboard(Link({}), light=light)
                try:
                    async with app.run_test(size=size, notifications=True) as pilot:
                        await body(app, pilot, agent)
                finally:
                    await agent.end()

        asyncio.run(main())

    return run


async def until(pilot: Pilot[int], true: Callable[[], object], what: str) -> None:
    """Wait until it is true, as the app goes on; a hang is cut by the fixture's limit."""
    try:
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)
        await pilot.pause(0)  # what comes of it is drawn, too; at each turn this would take longer than all else
    except asyncio.CancelledError:
        raise AssertionError(f"it did not come true that {what}") from None


def text_of(app: Dashboard) -> str:
    """The screen as text, line by line."""
    width, height = app.size
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip)[:width] for strip in strips[:height])


async def sees(app: Dashboard, pilot: Pilot[int], text: str) -> None:
    """Until it is on the screen, or in the dialog above it, wherever its lines are broken."""

    def is_seen() -> bool:
        lines = text_of(app).splitlines()
        boxes = app.screen.query("#box")
        inside = lines
        if boxes:
            region = boxes.first().region
            inside = [line[region.x + 1 : region.right - 1] for line in lines[region.y + 1 : region.bottom - 1]]
            inside.insert(0, str(boxes.first().border_title))
        return any(text in " ".join(" ".join(part).split()) for part in (lines, inside))

    await until(pilot, is_seen, f"{text!r} is seen")
