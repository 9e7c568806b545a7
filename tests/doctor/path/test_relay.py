"""What doctor says of a session that is relayed, and which of its looks make no sense there."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from devlink.core.plan import Plan
from devlink.core.prefixes import IPAddress
from devlink.core.profile import RoutingMode
from devlink.core.relay import RelayChain
from devlink.doctor.case import Case, Subject
from devlink.doctor.check import Seen
from devlink.doctor.path import gateway, kernel, mtu, relay
from devlink.doctor.path.relay import library_finding
from tests.core.plans import PROFILE
from tests.doctor.subjects import PLAN, UP, session

RELAYED: Plan = replace(PLAN, mode=RoutingMode.RELAY)
STATE = {
    "server": "https://172.16.0.20:6443", "form": "spdy", "streams": 1, "opened": 4,
    "refused": [{"reason": "no-pods", "count": 3, "last": "10.254.0.9:80"}],
}  # fmt: skip


def relayed(**shown: Any) -> Subject:
    return Subject(profile=PROFILE, plan=RELAYED, session=session(**shown))


def looked(subject: Subject) -> Seen:
    return asyncio.run(relay._look(Case(), subject))


def test_what_goes_through_and_what_was_refused_is_told_with_what_to_do() -> None:
    seen = looked(relayed(relay=STATE))
    assert seen.text.startswith("through https://172.16.0.20:6443: 1 stream open of 4")
    assert [finding.code for finding in seen.findings] == ["DL-RELAY-NO-PODS"]


def test_where_no_pod_is_behind_the_clusters_dns_that_is_said_first() -> None:
    async def resolve(_: str, __: IPAddress, port: int) -> RelayChain:
        assert port == 53
        return RelayChain(refused="no-pods", why="Service kube-system/kube-dns has no endpoint.")

    case = Case(resolve=resolve)
    seen = asyncio.run(relay._look(case, relayed(relay={**STATE, "refused": []})))
    assert [(each.code, each.severity.value) for each in seen.findings] == [("DL-RELAY-NO-DNS-PODS", "error")]


def test_a_session_that_has_routes_is_not_looked_at() -> None:
    assert looked(UP).skipped


def test_one_that_is_not_up_is_told_only_of_what_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    down = Subject(profile=PROFILE, plan=RELAYED)
    monkeypatch.setattr(relay, "library_finding", tuple)
    assert looked(down).skipped
    monkeypatch.setattr(relay, "library_finding", lambda: library_finding("libnone-such.so.1"))
    assert [finding.code for finding in looked(down).findings] == ["DL-RELAY-NFTABLES"]


@pytest.mark.parametrize("look", [gateway._look, mtu.look, kernel._rp_filter])
def test_what_is_about_packets_of_the_cluster_on_a_link_is_left_out_with_a_word(
    look: Callable[[Case, Subject], Awaitable[Seen]],
) -> None:
    async def seen() -> Seen:
        return await look(Case(), relayed(relay=STATE))

    told = asyncio.run(seen())
    assert told.skipped
    assert "relayed" in told.text
