"""An address leads to its pod by few questions, each asked once, and what was known counts while the API is away."""

import asyncio
import ipaddress
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from devlink.core.plan import Upstream
from devlink.core.prefixes import IPAddress
from devlink.core.relay import Pod, RelayConfig, RelayOptions
from devlink.relay.endpoints import ENDPOINTS, GONE, RECENT, SPECS, Direct, Endpoints
from devlink.relay.lookups import PATIENCE, PAUSE
from devlink.relay.questions import AT_ONCE, DENIED
from devlink.relay.refusal import RefusedError
from tests.relay.objects import endpoint_slice, entry, pod, service
from tests.relay.small_api import SmallApi

T = TypeVar("T")
CLIENT = ipaddress.ip_address("127.0.0.1")
PREFIXES = tuple(ipaddress.ip_network(text) for text in ("10.96.0.0/16", "10.1.0.0/16", "fd00:96::/112", "fd00:1::/64"))
CONFIG = RelayConfig(session="s", context="qa", prefixes=PREFIXES, api=ipaddress.ip_address("10.96.0.1"))
WEB = service(), endpoint_slice(entry("10.1.0.1", "web-0")), pod("web-0", "10.1.0.1", ports=[9090])
SERVICE, POD = "10.96.0.10", "10.1.0.1"


class Asking:
    """Endpoints over a small API, with a clock that a test turns."""

    def __init__(self, api: SmallApi, config: RelayConfig = CONFIG) -> None:
        self.now = 1000.0
        self.api = api
        self.endpoints = Endpoints(api, config, clock=lambda: self.now, draw=lambda: 0.0)

    async def find(self, address: str, port: int = 80) -> Pod | Direct:
        return await self.endpoints.find(ipaddress.ip_address(address), port, client=CLIENT)

    async def name(self, address: str, port: int = 80) -> str:
        found = await self.find(address, port)
        return f"{found.name}:{found.port}" if isinstance(found, Pod) else f"{found.host}:{found.port}"

    async def refused(self, address: str, port: int = 80) -> str:
        with pytest.raises(RefusedError) as caught:
            await self.find(address, port)
        return caught.value.reason

    async def settled(self) -> None:
        """What was asked in the background is answered."""
        for _ in range(20):
            await asyncio.sleep(0)


def run(work: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await work

    return asyncio.run(bounded())


def allowing(**options: Any) -> RelayConfig:
    return replace(CONFIG, options=RelayOptions(**options))


def test_a_service_leads_to_its_pod_by_three_questions_for_a_thousand_connections() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        found = await asyncio.gather(*(asking.find(SERVICE) for _ in range(1000)))
        assert set(found) == {
            Pod(namespace="default", name="web-0", port=8080, node="node1", address=ipaddress.ip_address(POD))
        }
        assert asking.api.count() == 3
        await asking.find(SERVICE)
        assert asking.api.count() == 0

    run(main())


def test_nothing_is_asked_for_a_whole_cluster_without_a_selector() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        await asking.find(SERVICE)
        await asking.find(POD, 9090)
        await asking.refused("10.1.0.7")
        assert all(selector or "/namespaces/" in path for path, selector in asking.api.asked)

    run(main())


def test_a_pods_own_address_leads_to_the_ports_that_it_or_a_service_declares() -> None:
    async def main() -> None:
        others = endpoint_slice(entry("10.1.0.2", "ssh-0"), of="ssh", ports=[{"name": "ssh", "port": 22}])
        asking = Asking(SmallApi(*WEB, others))
        assert await asking.name(POD, 9090) == "web-0:9090"
        assert await asking.name(POD, 8080) == "web-0:8080"
        assert await asking.refused(POD, 22) == "undeclared"
        assert await Asking(SmallApi(*WEB), allowing(undeclared_ports=True)).name(POD, 22) == "web-0:22"

    run(main())


def test_the_kubernetes_service_leads_to_the_api_server_without_a_question() -> None:
    async def main() -> None:
        asking = Asking(SmallApi())
        assert await asking.find("10.96.0.1", 443) == Direct("api.example", 6443)
        assert await asking.refused("10.96.0.1", 80) == "undeclared"
        assert asking.api.count() == 0

    run(main())


def test_an_entry_of_the_api_servers_own_leads_there_and_one_of_nobodys_nowhere() -> None:
    async def main() -> None:
        own = endpoint_slice(entry("10.0.0.5"), of="kubernetes", ports=[{"name": "https", "port": 6443}])
        again = endpoint_slice(entry("10.0.0.5"), of="alias", ports=[{"name": "http", "port": 6443}])
        other = endpoint_slice(entry("10.0.0.5"), of="database", ports=[{"name": "http", "port": 5432}])
        by_hand = endpoint_slice(entry(POD), of="by-hand")
        services = (
            service("alias", "10.96.0.11", selector=None), service("database", "10.96.0.12", selector=None),
            service("by-hand", "10.96.0.13", selector=None),
        )  # fmt: skip
        asking = Asking(SmallApi(*WEB, own, again, other, by_hand, *services))
        assert await asking.name("10.96.0.11") == "api.example:6443"
        assert await asking.refused("10.96.0.12") == "no-pods"
        assert await asking.name("10.96.0.13") == "web-0:8080"

    run(main())


def test_what_is_nowhere_or_outside_is_refused() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        assert await asking.refused("10.1.0.7") == "no-object"
        assert await asking.refused("192.0.2.1") == "outside"
        assert await asking.refused(SERVICE, 81) == "undeclared"

    run(main())


def test_what_refuses_a_connection_is_believed_only_for_a_moment() -> None:
    async def main() -> None:
        asking = Asking(SmallApi())
        assert await asking.refused(SERVICE) == "no-object"
        asking.api.objects += [service(), endpoint_slice(entry(POD, "web-0", ready=False)), pod("web-0", POD)]
        assert await asking.refused(SERVICE) == "no-object"
        assert asking.api.count() == 2
        asking.now += RECENT
        assert await asking.refused(SERVICE) == "no-pods"
        asking.api.objects[1] = endpoint_slice(entry(POD, "web-0"))
        asking.now += RECENT
        assert await asking.name(SERVICE) == "web-0:8080"

    run(main())


def test_what_is_old_is_used_and_asked_anew_beside_it_and_what_is_too_old_is_waited_for() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB, pod("web-1", "10.1.0.2")))
        assert await asking.name(SERVICE) == "web-0:8080"
        asking.api.objects[1] = endpoint_slice(entry("10.1.0.2", "web-1"))
        asking.api.count()
        asking.now += ENDPOINTS.fresh
        assert await asking.name(SERVICE) == "web-0:8080"
        await asking.settled()
        assert asking.api.count() == 1
        assert await asking.name(SERVICE) == "web-1:8080"
        asking.api.objects[1] = endpoint_slice(entry(POD, "web-0"))
        asking.now += ENDPOINTS.usable
        assert await asking.name(SERVICE) == "web-0:8080"

    run(main())


def test_a_pod_that_turned_out_to_be_gone_is_passed_over_though_the_api_still_names_it() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        gone = await asking.find(SERVICE)
        assert isinstance(gone, Pod)
        asking.api.objects[1] = endpoint_slice(entry(POD, "web-0"), entry("10.1.0.2", "web-1"))
        asking.api.objects.append(pod("web-1", "10.1.0.2"))
        asking.endpoints.forget(gone)
        assert await asking.name(SERVICE) == "web-1:8080"

    run(main())


def test_a_pod_that_was_missed_is_tried_again_after_a_while() -> None:
    async def main() -> None:
        two = endpoint_slice(entry(POD, "web-0"), entry("10.1.0.2", "web-1"))
        asking = Asking(SmallApi(service(), two, WEB[2], pod("web-1", "10.1.0.2")))
        missed = await asking.find(SERVICE)
        assert isinstance(missed, Pod)
        asking.endpoints.forget(missed)
        assert await asking.name(SERVICE) == "web-1:8080"
        asking.now += GONE
        assert await asking.name(SERVICE) == "web-0:8080"

    run(main())


def test_a_pod_that_the_api_no_longer_has_gives_way_to_another() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB[:2], pod("web-1", "10.1.0.2")))
        assert await asking.refused(SERVICE) == "pod-gone"
        asking.api.objects[1] = endpoint_slice(entry(POD, "web-0"), entry("10.1.0.2", "web-1"))
        asking.now += PAUSE
        assert await asking.name(SERVICE) == "web-1:8080"

    run(main())


def test_an_address_that_went_to_another_pod_leads_there_once_the_old_one_was_missed() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(pod("old", POD, ports=[80])))
        found = await asking.find(POD)
        assert isinstance(found, Pod)
        asking.api.objects = [pod("new", POD, ports=[80])]
        asking.endpoints.forget(found)
        assert await asking.name(POD) == "new:80"

    run(main())


@pytest.mark.parametrize("status", [None, 503, 401])
def test_while_the_api_is_away_what_was_known_counts_and_what_was_not_is_refused(status: int | None) -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        found = await asking.find(SERVICE)
        assert isinstance(found, Pod)
        asking.api.status = status
        asking.now += 10 * SPECS.usable
        asking.endpoints.forget(found)
        assert await asking.find(SERVICE) == found
        assert await asking.refused("10.1.0.9") == "api"
        asking.api.count()
        assert await asking.refused("10.1.0.9") == "api"
        assert asking.api.count() == 0, "it is left alone for a moment"
        asking.api.status = 0
        asking.now += PAUSE
        assert await asking.refused("10.1.0.9") == "no-object"

    run(main())


def test_who_can_no_longer_sign_in_goes_on_with_what_was_known() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        found = await asking.find(SERVICE)
        asking.api.can_sign_in = False
        asking.now += SPECS.usable
        assert await asking.find(SERVICE) == found
        assert await asking.refused("10.1.0.9") == "api"
        assert await asking.refused("fd00:1::9") == "api"

    run(main())


def test_the_clusters_dns_is_reached_wherever_its_addresses_are() -> None:
    async def main() -> None:
        upstream = Upstream(address=ipaddress.ip_address("192.0.2.10"))
        slices = endpoint_slice(entry("192.0.2.11", "dns-0"), of="dns")
        objects = service("dns", "192.0.2.10"), slices, pod("dns-0", "192.0.2.11")
        asking = Asking(SmallApi(*objects), replace(CONFIG, names=(upstream,)))
        assert await asking.name("192.0.2.10") == "dns-0:8080"
        assert await asking.refused("192.0.2.11") == "outside"

    run(main())


def test_an_api_that_is_silent_holds_nobody_up_who_can_be_told_what_was_known() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        found = await asking.find(SERVICE)
        asking.api.gate.clear()
        asking.now += ENDPOINTS.usable
        async with asyncio.TaskGroup() as group:
            first = group.create_task(asking.find(SERVICE))
            await asking.settled()
            assert not first.done(), "it is too old to be used without a word"
            asking.now += PATIENCE
            second = group.create_task(asking.find(SERVICE))
            await asking.settled()
            assert second.done(), "it has been waited for"
            asking.api.gate.set()
        assert {first.result(), second.result()} == {found}

    run(main())


def test_what_has_turned_out_to_be_wrong_is_waited_for_longer_than_what_is_only_old() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        found = await asking.find(SERVICE)
        assert isinstance(found, Pod)
        asking.api.count()
        asking.endpoints.forget(found)
        asking.api.gate.clear()
        asking.api.objects[1:] = [endpoint_slice(entry("10.1.0.2", "web-1")), pod("web-1", "10.1.0.2")]
        async with asyncio.TaskGroup() as group:
            finding = group.create_task(asking.name(SERVICE))
            await asking.settled()
            asking.now += PATIENCE
            second = group.create_task(asking.name(SERVICE))
            await asking.settled()
            assert not second.done()
            assert asking.api.count() == 1, "nobody asks on by the old answer"
            asking.api.gate.set()
        assert {finding.result(), second.result()} == {"web-1:8080"}

    run(main())


def test_what_an_api_forbids_from_now_on_is_refused_though_it_was_known() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        await asking.find(SERVICE)
        asking.api.status = 403
        asking.now += ENDPOINTS.usable
        assert await asking.refused(SERVICE) == "rights"

    run(main())


def test_what_was_doubted_while_the_api_was_away_is_asked_when_it_is_back() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        found = await asking.find(SERVICE)
        assert isinstance(found, Pod)
        asking.endpoints.forget(found)
        asking.api.status = None
        assert await asking.find(SERVICE) == found
        asking.api.status = 0
        asking.api.objects[1:] = [endpoint_slice(entry("10.1.0.2", "web-1")), pod("web-1", "10.1.0.2")]
        asking.now += PAUSE
        assert await asking.name(SERVICE) == "web-1:8080"

    run(main())


def test_a_pod_that_came_back_by_its_name_is_seen_where_it_is_now() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        found = await asking.find(SERVICE)
        assert isinstance(found, Pod)
        asking.api.objects[2] = pod("web-0", POD, nodeName="node2")
        asking.endpoints.forget(found)
        again = await asking.find(SERVICE)
        assert isinstance(again, Pod)
        assert (again.name, again.node) == ("web-0", "node2")

    run(main())


def test_a_pod_that_has_ended_takes_no_connection_though_a_slice_names_it() -> None:
    async def main() -> None:
        ended = pod("web-0", POD)
        ended["status"]["phase"] = "Succeeded"
        assert await Asking(SmallApi(*WEB[:2], ended)).refused(SERVICE) == "pod-gone"

    run(main())


def test_no_more_than_a_few_questions_are_under_way_at_once() -> None:
    async def main() -> None:
        asking = Asking(SmallApi())
        asking.api.gate.clear()
        async with asyncio.TaskGroup() as group:
            for n in range(5 * AT_ONCE):
                group.create_task(asking.refused(f"10.1.0.{n}"))
            await asking.settled()
            assert asking.api.count() == AT_ONCE
            asking.api.gate.set()

    run(main())


def test_what_was_not_asked_for_is_no_answer() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        asking.api.selects = False
        assert await asking.refused("10.1.0.9") == "no-object"
        assert await asking.refused("10.96.0.9") == "no-object"

    run(main())


def test_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        asking.api.gate.clear()
        async with asyncio.TaskGroup() as group:
            first, second = (group.create_task(asking.find(SERVICE)) for _ in range(2))
            await asking.settled()
            first.cancel()
            asking.api.gate.set()
        assert isinstance(second.result(), Pod)
        assert asking.api.count() == 3
        assert first.cancelled()

    run(main())


def test_who_may_not_search_the_cluster_has_the_namespaces_that_are_known_searched() -> None:
    async def main() -> None:
        api = SmallApi(
            service("api", namespace="qa"),
            endpoint_slice(entry(POD, "api-0", namespace="qa"), of="api", namespace="qa"),
            pod("api-0", POD, namespace="qa"), namespace="mine",
        )  # fmt: skip
        api.denied |= {"/api/v1/services", "/api/v1/pods", "/api/v1/namespaces/kube-system/services"}
        asking = Asking(api, replace(CONFIG, namespaces=("qa",)))
        assert await asking.name(SERVICE) == "api-0:8080"
        paths = {path for path, _ in api.asked}
        assert {f"/api/v1/namespaces/{each}/services" for each in ("qa", "mine", "kube-system")} <= paths
        api.count()
        assert await asking.refused("10.1.0.9") == "no-object"
        asked = [path for path, _ in api.asked]
        assert "/api/v1/services" not in asked, "a refusal is remembered"
        assert "/api/v1/namespaces/kube-system/services" not in asked
        chain = await asking.endpoints.chain(ipaddress.ip_address("10.1.0.9"), 80)
        assert "in mine, qa; you may not search kube-system and the rest" in chain.why
        api.denied.clear()
        asking.now += DENIED
        api.count()
        await asking.refused("10.1.0.9")
        assert ("/api/v1/services", "spec.clusterIP=10.1.0.9") in api.asked

    run(main())


def test_who_may_search_nowhere_is_refused_for_his_rights() -> None:
    async def main() -> None:
        api = SmallApi(*WEB)
        api.denied |= {"/api/v1/services", *(f"/api/v1/namespaces/{n}/services" for n in ("default", "kube-system"))}
        assert await Asking(api).refused(SERVICE) == "rights"

    run(main())


@pytest.mark.parametrize("knows", ["all", "nothing", "denied"])
def test_a_services_address_of_the_second_family_leads_to_pods_of_that_family(knows: str) -> None:
    """By an object of its own; before 1.33 and without the right, by the services of the namespaces that are known."""
    parent = {"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}}}
    v6 = replace_type(endpoint_slice(entry("fd00:1::1", "web-0")))

    async def main() -> None:
        api = SmallApi(
            service("web", SERVICE, "fd00:96::a"), WEB[1], v6, pod("web-0", POD, "fd00:1::1"),
            addresses={"fd00:96::a": parent} if knows == "all" else None, namespace="aaa",
        )  # fmt: skip
        if knows == "denied":
            api.denied |= {"/apis/networking.k8s.io/v1/ipaddresses/fd00:96::a", "/api/v1/namespaces/aaa/services"}
        asking = Asking(api, replace(CONFIG, namespaces=("default",)))
        found = await asking.find("fd00:96::a")
        assert isinstance(found, Pod)
        assert found.address == ipaddress.ip_address("fd00:1::1")
        listed = [path for path, selector in api.asked if path.endswith("/services") and not selector]
        assert bool(listed) is (knows != "all")

    run(main())


def replace_type(item: dict[str, Any]) -> dict[str, Any]:
    """Of the second family."""
    return {**item, "addressType": "IPv6", "metadata": {**item["metadata"], "name": "web-2"}}


def test_a_pods_address_of_the_second_family_is_found_by_its_service() -> None:
    async def main() -> None:
        api = SmallApi(
            service(), replace_type(endpoint_slice(entry("fd00:1::1", "web-0"))), pod("web-0", POD, "fd00:1::1")
        )
        api.denied.add("/apis/discovery.k8s.io/v1/namespaces/mine/endpointslices")
        asking = Asking(api, replace(CONFIG, namespaces=("default",)))
        assert await asking.name("fd00:1::1", 8080) == "web-0:8080"
        assert await asking.refused("fd00:1::2", 8080) == "no-object"

    run(main())


def test_the_second_family_of_a_namespace_is_found_once_something_of_its_first_was() -> None:
    async def main() -> None:
        v4 = endpoint_slice(entry(POD, "web-0", namespace="prod"), namespace="prod")
        v6 = replace_type(endpoint_slice(entry("fd00:1::1", "web-0", namespace="prod"), namespace="prod"))
        web = pod("web-0", POD, "fd00:1::1", namespace="prod", ports=[80])
        asking = Asking(SmallApi(service(namespace="prod"), v4, v6, web))
        assert await asking.refused("fd00:1::1", 8080) == "no-object"
        await asking.find(SERVICE)
        asking.now += RECENT
        assert await asking.name("fd00:1::1", 8080) == "web-0:8080"
        asking = Asking(SmallApi(v6, web))
        await asking.find(POD)
        assert await asking.name("fd00:1::1", 8080) == "web-0:8080"

    run(main())


def test_a_pod_in_its_nodes_network_is_reached_only_where_that_is_allowed() -> None:
    async def main() -> None:
        objects = service(), endpoint_slice(entry("10.1.0.1", "web-0")), pod("web-0", POD, hostNetwork=True)
        asking = Asking(SmallApi(*objects))
        assert await asking.refused(SERVICE) == "host-network"
        chain = await asking.endpoints.chain(ipaddress.ip_address(SERVICE), 80)
        assert chain.pod is not None
        assert "loopback" in chain.why
        found = await Asking(SmallApi(*objects), allowing(host_network=True)).find(SERVICE)
        assert isinstance(found, Pod)
        assert found.host_network

    run(main())


def test_an_entry_of_somebodys_own_opens_no_nodes_network_and_leads_to_no_other_service() -> None:
    async def main() -> None:
        objects = (
            *WEB, pod("agent", "10.1.0.9", hostNetwork=True), service("by-hand", "10.96.0.13", selector=None),
            endpoint_slice(entry("10.1.0.9"), of="by-hand"), service("alias", "10.96.0.14", selector=None),
            endpoint_slice(entry(SERVICE), of="alias"),
        )  # fmt: skip
        asking = Asking(SmallApi(*objects))
        assert await asking.refused("10.96.0.13") == "host-network"
        assert await asking.refused("10.96.0.14") == "no-pods"
        assert await Asking(SmallApi(*objects), allowing(host_network=True)).name("10.96.0.13") == "agent:8080"

    run(main())


def test_the_chain_of_a_connection_says_by_what_it_goes_and_asks_for_nothing_twice() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        await asking.find(SERVICE)
        asking.api.count()
        chain = await asking.endpoints.chain(ipaddress.ip_address(SERVICE), 80)
        assert asking.api.count() == 0
        assert (chain.service, chain.service_port, chain.endpoint, chain.ready) == (
            "default/web",
            "http (80)",
            "web-1",
            1,
        )
        assert chain.pod == await asking.find(SERVICE)
        chain = await asking.endpoints.chain(ipaddress.ip_address("10.96.0.1"), 443)
        assert chain.direct == "api.example:6443"
        chain = await asking.endpoints.chain(ipaddress.ip_address(SERVICE), 81)
        assert (chain.service, chain.refused) == ("default/web", "undeclared")
        assert "http (80)" in chain.why

    run(main())


def test_so_many_addresses_are_kept_and_no_more() -> None:
    async def main() -> None:
        asking = Asking(SmallApi())
        addresses: list[IPAddress] = [ipaddress.ip_address("10.1.0.0") + n for n in range(5000)]
        for each in addresses:
            with pytest.raises(RefusedError):
                await asking.endpoints.find(each, 80, client=CLIENT)
        assert len(dict(asking.endpoints._held.known())) <= 4096  # what it would cost is not to be seen from outside

    run(main())


def test_at_its_end_nothing_is_asked_any_more() -> None:
    async def main() -> None:
        asking = Asking(SmallApi(*WEB))
        asking.api.gate.clear()

        async def close() -> None:
            await asking.settled()
            asking.endpoints.close()

        reason, _ = await asyncio.gather(asking.refused(SERVICE), close())
        assert reason == "api"

    run(main())
