"""Which addresses of a name are followed."""

import asyncio
from ipaddress import ip_address

import pytest

from devlink.core.explain import Claim
from devlink.core.names import DomainName
from devlink.core.network import ObservedNetwork, Path
from devlink.core.plan import make_plan
from devlink.core.prefixes import IPAddress
from devlink.doctor.case import Case
from devlink.doctor.explain import explaining
from devlink.doctor.explain.explaining import _name, passed_over
from devlink.doctor.names.libc import Found
from devlink.errors import HelperError
from tests.core.plans import GATEWAY, GATEWAY6, PROFILE, seen

QA = Claim(profile=PROFILE, plan=make_plan(PROFILE, seen(GATEWAY, GATEWAY6)))
HERE, NOWHERE, POD = ip_address("192.0.2.80"), ip_address("2001:db8::80"), ip_address("fd00:20::9")
OBSERVED = ObservedNetwork(paths={HERE: Path(oif="eth0"), NOWHERE: Path(), POD: Path()})


def test_an_address_without_a_route_is_passed_over_where_its_name_has_another_but_never_a_sessions() -> None:
    assert passed_over((HERE, NOWHERE, POD), OBSERVED, (QA,)) == (NOWHERE,)
    assert passed_over((HERE, POD), OBSERVED, ()) == (POD,)


def test_where_no_address_has_a_route_none_is_passed_over() -> None:
    assert passed_over((NOWHERE, POD), OBSERVED, (QA,)) == ()


@pytest.mark.parametrize("addresses", [{POD}, set()])
def test_a_helper_that_hangs_breaks_no_name_that_programs_still_find(
    monkeypatch: pytest.MonkeyPatch, addresses: set[IPAddress]
) -> None:
    def hang(_: float) -> None:
        raise HelperError("The devlink helper runs, but does not answer.")

    async def look_up(*_: object, **__: object) -> Found:
        return Found(addresses=frozenset(addresses))

    monkeypatch.setattr(explaining, "served", hang)
    monkeypatch.setattr(explaining, "look_up", look_up)
    named = asyncio.run(_name(DomainName.parse("web.default.svc.cluster.local"), "web", (QA,), Case()))
    codes = [link.finding.code for link in named.links if link.finding is not None]
    assert codes == ([] if addresses else ["DL-FORWARDER-AWAY"])
