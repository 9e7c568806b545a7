"""A connection of a program here, joined with a stream to a pod: octets both ways, ends, resets, and patience."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Protocol

from devlink.core.relay import Pod
from devlink.relay.clients import Client
from devlink.relay.counting import Counts
from devlink.relay.refusal import RefusedError
from devlink.relay.sessions import Sink, Way
from devlink.rpc.tasks import spawn

BOUND = 1 << 20
"""Octets that wait for a client that does not read, before its session is read no more."""
IN_ALL = 64 << 20
"""Octets that wait so for all clients together: the more of them there are, the fewer for each."""
STALLED_FOR = 30.0
"""Seconds after which who has not read is reset, where others wait behind him."""
SILENCE = 60.0
"""Seconds without an octet of the pod after which a client's FIN is passed on: the node's end (containerd, CRI-O) ends
the answer a second after it."""
LOOK_AGAIN = 2.0
"""Seconds after which it is looked whether such a client is still there."""
LEAVING = 5.0
"""Seconds for a pod to end a stream whose client is gone, before it is reset."""
EARLY = 64 << 10
"""Octets of a client that are kept until the pod answers, to be said again to another one."""
_REFUSED = re.compile(r"connection refused", re.IGNORECASE)
_GONE = re.compile(
    r"not found|not running|no such (container|pod)|network namespace .*(closed|exist)|is stopped|unable to upgrade"
    r"|failed to find sandbox",
    re.IGNORECASE,
)
"""What kubelet, containerd and CRI-O say of a pod that is no longer there; nothing was dialled then."""


class Destination(Protocol):
    """Where a connection shall go, found anew for each attempt."""

    async def open(self, sink: Sink) -> tuple[Way, Pod | None]:
        """A way there, and the pod where there is one. Raises RefusedError."""

    def gone(self, pod: Pod) -> None:
        """That pod is no longer there: another one next time."""


class Joined:
    """One connection, from its acceptance to its end."""

    def __init__(
        self,
        client: Callable[["Joined"], Client],
        destination: Destination,
        counts: Counts,
        *,
        label: str,
        left: Callable[["Joined"], None] = lambda _: None,
        is_abandoned: Callable[[], bool] = lambda: False,
    ) -> None:
        """`label`: ADDRESS:PORT; `left` is told once of its end; `is_abandoned`: whether the client, which has sent its
        FIN, has closed altogether, and takes no answer."""
        self.client = client(self)
        self._destination = destination
        self._counts = counts
        self._label = label
        self._left = left
        self._is_abandoned = is_abandoned
        self._loop = asyncio.get_running_loop()
        self._way: Way | None = None
        self._pod: Pod | None = None
        self._early: list[bytes] | None = []
        """What the client has said while the pod has said nothing yet; None once it cannot be said again."""
        self._early_size = 0
        self._has_answered = self._client_ended = self._pod_ended = False
        self._is_counted = self._tried_again = self._held = self._over = False
        self._heard = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def begin(self) -> None:
        """Find a way and start; reset the client where there is none."""
        try:
            way, pod = await self._destination.open(self)
        except RefusedError as error:
            self._refuse(error.reason, error.why)
            return
        except BaseException:
            self._leave()
            raise
        if self._over:  # the relay ends
            way.drop(reset=True)
            return
        self._way, self._pod = way, pod
        if not self._is_counted:
            self._is_counted = True
            self._counts.opened += 1
            self._counts.streams += 1
            self._counts.changed()
        for octets in self._early or ():
            way.send(octets)
        if self._client_ended:
            self._hold_back()
        elif way.is_writable:
            self.client.resume(at_once=True)  # what it said first goes out with the stream's beginning

    def reset(self) -> None:
        """Break it off, both ways."""
        if self._way is not None:
            self._way.drop(reset=True)
        self._leave()

    # what the client does

    def client_sent(self, octets: bytes) -> None:
        self._counts.sent += len(octets)
        if self._early is not None:
            self._early_size += len(octets)
            if self._early_size <= EARLY:
                self._early.append(octets)
            else:
                self._early = None
        if self._way is not None:
            self._way.send(octets)
        elif self._pod_ended:  # and is gone: nobody hears it
            self.reset()

    def client_ended(self) -> None:
        self._client_ended = True
        if self._pod_ended:
            self._finish()
        elif self._way is not None:
            self._hold_back()

    def client_lost(self) -> None:
        self.reset()

    def client_drained(self) -> None:
        if self._pod_ended and self._client_ended:
            self._finish()
        elif self._held and self._way is not None:
            self._held = False
            self._set_timer(None)
            if self._client_ended:
                self._set_timer(LOOK_AGAIN, self._watch_silence)
            self._way.release()

    # what the pod does

    def received(self, pieces: Sequence[bytes | memoryview]) -> None:
        self._counts.received += sum(map(len, pieces))
        if not self._has_answered:
            self._has_answered = True
            self._early = None
            if self._pod is not None:
                self._counts.port_open(self._pod)
        if self._client_ended:
            self._heard = self._loop.time()
        self.client.send(pieces)
        bound = min(BOUND, IN_ALL // max(self._counts.streams, 1))
        if self.client.waiting > bound and not self._held and self._way is not None:
            self._held = True
            self._way.hold()
            self._set_timer(STALLED_FOR, self._lose_patience)

    def ended(self) -> None:
        self._pod_ended = True
        if self._client_ended:
            self._finish()
        else:
            self.client.end()

    def failed(self, why: str) -> None:
        self._way = None
        if self._pod_ended:
            return  # all that it said has come, and the client has it, or takes it yet
        if _REFUSED.search(why):
            if self._pod is not None:
                self._counts.port_refused(self._pod, why)
            self._refuse("port-closed", why)
        elif _GONE.search(why) and self._pod is not None:
            self._destination.gone(self._pod)
            if not self._try_again():
                self._refuse("pod-gone", why)
        elif self._has_answered:
            self._leave()
        else:
            self._refuse("pod-gone", why)

    def cut(self, why: str) -> None:
        self._way = None
        if self._pod_ended:
            return
        if self._early_size or not self._try_again():  # what was said may have been heard
            self._leave()

    def writable(self, yes: bool) -> None:
        if not yes:
            self.client.pause()
        elif not self._client_ended:
            self.client.resume()

    # how it ends

    def _try_again(self) -> bool:
        """Once more, with another pod of the service, where nothing was exchanged yet."""
        if self._tried_again or self._has_answered or self._early is None:
            return False
        self._tried_again = True
        self.client.pause()
        spawn(self.begin(), name="another pod")
        return True

    def _refuse(self, reason: str, why: str) -> None:
        self._counts.refuse(reason, self._label, why)
        self._leave()

    def _hold_back(self) -> None:
        """The client's FIN waits, until the pod has ended."""
        self._heard = self._loop.time()
        if self._is_abandoned():
            self._let_go()
        elif not self._held:
            self._set_timer(LOOK_AGAIN, self._watch_silence)

    def _watch_silence(self) -> None:
        """Until nothing was heard for long, or the client is gone."""
        if self._way is None or self._held:
            return
        if self._is_abandoned():
            self._let_go()
            return
        if self._loop.time() - self._heard >= SILENCE:
            self._way.end()
        self._set_timer(LOOK_AGAIN, self._watch_silence)

    def _let_go(self) -> None:
        """Nobody takes the pod's answer: what was said is still its own to hear."""
        assert self._way is not None
        self._way.end()
        self._set_timer(LEAVING, self.reset)

    def _lose_patience(self) -> None:
        if self._way is None:
            return
        if self._way.has_neighbours:
            self._counts.refuse("stalled", self._label, f"Nobody read what came for {STALLED_FOR:.0f} s.")
            self.reset()
        else:
            self._set_timer(STALLED_FOR, self._lose_patience)

    def _finish(self) -> None:
        """Both have ended: what waits for the client still goes out."""
        if self._way is not None:
            self._way.end()
            self._way.drop(reset=False)
            self._way = None
        self._set_timer(None)
        if not self.client.waiting:
            self.client.close()
            self._leave()

    def _leave(self) -> None:
        """It is over, and reset where it has not been closed."""
        if self._over:
            return
        self._over = True
        self._set_timer(None)
        self.client.reset()
        if self._is_counted:
            self._counts.streams -= 1
        self._way = None
        self._left(self)
        self._counts.changed()

    def _set_timer(self, seconds: float | None, deed: Callable[[], None] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None and deed is not None:
            self._timer = self._loop.call_later(seconds, deed)
