"""What the kernel has of a session's routes, and who takes packets from them."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from devlink.core.findings import Severity
from devlink.core.network import (
    OVERRIDE_PREFERENCE,
    OVERRIDE_TABLE,
    PROTOCOL,
    Link,
    ObservedNetwork,
    ObservedRoute,
    Path,
    Route,
    Rule,
)
from devlink.core.plan import Desired, Detour
from devlink.core.prefixes import IPAddress
from devlink.core.relay_routes import LINK
from devlink.doctor.path.routes import (
    down_links,
    links_of,
    missing_routes,
    missing_rules,
    obstacles,
    off_link,
    protected,
    routed_away,
    rules_gone,
    takers,
)
from tests.core.plans import ETH0, GATEWAY, ROUTED, seen, theirs
from tests.doctor.subjects import OBSERVED, PLAN

UID = 1000
DESIRED = PLAN.desired
DEFAULT = theirs("0.0.0.0/0", next_hop=ip_address("172.16.0.1"))
INTO_CLUSTER = Path(oif="eth0", next_hop=GATEWAY)


def installed(desired: Desired) -> tuple[ObservedRoute, ...]:
    return tuple(
        ObservedRoute(
            destination=r.destination, next_hop=r.next_hop, oif=r.oif, metric=r.metric, table=r.table, kind=r.kind,
            protocol=PROTOCOL,
        )
        for r in desired.routes
    )  # fmt: skip


def test_a_link_is_down_without_carrier_and_where_it_is_not_there() -> None:
    assert down_links(DESIRED, OBSERVED) == ()
    for links in ((replace(ETH0, up=False),), ()):
        (finding,) = down_links(DESIRED, replace(OBSERVED, links=links))
        assert (finding.code, finding.severity) == ("DL-LINK-DOWN", Severity.ERROR)
        assert "eth0" in finding.title
    relayed = replace(DESIRED, routes=(Route(destination=ip_network("10.20.0.0/16"), oif=LINK),), detours=())
    assert down_links(relayed, OBSERVED) == (), "our own, which nobody can plug in"


def test_the_links_are_those_that_packets_leave_by_now() -> None:
    assert links_of(DESIRED) == ("eth0",)
    hop = DESIRED.next_hops[0]
    moved = replace(DESIRED, detours=(Detour(next_hop=hop, via=ip_address("172.16.9.1"), oif="eth1"),))
    assert "eth1" in links_of(moved)


def test_gateways_that_are_behind_a_router_now_are_on_no_link() -> None:
    assert off_link(DESIRED, OBSERVED) == ()
    elsewhere = Link(index=2, name="eth0", mtu=1500, up=True, addresses=((ip_address("192.0.2.7"), 24),))
    away = replace(OBSERVED, links=(elsewhere,), paths=dict.fromkeys(DESIRED.next_hops, ROUTED))
    (finding,) = off_link(DESIRED, away)
    assert finding.code == "DL-R1-OFFLINK"
    assert str(GATEWAY) in finding.evidence
    there = ip_address("192.0.2.9")
    detours = tuple(Detour(next_hop=hop, via=there, oif="eth0") for hop in DESIRED.next_hops)
    by_another = replace(away, paths={**away.paths, there: Path(oif="eth0")})
    assert off_link(replace(DESIRED, detours=detours), by_another) == (), "another one carries what was theirs"


def test_a_route_is_missing_by_destination_metric_and_table_whatever_carries_it() -> None:
    there = installed(DESIRED)
    assert missing_routes(DESIRED, ObservedNetwork(routes=there)) == ()
    detoured = tuple(replace(r, next_hop=ip_address("172.16.0.99")) for r in there)
    assert missing_routes(DESIRED, ObservedNetwork(routes=detoured)) == ()
    assert missing_routes(DESIRED, ObservedNetwork(routes=there[1:])) == DESIRED.routes[:1]
    foreign = (replace(there[0], protocol=16), *there[1:])
    assert missing_routes(DESIRED, ObservedNetwork(routes=foreign)) == DESIRED.routes[:1]


def test_the_table_that_wins_needs_a_rule_for_each_ip_version_that_it_has_routes_of() -> None:
    winning = replace(DESIRED, routes=tuple(replace(r, table=OVERRIDE_TABLE) for r in DESIRED.routes))
    rules = tuple(
        Rule(version=v, priority=OVERRIDE_PREFERENCE, table=OVERRIDE_TABLE, protocol=PROTOCOL) for v in (4, 6)
    )
    assert missing_rules(DESIRED, ObservedNetwork()) == ()
    assert missing_rules(winning, ObservedNetwork(rules=rules)) == ()
    assert rules_gone(winning, ObservedNetwork(rules=rules)) == ()
    (finding,) = rules_gone(winning, ObservedNetwork(rules=rules[:1]))
    assert finding.code == "DL-ROUTES-GONE"
    assert "IPv6" in finding.evidence
    others = tuple(replace(rule, protocol=0) for rule in rules)
    assert missing_rules(winning, ObservedNetwork(rules=others)) == (4, 6)


def test_takers_are_told_apart_by_how_they_take() -> None:
    first = DESIRED.routes[0].destination
    inner = next(iter(first.subnets(prefixlen_diff=4)))
    same, inside = theirs(str(first), oif="tun0"), theirs(str(inner), oif="tun1")
    wide = theirs(str(first), oif="tun2", table=77)
    rules = (Rule(version=first.version, priority=100, table=77),)
    found = takers(DESIRED.routes, ObservedNetwork(routes=(same, inside, wide, DEFAULT), rules=rules), UID)
    assert found.of("DL-ROUTE-TAKEN") == (same,)
    assert found.of("DL-ROUTE-KEPT") == (inside,)
    assert wide in found.of("DL-POLICY-WINS")
    assert found.of("DL-ROUTE-MISSING") == ()


def test_what_has_our_place_already_would_have_up_refused() -> None:
    assert obstacles(()) == ()
    (finding,) = obstacles([theirs("10.20.0.0/16")])
    assert (finding.code, finding.severity) == ("DL-ROUTE-TAKEN", Severity.ERROR)
    assert "--exclude 10.20.0.0/16" in finding.fix


NEAR = DESIRED.routes[0].destination.network_address + 53


def away(path: Path, *routes: ObservedRoute, address: IPAddress = NEAR) -> list[str]:
    observed = ObservedNetwork(routes=(*installed(DESIRED), DEFAULT, *routes), paths={address: path})
    return [f.code for f in routed_away(DESIRED, {address: "a server"}, observed, UID)]


def test_an_address_is_routed_away_where_our_route_takes_it_and_theirs_lead_elsewhere() -> None:
    by_ours = Path(oif="eth0", next_hop=DESIRED.routes[0].next_hop)
    assert away(by_ours) == ["DL-ROUTED-AWAY"]
    assert away(Path(oif="eth0", next_hop=ip_address("172.16.0.1"))) == [], "its pin holds"
    alone = ObservedNetwork(routes=installed(DESIRED), paths={NEAR: by_ours})
    assert routed_away(DESIRED, {NEAR: "a server"}, alone, UID) == (), "there would be no way without us either"
    assert away(Path()) == [], "there is no way at all: offline"
    host = theirs(f"{NEAR}/32", next_hop=DESIRED.routes[0].next_hop)
    assert away(by_ours, host) == [], "another program wants it there"
    assert away(by_ours, address=ip_address("192.0.2.1")) == [], "no route of ours is for it"


def test_what_keeps_its_way_is_named_by_what_it_is() -> None:
    observed = replace(seen(GATEWAY), routes=(DEFAULT,))
    kept = protected(replace(DESIRED, pins=(ip_address("10.20.0.7"),)), [ip_address("10.20.0.53")], observed)
    assert kept[ip_address("172.16.0.1")] == "the default gateway"
    assert "ordinary names" in kept[ip_address("10.20.0.53")]
    assert "API server" in kept[ip_address("10.20.0.7")]
    assert set(DESIRED.next_hops) <= set(kept)
