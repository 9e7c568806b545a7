"""What a package brings besides the program."""

import stat
import subprocess
from pathlib import Path

import pytest

from devlink import run
from devlink.cli import packaged


def test_it_is_laid_down_readable_by_everybody_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("first", "second"):
        packaged.write(tmp_path / name)
    first = {path.relative_to(tmp_path / "first"): path for path in (tmp_path / "first").rglob("*") if path.is_file()}
    assert {str(path) for path in first} == set(packaged.files())
    for relative, path in first.items():
        assert path.read_bytes() == (tmp_path / "second" / relative).read_bytes()
        assert path.suffix != ".gz" or path.read_bytes()[4:8] == bytes(4), "gzip notes no time (RFC 1952)"
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_no_file_of_iproute2_is_taken() -> None:
    places = packaged.files()
    assert not [place for place in places if "bash-completion/completions/devlink" in place or "/man8/" in place]


@pytest.mark.slow
def test_a_build_writes_it_by_one_command(tmp_path: Path) -> None:
    subprocess.run(run.argv("devlink.cli.packaged", str(tmp_path / "root")), check=True, timeout=30)
    assert (tmp_path / "root" / "usr/share/zsh/vendor-completions/_devlink").read_text().startswith("#compdef devlink")
