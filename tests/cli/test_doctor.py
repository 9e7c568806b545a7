"""How `devlink doctor` shows what was seen, to people and to programs."""

import pytest

from devlink.cli import doctor
from devlink.core.findings import Finding, Severity
from devlink.core.profile_document import decode_profile
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import Seen, skipped
from devlink.doctor.examination import Examination, Step
from tests.core.profiles import SAMPLE

DEAD = Finding(
    code="DL-GATEWAY-DOWN", severity=Severity.ERROR, title="The gateway does not answer.",
    evidence="172.16.0.13 on eth0: " + "no answer " * 12, fix="see whether it is up\x1b[2J",
)  # fmt: skip
SLOW = Finding(code="DL-UPSTREAM-SILENT", severity=Severity.WARNING, title="A server is silent.")
CASE = Case(subjects=(Subject(profile=decode_profile(SAMPLE)),))
SICK = Examination(
    steps=(
        Step(check="helper", seen=Seen(text="answers")),
        Step(check="profile", session="qa", seen=skipped("none is known")),
        Step(check="gateway", session="qa", seen=Seen(text="172.16.0.13 is silent", findings=(DEAD,))),
        Step(check="pods", session="qa", seen=Seen(text="silent"), follows="DL-GATEWAY-DOWN"),
        Step(check="upstreams", seen=Seen(text="1 of 2 answers", findings=(SLOW,))),
    )
)


def test_each_check_is_a_line_and_each_finding_says_what_was_seen_and_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doctor.show(CASE, SICK)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "✓ helper       answers",
        "- profile      none is known",
        "✗ gateway      172.16.0.13 is silent",
        "- pods         not judged: DL-GATEWAY-DOWN comes first",
        "! upstreams    1 of 2 answers",
    ]
    assert lines[6] == "✗ The gateway does not answer. [DL-GATEWAY-DOWN]"
    assert lines[7].startswith("    seen 172.16.0.13 on eth0: no answer")
    assert not any("\x1b" in line for line in lines), "what others wrote does nothing to the terminal"
    assert lines[-1] == "! A server is silent. [DL-UPSTREAM-SILENT]"
    assert max(map(len, lines)) <= doctor.COLUMNS


def test_where_all_is_well_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.show(CASE, Examination(steps=SICK.steps[:1]))
    assert capsys.readouterr().out == "✓ helper       answers\n\nNothing is wrong that could be seen.\n"


def test_of_several_sessions_each_check_says_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    two = Case(subjects=(*CASE.subjects, Subject(profile=decode_profile(SAMPLE.replace("name: qa", "name: prod")))))
    doctor.show(two, SICK)
    lines = capsys.readouterr().out.splitlines()
    assert "✗ gateway (qa) 172.16.0.13 is silent" in lines
    assert "✓ helper       answers" in lines, "they stand in one column"
    assert "✗ The gateway does not answer. [DL-GATEWAY-DOWN] (qa)" in lines
