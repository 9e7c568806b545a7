"""What is wrong with what a relay says."""

from ipaddress import ip_address

import pytest

from devlink.core.findings import Finding, Severity
from devlink.core.relay import REASONS, Refused, RelayChain, RelayState
from devlink.core.relay_judging import CURES, MANY, judge_chain, judge_refusals, udp_wanted

ADDRESS = ip_address("10.20.0.7")


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_for_which_a_connection_is_refused_is_an_error_with_something_to_do(reason: str) -> None:
    finding = judge_chain(ADDRESS, 81, RelayChain(refused=reason, why="so it is"))
    assert finding is not None
    assert finding.severity is Severity.ERROR
    assert finding.evidence == "10.20.0.7:81: so it is"
    assert finding.fix == CURES[reason]


def test_where_nothing_is_refused_nothing_is_wrong() -> None:
    assert judge_chain(ADDRESS, 81, RelayChain()) is None


def test_an_ipv6_address_is_written_so_that_its_port_can_be_told() -> None:
    finding = judge_chain(ip_address("fd00::7"), 81, RelayChain(refused="no-object"))
    assert finding is not None
    assert finding.evidence == "[fd00::7]:81"


def test_one_refusal_is_a_hint_and_many_are_a_warning_which_comes_first() -> None:
    few = Refused(reason="port-closed", count=MANY - 1, last="10.20.0.7:81")
    many = Refused(reason="no-pods", count=MANY, last="10.254.0.9:80")
    found = judge_refusals(RelayState(refused=(few, many)))
    assert [(each.code, each.severity) for each in found] == [
        ("DL-RELAY-NO-PODS", Severity.WARNING),
        ("DL-RELAY-POD-IP", Severity.INFO),
    ]
    assert found[0].evidence == f"{MANY} so far; last: 10.254.0.9:80"


def test_of_the_reasons_that_share_a_code_the_most_frequent_is_told() -> None:
    refused = (Refused(reason="undeclared", count=1), Refused(reason="host-network", count=9))
    (found,) = judge_refusals(RelayState(refused=refused))
    assert found.code == "DL-RELAY-REFUSED"
    assert "its node's own network" in found.title


def test_what_the_relay_has_found_itself_is_not_told_twice() -> None:
    known = Finding(code="DL-RELAY-RIGHTS", severity=Severity.ERROR, title="Rights were taken away.")
    refused = (Refused(reason="rights", count=9),)
    assert judge_refusals(RelayState(refused=refused, findings=(known,))) == ()


def test_an_address_that_nothing_has_is_never_more_than_a_hint() -> None:
    (found,) = judge_refusals(RelayState(refused=(Refused(reason="no-object", count=1000),)))
    assert found.severity is Severity.INFO


def test_a_packet_that_was_no_tcp_is_told_with_how_many_there_were() -> None:
    assert udp_wanted(0) == ()
    (found,) = udp_wanted(7)
    assert (found.code, found.evidence.split()[0]) == ("DL-RELAY-UDP", "7")
