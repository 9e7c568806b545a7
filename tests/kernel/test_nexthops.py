"""Routes by nexthop objects in a real kernel: made, turned by one message, deleted; and what happens to them."""

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.network import FIRST_NEXTHOP_ID, Change, Holding, Nexthop, Route
from devlink.errors import HelperError
from devlink.kernel import nexthops
from devlink.kernel.observe import observe
from devlink.kernel.ours import observe_ours
from devlink.kernel.routes import apply, switch
from tests.core.model_kernel import ours_of
from tests.kernel.private_network import drop_capabilities, in_private_network, ip, ip_json, make_links

FIRST = Nexthop(id=FIRST_NEXTHOP_ID, next_hop=ipaddress.ip_address("192.0.2.9"), oif="v0")
SIX = Nexthop(id=FIRST_NEXTHOP_ID + 1, next_hop=ipaddress.ip_address("2001:db8::9"), oif="v0")


def by(nexthop: Nexthop, *destinations: str, table: int = 254) -> tuple[Route, ...]:
    assert nexthop.next_hop is not None
    return tuple(
        Route(
            destination=ipaddress.ip_network(each), next_hop=nexthop.next_hop, oif="v0", table=table,
            nexthop_id=nexthop.id,
        )
        for each in destinations
    )  # fmt: skip


FOUR_ROUTES = by(FIRST, "10.1.0.0/16", "10.2.0.0/16")
SIX_ROUTES = by(SIX, "2001:db8:1::/48", "2001:db8:2::/48")
BOTH = Holding(routes=FOUR_ROUTES + SIX_ROUTES, nexthops=(FIRST, SIX))
NOTHING = Holding()


def reach(desired: Holding) -> None:
    apply(observe_ours().change_to(desired))
    assert not observe_ours().change_to(desired)


def ways() -> dict[str, str | None]:
    """The next hop of each route of ours, as the kernel has it now."""
    return {str(r.destination): str(r.next_hop) for r in observe().routes if r.is_ours}


@given(
    address=st.none() | st.ip_addresses(),
    number=st.integers(1, 2**32 - 1),
    oif=st.integers(1, 2**31 - 1),
)
def test_an_object_comes_back_as_it_was_encoded(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, number: int, oif: int
) -> None:
    nexthop = Nexthop(id=number, next_hop=address, oif="v0")
    message = nexthops.decode_nexthop(nexthops.encode_nexthop(nexthop, oif))
    assert (message.hop.oif, message.protocol, message.members) == (oif, 231, ())
    assert nexthops.to_nexthop(message, "v0") == nexthop


@pytest.mark.lab
def test_routes_of_both_families_share_an_object_each_and_leave_with_it() -> None:
    def body() -> None:
        make_links()
        before = observe()
        reach(BOTH)
        shown = {each["id"]: each for each in ip_json("-N", "nexthop")}
        assert (shown[FIRST.id]["gateway"], shown[FIRST.id]["protocol"]) == ("192.0.2.9", "231")
        assert {each.get("nhid") for each in ip_json("route", "show", "proto", "231")} == {FIRST.id}
        present = observe_ours()
        assert set(present.nexthops) == {FIRST, SIX}
        assert present.nexthop_ids == {FIRST.id, SIX.id}
        assert {r.nexthop_id for r in observe().routes if r.is_ours} == {FIRST.id, SIX.id}
        reach(replace(BOTH, routes=FOUR_ROUTES[:1] + SIX_ROUTES))
        reach(NOTHING)
        assert observe() == before
        assert ip_json("nexthop") == []

    in_private_network(body)


@pytest.mark.lab
def test_one_message_turns_all_routes_of_an_object_and_no_other() -> None:
    def body() -> None:
        make_links()
        reach(BOTH)
        for nexthop, via in ((FIRST, "192.0.2.10"), (SIX, "2001:db8::a")):
            assert switch(replace(nexthop, next_hop=ipaddress.ip_address(via)))
        assert set(ways().values()) == {"192.0.2.10", "2001:db8::a"}
        assert not observe_ours().change_to(BOTH).routes, "the object is another one, the routes are the same"
        assert switch(FIRST)
        assert ways() == {"10.1.0.0/16": "192.0.2.9", "10.2.0.0/16": "192.0.2.9"} | dict.fromkeys(
            ("2001:db8:1::/48", "2001:db8:2::/48"), "2001:db8::a"
        )

    in_private_network(body)


@pytest.mark.lab
def test_nothing_is_switched_where_the_object_is_gone_or_anothers() -> None:
    def body() -> None:
        make_links()
        assert not switch(FIRST)
        ip("nexthop", "add", "id", str(FIRST.id), "via", "192.0.2.77", "dev", "v0", "proto", "static")
        assert not switch(FIRST)
        (theirs,) = ip_json("nexthop")
        assert theirs["gateway"] == "192.0.2.77"

    in_private_network(body)


@pytest.mark.lab
def test_a_hop_that_the_kernel_refuses_is_told_with_its_words_and_the_old_one_stays() -> None:
    def body() -> None:
        make_links()
        reach(BOTH)
        off_link = replace(FIRST, next_hop=ipaddress.ip_address("203.0.113.1"))
        for change in (lambda: switch(off_link), lambda: apply(Change(nexthops=(off_link,)))):
            with pytest.raises(HelperError, match=r"203\.0\.113\.1 on v0") as caught:
                change()
            assert "invalid gateway" in caught.value.why
            assert "ip route get 203.0.113.1" in caught.value.next_step
        assert ways()["10.1.0.0/16"] == "192.0.2.9"
        with pytest.raises(HelperError, match="no interface gone0"):
            switch(replace(FIRST, oif="gone0"))
        ip("link", "set", "v1", "down")
        with pytest.raises(HelperError, match="Bring the link v0 up"):
            apply(Change(nexthops=(FIRST,)))
        drop_capabilities()
        with pytest.raises(HelperError, match="CAP_NET_ADMIN"):
            apply(Change(nexthops=(FIRST,)))

    in_private_network(body)


@pytest.mark.lab
@pytest.mark.parametrize("deed", ["link set v1 down", "link set v0 down", "nexthop flush proto 231"])
def test_what_takes_the_objects_takes_their_routes_and_both_can_be_put_back(deed: str) -> None:
    def body() -> None:
        make_links()
        reach(BOTH)
        ip(*deed.split())
        while observe_ours().nexthops or observe_ours().routes:
            pass  # a link's end is told to the kernel's own parts a moment later
        for name in ("v0", "v1"):
            ip("link", "set", name, "up")
        ip("address", "replace", "2001:db8::1/64", "dev", "v0", "nodad")  # IPv6 addresses leave with the link
        while not all(link.up for link in observe().links):
            pass
        reach(BOTH)

    in_private_network(body)


@pytest.mark.lab
def test_an_object_that_another_hand_turned_is_turned_back_and_ours_again() -> None:
    def body() -> None:
        make_links()
        reach(BOTH)
        ip("nexthop", "replace", "id", str(FIRST.id), "via", "192.0.2.66", "dev", "v0", "proto", "boot")
        ours = observe_ours()
        assert FIRST.id in ours.used_ids
        assert ours.change_to(BOTH) == Change(nexthops=(FIRST,))
        reach(BOTH)
        assert ways()["10.1.0.0/16"] == "192.0.2.9"

    in_private_network(body)


@pytest.mark.lab
def test_an_object_that_another_hand_took_over_stays_theirs_when_our_routes_by_it_go() -> None:
    def body() -> None:
        make_links()
        reach(BOTH)
        ip("nexthop", "replace", "id", str(FIRST.id), "via", "192.0.2.66", "dev", "v0", "proto", "boot")
        apply(observe_ours().change_to(NOTHING))
        assert observe_ours().routes == ()
        assert [each["id"] for each in ip_json("nexthop")] == [FIRST.id]

    in_private_network(body)


@pytest.mark.lab
def test_routes_by_one_object_have_each_their_own_mtu_and_lose_it_again() -> None:
    def body() -> None:
        make_links()
        first, second = FOUR_ROUTES
        narrow = replace(BOTH, routes=(replace(first, mtu=1400), second, *SIX_ROUTES))
        for desired in (narrow, BOTH, narrow):
            reach(desired)
        assert {str(r.destination): r.mtu for r in ours_of(observe()) if r.mtu} == {"10.1.0.0/16": 1400}

    in_private_network(body)


@pytest.mark.lab
def test_plain_routes_become_routes_by_an_object_and_plain_again_without_a_gap() -> None:
    def body() -> None:
        make_links()
        plain = Holding(routes=tuple(replace(route, nexthop_id=0) for route in BOTH.routes))
        for desired in (plain, BOTH, plain, BOTH):
            change = observe_ours().change_to(desired)
            assert not change.routes.delete
            reach(desired)
        assert len(ways()) == 4

    in_private_network(body)
