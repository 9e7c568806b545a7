"""What a bench in a private world is given by who starts it."""

import argparse
from pathlib import Path

from devlink.lab import availability


def options(bench: str, about: str | None, **numbers: float) -> argparse.Namespace | None:
    """The `numbers` by name, as wished or by default, and `json`, a file for the figures; None, and the reason is
    printed, where there can be no private world."""
    parser = argparse.ArgumentParser(description=about)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    given = parser.parse_args()
    why_not = availability.available()
    if why_not is not None:
        print(f"{bench}: not measured: {why_not}")
        return None
    return given
