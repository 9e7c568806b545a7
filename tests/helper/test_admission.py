"""What the helper asks of a plan before it touches anything."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from devlink.core.names import DomainName
from devlink.core.network import (
    MAIN_TABLE,
    OVERRIDE_TABLE,
    Link,
    ObservedNetwork,
    ObservedRoute,
    Path,
    Route,
    Rule,
    relay_table,
)
from devlink.core.plan import Desired, Detour, Relaying, Upstream, Zone
from devlink.core.prefixes import IPAddress
from devlink.core.trust import TrustRecord
from devlink.errors import ConflictError, NotTrustedError, UsageError, VerificationError
from devlink.helper import admission
from devlink.helper.policy import TrustPolicy

GATEWAY = ip_address("172.16.0.13")
ROUTE = Route(destination=ip_network("10.20.0.0/16"), next_hop=GATEWAY, oif="eth0")
SERVER = Upstream(address=ip_address("10.20.0.2"))
ZONE = Zone(suffix=DomainName.parse("cluster.local"), servers=(SERVER,))
DOMAIN = DomainName.parse("prod.example")
PLAN = Desired(session="qa", routes=(ROUTE,), zones=(ZONE,))
RECORD = TrustRecord(
    name="qa",
    prefixes=(ip_network("10.20.0.0/16"),),
    domains=(DomainName.parse("cluster.local"),),
    next_hops=(ip_network("172.16.0.0/24"),),
)


WINNING = (replace(ROUTE, table=OVERRIDE_TABLE),)
THROW = Route(destination=ip_network("10.20.5.0/24"), oif="", table=OVERRIDE_TABLE, kind="throw")
DETOUR = Detour(next_hop=GATEWAY, via=ip_address("172.16.0.16"), oif="eth0")


def route(**changes: object) -> Desired:
    return replace(PLAN, routes=(replace(ROUTE, **changes),))  # type: ignore[arg-type]  # one field of several types


def zone(**changes: object) -> Desired:
    return replace(PLAN, zones=(replace(ZONE, **changes),))  # type: ignore[arg-type]  # see above


# Form


def test_a_plan_as_our_agents_make_it_passes() -> None:
    admission.check_form(PLAN)
    admission.check_form(Desired(session="qa"))
    admission.check_form(replace(PLAN, routes=(THROW, *WINNING), detours=(DETOUR,)))
    admission.check_form(route(source=ip_address("172.16.0.5")))


@pytest.mark.parametrize(
    "plan",
    [
        route(table=255),
        route(metric=0),
        route(metric=1),
        route(next_hop=None),
        route(next_hop=ip_address("fd00::1")),
        route(source=ip_address("fd00::1")),
        route(nexthop_id=231_000_001),
        route(kind="blackhole"),
        route(kind="throw"),
        replace(PLAN, routes=(THROW,)),
        replace(PLAN, routes=(*WINNING, replace(THROW, destination=ip_network("10.21.0.0/24")))),
        replace(PLAN, routes=(*WINNING, replace(THROW, oif="eth0"))),
        replace(PLAN, routes=(*WINNING, replace(THROW, next_hop=GATEWAY))),
        replace(PLAN, routes=(*WINNING, replace(THROW, mtu=1400))),
        replace(PLAN, detours=(replace(DETOUR, next_hop=ip_address("172.16.0.99")),)),
        replace(PLAN, detours=(replace(DETOUR, via=GATEWAY),)),
        replace(PLAN, detours=(replace(DETOUR, via=ip_address("fd00::1")),)),
        replace(PLAN, detours=(DETOUR, replace(DETOUR, via=ip_address("172.16.0.17")))),
        route(mtu=575),
        route(mtu=65536),
        route(mtu=-1),
        zone(servers=()),
        zone(servers=(replace(SERVER, port=5353),)),
        zone(servers=(replace(SERVER, tls_name="dns.example"),)),
        zone(search=("default.svc",)),
        zone(search=("",)),
        zone(search=("default", "default")),
        replace(PLAN, zones=(zone(search=("qa",)).zones[0], replace(ZONE, suffix=DOMAIN, search=("qa",)))),
        replace(PLAN, routes=(ROUTE, replace(ROUTE, oif="eth1"))),
        replace(PLAN, zones=(ZONE, ZONE)),
        replace(PLAN, routes=(ROUTE,) * (admission.MAX_ROUTES + 1)),
        replace(PLAN, zones=(ZONE,) * (admission.MAX_ZONES + 1)),
        replace(PLAN, pins=(GATEWAY,) * (admission.MAX_PINS + 1)),
    ],
)
def test_a_plan_that_no_agent_of_ours_makes_is_refused(plan: Desired) -> None:
    with pytest.raises(UsageError):
        admission.check_form(plan)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/etc/x", "a/b", "a\0", "A", "a_b", "a b", "-a", "a-", "a" * 64]
)
def test_a_name_that_is_no_label_is_refused_wherever_it_comes_from(name: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a profile"):
        admission.check_form(replace(PLAN, session=name))


@pytest.mark.parametrize("name", ["a", "qa", "calico-rr", "0", "a" * 63])
def test_every_label_is_a_name(name: str) -> None:
    admission.check_name(name)


# Trust


def test_what_the_record_covers_passes() -> None:
    admission.check_trust(PLAN, RECORD, TrustPolicy.RECORDS)


@pytest.mark.parametrize("policy", list(TrustPolicy))
@pytest.mark.parametrize(
    "plan",
    [
        route(destination=ip_network("10.21.0.0/16")),
        route(next_hop=ip_address("172.16.1.13")),
        zone(suffix=DomainName.parse("corp.example")),
        zone(servers=(SERVER, Upstream(address=ip_address("172.16.0.53")))),
        zone(search=("default",)),
        replace(PLAN, ca="1" * 64),
    ],
)
def test_more_than_the_record_is_refused_with_what_it_is_whatever_the_policy(
    plan: Desired, policy: TrustPolicy
) -> None:
    with pytest.raises(NotTrustedError, match="claims more than was trusted") as error:
        admission.check_trust(plan, RECORD, policy)
    assert "devlink trust PROFILE" in error.value.next_step


@pytest.mark.parametrize("policy", list(TrustPolicy))
@pytest.mark.parametrize(
    "plan",
    [
        route(destination=ip_network("0.0.0.0/0")),
        route(destination=ip_network("127.0.0.0/8")),
        zone(suffix=DomainName.parse(".")),
        zone(suffix=DomainName.parse("com")),
        zone(suffix=DomainName.parse("in-addr.arpa")),
        zone(servers=(Upstream(address=ip_address("127.0.0.53")),)),
        zone(search=("com",)),
    ],
)
def test_what_none_may_have_is_refused_with_a_record_for_everything(plan: Desired, policy: TrustPolicy) -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    record = TrustRecord(
        name="qa", prefixes=everything, domains=(DomainName(()),), next_hops=everything, dns_servers=everything
    )
    with pytest.raises(NotTrustedError, match="no profile may have"):
        admission.check_trust(plan, record, policy)


def test_a_throw_claims_nothing_and_a_detour_claims_its_next_hop() -> None:
    admission.check_trust(replace(PLAN, routes=(THROW, *WINNING), detours=(DETOUR,)), RECORD, TrustPolicy.RECORDS)
    outside = replace(DETOUR, via=ip_address("172.16.1.16"))
    with pytest.raises(NotTrustedError, match=r"next hop 172\.16\.1\.16"):
        admission.check_trust(replace(PLAN, detours=(outside,)), RECORD, TrustPolicy.RECORDS)


def test_one_more_next_hop_is_asked_what_those_of_a_whole_plan_are_asked() -> None:
    via, near = DETOUR.via, ObservedNetwork(paths={DETOUR.via: Path(oif="eth0")})
    admission.check_via(via, "eth0", PLAN, RECORD, TrustPolicy.RECORDS, near)
    admission.check_via(via, "eth0", PLAN, None, TrustPolicy.GROUP, near)
    with pytest.raises(NotTrustedError):
        admission.check_via(via, "eth0", PLAN, None, TrustPolicy.RECORDS, near)
    with pytest.raises(NotTrustedError, match="CA"):
        admission.check_via(via, "eth0", replace(PLAN, ca="another"), RECORD, TrustPolicy.RECORDS, near)
    with pytest.raises(VerificationError):
        admission.check_via(via, "eth0", PLAN, RECORD, TrustPolicy.RECORDS, ObservedNetwork())
    with pytest.raises(VerificationError):
        admission.check_via(via, "eth1", PLAN, RECORD, TrustPolicy.RECORDS, near)
    admission.check_stand_in(GATEWAY, via)
    for wrong in (GATEWAY, ip_address("fd00::1")):
        with pytest.raises(UsageError):
            admission.check_stand_in(GATEWAY, wrong)


def test_without_a_record_only_the_policy_can_let_it_pass() -> None:
    with pytest.raises(NotTrustedError, match="is not trusted on this machine"):
        admission.check_trust(PLAN, None, TrustPolicy.RECORDS)
    admission.check_trust(PLAN, None, TrustPolicy.GROUP)


@pytest.mark.parametrize(
    ("plan", "within"),
    [
        (route(destination=ip_network("10.16.0.0/12")), True),
        (route(destination=ip_network("10.0.0.0/11")), False),
        (route(destination=ip_network("192.168.0.0/16")), True),
        (route(destination=ip_network("100.64.0.0/16")), False),
        (route(destination=ip_network("34.118.224.0/20")), False),
        (route(destination=ip_network("fd00::/48"), next_hop=ip_address("fd16::13")), True),
        (route(destination=ip_network("fd00::/47"), next_hop=ip_address("fd16::13")), False),
        (route(destination=ip_network("2001:db8::/64"), next_hop=ip_address("fd16::13")), False),
        (zone(suffix=DomainName.parse("CLUSTER.local")), True),
        (zone(suffix=DomainName.parse("other.local")), False),
        (zone(search=("default",)), False),
        (zone(suffix=DomainName.parse("20.10.in-addr.arpa")), True),
        (zone(suffix=DomainName.parse("8.8.in-addr.arpa")), False),
        (zone(servers=(Upstream(address=ip_address("192.168.0.53")),)), True),
        (zone(servers=(SERVER, Upstream(address=ip_address("8.8.8.8")))), False),
    ],
)
def test_policy_group_holds_within_private_space_and_cluster_local(plan: Desired, within: bool) -> None:
    if within:
        admission.check_trust(plan, None, TrustPolicy.GROUP)
    else:
        with pytest.raises(NotTrustedError):
            admission.check_trust(plan, None, TrustPolicy.GROUP)


# What is possible, and what is somebody else's


@pytest.mark.parametrize(
    "path",
    [
        None,
        Path(),
        Path(oif="eth1"),
        Path(oif="eth0", next_hop=ip_address("172.16.0.1")),
        Path(oif="lo", kind="local"),
    ],
)
def test_a_next_hop_off_its_link_is_refused_with_the_reason(path: Path | None) -> None:
    observed = ObservedNetwork(paths={} if path is None else {GATEWAY: path})
    with pytest.raises(VerificationError, match=r"172\.16\.0\.13 cannot be a next hop") as error:
        admission.check_next_hops(PLAN, observed)
    assert "never through another router" in error.value.why


def test_a_next_hop_on_its_link_passes() -> None:
    admission.check_next_hops(PLAN, ObservedNetwork(paths={GATEWAY: Path(oif="eth0")}))


def test_a_detours_next_hop_must_be_on_its_link_too() -> None:
    plan = replace(PLAN, routes=(THROW, *WINNING), detours=(DETOUR,))
    near = {GATEWAY: Path(oif="eth0"), DETOUR.via: Path(oif="eth0")}
    admission.check_next_hops(plan, ObservedNetwork(paths=near))
    with pytest.raises(VerificationError, match=r"172\.16\.0\.16 cannot be a next hop"):
        admission.check_next_hops(plan, ObservedNetwork(paths={**near, DETOUR.via: Path(oif="eth1")}))


def test_a_source_that_is_no_address_of_the_routes_link_is_refused() -> None:
    links = (
        Link(index=1, name="eth0", mtu=1500, up=True, addresses=((ip_address("172.16.0.5"), 24),)),
        Link(index=2, name="eth1", mtu=1500, up=True, addresses=((ip_address("10.0.0.5"), 24),)),
    )
    observed = ObservedNetwork(paths={GATEWAY: Path(oif="eth0")}, links=links)
    admission.check_next_hops(route(source=ip_address("172.16.0.5")), observed)
    with pytest.raises(VerificationError, match=r"10\.0\.0\.5 cannot be a source"):
        admission.check_next_hops(route(source=ip_address("10.0.0.5")), observed)


RULES = (Rule(version=4, priority=0, table=255), Rule(version=4, priority=32766, table=254))


@pytest.mark.parametrize(("priority", "step"), [(5270, "--override 10.20.0.0/16"), (100, "--exclude 10.20.0.0/16")])
def test_a_table_that_is_asked_before_ours_is_a_conflict_that_names_rule_table_and_owner(
    priority: int, step: str
) -> None:
    rules = (*RULES[:1], Rule(version=4, priority=priority, table=52), RULES[1])
    subnet = ObservedRoute(destination=ip_network("10.0.0.0/8"), oif="tailscale0", table=52, protocol=3)
    observed = ObservedNetwork(routes=(subnet,), rules=rules)
    with pytest.raises(ConflictError) as error:
        admission.check_foreign([ROUTE], observed, uid=1000)
    assert "10.20.0.0/16 is routed already, by Tailscale" in error.value.what
    assert f"by rule {priority}, table 52: 10.0.0.0/8 dev tailscale0" in error.value.why
    assert step in error.value.next_step
    if priority > 5200:
        admission.check_foreign(WINNING, observed, uid=1000)
    else:
        with pytest.raises(ConflictError):
            admission.check_foreign(WINNING, observed, uid=1000)


def test_a_rule_that_drops_our_packets_is_a_conflict_too() -> None:
    rules = (Rule(version=4, priority=5300, action="prohibit", destination=ip_network("10.0.0.0/8")), RULES[1])
    with pytest.raises(ConflictError, match="a rule that says prohibit"):
        admission.check_foreign([ROUTE], ObservedNetwork(rules=rules), uid=1000)


def test_a_table_that_takes_only_a_part_is_no_conflict() -> None:
    rules = (Rule(version=4, priority=5270, table=52), RULES[1])
    part = ObservedRoute(destination=ip_network("10.20.5.0/24"), oif="tailscale0", table=52, protocol=3)
    admission.check_foreign([ROUTE], ObservedNetwork(routes=(part,), rules=rules), uid=1000)


@pytest.mark.parametrize(
    ("theirs", "shown"),
    [
        ({"protocol": 4, "next_hop": ip_address("172.16.0.1")}, "10.20.0.0/16 via 172.16.0.1 dev tun0 belongs to "),
        ({"protocol": 186}, "10.20.0.0/16 dev tun0 belongs to "),
        ({"protocol": 186, "oif": None}, "10.20.0.0/16 dev of several belongs to "),
        ({"protocol": 4, "oif": None, "kind": "blackhole"}, "blackhole 10.20.0.0/16 belongs to "),
    ],
)
def test_a_destination_that_somebody_else_routes_is_a_conflict_that_names_them(
    theirs: dict[str, object], shown: str
) -> None:
    route_ = ObservedRoute(**{"destination": ROUTE.destination, "oif": "tun0", **theirs})  # type: ignore[arg-type]  # see above
    with pytest.raises(ConflictError) as error:
        admission.check_foreign([ROUTE], ObservedNetwork(routes=(route_,)), uid=1000)
    assert shown in error.value.why
    assert "ip route del 10.20.0.0/16" in error.value.next_step


def test_a_foreign_route_in_the_table_that_wins_is_a_conflict_that_names_its_owner() -> None:
    route_ = ObservedRoute(destination=ip_network("192.0.2.0/24"), oif="tun0", protocol=186, table=OVERRIDE_TABLE)
    with pytest.raises(ConflictError) as error:
        admission.check_foreign(WINNING, ObservedNetwork(routes=(route_,)), uid=1000)
    assert "Table 5230" in error.value.what
    assert "192.0.2.0/24 dev tun0 belongs to " in error.value.why
    assert "ip route show table 5230" in error.value.next_step
    admission.check_foreign([ROUTE], ObservedNetwork(routes=(route_,)), uid=1000)


OTHER = replace(PLAN, session="other", routes=(replace(ROUTE, destination=ip_network("10.30.0.0/16")),))


@pytest.mark.parametrize(
    ("other", "taken"),
    [
        (replace(PLAN, session="other", zones=()), "10.20.0.0/16"),
        (OTHER, "cluster.local"),
        (replace(OTHER, zones=(replace(ZONE, suffix=DomainName.parse("20.10.in-addr.arpa")),)), "10.20.0.0/16"),
    ],
)
def test_what_another_session_has_is_a_conflict_that_names_its_user(other: Desired, taken: str) -> None:
    mine = replace(PLAN, zones=(ZONE, replace(ZONE, suffix=DomainName.parse("20.10.in-addr.arpa"))))
    with pytest.raises(ConflictError, match=r"Session other of user 4711 has ") as error:
        admission.check_others(mine, 1000, [(other, 4711)])
    assert taken in error.value.what
    assert "Ask that user" in error.value.next_step
    with pytest.raises(ConflictError) as error:
        admission.check_others(mine, 4711, [(other, 4711)])
    assert "--replace" in error.value.next_step, "of one's own, one may replace it"


def named(*suffixes: str, session: str = "other", search: tuple[str, ...] = ()) -> Desired:
    """A session that wants names and no routes."""
    zones = tuple(
        replace(ZONE, suffix=DomainName.parse(suffix), search=search if not index else ())
        for index, suffix in enumerate(suffixes)
    )
    return Desired(session=session, zones=zones)


@pytest.mark.parametrize("uid", [1000, 4711])
@pytest.mark.parametrize(
    ("mine", "theirs", "taken"),
    [
        (named("cluster.local"), named("CLUSTER.local"), "cluster.local"),
        (named("a.example", "20.10.in-addr.arpa"), named("b.example", "20.10.in-addr.arpa"), "10.20.0.0/16"),
        (named("a.example", search=("qa", "dev")), named("b.example", search=("dev",)), "NAME.dev"),
    ],
)
def test_the_same_names_twice_are_a_conflict_that_names_both_sessions_whoever_has_them(
    mine: Desired, theirs: Desired, taken: str, uid: int
) -> None:
    with pytest.raises(ConflictError) as error:
        admission.check_others(replace(mine, session="mine"), 1000, [(theirs, uid)])
    assert taken in error.value.what
    assert "Session other " in error.value.what
    assert "Session mine " in error.value.why


@pytest.mark.parametrize(
    ("mine", "theirs", "taken"),
    [
        (named("qa.cluster.local"), named("cluster.local"), "cluster.local"),
        (named("cluster.local"), named("qa.cluster.local"), "qa.cluster.local"),
        (named("a.example", "5.20.10.in-addr.arpa"), named("b.example", "20.10.in-addr.arpa"), "20.10.in-addr.arpa"),
        (named("a.example", "20.10.in-addr.arpa"), named("b.example", "5.20.10.in-addr.arpa"), "5.20.10.in-addr.arpa"),
        (named("a.example", search=("dev",)), named("web.dev"), "web.dev"),
        (named("web.dev"), named("b.example", search=("dev",)), "has NAME.dev already"),
    ],
)
def test_names_that_overlap_are_a_conflict_between_users_and_none_between_ones_own_sessions(
    mine: Desired, theirs: Desired, taken: str
) -> None:
    mine = replace(mine, session="mine")
    with pytest.raises(ConflictError) as error:
        admission.check_others(mine, 1000, [(theirs, 4711)])
    assert taken in error.value.what
    assert "Session other of user 4711" in error.value.what
    assert "Session mine " in error.value.why
    admission.check_others(mine, 4711, [(theirs, 4711)])


def test_sessions_beside_each_other_are_no_conflict() -> None:
    apart = replace(OTHER, zones=(replace(ZONE, suffix=DomainName.parse("other.example")),))
    admission.check_others(PLAN, 1000, [(apart, 4711)])


def test_a_wide_route_that_would_win_over_anothers_narrow_one_is_a_conflict_also_among_ones_own() -> None:
    narrow = replace(PLAN, session="other", zones=(), routes=(replace(ROUTE, destination=ip_network("10.20.5.0/24")),))
    wide = replace(PLAN, zones=(), routes=WINNING)
    for mine, theirs in ((wide, narrow), (narrow, wide)):
        with pytest.raises(ConflictError, match=r"10\.20\.5\.0/24"):
            admission.check_others(mine, 1000, [(theirs, 1000)])
    admission.check_others(replace(wide, routes=(ROUTE,)), 1000, [(narrow, 1000)])
    both = replace(narrow, routes=(replace(narrow.routes[0], table=OVERRIDE_TABLE),))
    admission.check_others(wide, 1000, [(both, 1000)])


def test_a_long_list_of_claims_is_cut_short() -> None:
    routes = tuple(replace(ROUTE, destination=ip_network(f"10.{n}.0.0/24")) for n in range(100, 140))
    with pytest.raises(NotTrustedError) as error:
        admission.check_trust(replace(PLAN, routes=routes), RECORD, TrustPolicy.RECORDS)
    assert "and 34 more" in error.value.what


def test_the_checks_are_those_that_the_tests_here_know() -> None:
    found = {name for name in vars(admission) if name.startswith("check_")}
    assert found == {
        "check_name", "check_form", "check_trust", "check_next_hops", "check_foreign", "check_others", "check_via",
            "check_protected", "check_stand_in", "check_relay",
    }  # fmt: skip


GATEWAY_OF_ALL, UPSTREAM_SERVER, API, HOP = (ip_address(f"10.20.0.{last}") for last in (1, 2, 3, 4))


@pytest.mark.parametrize("table", [MAIN_TABLE, OVERRIDE_TABLE])
@pytest.mark.parametrize("taken", [GATEWAY_OF_ALL, UPSTREAM_SERVER, API, HOP])
def test_a_route_to_just_a_protected_address_is_refused_in_every_table(table: int, taken: IPAddress) -> None:
    default = ObservedRoute(destination=ip_network("0.0.0.0/0"), next_hop=GATEWAY_OF_ALL, oif="eth0", protocol=16)
    observed = ObservedNetwork(routes=(default,))

    def desired(destination: str, kind: str = "unicast") -> Desired:
        hop = HOP if kind == "unicast" else None
        route = Route(destination=ip_network(destination), next_hop=hop, oif="eth0", table=table, kind=kind)
        wide = Route(destination=ip_network("10.30.0.0/16"), next_hop=HOP, oif="eth0")
        return Desired(session="qa", routes=(wide, route), pins=(API,))

    with pytest.raises(ConflictError, match=rf"{taken} must keep"):
        admission.check_protected(desired(f"{taken}/32"), (UPSTREAM_SERVER,), observed)
    for fine in (desired("10.20.0.0/24"), desired("10.20.0.9/32"), desired(f"{taken}/32", "throw")):
        admission.check_protected(fine, (UPSTREAM_SERVER,), observed)


# What is relayed

RELAYED = Desired(
    session="qa",
    routes=(Route(destination=ip_network("10.20.0.0/16"), oif="devlink0", table=relay_table(1000)),),
    zones=(ZONE,),
    relay=Relaying(),
)


def no_kind(_: str) -> str:
    return ""


def no_ways(_: str) -> tuple[str, ...]:
    return ()


def test_a_relayed_plan_has_its_users_own_table_and_no_next_hop() -> None:
    admission.check_form(RELAYED)
    admission.check_relay(RELAYED, 1000, no_kind, no_ways)
    admission.check_next_hops(RELAYED, ObservedNetwork())
    admission.check_foreign(RELAYED.routes, ObservedNetwork(), uid=1000)
    admission.check_relay(replace(PLAN, relay=Relaying(draining=True)), 1000, no_kind, no_ways)


@pytest.mark.parametrize(
    "changes",
    [
        {"table": relay_table(1001)},
        {"table": MAIN_TABLE},
        {"table": OVERRIDE_TABLE},
        {"oif": "eth0"},
        {"next_hop": GATEWAY},
        {"source": ip_address("172.16.0.5")},
        {"mtu": 1400},
        {"kind": "throw"},
        {"nexthop_id": 231_000_001},
    ],
)
def test_no_other_route_is_one_for_what_is_relayed(changes: dict[str, object]) -> None:
    spoilt = replace(RELAYED.routes[0], **changes)  # type: ignore[arg-type]  # one field of several types
    with pytest.raises(UsageError, match="what is relayed for user 1000"):
        admission.check_relay(replace(RELAYED, routes=(*RELAYED.routes, spoilt)), 1000, no_kind, no_ways)


def test_a_uid_that_shares_its_table_with_another_ones_relays_nothing() -> None:
    uid = (1 << 31) | 1000
    with pytest.raises(UsageError, match="what is relayed"):
        admission.check_relay(RELAYED, uid, no_kind, no_ways)


def test_only_a_plan_that_is_relayed_has_routes_in_such_a_table() -> None:
    for relay in (None, Relaying(draining=True)):
        with pytest.raises(UsageError, match="only metric"):
            admission.check_form(replace(RELAYED, relay=relay))


def test_what_is_relayed_is_trusted_like_any_route() -> None:
    admission.check_trust(RELAYED, RECORD, TrustPolicy.RECORDS)
    with pytest.raises(NotTrustedError, match=r"10\.20\.0\.0/16"):
        admission.check_trust(RELAYED, replace(RECORD, prefixes=()), TrustPolicy.RECORDS)


@pytest.mark.parametrize(("bridge", "kind"), [("eth0", ""), ("wlan0", "vlan"), ('br0" accept #', "bridge")])
def test_containers_are_let_in_by_bridges_alone(bridge: str, kind: str) -> None:
    let_in = replace(RELAYED, relay=Relaying(containers=(bridge,)))
    with pytest.raises(UsageError, match="is no bridge"):
        admission.check_relay(let_in, 1000, lambda _: kind, no_ways)
    docker = replace(RELAYED, relay=Relaying(containers=("docker0",)))
    admission.check_relay(docker, 1000, lambda _: "bridge", no_ways)
    with pytest.raises(UsageError, match="leads off this machine by eth0"):
        admission.check_relay(docker, 1000, lambda _: "bridge", lambda _: ("eth0",))
    many = tuple(f"br{number}" for number in range(admission.MAX_BRIDGES + 1))
    admission.check_relay(replace(RELAYED, relay=Relaying(containers=many[1:])), 1000, lambda _: "bridge", no_ways)
    with pytest.raises(UsageError, match="bridges"):
        admission.check_relay(replace(RELAYED, relay=Relaying(containers=many)), 1000, lambda _: "bridge", no_ways)


def test_what_a_user_has_relayed_is_in_no_other_users_way_but_for_names_and_containers() -> None:
    theirs = replace(RELAYED, session="theirs", zones=())
    admission.check_others(RELAYED, 1000, [(theirs, 1001)])
    routed = replace(PLAN, session="routed", zones=())
    admission.check_others(RELAYED, 1000, [(routed, 1001)])
    admission.check_others(routed, 1001, [(RELAYED, 1000)])
    with pytest.raises(ConflictError, match=r"cluster\.local"):
        admission.check_others(RELAYED, 1000, [(replace(theirs, zones=RELAYED.zones), 1001)])
    doors = Relaying(containers=("docker0",))
    with pytest.raises(ConflictError, match="containers on docker0"):
        admission.check_others(replace(RELAYED, relay=doors), 1000, [(replace(theirs, relay=doors), 1001)])
    gone_home = replace(theirs, routes=(), relay=replace(doors, draining=True))
    admission.check_others(replace(RELAYED, relay=doors), 1000, [(gone_home, 1001)])


@pytest.mark.parametrize("narrow", ["10.20.0.0/16", "10.20.7.0/24"])
def test_what_is_relayed_wins_over_what_its_own_user_has_routed_inside_so_that_is_a_conflict(narrow: str) -> None:
    routed = replace(PLAN, session="routed", routes=(replace(ROUTE, destination=ip_network(narrow)),), zones=())
    for one, other in ((RELAYED, routed), (routed, RELAYED)):
        with pytest.raises(ConflictError, match=narrow):
            admission.check_others(one, 1000, [(other, 1000)])


def test_a_vpns_rule_that_is_asked_before_ours_is_a_conflict_and_one_after_it_is_none() -> None:
    early, late = (
        ObservedNetwork(
            routes=(ObservedRoute(destination=ip_network("10.0.0.0/8"), oif="wg0", table=77, protocol=4),),
            rules=(
                Rule(version=4, priority=priority, table=77),
                Rule(version=4, priority=32766, table=MAIN_TABLE),
            ),
        )
        for priority in (5199, 5210)
    )
    with pytest.raises(ConflictError, match=r"10\.20\.0\.0/16 is routed already"):
        admission.check_foreign(RELAYED.routes, early, uid=1000)
    admission.check_foreign(RELAYED.routes, late, uid=1000)
