"""A module of devlink runs as a process from wherever the package lies."""

import shutil
import subprocess
import sys
from pathlib import Path

import devlink
from devlink.run import argv

PACKAGE = Path(devlink.__file__).parent


def test_it_is_run_by_this_interpreter_from_this_package() -> None:
    assert argv("devlink.dns", "--word") == (sys.executable, "-P", str(PACKAGE / "run.py"), "devlink.dns", "--word")


def test_a_package_where_python_does_not_look_runs_all_the_same(tmp_path: Path) -> None:
    place = tmp_path / "devlink"
    place.mkdir()
    shutil.copy(PACKAGE / "run.py", place)
    (place / "__init__.py").touch()
    (place / "told.py").write_text("import devlink, sys; print(__name__, devlink.__file__, sys.argv)")
    done = subprocess.run(
        [sys.executable, "-I", "-S", place / "run.py", "devlink.told", "one"],
        capture_output=True,
        text=True,
        check=True,
    )
    told = place / "told.py"
    assert done.stdout.split(maxsplit=2) == ["__main__", str(place / "__init__.py"), f"['{told}', 'one']\n"]
