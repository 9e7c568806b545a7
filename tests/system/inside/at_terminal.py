"""Runs a command at a terminal of its own and answers what it asks: `at_terminal.py PROMPT ANSWER [...] -- COMMAND`.

Each answer is typed once its prompt has been shown; `^C` interrupts. It prints what the terminal showed, and ends as
the command did. A prompt that does not come within LIMIT ends it all.
"""

import os
import pty
import select
import signal
import sys
import time

LIMIT = 20.0


def main() -> int:
    split = sys.argv.index("--")
    words = sys.argv[1:split]
    script = list(zip(words[::2], words[1::2], strict=True))
    pid, terminal = pty.fork()
    if not pid:
        os.execvp(sys.argv[split + 1], sys.argv[split + 1 :])
    deadline, shown, seen = time.monotonic() + LIMIT, b"", 0
    while True:
        if script and script[0][0].encode() in shown[seen:]:
            answer, seen = script.pop(0)[1], len(shown)
            time.sleep(0.05)  # who asks for a password throws away what was typed before it asked
            os.write(terminal, b"\x03" if answer == "^C" else answer.encode() + b"\n")
        readable, _, _ = select.select((terminal,), (), (), max(0.0, deadline - time.monotonic()))
        if not readable:
            os.kill(pid, signal.SIGKILL)
            print(f"{shown.decode(errors='replace')}\nnothing happens; awaited: {script}", flush=True)
            return 99
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # EIO: nobody has it open any more
            break
        shown += data
    print(shown.decode(errors="replace"), flush=True)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
