"""A program's connection from the listener to the pod: what goes over, how it ends, and what is told of it."""

import asyncio
import functools
import hashlib
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from devlink.core.codec import encode
from devlink.core.relay import RelayListener
from devlink.errors import ProtocolError
from devlink.relay import cluster, joining, pool
from devlink.relay.clients import reset
from devlink.relay.sessions import Session
from tests.relay.node import ApiServer, GoneError, PodStream
from tests.relay.world import ADDRESS, PORT, World, kubeconfig, relayed

pytestmark = pytest.mark.slow

MIB = 1 << 20


async def echo(stream: PodStream) -> None:
    while octets := await stream.read():
        await stream.write(octets)
    stream.end()


def giving(size: int) -> Callable[[PodStream], Awaitable[None]]:
    """A server that sends so many octets, and ends."""

    async def give(stream: PodStream) -> None:
        block = bytes(range(256)) * 4096
        for at in range(0, size, len(block)):
            await stream.write(block[: size - at])
        stream.end()

    return give


async def said(program: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(program, 1 << 16)


async def say(program: socket.socket, octets: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(program, octets)


async def spoken_with_an_echo(world: World) -> socket.socket:
    """A program that is connected to a pod which gives back what it gets, and has had an octet of it."""
    world.api.add("shop/db", ADDRESS, {PORT: echo})
    await world.serve((ADDRESS, PORT))
    program = await world.program()
    await say(program, b"x")
    assert await said(program) == b"x"
    return program


async def all_of(program: socket.socket) -> bytes:
    """Until its end."""
    come = bytearray()
    while octets := await said(program):
        come += octets
    return bytes(come)


async def is_reset(program: socket.socket) -> bool:
    try:
        await all_of(program)
    except ConnectionResetError:
        return True
    return False


def refused(world: World) -> dict[str, int]:
    return {each.reason: each.count for each in world.relay.state().refused}


def codes(world: World) -> set[str]:
    return {each.code for each in world.relay.state().findings}


@relayed
async def test_octets_go_both_ways_and_are_counted(world: World) -> None:
    world.api.add("shop/db", ADDRESS, {PORT: echo})
    await world.serve((ADDRESS, PORT))
    program = await world.program()
    await say(program, b"hello")
    assert await said(program) == b"hello"
    state = world.relay.state()
    assert (state.streams, state.opened, state.sent, state.received, state.form) == (1, 1, 5, 5, "spdy")
    assert [(each.name, each.node, each.streams, each.sessions) for each in state.pods] == [("db", "node-1", 1, 1)]


@relayed
async def test_a_port_where_nobody_listens_is_a_reset_and_told_with_what_may_be_the_cause(world: World) -> None:
    world.api.add("shop/db", ADDRESS, {}, declared=(PORT,))
    await world.serve((ADDRESS, PORT))
    assert await is_reset(await world.program())
    assert refused(world) == {"port-closed": 1}
    assert codes(world) == {"DL-RELAY-POD-IP"}
    world.api.pods["shop/db"][PORT] = echo
    program = await world.program()
    await say(program, b"now")
    assert await said(program) == b"now"
    assert codes(world) == set()


@relayed
async def test_more_connections_than_the_relay_holds_are_reset_and_told(world: World) -> None:
    world.api.add("shop/db", ADDRESS, {PORT: echo})
    await world.serve((ADDRESS, PORT))
    world.relay._limit = 1
    first = await world.program()
    await say(first, b"hello")
    assert await said(first) == b"hello"
    with pytest.raises(ConnectionResetError):  # perhaps before it knows that it is connected
        await all_of(await world.program())
    assert refused(world) == {"too-many": 1}


@relayed
async def test_under_another_configuration_what_is_open_goes_on_and_its_session_ends_with_it(world: World) -> None:
    world.api.add("shop/db", ADDRESS, {PORT: echo, 80: echo})
    await world.serve((ADDRESS, PORT))
    program = await world.program()
    await say(program, b"before")
    assert await said(program) == b"before"
    (session,) = cluster_sessions(world)
    await world.serve((ADDRESS, 80))
    await say(program, b"after")
    assert await said(program) == b"after"
    program.close()
    await world.until(lambda: session.closed)


@relayed
async def test_a_port_that_nobody_declares_is_refused_without_asking_the_pod(world: World) -> None:
    world.api.add("shop/db", ADDRESS, {PORT: echo}, declared=(80,))
    await world.serve((ADDRESS, PORT))
    assert await is_reset(await world.program())
    assert refused(world) == {"undeclared": 1}
    assert world.api.upgrades == 0


@relayed
async def test_the_second_dns_server_is_asked_where_the_first_is_no_more(world: World) -> None:
    world.api.add("kube-system/dns-2", "10.1.0.2", {53: echo})
    await world.serve((ADDRESS, 53), ("10.1.0.2", 53))
    program = await world.program()
    await say(program, b"question")
    assert await said(program) == b"question"


@relayed
async def test_a_pods_reset_reaches_the_program_and_a_programs_the_pod(world: World) -> None:
    streams: list[PodStream] = []

    async def keep(stream: PodStream) -> None:
        streams.append(stream)
        await stream.write(b"here")
        await stream.was_reset.wait()

    world.api.add("shop/db", ADDRESS, {PORT: keep})
    await world.serve((ADDRESS, PORT))
    first, second = await world.program(), await world.program()
    assert await said(first) == await said(second) == b"here"
    streams[0].reset()
    await world.until(lambda: world.relay.state().streams == 1)
    reset(second if await_reset_of(first) else first)
    async with asyncio.timeout(10):
        await streams[1].was_reset.wait()
    await world.until(lambda: world.relay.state().streams == 0)


def await_reset_of(program: socket.socket) -> bool:
    try:
        program.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return False


@relayed
async def test_the_pods_end_is_the_programs_and_what_was_said_before_arrives_whole(world: World) -> None:
    world.api.add("shop/db", ADDRESS, {PORT: giving(9 * MIB + 5)})
    await world.serve((ADDRESS, PORT))
    come = await all_of(await world.program())
    block = bytes(range(256)) * 4096
    assert hashlib.sha256(come).digest() == hashlib.sha256(block * 9 + block[:5]).digest()
    await world.until(lambda: world.relay.state().received == len(come))


@relayed
async def test_an_upload_arrives_whole_where_the_pod_takes_it_slowly(world: World) -> None:
    digest, done = hashlib.sha256(), asyncio.Event()

    async def take(stream: PodStream) -> None:
        left = 9 * MIB
        while left > 0:
            octets = await stream.read()
            digest.update(octets)
            left -= len(octets)
        await stream.write(b"thanks")
        done.set()

    world.api.add("shop/db", ADDRESS, {PORT: take})
    await world.serve((ADDRESS, PORT))
    program = await world.program()
    await say(program, bytes(range(256)) * (9 * 4096))
    assert await said(program) == b"thanks"
    assert digest.digest() == hashlib.sha256(bytes(range(256)) * (9 * 4096)).digest()


@relayed
async def test_a_programs_fin_waits_for_the_pods_answer(world: World) -> None:
    ended = asyncio.Event()

    async def answer(stream: PodStream) -> None:
        assert await stream.read() == b"question"
        reading = asyncio.get_running_loop().create_task(stream.read())
        await asyncio.wait([reading], timeout=0.1)  # a FIN would be here
        if reading.done():
            ended.set()
        reading.cancel()
        await stream.write(b"answer")
        stream.end()

    world.api.add("shop/db", ADDRESS, {PORT: answer})
    await world.serve((ADDRESS, PORT))
    program = await world.program()
    await say(program, b"question")
    program.shutdown(socket.SHUT_WR)
    assert await all_of(program) == b"answer"
    assert not ended.is_set()
    await world.until(lambda: world.relay.state().streams == 0)


@relayed
async def test_who_closes_altogether_has_his_fin_passed_on_at_once(world: World) -> None:
    """Else each of his connections would be held for as long as an idle server keeps its own."""
    come: list[bytes] = []
    ended = asyncio.Event()

    async def listen(stream: PodStream) -> None:
        while octets := await stream.read():
            come.append(octets)
        ended.set()
        stream.end()

    world.api.add("shop/log", ADDRESS, {PORT: listen})
    await world.serve((ADDRESS, PORT))
    program = await world.program()
    await say(program, b"a line")
    program.close()
    async with asyncio.timeout(1):
        await ended.wait()
    assert come == [b"a line"]
    await world.until(lambda: world.relay.state().streams == 0)


def test_a_programs_fin_is_passed_on_when_the_pod_has_long_been_silent(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "SILENCE", 0.02)
    monkeypatch.setattr(joining, "LOOK_AGAIN", 0.01)

    @relayed
    async def body(world: World) -> None:
        async def hash_all(stream: PodStream) -> None:
            come = b""
            while octets := await stream.read():
                come += octets
            await stream.write(hashlib.sha256(come).digest())
            stream.end()

        world.api.add("shop/db", ADDRESS, {PORT: hash_all})
        await world.serve((ADDRESS, PORT))
        program = await world.program()
        await say(program, b"all of it")
        program.shutdown(socket.SHUT_WR)
        assert await all_of(program) == hashlib.sha256(b"all of it").digest()

    body(tmp_path)  # type: ignore[arg-type]


def test_who_does_not_read_holds_up_no_newcomer_and_has_it_all_in_the_end(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "STALLED_FOR", 0.05)  # alone on its session: it does not count

    @relayed
    async def body(world: World) -> None:
        size = 24 * MIB
        world.api.add("shop/db", ADDRESS, {PORT: giving(size), 80: echo})
        await world.serve((ADDRESS, PORT))
        staller = await world.program(receive=4096)
        await world.until(lambda: any(session.is_held for session in cluster_sessions(world)))
        before = world.relay.state().received
        assert before < size, "it is held back at the pod"
        await world.serve((ADDRESS, 80))
        for _ in range(3):
            newcomer = await world.program()
            await say(newcomer, b"x")
            assert await said(newcomer) == b"x"
        await asyncio.sleep(0.1)
        assert len(await all_of(staller)) == size
        assert refused(world) == {}

    body(tmp_path)  # type: ignore[arg-type]


def cluster_sessions(world: World) -> list[Session]:
    cluster = world.relay._cluster
    return list(cluster.pool.sessions) if cluster is not None else []


def test_the_more_there_are_who_do_not_read_the_less_waits_for_each(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "IN_ALL", MIB)

    @relayed
    async def body(world: World) -> None:
        world.api.add("shop/db", ADDRESS, {PORT: giving(8 * MIB)})
        await world.serve((ADDRESS, PORT))
        programs = [await world.program(receive=4096) for _ in range(20)]
        await world.until(lambda: world.relay.state().streams == len(programs))
        await world.until(lambda: all(each.is_held for each in cluster_sessions(world) if each.streams))
        assert max(joined.client.waiting for joined in world.relay._joined) < joining.BOUND // 2

    body(tmp_path)  # type: ignore[arg-type]


def test_who_does_not_read_is_reset_after_a_while_where_others_wait_behind_him(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "STALLED_FOR", 0.2)

    @relayed
    async def body(world: World) -> None:
        async def big_on_demand(stream: PodStream) -> None:
            word = await stream.read()
            if word == b"big":
                await giving(24 * MIB)(stream)
            else:
                await stream.write(word)
                await echo(stream)

        world.api.add("shop/db", ADDRESS, {PORT: big_on_demand})
        await world.serve((ADDRESS, PORT))
        neighbour, staller = await world.program(), await world.program(receive=4096)
        await say(neighbour, b"hello")
        assert await said(neighbour) == b"hello"
        await say(staller, b"big")
        await world.until(lambda: refused(world))
        assert refused(world) == {"stalled": 1}
        await say(neighbour, b"still here")
        assert await said(neighbour) == b"still here"
        assert await is_reset(staller)

    body(tmp_path)  # type: ignore[arg-type]


def has_cuts(world: World, count: int) -> bool:
    return len(world.relay.counts._cuts) == count


@relayed
async def test_a_session_that_is_cut_resets_its_streams_and_the_next_connection_has_a_new_one(world: World) -> None:
    world.api.add("shop/db", ADDRESS, {PORT: echo})
    await world.serve((ADDRESS, PORT))
    for round_ in (1, 2):
        program = await world.program()
        await say(program, b"x")
        assert await said(program) == b"x"
        world.api.sessions[0].break_off()
        assert await is_reset(program)
        await world.until(functools.partial(has_cuts, world, round_))
    assert codes(world) == {"DL-RELAY-CUT"}


@relayed
async def test_connections_wait_for_an_api_server_that_starts_again(world: World) -> None:
    program = await spoken_with_an_echo(world)
    await world.api.stop()
    assert await is_reset(program)
    waiting = await world.program()
    await say(waiting, b"y")
    await asyncio.sleep(pool.PAUSE)
    await world.api.start(world.api.port)
    assert await said(waiting) == b"y"
    assert codes(world) == set()


def test_connections_are_refused_at_once_while_the_api_server_stays_away(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "RESTART", 0.0)

    @relayed
    async def body(world: World) -> None:
        program = await spoken_with_an_echo(world)
        await world.api.stop()
        assert await is_reset(program)
        assert await is_reset(await world.program())
        assert refused(world) == {"api": 1}

    body(tmp_path)  # type: ignore[arg-type]


def test_an_api_server_that_stays_away_is_told_until_it_answers(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "RESTART", 0.0)
    monkeypatch.setattr(cluster, "RIGHTS_AGAIN", 0.01)
    monkeypatch.setattr(cluster, "SILENT_EVERY", 0.01)

    @relayed
    async def body(world: World) -> None:
        program = await spoken_with_an_echo(world)
        await world.api.stop()
        assert await is_reset(program)
        await world.until(lambda: codes(world) == {"DL-RELAY-API"})
        await world.api.start(world.api.port)
        await world.until(lambda: codes(world) == set())

    body(tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(("status", "code"), [(403, "DL-RELAY-RIGHTS"), (401, "DL-RELAY-CREDENTIALS")])
def test_who_is_not_let_in_is_told_so_until_he_is(tmp_path: object, status: int, code: str) -> None:
    @relayed
    async def body(world: World) -> None:
        world.api.add("shop/db", ADDRESS, {PORT: echo})
        world.api.refuses = lambda _: GoneError(status, "no")
        await world.serve((ADDRESS, PORT))
        assert await is_reset(await world.program())
        assert refused(world) == {"rights": 1}
        assert codes(world) == {code}
        world.api.refuses = lambda _: None
        program = await world.program()
        await say(program, b"x")
        assert await said(program) == b"x"
        assert codes(world) == set()

    body(tmp_path)  # type: ignore[arg-type]


@relayed
async def test_a_pod_that_ended_is_looked_up_anew(world: World) -> None:
    program = await spoken_with_an_echo(world)
    del world.api.pods["shop/db"], world.api.addresses["shop/db"]
    world.api.add("shop/db-next", ADDRESS, {PORT: echo})
    world.api.sessions[0].break_off()
    assert await is_reset(program)
    program = await world.program()
    await say(program, b"y")
    assert await said(program) == b"y"
    assert [each.name for each in world.relay.state().pods] == ["db-next"]


@relayed
async def test_five_hundred_at_once_share_few_sessions(world: World) -> None:
    world.api.add("shop/db", ADDRESS, {PORT: echo})
    await world.serve((ADDRESS, PORT))

    async def one(number: int) -> bytes:
        program = await world.program()
        await say(program, b"%d" % number)
        return await said(program)

    assert await asyncio.gather(*map(one, range(500))) == [b"%d" % number for number in range(500)]
    assert world.relay.state().streams == 500
    assert world.api.upgrades <= 8


@relayed
async def test_after_drain_nobody_comes_in_and_what_is_open_goes_on(world: World) -> None:
    program = await spoken_with_an_echo(world)
    await world.agent.call("io.devlink.Relay.Drain")
    with pytest.raises(ConnectionRefusedError):
        await world.program()
    await say(program, b"y")
    assert await said(program) == b"y"


@relayed
async def test_new_listeners_take_the_old_ones_place_and_open_connections_go_on(world: World) -> None:
    world.api.add("shop/db", ADDRESS, {PORT: echo})
    await world.serve((ADDRESS, PORT))
    before = await world.program()
    old = world.address
    await say(before, b"x")
    assert await said(before) == b"x"
    await world.serve((ADDRESS, PORT))
    after = await world.program()
    for program in (before, after):
        await say(program, b"y")
        assert await said(program) == b"y"
    world.address = old
    with pytest.raises(ConnectionRefusedError):
        await world.program()
    assert world.api.upgrades == 1


@relayed
async def test_in_another_environment_newcomers_go_as_that_says_and_who_is_there_as_before(world: World) -> None:
    other = ApiServer()
    await other.start()
    try:
        for api, server in ((world.api, echo), (other, giving(2))):
            api.add("shop/db", ADDRESS, {PORT: server})
        await world.serve((ADDRESS, PORT))
        before = await world.program()
        await say(before, b"x")
        assert await said(before) == b"x"
        folder = Path(world.path).parent / "other"
        folder.mkdir()
        environ = {"KUBECONFIG": str(kubeconfig(folder, other.port))}
        config = encode(world.config)
        await world.agent.call("io.devlink.Relay.Serve", {"config": config, "environment": environ})
        await world.agent.call("io.devlink.Relay.Serve", {"config": config})
        after = await world.program()
        await say(before, b"y")
        assert await said(before) == b"y"
        assert await all_of(after) == b"\x00\x01"
    finally:
        await other.stop()


@relayed
async def test_a_relay_that_is_told_of_other_listeners_than_came_refuses(world: World) -> None:
    with pytest.raises(ProtocolError, match="0 descriptors came to the relay where 1 were told"):
        await world.agent.call(
            "io.devlink.Relay.Serve",
            {
                "config": {"session": "s", "context": "", "prefixes": []},
                "listeners": [{"purpose": "names", "address": "127.0.0.1", "port": 1}],
            },
        )


@relayed
async def test_a_listener_that_the_helper_shuts_down_is_let_go(world: World) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    told = RelayListener(purpose="names", address=ip_address("127.0.0.1"), port=1)
    world.relay._listeners.replace([told], [listener])
    with listener.dup() as helpers:
        helpers.shutdown(socket.SHUT_RDWR)
    await world.until(lambda: listener.fileno() == -1)


@relayed
async def test_what_was_not_redirected_is_reset_at_once(world: World) -> None:
    world.api.add("shop/db", ADDRESS, {PORT: echo})
    await world.serve((ADDRESS, PORT))
    listener = socket.create_server(("127.0.0.1", 0))
    told = RelayListener(purpose="redirected", address=world.config.names[0].address, port=1)
    world.relay._listeners.replace([told], [listener])
    world.address = listener.getsockname()
    with pytest.raises(ConnectionResetError):
        await said(await world.program())
    assert world.relay.state().opened == 0


@relayed
async def test_whoever_follows_has_the_state_at_once_and_each_change(world: World) -> None:
    world.api.add("shop/db", ADDRESS, {PORT: echo})
    await world.serve((ADDRESS, PORT))
    follower = await world.connection()
    states = follower.stream("io.devlink.Relay.Follow")
    assert (await anext(states))["state"].get("opened", 0) == 0
    program = await world.program()
    await say(program, b"x")
    assert await said(program) == b"x"
    async with asyncio.timeout(10):
        async for each in states:
            if each["state"].get("received") == 1:
                break
    follower.close()
    await states.aclose()


@relayed
async def test_the_chain_to_a_destination_is_told(world: World) -> None:
    world.api.add("shop/db", ADDRESS, {PORT: echo})
    await world.serve((ADDRESS, PORT))
    found = await world.agent.call("io.devlink.Relay.Resolve", {"address": ADDRESS, "port": PORT})
    assert found["chain"]["pod"]["name"] == "db"
    found = await world.agent.call("io.devlink.Relay.Resolve", {"address": "10.2.0.1", "port": PORT})
    assert found["chain"]["refused"] == "outside"


@relayed
async def test_the_relay_ends_with_the_agent_that_fed_it(world: World) -> None:
    other = await world.connection()
    await world.serve((ADDRESS, PORT))
    other.close()
    await asyncio.sleep(0.02)
    assert not world.relay.stop.is_set()
    world.agent.close()
    async with asyncio.timeout(10):
        await world.relay.stop.wait()
