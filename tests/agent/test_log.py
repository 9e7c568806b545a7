"""The agent's own file of what it says does not grow for ever, and nothing said is lost by that."""

import os
import subprocess
import sys
from pathlib import Path

from devlink.agent.log import Rotating

SPEAKER = """
import logging, sys
from pathlib import Path
from devlink.agent.log import Rotating
path = Path(sys.argv[1])
logging.basicConfig(level=logging.INFO, handlers=[Rotating(path, limit=2000)], format="%(message)s")
for number in range(100):
    logging.info("entry %03d %s", number, "x" * 20)
    if number == 50 and "move" in sys.argv:
        path.rename(path.with_name("elsewhere"))
print("printed", flush=True)
"""


def _speak(path: Path, said: Path, *arguments: str) -> None:
    with said.open("ab") as out:
        command = [sys.executable, "-c", SPEAKER, str(path), *arguments]
        subprocess.run(command, stdout=out, stderr=out, check=True, timeout=20)


def test_a_file_that_is_full_gives_way_to_a_new_one_and_only_one_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    _speak(path, path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["agent.log", "agent.log.1"]
    both = [*(tmp_path / "agent.log.1").read_text().splitlines(), *path.read_text().splitlines()]
    assert both[-1] == "printed"  # what is no log entry goes along
    numbers = [int(line.split()[1]) for line in both[:-1]]
    assert numbers == list(range(numbers[0], 100))
    assert all(each.stat().st_size < 2100 for each in tmp_path.iterdir())
    assert path.stat().st_mode & 0o077 == 0


def test_one_that_another_agent_has_moved_away_goes_on_in_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "agent.log"
    _speak(path, path, "move")
    assert (tmp_path / "elsewhere").exists()
    assert path.read_text().endswith("printed\n")


HUSHED = """
import asyncio, logging
from devlink.agent.log import hushed, log_to_stderr
log_to_stderr()
async def main():
    with hushed():
        logging.warning("hushed here")
        await asyncio.to_thread(logging.warning, "hushed there")
        logging.error("a defect")
    logging.info("afterwards")
asyncio.run(main())
"""


def test_of_what_is_hushed_only_defects_are_written(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path), "PATH": "/bin"}
    command = [sys.executable, "-c", HUSHED]
    said = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True, timeout=20, env=environ).stderr
    assert [line.partition("root: ")[2] for line in said.splitlines()] == ["a defect", "afterwards"]


def test_it_writes_to_stderr(tmp_path: Path) -> None:
    said = tmp_path / "terminal"
    _speak(tmp_path / "none", said)
    assert "entry 000" in said.read_text()
    assert isinstance(Rotating(tmp_path / "none").stream, type(sys.stderr)) or Rotating(tmp_path).stream is sys.stderr


def test_the_journal_is_not_told_the_time_and_a_file_is(tmp_path: Path) -> None:
    said = "import logging; from devlink.agent.log import log_to_stderr; log_to_stderr(); logging.info('hello')"
    path = tmp_path / "said"
    found = []
    for is_journal in (True, False):
        with path.open("wb") as out:
            stream = f"{os.fstat(out.fileno()).st_dev}:{os.fstat(out.fileno()).st_ino}" if is_journal else "1:2"
            environ = {**os.environ, "JOURNAL_STREAM": stream, "HOME": str(tmp_path)}
            subprocess.run([sys.executable, "-c", said], stderr=out, env=environ, check=True, timeout=20)
        found.append(path.read_text())
    assert found[0] == "INFO root: hello\n"
    assert found[1].endswith(" INFO root: hello\n")
    assert found[1][:2] == "20"
