"""What doctor and report begin with: what agent and helper say, and which profile is meant."""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from devlink.agent.client import connect
from devlink.agent.config import choices
from devlink.agent.sources import PATIENCE_WITH_CACHE, Obtained, obtain
from devlink.cli.output import duration
from devlink.core.codec import DecodeError, decode
from devlink.core.plan import Plan, addresses_of_interest, make_plan
from devlink.core.profile import BridgeProfile
from devlink.doctor.case import Case, Part, Subject
from devlink.errors import DevlinkError, HelperError, NotUpError
from devlink.helper.client import connect as connect_to_helper
from devlink.hints import restart_helper
from devlink.kernel.observe import observe
from devlink.rpc.tasks import spawn

AGENT_LIMIT = 3.5
"""Seconds for all that the agent is asked: it asks the helper first."""
HELPER_LIMIT = 3.0
"""Seconds for each answer of the helper: above what it gives its forwarder to answer."""
ANEW = "Take everything down with it (devlink down --all), and bring it up again."
HEAD_START = 0.7
"""Seconds after which an agent that has not answered is not waited for before it is asked which profile is meant."""
PROFILE_LIMIT = PATIENCE_WITH_CACHE + 0.5
"""Seconds to find out which profile is meant; a cluster that is slower is doctor's affair. Long enough for `obtain` to
give a silent one up, and take the copy."""


async def gather(profile: str, context: str) -> Case:
    """Ask all of them side by side. Never raises: what cannot be had is in the Case. `profile` is as `up` takes it."""
    asking: asyncio.Task[Case] = spawn(gather_sessions(), name="ask agent and helper")
    await asyncio.wait([asking], timeout=HEAD_START)
    # An agent that hangs shall not have doctor wait for it first, and for the cluster then.
    wanted = None if asking.done() else spawn(_wanted(profile, context), name="find the profile")
    case = replace(await asking, asked=profile or context)
    named = tuple(each for each in case.subjects if profile in ("", each.name) and not context)
    if named:
        if wanted is not None:
            wanted.cancel()
        return replace(case, subjects=named)
    try:
        return replace(case, subjects=(await (wanted or _wanted(profile, context)),))
    except DevlinkError as error:
        return replace(case, subjects=(), obstacle=error)


async def gather_sessions(agent_limit: float = AGENT_LIMIT, helper_limit: float = HELPER_LIMIT) -> Case:
    """What is up, and nothing else: no cluster is asked for a profile. Seconds for each answer. Never raises."""
    agent, helper = await asyncio.gather(
        asyncio.to_thread(_ask_agent, agent_limit), asyncio.to_thread(_ask_helper, helper_limit)
    )
    part, sessions = agent
    return Case(
        agent=part, helper=helper, subjects=tuple(sessions),
        environ=dict(os.environ), uid=os.getuid(), now=time.time(),
    )  # fmt: skip


def _ask_agent(limit: float) -> tuple[Part, list[Subject]]:
    """What it says, and each of its sessions, within `limit` seconds in all."""
    until = time.monotonic() + limit
    try:
        agent = connect(timeout=limit, greeting=limit)
        if agent is None:
            return Part(), []
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
                subjects.append(_subject_of(session, inside))
    except TimeoutError:
        return Part(error=HelperError("The agent runs, but does not answer.", next_step="See: devlink doctor")), []
    except DecodeError as error:
        return Part(error=HelperError("The agent is of another version.", why=str(error), next_step=ANEW)), []
    except DevlinkError as error:
        return Part(error=error), []
    return Part(told=status, version=str(status["version"])), subjects


def _subject_of(session: Mapping[str, Any], inside: Mapping[str, Any]) -> Subject:
    context = session["context"]
    age = float(session["age"])
    return Subject(
        profile=decode(BridgeProfile, inside["profile"]),
        plan=decode(Plan, inside["plan"]),
        session=session,
        origin=f"from the cluster of context {context}, {duration(age)} ago" if context else "from a file",
        fetched=time.time() - age if context else 0.0,
    )


def _ask_helper(limit: float) -> Part:
    try:
        with connect_to_helper(timeout=limit) as helper:
            version = str(helper.call("org.varlink.service.GetInfo").get("version", ""))
            return Part(told=helper.call("io.devlink.Helper.List"), version=version)
    except TimeoutError:
        return Part(error=HelperError("The devlink helper runs, but does not answer.", next_step=restart_helper()))
    except DevlinkError as error:
        return Part(error=error)


async def _wanted(profile: str, context: str) -> Subject:
    """What `up` would bring up. Raises DevlinkError where that is nothing."""
    try:
        async with asyncio.timeout(PROFILE_LIMIT):
            obtained = await obtain(profile, context, os.environ, keep=False)
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
    return make_plan(
        obtained.profile, observe(addresses_of_interest(obtained.profile)), pins=obtained.pins,
        exclude=exclude, override=override, uid=os.getuid(),
    )  # fmt: skip
