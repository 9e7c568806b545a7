"""The manual: every command and option is in it, and nothing in it trips who shows it."""

import functools
import os
import re
import subprocess
from collections.abc import Iterator

import click
import pytest

from devlink.cli import man
from devlink.cli.plugin import VALUED
from devlink.cli.root import COMMANDS, devlink
from devlink.doctor.reference import sections
from tests.cli.shells import program

pages = functools.cache(man.pages)
NAMES = ("devlink.1", "devlink-findings.7", "kubectl-devlink.1", *(f"devlink-{name}.1" for name in COMMANDS))


def commands(parent: click.Context) -> Iterator[click.Context]:
    assert isinstance(parent.command, click.Group)
    for name in parent.command.list_commands(parent):
        command = parent.command.get_command(parent, name)
        assert command is not None
        ctx = click.Context(command, info_name=name, parent=parent)
        yield ctx
        if isinstance(command, click.Group):
            yield from commands(ctx)


def shown(page: str) -> str:
    """As a terminal shows it, without its looks."""
    drawn = subprocess.run(
        [program("man"), "-l", "-"], input=page.encode(), capture_output=True, timeout=30, check=True,
        env={**os.environ, "MANWIDTH": "400", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": "", "MANPAGER": "cat"},
    )  # fmt: skip
    return re.sub(".\b", "", drawn.stdout.decode())


def plain(page: str) -> str:
    """The text of a page, by undoing what the generator does to a text."""
    return page.replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\fB", "").replace(r"\fR", "")


def test_every_command_has_a_page_or_a_chapter_and_every_option_of_it_is_there() -> None:
    root = click.Context(devlink, info_name="devlink")
    assert set(pages()) == set(NAMES)
    seen = 0
    for ctx in commands(root):
        page = plain(pages()[f"devlink-{ctx.command_path.split()[1]}.1"])
        if not ctx.command.hidden and ctx.parent is not root:
            assert f".SH {ctx.command_path.upper()}\n" in page
        for parameter in ctx.command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert re.search(rf"^{re.escape(option)}\b|[ ,]{re.escape(option)}\b", page, re.MULTILINE), option
                seen += 1
    assert seen > 50


def test_no_line_in_a_list_of_commands_is_cut() -> None:
    root = click.Context(devlink, info_name="devlink")
    groups = [ctx for ctx in commands(root) if isinstance(ctx.command, click.Group)]
    lines = [line for ctx in groups for line in ctx.command.get_help(ctx).partition("Commands:")[2].splitlines()]
    assert lines
    assert [line for line in lines if line.endswith("...")] == []


def test_every_finding_is_in_the_manual() -> None:
    assert all(f".SS {section.code}\n" in plain(pages()["devlink-findings.7"]) for section in sections())


def test_every_flag_of_kubectls_that_is_taken_is_in_the_manual() -> None:
    page = plain(pages()["kubectl-devlink.1"])
    assert all(f"{flag} " in page or f"{flag}, " in page for flag in VALUED)


def test_no_page_lies_where_iproute2_has_its_own() -> None:
    assert not [name for name in pages() if name.endswith(".8")]


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        ("a -b 'c' `d`", r"a \-b \(aqc\(aq \fBd\fR"),
        (".so /etc/shadow", r"\&.so /etc/shadow"),
        ("'so /etc/shadow", r"\(aqso /etc/shadow"),
        ("back\\slash", r"back\eslash"),
        ("**Look**: `ip -4 a`", r"\fBLook\fR: \fBip \-4 a\fR"),
        ("a\n.b", "a .b"),
        ("5 → 6", r"5 \[u2192] 6"),
    ],
)
def test_a_text_is_shown_as_it_is_and_is_no_request_to_roff(text: str, roff: str) -> None:
    assert man.prose(text) == roff


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_man_and_mandoc_have_nothing_to_warn_of(name: str) -> None:
    done = subprocess.run(
        [program("man"), "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", "-"], input=pages()[name].encode(),
        env={**os.environ, "MANROFFSEQ": "", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}, capture_output=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    lint = subprocess.run(
        [program("mandoc"), "-Tlint", "-Wwarning"], input=pages()[name].encode(), capture_output=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert [line for line in lint.stdout.decode().splitlines() if "missing date" not in line] == []


@pytest.mark.slow
def test_what_is_to_be_typed_can_be_copied_from_the_page() -> None:
    assert "--override PREFIX" in shown(pages()["devlink-up.1"])
    assert "devlink completion fish >~/.config/fish/completions/devlink.fish" in shown(pages()["devlink-completion.1"])
    assert "devlink trust [PROFILE | --context C] [--yes] [--sha256 HASH]" in shown(pages()["devlink-trust.1"])
