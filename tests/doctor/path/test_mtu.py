"""A question that fills several packets: what its loss means, and what it does not."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address

import pytest

from devlink.core.diagnosis import Outcome, Seen
from devlink.core.plan import Plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile
from devlink.dns import wire
from devlink.doctor import check
from devlink.doctor.case import Case
from devlink.doctor.path import mtu, shared
from devlink.doctor.path.questions import is_answer, numbered, padded, question_for
from tests.core.plans import PROFILE
from tests.core.test_diagnosis import HANGS, HEALTHY, OK, REMOTE, SERVER, SILENT, case
from tests.doctor.subjects import UP

assert PROFILE.spec.dns is not None
QUESTION = question_for(PROFILE.spec.dns)


def look(seen: Seen, passes: int, *, present: int = 1480, takes_long: bool = True) -> check.Seen:
    """Where packets of at most `passes` octets arrive."""

    async def exchange(_: BridgeProfile, __: Plan) -> tuple[Seen, ...]:
        return (seen,)

    async def ask(address: IPAddress, question: bytes, *, segment: int = 0, limit: float) -> Outcome:
        assert len(question) + 2 == mtu.LENGTH
        assert limit > 0
        size = segment + mtu.HEADERS[address.version] if segment else present
        assert segment == 0 or size < present, "that it was not larger than before is known already"
        return OK if size <= passes and takes_long else HANGS

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "look", exchange)
        patch.setattr(mtu, "over_tcp_to", ask)
        patch.setattr(mtu, "present_mtu", lambda _: present)
        return asyncio.run(mtu.look(Case(), UP))


@pytest.mark.parametrize(("passes", "told"), [(1479, 1460), (1300, 1300), (1299, 1280), (600, 576)])
def test_the_largest_size_that_arrives_is_what_the_profile_should_say(passes: int, told: int) -> None:
    (finding,) = look(HEALTHY, passes).findings
    assert finding.code == "DL-MTU"
    assert f"those of {told} arrive" in finding.evidence
    assert f"mtu: {told}" in finding.fix


def test_where_large_packets_arrive_nothing_is_said() -> None:
    seen = look(HEALTHY, 1480)
    assert (seen.findings, seen.text) == ((), "packets of 1480 octets arrive")


def test_a_server_that_takes_no_long_questions_at_all_says_nothing_of_packets() -> None:
    assert look(HEALTHY, 1480, takes_long=False).skipped


def test_who_is_silent_over_tcp_anyway_is_not_asked() -> None:
    assert look(case(SILENT, OK, pod=(SILENT, OK)), 576).skipped
    pod_alone = replace(HEALTHY, server=replace(SERVER, tcp=SILENT))
    assert str(REMOTE.address) in look(pod_alone, 1300).findings[0].evidence


@pytest.mark.parametrize("length", [100, 512, 6000, 65535])
def test_padding_makes_a_well_formed_question_as_long_as_is_wanted(length: int) -> None:
    packet = numbered(padded(QUESTION, length))
    assert len(packet) == length
    query = wire.parse_query(packet)
    assert isinstance(query, wire.Query)
    assert query.edns is not None
    ((code, fill),) = wire.options_of(query.edns.options)
    assert (code, set(fill)) == (12, {0})
    reply = packet[:2] + b"\x84\x00" + packet[4:10] + b"\0\0" + packet[12 : len(QUESTION) + 2]
    assert is_answer(reply, packet)
    assert not is_answer(reply[:-1] + b"\x02", packet)


def test_without_a_way_the_usual_size_is_assumed() -> None:
    assert mtu.present_mtu(ip_address("127.0.0.1")) >= 1280
