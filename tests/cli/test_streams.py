"""What reaches stdout, whatever comes between."""

import subprocess
import sys

BETWEEN = """
import sys
from devlink.cli.streams import flush, make_safe

def interrupt(frame, event, called):
    if event == "c_return" and called.__name__ == "METHOD" and frame.f_globals["__name__"] == "devlink.cli.streams":
        sys.setprofile(None)
        raise KeyboardInterrupt

make_safe()
sys.setprofile(interrupt)
try:
    print("two")
    sys.stdout.flush()
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
assert flush() is None
"""


def interrupted_behind(method: str) -> str:
    """What stdout holds where Ctrl-C comes just when a call of that name, of streams', has done its work."""
    done = subprocess.run(
        [sys.executable, "-c", BETWEEN.replace("METHOD", method)], capture_output=True, text=True, check=True
    )
    assert done.stderr == "interrupted\n", "else there was no such call"
    return done.stdout


def test_what_is_written_when_ctrl_c_comes_is_written_once() -> None:
    assert interrupted_behind("write") == interrupted_behind("flush") == "two\n"
