"""The kernel's checks: what an agent knows better, and when the filter of reverse paths is to blame."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address

import pytest

from devlink.core.diagnosis import Outcome, PodSeen, ServerSeen
from devlink.core.diagnosis import Seen as Came
from devlink.core.findings import Finding, Severity
from devlink.core.network import ObservedNetwork, ObservedRoute, Rule
from devlink.core.profile import RoutingMode
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import LinkCheck, Seen
from devlink.doctor.path import kernel
from devlink.doctor.path.kernel import CHECKS, Filtered, filtered, silent_ones
from tests.core.plans import theirs
from tests.doctor.path.test_routes import DEFAULT, installed
from tests.doctor.subjects import DOWN, OBSERVED, PLAN, UP, session

STRICT = Filtered(strict=("wlan0",), dropped=3, silent=(ip_address("10.254.0.2"),))
FOUGHT = Finding(code="DL-ROUTES-FOUGHT", severity=Severity.ERROR, title="It is kept away.", evidence="10 times")


def test_the_filter_is_to_blame_only_where_it_drops_while_answers_are_missing() -> None:
    (finding,) = filtered(STRICT)
    assert finding.code == "DL-RP-FILTER"
    assert "net.ipv4.conf.wlan0.rp_filter=2" in finding.fix
    for harmless in (replace(STRICT, strict=()), replace(STRICT, dropped=0), replace(STRICT, silent=())):
        assert filtered(harmless) == ()


def test_only_silence_over_ipv4_is_a_reason_to_look_at_the_filter() -> None:
    def came(address: str, tcp: Outcome) -> Came:
        at = ip_address(address)
        pod = PodSeen(address=at, node=None, by=None, tcp=tcp, udp=tcp)
        server = ServerSeen(address=at, is_service=True, by=None, tcp=tcp, udp=tcp)
        return Came(mode=RoutingMode.GATEWAY, server=server, pods=(pod,))

    assert silent_ones((came("10.0.0.1", Outcome.SILENT),)) == (ip_address("10.0.0.1"),) * 2
    assert silent_ones((came("10.0.0.1", Outcome.HANGS), came("fd00::1", Outcome.SILENT))) == ()


def test_the_kernels_own_count_is_read_whatever_columns_it_has(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("proc") / "netstat"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "NETSTAT", file)
        assert kernel._dropped() == 0
        file.write_text("TcpExt: A IPReversePathFilter B\nTcpExt: 1 42 3\nIpExt: X\nIpExt: 9\n")
        assert kernel._dropped() == 42
        file.write_text("TcpExt: A B\nTcpExt: 1 3\n")
        assert kernel._dropped() == 0


def look(name: str, subject: Subject, *routes: ObservedRoute, rules: tuple[Rule, ...] = ()) -> Seen:
    """What a check sees where the kernel has these routes and rules."""
    check = next(each for each in CHECKS if each.name == name)
    assert isinstance(check, LinkCheck)
    observed = replace(OBSERVED, routes=routes, rules=rules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "observe", lambda _=(): observed)
        patch.setattr(kernel, "_upstreams", lambda: ())
        patch.setattr(kernel, "owner_of", lambda _: "a VPN (interface tun0)")

        async def body() -> Seen:
            return await check.look(Case(uid=1000), subject)

        return asyncio.run(body())


def codes(seen: Seen) -> list[str]:
    return [finding.code for finding in seen.findings]


def test_where_all_is_installed_nothing_is_found() -> None:
    there = (*installed(PLAN.desired), DEFAULT)
    for name in ("links", "routes"):
        assert codes(look(name, UP, *there)) == []
    assert codes(look("routes", DOWN, DEFAULT)) == []


def test_routes_that_are_missing_are_told_with_the_reason_that_the_agent_knows() -> None:
    there = installed(PLAN.desired)[1:]
    assert codes(look("routes", UP, *there)) == ["DL-ROUTES-GONE"]
    fighting = replace(UP, session=session("degraded", FOUGHT))
    assert codes(look("routes", fighting, *there)) == ["DL-ROUTES-FOUGHT"]


def test_a_route_in_our_place_is_named_with_its_owner_up_and_down() -> None:
    first = PLAN.desired.routes[0].destination
    vpn = theirs(str(first), oif="tun0", metric=5)
    for subject in (UP, DOWN):
        seen = look("routes", subject, *installed(PLAN.desired), vpn)
        assert codes(seen)[0] == "DL-ROUTE-TAKEN"
        assert "belongs to a VPN (interface tun0)" in seen.findings[0].evidence


def test_of_several_findings_of_one_code_the_first_stands_in_its_place() -> None:
    other = replace(FOUGHT, code="DL-ROUTE-KEPT")
    assert kernel._once([FOUGHT, other, replace(FOUGHT, evidence="again")]) == (FOUGHT, other)


def test_a_table_that_is_asked_before_ours_is_told_by_the_check_of_rules_alone() -> None:
    first = PLAN.desired.routes[0].destination
    wide = theirs(str(first), oif="tun0", table=77)
    rules = (Rule(version=first.version, priority=100, table=77),)
    there = (*installed(PLAN.desired), DEFAULT, wide)
    assert codes(look("routes", UP, *there, rules=rules)) == []
    seen = look("rules", UP, *there, rules=rules)
    assert codes(seen) == ["DL-POLICY-WINS"]
    assert "belongs to a VPN (interface tun0)" in seen.findings[0].evidence


@pytest.mark.parametrize("name", ["routes", "rules", "rp_filter"])
def test_of_a_session_that_waits_for_its_network_nothing_is_missed(name: str) -> None:
    seen = look(name, replace(UP, session=session("suspended")))
    assert seen.skipped
    assert "suspended" in seen.text


def test_the_plug_that_its_user_has_pulled_is_no_error_of_a_session_that_waits() -> None:
    check = next(each for each in CHECKS if each.name == "links")
    assert isinstance(check, LinkCheck)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "observe", lambda _=(): ObservedNetwork())
        for subject, severity in ((UP, "error"), (replace(UP, session=session("suspended")), "warning")):
            (finding,) = asyncio.run(_awaited(check, subject)).findings
            assert (finding.code, finding.severity.value) == ("DL-LINK-DOWN", severity)


async def _awaited(check: LinkCheck, subject: Subject) -> Seen:
    return await check.look(Case(uid=1000), subject)
