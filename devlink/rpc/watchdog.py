"""A service manager is told that the event loop goes round: one that hangs says nothing, and is killed."""

import asyncio

from devlink.rpc.activation import notify, watchdog_interval


async def feed_watchdog() -> None:
    """Say it at half the time that the manager gives; ends at once where it gives none."""
    interval = watchdog_interval()
    while interval:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval / 2)
