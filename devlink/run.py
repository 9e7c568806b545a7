"""Runs a module of devlink as a process of its own, from wherever this very package lies: `python -P run.py MODULE`.

A package of ours lies where Python does not look by itself (devlink/service/layout), so `python -m` would not find it.
"""

import os
import sys


def argv(module: str, *words: str) -> tuple[str, ...]:
    """The command that runs `module` with the arguments `words`, by this interpreter and from this package."""
    return (sys.executable, "-P", os.path.abspath(__file__), module, *words)


def main() -> None:
    """Be the module that the first argument names."""
    import runpy

    place = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if place not in sys.path:
        sys.path.insert(0, place)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
