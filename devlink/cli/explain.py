"""`devlink explain`: the way to a name, an address or a URL, link by link; and what a finding's code means."""

import logging
import os
import re
from typing import TYPE_CHECKING, Any

import click

from devlink.cli import offers
from devlink.cli.output import MARKS, Lines, emit, output_option
from devlink.doctor.reference import Section, is_code, section_of, sections
from devlink.errors import UsageError

if TYPE_CHECKING:  # what a code means needs none of what looks at a way
    from devlink.doctor.explain.chain import Chain

EXIT_BROKEN = 4
COLUMNS = 80
"""Where it is not written to a terminal."""
AGENT_LIMIT = 1.5
"""Seconds for each answer of the agent. All links together take 5 s at most, and nobody waits much longer than 6."""
HELPER_LIMIT = 1.0
WIDEST = 16
"""Of the names of links, which stand below one another; an IPv6 address may be longer."""
PART = re.compile(r"(?:- )?\*\*(Look|Cure)\*\*: ")
NEAR = 4
"""How many codes are suggested."""


@click.command(short_help="Show the way to a name, address or URL; or a finding.")
@click.argument("what", metavar="NAME|IP|URL|CODE", required=False, shell_complete=offers.codes)
@click.option("--list", "is_list", is_flag=True, help="List the codes of all findings.")
@output_option("json", "yaml")
def explain(what: str | None, is_list: bool, output: str) -> int:
    """Show each link of the way to WHAT: name, rule, address, route, next hop, data. Changes nothing.

    WHAT is a name, an address, HOST:PORT, [IPv6]:PORT or a URL. The first link that is broken is named, with what to
    do. Without a port the common ones are tried, by TCP. Or WHAT is the code of a finding, such as DL-POD-HANGS: then
    its meaning, how to see it, and what cures it. Exit code: 0 nothing is broken; 4 a link is.
    """
    if is_list:
        return _show_list(output)
    if what is None:
        raise click.UsageError("Say what: a name, an address, a URL, or a finding's code (--list shows them).")
    if is_code(what):
        return _show_code(what, output)
    return _show_chain(what, output)


# Codes


def _show_list(output: str) -> int:
    if output != "text":
        emit({"findings": [_tree_of(section) for section in sections()]}, output)
        return 0
    lines, chapter = Lines(elsewhere=COLUMNS), ""
    for section in sections():
        if section.chapter != chapter:
            click.echo(("\n" if chapter else "") + section.chapter)
            chapter = section.chapter
        lines.line(f"  {section.code:<26} ", section.first_sentence)
    return 0


def _show_code(code: str, output: str) -> int:
    section = section_of(code)
    if section is None:
        raise UsageError(
            f"There is no finding with the code {code.strip().upper()}.",
            next_step=f"Did you mean {_near(code.strip().upper())}? All of them: devlink explain --list",
        )
    if output != "text":
        emit(_tree_of(section), output)
        return 0
    lines = Lines(elsewhere=COLUMNS)
    click.echo(f"{section.code}  ({section.chapter})\n")
    for paragraph in section.text.split("\n\n"):
        for item in paragraph.split("\n- "):
            part = PART.match(item)
            text = " ".join((item[part.end() :] if part is not None else item).split())
            if part is not None:
                click.echo()
            lines.line(f"{part[1]:<5} " if part is not None else "", text)
    return 0


def _near(code: str) -> str:
    """The codes that are written most alike, or share a word."""
    import difflib

    codes = [section.code for section in sections()]
    words = set(code.split("-")[1:])
    close = difflib.get_close_matches(code, codes, NEAR) or [each for each in codes if words & set(each.split("-")[1:])]
    return " or ".join(close[:NEAR] or codes[:1])


def _tree_of(section: Section) -> dict[str, Any]:
    return {"code": section.code, "chapter": section.chapter, "text": section.text}


# The way


def _show_chain(what: str, output: str) -> int:
    from devlink.agent.case import by_socket, gather_sessions, resolve_by_socket
    from devlink.core.explain import parse_target
    from devlink.doctor.explain.chain import tree
    from devlink.doctor.explain.explaining import explain as look
    from devlink.rpc.tasks import run

    target = parse_target(what)
    logging.getLogger("devlink").addHandler(logging.NullHandler())  # what was seen is in the chain

    async def examine() -> "Chain":
        asked = by_socket(AGENT_LIMIT), HELPER_LIMIT, resolve_by_socket(AGENT_LIMIT)
        return await look(target, await gather_sessions(os.environ, *asked))

    chain = run(examine())
    if output == "text":
        show(chain)
    else:
        emit(tree(chain), output)
    return 0 if chain.is_whole else EXIT_BROKEN


def show(chain: "Chain") -> None:
    """For people: link below link, each address with its own; what is broken with what to do."""
    from devlink.doctor.explain.chain import outcome

    lines = Lines(elsewhere=COLUMNS)
    names = [link.about if link.name == "address" else link.name for link in chain.links]
    width = min(max(map(len, names)), WIDEST)
    for number, (name, link) in enumerate(zip(names, chain.links, strict=True), 1):
        mark, colour = MARKS[outcome(link)]
        lines.line(f"{number:>2} {mark} {name:<{width}} ", link.text, colour=colour)
        if link.finding is not None:
            lines.line("     ", f"{link.finding.title} [{link.finding.code}]", colour=colour)
            for label, text in (("     seen ", link.finding.evidence), ("     do   ", link.finding.fix)):
                if text:
                    lines.line(label, text)
    click.echo(f"\n{_conclusion(chain)}")


def _conclusion(chain: "Chain") -> str:
    broken = next((link for link in chain.links if link.is_broken), None)
    if broken is not None:
        return f"The way is broken at: {broken.name}."
    if chain.findings or not chain.links[-1].is_known:
        return "Nothing is broken, as far as it could be seen."
    return "The way is whole."
