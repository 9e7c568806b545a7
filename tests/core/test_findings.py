"""Findings: how they cross a socket, and that a script can rely on their codes."""

import re
from pathlib import Path

import pytest

import devlink
from devlink.core.codec import DecodeError, decode, encode
from devlink.core.findings import Finding, Severity

SOURCES = sorted(Path(devlink.__file__).parent.rglob("*.py"))
CODE = re.compile(r'code="([^"]*)"')


def test_a_finding_comes_back_from_its_tree() -> None:
    finding = Finding(
        code="DL-ROUTE-KEPT", severity=Severity.WARNING, title="A title.", evidence="10.0.0.0/8", fix="do"
    )
    assert decode(Finding, encode(finding)) == finding
    bare = Finding(code="DL-X", severity=Severity.INFO, title="A title.")
    assert encode(bare) == {"code": "DL-X", "severity": "info", "title": "A title."}
    assert decode(Finding, encode(bare)) == bare


def test_a_severity_that_nobody_knows_is_refused() -> None:
    with pytest.raises(DecodeError, match="none of info, warning, error"):
        decode(Finding, {"code": "DL-X", "severity": "fatal", "title": "A title."})


def test_every_code_in_the_sources_has_the_form_that_scripts_rely_on() -> None:
    codes = {code for path in SOURCES for code in CODE.findall(path.read_text("utf-8"))}
    assert codes, "there are findings"
    assert all(re.fullmatch(r"DL(-[A-Z0-9]+)+", code) for code in codes), codes
