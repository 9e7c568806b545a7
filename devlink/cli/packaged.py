"""What a package of a distribution brings besides the program, made of the program: `packaged.py DIR`.

Everything lies below DIR where it lies on a Debian system, and the same program makes the same octets each time.
"""

import gzip
import sys
from pathlib import Path

from devlink.cli.completion import script
from devlink.cli.man import pages

COMPLETIONS = {
    # iproute2 has /usr/share/bash-completion/completions/devlink, and in that folder bash-completion finds a command's
    # script by its name alone. What lies here is read by each interactive bash, and hands over to that one.
    "bash": "etc/bash_completion.d/devlink",
    "zsh": "usr/share/zsh/vendor-completions/_devlink",
    "fish": "usr/share/fish/vendor_completions.d/devlink.fish",
}
"""Where each shell's script lies."""


def files() -> dict[str, bytes]:
    """What lies where."""
    found = {place: script(shell).encode() for shell, place in COMPLETIONS.items()}
    for name, page in pages().items():
        section = name.rpartition(".")[2]
        found[f"usr/share/man/man{section}/{name}.gz"] = gzip.compress(page.encode(), mtime=0)
    return found


def write(root: Path) -> None:
    """Lay it all below `root`, readable by everybody. Raises OSError."""
    for place, content in files().items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)


def main() -> None:
    """The command line of a package's build."""
    if len(sys.argv) != 2:
        sys.exit("usage: python3 devlink/run.py devlink.cli.packaged DIR")
    write(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
