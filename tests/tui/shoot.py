"""python -m tests.tui.shoot FOLDER: the pictures of README, from the real dashboard on a laptop of the lab.

A session is up, over the second of two gateways since somebody wanted it so; names are asked for meanwhile.
"""

import asyncio
import json
import re
import socket
import sys
import tempfile
from pathlib import Path

from devlink import lab
from devlink.rpc.tasks import spawn
from devlink.tui.app import Dashboard
from tests.e2e.two_gateways import two_gateways

FONTS = "'Fira Code', 'DejaVu Sans Mono', 'Liberation Mono', Menlo, Consolas, monospace"
SIZE = (120, 40)
LOOKING = 12.0
"""Seconds that the dashboard is left open, so that there is something to be seen of times and counts."""
NAMES = ("web.default.svc.cluster.local", "api.default.svc.cluster.local", "nobody.default.svc.cluster.local",
         "www.corp.example", "example.com")  # fmt: skip


def plain(svg: str) -> str:
    """Without fonts from elsewhere: a picture asks nobody, and any monospaced font fits it. A third as long."""
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: ?(Fira Code|arial)[^;]*;", f"font-family: {FONTS};", svg)
    svg = re.sub(r"\s*<clipPath id=\"[^\"]*-line-\d+\">.*?</clipPath>", "", svg, flags=re.DOTALL)
    svg = re.sub(r" clip-path=\"[^\"]*-line-\d+\)\"", "", svg)
    svg = re.sub(r"<text [^>]*>(&#160;)*\n?</text>", "", svg)
    return svg.replace("&#160;", "\u00a0")


async def look() -> dict[str, str]:
    """On the laptop: its dashboard, dark and light, by the name of the file."""
    app = Dashboard()
    async with app.run_test(size=SIZE) as pilot:
        asking = spawn(_ask(), name="names are asked for")
        try:
            await pilot.pause(LOOKING)
            dark = app.export_screenshot(title="devlink dashboard")
            app.action_theme()
            await pilot.pause(1.0)
            return {"dashboard.svg": dark, "dashboard-light.svg": app.export_screenshot(title="devlink dashboard")}
        finally:
            asking.cancel()


async def _ask() -> None:
    """As a few programs do: mostly the same names."""
    turn = 0
    while True:
        turn += 1
        name = NAMES[turn * turn % len(NAMES)]
        try:
            await asyncio.get_running_loop().getaddrinfo(name, 80, type=socket.SOCK_STREAM)
        except OSError:
            pass
        await asyncio.sleep(0.02 + 0.05 * (turn % 7 == 0))


def main(folder: Path) -> None:
    """Write the pictures into `folder`."""
    from tests.e2e.link import linked

    with tempfile.TemporaryDirectory() as scratch, linked(two_gateways(), Path(scratch) / "helper.log") as link:

        def by_gateway(spec: dict[str, object]) -> None:
            spec["routing"] = "gateway"

        link.up(link.write_profile("qa", by_gateway))
        link.wait_until(lambda: link.states() == {"qa": "up"}, "qa is up")
        link.world.run(lab.LAPTOP, ["devlink", "failover"], check=True)
        done = link.world.run(lab.LAPTOP, [sys.executable, "-m", "tests.tui.shoot"], timeout=60, check=True)
        pictures: dict[str, str] = json.loads(done.stdout)
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in pictures.items():
        (folder / name).write_text(plain(svg))
        print(f"drawn: {folder / name}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        print(json.dumps(asyncio.run(look())))
