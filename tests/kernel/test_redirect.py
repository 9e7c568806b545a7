"""The ruleset that redirects, as text; what it does in a kernel is tests/helper/test_redirects.py's."""

from ipaddress import ip_address, ip_network

from devlink.kernel.redirect import Entrance, Relayed, ruleset

PORTS = {4: 4004, 6: 4006}
FORWARDER = 991


def relayed(session: str, *prefixes: str, uid: int = 1000, entrances: tuple[Entrance, ...] = ()) -> Relayed:
    return Relayed(
        session=session,
        uid=uid,
        destinations=tuple(ip_network(each) for each in prefixes),
        ports=PORTS,
        names_port=4053,
        entrances=entrances,
    )


def lines(*sessions: Relayed) -> list[str]:
    return ruleset(sessions, forwarder_uid=FORWARDER).splitlines()


def elements(*sessions: Relayed) -> list[str]:
    return [line.partition("elements = ")[2] for line in lines(*sessions) if "elements" in line]


def test_each_family_has_rules_of_its_own_and_none_where_it_has_no_prefix() -> None:
    text = "\n".join(lines(relayed("qa", "10.0.0.0/8")))
    assert "meta skuid 1000 ip daddr @relayed-0-4 meta l4proto tcp redirect to :4004" in text
    assert "@relayed-0-6" not in text
    assert "redirect to :4006" in "\n".join(lines(relayed("qa", "fd10::/64")))


def test_what_a_narrower_session_of_the_same_user_has_is_left_out_of_the_wider_ones_set() -> None:
    wide, narrow = relayed("wide", "10.0.0.0/9"), relayed("narrow", "10.64.0.0/10")
    assert elements(wide, narrow) == ["{ 10.0.0.0/10 };", "{ 10.64.0.0/10 };"]
    assert elements(wide, relayed("narrow", "10.64.0.0/10", uid=1001)) == ["{ 10.0.0.0/9 };", "{ 10.64.0.0/10 };"]


def test_neighbours_are_one_element_as_a_set_of_intervals_may_not_have_them_twice() -> None:
    assert elements(relayed("qa", "10.0.0.0/10", "10.64.0.0/10", "10.1.0.0/16")) == ["{ 10.0.0.0/9 };"]


def test_of_two_sessions_with_the_same_network_neither_loses_it() -> None:
    assert elements(relayed("qa", "10.0.0.0/8"), relayed("wb", "10.0.0.0/8")) == ["{ 10.0.0.0/8 };"] * 2


def test_tcp_that_was_not_redirected_is_reset_and_not_counted_with_what_is_none() -> None:
    reset, counted = (
        line for line in lines(relayed("qa", "10.0.0.0/8")) if "@relayed-0-4" in line and "reject" in line
    )
    assert reset == "meta skuid 1000 ip daddr @relayed-0-4 meta l4proto tcp reject with tcp reset"
    assert counted.startswith('meta skuid 1000 ip daddr @relayed-0-4 counter name "refused-0" ')


def test_it_translates_before_others_do_and_refuses_before_others_let_pass() -> None:
    door = Entrance(bridge="docker0", address=ip_address("172.17.0.1"), port=4100)
    chains = [line for line in lines(relayed("qa", "10.0.0.0/8", entrances=(door,))) if "hook" in line]
    found = {words[3]: int(words[5].rstrip(";")) for line in chains if (words := line.split())[1] == "nat"}
    assert found.keys() == {"output", "prerouting"}
    assert max(found.values()) < -100, "NF_IP_PRI_NAT_DST: the first translation counts"
    (forward,) = (int(line.split()[5].rstrip(";")) for line in chains if "hook forward" in line)
    assert forward < 0, "NF_IP_PRI_FILTER"


def test_while_it_drains_nothing_is_redirected_and_the_kernel_goes_on_translating() -> None:
    text = lines(relayed("qa"))
    assert not any("redirect" in line or "dnat ip" in line or "elements" in line for line in text)
    assert any("type nat" in line for line in text)
    assert any(line.startswith("ct ") for line in text)


def test_nobody_but_user_and_forwarder_reaches_a_listener() -> None:
    guards = [line for line in lines(relayed("qa", "10.0.0.0/8")) if "dport" in line]
    assert guards == [
        "ip daddr 127.0.0.1 tcp dport 4004 meta skuid != 1000 reject with tcp reset",
        "ip6 daddr ::1 tcp dport 4006 meta skuid != 1000 reject with tcp reset",
        "ip daddr 127.0.0.1 tcp dport 4053 meta skuid != { 991, 1000 } reject with tcp reset",
    ]


def test_containers_come_in_by_their_bridge_and_only_where_one_was_named() -> None:
    door = Entrance(bridge="docker0", address=ip_address("172.17.0.1"), port=4100)
    text = "\n".join(lines(relayed("qa", "10.0.0.0/8", "fd10::/64", entrances=(door,))))
    assert 'iifname "docker0" ip daddr @relayed-0-4 meta l4proto tcp dnat ip to 172.17.0.1:4100' in text
    assert 'iifname "docker0" ip6 daddr @relayed-0-6 counter name "refused-0"' in text  # nobody listens there
    assert "prerouting" not in "\n".join(lines(relayed("qa", "10.0.0.0/8")))
