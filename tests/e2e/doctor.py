"""What `devlink doctor` says on a laptop of the lab."""

import json
from collections.abc import Mapping
from typing import Any

from devlink import lab
from tests.e2e.link import Link


def examine(
    link: Link, *arguments: str, env: Mapping[str, str] | None = None, user: str | None = None, program: str = "devlink"
) -> dict[str, Any]:
    """Run it to its end; it changes nothing, and its exit code says whether there are errors.

    As `user`, whom only a world of real root's has; by `program`, where `env` has a PATH that finds another one.
    """
    before = link.world.snapshot()
    done = link.world.run(lab.LAPTOP, [program, "doctor", *arguments, "-o", "json"], timeout=30, env=env, user=user)
    assert done.returncode in (0, 4), f"{done.stdout}{done.stderr}{link.logs()}"
    said: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 4) == any(each["severity"] == "error" for each in said["findings"])
    link.assert_equal(before)
    return said


def assert_names(link: Link, code: str, *arguments: str, **how: Any) -> dict[str, Any]:
    """It names `code` first, and no error of another code; that finding, whose text a test may look at.

    `how` as `examine` takes it.
    """
    said = examine(link, *arguments, **how)
    assert said["findings"], f"nothing was found instead of {code}: {said}"
    first: dict[str, Any] = said["findings"][0]
    assert first["code"] == code, said
    others = {each["code"] for each in said["findings"] if each["severity"] == "error"} - {code}
    assert not others, said
    return first


def assert_silent(link: Link, *arguments: str, **how: Any) -> None:
    """It finds nothing worth a warning: a false alarm is a failure. `how` as `examine` takes it."""
    said = examine(link, *arguments, **how)
    alarms = [each for each in said["findings"] if each["severity"] != "info"]
    assert not alarms, said
