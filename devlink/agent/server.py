"""The agent's process: its socket and its verbs."""

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from devlink.agent import cache
from devlink.agent.config import choices, routing_choices
from devlink.agent.lock import lock, take_over
from devlink.agent.log import log_to_stderr
from devlink.agent.login import Login, forget
from devlink.agent.looks.verbs import Looks
from devlink.agent.notes import held
from devlink.agent.notifications import tell_desktop
from devlink.agent.parameters import environment, parameter, relay_options, routing_mode, texts
from devlink.agent.places import agent_socket, runtime_folder, sessions_folder
from devlink.agent.refresh import Refresher
from devlink.agent.relays import KEPT
from devlink.agent.session import Wish
from devlink.agent.sessions import AGAIN, Progress, no_progress
from devlink.agent.sources import Obtained, obtain
from devlink.agent.supervisor import Supervisor
from devlink.core.checks import show
from devlink.core.codec import encode, parse_address
from devlink.errors import DevlinkError, NotPermittedError, NotTrustedError, NotUpError, UsageError, reason
from devlink.rpc.activation import listen_sockets, notify
from devlink.rpc.listening import bind_private
from devlink.rpc.peer import Peer
from devlink.rpc.server import Server, Session
from devlink.rpc.tasks import run, spawn
from devlink.rpc.varlink import Call
from devlink.rpc.watchdog import feed_watchdog

log = logging.getLogger(__name__)

INTERFACE = "io.devlink.Agent"
LOOK_AGAIN = 3.0
"""Seconds after which what is watched is looked at again: only while somebody watches."""
IDLE_LIMIT = 1.0
"""Seconds without session and caller after which an agent that nobody manages ends."""
LEAVING_LIMIT = 20.0
"""Seconds to take everything down at logout; what is left then, the helper takes back when its lease is over."""
OF_THE_MANAGER = frozenset(("NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MANAGERPID"))
"""Variables that are for the agent alone, not for programs that sign in."""


class Agent:
    """The verbs, for the user whose agent it is (and root)."""

    def __init__(self, supervisor: Supervisor, refresher: Refresher) -> None:
        self._supervisor = supervisor
        self._refresher = refresher
        self.login: Login | None = None
        """Where it brings up by itself what its user wishes at login."""
        self._asking: dict[asyncio.Task[Any], str] = {}
        """Each `Up` that still waits for its profile, with what it was asked for; empty for the default."""
        self.stop = asyncio.Event()
        self.caller_gone = asyncio.Event()
        self.server = Server(
            INTERFACE,
            {
                "Up": self._up,
                "Down": self._down,
                "Status": self._status,
                "Inspect": self._inspect,
                "Failover": self._failover,
                "Stop": self._stop,
                **Looks(supervisor).handlers,
            },
            admit=_admit,
            closed=lambda _: self.caller_gone.set(),
        )

    async def _up(self, caller: Session, call: Call) -> Mapping[str, Any]:
        profile, context = parameter(call, "profile", str, ""), parameter(call, "context", str, "")
        environ = environment(call)

        async def progress(step: str, done: bool) -> None:
            if call.more and not caller.finished:
                await caller.send({"step": step, "done": done})

        try:
            await progress(_reading(profile, context), False)
            obtained = await self._obtain(profile, context, environ)
            await progress(_source(obtained), True)
            before = self._supervisor.names
            async with self._aside(profile, context):
                session = await self._bring_up(obtained, environ, call, progress)
            if self.login is not None:
                self.login.taken_down(set(before) - set(self._supervisor.names))  # replaced
                self.login.wished_again(str(session["name"]))
            self._refresher.follow(str(session["name"]), environ, stale=obtained.is_copy)
            return {"session": session}
        except asyncio.CancelledError:  # once something is changed, the supervisor says what came of it
            raise NotUpError("It was cancelled before anything was changed.", next_step=AGAIN) from None

    @contextlib.asynccontextmanager
    async def _aside(self, profile: str, context: str) -> AsyncIterator[None]:
        if self.login is None:
            yield
            return
        async with self.login.aside(profile, context):
            yield

    def at_login(self, profiles: Sequence[str]) -> Login:
        """What brings these up by itself, as `up` would in the agent's own environment; to be started."""
        supervisor = self._supervisor
        self.login = Login(
            profiles, bring_up=self._bring_up_unasked, names=lambda: supervisor.names, tell=supervisor.tell
        )
        return self.login

    async def _bring_up_unasked(self, profile: str) -> None:
        assert self.login is not None
        environ = {name: value for name, value in os.environ.items() if name not in OF_THE_MANAGER}
        obtained = await obtain(profile, "", environ)
        name = obtained.profile.metadata.name
        self.login.is_called(profile, name)
        if name not in self._supervisor.names:
            call = Call(f"{INTERFACE}.Up")
            await self._bring_up(obtained, environ, call, no_progress)
            self._refresher.follow(name, environ, stale=obtained.is_copy)

    async def _obtain(self, profile: str, context: str, environ: Mapping[str, str]) -> Obtained:
        task = asyncio.current_task()
        assert task is not None
        self._asking[task] = profile or context
        try:
            return await obtain(profile, context, environ)
        finally:
            del self._asking[task]

    def _give_up(self, name: str | None) -> list[str]:
        """Cancel what still waits for its profile and may be meant; what it was asked for, in words."""
        meant = {task: wanted for task, wanted in self._asking.items() if name in (None, wanted) or not wanted}
        for task in meant:
            task.cancel()
        return [wanted or "what was on its way" for wanted in meant.values()]

    async def _bring_up(
        self, obtained: Obtained, environ: Mapping[str, str], call: Call, progress: Progress
    ) -> Mapping[str, Any]:
        """The newest edition, or the one that came up here last where the newest claims more than is trusted."""
        replace = parameter(call, "replace", bool, False)
        exclude, override = await asyncio.to_thread(
            choices, obtained.profile, texts(call, "exclude"), texts(call, "override")
        )
        routing, relay = await asyncio.to_thread(
            routing_choices, obtained.profile.metadata.name, routing_mode(call), relay_options(call)
        )
        wish = Wish(
            profile=obtained.profile,
            dns=parameter(call, "dns", bool, True),
            routes=parameter(call, "routes", bool, True),
            origin=obtained.origin,
            fetched=obtained.fetched,
            version=obtained.version,
            kubeconfig=environ.get("KUBECONFIG", ""),
            pins=obtained.pins,
            exclude=exclude,
            override=override,
            routing=routing,
            relay=relay,
            environment={name: environ[name] for name in KEPT if name in environ},
        )
        up = partial(self._supervisor.up, replace=replace, progress=progress, environ=environ)
        try:
            session = await up(wish, notes=obtained.findings)
        except NotTrustedError as error:
            if obtained.origin is not None:  # a file is named by its path, which the command knows
                error.next_step = error.next_step.replace("trust PROFILE", f"trust {_argument(obtained)}")
            if not obtained.is_checked:
                insecure = obtained.findings[0]
                error.why = f"{error.why} {insecure.title} ({insecure.evidence})".strip()
                error.next_step = f"{insecure.fix[0].upper()}{insecure.fix[1:]}."
            if obtained.good is None:
                raise
            await progress(f"the newest profile is not trusted: {error.what}", True)
            notes = (*obtained.findings, held(obtained.profile.metadata.name, error, _argument(obtained)))
            wish = dataclasses.replace(wish, profile=obtained.good)
            session = await up(wish, notes=notes)
        if wish.origin is not None:
            await asyncio.to_thread(cache.note_good, wish.origin, wish.profile)
        return session

    async def _down(self, _: Session, call: Call) -> Mapping[str, Any]:
        name = parameter(call, "session", str, "") or None
        everything = parameter(call, "all", bool, False)
        given_up = self._give_up(name)
        if self.login is not None and (name is not None or everything or not self._supervisor.names):
            given_up += self.login.give_up(name)
        work = spawn(self._supervisor.down(name, everything=everything), name="down")
        try:
            names: tuple[str, ...] = await asyncio.shield(work)
        except NotUpError:
            if not given_up:
                raise
            names = ()
        for each in names:
            self._refresher.leave(each)
        if self.login is not None:
            self.login.taken_down(names)
        return {"sessions": [*names, *given_up]}

    async def _status(self, caller: Session, call: Call) -> Mapping[str, Any]:
        has_routes = parameter(call, "routes", bool, True)
        if parameter(call, "look", bool, True):
            await self._supervisor.look()
        shown: Mapping[str, Any] = {}
        while call.more:
            status = self._shown(has_routes=has_routes)
            if _without_times(status) != _without_times(shown):
                await caller.send({"status": status})
                shown = status
            try:
                async with asyncio.timeout(LOOK_AGAIN):
                    await self._supervisor.changed()
            except TimeoutError:
                await self._supervisor.look()
        return {"status": self._shown(has_routes=has_routes)}

    async def _inspect(self, _: Session, call: Call) -> Mapping[str, Any]:
        profile, plan = self._supervisor.inspect(parameter(call, "session", str, ""))
        return {"profile": encode(profile), "plan": encode(plan)}

    async def _failover(self, _: Session, call: Call) -> Mapping[str, Any]:
        wanted = parameter(call, "gateway", str, "")
        try:
            gateway = parse_address(wanted) if wanted else None
        except ValueError:
            raise UsageError(f"{show(wanted)} is not an address.", next_step="See: devlink status") from None
        name = parameter(call, "session", str, "") or None
        return await asyncio.shield(spawn(self._supervisor.failover(name, gateway), name="failover"))

    def _shown(self, *, has_routes: bool) -> Mapping[str, Any]:
        status = self._supervisor.status()
        sessions = status["sessions"] if has_routes else [{**each, "routes": []} for each in status["sessions"]]
        asking, waiting = list(self._asking.values()), []
        if self.login is not None:
            asking += self.login.asking()
            waiting = self.login.waiting()
        return {**status, "sessions": sessions, "asking": asking, "waiting": waiting}

    async def _stop(self, _: Session, __: Call) -> Mapping[str, Any]:
        if not self._supervisor.is_idle:
            await asyncio.shield(spawn(self._supervisor.down(None, everything=True), name="stop"))
        self.stop.set()
        return {}


def _argument(obtained: Obtained) -> str:
    """What `devlink trust` takes for it: its name, where no other cluster's has the same."""
    name = obtained.profile.metadata.name
    alike = sum(kept.name == name for kept in cache.every())
    return name if obtained.origin is None or alike < 2 else f"--context {shlex.quote(obtained.origin.context)}"


def _reading(profile: str, context: str) -> str:
    return f"ask the cluster of context {context}" if context else f"read {profile or 'the default profile'}"


def _source(obtained: Obtained) -> str:
    name = obtained.profile.metadata.name
    if obtained.origin is None:
        return f"profile {name}"
    given = "the copy that is kept here" if obtained.is_copy else "as it is published now"
    return f"profile {name} of context {obtained.origin.context}, {given}"


def _without_times(status: Mapping[str, Any]) -> Mapping[str, Any]:
    def at_rest(session: Mapping[str, Any]) -> Mapping[str, Any]:
        gateways = [{**gateway, "since": 0, "rtt_ms": 0} for gateway in session["gateways"]]
        relay = session.get("relay") and {**session["relay"], "sent": 0, "received": 0, "opened": 0}
        return {**session, "since": 0, "age": 0, "gateways": gateways, "relay": relay}

    waiting = [{**each, "since": 0} for each in status.get("waiting", ())]
    return {**status, "sessions": [at_rest(session) for session in status.get("sessions", ())], "waiting": waiting}


def _admit(peer: Peer) -> DevlinkError | None:
    if peer.uid in (0, os.geteuid()):
        return None
    return NotPermittedError("This agent is another user's.", next_step="Run devlink as the user whose session it is.")


async def serve(*, linger: bool, wished: Sequence[str] | None = None) -> None:
    """Be the agent: until SIGTERM, or, unless `linger`, until nothing is up and nobody asks.

    `wished`: what it brings up by itself, as a service of its user that starts at login; None where it is none.
    """
    folder = runtime_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = lock(folder)
    if held is None and wished is not None:
        held = await take_over(folder)
    if held is None:
        log.info("another agent serves already")
        return
    listeners = listen_sockets()
    activated = bool(listeners)
    if not activated:
        listeners = [bind_private(agent_socket())]
    supervisor = Supervisor(sessions_folder())
    refresher = Refresher(supervisor)
    agent = Agent(supervisor, refresher)
    loop = asyncio.get_running_loop()
    is_told = False

    def end() -> None:
        nonlocal is_told
        is_told = True
        agent.stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    if wished is not None:
        notify("READY=1")  # login goes on: who connects waits until it is known what an agent before this one had up
    watchdog = spawn(feed_watchdog(), name="watchdog")
    await supervisor.resume()
    for name in supervisor.names:
        wish = supervisor.wish(name)
        if wish is not None:  # whoever started this agent may have had another KUBECONFIG than who brought it up
            refresher.follow(name, {**os.environ, "KUBECONFIG": wish.kubeconfig}, stale=True)
    if wished is not None:
        agent.at_login(wished).start()
    accepting = [spawn(agent.server.serve(each), name="accept") for each in listeners]
    telling = spawn(tell_desktop(supervisor.history), name="notifications")
    if wished is None:
        notify("READY=1")
    while not agent.stop.is_set():
        agent.caller_gone.clear()
        leaving = not linger and supervisor.is_idle and agent.server.connections == 0
        try:
            async with asyncio.timeout(IDLE_LIMIT if leaving else None):
                await _first(agent.stop.wait(), supervisor.changed(), agent.caller_gone.wait())
        except TimeoutError:
            if supervisor.is_idle and agent.server.connections == 0:  # else somebody came, and has changed nothing yet
                break
    notify("STOPPING=1")
    for task in (*accepting, telling):
        task.cancel()
    if not activated:
        agent_socket().unlink(missing_ok=True)
    await agent.server.close()
    refresher.close()
    if agent.login is not None:
        await agent.login.close()
        if is_told:
            await _leave(supervisor)
    supervisor.close()
    watchdog.cancel()
    for each in listeners:
        each.close()
    os.close(held)


async def _leave(supervisor: Supervisor) -> None:
    """At logout everything goes at once; where the service is only started anew, the next agent takes it over."""
    from devlink.service.user import is_restarting

    if await asyncio.to_thread(is_restarting):
        return
    forget()
    try:
        async with asyncio.timeout(LEAVING_LIMIT):
            await supervisor.down(None, everything=True)
    except NotUpError:
        pass
    except (DevlinkError, TimeoutError) as error:
        log.error("not everything was taken down: %s", reason(error))


async def _first(*waits: Any) -> None:
    tasks = [asyncio.get_running_loop().create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def main() -> int:
    """`python -m devlink.agent [--linger] [--login [--profile P]...]`."""
    log_to_stderr()
    words = sys.argv[1:]
    wished = [profile for word, profile in itertools.pairwise(words) if word == "--profile"]
    try:
        run(serve(linger="--linger" in words, wished=wished if "--login" in words else None))
    except DevlinkError as error:
        log.error("%s", error)
        return error.exit_code
    return 0
