"""Policy rules: round trips, `ip rule` as the oracle, and what is done to those of a real kernel."""

import ipaddress
import subprocess
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.core.network import PROTOCOL, Rule
from devlink.core.prefixes import IPNetwork
from devlink.errors import HelperError
from devlink.kernel import rules
from devlink.kernel.netlink import NetlinkSocket
from tests.kernel.private_network import drop_capabilities, in_private_network, ip, ip_json

OVERRIDE = Rule(version=4, priority=5200, table=5230, protocol=PROTOCOL)
PROBE = Rule(version=4, priority=5199, table=5231, mark=0xE7, protocol=PROTOCOL)


@st.composite
def any_rules(draw: st.DrawFn) -> Rule:
    version: Literal[4, 6] = draw(st.sampled_from((4, 6)))
    action = draw(st.sampled_from(sorted(rules.ACTIONS.values())))
    numbers = st.integers(0, 2**32 - 1)
    uids = draw(st.none() | st.tuples(numbers, numbers))
    mark = draw(st.none() | numbers)
    return Rule(
        version=version,
        priority=draw(numbers),
        action=action,
        table=draw(st.integers(1, 2**32 - 1)) if action in ("lookup", "goto") else 0,
        inverted=draw(st.booleans()),
        source=draw(st.none() | prefixes(version)),
        destination=draw(st.none() | prefixes(version)),
        iif=draw(st.none() | st.just("v0")),
        oif=draw(st.none() | st.just("wg-quick")),
        mark=mark,
        mask=0xFFFFFFFF if mark is None else draw(numbers),
        uids=uids,
        suppress_prefix_length=draw(st.none() | st.integers(0, 128)),
        protocol=draw(st.integers(0, 255)),
    )


@st.composite
def prefixes(draw: st.DrawFn, version: Literal[4, 6]) -> IPNetwork:
    address = draw(st.ip_addresses(v=version))
    return ipaddress.ip_network((address.packed, draw(st.integers(1, address.max_prefixlen))), strict=False)


@given(any_rules())
def test_a_rule_comes_back_as_it_was_encoded(rule: Rule) -> None:
    assert rules.decode_rule(rules.encode_rule(rule)) == rule


WORDS = (
    "pref 100 from all lookup 77",
    "pref 101 not from 10.0.0.0/8 lookup 51820 protocol 4",
    "pref 102 from all to 192.0.2.0/24 fwmark 0x7 lookup 77",
    "pref 103 not from all fwmark 0xca6c lookup 51820",
    "pref 104 from all lookup 254 suppress_prefixlength 0",
    "pref 105 from all fwmark 0x80000/0xff0000 lookup 254",
    "pref 106 from all fwmark 0x0/0x80000 lookup 254",
    "pref 107 from all iif lo oif gone0 uidrange 0-0 lookup 77",
    "pref 108 from all goto 32766",
    "pref 109 from all blackhole",
    "pref 110 from all unreachable",
    "pref 111 from all prohibit protocol 231",
)
OTHER_WORDS = ("tos 0x10", "ipproto udp", "sport 53", "dport 53-54", "l3mdev")


@pytest.mark.lab
def test_the_rules_that_ip_makes_are_read_as_it_wrote_them_and_in_their_order() -> None:
    def body() -> None:
        for words in reversed(WORDS):
            added = words if "protocol" in words else f"{words} protocol 0"
            ip("rule", "add", *added.split())
        ip("-6", "rule", "add", "pref", "105", "to", "2001:db8::/32", "lookup", "77")
        with NetlinkSocket() as netlink:
            found = rules.dump_rules(netlink)
        assert tuple(str(r) for r in found if r.version == 4 and 0 < r.priority < 32766) == WORDS
        assert [r.priority for r in found] == sorted(r.priority for r in found)
        (six,) = (r for r in found if r.version == 6 and r.priority == 105)
        assert (six.destination, six.table) == (ipaddress.ip_network("2001:db8::/32"), 77)

    in_private_network(body)


@pytest.mark.lab
def test_a_rule_that_selects_by_what_we_have_no_word_for_says_so() -> None:
    def body() -> None:
        for number, words in enumerate(OTHER_WORDS):
            table = () if words == "l3mdev" else ("lookup", "77")
            ip("rule", "add", "pref", str(100 + number), *words.split(), *table)
        ip("rule", "add", "pref", "200", "lookup", "77")
        with NetlinkSocket() as netlink:
            found = [r for r in rules.dump_rules(netlink) if 100 <= r.priority <= 200]
        assert [r.other_selectors for r in found] == [True] * len(OTHER_WORDS) + [False]

    in_private_network(body)


def shown() -> str:
    command = "ip -N rule show; ip -N -6 rule show"
    return subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout


@pytest.mark.lab
def test_our_rules_are_added_once_and_deleted_and_those_of_others_in_the_same_place_stay() -> None:
    def body() -> None:
        six = Rule(version=6, priority=5200, table=5230, protocol=PROTOCOL)
        ip("rule", "add", "pref", "5200", "lookup", "5230", "protocol", "4")
        before = shown()
        for rule in (OVERRIDE, PROBE, six, OVERRIDE, PROBE, six):
            rules.add(rule)
        ours = [r for version in "46" for r in ip_json(f"-{version}", "-N", "rule") if r.get("protocol") == "231"]
        assert sorted(r["priority"] for r in ours) == [5199, 5200, 5200]
        for rule in (OVERRIDE, PROBE, six, OVERRIDE, PROBE, six):
            rules.delete(rule)
        assert shown() == before

    in_private_network(body)


@pytest.mark.lab
def test_a_rule_that_the_kernel_refuses_is_told_with_its_words() -> None:
    def body() -> None:
        bad = Rule(version=4, priority=5200, action="goto", table=100, protocol=PROTOCOL)
        with pytest.raises(HelperError, match="pref 5200 from all goto 100 protocol 231") as caught:
            rules.add(bad)
        assert "The kernel said" in caught.value.why
        drop_capabilities()
        for change in (rules.add, rules.delete):
            with pytest.raises(HelperError, match="CAP_NET_ADMIN"):
                change(OVERRIDE)

    in_private_network(body)
