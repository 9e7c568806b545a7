"""The relay processes of all sessions: started, told what to serve, followed, started again, and ended.

A relay is a child of the agent, one for each session that is relayed. It ends when the line on which it was told what
to serve does: with its session, and with the agent, however that ends.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from devlink.agent.helper_link import HelperLink
from devlink.agent.places import runtime_folder
from devlink.agent.session import Session, State
from devlink.core.codec import DecodeError, decode, encode
from devlink.core.findings import Finding, Severity
from devlink.core.plan import Upstream
from devlink.core.profile import Transport
from devlink.core.relay import RelayChain, RelayConfig, RelayState
from devlink.errors import DevlinkError, HelperError, NotUpError, ProtocolError, VerificationError, reason
from devlink.rpc.connection import Connection
from devlink.rpc.starting import start_serving
from devlink.rpc.tasks import spawn

log = logging.getLogger(__name__)

MODULE = "devlink.relay"
OF_AGENT = frozenset(("NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MANAGERPID",
                      "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))  # fmt: skip
"""Variables that are for the agent alone, not for its relays and what they run to sign in."""
KEPT = ("PATH", "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "no_proxy",
        "NO_PROXY")  # fmt: skip
"""What of its user's environment is kept with the wish, beside KUBECONFIG: no secret of a program that signs in."""
CALL_LIMIT = 10.0
"""Seconds for an answer of a relay's."""
PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before each start of a relay that has ended, the last one again and again."""
END_LIMIT = 2.0
"""Seconds for a relay to end by itself when its line has."""
NOTHING_CAME = (
    "Nothing has come through the relay: does the API server hang, or a firewall drop what leaves by devlink0? "
    "See: nft list ruleset, chains with `hook output`."
)
"""The kernel takes what is redirected for what leaves by our link to the end (nf_hook_state has the first way)."""
IS_DOWN = Finding(
    code="DL-RELAY-DOWN",
    severity=Severity.ERROR,
    title="The relay of this session has ended, and is started again.",
    evidence="connections that it carried are cut; new ones wait for it",
    fix="its log is the agent's: devlink logs",
)


class Child:
    """A relay's process, with two lines to it. Whoever drops it closes it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Start it. Blocks for a moment. Raises OSError."""
        path = runtime_folder() / f"relay.{os.getpid()}.{next(_numbers)}"
        self.socks = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) for _ in range(2)]
        try:
            self._process = start_serving(MODULE, path, self.socks, environ)
        except BaseException:
            for sock in self.socks:
                sock.close()
            raise
        self._reaper = threading.Thread(target=self._process.wait, name="reap relay", daemon=True)
        self._reaper.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> None:
        """Its lines are closed: wait for its end, and kill one that hangs. Blocks."""
        try:
            self._process.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            log.warning("the relay %d does not end, and is killed", self.pid)
            self._process.kill()


_numbers = itertools.count()


class Relay:
    """That of one session, through all of its processes."""

    def __init__(self, name: str, link: HelperLink, changed: Callable[[bool], None]) -> None:
        """`changed` is told of each new `state` and `trouble`, and whether a person would look up for it."""
        self.name = name
        self._link = link
        self._changed = changed
        self._config: RelayConfig | None = None
        self._environ: Mapping[str, str] = {}
        self._child: Child | None = None
        self._line: Connection | None = None
        self._following: asyncio.Task[None] | None = None
        self._reviving: asyncio.Task[None] | None = None
        self._serving = asyncio.Lock()
        self._is_closed = False
        self.is_draining = False
        self.state: RelayState | None = None
        self.trouble: tuple[Finding, ...] = ()

    async def serve(self, config: RelayConfig, environ: Mapping[str, str]) -> None:
        """Have it serve the listeners that the helper has for the session, by `config`; started where it is not.

        Raises DevlinkError.
        """
        self._config, self._environ = config, environ
        self.is_draining = False
        await self._serve()

    async def _serve(self) -> None:
        async with self._serving:
            assert self._config is not None
            listeners, descriptors = await self._link.open_relay(self.name)
            try:
                if self._line is None or self._line.closed.done():
                    await self._start()
                assert self._line is not None
                try:
                    await self._line.call(
                        "io.devlink.Relay.Serve",
                        {
                            "config": encode(self._config),
                            "listeners": [encode(each) for each in listeners],
                            "environment": dict(self._environ),
                        },
                        fds=tuple(descriptors),
                        limit=CALL_LIMIT,
                    )
                except (ProtocolError, TimeoutError) as error:
                    self._line.close()
                    raise HelperError(
                        "The relay of this session does not work.",
                        why="It ended at once." if isinstance(error, ProtocolError) else "It does not answer.",
                        next_step="Its log is the agent's: devlink logs",
                    ) from error
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            if self.trouble:
                self.trouble = ()
                self._changed(True)

    async def _start(self) -> None:
        self._forget()
        try:
            child = await asyncio.to_thread(Child, self._environ)
        except OSError as error:
            raise HelperError(
                "No relay can be started.", why=reason(error), next_step="Try again: devlink up"
            ) from error
        if self._is_closed:
            for sock in child.socks:
                sock.close()
            raise NotUpError("The session is gone.", next_step="See: devlink status")
        self._child = child
        log.info("%s: relay %d", self.name, child.pid)
        line, followed = (Connection(sock) for sock in child.socks)
        self._line = line
        line.closed.add_done_callback(lambda _: self._ended(line))
        self._following = spawn(self._follow(followed), name=f"follow the relay of {self.name}")

    async def _follow(self, line: Connection) -> None:
        try:
            async with contextlib.aclosing(line.stream("io.devlink.Relay.Follow")) as replies:
                async for reply in replies:
                    before, self.state = self.state, decode(RelayState, reply["state"])
                    self._changed(before is None or seen(before) != seen(self.state))
        except (DecodeError, KeyError) as error:
            log.error("the relay of %s tells what nobody understands: %s", self.name, error)
        except ProtocolError:
            pass  # its other line has ended as well, and that is heeded
        finally:
            line.close()

    def _ended(self, line: Connection) -> None:
        if self._is_closed or line is not self._line:
            return
        log.warning("the relay of %s has ended", self.name)
        self._forget()
        if self.is_draining:  # nothing is left to carry
            self._changed(True)
            return
        self._doubt(IS_DOWN)
        if self._reviving is None or self._reviving.done():
            self._reviving = spawn(self._revive(), name=f"start the relay of {self.name} again")

    def _doubt(self, trouble: Finding) -> None:
        if self.trouble != (trouble,):
            self.trouble = (trouble,)
            self._changed(True)

    async def _revive(self) -> None:
        for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
            await asyncio.sleep(pause)
            if self._is_closed or self.is_running or not self._link.is_connected:
                return  # with the helper it begins anew
            try:
                await self._serve()
                # One that ends as soon as it serves is given longer pauses.
                await asyncio.sleep(PAUSES[2])
                if self._line is not None and not self._line.closed.done():
                    return
            except DevlinkError as error:
                log.warning("the relay of %s: %s", self.name, error)
                self._forget()  # one that serves nothing is of no use to the next attempt
                self._doubt(replace(IS_DOWN, evidence=reason(error), fix=error.next_step or IS_DOWN.fix))

    @property
    def is_running(self) -> bool:
        return self._line is not None and not self._line.closed.done()

    @property
    def streams(self) -> int:
        """Open at this moment, as far as it is known."""
        return self.state.streams if self.state is not None and self.is_running else 0

    async def check(self) -> None:
        """The network may be another one: have it give up what that has cut."""
        if self._line is None or self._line.closed.done() or self._config is None:
            return
        try:
            await self._line.call("io.devlink.Relay.Serve", {"config": encode(self._config)}, limit=CALL_LIMIT)
        except (DevlinkError, TimeoutError) as error:
            log.warning("the relay of %s does not look at its connections: %s", self.name, reason(error))

    async def explain(self, error: VerificationError) -> None:
        """Say with it what the relay refused so far and why, or that nothing has come to it, and what cures that, as
        far as it can be asked."""
        if self._line is None or self._line.closed.done():
            return
        try:
            state = decode(RelayState, (await self._line.call("io.devlink.Relay.Follow", limit=CALL_LIMIT))["state"])
        except (DevlinkError, TimeoutError, DecodeError, KeyError):
            return
        if not (state.refused or state.opened):
            error.why = f"{error.why} {NOTHING_CAME}"
            return
        refused = "; ".join(
            f"{each.reason}: {each.last.rstrip('.')}" if each.last else each.reason for each in state.refused
        )
        if refused:
            error.why = f"{error.why} The relay refused: {refused}."
        broken = next((each for each in state.findings if each.severity is Severity.ERROR and each.fix), None)
        if broken is not None:
            error.why = f"{error.why} {broken.title} ({broken.code})"
            error.next_step = broken.fix

    async def drain(self) -> None:
        """Nothing new is accepted from now on."""
        self.is_draining = True
        if self._line is not None and self.is_running:
            try:
                await self._line.call("io.devlink.Relay.Drain", limit=CALL_LIMIT)
            except (DevlinkError, TimeoutError) as error:
                log.warning("the relay of %s does not drain: %s", self.name, reason(error))
                self._line.close()

    async def resolve(self, address: str, port: int) -> RelayChain:
        """How a connection to that address and port would go. Raises DevlinkError."""
        if self._line is None or not self.is_running:
            raise NotUpError("The relay of this session is away at this moment.", next_step="Try again.")
        try:
            answer = await self._line.call(
                "io.devlink.Relay.Resolve", {"address": address, "port": port}, limit=CALL_LIMIT
            )
            return decode(RelayChain, answer["chain"])
        except (TimeoutError, DecodeError, KeyError) as error:
            raise HelperError(
                "The relay does not say where that would go.", why=reason(error), next_step="Try again."
            ) from error

    async def end(self) -> None:
        """End it, and wait for that."""
        child, self._child = self._child, None
        self.close()
        if child is not None:
            await asyncio.to_thread(child.end)

    def close(self) -> None:
        """End it, without waiting for that. May be repeated."""
        self._is_closed = True
        self._forget()
        if self._reviving is not None:
            self._reviving.cancel()

    def _forget(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()
        if self._following is not None:
            self._following.cancel()
        child, self._child = self._child, None
        if child is not None:
            threading.Thread(target=child.end, name="end relay", daemon=True).start()
        self.state = None


class Relays:
    """Of all sessions, as they come up and go down."""

    def __init__(self, link: HelperLink, session: Callable[[str], Session | None], tell: Callable[[], None]) -> None:
        """`session` gives one by its name; `tell` is told when something that `status` shows of one has changed."""
        self._link = link
        self._session = session
        self._tell = tell
        self._running: dict[str, Relay] = {}
        self.environs: dict[str, Mapping[str, str]] = {}
        """As the users of sessions had theirs when they brought them up, by the session."""

    def get(self, name: str) -> Relay | None:
        return self._running.get(name)

    def environ(self, session: Session) -> Mapping[str, str]:
        """In which its relay runs."""
        known = self.environs.get(session.name)
        if known is None:  # an agent before this one knew it
            known = {**os.environ, **session.wish.environment, "KUBECONFIG": session.wish.kubeconfig}
        return {
            name: value for name, value in known.items() if name not in OF_AGENT and (name != "KUBECONFIG" or value)
        }

    async def serve(self, session: Session) -> None:
        """Have what is installed of a session served. Raises DevlinkError."""
        relay = self._running.get(session.name)
        if relay is None:
            name = session.name
            relay = self._running[name] = Relay(name, self._link, partial(self._changed, name))
        await relay.serve(config_of(session), self.environ(session))

    def _changed(self, name: str, is_news: bool) -> None:
        session, relay = self._session(name), self._running.get(name)
        if session is not None and relay is not None:
            _show(session, relay)
            if is_news:
                self._tell()

    async def end(self, name: str) -> None:
        """End one and wait for it: while what it carries is still redirected, those who are connected hear of it."""
        relay = self._running.pop(name, None)
        if relay is not None:
            await relay.end()

    def keep(self, sessions: Iterable[Session]) -> None:
        """End those that no session needs any more; to be called at each change."""
        present = {session.name: session for session in sessions}
        for name, relay in tuple(self._running.items()):
            session = present.get(name)
            if session is None or not _needs(session):
                del self._running[name]
                relay.close()
                if session is not None:
                    session.relay, session.relay_trouble = None, ()
            else:
                _show(session, relay)
        for name in set(self.environs) - set(present):
            del self.environs[name]

    def close(self) -> None:
        for relay in self._running.values():
            relay.close()
        self._running.clear()


def _show(session: Session, relay: Relay) -> None:
    if relay.state is not None or not relay.is_running:
        session.relay = relay.state
    others = tuple(each for each in session.relay_trouble if each.code != IS_DOWN.code)
    session.relay_trouble = (*relay.trouble, *others)


def _needs(session: Session) -> bool:
    """One whose helper is away has its relay still: what is open goes on when that is back. So has one on its way:
    where it goes by routes then, what is open goes on as well."""
    if session.state is State.CONNECTING:
        return True
    return session.plan.desired.relay is not None and (session.applied or session.state is State.DEGRADED)


def seen(state: RelayState) -> RelayState:
    """What a person would look up for: not the counts that run."""
    return replace(state, sent=0, received=0, opened=0)


def config_of(session: Session) -> RelayConfig:
    """What its relay is to serve."""
    wish = session.wish
    spec, dns = wish.profile.spec, wish.profile.spec.dns
    return RelayConfig(
        session=session.name,
        context=wish.reached_by,
        prefixes=tuple(route.destination for route in session.plan.desired.routes),
        api=spec.api,
        names=tuple(Upstream(address=each.address, transport=Transport.TCP) for each in dns.servers) if dns else (),
        namespaces=(dns.namespaces or ()) if dns else (),
        options=wish.relay,
    )
