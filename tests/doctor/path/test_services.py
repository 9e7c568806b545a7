"""What of an exchange of data doctor says of services, and what of pods."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address

import pytest

from devlink.core.diagnosis import PodSeen, Seen
from devlink.core.names import DomainName
from devlink.core.plan import Plan
from devlink.core.profile import BridgeProfile, RoutingMode
from devlink.dns.client import Answer
from devlink.doctor.case import Case, Subject
from devlink.doctor.path import shared
from devlink.doctor.path.services import name_findings, pods_findings, services_findings
from devlink.doctor.path.shared import exchange, why_not_carried
from devlink.rpc.tasks import spawn
from tests.core.test_diagnosis import HANGS, HEALTHY, LOCAL, OK, REFUSED, REMOTE, SERVER, SILENT, case
from tests.doctor.subjects import DOWN, UP, session


def found(*seen: Seen) -> list[tuple[str, str]]:
    return [(f.code, f.severity.value) for f in (*services_findings(seen), *pods_findings(seen))]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (case(), []),
        (case(SILENT, SILENT, pod=(SILENT, SILENT)), [("DL-NOT-FORWARDING", "error")]),
        (case(SILENT, SILENT, stray=True), [("DL-SERVICE-NO-RETURN", "error")]),
        (case(stray=True), [("DL-SERVICE-NO-RETURN", "warning")]),
        (case(SILENT, SILENT), [("DL-SERVICE-SILENT", "error")]),
        (case(REFUSED, REFUSED), [("DL-SERVICE-REFUSED", "error")]),
        (case(udp=SILENT), [("DL-UDP53-BLOCKED", "warning")]),
        (case(pod=(HANGS, OK)), [("DL-POD-HANGS", "warning")]),
        (case(pod=(SILENT, SILENT)), [("DL-POD-SILENT", "info")]),
        (case(SILENT, SILENT, pod=(HANGS, OK)), [("DL-SERVICE-SILENT", "error"), ("DL-POD-HANGS", "warning")]),
    ],
)
def test_what_keeps_names_from_working_is_an_error_and_the_rest_is_none(
    seen: Seen, expected: list[tuple[str, str]]
) -> None:
    assert found(seen) == expected


def test_where_the_other_ip_version_answers_silence_is_no_error() -> None:
    assert found(case(), case(SILENT, SILENT, pod=(SILENT, SILENT))) == [("DL-NOT-FORWARDING", "warning")]


def test_of_what_is_relayed_silence_is_not_laid_at_the_door_of_nodes_that_no_packet_meets() -> None:
    silent = replace(case(SILENT, SILENT, pod=(HANGS, SILENT)), mode=RoutingMode.RELAY)
    assert found(silent, silent) == [("DL-DNS-SILENT", "error")]
    assert not silent.something_came
    assert found(replace(case(), mode=RoutingMode.RELAY), silent) == []


def test_one_pod_that_is_gone_beside_others_and_none_that_could_be_asked_are_not_worth_a_word() -> None:
    gone = replace(REMOTE, address=ip_address("10.20.120.140"), tcp=SILENT, udp=SILENT)
    assert found(replace(HEALTHY, pods=(REMOTE, gone))) == []
    local = PodSeen(address=LOCAL, node=SERVER.by, by=SERVER.by, tcp=OK, udp=OK)
    assert found(replace(HEALTHY, pods=(local,))) == []
    assert found(case(pod=(REFUSED, REFUSED))) == []


NAME = DomainName.parse("kubernetes.default.svc.cluster.local")
KNOWN = Answer(rcode="NOERROR", addresses=(ip_address("10.254.0.1"),))


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ((KNOWN,), ""),
        ((KNOWN, Answer(rcode="SERVFAIL")), ""),
        ((Answer(rcode="NXDOMAIN"),), "DL-DNS-DOMAIN"),
        ((Answer(rcode="REFUSED"),), "DL-DNS-DOMAIN"),
        ((Answer(rcode="NOERROR"),), "DL-DNS-DOMAIN"),
        ((Answer(rcode="SERVFAIL"),), "DL-DNS-SILENT"),
    ],
)
def test_what_is_said_of_a_service_that_every_cluster_has(answers: tuple[Answer, ...], code: str) -> None:
    findings = name_findings(NAME, answers, "10.254.0.2")
    assert [finding.code for finding in findings] == [code] * bool(code)
    assert all(str(NAME) in finding.title for finding in findings)


def test_only_what_is_installed_or_what_the_network_carries_is_looked_at() -> None:
    assert why_not_carried(UP) == ""
    assert why_not_carried(replace(UP, session=session("degraded"))) == ""
    assert why_not_carried(replace(UP, session=session("suspended"))) == "it is suspended"
    assert why_not_carried(DOWN) == "nothing is up"
    assert DOWN.plan is not None
    assert why_not_carried(replace(DOWN, plan=replace(DOWN.plan, mode=RoutingMode.ROUTER))) == ""
    assert why_not_carried(replace(DOWN, plan=None)) == "nothing can be planned"


def test_checks_that_ask_at_the_same_time_share_one_look_and_one_that_asks_later_gets_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []

    async def look(profile: BridgeProfile, _: Plan) -> tuple[Seen, ...]:
        looked.append(profile.metadata.name)
        await asyncio.sleep(0)
        return (HEALTHY,)

    async def body() -> None:
        case, another = Case(), Subject(profile=UP.profile, plan=UP.plan, session=UP.session)
        first = await asyncio.gather(exchange(case, UP), exchange(case, UP), exchange(case, another))
        assert list(first) == [(HEALTHY,)] * 3
        assert len(looked) == 2, "one for each subject"
        await asyncio.sleep(0)
        await exchange(case, UP)
        assert len(looked) == 3

    monkeypatch.setattr(shared, "look", look)
    asyncio.run(body())


def test_a_check_that_is_given_up_does_not_take_the_look_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(_: BridgeProfile, __: Plan) -> tuple[Seen, ...]:
        await asyncio.sleep(0.01)
        return (HEALTHY,)

    async def body() -> None:
        case = Case()
        impatient, patient = (spawn(exchange(case, UP), name="check") for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        assert await patient == (HEALTHY,)

    monkeypatch.setattr(shared, "look", look)
    asyncio.run(body())
