"""The wheel has all of the package, the units among it, and a command that runs from where it is unpacked."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from devlink import __version__

pytestmark = pytest.mark.slow
SOURCES = Path(__file__).parents[1]
PROGRAM = """
import sys
sys.path[:] = [{place!r}] + [path for path in sys.path if path != {sources!r}]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
from importlib.metadata import distribution
(command,) = [point for point in distribution("devlink").entry_points if point.group == "console_scripts"
              and point.name == "devlink"]
main = command.load()
import devlink
assert devlink.__file__.startswith({place!r}), devlink.__file__
main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=SOURCES, check=True, capture_output=True, timeout=60)
    (found,) = folder.glob("*.whl")
    assert found.name == f"devlink-{__version__}-py3-none-any.whl"
    return found


def test_it_has_each_file_of_the_package_and_no_bytecode(wheel: Path) -> None:
    package = SOURCES / "devlink"
    ours = {str(path.relative_to(SOURCES)) for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    with zipfile.ZipFile(wheel) as unpacked:
        there = {name for name in unpacked.namelist() if ".dist-info/" not in name}
    assert there == ours
    for part in ("devlink/service/layout/usr/lib/systemd/system/devlink-helper.service", "devlink/findings.md"):
        assert part in there


@pytest.mark.parametrize(
    ("words", "said"), [("--version", f"devlink {__version__}"), ("--help", "helper"), ("helper --help", "install")]
)
def test_its_command_runs_from_where_it_is_unpacked(wheel: Path, tmp_path: Path, words: str, said: str) -> None:
    with zipfile.ZipFile(wheel) as unpacked:
        unpacked.extractall(tmp_path)
    program = PROGRAM.format(place=str(tmp_path), sources=str(SOURCES))
    run = [sys.executable, "-I", "-c", program, *words.split()]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd="/")
    assert said in done.stdout
