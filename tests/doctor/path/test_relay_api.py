"""Whether upgrades get through, and what is said where another form does than the relay speaks."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from devlink.core.findings import Severity
from devlink.core.prefixes import IPAddress
from devlink.core.profile import RoutingMode
from devlink.core.relay import Pod, RelayChain
from devlink.doctor.case import Case, Subject
from devlink.doctor.path import relay_api
from devlink.doctor.path.relay_api import Upgraded, judge_upgrade
from devlink.errors import ClusterError, NotUpError
from tests.core.plans import PROFILE
from tests.doctor.subjects import PLAN, UP, session

RELAYED = replace(PLAN, mode=RoutingMode.RELAY)
COREDNS = Pod(namespace="kube-system", name="coredns-7c", port=53)


def relayed(**told: Any) -> Subject:
    return Subject(profile=PROFILE, plan=RELAYED, session=session(relay=told, context=""))


def asked(subject: Subject, chain: RelayChain | Exception = RelayChain()) -> list[tuple[str, str, str]]:  # noqa: B008
    """Which pod is dialled, and by which form."""
    dialled: list[tuple[str, str, str]] = []

    async def attempt(_: Case, __: Subject, namespace: str, pod: str, wanted: str) -> Upgraded:
        dialled.append((namespace, pod, wanted))
        return Upgraded(form="spdy", wanted=wanted)

    async def resolve(_: str, __: IPAddress, port: int) -> RelayChain:
        assert port == 53
        if isinstance(chain, Exception):
            raise chain
        return chain

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relay_api, "_try", attempt)
        asyncio.run(relay_api._upgrade(Case(resolve=resolve), subject))
    return dialled


def test_a_pod_that_is_in_use_is_dialled_by_the_form_that_the_relay_speaks() -> None:
    in_use = {"namespace": "default", "name": "web-1", "node": "a", "streams": 1, "sessions": 1}
    assert asked(relayed(form="spdy", pods=[in_use])) == [("default", "web-1", "spdy")]


def test_where_none_is_in_use_it_is_one_of_the_clusters_dns() -> None:
    assert asked(relayed(), RelayChain(pod=COREDNS)) == [("kube-system", "coredns-7c", "")]


@pytest.mark.parametrize("chain", [RelayChain(refused="no-pods"), NotUpError("It is gone.")])
def test_where_no_pod_is_known_nothing_is_dialled(chain: RelayChain | Exception) -> None:
    assert asked(relayed(), chain) == []


def test_a_session_that_has_routes_is_not_asked_about_at_all() -> None:
    assert asked(UP) == []
    assert asyncio.run(relay_api._rights(Case(), UP)).skipped


def test_an_upgrade_that_no_form_gets_through_is_an_error_with_what_the_dialler_says() -> None:
    error = ClusterError("No port-forward gets through.", why="The proxy says 502.", next_step="Let it through.")
    (found,) = judge_upgrade(Upgraded(wanted="spdy", error=error))
    assert (found.code, found.severity, found.fix) == ("DL-RELAY-UPGRADE", Severity.ERROR, "Let it through.")
    assert "502" in found.evidence


def test_another_form_than_the_relays_is_a_warning_and_the_same_is_well() -> None:
    assert judge_upgrade(Upgraded(form="spdy", wanted="spdy")) == ()
    assert judge_upgrade(Upgraded(form="spdy", wanted="")) == ()
    (found,) = judge_upgrade(Upgraded(form="websocket", wanted="spdy-websocket"))
    assert found.severity is Severity.WARNING
    assert "spdy-websocket is refused, and websocket gets through" in found.evidence
