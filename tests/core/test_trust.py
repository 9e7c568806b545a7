"""Trust records: a claim, the record made of it, what a record does not cover, and what none can allow."""

from dataclasses import fields, replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.codec import decode, encode
from devlink.core.names import DomainName, reverse_zones
from devlink.core.network import PROTOCOL, Link, ObservedNetwork, ObservedRoute, Path
from devlink.core.plan import Upstream, Zone, addresses_of_interest, make_plan
from devlink.core.prefixes import IPNetwork, covered
from devlink.core.profile import BridgeProfile, RoutingMode
from devlink.core.profile_document import decode_profile
from devlink.core.trust import (
    Claim,
    TrustRecord,
    claim_of_plan,
    claim_of_profile,
    forbidden,
    record_of,
    remarks,
    uncovered,
)
from tests.core.profiles import SAMPLE, profiles

LAN = ObservedRoute(destination=ip_network("172.16.0.0/24"), oif="eth0", protocol=2)
LAN6 = ObservedRoute(destination=ip_network("fd00:16::/64"), oif="eth0", protocol=2)
DEFAULT = ObservedRoute(destination=ip_network("0.0.0.0/0"), next_hop=ip_address("172.16.0.1"), oif="eth0", protocol=16)
HOME = ObservedNetwork(routes=(DEFAULT, LAN, LAN6))


def name(text: str) -> DomainName:
    return DomainName.parse(text)


def claim_of(profile: BridgeProfile, observed: ObservedNetwork) -> Claim:
    """What the plan for a profile claims, all of its next hops being on the link."""
    paths = dict.fromkeys(addresses_of_interest(profile), Path(oif="eth0"))
    plan = make_plan(profile, replace(observed, paths=paths)).desired
    hops = [r.next_hop for r in plan.routes if r.next_hop is not None]
    return claim_of_plan(plan.session, [r.destination for r in plan.routes], hops, plan.zones, plan.ca)


@given(profile=profiles(), observed=st.sampled_from([HOME, ObservedNetwork()]))
def test_the_record_of_a_profile_covers_every_plan_that_is_made_of_it(
    profile: BridgeProfile, observed: ObservedNetwork
) -> None:
    record = record_of(claim_of_profile(profile), observed)
    assert uncovered(record, claim_of_profile(profile)) == ()
    if profile.spec.routing is not RoutingMode.RELAY:
        assert uncovered(record, claim_of(profile, observed)) == ()


@given(profile=profiles())
def test_a_record_survives_its_file(profile: BridgeProfile) -> None:
    record = record_of(claim_of_profile(profile), HOME)
    assert decode(TrustRecord, encode(record)) == record


CLAIM = claim_of_profile(decode_profile(SAMPLE))
RECORD = record_of(CLAIM, HOME)


def test_a_record_remembers_what_a_person_was_shown() -> None:
    assert (
        TrustRecord(
            name="qa",
            prefixes=(
                ip_network("10.20.0.0/16"),
                ip_network("10.254.0.0/16"),
                ip_network("fd00:20::/48"),
                ip_network("fd00:254::/112"),
            ),
            domains=(name("cluster.local"),),
            next_hops=(ip_network("172.16.0.0/24"), ip_network("fd00:16::/64")),
            dns_servers=(),  # they lie within the prefixes
            ca="",
        )
        == RECORD
    )


def test_next_hops_are_remembered_by_the_narrowest_link_that_holds_them_else_one_by_one() -> None:
    narrow = ObservedRoute(destination=ip_network("172.16.0.0/28"), oif="eth1", protocol=2)
    ours = ObservedRoute(destination=ip_network("172.16.0.13/32"), oif="eth0", protocol=PROTOCOL)
    behind = ObservedRoute(
        destination=ip_network("172.16.0.12/30"), next_hop=ip_address("172.16.0.2"), oif="eth0", protocol=4
    )
    anywhere = ObservedRoute(destination=ip_network("0.0.0.0/0"), oif="ppp0", protocol=4)
    hole = ObservedRoute(destination=ip_network("172.16.0.13/32"), oif=None, protocol=4, kind="blackhole")
    claim = Claim(name="qa", next_hops=(ip_address("172.16.0.13"), ip_address("192.0.2.7")))
    observed = ObservedNetwork(routes=(LAN, narrow, ours, behind, anywhere, hole))
    assert record_of(claim, observed).next_hops == (ip_network("172.16.0.0/28"), ip_network("192.0.2.7/32"))


def on_link(hop: str, *routes: ObservedRoute, links: tuple[Link, ...] = ()) -> str:
    """What a record remembers of one next hop."""
    claim = Claim(name="qa", next_hops=(ip_address(hop),))
    (prefix,) = record_of(claim, ObservedNetwork(routes=routes, links=links)).next_hops
    return str(prefix)


ETH0 = Link(index=2, name="eth0", mtu=1500, up=True, addresses=((ip_address("10.7.0.5"), 24),))


@pytest.mark.parametrize("protocol", [3, 4, 16])
def test_what_a_vpn_routes_into_its_link_is_not_the_next_hops_network(protocol: int) -> None:
    vpn = ObservedRoute(destination=ip_network("10.0.0.0/8"), oif="wg0", protocol=protocol)
    wg0 = Link(index=7, name="wg0", mtu=1420, up=True, addresses=((ip_address("10.99.0.2"), 32),))
    assert on_link("10.7.0.13", vpn, links=(wg0,)) == "10.7.0.13/32"
    assert on_link("10.7.0.13", vpn, links=(wg0, ETH0)) == "10.7.0.0/24"


def test_the_network_of_the_links_own_address_comes_before_a_connected_route() -> None:
    wide = ObservedRoute(destination=ip_network("10.0.0.0/8"), oif="eth1", protocol=2)
    narrow = ObservedRoute(destination=ip_network("10.7.0.0/28"), oif="eth1", protocol=2)
    assert on_link("10.7.0.13", wide, narrow, links=(ETH0,)) == "10.7.0.0/24"
    assert on_link("10.7.0.13", wide, links=(replace(ETH0, up=False),)) == "10.0.0.0/8"


def test_a_connected_route_counts_only_in_the_main_table_and_advertised_ones_do_too() -> None:
    assert on_link("172.16.0.13", replace(LAN, table=100)) == "172.16.0.13/32"
    assert on_link("fd00:16::13", replace(LAN6, protocol=9)) == "fd00:16::/64"


def test_dns_servers_outside_the_prefixes_are_remembered_one_by_one() -> None:
    claim = replace(CLAIM, dns_servers=(ip_address("10.254.0.2"), ip_address("192.0.2.53")))
    assert record_of(claim, HOME).dns_servers == (ip_network("192.0.2.53/32"),)


@pytest.mark.parametrize(
    ("grown", "wants"),
    [
        ({"name": "other"}, "the name other"),
        ({"prefixes": (ip_network("10.20.0.0/15"),)}, "prefix 10.20.0.0/15"),
        ({"prefixes": (*CLAIM.prefixes, ip_network("10.99.0.0/24"))}, "prefix 10.99.0.0/24"),
        ({"prefixes": (ip_network("fd00:20::/47"),)}, "prefix fd00:20::/47"),
        ({"domains": (name("corp.example"),)}, "domain corp.example"),
        ({"domains": (name("local"),)}, "domain local"),
        ({"domains": (name("evilcluster.local"),)}, "domain evilcluster.local"),
        ({"next_hops": (ip_address("172.16.1.13"),)}, "next hop 172.16.1.13"),
        ({"dns_servers": (ip_address("10.255.0.2"),)}, "DNS server 10.255.0.2"),
        ({"search": ("dev",)}, "names like NAME.dev"),
        ({"ca": "0" * 64}, "another cluster CA"),
    ],
)
def test_whatever_grew_is_named_and_nothing_else(grown: dict[str, object], wants: str) -> None:
    assert uncovered(RECORD, replace(CLAIM, **grown)) == (wants,)  # type: ignore[arg-type]  # one field of five types


@pytest.mark.parametrize(
    "smaller",
    [
        {"prefixes": (ip_network("10.20.73.64/26"),)},
        {"prefixes": ()},
        {"domains": (name("svc.cluster.local"),)},
        {"domains": ()},
        {"next_hops": (ip_address("172.16.0.200"),)},
        {"dns_servers": (ip_address("10.20.7.53"),)},
    ],
)
def test_new_nodes_blocks_and_servers_inside_the_record_need_nothing(smaller: dict[str, object]) -> None:
    assert uncovered(RECORD, replace(CLAIM, **smaller)) == ()  # type: ignore[arg-type]  # see above


def test_names_of_two_labels_are_trusted_namespace_by_namespace_and_remarked() -> None:
    record = replace(RECORD, search=("default", "qa"))
    assert uncovered(record, replace(CLAIM, search=("qa",))) == ()
    assert uncovered(record, replace(CLAIM, search=("qa", "dev"))) == ("names like NAME.dev",)
    assert any(note.startswith("NAME.dev will go to the cluster") for note in remarks(replace(CLAIM, search=("dev",))))


@pytest.mark.parametrize("namespace", ["com", "local", "arpa"])
def test_no_record_can_allow_the_names_of_a_top_level_domain_that_others_live_in(namespace: str) -> None:
    (refused,) = forbidden(Claim(name="qa", search=("default", namespace)))
    assert refused.startswith(f"names like NAME.{namespace} (")


def test_dropping_the_ca_that_was_trusted_is_a_larger_claim_too() -> None:
    record = replace(RECORD, ca="1" * 64)
    assert uncovered(record, replace(CLAIM, ca="")) == ("another cluster CA",)


def test_no_field_of_a_claim_goes_unchecked() -> None:
    nothing = TrustRecord(name="nobody")
    claim = replace(CLAIM, ca="1" * 64, dns_servers=(ip_address("192.0.2.53"),), search=("default",))
    words = " ".join(uncovered(nothing, claim))
    shown = {
        "name": "the name qa",
        "prefixes": "prefix 10.20.0.0/16",
        "domains": "domain cluster.local",
        "next_hops": "next hop 172.16.0.13",
        "dns_servers": "DNS server 192.0.2.53",
        "search": "names like NAME.default",
        "ca": "another cluster CA",
    }
    assert set(shown) == {field.name for field in fields(Claim)}
    assert all(text in words for text in shown.values())


prefixes = st.builds(
    lambda address, length: ip_network((address, length), strict=False),
    st.ip_addresses(v=4).map(str),
    st.integers(0, 32),
) | st.builds(
    lambda address, length: ip_network((address, length), strict=False),
    st.ip_addresses(v=6).map(str),
    st.integers(0, 128),
)


@given(trusted=st.lists(prefixes, max_size=4), claimed=prefixes)
def test_a_prefix_is_covered_exactly_where_each_of_its_addresses_is_trusted(
    trusted: list[IPNetwork], claimed: IPNetwork
) -> None:
    wants = uncovered(TrustRecord(name="qa", prefixes=tuple(trusted)), Claim(name="qa", prefixes=(claimed,)))
    assert bool(wants) is not covered(claimed, trusted)
    ends = (claimed.network_address, claimed.broadcast_address)
    if not wants:
        assert all(any(end in prefix for prefix in trusted) for end in ends)


def test_halves_of_a_trusted_prefix_count_together() -> None:
    record = TrustRecord(name="qa", prefixes=(ip_network("10.20.0.0/17"), ip_network("10.20.128.0/17")))
    assert uncovered(record, Claim(name="qa", prefixes=(ip_network("10.20.0.0/16"),))) == ()


@given(prefix=prefixes)
def test_a_reverse_zone_is_claimed_as_the_prefix_whose_names_it_holds(prefix: IPNetwork) -> None:
    server = Upstream(address=ip_address("10.254.0.2"))
    zones = [Zone(suffix=suffix, servers=(server,)) for suffix in reverse_zones(prefix)]
    claim = claim_of_plan("qa", [], [], zones, "")
    assert (claim.prefixes, claim.domains) == ((prefix,), ())


def test_a_zone_under_arpa_that_is_no_reverse_zone_is_claimed_as_a_domain() -> None:
    server = Upstream(address=ip_address("10.254.0.2"))
    odd = [name("x.10.in-addr.arpa"), name("300.10.in-addr.arpa"), name("home.arpa")]
    claim = claim_of_plan("qa", [], [], [Zone(suffix=suffix, servers=(server,)) for suffix in odd], "")
    assert claim.domains == tuple(odd)
    assert len(uncovered(RECORD, claim)) == 3


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0/0", "0.0.0.0/1", "8.0.0.0/7", "127.0.0.0/8", "127.0.0.1/32", "169.254.0.0/16", "224.0.0.0/4",
     "::/0", "2000::/3", "fd00::/15", "::1/128", "fe80::/10", "ff02::1/128"],
)  # fmt: skip
def test_no_record_can_allow_the_default_route_or_reserved_space(text: str) -> None:
    (refused,) = forbidden(Claim(name="qa", prefixes=(ip_network(text),)))
    assert refused.startswith(f"prefix {text} (")


@pytest.mark.parametrize("text", [".", "com", "local", "arpa"])
def test_no_record_can_allow_the_root_or_a_domain_of_one_label(text: str) -> None:
    (refused,) = forbidden(Claim(name="qa", domains=(name(text),)))
    assert refused.startswith(f"domain {text} (")


@pytest.mark.parametrize("text", ["127.0.0.53", "0.0.0.0", "169.254.169.254", "224.0.0.251", "::1", "fe80::1", "::"])
def test_no_record_can_allow_a_next_hop_or_a_dns_server_that_nobody_can_be(text: str) -> None:
    address = ip_address(text)
    assert len(forbidden(Claim(name="qa", next_hops=(address,), dns_servers=(address,)))) == 2


@given(profile=profiles())
def test_no_valid_profile_claims_what_is_forbidden(profile: BridgeProfile) -> None:
    assert forbidden(claim_of_profile(profile)) == ()


def test_the_pods_behind_the_dns_claim_nothing_and_route_nothing() -> None:
    without = decode_profile(SAMPLE)
    assert without.spec.dns is not None
    pods = tuple(map(ip_address, ("10.20.0.9", "10.20.200.9")))
    dns = replace(without.spec.dns, endpoints=pods)
    profile = replace(without, spec=replace(without.spec, dns=dns))
    assert claim_of_profile(profile) == claim_of_profile(without)
    observed = ObservedNetwork(paths={hop: Path(oif="eth0") for hop in addresses_of_interest(without)})
    assert make_plan(profile, observed) == make_plan(without, observed)
    assert make_plan(profile, observed).desired.routes


def test_public_space_foreign_domains_and_a_missing_ca_are_remarked_on() -> None:
    claim = Claim(
        name="qa", prefixes=(ip_network("34.118.224.0/20"), ip_network("10.0.0.0/8")), domains=(name("corp.example"),)
    )
    notes = " ".join(remarks(claim))
    assert "34.118.224.0/20 is not private" in notes
    assert "corp.example is not cluster.local" in notes
    assert "no cluster CA" in notes
    assert "10.0.0.0/8" not in notes
    plain = Claim(name="qa", prefixes=(ip_network("fd00::/48"),), domains=(name("Cluster.Local"),), ca="1" * 64)
    assert remarks(plain) == ()
