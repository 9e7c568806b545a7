"""A program and its way, joined: who has ended, who is tried again, and who is reset."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import pytest

from devlink.core.relay import Pod
from devlink.relay import joining
from devlink.relay.clients import Client
from devlink.relay.clients import reset as reset_of
from devlink.relay.counting import Counts
from devlink.relay.joining import BOUND, EARLY, Joined
from devlink.relay.refusal import RefusedError
from devlink.relay.sessions import Sink

POD = Pod(namespace="shop", name="db", port=5432, address=ip_address("10.1.0.5"))
GONE = 'pods "db" not found'


class Line:
    """A `Way` that goes nowhere, and what was done with it."""

    def __init__(self) -> None:
        self.sent = b""
        self.ends = 0
        self.is_held = False
        self.dropped: bool | None = None
        """With a reset, or without; None: not yet."""
        self.is_writable = True
        self.has_neighbours = False

    def send(self, octets: bytes) -> None:
        self.sent += octets

    def end(self) -> None:
        self.ends += 1

    def drop(self, *, reset: bool) -> None:
        self.dropped = reset

    def hold(self) -> None:
        self.is_held = True

    def release(self) -> None:
        self.is_held = False


class Story:
    """One program's connection."""

    def __init__(self, *, refused: bool = False) -> None:
        self.lines: list[Line] = []
        self.gone_pods: list[Pod] = []
        self.has_left = False
        self.is_abandoned = False
        self._refused = refused
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.program = socket.create_connection(listener.getsockname())
            ours, _ = listener.accept()
        self.program.setblocking(False)
        self.counts = Counts()
        self.joined = Joined(
            lambda owner: Client(ours, owner), self, self.counts, label="10.1.0.5:5432",
            left=self._left, is_abandoned=lambda: self.is_abandoned,
        )  # fmt: skip

    async def open(self, _: Sink) -> tuple[Line, Pod]:
        if self._refused:
            raise RefusedError("no-pods", "None is ready.")
        self.lines.append(Line())
        return self.lines[-1], POD

    def gone(self, pod: Pod) -> None:
        self.gone_pods.append(pod)

    def _left(self, _: Joined) -> None:
        self.has_left = True

    async def say(self, octets: bytes) -> None:
        """And have it arrive."""
        wanted = len(self.lines[-1].sent) + len(octets)
        await asyncio.get_running_loop().sock_sendall(self.program, octets)
        await self.until(lambda: len(self.lines[-1].sent) == wanted)

    async def end(self) -> None:
        self.program.shutdown(socket.SHUT_WR)
        await self.until(lambda: self.joined._client_ended)

    async def rest(self) -> bytes:
        """All that comes until the end."""
        come = b""
        while octets := await asyncio.get_running_loop().sock_recv(self.program, BOUND):
            come += octets
        return come

    async def is_reset(self) -> bool:
        with pytest.raises(ConnectionResetError):
            await self.rest()
        return self.has_left and self.counts.streams == 0

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not is_so():  # noqa: ASYNC110 - of what others do, who tell nobody
                await asyncio.sleep(0.001)

    async def stall(self) -> None:
        """More comes than anybody takes."""
        while not self.lines[-1].is_held:
            self.joined.received((bytes(BOUND),))


def told(body: Callable[[Story], Awaitable[None]], *, refused: bool = False) -> Story:
    async def run() -> Story:
        story = Story(refused=refused)
        try:
            await story.joined.begin()
            await body(story)
        finally:
            story.joined.reset()
            story.program.close()
        return story

    return asyncio.run(run())


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has patience."""
    for name in ("STALLED_FOR", "SILENCE", "LOOK_AGAIN", "LEAVING"):
        monkeypatch.setattr(joining, name, 0.01)


def test_a_program_may_speak_on_when_the_pod_has_ended_and_both_ends_close_it() -> None:
    async def body(story: Story) -> None:
        story.joined.received((b"bye",))
        story.joined.ended()
        assert await story.rest() == b"bye"
        await story.say(b"one more thing")
        assert not story.has_left
        await story.end()
        await story.until(lambda: story.has_left)

    line = told(body).lines[0]
    assert (line.sent, line.ends, line.dropped) == (b"one more thing", 1, False)


def test_what_waits_for_a_program_goes_out_when_both_have_ended() -> None:
    async def body(story: Story) -> None:
        await story.end()
        await story.stall()
        come = story.counts.received
        story.joined.ended()
        assert not story.has_left
        assert len(await story.rest()) == come

    assert told(body).has_left


def test_what_a_program_says_to_a_pod_that_has_ended_and_gone_is_a_reset() -> None:
    async def body(story: Story) -> None:
        story.joined.ended()
        assert await story.rest() == b""
        story.joined.cut("The API server closed the connection.")
        assert not story.has_left
        story.program.send(b"hello?")
        await story.until(lambda: story.has_left)
        with pytest.raises(BrokenPipeError):
            story.program.send(b"hello?")

    assert len(told(body).lines) == 1


@pytest.mark.parametrize("why", [GONE, "connection refused", "something else"])
def test_what_a_node_says_when_the_pod_has_ended_takes_nothing_back(why: str) -> None:
    async def body(story: Story) -> None:
        story.joined.received((b"all of it",))
        story.joined.ended()
        story.joined.failed(why)
        assert await story.rest() == b"all of it"

    story = told(body)
    assert story.counts.refused == ()
    assert not story.gone_pods


def test_a_pod_that_is_gone_is_told_and_another_one_hears_what_was_said() -> None:
    async def body(story: Story) -> None:
        await story.say(b"hello")
        story.joined.failed(GONE)
        await story.until(lambda: len(story.lines) == 2)
        assert story.lines[1].sent == b"hello"
        story.joined.failed(GONE)
        assert await story.is_reset()

    story = told(body)
    assert (story.gone_pods, len(story.lines)) == ([POD, POD], 2)
    assert [(each.reason, each.count) for each in story.counts.refused] == [("pod-gone", 1)]
    assert story.counts.opened == 1


@pytest.mark.parametrize("said", [b"", b"transfer 100"])
def test_a_session_that_is_cut_is_made_anew_only_for_who_has_said_nothing(said: bytes) -> None:
    async def body(story: Story) -> None:
        await story.say(said)
        story.joined.cut("The API server closed the connection.")
        if not said:
            await story.until(lambda: len(story.lines) == 2)
            story.joined.cut("The API server closed the connection.")
        assert await story.is_reset()

    assert len(told(body).lines) == (1 if said else 2)


@pytest.mark.parametrize("is_answered", [False, True])
def test_what_was_answered_or_is_too_much_to_say_again_is_not_said_again(is_answered: bool) -> None:
    async def body(story: Story) -> None:
        if is_answered:
            story.joined.received((b"x",))
        else:
            for _ in range(2):
                await story.say(bytes(EARLY))
        story.joined.failed(GONE)
        if is_answered:
            assert await asyncio.get_running_loop().sock_recv(story.program, 1) == b"x"
        assert await story.is_reset()

    assert len(told(body).lines) == 1


@pytest.mark.usefixtures("short")
def test_a_fin_from_before_another_pod_was_tried_is_passed_on_to_that_one() -> None:
    async def body(story: Story) -> None:
        await story.say(b"a question")
        await story.end()
        story.joined.failed(GONE)
        await story.until(lambda: len(story.lines) == 2 and story.lines[1].ends > 0)

    assert told(body).lines[1].sent == b"a question"


@pytest.mark.usefixtures("short")
def test_a_fin_is_passed_on_also_once_a_program_that_did_not_read_has_read_it_all() -> None:
    async def body(story: Story) -> None:
        await story.stall()
        await story.end()
        assert not story.lines[0].ends, "the pod is not silent: it is not listened to"
        reading = asyncio.get_running_loop().create_task(story.rest())
        await story.until(lambda: not story.lines[0].is_held)
        await story.until(lambda: story.lines[0].ends > 0)
        story.joined.ended()
        await reading

    told(body)


@pytest.mark.usefixtures("short")
def test_a_program_that_has_closed_altogether_is_noticed_at_its_fin_or_later_and_its_stream_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joining, "SILENCE", 3600.0)
    for is_later in (False, True):

        async def body(story: Story, is_later: bool = is_later) -> None:
            story.is_abandoned = not is_later
            await story.end()
            assert story.lines[0].ends == (not is_later)
            story.is_abandoned = True
            await story.until(lambda: story.has_left)

        line = told(body).lines[0]
        assert (line.ends, line.dropped) == (1, True), f"{is_later=}"


@pytest.mark.usefixtures("short")
def test_who_does_not_read_is_reset_once_others_wait_behind_him_and_not_before() -> None:
    async def body(story: Story) -> None:
        await story.stall()
        await asyncio.sleep(0.05)
        assert not story.has_left
        story.lines[0].has_neighbours = True
        await story.until(lambda: story.has_left)

    story = told(body)
    assert [each.reason for each in story.counts.refused] == ["stalled"]
    assert story.lines[0].dropped is True


def test_who_reads_again_in_time_is_not_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(story: Story) -> None:
        story.lines[0].has_neighbours = True
        monkeypatch.setattr(joining, "STALLED_FOR", 0.2)
        await story.stall()
        reading = asyncio.get_running_loop().create_task(story.rest())
        await story.until(lambda: not story.lines[0].is_held)
        await asyncio.sleep(0.25)
        assert not story.has_left
        story.joined.ended()
        await reading

    assert told(body).counts.refused == ()


def test_a_programs_reset_is_the_pods() -> None:
    async def body(story: Story) -> None:
        reset_of(story.program)
        await story.until(lambda: story.has_left)

    assert told(body).lines[0].dropped is True


def test_who_finds_no_way_is_reset_and_was_never_open() -> None:
    async def body(story: Story) -> None:
        assert await story.is_reset()

    counts = told(body, refused=True).counts
    assert (counts.opened, counts.streams, [each.reason for each in counts.refused]) == (0, 0, ["no-pods"])
