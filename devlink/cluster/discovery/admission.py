"""The profile out of what was found; what the profile's own rules refuse costs that fact, never the rest."""

import re
from typing import Any

from devlink.core.checks import DecodeError, Fault
from devlink.core.codec import decode
from devlink.core.findings import Finding, Severity
from devlink.core.profile import BridgeProfile
from devlink.core.text import listed

ROUNDS = 8
"""Taking something out may bring up another fault; after so many rounds whole parts go, not entries."""

Step = str | int


def admit(tree: dict[str, Any]) -> tuple[BridgeProfile | None, tuple[Finding, ...]]:
    """The profile of a document's tree, which is changed, and a finding where a part had to be left out.

    None where nothing is left that a profile could be for.
    """
    faults: list[Fault] = []
    for turn in range(2 * ROUNDS):
        try:
            return decode(BridgeProfile, tree), _refused(faults)
        except DecodeError as error:
            faults += error.faults
            steps = {_part(_steps(fault.path), whole=turn >= ROUNDS) for fault in error.faults}
            if () in steps:
                break
            for path in sorted(steps, key=_last_first, reverse=True):
                _remove(tree, path)
    return None, _refused(faults)


def _refused(faults: list[Fault]) -> tuple[Finding, ...]:
    if not faults:
        return ()
    finding = Finding(
        code="DL-FOUND-REFUSED",
        severity=Severity.WARNING,
        title="A part of what was found cannot stand in a profile, and was left out.",
        evidence=listed(faults),
        fix="correct it in the cluster, or write it into the profile by hand",
    )
    return (finding,)


def _steps(path: str) -> tuple[Step, ...]:
    """`spec.nodes[3].pods[1]` as steps."""
    return tuple(int(i) if i else key for key, i in re.findall(r"([A-Za-z_]+)|\[([0-9]+)\]", path))


def _part(steps: tuple[Step, ...], *, whole: bool) -> tuple[Step, ...]:
    """The smallest part of the document that holds a fault and that the document can do without.

    That is the innermost entry of a list, else the fact: `spec.dns`. With `whole`, the fact in any case. Empty where
    nothing can be left out.
    """
    if steps[:1] != ("spec",) or len(steps) < 2:
        return ()
    entries = [place for place, step in enumerate(steps) if isinstance(step, int)]
    return steps[:2] if whole or not entries else steps[: entries[-1] + 1]


def _last_first(path: tuple[Step, ...]) -> tuple[tuple[int, str], ...]:
    return tuple((step, "") if isinstance(step, int) else (-1, step) for step in path)


def _remove(tree: dict[str, Any], path: tuple[Step, ...]) -> None:
    """Take a part out. A list that is empty then is the next round's fault."""
    above: Any = tree
    for step in path[:-1]:
        try:
            above = above[step]
        except (KeyError, IndexError):
            return  # what held it is gone already
    last = path[-1]
    if isinstance(last, str):
        above.pop(last, None)
    elif last < len(above):
        del above[last]
