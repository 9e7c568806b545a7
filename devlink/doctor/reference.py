"""The reference of findings, `findings.md`, which ships with the package: one section for each code."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

FILE = "findings.md"
_CODE = re.compile(r"DL-[A-Z0-9-]+", re.IGNORECASE)
"""No host: these have a domain, such as dl-cdn.alpinelinux.org, or a port behind them where they begin so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What is said of one code."""

    code: str
    """Such as `DL-POD-HANGS`."""
    chapter: str
    text: str
    """Markdown, without the heading: what it means, then Look, then Cure."""

    @property
    def first_sentence(self) -> str:
        """What it means, in short."""
        paragraph = " ".join(self.text.split("\n\n")[0].split())
        return re.split(r"(?<=\.) ", paragraph, maxsplit=1)[0]


@cache
def sections() -> tuple[Section, ...]:
    """All of them, in the order of the path."""
    return parse(resources.files("devlink").joinpath(FILE).read_text(encoding="utf-8"))


def parse(text: str) -> tuple[Section, ...]:
    """The sections of a reference: `## CHAPTER`, and below it `### CODE`."""
    found, chapter = [], ""
    for part in re.split(r"^(?=##)", text, flags=re.MULTILINE):
        heading, _, body = part.partition("\n")
        if heading.startswith("## "):
            chapter = heading.removeprefix("## ")
        elif heading.startswith("### "):
            found.append(Section(code=heading.removeprefix("### "), chapter=chapter, text=body.strip()))
    return tuple(found)


def is_code(text: str) -> bool:
    """Whether what somebody asks about is a finding's code, of those that there are or not; else it is a host."""
    return _CODE.fullmatch(text.strip()) is not None


def section_of(code: str) -> Section | None:
    """The section of a code, however it is written."""
    return next((each for each in sections() if each.code == code.strip().upper()), None)
