"""What doctor, explain and report begin with: what agent and helper say, and which profile is meant."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from devlink import __version__
from devlink.agent.client import connect, replace_agent
from devlink.agent.config import choices, routing_choices
from devlink.agent.helper_link import INTERFACE
from devlink.agent.sources import PATIENCE_WITH_CACHE, Obtained, obtain
from devlink.core.codec import DecodeError, decode
from devlink.core.plan import Plan, addresses_of_interest, make_plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile
from devlink.core.relay import RelayChain
from devlink.core.text import duration
from devlink.doctor.case import Case, Part, Resolve, Subject
from devlink.errors import DevlinkError, HelperError, NotUpError
from devlink.helper.client import connect as connect_to_helper
from devlink.hints import restart_helper
from devlink.kernel.observe import observe
from devlink.rpc.client import Client
from devlink.rpc.tasks import spawn
from devlink.rpc.varlink import includes, interface_description

AGENT_LIMIT = 3.5
"""Seconds for all that the agent is asked: it asks the helper first."""
HELPER_LIMIT = 3.0
"""Seconds for each answer of the helper: above what it gives its forwarder to answer."""
HEAD_START = 0.7
"""Seconds after which an agent that has not answered is not waited for before it is asked which profile is meant."""
PROFILE_LIMIT = PATIENCE_WITH_CACHE + 0.5
"""Seconds to find out which profile is meant; a cluster that is slower is doctor's affair. Long enough for `obtain` to
give a silent one up, and take the copy."""


Told = tuple[Part, tuple[Subject, ...]]
"""What the agent says of itself, and each of its sessions."""
Sessions = Callable[[], Awaitable[Told]]
"""Whom to ask for that: the agent by its socket, or, within the agent, itself. It raises nothing deliberate."""


async def gather(
    profile: str, context: str, environ: Mapping[str, str], sessions: Sessions, resolve: Resolve | None = None
) -> Case:
    """Ask all of them side by side. Never raises: what cannot be had is in the Case.

    `profile` is as `up` takes it; `environ` the user's, for KUBECONFIG, proxies and programs that sign in;
    `resolve` asks the relay of a session.
    """
    asking: asyncio.Task[Case] = spawn(gather_sessions(environ, sessions, resolve=resolve), name="ask agent and helper")
    wanted: asyncio.Task[Subject] | None = None
    try:
        await asyncio.wait([asking], timeout=HEAD_START)
        if not asking.done():  # an agent that hangs shall not have doctor wait for it first, and for the cluster then
            wanted = spawn(_wanted(profile, context, environ), name="find the profile")
        case = replace(await asking, asked=profile or context)
        named = tuple(each for each in case.subjects if profile in ("", each.name) and not context)
        if named:
            return replace(case, subjects=named)
        try:
            return replace(case, subjects=(await (wanted or _wanted(profile, context, environ)),))
        except DevlinkError as error:
            return replace(case, subjects=(), obstacle=error)
    finally:
        asking.cancel()
        if wanted is not None:
            wanted.cancel()


async def gather_sessions(
    environ: Mapping[str, str], sessions: Sessions, helper_limit: float = HELPER_LIMIT, resolve: Resolve | None = None
) -> Case:
    """What is up, and nothing else: no cluster is asked for a profile. `helper_limit`: seconds for each answer of the
    helper. Never raises."""
    (part, subjects), helper = await asyncio.gather(sessions(), asyncio.to_thread(_ask_helper, helper_limit))
    return Case(
        agent=part, helper=helper, subjects=subjects, environ=dict(environ), uid=os.getuid(), now=time.time(),
        resolve=resolve,
    )  # fmt: skip


def by_socket(limit: float = AGENT_LIMIT) -> Sessions:
    """Asks whichever agent runs, for `limit` seconds in all."""
    return lambda: asyncio.to_thread(_ask_agent, limit)


def resolve_by_socket(limit: float = AGENT_LIMIT) -> Resolve:
    """Asks the relay of a session by way of whichever agent runs, for `limit` seconds."""

    def ask(session: str, address: IPAddress, port: int) -> RelayChain:
        agent = connect(timeout=limit, greeting=limit)
        if agent is None:
            raise NotUpError("No agent runs.", next_step="See: devlink status")
        with agent:
            asked = {"session": session, "address": str(address), "port": port}
            return decode(RelayChain, agent.call("io.devlink.Agent.ResolveRelay", asked)["chain"])

    return lambda session, address, port: asyncio.to_thread(ask, session, address, port)


def _ask_agent(limit: float) -> Told:
    until = time.monotonic() + limit
    try:
        agent = connect(timeout=limit, greeting=limit)
        if agent is None:
            return Part(), ()
        with agent:
            agent.bound(max(until - time.monotonic(), 0.1))
            status = agent.call("io.devlink.Agent.Status")["status"]
            subjects = []
            for session in status["sessions"]:
                agent.bound(max(until - time.monotonic(), 0.1))
                try:
                    inside = agent.call("io.devlink.Agent.Inspect", {"session": session["name"]})
                except NotUpError:  # it went down at this moment
                    continue
                profile, plan = decode(BridgeProfile, inside["profile"]), decode(Plan, inside["plan"])
                subjects.append(subject_of(session, profile, plan))
    except TimeoutError:
        return Part(error=HelperError("The agent runs, but does not answer.", next_step="See: devlink doctor")), ()
    except DecodeError as error:
        return Part(
            error=HelperError("The agent is of another version.", why=str(error), next_step=replace_agent())
        ), ()
    except DevlinkError as error:
        return Part(error=error), ()
    return Part(told=status, version=str(status["version"])), tuple(subjects)


def subject_of(session: Mapping[str, Any], profile: BridgeProfile, plan: Plan) -> Subject:
    """A session as the agent shows it, with what it was brought up with."""
    context = session["context"]
    age = float(session["age"])
    return Subject(
        profile=profile,
        plan=plan,
        session=session,
        origin=f"from the cluster of context {context}, {duration(age)} ago" if context else "from a file",
        fetched=time.time() - age if context else 0.0,
    )


def _ask_helper(limit: float) -> Part:
    try:
        with connect_to_helper(timeout=limit) as helper:
            version = str(helper.call("org.varlink.service.GetInfo").get("version", ""))
            is_understood = version != __version__ and _is_understood(helper)
            return Part(told=helper.call("io.devlink.Helper.List"), version=version, is_understood=is_understood)
    except TimeoutError:
        return Part(error=HelperError("The devlink helper runs, but does not answer.", next_step=restart_helper()))
    except DevlinkError as error:
        return Part(error=error)


def _is_understood(helper: Client) -> bool:
    try:
        called = helper.call("org.varlink.service.GetInterfaceDescription", {"interface": INTERFACE})
    except DevlinkError:
        return False
    return includes(str(called.get("description", "")), interface_description(INTERFACE))


async def _wanted(profile: str, context: str, environ: Mapping[str, str]) -> Subject:
    """What `up` would bring up. Raises DevlinkError where that is nothing."""
    try:
        async with asyncio.timeout(PROFILE_LIMIT):
            obtained = await obtain(profile, context, environ, keep=False)
    except TimeoutError:
        raise HelperError(
            f"It could not be seen within {PROFILE_LIMIT:g} s which profile is meant: the cluster, or what signs in "
            "to it, is silent or slow.",
            next_step="Name a profile that is here already (devlink profile list), or: devlink profile fetch",
        ) from None
    plan, obstacle = None, None
    try:
        plan = await asyncio.to_thread(_plan, obtained)
    except DevlinkError as error:
        obstacle = error
    origin = "from a file"
    if obtained.origin is not None:
        given = "kept here, fetched" if obtained.is_copy else "fetched"
        ago = duration(max(0.0, time.time() - obtained.fetched))
        origin = f"from the cluster of context {obtained.origin.context}, {given} {ago} ago"
    return Subject(
        profile=obtained.profile, plan=plan, obstacle=obstacle, origin=origin, fetched=obtained.fetched,
        notes=obtained.findings,
    )  # fmt: skip


def _plan(obtained: Obtained) -> Plan:
    exclude, override = choices(obtained.profile, (), ())
    routing, relay = routing_choices(obtained.profile.metadata.name)
    return make_plan(
        obtained.profile, observe(addresses_of_interest(obtained.profile)), pins=obtained.pins,
        exclude=exclude, override=override, uid=os.getuid(), routing=routing,
        containers=relay.containers,
    )  # fmt: skip
