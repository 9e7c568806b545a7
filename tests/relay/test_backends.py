"""A pod is chosen as kube-proxy chooses it, whatever shape the API's objects have."""

import ipaddress
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.relay.backends import (
    AFFINITY,
    Affinity,
    Candidate,
    Endpoint,
    Service,
    ServicePort,
    endpoints_of,
    pod_at,
    pod_of,
    port_of,
    service_of,
    usable,
    why_none,
    without,
)
from devlink.relay.refusal import RefusedError
from tests.relay.objects import endpoint_slice, entry, pod, service

ADDRESS = ipaddress.ip_address("10.1.0.1")
CLIENT, OTHER = ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("172.17.0.2")
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("10.1.0.1"),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)
CONDITIONS = st.fixed_dictionaries({"ready": st.booleans(), "serving": st.booleans(), "terminating": st.booleans()})


def endpoint(number: int, **fields: Any) -> Endpoint:
    return Endpoint(
        address=ipaddress.ip_address(f"10.1.0.{number}"),
        ports={"http": 8080},
        pod=("default", f"web-{number}"),
        **fields,
    )


def altered(item: Any, path: tuple[Any, ...], value: Any) -> Any:
    """`item` with something else at one place of it."""
    if not path:
        return value
    changed = item.copy()
    changed[path[0]] = altered(item[path[0]], path[1:], value)
    return changed


def places(item: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    return [path, *(each for key, value in below for each in places(value, (*path, key)))]


OBJECTS = (
    service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}}),
    endpoint_slice(entry("10.1.0.1", "web-0", ready=True)),
    pod("web-0", "10.1.0.1", "fd00::1", ports=[80], initContainers=[{"restartPolicy": "Always", "ports": []}]),
)


@given(st.sampled_from([(item, place) for item in OBJECTS for place in places(item)]), ODD)
def test_an_object_of_an_odd_shape_raises_nothing(at: tuple[Any, tuple[Any, ...]], value: Any) -> None:
    item = altered(at[0], at[1], value)
    if not isinstance(item, dict):
        return
    for read in (service_of, endpoints_of, pod_of):
        read(item)


def test_a_service_leads_by_the_name_of_its_port_to_another_number_in_each_slice() -> None:
    known = service_of(service(ports=[{"name": "http", "port": 80}, {"name": "admin", "port": 81}]))
    assert known is not None
    both = [{"name": "admin", "port": 9}, {"name": "http", "port": 1}]
    found = (
        *endpoints_of(endpoint_slice(entry("10.1.0.1", "a"), ports=both)),
        *endpoints_of(endpoint_slice(entry("10.1.0.2", "b"), ports=[{"name": "http", "port": 2}])),
    )
    port = port_of(known, 80)
    assert [each.ports[port.name] for each in usable(found, port.name, 4)] == [1, 2]
    assert [each.pod for each in usable(found, port_of(known, 81).name, 4)] == [("default", "a")]


def test_a_port_without_a_name_is_the_slices_port_without_a_name() -> None:
    known = service_of(service(ports=[{"port": 80}]))
    assert known is not None
    (found,) = endpoints_of(endpoint_slice(entry("10.1.0.1", "a"), ports=[{"name": None, "port": 8080}]))
    assert found.ports[port_of(known, 80).name] == 8080


def test_only_tcp_ports_count() -> None:
    dns = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    known = service_of(service(ports=dns))
    assert known is not None
    assert port_of(known, 53).name == "dns-tcp"
    (found,) = endpoints_of(endpoint_slice(entry("10.1.0.1", "a"), ports=dns))
    assert set(found.ports) == {"dns-tcp"}
    known = service_of(service(ports=dns[:1]))
    assert known is not None
    with pytest.raises(RefusedError, match="for UDP only"):
        port_of(known, 53)
    with pytest.raises(RefusedError, match="has no port 54; its TCP ports: none"):
        port_of(known, 54)


@given(st.lists(CONDITIONS, max_size=5))
def test_ready_pods_go_first_and_without_one_those_that_end_and_serve(conditions: list[dict[str, bool]]) -> None:
    found = [endpoint(n, **each) for n, each in enumerate(conditions)]
    chosen = usable(found, "http", 4)
    ready = [each for each in found if each.ready]
    ending = [each for each in found if each.serving and each.terminating]
    assert list(chosen) == (ready or ending)
    assert not usable(found, "other", 4)
    assert not usable(found, "http", 6)


def test_what_a_slice_leaves_out_means_ready() -> None:
    (found,) = endpoints_of(endpoint_slice(entry("10.1.0.1", "a")))
    assert (found.ready, found.serving, found.terminating) == (True, True, False)


def test_of_an_entry_with_several_addresses_the_first_counts() -> None:
    several = {**entry("10.1.0.1", "web-0"), "addresses": ["10.1.0.1", "10.1.0.2"]}
    assert [str(each.address) for each in endpoints_of(endpoint_slice(several))] == ["10.1.0.1"]


def test_a_slice_names_no_pod_of_another_namespace() -> None:
    (found,) = endpoints_of(endpoint_slice(entry("10.1.0.1", "a", namespace="payroll")))
    assert found.pod is None


@pytest.mark.parametrize(
    ("endpoints", "said"),
    [
        ((), "has no endpoints"),
        ((Endpoint(address=ipaddress.ip_address("fd00::1"), ports={"http": 1}),), "no endpoints of IPv4"),
        ((Endpoint(address=ADDRESS, ports={"other": 1}),), "has its port http"),
        ((endpoint(1, ready=False), endpoint(2, ready=False)), "None of the 2 pods"),
    ],
)
def test_it_is_said_why_no_pod_can_be_chosen(endpoints: tuple[Endpoint, ...], said: str) -> None:
    port = ServicePort(name="http", port=80)
    assert not usable(endpoints, "http", 4)
    assert said in why_none(Service(namespace="default", name="web"), port, endpoints, 4)


def test_pods_that_are_gone_are_passed_over_unless_there_are_no_others() -> None:
    found = [endpoint(1), endpoint(2)]
    assert without(found, {("default", "web-1")}) == found[1:]
    assert without(found, {("default", "web-1"), ("default", "web-2")}) == found


def test_connections_are_shared_out_evenly() -> None:
    known = Service(namespace="default", name="web")
    among = [endpoint(n) for n in range(4)]
    table = Affinity()
    drawn = Counter(table.choose(known, 80, CLIENT, among, draw=n / 400, now=0.0).address for n in range(400))
    assert set(drawn.values()) == {100}


def test_a_client_stays_with_its_pod_until_it_has_been_away_for_the_services_time() -> None:
    known = service_of(service(sessionAffinity="ClientIP"))
    assert known is not None
    assert known.affinity == AFFINITY
    among = [endpoint(n) for n in range(4)]
    table = Affinity()
    first = table.choose(known, 80, CLIENT, among, draw=0.9, now=0.0)
    assert table.choose(known, 80, CLIENT, among, draw=0.0, now=AFFINITY - 1) == first
    assert table.choose(known, 80, CLIENT, among, draw=0.0, now=2 * AFFINITY - 2) == first, "its time begins anew"
    assert table.choose(known, 80, OTHER, among, draw=0.0, now=2 * AFFINITY - 2) != first
    assert table.choose(known, 81, CLIENT, among, draw=0.0, now=2 * AFFINITY - 2) != first
    assert table.choose(known, 80, CLIENT, among, draw=0.0, now=3 * AFFINITY) != first


def test_a_client_whose_pod_is_gone_gets_another_and_stays_with_that() -> None:
    known = Service(namespace="default", name="web", affinity=60.0)
    table = Affinity()
    first = table.choose(known, 80, CLIENT, [endpoint(1), endpoint(2)], draw=0.0, now=0.0)
    second = table.choose(known, 80, CLIENT, [endpoint(2)], draw=0.0, now=1.0)
    assert first != second
    assert table.choose(known, 80, CLIENT, [endpoint(1), endpoint(2)], draw=0.0, now=2.0) == second


def test_of_clients_that_stay_with_a_pod_only_so_many_are_remembered() -> None:
    known = Service(namespace="default", name="web", affinity=60.0)
    table = Affinity(limit=2)
    among = [endpoint(1), endpoint(2)]
    clients = [ipaddress.ip_address(f"172.17.0.{n}") for n in range(3)]
    for each in clients:
        table.choose(known, 80, each, among, draw=0.0, now=0.0)
    chosen = [table.choose(known, 80, each, among, draw=0.9, now=1.0) for each in (clients[2], clients[0])]
    assert chosen == among
    table.choose(known, 80, clients[2], among, draw=0.9, now=2.0)  # now the other one has been away for longer
    table.choose(known, 80, clients[1], among, draw=0.9, now=2.0)
    assert table.choose(known, 80, clients[2], among, draw=0.9, now=2.0) == among[0]


def test_the_ports_that_containers_and_sidecars_declare_for_tcp_are_a_pods() -> None:
    known = pod_of(
        pod(
            "web-0", "10.1.0.1", ports=[8080],
            initContainers=[
                {"name": "proxy", "restartPolicy": "Always", "ports": [{"containerPort": 15006}]},
                {"name": "setup", "ports": [{"containerPort": 1}]},
            ],
        )
    )  # fmt: skip
    assert known is not None
    assert known.ports == {8080, 15006}
    quic = pod("quic", "10.1.0.1")
    quic["spec"]["containers"][0]["ports"] = [{"containerPort": 443, "protocol": "UDP"}]
    known = pod_of(quic)
    assert known is not None
    assert known.ports == set()


def candidate(name: str, **fields: Any) -> Candidate:
    return Candidate(namespace="default", name=name, addresses=(ADDRESS,), **fields)


def test_of_pods_that_had_an_address_the_one_that_lives_is_meant() -> None:
    old, ending, new = candidate("a", is_over=True), candidate("b", is_ending=True), candidate("c")
    assert pod_at((old, ending, new), 80, host_network=False) == new
    assert pod_at((old, ending), 80, host_network=False) == ending
    with pytest.raises(RefusedError, match="has ended") as caught:
        pod_at((old,), 80, host_network=False)
    assert caught.value.reason == "pod-gone"


def test_pods_in_their_nodes_network_are_refused_unless_allowed_and_then_the_one_with_the_port_is_meant() -> None:
    pods = candidate("a", host_network=True), candidate("b", host_network=True, ports=frozenset({9100}))
    with pytest.raises(RefusedError) as caught:
        pod_at(pods, 9100, host_network=False)
    assert caught.value.reason == "host-network"
    assert pod_at(pods, 9100, host_network=True).name == "b"
    assert pod_at(pods, 22, host_network=True).name == "a"


def test_names_that_are_no_names_of_kubernetes_are_not_taken() -> None:
    assert pod_of(pod("../../secrets", "10.1.0.1")) is None
    assert service_of(service("Web")) is None
    assert service_of(service("web", "None")) is None, "headless"
