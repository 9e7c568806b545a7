"""Random tables of ours and of others in a real kernel, random hands that meddle, and what each change leaves."""

import subprocess
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from devlink.core.network import FIRST_NEXTHOP_ID, PROTOCOL, Holding, Nexthop, Route, Rule
from devlink.kernel.observe import observe
from devlink.kernel.ours import observe_ours
from devlink.kernel.routes import apply
from tests.core.model_kernel import difference
from tests.kernel.private_network import in_private_network, ip_json, make_links

pytestmark = pytest.mark.lab

# Few values, so that two tables often meet in the same place and often differ there.
DESTINATIONS = tuple(
    ip_network(each)
    for each in ("10.1.0.0/16", "10.1.7.0/24", "10.2.0.1/32", "0.0.0.0/0", "2001:db8:1::/48", "2001:db8:1:7::/64")
)
HOPS = {4: ("192.0.2.9", "192.0.2.10"), 6: ("2001:db8::9", "2001:db8::a")}
NUMBERS = {4: (FIRST_NEXTHOP_ID, FIRST_NEXTHOP_ID + 1), 6: (FIRST_NEXTHOP_ID + 2, FIRST_NEXTHOP_ID + 3)}
SOURCES = {4: "192.0.2.1", 6: "2001:db8::1"}
NOTHING = Holding()


@st.composite
def routes(draw: st.DrawFn) -> Route:
    destination = draw(st.sampled_from(DESTINATIONS))
    version = destination.version
    table = draw(st.sampled_from((254, 5230)))
    plain = Route(destination=destination, oif="v0", table=table, metric=draw(st.sampled_from((50, 60))))
    shape = draw(st.sampled_from(("by hop", "by object", "by object", "on link", "throw")))
    if shape == "throw" and table == 5230:
        return replace(plain, oif="", kind="throw")
    more = replace(
        plain,
        mtu=draw(st.none() | st.just(1400)),
        source=draw(st.none() | st.just(ip_address(SOURCES[version]))),
    )
    if shape == "by object":
        return replace(more, oif="", nexthop_id=draw(st.sampled_from(NUMBERS[version])))
    if shape == "by hop":
        return replace(more, next_hop=ip_address(draw(st.sampled_from(HOPS[version]))))
    return more


@st.composite
def holdings(draw: st.DrawFn) -> Holding:
    wanted = tuple(draw(st.lists(routes(), max_size=8, unique_by=lambda route: route.key)))
    used = {route.nexthop_id: route.destination.version for route in wanted if route.nexthop_id}
    objects = tuple(
        Nexthop(id=number, next_hop=ip_address(draw(st.sampled_from(HOPS[version]))), oif="v0")
        for number, version in sorted(used.items())
    )
    versions = sorted({route.destination.version for route in wanted if route.table == 5230})
    rules = tuple(Rule(version=each, priority=5200, table=5230, protocol=PROTOCOL) for each in versions)
    return Holding(routes=wanted, nexthops=objects, rules=rules)


THEIRS = (
    "route add 10.1.0.0/16 via 192.0.2.77 proto static metric 51",
    "route add 10.1.0.0/16 via 192.0.2.77 proto bird metric 50 table 77",
    "route add 10.1.7.0/24 dev v0 metric 7",
    "route add throw 10.1.0.0/16 metric 40 table 5230",
    "-6 route add 2001:db8:1::/48 via 2001:db8::77 metric 51",
    "-6 route add 2001:db8:1::/48 dev v0 metric 50 table 77",
    "route add blackhole 10.1.128.0/17",
    "rule add pref 5200 lookup 77",
    "-6 rule add pref 5200 lookup 5230 protocol static",
    "nexthop add id 7 via 192.0.2.77 dev v0",
)
HANDS = (
    "nexthop flush proto 231",
    "route flush table 5230 proto static",
    "rule flush protocol 231",
    f"nexthop delete id {FIRST_NEXTHOP_ID}",
    f"nexthop replace id {FIRST_NEXTHOP_ID} via 192.0.2.66 dev v0",
    "route delete 10.1.0.0/16 proto 231",
    "-6 route delete 2001:db8:1::/48 proto 231",
)


def theirs() -> tuple[object, ...]:
    """All that is not ours, as it must stay."""
    observed = observe()
    ours = {nexthop.id for nexthop in observe_ours().nexthops}
    objects = [each for each in ip_json("-N", "nexthop") if each["id"] not in ours]
    return (
        set(observed.foreign), [each for each in observed.rules if not each.is_ours],
        [each for each in objects if not FIRST_NEXTHOP_ID <= each["id"] < FIRST_NEXTHOP_ID + 4],
    )  # fmt: skip


class Tables(RuleBasedStateMachine):
    """A kernel, and what it shall hold of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.desired = NOTHING
        self.is_meddled = False

    @initialize(lines=st.sets(st.sampled_from(THEIRS)))
    def others_have_something(self, lines: set[str]) -> None:
        batch(sorted(lines))

    @rule(desired=holdings())
    def change(self, desired: Holding) -> None:
        before, ours = theirs(), observe_ours()
        change = ours.change_to(desired)
        as_data = difference(desired.routes, ours.routes)
        assert {r.key for r in change.routes.add} == {r.key for r in as_data.add}
        assert {r.key for r in change.routes.replace} == {r.key for r in as_data.replace}
        apply(change)
        self.desired, self.is_meddled = desired, False
        assert theirs() == before

    @rule(line=st.sampled_from(HANDS))
    def another_hand(self, line: str) -> None:
        batch([line])
        self.is_meddled = True

    @rule()
    def put_back(self) -> None:
        self.change(self.desired)

    @invariant()
    def ours_are_exactly_the_desired(self) -> None:
        if self.is_meddled:
            return
        ours = observe_ours()
        assert not ours.change_to(self.desired), ours.found
        assert set(ours.routes) == set(self.desired.routes)
        assert (set(ours.nexthops), set(ours.rules)) == (set(self.desired.nexthops), set(self.desired.rules))

    def teardown(self) -> None:
        apply(observe_ours().change_to(NOTHING, thorough=True))
        assert not any(route.is_ours for route in observe().routes)
        batch(line.replace(" add ", " delete ") for line in THEIRS)
        batch(["nexthop delete id 7", f"nexthop delete id {FIRST_NEXTHOP_ID}"])


def batch(lines: Iterable[str]) -> None:
    """Run `ip` commands, each of which may fail."""
    by_family: dict[str, list[str]] = {"-4": [], "-6": []}
    for line in lines:
        family = "-6" if line.startswith("-6") else "-4"
        by_family[family].append(line.removeprefix("-6 "))
    for family, some in by_family.items():
        if some:
            words = ["ip", family, "-force", "-batch", "-"]
            subprocess.run(words, input="\n".join(some), text=True, stderr=subprocess.DEVNULL, check=False)


def tables(examples: int, steps: int) -> None:
    profile = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate,),
    )  # fmt: skip

    def body() -> None:
        make_links()
        run_state_machine_as_test(Tables, settings=profile)

    in_private_network(body)


def test_whatever_was_there_ours_become_the_desired_and_all_else_stays() -> None:
    tables(examples=10, steps=5)


@pytest.mark.matrix
def test_whatever_was_there_ours_become_the_desired_and_all_else_stays_many_times() -> None:
    tables(examples=300, steps=12)
