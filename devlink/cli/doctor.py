"""`devlink doctor`: what is wrong, whose fault it is, and what to do."""

import logging
import os

import click

from devlink.agent.case import by_socket, gather, resolve_by_socket
from devlink.cli import offers
from devlink.cli.output import MARKS, Lines, emit, output_option
from devlink.core.text import listed
from devlink.doctor.case import Case
from devlink.doctor.checks import CHECKS
from devlink.doctor.examination import Examination, examine, outcome, tree
from devlink.rpc.tasks import run

EXIT_ERRORS = 4
COLUMNS = 80
"""Where it is not written to a terminal."""


@click.command()
@offers.profile_or_context("The profile that the cluster of C publishes, as of `up`.")
@output_option("json", "yaml")
def doctor(profile: str | None, context: str, output: str) -> int:
    """Find out what is wrong: on this laptop, on the way, or in the cluster. Changes nothing.

    Looks at everything that is up; with PROFILE, or where nothing is up, at what `devlink up` would mean. What follows
    from something else is not told, only its cause; `devlink explain CODE` says more of one. Exit code: 0 without
    errors, also with warnings; 4 with errors.
    """
    from devlink.agent.profiles import absolute, check_argument

    check_argument(profile)
    logging.getLogger("devlink").addHandler(logging.NullHandler())  # what was seen is in the findings
    case, examination = run(_examine(absolute(profile), context))
    if output == "text":
        show(case, examination)
    else:
        emit(tree(case, examination), output)
    return EXIT_ERRORS if examination.has_errors else 0


async def _examine(profile: str, context: str) -> tuple[Case, Examination]:
    case = await gather(profile, context, os.environ, by_socket(), resolve_by_socket())
    return case, await examine(case, CHECKS)


def show(case: Case, examination: Examination) -> None:
    """For people: each check in the order of the path, then what is to be done."""
    lines = Lines(elsewhere=COLUMNS)
    several = len(case.subjects) > 1
    names = [f"{step.check} ({step.session})" if several and step.session else step.check for step in examination.steps]
    width = min(max([12, *map(len, names)]), COLUMNS // 2)
    for name, step in zip(names, examination.steps, strict=True):
        mark, colour = MARKS[outcome(step)]
        text = f"not judged: {step.follows} comes first" if step.follows else step.seen.text
        lines.line(f"{mark} {name:<{width}} ", text, colour=colour)
    for finding in examination.findings:
        click.echo()
        mark, colour = MARKS[finding.severity.value]
        whose = [step.session for step in examination.steps if step.session and finding in step.seen.findings]
        of_session = f" ({listed(whose)})" if several and whose else ""
        lines.line(f"{mark} ", f"{finding.title} [{finding.code}]{of_session}", colour=colour)
        for label, text in (("    seen ", finding.evidence), ("    do   ", finding.fix)):
            if text:
                lines.line(label, text)
    if not examination.findings:
        click.echo("\nNothing is wrong that could be seen.")
