"""The verbs that the dashboard follows and lists, over the agent's socket."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from pathlib import Path

import pytest

from devlink.agent.looks import route_table
from devlink.agent.looks.verbs import Looks
from devlink.core.codec import decode
from devlink.core.network import ObservedNetwork
from devlink.core.prefixes import IPAddress
from devlink.core.relay import Pod, RelayChain
from devlink.errors import NotUpError, UsageError
from devlink.rpc.connection import Connection
from devlink.rpc.listening import bind_private
from devlink.rpc.server import Server
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import Call
from tests.agent.fakes import QA, World
from tests.agent.helper_peer import HelperPeer, helper_at
from tests.core.plans import theirs

LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""
Body = Callable[[Connection, World, HelperPeer], Awaitable[None]]
Asked = Callable[[Body], None]
AGENT = "io.devlink.Agent"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    def runner(body: Body) -> None:
        async def main() -> None:
            world = World(tmp_path / "sessions", monkeypatch)
            async with asyncio.timeout(LIMIT), helper_at(tmp_path, monkeypatch) as helper:
                server = Server(AGENT, Looks(world.supervisor).handlers)
                with bind_private(tmp_path / "agent") as listener:
                    accepting = spawn(server.serve(listener), name="accept")
                    connection = await Connection.connect(str(tmp_path / "agent"))
                    try:
                        await body(connection, world, helper)
                    finally:
                        connection.close()
                        accepting.cancel()
                        await server.close()

        asyncio.run(main())

    return runner


def test_the_table_has_the_sessions_routes_and_those_of_others_that_are_there_now(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def observe(_: Iterable[IPAddress] = ()) -> ObservedNetwork:
        return ObservedNetwork(routes=(theirs("10.20.7.0/24", oif=None, protocol=12),))

    async def body(connection: Connection, world: World, helper: HelperPeer) -> None:
        monkeypatch.setattr(route_table, "observe", observe)
        await world.up(QA)
        routes = world.link.routes["qa"]
        told = {"name": "qa", "uid": os.geteuid(), "routes": routes, "missing": routes[:1]}
        helper.state = {"sessions": [told]}
        found = (await connection.call(f"{AGENT}.ListRoutes", {"session": "qa"}))["routes"]
        assert len(found) == len(routes) + 1
        states = [row["state"] for row in found]
        assert (states.count("missing"), states.count("foreign")) == (1, 1)
        helper.state = {"sessions": []}
        found = (await connection.call(f"{AGENT}.ListRoutes", {"session": "qa"}))["routes"]
        assert {row["state"] for row in found if row["owner"] == "devlink"} == {"missing"}

    asked(body)


def test_one_table_is_made_at_a_time(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = [0]

    def look(_: object, __: object) -> list[object]:
        at_once.append(at_once[-1] + 1)
        time.sleep(0.01)
        at_once.append(at_once[-1] - 1)
        return []

    async def body(_: Connection, world: World, __: HelperPeer) -> None:
        monkeypatch.setattr(route_table, "look", look)
        await world.up(QA)
        looks = Looks(world.supervisor).handlers["ListRoutes"]
        call = Call(f"{AGENT}.ListRoutes", {"session": "qa"})
        asking = [spawn(looks(None, call), name="ask") for _ in range(4)]  # type: ignore[arg-type]  # whoever asks
        await world.until(lambda: at_once[-1] > 0)
        asking[0].cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert at_once == [0, 1] * 4 + [0]

    asked(body)


def test_a_session_that_is_not_there_has_no_table(asked: Asked) -> None:
    async def body(connection: Connection, _: World, __: HelperPeer) -> None:
        with pytest.raises(NotUpError, match="prod is not up"):
            await connection.call(f"{AGENT}.ListRoutes", {"session": "prod"})
        with pytest.raises(UsageError):
            await connection.call(f"{AGENT}.ListRoutes", {"session": 1})

    asked(body)


def test_events_are_given_once_or_followed(asked: Asked) -> None:
    async def body(connection: Connection, world: World, _: HelperPeer) -> None:
        assert await connection.call(f"{AGENT}.FollowEvents") == {"events": []}
        await world.up(QA)
        (*_, last) = (await connection.call(f"{AGENT}.FollowEvents"))["events"]
        assert (last["text"], last["session"]) == ("qa is up", "qa")
        async with aclosing(connection.stream(f"{AGENT}.FollowEvents")) as stream:
            past = await anext(stream)
            assert past["events"][-1] == last
            await world.supervisor.down(None, everything=True)
            assert [each["text"] for each in (await anext(stream))["events"]] == ["qa is down"]

    asked(body)


@pytest.mark.parametrize("method", ["FollowDnsStats", "FollowDnsLog"])
def test_what_has_no_end_is_only_followed(asked: Asked, method: str) -> None:
    async def body(connection: Connection, _: World, __: HelperPeer) -> None:
        with pytest.raises(UsageError, match="is followed"):
            await connection.call(f"{AGENT}.{method}")
        async with aclosing(connection.stream(f"{AGENT}.{method}")) as stream:
            assert await anext(stream)

    asked(body)


def test_when_the_dashboard_goes_nothing_is_left_at_the_helper(asked: Asked) -> None:
    async def body(connection: Connection, world: World, helper: HelperPeer) -> None:
        async with aclosing(connection.stream(f"{AGENT}.FollowDnsLog")) as stream:
            await anext(stream)
            assert helper.followers == 1
        connection.close()
        await world.until(lambda: helper.followers == 0 and helper.connections == 0)

    asked(body)


def test_a_flush_is_passed_on(asked: Asked) -> None:
    async def body(connection: Connection, _: World, __: HelperPeer) -> None:
        assert await connection.call(f"{AGENT}.FlushDns") == {"entries": 7}

    asked(body)


def test_where_a_session_would_relay_is_asked_of_its_relay_and_of_no_other(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = RelayChain(service="default/web", pod=Pod(namespace="default", name="web-1", port=8080))

    class Relay:
        async def resolve(self, address: str, port: int) -> RelayChain:
            assert (address, port) == ("10.254.0.9", 80)
            return chain

    async def body(connection: Connection, world: World, _: HelperPeer) -> None:
        relays = {"qa": Relay()}
        monkeypatch.setattr(world.supervisor._sessions.relays, "get", relays.get)
        told = await connection.call(f"{AGENT}.ResolveRelay", {"session": "qa", "address": "10.254.0.9", "port": 80})
        assert decode(RelayChain, told["chain"]) == chain
        with pytest.raises(NotUpError, match="staging is not relayed"):
            await connection.call(f"{AGENT}.ResolveRelay", {"session": "staging", "address": "10.254.0.9", "port": 80})
        with pytest.raises(UsageError):
            await connection.call(f"{AGENT}.ResolveRelay", {"session": "qa", "address": "web", "port": 80})

    asked(body)
