"""The installation, judged from what was seen."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from devlink.core.findings import Finding, Severity
from devlink.core.network import PROTOCOL, ObservedNetwork, ObservedRoute, Rule
from devlink.doctor.case import Case, Part
from devlink.doctor.laptop import remains
from devlink.doctor.laptop.installation import (
    Command,
    judge_command,
    judge_helper,
    judge_versions,
    left_behind,
    left_without_helper,
    why_no_answer,
)
from devlink.doctor.laptop.packaged import Packaged, lacks_polkit_rule
from devlink.errors import HelperError, NotPermittedError, ProtocolError

RUNS = Part(told={}, version="1")


def broken(cause: Exception | None, what: str = "The devlink helper cannot be reached.") -> Part:
    error = HelperError(what)
    error.__cause__ = cause
    return Part(error=error)


MISSING = broken(FileNotFoundError())


def codes(found: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in found]


@pytest.mark.parametrize(
    ("helper", "answer"),
    [
        (RUNS, "yes"),
        (MISSING, "missing"),
        (broken(ConnectionRefusedError()), "missing"),
        (broken(TimeoutError()), "silent"),
        (broken(None), "silent"),
        (Part(error=NotPermittedError("No.")), "not to you"),
        (Part(error=ProtocolError("What?")), "otherwise"),
    ],
)
def test_a_helper_that_is_gone_is_told_from_one_that_hangs_and_one_that_refuses(helper: Part, answer: str) -> None:
    assert why_no_answer(helper) == answer


def test_only_a_helper_that_cannot_be_used_by_anybody_is_an_error() -> None:
    assert judge_helper(RUNS, Packaged(units=True)) == ()
    assert judge_helper(Part(error=NotPermittedError("No.")), Packaged()) == ()
    assert codes(judge_helper(MISSING, Packaged())) == ["DL-HELPER-MISSING"]
    assert codes(judge_helper(broken(None), Packaged())) == ["DL-HELPER-SILENT"]
    assert codes(judge_helper(Part(error=ProtocolError("What?")), Packaged())) == ["DL-HELPER-SILENT"]


def test_what_is_half_installed_is_the_reason_why_no_helper_answers() -> None:
    for half in (Packaged(units=True, lacks_group=True), Packaged(units=True, missing_units=("devlink-files.socket",))):
        assert codes(judge_helper(MISSING, half)) == ["DL-INSTALL-HALF"]


def test_a_missing_polkit_rule_keeps_no_helper_from_running_and_is_a_warning() -> None:
    half = Packaged(units=True, lacks_polkit_rule=True)
    assert [each.severity for each in judge_helper(RUNS, half)] == [Severity.WARNING]
    assert codes(judge_helper(MISSING, half)) == ["DL-HELPER-MISSING", "DL-INSTALL-HALF"]


def test_what_the_helper_can_do_without_is_a_note() -> None:
    bare = Packaged(units=True, lacks_polkit_action=True, lacks_tmpfiles=True)
    (finding,) = judge_helper(RUNS, bare)
    assert finding.severity is Severity.INFO
    assert "io.devlink.policy: only root can give trust" in finding.evidence
    assert "tmpfiles.d/devlink.conf" in finding.evidence


def test_a_policy_that_cannot_be_used_is_what_is_to_be_corrected_first() -> None:
    (finding,) = judge_helper(MISSING, Packaged(units=True), "lease_grace is no number.")
    assert finding.fix.startswith("Correct /etc/devlink/policy.toml")
    assert "lease_grace" in finding.evidence


def test_a_polkit_rule_is_missed_only_where_it_is_needed_and_surely_not_there(tmp_path: Path) -> None:
    rules, other = tmp_path / "usr/share/polkit-1/rules.d", tmp_path / "etc/polkit-1/rules.d"
    assert not lacks_polkit_rule(tmp_path), "there is no polkit"
    (tmp_path / "usr/share/polkit-1/actions").mkdir(parents=True)
    assert not lacks_polkit_rule(tmp_path), "nobody asks it"
    (tmp_path / "run/NetworkManager").mkdir(parents=True)
    assert lacks_polkit_rule(tmp_path)
    other.mkdir(parents=True)
    (other / "devlink.rules").touch()
    assert not lacks_polkit_rule(tmp_path)
    (other / "devlink.rules").unlink()
    rules.mkdir()
    assert lacks_polkit_rule(tmp_path)


def told(left: bool = False, *sessions: tuple[str, str, int]) -> Case:
    shown: dict[str, Any] = {"left": left, "sessions": [{"name": n, "state": s, "uid": u} for n, s, u in sessions]}
    return Case(helper=Part(told=shown, version="1"), uid=1000)


def test_what_no_session_has_is_left_behind_and_only_an_own_session_is_orphaned() -> None:
    assert left_behind(told()) == ()
    assert left_behind(told(False, ("qa", "up", 1000), ("prod", "orphaned", 1001))) == ()
    assert codes(left_behind(told(True, ("qa", "orphaned", 1000)))) == ["DL-LEFT-BEHIND", "DL-ORPHANED"]
    assert left_without_helper([]) == ()
    assert codes(left_without_helper(["routes are left"])) == ["DL-LEFT-BEHIND"]


def test_our_resolver_file_is_known_without_a_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "resolv.conf"
    monkeypatch.setattr(remains, "RESOLV_CONF", path)
    assert not remains.resolver_is_ours()
    path.write_bytes(remains.MARK + b" x\n")
    assert remains.resolver_is_ours()
    path.write_text("nameserver 192.0.2.53\n")
    assert not remains.resolver_is_ours()


def test_routes_and_rules_of_ours_are_known_by_their_protocol_and_nobody_elses_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def network(protocol: int) -> ObservedNetwork:
        routes = [ObservedRoute(destination=ip_network(f"10.{n}.0.0/16"), protocol=protocol) for n in range(6)]
        rule = Rule(version=4, priority=5200, table=5230, protocol=protocol)
        return ObservedNetwork(routes=tuple(routes), rules=(rule,))

    monkeypatch.setattr("devlink.kernel.observe.observe", lambda: network(PROTOCOL))
    routes, rules = remains.in_kernel()
    assert routes == "routes are left to 10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16 and 2 more"
    assert "pref 5200" in rules
    monkeypatch.setattr("devlink.kernel.observe.observe", lambda: network(4))
    assert remains.in_kernel() == []


def test_each_part_of_another_version_is_to_be_replaced_and_what_is_up_goes_on() -> None:
    same = Case(agent=Part(version="2"), helper=Part(version="2"))
    assert judge_versions(same, "2") == ()
    assert judge_versions(Case(), "2") == ()
    (both,) = judge_versions(same, "1")
    assert both.severity is Severity.ERROR
    assert "devlink down --all" in both.fix
    assert "helper" in both.fix
    (one,) = judge_versions(Case(agent=Part(version="2"), helper=Part(version="1")), "2")
    assert "down --all" not in one.fix
    assert one.severity is Severity.ERROR
    (understood,) = judge_versions(Case(helper=Part(version="1", is_understood=True)), "2")
    assert understood.severity is Severity.WARNING
    (agent,) = judge_versions(Case(agent=Part(version="1"), helper=Part(version="2", is_understood=True)), "2")
    assert agent.severity is Severity.ERROR, "the command refuses it"
    (managed,) = judge_versions(Case(agent=Part(version="2")), "1", is_managed=True)
    assert managed.fix == "replace the agent: systemctl --user restart devlink-agent.service"


OWN, OTHER = "/opt/devlink/bin/devlink", "/usr/sbin/devlink"


@pytest.mark.parametrize(
    ("command", "title"),
    [
        (Command(typed=OWN, own=OWN), None),
        (Command(typed="", own=""), None),
        (Command(typed=OWN, own=""), None),
        (Command(typed=OTHER, own=OWN, is_compiled=True), "iproute2"),
        (Command(typed=OTHER, own="", is_compiled=True), "iproute2"),
        (Command(typed=OTHER, own=OWN), "another installation"),
    ],
)
def test_another_program_of_the_name_is_told_only_where_it_would_be_run(command: Command, title: str | None) -> None:
    found = judge_command(command)
    assert [title in finding.title for finding in found if title] == [True] * (title is not None)
    assert bool(found) == bool(title)
