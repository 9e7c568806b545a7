"""`devlink explain CODE`, its list, and what it says where it is asked for nothing or for nonsense."""

import json
import sys
from collections.abc import Callable

import pytest

from devlink.cli import root
from devlink.cli.explain import show
from devlink.core.explain import parse_target
from devlink.core.findings import Finding, Severity
from devlink.doctor.explain.chain import Chain, Link
from devlink.doctor.reference import parse, sections

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def devlink(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["devlink", "explain", *arguments])
        code = root.run()
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.mark.parametrize("code", ["DL-POD-HANGS", "dl-pod-hangs", " Dl-Pod-Hangs"])
def test_a_code_is_explained_however_it_is_written(devlink: Command, code: str) -> None:
    status, out, _ = devlink(code)
    assert status == 0
    assert out.startswith("DL-POD-HANGS  (What comes back from the cluster)\n\n")
    assert "\nLook  `devlink explain POD:PORT`" in out
    assert "\nCure  " in out
    assert "**" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_code_that_there_is_not_is_refused_with_those_that_are_near(devlink: Command) -> None:
    status, _, err = devlink("DL-POD-HANG")
    assert status == 2
    assert "DL-POD-HANGS" in err
    assert "DL-POD-SILENT" in devlink("DL-SILENT")[2]
    assert "DL-" in devlink("DL-XYZZY")[2].partition("Did you mean")[2]


@pytest.mark.parametrize("host", ["dl-cdn.example:0", "dl-:80", "DL-POD-HANGS:x"])
def test_a_host_that_begins_as_a_code_does_is_none(devlink: Command, host: str) -> None:
    assert "no name, address or URL" in devlink(host)[2]


def test_the_list_has_each_code_with_its_first_sentence(devlink: Command) -> None:
    status, out, _ = devlink("--list")
    assert status == 0
    assert all(f"  {section.code} " in out for section in sections())
    assert max(map(len, out.splitlines())) <= 80
    listed = json.loads(devlink("--list", "-o", "json")[1])["findings"]
    assert [each["code"] for each in listed] == [section.code for section in sections()]


def test_a_program_has_the_section_as_it_is_written(devlink: Command) -> None:
    told = json.loads(devlink("DL-POD-HANGS", "-o", "json")[1])
    assert told["code"] == "DL-POD-HANGS"
    assert "- **Cure**: " in told["text"]


@pytest.mark.parametrize("arguments", [(), ("a b",), ("http://",), ("web:99999",)])
def test_nothing_and_nonsense_are_usage_errors(devlink: Command, arguments: tuple[str, ...]) -> None:
    status, out, err = devlink(*arguments)
    assert (status, out) == (2, "")
    assert "Error: " in err


def test_sections_are_read_with_their_chapters() -> None:
    first, second = parse("# T\n\ntext\n\n## A\n\n### DL-X\n\nOne. Two.\n\n- **Look**: l\n\n## B\n\n### DL-Y\n\nY\n")
    assert (first.code, first.chapter, first.first_sentence) == ("DL-X", "A", "One.")
    assert (second.code, second.chapter, second.text) == ("DL-Y", "B", "Y")


BROKEN = Finding(code="DL-X", severity=Severity.ERROR, title="It is broken.", evidence="this \x1b[2J", fix="mend it")


def chain(*links: Link) -> Chain:
    return Chain(target=parse_target("http://web.qa"), links=links)


def test_a_chain_is_numbered_names_what_is_broken_and_does_nothing_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(chain(Link(name="asked", text="a"), Link(name="address", text="b " * 60, about="10.0.0.1"),
               Link(name="data", text="c", finding=BROKEN)))  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == " 1 ✓ asked    a"
    assert lines[1].startswith(" 2 ✓ 10.0.0.1 b b")
    assert " 3 ✗ data     c" in lines
    assert lines[-1] == "The way is broken at: data."
    assert "     do   mend it" in lines
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in "".join(lines)


def test_a_chain_that_ends_in_the_dark_is_not_called_whole(capsys: pytest.CaptureFixture[str]) -> None:
    show(chain(Link(name="asked", text="a"), Link(name="data", text="b", is_known=False)))
    assert "as far as it could be seen" in capsys.readouterr().out
    show(chain(Link(name="asked", text="a")))
    assert capsys.readouterr().out.endswith("The way is whole.\n")
