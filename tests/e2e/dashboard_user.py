"""python -m tests.e2e.dashboard_user NAME PREFIX HOST, on a laptop of the lab: uses the dashboard, as a person would.

Brings the profile NAME up, waits until a route to PREFIX is listed, has HOST explained, takes NAME down, and writes the
screens that it saw as JSON. It is a program of its own because the agent's socket is the laptop's.
"""

import asyncio
import json
import sys

from textual.pilot import Pilot

from devlink.tui.app import Dashboard
from tests.tui.conftest import text_of, until

LIMIT = 45.0
"""Seconds for all of it: a failure, not a figure."""


async def use(name: str, prefix: str, host: str) -> dict[str, str]:
    """The screens as text, by what was done before."""
    app, seen = Dashboard(), dict[str, str]()

    def shows(*words: str) -> bool:
        return all(word in text_of(app) for word in words)

    def shows_nothing() -> bool:
        return app.screen is app.main and (shows("Nothing is up") or shows("No agent runs"))

    def state() -> str:
        session = app.main.status.session(name) if app.main.status is not None else None
        return session.state if session is not None else ""

    async def dialog(key: str, pilot: Pilot[int]) -> None:
        await pilot.press(key)
        await until(pilot, lambda: app.screen is not app.main, f"{key} opens a dialog")

    async def close(pilot: Pilot[int]) -> None:
        while app.screen is not app.main:
            await pilot.press("escape")

    async with asyncio.timeout(LIMIT), app.run_test(size=(120, 40)) as pilot:
        try:
            await until(pilot, shows_nothing, "nothing is up")
            seen["before"] = text_of(app)
            await pilot.press("u")  # its dialog may have come and gone before it is looked for
            await until(pilot, lambda: state() == "up", "the only profile that is known is up")
            await close(pilot)
            await until(pilot, lambda: shows(prefix, "installed"), "its routes are listed")
            seen["up"] = text_of(app)
            await dialog("e", pilot)
            await pilot.press(*host, "enter")
            await until(pilot, lambda: shows(host, prefix), "it is explained")
            seen["explained"] = text_of(app)
            await close(pilot)
            await dialog("d", pilot)
            await pilot.press("y")
            await until(pilot, shows_nothing, "nothing is up any more")
            seen["after"] = text_of(app)
        except BaseException:
            print(text_of(app), file=sys.stderr)
            raise
    return seen


if __name__ == "__main__":
    print(json.dumps(asyncio.run(use(*sys.argv[1:]))))
