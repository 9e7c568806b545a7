"""`devlink doctor` where systemd manages the services: devlink's package, whole, stopped and in part."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.machine import Machine
from tests.system.world import Link, machine

pytestmark = pytest.mark.system

RULE = "/usr/share/polkit-1/rules.d/devlink.rules"
HELPER = ("devlink-helper.socket", "devlink-helper.service")
OF_THE_INSTALLATION = ("remains", "helper", "access", "agent", "versions", "command")


@pytest.fixture(scope="module")
def laptop() -> Iterator[Machine]:
    """Nothing is up; resolved has the names."""
    with machine("bookworm", Link.NETWORKD) as booted:
        yield booted


def findings(laptop: Machine, user: str = "alice") -> list[dict[str, Any]]:
    """What a user is told of the installation."""
    said = json.loads(laptop.devlink("doctor", "qa", "-o", "json", user=user, check=False).stdout)
    ours = {code for check in said["checks"] if check["check"] in OF_THE_INSTALLATION for code in check["findings"]}
    return [each for each in said["findings"] if each["code"] in ours]


def test_a_stopped_helper_is_missing_and_the_line_that_is_given_starts_it(laptop: Machine) -> None:
    assert findings(laptop) == []
    laptop.run("systemctl", "stop", *HELPER)
    (finding,) = findings(laptop)
    assert (finding["code"], finding["severity"]) == ("DL-HELPER-MISSING", "error")
    line = finding["fix"].removeprefix("sudo ").partition(". ")[0]
    assert line.startswith("systemctl enable --now devlink-helper.socket ")
    laptop.run(*line.split())
    assert findings(laptop) == []


def test_a_polkit_rule_that_is_not_there_is_a_warning_to_root_who_alone_may_look(laptop: Machine) -> None:
    laptop.run("mv", RULE, "/root/")
    finding = next(each for each in findings(laptop, "root") if each["code"] == "DL-INSTALL-HALF")
    assert finding["severity"] == "warning"
    assert RULE in finding["evidence"]
    laptop.run("mv", "/root/devlink.rules", RULE)
    assert "DL-INSTALL-HALF" not in {each["code"] for each in findings(laptop, "root")}


@pytest.mark.parametrize("path", ["/usr/share/polkit-1/actions/io.devlink.policy", "/usr/lib/tmpfiles.d/devlink.conf"])
def test_what_it_can_do_without_is_a_note_while_it_is_not_there(laptop: Machine, path: str) -> None:
    laptop.run("mv", path, "/root/kept")
    (finding,) = findings(laptop)
    assert (finding["code"], finding["severity"]) == ("DL-INSTALL-HALF", "info")
    assert path in finding["evidence"]
    laptop.run("mv", "/root/kept", path)
    assert findings(laptop) == []


def test_without_its_users_the_helper_cannot_start_and_that_is_told_and_no_other_error(laptop: Machine) -> None:
    laptop.run("systemctl", "stop", *HELPER)
    laptop.run("sh", "-ec", "cp -a /etc/passwd /etc/group /root; sed -i '/^devlink/d' /etc/passwd /etc/group")
    laptop.run("systemctl", "start", "devlink-helper.socket")
    (finding,) = findings(laptop)
    assert (finding["code"], finding["severity"]) == ("DL-INSTALL-HALF", "error")
    assert "no user devlink, no user devlink-dns, no group devlink" in finding["evidence"]
    assert "sudo systemd-sysusers; " in finding["fix"]
    laptop.run("systemctl", "stop", *HELPER)  # no socket is started while its service tries to be
    laptop.run("sh", "-ec", "cp -a /root/passwd /root/group /etc; systemctl start devlink-helper.socket")
    assert findings(laptop) == []
