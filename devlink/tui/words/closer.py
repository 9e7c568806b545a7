"""What is said of a finding, of doctor's checks and of the way to a name. PURE, and without Textual."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from devlink.core.findings import GRAVITY, Finding, Severity
from devlink.core.text import MARKS, printable, printable_lines
from devlink.tui.records import AgentStatus, Check, Examined, Explained
from devlink.tui.words.lines import Line, Span, cells, hanging, padded, wrapped
from devlink.tui.words.telling import Told

PART = re.compile(r"(?:- )?\*\*(Look|Cure)\*\*: ")
WIDEST = 26
"""Of the names of checks and links, which stand below one another."""
EMPTY: Line = ()


# Findings


def gravest_first(status: AgentStatus) -> list[tuple[str, Finding]]:
    """All sessions' findings, each with its session's name."""
    found = [(session.name, finding) for session in status.sessions for finding in session.findings]
    return sorted(found, key=lambda each: GRAVITY[each[1].severity])


def counted(findings: Iterable[Finding]) -> str:
    """How many of each severity: `1 error, 2 warnings, 1 note`."""
    counts = Counter(finding.severity for finding in findings)
    words = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
    return ", ".join(
        f"{counts[each]} {word}{'' if counts[each] == 1 else 's'}" for each, word in words.items() if counts[each]
    )


def advice_lines(finding: Finding, width: int, height: int = 0) -> list[Line]:
    """What was seen, and what to do; where there are fewer than `height` lines (0: any number), of both a part."""
    seen, do = (
        hanging((Span(label, "off"),), printable_lines(text), width) if text else []
        for label, text in (("seen ", finding.evidence), ("do   ", finding.fix))
    )
    if height and len(seen) + len(do) > height:  # what to do matters more
        seen = seen[: max(height - len(do), 1 if height > 1 else 0)]
        do = do[: height - len(seen)]
    return seen + do


def finding_lines(finding: Finding, whose: Sequence[str], width: int) -> list[Line]:
    """Title, what was seen, what to do."""
    severity = finding.severity.value
    of = f" ({', '.join(whose)})" if whose else ""
    title = hanging(
        (Span(f"{MARKS[severity]} {severity}  ", severity),), f"{finding.title} [{finding.code}]{of}", width, "strong"
    )
    return title + advice_lines(finding, width)


def page_lines(finding: Finding | None, session: str, reference: str, command: str, width: int) -> list[Line]:
    """All that is to be said: the finding, then what the `reference` (Markdown) has of its code."""
    lines: list[Line] = []
    if finding is not None:
        lines += finding_lines(finding, (session,) if session else (), width)
    if command:
        lines += [EMPTY, *hanging((Span("y    ", "strong"),), [Span("copies "), Span(command, "code")], width)]
    if reference:
        lines += [EMPTY, (Span("─" * width, "off"),)] if lines else []
        lines += reference_lines(reference, width)
    return lines


def reference_lines(markdown: str, width: int) -> list[Line]:
    """A section of the reference: paragraphs, and what is behind Look and Cure below their words."""
    lines: list[Line] = []
    for paragraph in markdown.split("\n\n"):
        for item in paragraph.split("\n- "):
            part = PART.match(item)
            text = item[part.end() :] if part is not None else item
            if lines:
                lines.append(EMPTY)
            spans = [Span(each, "code" if number % 2 else "") for number, each in enumerate(text.split("`"))]
            lines += hanging((Span(f"{part[1]:<5}", "strong"),), spans, width) if part else wrapped(spans, width)
    return lines


# Doctor


def examined_told(examined: Examined) -> Told:
    """What came of it, in a sentence."""
    names = ", ".join(f"{printable(each.name)}{'' if each.up else ' (not up)'}" for each in examined.profiles)
    looked = f"Looked at this laptop and {names}." if names else "Looked at this laptop."
    if not examined.findings:
        return Told("ok", "Nothing is wrong that could be seen.", looked)
    gravest = min(examined.findings, key=lambda each: GRAVITY[each.severity]).severity.value
    return Told(gravest, f"{counted(examined.findings)}.", looked)


def found_lines(examined: Examined) -> list[tuple[Finding, tuple[str, ...]]]:
    """Each finding, the gravest first, with the sessions that it is of where several were looked at."""
    several = len(examined.profiles) > 1
    whose = [
        tuple(dict.fromkeys(c.session for c in examined.checks if c.session and finding.code in c.findings))
        for finding in examined.findings
    ]
    found = [(finding, names if several else ()) for finding, names in zip(examined.findings, whose, strict=True)]
    return sorted(found, key=lambda each: GRAVITY[each[0].severity])


def check_lines(checks: Sequence[Check], width: int) -> list[Line]:
    """A line for each check, in the order of the path: those of the laptop, then those of each session."""
    names = min(max((cells(check.check) for check in checks), default=0), WIDEST)
    lines: list[Line] = []
    for session in dict.fromkeys(check.session for check in checks):
        if lines:
            lines.append(EMPTY)
        lines += wrapped([Span(printable(session) if session else "This laptop", "strong")], width)
        for check in checks:
            if check.session != session:
                continue
            tone = check.outcome if check.outcome in MARKS else "info"
            text = f"not judged: {check.follows} comes first" if check.follows else check.seen
            label = (Span(f"{MARKS[tone]} ", tone), Span(f"{padded(check.check, names)}  "))
            lines += hanging(label, text or check.outcome, width)
    return lines


# Explain


def explained_told(explained: Explained) -> Told:
    """The conclusion."""
    broken = next((link for link in explained.links if link.outcome == "error"), None)
    if broken is not None:
        return Told("error", f"The way is broken at: {printable(broken.link)}.")
    if not explained.whole:
        return Told("error", "The way is broken.")
    if explained.findings or not explained.links or explained.links[-1].outcome == "skipped":
        return Told("info", "Nothing is broken, as far as it could be seen.")
    return Told("ok", "The way is whole.")


def link_lines(explained: Explained, width: int) -> list[Line]:
    """Link below link, each address with its own; what is broken with what to do."""
    findings = {finding.code: finding for finding in explained.findings}
    labels = [link.about if link.link == "address" else link.link for link in explained.links]
    names = min(max(map(cells, labels), default=0), WIDEST, width // 3)
    broken = next((index for index, link in enumerate(explained.links) if link.outcome == "error"), -1)
    lines: list[Line] = []
    for index, (name, link) in enumerate(zip(labels, explained.links, strict=True)):
        tone = link.outcome if link.outcome in MARKS else "info"
        label = (
            Span(f"{index + 1:>2} "), Span(f"{MARKS[tone]} ", tone),
            Span(f"{padded(name, names)}  ", "error" if index == broken else ""),
        )  # fmt: skip
        lines += hanging(label, link.seen or link.outcome, width)
        if index == broken:
            lines.append((Span("     "), Span("━━ broken here ━━", "error")))
        finding = findings.pop(link.finding, None) if link.finding is not None else None
        if finding is not None:
            lines += hanging((Span("     "),), f"{finding.title} [{finding.code}]", width, finding.severity.value)
            lines += [(Span("     "), *line) for line in advice_lines(finding, width - 5)]
    return lines


def told_lines(told: Told, width: int) -> list[Line]:
    """A sentence behind its sign, and below it what to do."""
    lines = hanging((Span(f"{MARKS.get(told.tone, '!')} ", told.tone),), told.text, width)
    if told.next_step:
        lines += hanging((Span("  "),), told.next_step, width, "off")
    return lines
