"""The agent as a service of its user: whether it runs, and what it waits for."""

import asyncio

from devlink.core.findings import Finding, Severity
from devlink.core.text import duration
from devlink.doctor.case import Case, Part
from devlink.doctor.check import Check, LaptopCheck, Seen, skipped
from devlink.errors import UnexpectedError
from devlink.service.unit import NAME
from devlink.service.user import Seen as Service
from devlink.service.user import look


async def _look_at_service(case: Case) -> Seen:
    del case
    try:
        service = await asyncio.to_thread(look)
    except UnexpectedError as error:
        return skipped(error.what)
    if not service.installed:
        return skipped("none is installed")
    if service.active == "unknown":
        return skipped("no manager of the user's says how it is")
    return Seen(text=f"{service.active}, {'' if service.enabled else 'not '}at login", findings=judge_service(service))


def judge_service(service: Service) -> tuple[Finding, ...]:
    """A warning where one that is installed does not run, or will not at login. Pure."""
    is_ended = service.active in ("inactive", "failed")
    if not is_ended and service.enabled:
        return ()
    evidence = f"systemd says: {service.active}, {'enabled' if service.enabled else 'not enabled'}"
    return (
        Finding(
            code="DL-SERVICE-STOPPED",
            severity=Severity.WARNING,
            title="The service that brings your profiles up at login does not run."
            if is_ended
            else "The service that brings your profiles up will not start at your next login.",
            evidence=evidence,
            fix=f"systemctl --user enable --now {NAME}; if it does not stay: journalctl --user -u {NAME}",
        ),
    )


async def _look_at_waiting(case: Case) -> Seen:
    if case.agent.told is None:
        return skipped("no agent says")
    found = judge_waiting(case.agent)
    return Seen(text=f"{len(found)} of what shall be up since login is not" if found else "nothing", findings=found)


def judge_waiting(agent: Part) -> tuple[Finding, ...]:
    """A warning for each profile that is not up since login, with what keeps it. Pure."""
    return tuple(
        Finding(
            code="DL-WAITING",
            severity=Severity.WARNING,
            title=f"{each['profile'] or 'The default profile'} is not up since login ({duration(each['since'])}): "
            "it is tried again by itself.",
            evidence=each["why"],
            fix=each["next_step"] or "devlink up shows at once what keeps it",
        )
        for each in (agent.told or {}).get("waiting", ())
    )


CHECKS: tuple[Check, ...] = (
    LaptopCheck(name="service", look=_look_at_service),
    LaptopCheck(name="waiting", look=_look_at_waiting, after=("helper", "access", "agent")),
)
