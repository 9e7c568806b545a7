"""The manual pages, made of the commands' own help: devlink(1), one for each command, and devlink-findings(7).

In roff with the macros of man(7), which man-db and mandoc both read. iproute2 has devlink(8) and devlink-dev(8) and the
like; none of ours lies in that section.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import click

from devlink import __version__
from devlink.cli import plugin, settings
from devlink.cli.root import COMMANDS, devlink

FINDINGS = "devlink-findings"
BOLD = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")
BREAK = re.compile(r"^(\.S[HS] .*\n)\.PP\n", re.MULTILINE)
"""A paragraph that begins behind a heading need not be begun."""
ESCAPES = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
"""What roff would read as its own, or draw as another character than the one that is to be typed."""


def pages() -> dict[str, str]:
    """Each page's text by its file's name, `devlink-up.1`."""
    root = click.Context(devlink, info_name="devlink", **devlink.context_settings)
    found = {"devlink.1": _overview(root), f"{FINDINGS}.7": _findings(), "kubectl-devlink.1": _plugin()}
    for name in devlink.list_commands(root):
        command = devlink.get_command(root, name)
        assert command is not None
        found[f"devlink-{name}.1"] = _page(click.Context(command, info_name=name, parent=root), COMMANDS[name][1])
    return found


class Roff(click.HelpFormatter):
    """What click writes as a command's help, as roff."""

    def __init__(self, *, within: bool = False) -> None:
        """`within`: for a command of a group, whose help has no headings of the first order."""
        super().__init__()
        self._within = within
        self._has_usage = self._has_text = False

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        if not self._within and not self._has_usage:
            self.write(".SH SYNOPSIS\n")
        self.write(f"{'.br' if self._has_usage else '.PP'}\n\\fB{escaped(prog)}\\fR {escaped(args)}\n")
        self._has_usage = True

    def write_text(self, text: str) -> None:
        if not self._within and not self._has_text:
            self.write(".SH DESCRIPTION\n")
        self._has_text = True
        self.write(paragraphs(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        self.write(definitions(rows))

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        self.write(f".PP\n{escaped(name)}:\n" if self._within else f".SH {escaped(name.upper())}\n")
        yield

    def write_paragraph(self) -> None:
        """Each block begins its own."""


def _page(ctx: click.Context, line: str) -> str:
    roff = Roff()
    ctx.command.format_help(ctx, roff)
    text = roff.getvalue()
    if isinstance(ctx.command, click.Group):
        text += "".join(_subcommand(ctx, command) for command in _shown(ctx))
    return _whole(f"devlink-{ctx.info_name}", 1, line, text, ("devlink(1)", f"{FINDINGS}(7)"))


def _shown(ctx: click.Context) -> Iterable[click.Command]:
    assert isinstance(ctx.command, click.Group)
    commands = (ctx.command.get_command(ctx, name) for name in ctx.command.list_commands(ctx))
    return (command for command in commands if command is not None and not command.hidden)


def _subcommand(parent: click.Context, command: click.Command) -> str:
    ctx = click.Context(command, info_name=command.name, parent=parent)
    roff = Roff(within=True)
    command.format_help(ctx, roff)
    deeper = "".join(_subcommand(ctx, each) for each in _shown(ctx)) if isinstance(command, click.Group) else ""
    return f".SH {escaped(ctx.command_path.upper())}\n{roff.getvalue()}{deeper}"


def _overview(ctx: click.Context) -> str:
    roff = Roff()
    ctx.command.format_help(ctx, roff)
    text = roff.getvalue() + "".join(
        f".SH {title}\n{definitions(rows)}"
        for title, rows in (
            ("EXIT STATUS", [(str(code), meaning) for code, meaning in settings.EXIT_STATUS.items()]),
            ("ENVIRONMENT", list(settings.ENVIRONMENT.items())),
            ("FILES", list(settings.FILES.items())),
        )
    )
    others = [f"devlink-{name}(1)" for name in COMMANDS]
    return _whole("devlink", 1, "a Kubernetes cluster's network on this laptop", text, [*others, f"{FINDINGS}(7)"])


def _plugin() -> str:
    roff = Roff()
    roff.write_usage(plugin.NAME, "[OPTIONS] COMMAND [ARGS]...")
    roff.write_text(
        "kubectl runs this program for `kubectl devlink`: `devlink`, with the same commands. It takes the options "
        "of kubectl's that mean something to it, wherever they stand behind `devlink`. kubectl itself refuses options "
        "that stand before it. The others that choose a cluster or a user are refused: make a context that says so. "
        "kubectl's own completion asks `kubectl_complete-devlink` for the words that fit."
    )
    with roff.section("Options"):
        roff.write_dl(plugin.MEANINGS)
    see_also = ("devlink(1)", "kubectl(1)")
    return _whole("kubectl-devlink", 1, "devlink as a plugin of kubectl", roff.getvalue(), see_also)


def _findings() -> str:
    from devlink.doctor.reference import sections

    text = ".SH DESCRIPTION\n" + paragraphs(
        "What devlink says of a link that is not as it should be, by code. `devlink explain CODE` shows one of these."
    )
    chapter = ""
    for section in sections():
        if section.chapter != chapter:
            chapter = section.chapter
            text += f".SH {escaped(chapter.upper())}\n"
        text += f".SS {escaped(section.code)}\n{paragraphs(section.text.replace(chr(10) + '- ', chr(10) * 2))}"
    return _whole(FINDINGS, 7, "what devlink finds wrong, and what cures it", text, ("devlink(1)", "devlink-doctor(1)"))


def _whole(name: str, section: int, line: str, text: str, see_also: Iterable[str]) -> str:
    line = line.removesuffix(".")
    text = BREAK.sub(r"\1", text)
    return (
        f'.TH {escaped(name.upper())} {section} "" "devlink {__version__}" "devlink"\n.nh\n.ad l\n'
        f".SH NAME\n{escaped(name)} \\- {prose(line[0].lower() + line[1:])}\n{text}"
        f".SH SEE ALSO\n{escaped(', '.join(see_also))}\n"
    )


def escaped(text: str) -> str:
    """A text as roff shows it, in one line of its source."""
    return _beginning(_drawn(" ".join(text.split())))


def prose(text: str) -> str:
    """The same, with what stands in backquotes or between pairs of asterisks in bold."""
    parts = BOLD.split(" ".join(text.split()))  # plain, and the two groups, over and over
    bold = (f"\\fB{_drawn(part)}\\fR" if number % 3 else _drawn(part) for number, part in enumerate(parts) if part)
    return _beginning("".join(bold))


def _drawn(text: str) -> str:
    return "".join(ESCAPES.get(c, c if c.isascii() else f"\\[u{ord(c):04X}]") for c in text)


def _beginning(drawn: str) -> str:
    """What begins a line with a dot would be a request."""
    return f"\\&{drawn}" if drawn.startswith(".") else drawn


def paragraphs(text: str) -> str:
    """A text whose paragraphs are parted by empty lines; one that begins with click's `\\b` keeps its lines."""
    found = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if paragraph.startswith("\b"):
            lines = [f"\\&{_drawn(line)}" for line in paragraph.splitlines()[1:]]
            found.append("\n".join([".PP", ".nf", *lines, ".fi"]))
        else:
            found.append(f".PP\n{prose(paragraph)}")
    return "".join(f"{each}\n" for each in found)


def definitions(rows: Iterable[tuple[str, str]]) -> str:
    """Words, each with what it means."""
    return "".join(f".TP\n\\fB{escaped(word)}\\fR\n{prose(meaning)}\n" for word, meaning in rows)
