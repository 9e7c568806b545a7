"""What cannot run here is skipped with its reason, and fails where CI must run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
@pytest.mark.slow
def test_a_test_that_cannot_run_is_skipped_and_fails_under_ci(tmp_path: Path, ci: str, code: int) -> None:
    test = tmp_path / "test_it.py"
    test.write_text("import pytest\n\n@pytest.mark.lab\ndef test_it(): pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, "-p", "tests.conftest",
         "-p", "no:cacheprovider", test],
        cwd=ROOT, env={**os.environ, "PATH": "/nonexistent", "CI": ci}, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "the lab needs unshare" in done.stdout
