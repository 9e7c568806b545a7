"""Which next hops are asked, and what their silence means."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from devlink.core.plan import Detour, make_plan
from devlink.core.profile import ClusterDns, Gateway, Node, RoutingMode
from devlink.doctor.path.gateway import Asked, dns_nodes, gateway_findings, hops_of, told
from tests.core.plans import GATEWAY, ON_LINK, PROFILE, altered, seen

SECOND, WORKER = ip_address("172.16.0.14"), ip_address("172.16.0.19")
CARRIES = Asked(address=GATEWAY, oif="eth0", carries=True, is_gateway=True, answers=True)
NODE = replace(CARRIES, address=WORKER, is_gateway=False)
STANDBY = replace(CARRIES, address=SECOND, carries=False)


def silent(hop: Asked) -> Asked:
    return replace(hop, answers=False)


def test_silence_is_an_error_of_who_carries_and_a_warning_of_who_waits_or_has_only_its_own_pods() -> None:
    def found(*asked: Asked) -> list[tuple[str, str]]:
        return [(f.code, f.severity.value) for f in gateway_findings(asked)]

    assert found(CARRIES, NODE, STANDBY) == []
    assert found(replace(CARRIES, answers=None)) == [], "a tunnel has no link addresses"
    assert found(silent(CARRIES), NODE) == [("DL-GATEWAY-DOWN", "error")]
    assert found(CARRIES, silent(NODE)) == [("DL-GATEWAY-DOWN", "warning")]
    assert found(CARRIES, silent(STANDBY)) == [("DL-GATEWAY-SILENT", "warning")]
    assert found(silent(CARRIES), silent(NODE), silent(STANDBY)) == [
        ("DL-GATEWAY-DOWN", "error"), ("DL-GATEWAY-SILENT", "warning"),
    ]  # fmt: skip


def test_a_node_that_has_all_pods_of_the_dns_is_as_bad_as_a_gateway() -> None:
    (finding,) = gateway_findings([CARRIES, silent(NODE)], frozenset((WORKER,)))
    assert finding.severity.value == "error"
    (finding,) = gateway_findings([CARRIES, silent(NODE)], frozenset((WORKER, SECOND)))
    assert finding.severity.value == "warning"


def test_it_is_said_when_another_one_takes_over_by_itself() -> None:
    assert "takes over" in gateway_findings([silent(CARRIES), STANDBY])[0].fix
    assert "takes over" not in gateway_findings([silent(CARRIES), silent(STANDBY)])[0].fix


def test_the_line_names_who_answers_or_who_does_not() -> None:
    assert told([CARRIES, STANDBY]) == "172.16.0.13 answers on eth0"
    assert told([CARRIES, NODE]) == "2 next hops answer on eth0"
    assert told([CARRIES, silent(NODE)]) == "no answer of 172.16.0.19"
    assert told([STANDBY]) == "another one has taken over at this moment"


def test_whoever_takes_more_than_its_own_pods_is_a_gateway_and_those_come_first() -> None:
    block, own = ip_network("10.20.120.128/26"), ip_network("10.20.73.64/26")
    profile = altered(
        nodes=(Node(address=WORKER, pods=(block,)), Node(address=GATEWAY, pods=(own,))),
        gateways=(Gateway(address=GATEWAY), Gateway(address=SECOND)),
    )
    observed = seen(GATEWAY)
    plan = make_plan(profile, replace(observed, paths={**observed.paths, WORKER: ON_LINK, SECOND: ON_LINK}))
    assert plan.mode is RoutingMode.PER_NODE
    first, *others = hops_of(profile, plan)
    assert (first.address, first.is_gateway, first.carries) == (GATEWAY, True, True)
    assert {(hop.address, hop.is_gateway, hop.carries) for hop in others} == {
        (WORKER, False, True), (SECOND, True, False),
    }  # fmt: skip
    detour = Detour(next_hop=GATEWAY, via=SECOND, oif="eth0")
    moved = replace(plan, desired=replace(plan.desired, detours=(detour,)))
    assert {(hop.address, hop.carries) for hop in hops_of(profile, moved)} == {(SECOND, True), (WORKER, True)}


def test_the_nodes_of_the_dns_are_known_only_where_all_its_pods_are() -> None:
    dns = PROFILE.spec.dns
    assert isinstance(dns, ClusterDns)
    block = ip_network("10.20.120.128/26")
    nodes = (Node(address=WORKER, pods=(block,)),)
    inside, outside = ip_address("10.20.120.131"), ip_address("10.20.0.9")
    known = altered(nodes=nodes, dns=replace(dns, endpoints=(inside,)))
    assert dns_nodes(known) == {WORKER}
    assert dns_nodes(altered(nodes=nodes, dns=replace(dns, endpoints=(inside, outside)))) == frozenset()
    assert dns_nodes(altered(nodes=nodes, dns=replace(dns, endpoints=None))) == frozenset()
