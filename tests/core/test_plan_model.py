"""Plans against a model of the kernel: any profile on any laptop, with any routes and rules of others."""

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path as FilePath

from hypothesis import assume, event, given
from hypothesis import strategies as st

from devlink.core.network import (
    MAIN_TABLE,
    METRIC,
    OVERRIDE_TABLE,
    Link,
    ObservedNetwork,
    ObservedRoute,
    Path,
    Rule,
)
from devlink.core.overlaps import conflicts
from devlink.core.overrides import ALL
from devlink.core.plan import Plan, addresses_of_interest, make_plan, protect
from devlink.core.policy_routing import rivals_of
from devlink.core.prefixes import IPAddress, IPNetwork, is_within
from devlink.core.profile import BridgeProfile, Node, RoutingMode
from devlink.core.profile_document import decode_profile
from tests.core.model_kernel import USUAL, Kernel, difference, ours_of
from tests.core.profiles import profiles

FOLDER = FilePath(__file__).parents[2] / "profiles"
FIVE = [decode_profile(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))]
OFFICE = FIVE[0]


def both(*rules: Rule) -> tuple[Rule, ...]:
    """For either family."""
    return tuple(replace(rule, version=version) for rule in rules for version in (4, 6))


TAILSCALE = both(
    Rule(version=4, priority=5210, mark=0x80000, mask=0xFF0000, table=MAIN_TABLE),
    Rule(version=4, priority=5250, mark=0x80000, mask=0xFF0000, action="unreachable"),
    Rule(version=4, priority=5270, table=52),
)
WIREGUARD = both(
    Rule(version=4, priority=32764, table=MAIN_TABLE, suppress_prefix_length=0),
    Rule(version=4, priority=32765, inverted=True, mark=0xCA6C, table=51820),
)
JUMPING = (
    Rule(version=4, priority=100, action="goto", table=200, destination=ip_network("10.0.0.0/8")),
    Rule(version=4, priority=150, table=52),
    Rule(version=4, priority=200, table=100, destination=ip_network("10.20.0.0/16")),
)
SETS: tuple[tuple[Rule, ...], ...] = ((), TAILSCALE, WIREGUARD, JUMPING, (*TAILSCALE, *WIREGUARD))


def around(prefix: IPNetwork) -> list[IPNetwork]:
    """The prefix itself, wider ones, parts, and single hosts of it."""
    wider: list[IPNetwork] = [prefix.supernet(new_prefix=n) for n in (0, 1, 8) if n < prefix.prefixlen]
    parts = [part for n in (1, 2, 8) if prefix.prefixlen + n < prefix.max_prefixlen for part in few(prefix, n)]
    return [*wider, prefix, *parts, *(ipaddress.ip_network(prefix.network_address + n) for n in (1, 9))]


def few(prefix: IPNetwork, longer: int) -> list[IPNetwork]:
    """Its first two parts of that many bits more."""
    parts: Iterator[IPNetwork] = iter(prefix.subnets(prefixlen_diff=longer))
    return [next(parts), next(parts)]


def some_profile() -> st.SearchStrategy[BridgeProfile]:
    """Any, and the five networks' own; without relay, which none of them asks for."""
    return st.sampled_from(FIVE) | profiles().filter(lambda profile: profile.spec.routing is not RoutingMode.RELAY)


@st.composite
def laptops(draw: st.DrawFn, profile: BridgeProfile) -> ObservedNetwork:
    """Any laptop: what is on-link, others' routes in and around the profile's prefixes, and the rules of a VPN."""
    way = st.sampled_from([*[Path(oif="eth0")] * 4, Path(oif="wlan0"), Path(oif="eth0", next_hop=ROUTER)])
    paths = {address: draw(way) for address in addresses_of_interest(profile)}
    places = [place for prefix in profile.spec.prefixes for place in around(prefix)]
    places += [block for node in profile.spec.nodes or () for block in node.pods][:4]
    foreign = draw(
        st.lists(
            st.builds(
                ObservedRoute,
                destination=st.sampled_from(places or [ip_network("0.0.0.0/0")]),
                oif=st.sampled_from(["eth0", "tun0", "docker0"]),
                next_hop=st.none(),
                metric=st.sampled_from([0, 20, METRIC, 100, 600]),
                table=st.sampled_from([*[MAIN_TABLE] * 4, 52, 51820, 100, OVERRIDE_TABLE]),
                protocol=st.sampled_from([2, 3, 4, 16]),
                kind=st.sampled_from(["unicast"] * 5 + ["blackhole", "throw"]),
            ),
            max_size=6,
            unique_by=lambda route: (route.destination, route.metric, route.table),
        )
    )
    extra = draw(st.sampled_from(SETS))
    rules = tuple(sorted((*USUAL, *extra), key=lambda rule: rule.priority)) if extra else ()
    return ObservedNetwork(paths=paths, routes=tuple(foreign), rules=rules, links=draw(links(profile, paths)))


@st.composite
def links(draw: st.DrawFn, profile: BridgeProfile, paths: dict[IPAddress, Path]) -> tuple[Link, ...]:
    """The links with a network for each address that is on them; eth0 with an MTU around the profile's, and addresses
    beside the next hops."""
    hops = [hop for hop in addresses_of_interest(profile) if hop.version == 6]
    subnets: list[tuple[IPAddress, int]] = [(hop + 100, length) for hop in hops[:2] for length in (64, 112)]
    subnets += [(ip_address("2001:db8:7::100"), 64), (ip_address("fe80::100"), 64)]
    held: dict[str, list[tuple[IPAddress, int]]] = {
        "eth0": draw(st.lists(st.sampled_from(subnets), max_size=3, unique=True)),
        "wlan0": [],
    }
    for address, path in paths.items():
        if path.is_on_link and path.oif is not None:
            held[path.oif].append((address, address.max_prefixlen - 1))
    mtu = {"eth0": draw(st.sampled_from([1280, 1480, 1500])), "wlan0": 1500}
    return tuple(
        Link(index=n, name=name, mtu=mtu[name], up=True, addresses=tuple(a)) for n, (name, a) in enumerate(held.items())
    )


ROUTER = ip_address("192.168.7.1")


@st.composite
def choices(draw: st.DrawFn, profile: BridgeProfile) -> tuple[tuple[IPNetwork, ...], tuple[IPNetwork, ...]]:
    """What is excluded and what is overridden."""
    places = [place for prefix in profile.spec.prefixes for place in around(prefix) if place.prefixlen]
    some = st.lists(st.sampled_from(places), max_size=2, unique=True).map(tuple) if places else st.just(())
    return draw(st.just(()) | some), draw(st.just(()) | some | st.just(ALL))


def samples(plan: Plan, observed: ObservedNetwork) -> list[IPAddress]:
    """An address or two of each prefix that anybody routes, but the default routes'."""
    everywhere = [r.destination for r in plan.desired.routes] + [r.destination for r in observed.routes]
    prefixes = [prefix for prefix in everywhere if prefix.prefixlen]
    return list(dict.fromkeys(a for p in prefixes for a in (p[p.num_addresses // 2], p[0], p[-1])))


def is_kept(theirs: ObservedRoute, plan: Plan, override: tuple[IPNetwork, ...]) -> bool:
    """Whether a route that decides without us shall decide with us too, for addresses that no narrower one has."""
    inside = [r for r in plan.desired.routes if r.kind == "unicast" and is_within(theirs.destination, r.destination)]
    if any(r.table == OVERRIDE_TABLE for r in inside):
        is_single = theirs.destination.prefixlen == theirs.destination.max_prefixlen
        return (theirs.protocol == 2 or is_single) and theirs.destination not in override
    return not any(r.destination == theirs.destination for r in inside)


@given(data=st.data(), profile=some_profile())
def test_what_a_plan_promises_holds_in_the_kernel(data: st.DataObject, profile: BridgeProfile) -> None:
    observed = data.draw(laptops(profile))
    exclude, override = data.draw(choices(profile))
    before = Kernel(observed)
    plan = make_plan(profile, observed, with_dns=not exclude, exclude=exclude, override=override)
    assert all(route.kind == "throw" or not any(overlapping(route.destination, e) for e in exclude)
               for route in plan.desired.routes)  # fmt: skip
    lost = rivals_of(plan.desired.routes, observed)
    if conflicts(plan.desired.routes, observed) or any(rival.is_whole for rival in lost):
        event("refused")
        return
    event(f"{plan.mode.value}{' with overrides' if override else ''}{' with rules' if observed.rules else ''}")
    upstreams = [a for a in samples(plan, observed) if data.draw(st.booleans())][:4]
    made = protect(plan.desired, upstreams, observed)
    wanted = tuple({route.key: route for route in (*made, *plan.desired.routes)}.values())

    kernel = Kernel(observed)
    kernel.install(difference(wanted, ours_of(kernel.seen)))

    # Ours are the desired ones, the others' are as they were, and there is nothing left to do.
    assert set(ours_of(kernel.seen)) == set(wanted)
    assert kernel.seen.foreign == before.seen.foreign
    assert not difference(wanted, ours_of(kernel.seen))
    again = make_plan(profile, kernel.seen, with_dns=not exclude, exclude=exclude, override=override)
    assert (again.desired, again.findings) == (plan.desired, plan.findings)
    assert again.alternatives == plan.alternatives, "ours lead nobody away who may carry"
    assert protect(again.desired, upstreams, kernel.seen) == made

    pinned = {route.destination.network_address for route in made}
    for address in samples(plan, observed):
        former, present = before.way(address), kernel.way(address)
        mine = [r for r in plan.desired.routes if r.kind == "unicast" and address in r.destination]
        if address in upstreams or not mine:
            meant = any(r.destination.prefixlen == r.destination.max_prefixlen for r in mine)
            if former is not None and not meant:
                assert present is not None
                assert (present.oif, present.next_hop) == (former.oif, former.next_hop), address
        elif former is not None and is_narrowest(former, plan, address) and is_kept(former, plan, override):
            assert present == former, address
        elif (
            address not in pinned
            and not is_left_to_others(observed, plan, address)
            and not any(address in rival.prefix for rival in lost)
        ):  # nobody else has a narrower route, and no rival was found
            assert present is not None, address
            assert present.is_ours, address


def overlapping(a: IPNetwork, b: IPNetwork) -> bool:
    return is_within(a, b) or is_within(b, a)


def is_narrowest(theirs: ObservedRoute, plan: Plan, address: IPAddress) -> bool:
    """Whether no route of ours for the address is narrower than theirs."""
    return (
        all(
            r.destination.prefixlen <= theirs.destination.prefixlen
            for r in plan.desired.routes
            if r.kind == "unicast" and address in r.destination
        )
        and theirs.table == MAIN_TABLE
    )


def is_left_to_others(observed: ObservedNetwork, plan: Plan, address: IPAddress) -> bool:
    """Whether others have a narrower route for the address than ours, or one that is kept though it is overridden."""
    inside = [r for r in plan.desired.routes if address in r.destination]
    if any(r.kind == "throw" for r in inside):
        return True
    longest = max(r.destination.prefixlen for r in inside)
    return not any(r.table == OVERRIDE_TABLE for r in inside) and any(
        r.table == MAIN_TABLE and r.destination.prefixlen > longest and address in r.destination
        for r in observed.routes
    )


@given(data=st.data(), profile=some_profile())
def test_what_is_told_to_win_over_all_of_a_prefix_does(data: st.DataObject, profile: BridgeProfile) -> None:
    observed = data.draw(laptops(profile))
    plan = make_plan(profile, observed)
    assume(not conflicts(plan.desired.routes, observed))
    kernel = Kernel(observed)
    kernel.install(difference(plan.desired.routes, ()))
    for rival in rivals_of(plan.desired.routes, observed):
        addresses = [rival.prefix[0], rival.prefix[-1], rival.prefix[rival.prefix.num_addresses // 2]]
        ways = [kernel.way(address) for address in addresses]
        if rival.is_whole:
            assert not any(way is not None and way.is_ours for way in ways)
        elif rival.route is not None and rival.rule.destination is None:
            address = rival.route.destination[0] if rival.route.destination[0] in rival.prefix else None
            way = kernel.way(address) if address is not None else None
            narrower = address is not None and any(
                address in r.destination and r.destination.prefixlen > rival.route.destination.prefixlen
                for r in observed.routes
            )
            assert address is None or narrower or way is None or not way.is_ours


@st.composite
def editions(draw: st.DrawFn) -> tuple[BridgeProfile, BridgeProfile]:
    """Two editions of a cluster: nodes come and go, and blocks go from one node to another."""
    blocks = list(ipaddress.IPv4Network("10.20.0.0/16").subnets(new_prefix=26))[:12]
    hosts = [ip_address(f"172.16.0.{number}") for number in (13, 16, 17, 19)]

    def edition() -> BridgeProfile:
        owners = {block: draw(st.sampled_from([None, *hosts])) for block in blocks}
        nodes = tuple(
            Node(address=host, pods=tuple(block for block, owner in owners.items() if owner == host))
            for host in hosts
            if host in owners.values()
        )
        return replace(OFFICE, spec=replace(OFFICE.spec, nodes=nodes or None, mtu=draw(st.sampled_from([None, 1480]))))

    return edition(), edition()


@given(pair=editions(), override=st.sampled_from([(), ALL]), has_gateways=st.booleans())
def test_from_one_edition_to_the_next_no_address_is_ever_without_the_route_that_it_had_and_will_have(
    pair: tuple[BridgeProfile, BridgeProfile], override: tuple[IPNetwork, ...], has_gateways: bool
) -> None:
    old, new = (
        profile if has_gateways else replace(profile, spec=replace(profile.spec, gateways=None)) for profile in pair
    )
    hops = (*addresses_of_interest(old), *addresses_of_interest(new))
    observed = ObservedNetwork(paths=dict.fromkeys(hops, Path(oif="eth0")))
    first, second = (make_plan(profile, observed, override=override) for profile in (old, new))
    kernel = Kernel(observed)
    kernel.install(difference(first.desired.routes, ()))
    diff = difference(second.desired.routes, ours_of(kernel.seen))
    keys = [{route.key for route in routes} for routes in (diff.add, diff.replace, diff.delete)]
    assert sum(map(len, keys)) == len(set().union(*keys)), "no place is left and taken again"

    addresses = [block[5] for block in ipaddress.IPv4Network("10.20.0.0/22").subnets(new_prefix=26)]
    before = {address: kernel.way(address) for address in addresses}
    during: dict[IPAddress, set[IPAddress | None]] = {address: set() for address in addresses}
    for _ in kernel.change(diff):
        for address in addresses:
            way = kernel.way(address)
            during[address].add(way.next_hop if way is not None else None)
    assert set(ours_of(kernel.seen)) == set(second.desired.routes)
    for address in addresses:
        former, present = before[address], kernel.way(address)
        if former is not None and present is not None:
            assert None not in during[address], address
            if former.next_hop == present.next_hop:
                assert during[address] <= {former.next_hop}, "what stays is led nowhere else meanwhile"


def test_a_block_that_goes_from_one_node_to_another_is_one_replaced_route() -> None:
    a, b = ip_address("172.16.0.17"), ip_address("172.16.0.19")
    block, other = ip_network("10.20.9.0/26"), ip_network("10.20.200.0/26")
    third = ip_network("10.20.100.0/26")

    def edition(of_a: tuple[IPNetwork, ...], of_b: tuple[IPNetwork, ...]) -> BridgeProfile:
        return replace(
            OFFICE, spec=replace(OFFICE.spec, nodes=(Node(address=a, pods=of_a), Node(address=b, pods=of_b)))
        )

    old, new = edition((block, other), (third,)), edition((other,), (third, block))
    observed = ObservedNetwork(paths=dict.fromkeys(addresses_of_interest(old), Path(oif="eth0")))
    first, second = (make_plan(profile, observed).desired.routes for profile in (old, new))
    diff = difference(second, first)
    assert [(str(r.destination), r.next_hop) for r in diff.replace] == [("10.20.9.0/26", b)]
    assert not diff.add
    assert not diff.delete
