"""The helper's verbs and leases, over a real socket, with a machine that only notes what is asked of it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path as FilePath
from typing import Any

import pytest

from devlink.core.codec import encode
from devlink.core.names import DomainName
from devlink.core.network import Holding, ObservedNetwork, ObservedRoute, Path, Route, RouteKey
from devlink.core.plan import Desired, ProofRecord, Upstream, Zone
from devlink.core.prefixes import IPAddress
from devlink.core.trust import TrustRecord
from devlink.errors import (
    ConflictError,
    HelperError,
    NobodyAskedError,
    NotPermittedError,
    NotTrustedError,
    NotUpError,
    ProfileError,
    UsageError,
    VerificationError,
)
from devlink.helper import authority, reasserting, verbs
from devlink.helper.installed import Installed
from devlink.helper.policy import DnsPolicy, Policy, QueryLogPolicy
from devlink.helper.repair import Lack, Mended
from devlink.helper.restraint import BURST
from devlink.helper.truststore import TrustStore
from devlink.helper.verbs import Helper
from devlink.rpc import varlink
from devlink.rpc.connection import Connection
from devlink.rpc.framing import FrameReader, pack
from devlink.rpc.peer import Peer
from devlink.rpc.tasks import spawn
from tests.cli.test_session import assert_shape
from tests.core.profiles import SAMPLE
from tests.helper.fakes import watch_the_kernel

LIMIT = 10.0
"""Seconds for anything that must happen; a failure, not a figure."""
GATEWAY = ip_address("172.16.0.13")
UPSTREAM = ip_address("10.20.9.9")
LOCAL_CACHE = Upstream(address=ip_address("127.0.0.9"), port=5353)
ROUTE = Route(destination=ip_network("10.20.0.0/16"), next_hop=GATEWAY, oif="eth0")
ZONE = Zone(suffix=DomainName.parse("cluster.local"), servers=(Upstream(address=ip_address("10.20.0.2")),))
QA = Desired(session="qa", routes=(ROUTE,), zones=(ZONE,))
PROD = Desired(session="prod", routes=(replace(ROUTE, destination=ip_network("10.30.0.0/16")),))
DEFAULT = ObservedRoute(destination=ip_network("0.0.0.0/0"), next_hop=ip_address("172.16.0.1"), oif="eth0", protocol=16)
LAN = ObservedRoute(destination=ip_network("172.16.0.0/24"), oif="eth0", protocol=2)


class FakeNames:
    """Names that are served while the test says so."""

    def __init__(self) -> None:
        self.is_on = self.is_closed = False
        self.loop_probe: ProofRecord | None = None
        self.nameserver = ip_address("127.0.0.231")
        self.forwarder_starts = 1
        self.counts: dict[str, Any] = {}
        self.is_logging = False
        self.log: list[dict[str, Any]] = []

    async def stats(self) -> dict[str, Any]:
        self.check_serving()
        return self.counts

    async def flush(self) -> int:
        self.check_serving()
        return 17

    async def take_log(self, on: bool) -> tuple[list[dict[str, Any]], int]:
        self.check_serving()
        self.is_logging = on
        taken, self.log = self.log, []
        return taken, 0

    def check_serving(self) -> None:
        if not self.is_on:
            raise NotUpError("No names are served.")

    async def resolver(self) -> tuple[str, str]:
        return "direct", "a plain file"

    async def forwarder(self) -> str:
        return "serving"

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        return (LOCAL_CACHE,)

    async def protected_ways(self) -> tuple[IPAddress, ...]:
        return (UPSTREAM,)

    async def serve_ordinary_names(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


class FakeMachine:
    """Notes what it was made to be; fails on request."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.names = FakeNames()
        self.targets: list[Installed] = []
        self.undone = 0
        self.failure: HelperError | None = None
        self.rolls_back = False
        """Whether a failure leaves nothing."""
        self.slow: asyncio.Event | None = None
        self.wanted = Installed()
        self.missing: tuple[Route, ...] = ()
        self.held: tuple[Route, ...] = ()
        """Those of the missing whose place another program has."""

    async def missing_routes(self) -> tuple[Route, ...]:
        assert self.lock.locked()
        return self.missing

    async def lack(self) -> Lack:
        return Lack(taken=self.missing)

    async def reassert(self, _: Collection[RouteKey], __: Lack) -> Mended:
        return Mended(back=tuple(route for route in self.missing if route not in self.held), held=self.held)

    async def converge(self, target: Installed, *, wanted: Installed) -> None:
        assert self.lock.locked()
        self.wanted = wanted
        if self.slow is not None:
            await self.slow.wait()
        if self.failure is not None:
            raise self.failure
        self.targets.append(target)
        self.names.is_on = bool(target.zones)

    async def undo(self) -> None:
        assert self.lock.locked()
        if self.failure is not None:
            raise self.failure
        self.undone += 1

    async def has_remains(self, probes: Holding = Holding()) -> bool:  # noqa: B008 - it never changes
        assert self.lock.locked()
        return self.failure is not None and not self.rolls_back

    @property
    def destinations(self) -> set[str]:
        """Of the routes that are installed, pins left out."""
        target = self.targets[-1] if self.targets else Installed()
        return {str(r.destination) for r in target.routes if r.destination.prefixlen < 32}


class World:
    """A helper on a socket, for callers of any uid."""

    def __init__(self, folder: FilePath, grace: float, dns: DnsPolicy) -> None:
        self.machine = FakeMachine()
        self.trust = TrustStore(folder / "own", folder / "trust.d")
        for name in ("qa", "prod", "wide"):
            self.trust.put(
                TrustRecord(
                    name=name,
                    prefixes=(ip_network("10.0.0.0/8"),),
                    domains=(DomainName.parse("cluster.local"),),
                    next_hops=(ip_network("172.16.0.0/24"),),
                )
            )
        policy = Policy(lease_grace=grace, dns=dns)
        self.helper = Helper(policy=policy, machine=self.machine, trust=self.trust)  # type: ignore[arg-type]  # the fake has what is used
        self.path = str(folder / "socket")
        self.uids: list[int] = []

    @contextlib.asynccontextmanager
    async def caller(self, uid: int = 1000) -> AsyncIterator["Caller"]:
        self.uids.append(uid)
        connection = await Connection.connect(self.path)
        caller = Caller(connection)
        await caller.call("List")  # the server has taken the connection, and with it the uid
        try:
            yield caller
        finally:
            connection.close()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not true():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.002)


class Caller:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def call(self, verb: str, **parameters: Any) -> dict[str, Any]:
        return await self.connection.call(f"io.devlink.Helper.{verb}", parameters, limit=LIMIT)

    async def apply(self, desired: Desired, *replaced: str) -> dict[str, Any]:
        return await self.call("Apply", plan=encode(desired), replace=list(replaced))

    async def up(self, desired: Desired, *replaced: str) -> None:
        await self.apply(desired, *replaced)
        await self.call("Confirm", session=desired.session)

    async def follow(self) -> "Following":
        """Follow the log; the helper's first answer has come."""
        following = Following(self.connection)
        await following.begin()
        return following

    async def sessions(self) -> dict[str, str]:
        return {s["name"]: s["state"] for s in (await self.call("List"))["sessions"]}


class Following:
    """A caller's connection while it follows the log: replies that go on, which `Connection` takes none of."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.reader = FrameReader()
        self.replies: list[dict[str, Any]] = []
        self.zones: list[str] | None = None

    async def begin(self) -> None:
        loop = asyncio.get_running_loop()
        self.sock = self.connection._socket
        loop.remove_reader(self.sock.fileno())
        await loop.sock_sendall(self.sock, pack(varlink.call("io.devlink.Helper.FollowDnsLog", more=True)))
        assert await self.next() == []

    async def next(self) -> list[str]:
        """The names in the next reply. Raises the helper's error."""
        async with asyncio.timeout(LIMIT):
            while not self.replies:
                data = await asyncio.get_running_loop().sock_recv(self.sock, 1 << 16)
                assert data, "the helper hung up"
                self.replies += self.reader.feed(data)
        parameters, continues = varlink.parse_reply(self.replies.pop(0))
        assert continues
        assert parameters["lost"] == 0
        self.zones = parameters.get("zones")
        return [record["name"] for record in parameters["records"]]


@pytest.fixture
def run(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a test's body with a helper whose kernel has a default route and the gateway on-link."""

    def observe(addresses: Iterable[IPAddress] = ()) -> ObservedNetwork:
        on_link = {a: Path(oif="eth0") for a in addresses if a in ip_network("172.16.0.0/24")}
        return ObservedNetwork(routes=(DEFAULT, LAN), paths=on_link)

    for module in (verbs, reasserting):
        monkeypatch.setattr(module, "observe", observe)
    monkeypatch.setattr(verbs, "refusal", lambda *_: None)
    monkeypatch.setattr(verbs, "CHANGE_LIMIT", 0.01)
    watch_the_kernel(monkeypatch)

    def runner(
        body: Callable[[World], Coroutine[Any, Any, None]],
        *,
        grace: float = 30.0,
        query_log: QueryLogPolicy = QueryLogPolicy.OWN,
    ) -> None:
        async def main() -> None:
            world = World(tmp_path, grace, DnsPolicy(query_log=query_log))
            monkeypatch.setattr("devlink.rpc.server.peer_of", lambda _: Peer(pid=1, uid=world.uids.pop(0), gid=1))
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                listener.bind(world.path)
                listener.listen()
                accepting = asyncio.get_running_loop().create_task(world.helper.server.serve(listener))
                try:
                    await body(world)
                finally:
                    accepting.cancel()
                    await world.helper.server.close()

        asyncio.run(main())

    return runner


Run = Callable[..., None]


def test_the_next_hop_of_another_session_keeps_its_way(run: Run) -> None:
    near = ip_network("172.16.0.0/25")
    over = replace(ROUTE, destination=near, next_hop=ip_address("172.16.0.200"))

    async def body(world: World) -> None:
        record = TrustRecord(name="near", prefixes=(near,), next_hops=(ip_network("172.16.0.0/24"),))
        world.trust.put(record)
        async with world.caller() as alice:
            await alice.up(QA)
            await alice.up(Desired(session="near", routes=(over,)))
            kept = {str(r.destination): (r.next_hop, r.oif) for r in world.machine.targets[-1].pins}
            assert kept[f"{GATEWAY}/32"] == (None, "eth0")
            with pytest.raises(ConflictError, match="must keep the way"):
                await alice.up(Desired(session="near", routes=(replace(over, destination=ip_network(GATEWAY)),)))
            await alice.call("Release", session="qa")
            await alice.up(Desired(session="near", routes=(over,)))
            assert f"{GATEWAY}/32" not in {str(r.destination) for r in world.machine.targets[-1].pins}

    run(body)


def test_a_session_is_installed_with_its_pins_and_told(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice:
            said = await alice.apply(replace(QA, pins=(ip_address("10.20.8.8"),)))
            pins = {str(r.destination): str(r.next_hop) for r in world.machine.targets[-1].routes if r != ROUTE}
            assert pins == {"10.20.9.9/32": "172.16.0.1", "10.20.8.8/32": "172.16.0.1"}
            assert said["routes"][0] == str(ROUTE)
            assert len(said["routes"]) == 3
            assert any(route.startswith("10.20.8.8/32 via 172.16.0.1") for route in said["routes"])
            assert said["upstreams"] == [encode(LOCAL_CACHE)], "whom the forwarder asks, not whose way is protected"
            assert_shape(said["upstreams"][0], varlink.interface_description("io.devlink.Helper"), "Upstream")
            assert world.machine.targets[-1].zones == (ZONE,)
            assert await alice.sessions() == {"qa": "applied"}
            await alice.call("Confirm", session="qa")
            assert await alice.sessions() == {"qa": "up"}
            await alice.call("Release", session="qa")
            assert world.machine.targets[-1] == Installed()
            assert await alice.sessions() == {}

    run(body)


def test_a_session_without_names_is_told_of_no_forwarder_and_nobody_whom_it_asks(run: Run) -> None:
    async def body(world: World) -> None:
        world.machine.names.loop_probe = ProofRecord(name=DomainName.parse("probe.example.com"), address=UPSTREAM)
        async with world.caller() as alice:
            said = await alice.apply(PROD)
            assert [said.get(key) for key in ("nameserver", "upstreams", "loop_probe")] == [None, [], None]

    run(body)


def test_an_unconfirmed_session_ends_with_its_connection(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.apply(QA)
        await world.until(lambda: world.machine.targets[-1] == Installed())

    run(body)


def test_a_confirmed_session_outlives_its_connection_by_the_grace_and_no_longer(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as watcher:
            async with world.caller() as alice:
                await alice.up(QA)
            while await watcher.sessions() != {"qa": "orphaned"}:
                pass
            assert world.machine.destinations == {"10.20.0.0/16"}
            await world.until(lambda: world.machine.targets[-1] == Installed())
            assert await watcher.sessions() == {}

    run(body, grace=0.2)


def test_a_lease_that_ran_out_and_could_not_be_taken_back_is_tried_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "RETRY_PAUSE", 0.05)

    async def body(world: World) -> None:
        async with world.caller() as watcher:
            async with world.caller() as alice:
                await alice.up(QA)
                world.machine.failure = HelperError("The files process is away.")
            await asyncio.sleep(0.1)
            assert await watcher.sessions() == {"qa": "orphaned"}, "what is still there is shown"
            world.machine.failure = None
            await world.until(lambda: world.machine.targets[-1] == Installed())

    run(body, grace=0.01)


def test_within_the_grace_an_agent_of_the_same_user_takes_the_session_over(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
        async with world.caller() as again:
            await again.apply(QA)
            assert await again.sessions() == {"qa": "up"}, "the same plan was verified before"
            assert Installed() not in world.machine.targets
            await asyncio.sleep(0.3)  # the former lease's end must not take it
            assert await again.sessions() == {"qa": "up"}

    run(body, grace=0.2)


def test_a_changed_plan_must_be_confirmed_anew(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
            await alice.apply(replace(QA, zones=()))
            assert await alice.sessions() == {"qa": "applied"}

    run(body)


def test_another_users_session_is_a_conflict_that_names_the_user_also_within_its_grace(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller(4711) as other, world.caller(4712) as alice:
            await other.up(QA)
            with pytest.raises(ConflictError, match="for user 4711"):
                await alice.apply(QA)
            other.connection.close()
            async with world.caller(0) as root:
                while await root.sessions() != {"qa": "orphaned"}:
                    pass
            with pytest.raises(ConflictError, match="for user 4711"):
                await alice.apply(QA)
            assert await alice.sessions() == {}, "it is not even shown"

    run(body)


def test_two_agents_of_one_user_do_not_take_a_session_from_each_other(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as first, world.caller() as second:
            await first.up(QA)
            with pytest.raises(ConflictError, match="another agent of yours"):
                await second.apply(QA)
            with pytest.raises(NotUpError):
                await second.call("Confirm", session="qa")
            with pytest.raises(NotUpError, match="another agent"):
                await second.call("Release", session="qa")  # as the way back of an `up` that was refused
            assert await first.sessions() == {"qa": "up"}
            await second.call("Release", session="qa", take=True)  # but `down` from anywhere works
            assert await first.sessions() == {}

    run(body)


@pytest.mark.parametrize("verb", ["Release", "Apply"])
@pytest.mark.parametrize("uid", [4712, 0])
def test_nobody_takes_another_users_session_down_root_only_by_restoring_everything(
    run: Run, verb: str, uid: int
) -> None:
    async def body(world: World) -> None:
        async with world.caller(4711) as other, world.caller(uid) as stranger:
            await other.up(QA)
            with pytest.raises(NotPermittedError, match="belongs to user 4711"):
                await (
                    stranger.call("Release", session="qa", take=True)
                    if verb == "Release"
                    else stranger.apply(PROD, "qa")
                )
            assert world.machine.destinations == {"10.20.0.0/16"}
            assert await other.sessions() == {"qa": "up"}

    run(body)


@pytest.mark.parametrize(
    "plan",
    [
        replace(PROD, routes=(replace(ROUTE, destination=ip_network("10.20.4.0/24")),)),
        replace(PROD, routes=(replace(ROUTE, destination=ip_network("10.16.0.0/12")),)),
        replace(PROD, zones=(replace(ZONE, suffix=DomainName.parse("svc.cluster.local")),)),
    ],
)
def test_no_part_of_another_users_prefixes_or_names_can_be_taken(run: Run, plan: Desired) -> None:
    async def body(world: World) -> None:
        async with world.caller(4711) as other, world.caller(4712) as stranger:
            await other.up(QA)
            with pytest.raises(ConflictError, match="user 4711"):
                await stranger.apply(plan)
            await other.apply(plan)  # among one's own, the longest wins

    run(body)


def test_what_is_taken_down_wants_nothing_and_what_comes_up_wants_only_its_own(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
            await alice.up(PROD)
            assert {str(r.destination) for r in world.machine.wanted.routes} == {"10.30.0.0/16"}
            await alice.call("Release", session="prod")
            assert world.machine.wanted == Installed()

    run(body)


def test_who_brings_names_is_told_where_they_are_answered(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice:
            assert (await alice.apply(QA))["nameserver"] == "127.0.0.231"
            assert (await alice.apply(PROD)).get("nameserver") is None

    run(body)


def test_two_sessions_stand_side_by_side_and_end_one_by_one(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
            await alice.up(PROD)
            assert world.machine.destinations == {"10.20.0.0/16", "10.30.0.0/16"}
            await alice.call("Release", session="qa")
            assert world.machine.destinations == {"10.30.0.0/16"}
            assert world.machine.targets[-1].zones == ()

    run(body)


def test_what_is_fought_for_and_whose_place_is_held_is_told_of_the_session_that_has_it_and_of_no_other(
    run: Run,
) -> None:
    text = varlink.interface_description("io.devlink.Helper")
    fought, taken = replace(ROUTE, destination=ip_network("10.21.0.0/16")), PROD.routes[0]

    async def body(world: World) -> None:
        async with world.caller() as one, world.caller(uid=1001) as other:
            await one.up(replace(QA, routes=(ROUTE, fought), zones=()))
            await other.up(PROD)
            world.machine.missing, world.machine.held = (fought, taken), (taken,)
            for _ in range(BURST):
                await world.helper._reasserter._look()
            world.machine.missing += (ROUTE,)
            (qa,) = (await one.call("List"))["sessions"]
            (prod,) = (await other.call("List"))["sessions"]
            for session in (qa, prod):
                assert_shape(session, text, "Session")
            assert qa["missing"] == [str(ROUTE), str(fought)]
            assert qa["fought"]["routes"] == [str(fought)]
            assert "10 times" in qa["fought"]["why"]
            assert qa["occupied"] is None, "the other one is another session's"
            assert (prod["missing"], prod["fought"]) == ([str(taken)], None)
            assert prod["occupied"]["routes"] == [str(taken)]
            assert "holds their place" in prod["occupied"]["why"]

    run(body)


@pytest.mark.parametrize("limit", [LIMIT, 0.01])
def test_of_half_a_change_nothing_is_told_as_lost_or_left_neither_at_its_end_nor_where_that_takes_long(
    run: Run, monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    """A switch has turned the kernel's object, say, and not yet noted that."""

    async def body(world: World) -> None:
        monkeypatch.setattr(verbs, "CHANGE_LIMIT", limit)
        async with world.caller() as alice:
            await alice.up(QA)
            async with world.machine.lock:
                world.machine.missing, world.machine.failure = (ROUTE,), HelperError("Something is there.")
                listing = asyncio.get_running_loop().create_task(alice.call("List"))
                await asyncio.wait({listing}, timeout=0.1 if limit == LIMIT else LIMIT)
                world.machine.missing, world.machine.failure = (), None
            state = await listing
            assert (state["sessions"][0]["missing"], state["left"]) == ([], False)
            world.machine.missing, world.machine.failure = (ROUTE,), HelperError("Something is there.")
            state = await alice.call("List")
            assert (state["sessions"][0]["missing"], state["left"]) == ([str(ROUTE)], True)
            world.machine.failure = None

    run(body)


def test_a_replacement_is_one_step(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
            before = len(world.machine.targets)
            clash = replace(PROD, zones=(ZONE,))
            with pytest.raises(ConflictError, match=r"cluster\.local"):
                await alice.apply(clash)
            await alice.apply(clash, "qa", "nobody")
            assert len(world.machine.targets) == before + 1
            assert world.machine.destinations == {"10.30.0.0/16"}
            assert await alice.sessions() == {"prod": "applied"}

    run(body)


def test_a_failure_to_install_leaves_the_sessions_as_they_were(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
            world.machine.failure = HelperError("The kernel said no.")
            with pytest.raises(HelperError, match="said no"):
                await alice.apply(PROD, "qa")
            assert await alice.sessions() == {"qa": "up"}
            with pytest.raises(HelperError):
                await alice.call("Release", session="qa")
            assert await alice.sessions() == {"qa": "up"}, "what could not be taken back is not forgotten"

    run(body)


def test_what_a_failed_installation_left_is_taken_back_unless_somebody_has_a_session_by_then(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has a lease on it, so nobody else would ask for that."""
    monkeypatch.setattr(verbs, "RETRY_PAUSE", 0.02)

    async def body(world: World) -> None:
        async with world.caller() as alice:
            for is_up in (False, True):
                world.machine.undone = 0
                world.machine.failure = HelperError("The kernel said no. Taking it back failed too.")
                with pytest.raises(HelperError, match="failed too"):
                    await alice.apply(QA)
                world.machine.failure = None
                if is_up:
                    await alice.up(QA)
                await world.until(lambda: world.helper._undoing is not None and world.helper._undoing.done())
                assert world.machine.undone == (0 if is_up else 1)
                world.helper._undoing = None
            world.machine.failure, world.machine.rolls_back = HelperError("The kernel said no."), True
            with pytest.raises(HelperError, match="said no"):
                await alice.apply(PROD)
            assert world.helper._undoing is None

    run(body)


def test_a_caller_that_dies_while_its_plan_is_being_installed_leaves_nothing(run: Run) -> None:
    async def body(world: World) -> None:
        world.machine.slow = asyncio.Event()
        async with world.caller() as alice:
            applying = asyncio.get_running_loop().create_task(alice.apply(QA))
            await world.until(world.machine.lock.locked)
        with pytest.raises(Exception, match="went away"):
            await applying
        async with world.caller() as watcher:
            world.machine.slow.set()
            await world.until(lambda: len(world.machine.targets) == 2)
            assert world.machine.targets[0].routes, "a change that has begun runs to its end"
            assert world.machine.targets[1] == Installed()
            while await watcher.sessions():
                pass

    run(body)


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        (replace(QA, session="../../etc/x"), UsageError),
        (replace(QA, session="stranger"), NotTrustedError),
        (replace(QA, zones=(replace(ZONE, suffix=DomainName.parse("corp.example")),)), NotTrustedError),
        (replace(QA, routes=(replace(ROUTE, oif="eth1"),)), VerificationError),
        (replace(QA, routes=(replace(ROUTE, metric=1),)), UsageError),
        (replace(QA, session="wide", routes=(replace(ROUTE, destination=ip_network("0.0.0.0/1")),)), NotTrustedError),
    ],
)
def test_what_is_refused_never_reaches_the_machine(run: Run, plan: Desired, error: type[Exception]) -> None:
    async def body(world: World) -> None:
        async with world.caller(0) as root:  # root's word is no record either
            with pytest.raises(error):
                await root.apply(plan)
            assert world.machine.targets == []
            assert await root.sessions() == {}

    run(body)


def test_a_route_of_another_program_is_a_conflict_before_anything_changes(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = ObservedRoute(destination=ROUTE.destination, oif="tun0", protocol=4)
    monkeypatch.setattr(
        verbs, "observe", lambda _: ObservedNetwork(routes=(DEFAULT, theirs), paths={GATEWAY: Path(oif="eth0")})
    )

    async def body(world: World) -> None:
        async with world.caller() as alice:
            with pytest.raises(ConflictError, match=r"10\.20\.0\.0/16 is routed already"):
                await alice.apply(QA)
            assert world.machine.targets == []

    run(body)


def test_without_polkit_trust_and_revoke_and_restore_are_for_root(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")

    async def body(world: World) -> None:
        async with world.caller(1000) as alice, world.caller(0) as root:
            await alice.up(QA)
            for verb, parameters, wants in (
                ("Trust", {"profile": SAMPLE}, "no polkit"),
                ("Revoke", {"name": "qa"}, "no polkit"),
                ("Restore", {}, "is for root"),
            ):
                with pytest.raises(NotPermittedError) as error:
                    await alice.call(verb, **parameters)
                assert wants in str(error.value)
                assert error.value.next_step
            assert world.trust.get("qa") is not None
            assert world.machine.undone == 0
            await root.call("Revoke", name="qa")
            assert world.trust.get("qa") is None
            record = (await root.call("Trust", profile=SAMPLE))["record"]
            assert record == encode(world.trust.get("qa"))
            assert "172.16.0.0/24" in record["next_hops"], "the link that holds the next hop now"
            names = [each["name"] for each in (await alice.call("ListTrust"))["records"]]
            assert names == ["prod", "qa", "wide"]
            await root.call("Restore")
            assert world.machine.undone == 1
            assert await root.sessions() == {}

    run(body)


Answer = tuple[bool, bool, Mapping[str, str]]


class Person:
    """Whom polkit asks; it answers when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: asyncio.Future[Answer] | None = None
        self.asked: list[tuple[int, Mapping[str, str]]] = []
        monkeypatch.setattr(authority, "_check_authorization", self._check)

    async def _check(self, pid: int, uid: int, details: Mapping[str, str]) -> Answer:
        assert pid == 1, "of the peer"
        self.asked.append((uid, details))
        self.answer = asyncio.get_running_loop().create_future()
        return await self.answer


def test_while_a_person_is_asked_other_verbs_go_on_and_the_same_user_is_not_asked_twice(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person(monkeypatch)

    async def body(world: World) -> None:
        async with world.caller(1000) as alice, world.caller(1000) as also_alice:
            revoking = spawn(alice.call("Revoke", name="qa"), name="revoke")
            await world.until(lambda: person.answer is not None)
            assert person.asked == [(1000, {"profile": "qa", "polkit.message": verbs.REVOKING})]
            await also_alice.up(QA)
            with pytest.raises(ConflictError, match="being asked already"):
                await also_alice.call("Trust", profile=SAMPLE)
            assert world.trust.get("qa") is not None
            assert person.answer is not None
            person.answer.set_result((True, False, {}))
            await revoking
            assert world.trust.get("qa") is None
            trusting = spawn(also_alice.call("Trust", profile=SAMPLE), name="trust")
            await world.until(lambda: len(person.asked) == 2)
            assert person.asked[1] == (1000, {"profile": "qa"})
            person.answer.set_result((False, True, {}))
            with pytest.raises(NobodyAskedError):
                await trusting
            assert world.trust.get("qa") is None

    run(body)


def test_a_question_is_taken_back_when_its_caller_goes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person(monkeypatch)

    async def body(world: World) -> None:
        async with world.caller(1000) as alice:
            spawn(alice.call("Revoke", name="qa"), name="revoke")
            await world.until(lambda: person.answer is not None)
        assert person.answer is not None
        await world.until(person.answer.cancelled)
        assert world.trust.get("qa") is not None

    run(body)


def test_what_no_profile_may_have_is_refused_before_anyone_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    person = Person(monkeypatch)

    async def body(world: World) -> None:
        async with world.caller(1000) as alice:
            with pytest.raises(ProfileError):
                await alice.call("Trust", profile=SAMPLE.replace("domain: cluster.local", "domain: internal"))
            with pytest.raises(UsageError, match="not the name of a profile"):
                await alice.call("Revoke", name="../qa")
        assert person.asked == []

    run(body)


def test_a_restore_that_fails_is_told_and_tried_until_it_is_done_or_the_helper_ends(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "RETRY_PAUSE", 0.02)

    async def body(world: World) -> None:
        async with world.caller(0) as root:
            for ending in (False, True):
                world.machine.failure, world.machine.undone = HelperError("The folder is read-only."), 0
                with pytest.raises(HelperError, match="read-only"):
                    await root.call("Restore")
                await asyncio.sleep(0.05)
                world.machine.failure = None
                if ending:
                    await world.helper.end()
                    assert world.machine.names.is_closed
                    await asyncio.sleep(0.05)
                await world.until(lambda: world.machine.undone == 1)
            world.machine.failure, world.machine.undone = HelperError("The folder is read-only."), 0
            with pytest.raises(HelperError, match="read-only"):
                await root.call("Restore")
            assert (await root.call("List"))["left"]
            world.machine.failure = None
            await root.up(QA)
            while (await root.call("List"))["left"]:
                pass
            assert world.machine.undone == 0, "what a session has is no leftover"

    run(body)


def test_a_profile_that_cannot_be_is_not_trusted(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller(0) as root:
            with pytest.raises(ProfileError) as error:
                await root.call("Trust", profile="a: [")
            assert error.value.faults
            evil = json.dumps({"metadata": {"name": "../../etc/cron.d/x"}})
            with pytest.raises(ProfileError):
                await root.call("Trust", profile=evil)
            with pytest.raises(UsageError, match="is not the name of a profile"):
                await root.call("Revoke", name="../own/qa")
            assert [record.name for record in world.trust.all()] == ["prod", "qa", "wide"]

    run(body)


def test_whoever_is_refused_can_do_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []

    def refuse(peer: Peer, group: str) -> NotPermittedError | None:
        asked.append((peer.uid, group))
        return NotPermittedError("No.") if peer.uid == 4711 else None

    monkeypatch.setattr(verbs, "refusal", refuse)

    async def body(world: World) -> None:
        world.uids.append(4711)
        connection = await Connection.connect(world.path)
        mallory = Caller(connection)
        calls = {
            "Apply": {"plan": encode(QA)}, "Confirm": {"session": "qa"}, "Release": {"session": "qa"}, "List": {},
            "Restore": {}, "Trust": {"profile": SAMPLE}, "Revoke": {"name": "qa"}, "ListTrust": {},
            "GetDnsStats": {}, "FlushDns": {}, "FollowDnsLog": {},
            "Switch": {"session": "qa", "next_hop": "172.16.0.13"}, "FollowTraffic": {"session": "qa"},
            "OpenProbe": {"session": "qa", "via": "172.16.0.13", "target": "10.20.0.2", "kind": "udp"},
            "AskNeighbour": {"session": "qa", "via": "172.16.0.13"},
            "OpenRelay": {"session": "qa"}, "CountRelay": {"session": "qa"},
        }  # fmt: skip
        assert set(calls) == world.helper.server.methods
        for verb, parameters in calls.items():
            with pytest.raises(NotPermittedError, match="No"):
                await mallory.call(verb, **parameters)
        connection.close()
        assert world.machine.targets == []
        assert (4711, "devlink") in asked

    run(body)


# Names: what is asked, and who may see it

STATS = {
    "queries": 9,
    "zones": [{"suffix": suffix} for suffix in (".", "cluster.local", "prod.example")],
    "servers": [
        {"server": "192.0.2.1#53", "zones": ["."]},
        {"server": "10.20.0.2#53", "zones": ["cluster.local", "prod.example"]},
        {"server": "10.30.0.2#53", "zones": ["prod.example"]},
    ],
}


def asked(*zones: str) -> list[dict[str, Any]]:
    return [{"zone": zone, "name": f"name-in.{zone}"} for zone in zones]


ALL_ZONES = (".", "cluster.local", "prod.example")


def apart(world: World) -> Desired:
    """A second user's session beside QA, with a domain that is not below QA's."""
    world.trust.put(
        TrustRecord(
            name="prod",
            prefixes=(ip_network("10.0.0.0/8"),),
            domains=(DomainName.parse("prod.example"),),
            next_hops=(ip_network("172.16.0.0/24"),),
        )
    )
    return replace(PROD, zones=(replace(ZONE, suffix=DomainName.parse("prod.example")),))


def test_without_names_each_of_the_three_says_what_to_do_first(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice, world.caller() as watching:
            for verb in ("GetDnsStats", "FlushDns"):
                with pytest.raises(NotUpError):
                    await alice.call(verb)
            with pytest.raises(NotUpError):
                await watching.follow()

    run(body)


def test_the_counts_are_of_the_callers_own_sessions_and_of_ordinary_names_and_root_sees_all(run: Run) -> None:
    async def body(world: World) -> None:
        world.machine.names.counts = STATS
        world.machine.names.loop_probe = ProofRecord(name=DomainName.parse("probe.example.com"), address=UPSTREAM)
        async with world.caller(1000) as alice, world.caller(1001) as bob, world.caller(0) as root:
            await alice.up(QA)
            await bob.up(apart(world))
            said = await alice.call("GetDnsStats")
            assert said["nameserver"] == "127.0.0.231"
            assert said["upstreams"] == encode([LOCAL_CACHE])
            assert said["loop_probe"] == {"name": "probe.example.com", "address": str(UPSTREAM)}
            assert said["stats"] == {
                "queries": 9,
                "zones": [{"suffix": "."}, {"suffix": "cluster.local"}],
                "servers": [
                    {"server": "192.0.2.1#53", "zones": ["."]},
                    {"server": "10.20.0.2#53", "zones": ["cluster.local"]},
                ],
            }
            bobs = (await bob.call("GetDnsStats"))["stats"]
            assert [zone["suffix"] for zone in bobs["zones"]] == [".", "prod.example"]
            assert [server["zones"] for server in bobs["servers"]] == [["."], ["prod.example"], ["prod.example"]]
            assert (await root.call("GetDnsStats"))["stats"] == STATS

    run(body)


def test_what_is_kept_is_forgotten_and_counted(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
            assert await alice.call("FlushDns") == {"entries": 17}

    run(body)


@pytest.mark.parametrize(
    ("policy", "alices", "bobs"),
    [(QueryLogPolicy.OWN, ["cluster.local"], ["prod.example"]), (QueryLogPolicy.ALL, ALL_ZONES, ALL_ZONES)],
)
@pytest.mark.slow
def test_each_follower_sees_what_the_policy_says_and_root_sees_all(
    run: Run, policy: QueryLogPolicy, alices: list[str], bobs: list[str]
) -> None:
    def names(zones: Iterable[str]) -> list[str]:
        return [record["name"] for record in asked(*zones)]

    async def body(world: World) -> None:
        async with world.caller(1000) as alice, world.caller(1001) as bob, world.caller(0) as root:
            await alice.up(QA)
            await bob.up(apart(world))
            async with world.caller(1000) as first, world.caller(1001) as second:
                followers = [await caller.follow() for caller in (first, second, root)]
                everything = policy is QueryLogPolicy.ALL
                own = [None if everything else zones for zones in (["cluster.local"], ["prod.example"])]
                assert [follower.zones for follower in followers] == [*own, None]
                world.machine.names.log = asked(*ALL_ZONES)
                seen = [await follower.next() for follower in followers]
                assert seen == [names(alices), names(bobs), names(ALL_ZONES)]
                assert world.machine.names.is_logging

    run(body, query_log=policy)


@pytest.mark.slow
def test_a_session_that_comes_up_while_its_user_follows_is_seen(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller(1000) as alice, world.caller(1001) as bob, world.caller(1001) as watching:
            await alice.up(QA)
            following = await watching.follow()
            world.machine.names.log = asked(*ALL_ZONES)
            assert following.zones == []
            await world.until(lambda: not world.machine.names.log)
            await bob.up(apart(world))
            world.machine.names.log = asked("prod.example")
            assert await following.next() == ["name-in.prod.example"]
            assert following.zones == ["prod.example"]

    run(body)


def test_where_the_policy_shows_nothing_only_root_may_follow(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller(1000) as alice, world.caller(0) as root, world.caller(1000) as watching:
            await alice.up(QA)
            with pytest.raises(NotPermittedError) as error:
                await watching.follow()
            assert "query_log" in error.value.why
            following = await root.follow()
            world.machine.names.log = asked(".")
            assert await following.next() == ["name-in.."]

    run(body, query_log=QueryLogPolicy.OFF)


@pytest.mark.slow
def test_the_log_is_off_as_soon_as_nobody_follows_it(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
            async with world.caller() as first:
                async with world.caller() as second:
                    await first.follow()
                    await second.follow()
                await asyncio.sleep(0)
                assert world.machine.names.is_logging
            await world.until(lambda: not world.machine.names.is_logging)
            async with world.caller() as third:
                await third.follow()
                assert world.machine.names.is_logging

    run(body)


def test_who_follows_is_told_when_the_last_session_is_down(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice, world.caller() as watching:
            await alice.up(QA)
            following = await watching.follow()
            await alice.call("Release", session="qa")
            with pytest.raises(NotUpError):
                await following.next()

    run(body)


def test_the_log_is_not_given_in_one_answer(run: Run) -> None:
    async def body(world: World) -> None:
        async with world.caller() as alice:
            await alice.up(QA)
            with pytest.raises(UsageError):
                await alice.call("FollowDnsLog")

    run(body)


def test_a_session_cannot_take_the_ordinary_dns_server_by_a_route_to_it_alone(run: Run) -> None:
    async def body(world: World) -> None:
        just_that = replace(QA, routes=(ROUTE, replace(ROUTE, destination=ip_network(f"{UPSTREAM}/32"))))
        async with world.caller() as alice:
            with pytest.raises(ConflictError, match="must keep the way"):
                await alice.up(just_that)
            assert not world.machine.targets

    run(body)
