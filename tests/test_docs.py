"""What the manual says is held to what there is: links, commands and their options, files, tests, samples."""

import functools
import importlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from devlink.agent.config import Config
from devlink.cli.root import COMMANDS, devlink
from devlink.core.codec import decode
from devlink.core.trust import TrustRecord
from devlink.helper.policy import Policy

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in (
        *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "packaging").rglob("*.md"),
        ROOT / "devlink/findings.md",
    )
)  # fmt: skip
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`]+)`")
PROMPT = re.compile(r"^(?:\$ |sudo )?(?:\S*/)?(devlink|kubectl devlink)(?: |$)")
ROOMS = ("devlink/", "tests/", "docs/", "packaging/", "profiles/", ".ci/")
"""What a path of this repository begins with."""
PROCESSES = frozenset(("agent", "files"))
"""What of ours runs under a name that nobody types."""
BEFORE_IT_IS_MADE = re.compile(r"[A-Z]{2,}|[*<>…]")
"""In a path: a word that stands for something."""


@functools.cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


@functools.cache
def prose_of(page: str) -> str:
    """Without what is shown as typed: there brackets are no links, and `#` begins no heading."""
    return "\n".join("" if line.startswith("    ") else line for line in FENCE.sub("", text_of(page)).splitlines())


def anchors_of(page: str) -> set[str]:
    """What a heading is linked by: lower case, without marks, blanks as hyphens, as GitHub and GitLab make it."""
    titles = re.findall(r"^#{1,6} +(.*?)#*$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_each_link_leads_to_a_file_and_a_heading_that_there_are(page: str) -> None:
    dead = []
    for target in LINK.findall(prose_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = ROOT / page if not path else (ROOT / page).parent / path
        if not there.exists():
            dead.append(f"{target}: no such file")
        elif anchor and anchor not in anchors_of(there.resolve().relative_to(ROOT).as_posix()):
            dead.append(f"{target}: no such heading")
    assert dead == []


def test_every_page_is_found_from_the_manuals_first() -> None:
    listed = {
        (ROOT / "docs" / target.partition("#")[0]).resolve() for target in LINK.findall(prose_of("docs/README.md"))
    }
    hidden = {page for page in PAGES if page.startswith("docs/")} - {"docs/README.md"}
    assert sorted(page for page in hidden if ROOT / page not in listed) == []


@functools.cache
def shown_in(page: str) -> tuple[str, ...]:
    """What may be a command: each line that is typed, and each span."""
    return tuple(_shown_in(page))


def _shown_in(page: str) -> Iterator[str]:
    talk = []
    text = FENCE.sub(lambda block: "\n".join(f"    {line}" for line in block.group().splitlines()[1:-1]), text_of(page))
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.startswith("    "):
            typed, *comments = re.split(r"(?:^|\s)#(?: |$)", line)
            yield from (part.strip() for part in re.split(r"&&|\||;", typed))
            talk += comments
        else:
            talk.append(line)
    yield from (" ".join(span.split()) for span in SPAN.findall("\n".join(talk)))


def test_each_backtick_has_its_other_half() -> None:
    """Else what is a span and what is between spans change places, and nothing behind it is looked at."""
    pieces = {(page, piece) for page in PAGES for piece in re.split(r"\n\s*\n|\n(?=\||- )", prose_of(page))}
    assert [(page, piece) for page, piece in pieces if piece.count("`") % 2] == []


@functools.cache
def command(name: str) -> click.Command:
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, click.Command)
    return found


def faults_of(typed: str) -> list[str]:
    """What of a command there is not; a word in capitals stands for another."""
    words = shlex.split(typed, comments=True)
    words = words[words.index("devlink") + 1 :] if "devlink" in words else words[1:]
    at: click.Command = devlink
    context = click.Context(at)
    seen = "devlink"
    faults = []
    if words and (words[0] in PROCESSES or words[0].isupper()):
        return []
    for word in words:
        if word.startswith("-") and word != "-":
            option = word.partition("=")[0]
            known = {o for p in at.params if isinstance(p, click.Option) for o in (*p.opts, *p.secondary_opts)}
            known |= {"--help", "-h"} | given_options(at)
            if option not in known:
                faults.append(f"{seen}: no option {option}")
        elif isinstance(at, click.Group) and not re.search(r"[A-Z|\[./<]", word) and word != "...":
            name = word.rstrip(",.")
            if at is devlink and name not in COMMANDS:
                return [*faults, f"no command {name}"]
            found = command(name) if at is devlink else at.get_command(context, name)
            if found is None:
                if at.name != "trust":  # it takes a profile where no command is named
                    faults.append(f"{seen}: no command {name}")
                return faults
            at, context, seen = found, click.Context(found), f"{seen} {name}"
    return faults


def given_options(at: click.Command) -> set[str]:
    """Those of `trust give`, the command that is never typed."""
    given = at.commands.get("give") if isinstance(at, click.Group) else None
    return {o for p in given.params if isinstance(p, click.Option) for o in p.opts} if given else set()


@pytest.mark.parametrize("page", PAGES)
def test_each_command_that_is_shown_exists_with_its_options(page: str) -> None:
    typed = [each for each in shown_in(page) if PROMPT.match(each)]
    assert [f"{each!r}: {fault}" for each in typed for fault in faults_of(each)] == []


@pytest.mark.parametrize(
    ("typed", "faults"),
    [
        ("devlink up qa --override all", []),
        ("sudo /usr/bin/devlink helper restore --no-helper", []),
        ("devlink trust qa --yes", []),
        ("devlink agnet", ["no command agnet"]),
        ("devlink profile fecth", ["devlink profile: no command fecth"]),
        ("devlink dns log --folow", ["devlink dns log: no option --folow"]),
    ],
)
def test_what_is_not_there_is_seen(typed: str, faults: list[str]) -> None:
    assert faults_of(typed) == faults


def test_the_table_of_commands_in_the_readme_has_all_of_them_and_no_other() -> None:
    table = text_of("README.md").partition("## Commands")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)[1:]
    named = {span.split()[0] for row in rows for span in SPAN.findall(row) if span.split()[0].islower()}
    assert named == set(COMMANDS)


def test_each_path_of_this_repository_that_is_named_exists() -> None:
    spans = {(page, span) for page in PAGES for span in SPAN.findall(text_of(page)) if span.startswith(ROOMS)}
    named = {(page, span.partition("::")[0]) for page, span in spans if " " not in span}
    paths = {(page, path) for page, path in named if not BEFORE_IT_IS_MADE.search(path)}
    assert sorted((page, path) for page, path in paths if not (ROOT / path).exists()) == []


@functools.cache
def sentences_of(path: str) -> frozenset[str]:
    there = ROOT / path
    return frozenset(re.findall(r"def (test_\w+)", there.read_text("utf-8")) if there.is_file() else ())


def test_each_test_that_is_named_exists() -> None:
    named = {(page, *each) for page in PAGES for each in re.findall(r"(tests/[\w/]+\.py)::(\w+)", text_of(page))}
    assert sorted(each for each in named if each[2] not in sentences_of(each[1])) == []


def test_each_promise_names_a_test_that_holds_it() -> None:
    promises = re.split(r"^## ", text_of("docs/promises.md"), flags=re.MULTILINE)[1:]
    assert [each.partition("\n")[0] for each in promises if "::test_" not in each] == []


def test_each_finding_that_is_named_has_its_section() -> None:
    codes = set(re.findall(r"^### (DL-[A-Z0-9-]+)", text_of("devlink/findings.md"), re.MULTILINE))
    named = {(page, code) for page in PAGES for code in re.findall(r"\bDL-[A-Z0-9-]*[A-Z0-9]", text_of(page))}
    assert sorted((page, code) for page, code in named if code not in codes) == []


def unmade(typed: str) -> set[str]:
    """The targets of a `make` that the Makefile does not have."""
    if not re.match(r"make [a-z]", typed):
        return set()
    targets = {name for line in re.findall(r"^([a-z -]+):", text_of("Makefile"), re.MULTILINE) for name in line.split()}
    return {word for word in typed.split()[1:] if word.islower()} - targets


def test_each_target_of_make_that_is_named_exists() -> None:
    faults = {f"make {target}" for page in PAGES for each in shown_in(page) for target in unmade(each)}
    assert faults == set()


def test_the_samples_of_policy_and_trust_are_what_the_helper_reads() -> None:
    operators, names = text_of("docs/operators.md"), text_of("docs/names.md")
    record = re.search(r"^    \{.*?^    \}", operators, re.MULTILINE | re.DOTALL)
    assert record is not None
    assert decode(TrustRecord, json.loads(record.group())).name == "qa"
    samples = re.findall(r"^    (?:\[dns\]|trust = )(?:.*\n    )*.*", names + operators, re.MULTILINE)
    assert len(samples) == 2
    for sample in samples:
        assert decode(Policy, tomllib.loads(re.sub(r"^    ", "", sample, flags=re.MULTILINE))) != Policy()


def test_the_sample_of_a_default_profile_is_what_the_agent_reads() -> None:
    (line,) = set(re.findall(r'`(default = "\w+")`', text_of("README.md")))
    assert decode(Config, tomllib.loads(line)).default


def test_the_picture_of_the_house_has_every_room_in_the_order_that_the_contracts_hold() -> None:
    layers = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]["layers"]
    rooms = [[room for room in re.split(r"[ |]+", layer) if not room.startswith("(")] for layer in layers]
    picture = text_of("CONTRIBUTING.md").partition("refuses the rest:")[2].partition("\n\nA profile's way")[0]
    lines = re.findall(r"^    ([a-z_]+(?:, [a-z_]+)*)(?:  |$)", picture, re.MULTILINE)
    drawn = [word for line in lines for word in line.split(", ")]
    floor = {room: number for number, layer in enumerate(rooms) for room in layer}
    assert set(drawn) == {room for room in floor if room not in {"faults", "hints", "private_files", "run"}}
    assert [floor[room] for room in drawn] == sorted(floor[room] for room in drawn)


def test_no_command_goes_by_sudo_devlink() -> None:
    """On root's PATH there may be iproute2's program of the same name."""
    assert [page for page in PAGES if re.search(r"sudo devlink\b(?!-)", text_of(page))] == []
