"""Routes changed in a real kernel: ours only, all of them, and each refusal explained."""

import ipaddress
import logging
import socket
from dataclasses import replace

import pytest

from devlink.core.network import Change, Route, RouteDiff
from devlink.errors import ConflictError, HelperError
from devlink.kernel import routes
from devlink.kernel.netlink import NetlinkSocket, Refusal, Request
from devlink.kernel.observe import observe
from devlink.kernel.ours import Links, observe_ours
from tests.core.model_kernel import difference, ours_of
from tests.kernel.private_network import drop_capabilities, in_private_network, ip, ip_json, make_links

pytestmark = pytest.mark.lab


def route(
    destination: str, next_hop: str | None = None, *, oif: str = "v0", metric: int = 50, table: int = 254,
    mtu: int | None = None, source: str | None = None,
) -> Route:  # fmt: skip
    return Route(
        destination=ipaddress.ip_network(destination),
        next_hop=ipaddress.ip_address(next_hop) if next_hop is not None else None,
        oif=oif, metric=metric, table=table, mtu=mtu,
        source=ipaddress.ip_address(source) if source is not None else None,
    )  # fmt: skip


def apply(diff: RouteDiff) -> None:
    routes.apply(Change(routes=diff))


EVERY_SHAPE = (
    route("10.1.0.0/16", "192.0.2.9"),
    route("10.2.0.0/16", "192.0.2.9", mtu=1400, source="192.0.2.1", table=5230, metric=70),
    route("10.3.0.0/16"),
    route("10.4.0.0/16", "2001:db8::9"),
    route("10.5.0.1/32", "192.0.2.9"),
    route("0.0.0.0/0", "192.0.2.9", table=5230),
    replace(route("10.6.0.0/16", oif="", table=5230), kind="throw"),
    replace(route("2001:db8:6::/48", oif="", table=5230), kind="throw"),
    route("2001:db8:1::/48", "2001:db8::9", mtu=1400, source="2001:db8::1"),
    route("2001:db8:2::/48", metric=1, table=300),
)


def reach(desired: tuple[Route, ...]) -> None:
    apply(difference(desired, ours_of(observe())))
    assert set(ours_of(observe())) == set(desired)


def test_every_shape_of_route_is_added_replaced_and_deleted_and_the_rest_stays() -> None:
    def body() -> None:
        make_links()
        before = observe()
        reach(EVERY_SHAPE)
        shown = ip_json("-N", "route", "show", "10.1.0.0/16")
        assert (shown[0]["gateway"], shown[0]["protocol"], shown[0]["metric"]) == ("192.0.2.9", "231", 50)
        reach(
            (
                route("10.1.0.0/16", "192.0.2.10"),
                route("10.2.0.0/16", "192.0.2.9", mtu=1300, table=5230, metric=70),
                route("10.3.0.0/16", "192.0.2.9"),
                route("2001:db8:1::/48", "2001:db8::a"),
                route("2001:db8:9::/48", "2001:db8::a"),
            )
        )
        reach(())
        assert observe() == before

    in_private_network(body)


def test_many_routes_are_applied_and_none_is_forgotten() -> None:
    def body() -> None:
        make_links()
        many = tuple(route(f"10.{i >> 8}.{i & 255}.0/24", "192.0.2.9") for i in range(1000))
        reach(many)
        reach(tuple(route(str(r.destination), "192.0.2.10") for r in many))
        reach(many[::2])

    in_private_network(body)


def test_another_programs_route_in_the_same_place_is_a_conflict_that_names_its_owner() -> None:
    def body() -> None:
        make_links()
        ip("route", "add", "10.1.0.0/16", "via", "192.0.2.77", "proto", "bird", "metric", "50")
        ip("-6", "route", "add", "2001:db8:1::/48", "via", "2001:db8::77", "proto", "bird", "metric", "50")
        before = observe()
        for wanted in (route("10.1.0.0/16", "192.0.2.9"), route("2001:db8:1::/48", "2001:db8::9")):
            with pytest.raises(ConflictError) as caught:
                apply(RouteDiff(add=(wanted,)))
            assert str(wanted) in caught.value.what
            assert "BIRD" in caught.value.why
            with pytest.raises(ConflictError):
                apply(RouteDiff(replace=(wanted,)))
            apply(RouteDiff(delete=(wanted,)))
        assert observe() == before

    in_private_network(body)


def test_a_foreign_route_put_before_ours_in_the_same_place_is_not_replaced() -> None:
    def body() -> None:
        make_links()
        ours = route("10.1.0.0/16", "192.0.2.9")
        reach((ours,))
        ip("route", "prepend", "10.1.0.0/16", "via", "192.0.2.77", "proto", "static", "metric", "50")
        before = observe()
        with pytest.raises(ConflictError):
            apply(RouteDiff(replace=(route("10.1.0.0/16", "192.0.2.10"),)))
        assert observe() == before
        apply(RouteDiff(delete=(ours,)))
        assert [r.protocol for r in observe().routes if r.destination == ours.destination] == [4]

    in_private_network(body)


def test_another_programs_route_that_is_like_ours_in_all_but_the_protocol_is_not_deleted() -> None:
    def body() -> None:
        make_links()
        alike = (route("10.1.0.0/16", "192.0.2.9"), route("2001:db8:1::/48", "2001:db8::9"))
        for version, theirs in zip("46", alike, strict=True):
            ip(f"-{version}", "route", "add", *str(theirs).replace("proto 231", "proto static").split())
        before = observe()
        apply(RouteDiff(delete=alike))
        assert observe() == before

    in_private_network(body)


def test_an_address_in_an_on_link_route_of_ours_can_be_a_next_hop() -> None:
    def body() -> None:
        make_links()
        reach((route("10.1.0.0/16"),))
        reach((route("10.1.0.0/16"), route("10.2.0.0/16", "10.1.0.9")))

    in_private_network(body)


def test_a_route_of_ours_with_another_next_hop_is_not_deleted() -> None:
    def body() -> None:
        make_links()
        kept = route("10.1.0.0/16", "192.0.2.9")
        reach((kept,))
        apply(RouteDiff(delete=(route("10.1.0.0/16", "192.0.2.10"), route("10.1.0.0/16", "192.0.2.9", oif="gone0"))))
        assert ours_of(observe()) == (kept,)

    in_private_network(body)


def test_an_off_link_next_hop_is_refused_with_the_kernels_words_and_the_rest_stays_done() -> None:
    def body() -> None:
        make_links()
        good = tuple(route(f"10.{i}.0.0/16", "192.0.2.9") for i in range(3))
        bad = route("10.99.0.0/16", "203.0.113.1")
        with pytest.raises(HelperError) as caught:
            apply(RouteDiff(add=(*good, bad)))
        assert str(bad) in caught.value.what
        assert "invalid gateway" in caught.value.why
        assert "203.0.113.1" in caught.value.next_step
        assert set(ours_of(observe())) == set(good)

    in_private_network(body)


def test_a_link_that_is_gone_is_named_when_adding_and_no_matter_when_deleting() -> None:
    def body() -> None:
        make_links()
        lost = route("10.1.0.0/16", "192.0.2.9", oif="gone0")
        with pytest.raises(HelperError, match="gone0"):
            apply(RouteDiff(add=(lost,)))
        apply(RouteDiff(delete=(lost,)))
        ip("link", "delete", "v0")
        apply(RouteDiff(delete=(route("10.1.0.0/16", "192.0.2.9"),)))

    in_private_network(body)


def test_a_route_that_is_there_exactly_as_wanted_is_fine() -> None:
    def body() -> None:
        make_links()
        wanted = route("10.1.0.0/16", "192.0.2.9", mtu=1400)
        reach((wanted,))
        apply(RouteDiff(add=(wanted,)))
        assert ours_of(observe()) == (wanted,)
        with pytest.raises(HelperError, match="meanwhile"):
            apply(RouteDiff(add=(route("10.1.0.0/16", "192.0.2.10"),)))

    in_private_network(body)


def test_lost_answers_are_asked_for_again_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = NetlinkSocket.batch

    def deaf(self: NetlinkSocket, requests: list[Request]) -> dict[int, Refusal]:
        answers = real(self, requests)
        if len(requests) > 1:
            raise OSError(105, "No buffer space available")
        return answers

    def body() -> None:
        make_links()
        monkeypatch.setattr(NetlinkSocket, "batch", deaf)
        reach(EVERY_SHAPE)
        reach(())

    in_private_network(body)


def test_refusals_that_the_receive_buffer_cannot_hold_are_asked_for_again() -> None:
    def body() -> None:
        make_links()
        with NetlinkSocket() as netlink:
            netlink._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel's least: about 2 KiB
            wanted = [route(f"10.9.{i}.0/24", "203.0.113.1") for i in range(100)] + [route("10.1.0.0/16", "192.0.2.9")]
            with pytest.raises(HelperError, match=r"10\.9\.0\.0/24") as caught:
                routes._change(netlink, "add", wanted, Links())
            assert "99 more" in caught.value.why, "each of them is known"
        assert [str(r.destination) for r in ours_of(observe())] == ["10.1.0.0/16"]

    in_private_network(body)


def test_a_dump_that_the_receive_buffer_cannot_hold_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = [OSError(105, "No buffer space available")]
    real = NetlinkSocket._read

    def read(self: NetlinkSocket) -> bytes:
        data = real(self)
        if lost:
            raise lost.pop()
        return data

    def body() -> None:
        make_links()
        reach(EVERY_SHAPE)
        monkeypatch.setattr(NetlinkSocket, "_read", read)
        assert set(observe_ours().routes) == set(EVERY_SHAPE)
        assert not lost

    in_private_network(body)


def test_more_changes_than_a_person_reads_are_summed_up_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def body() -> None:
        make_links()
        with caplog.at_level(logging.INFO):
            reach(tuple(route(f"10.{i}.0.0/16", "192.0.2.9") for i in range(20)))
            assert len(caplog.messages) == 20
            reach(())
            caplog.clear()
            reach(tuple(route(f"10.{i}.0.0/16", "192.0.2.9") for i in range(21)))
        assert caplog.messages == ["ip route add 10.0.0.0/16 via 192.0.2.9 dev v0 proto 231 metric 50, and so 20 more"]

    in_private_network(body)


def test_each_change_is_logged_as_ip_route_writes_it(caplog: pytest.LogCaptureFixture) -> None:
    def body() -> None:
        make_links()
        with caplog.at_level(logging.INFO):
            reach((route("10.1.0.0/16", "192.0.2.9"),))
        assert "ip route add 10.1.0.0/16 via 192.0.2.9 dev v0 proto 231 metric 50" in caplog.messages

    in_private_network(body)


def test_without_the_capability_the_error_names_it() -> None:
    def body() -> None:
        make_links()
        drop_capabilities()
        with pytest.raises(HelperError, match="CAP_NET_ADMIN"):
            apply(RouteDiff(add=(route("10.1.0.0/16", "192.0.2.9"),)))
        assert observe().links

    in_private_network(body)
