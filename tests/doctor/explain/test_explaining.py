"""Which addresses of a name are followed."""

from ipaddress import ip_address

from devlink.core.explain import Claim
from devlink.core.network import ObservedNetwork, Path
from devlink.core.plan import make_plan
from devlink.doctor.explain.explaining import passed_over
from tests.core.plans import GATEWAY, GATEWAY6, PROFILE, seen

QA = Claim(profile=PROFILE, plan=make_plan(PROFILE, seen(GATEWAY, GATEWAY6)))
HERE, NOWHERE, POD = ip_address("192.0.2.80"), ip_address("2001:db8::80"), ip_address("fd00:20::9")
OBSERVED = ObservedNetwork(paths={HERE: Path(oif="eth0"), NOWHERE: Path(), POD: Path()})


def test_an_address_without_a_route_is_passed_over_where_its_name_has_another_but_never_a_sessions() -> None:
    assert passed_over((HERE, NOWHERE, POD), OBSERVED, (QA,)) == (NOWHERE,)
    assert passed_over((HERE, POD), OBSERVED, ()) == (POD,)


def test_where_no_address_has_a_route_none_is_passed_over() -> None:
    assert passed_over((NOWHERE, POD), OBSERVED, (QA,)) == ()
