"""What is around: judged from what was seen."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from devlink.core.findings import Severity
from devlink.core.network import Link, ObservedNetwork, ObservedRoute, Path
from devlink.doctor.laptop.surroundings import Witness, describe, judge_clock, judge_network, judge_portal
from devlink.doctor.laptop.web import Reply, parse_head

ETH0 = Link(index=2, name="eth0", mtu=1500, up=True, addresses=((ip_address("172.16.0.5"), 24),))
LO = Link(index=1, name="lo", mtu=65536, up=True, addresses=((ip_address("127.0.0.1"), 8),))
TUN = Link(index=9, name="devlink0", mtu=1500, up=True, addresses=((ip_address("169.254.53.53"), 32),))
DOCKER = Link(index=3, name="docker0", mtu=1500, up=True, addresses=((ip_address("172.17.0.1"), 16),))
DEFAULT = ObservedRoute(
    destination=ip_network("0.0.0.0/0"), next_hop=ip_address("172.16.0.1"), oif="eth0", protocol=16
)  # fmt: skip
PUBLIC = ip_address("93.184.215.14")


def told(*links: Link, routes: tuple[ObservedRoute, ...] = (), **paths: Path) -> list[str]:
    network = ObservedNetwork(
        links=(LO, TUN, *links), routes=routes, paths={ip_address("172.16.0.13"): path for path in paths.values()}
    )  # fmt: skip
    return [finding.evidence for finding in judge_network(network)]


def test_a_link_with_an_address_and_a_way_out_is_a_network() -> None:
    assert told(ETH0, routes=(DEFAULT,)) == []
    assert describe(ObservedNetwork(links=(LO, ETH0, TUN), routes=(DEFAULT,))) == "eth0, by 172.16.0.1"


def test_a_vpn_that_halves_the_default_route_leads_out_and_so_does_one_in_another_table() -> None:
    assert told(ETH0, routes=(replace(DEFAULT, destination=ip_network("128.0.0.0/1")),)) == []
    assert told(ETH0, routes=(replace(DEFAULT, table=52),)) == []


def test_a_default_route_out_of_a_link_without_a_cable_leads_nowhere() -> None:
    (evidence,) = told(replace(ETH0, up=False), DOCKER, routes=(DEFAULT,))
    assert "docker0" in evidence


def test_a_lan_without_a_router_is_a_network_where_the_cluster_is_on_it() -> None:
    assert told(ETH0, node=Path(oif="eth0")) == []


def test_a_laptop_whose_routes_lead_to_the_cluster_alone_is_on_a_network() -> None:
    behind = Path(oif="eth0", next_hop=ip_address("172.16.0.1"))
    assert told(ETH0, node=behind) == []
    assert told(replace(ETH0, up=False), DOCKER, node=behind) != []


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ((), "no link is up (there is none)"),
        ((replace(ETH0, up=False),), "no link is up (eth0)"),
        ((replace(ETH0, addresses=((ip_address("fe80::1"), 64),)),), "eth0 is up and has no address"),
        ((replace(ETH0, addresses=((ip_address("169.254.7.7"), 16),)),), "eth0 is up and has no address"),
        ((replace(ETH0, up=False), DOCKER), "no default route, though docker0"),
    ],
)
def test_without_a_link_an_address_or_a_way_out_it_is_on_none(links: tuple[Link, ...], words: str) -> None:
    (evidence,) = told(*links, node=Path())
    assert words in evidence


def answered(status: int, location: str = "", address: str = str(PUBLIC)) -> Reply:
    return Reply(address=ip_address(address), status=status, headers={"location": location} if location else {})


@pytest.mark.parametrize(
    "reply",
    [
        answered(200), answered(404), answered(301, "https://example.com/"), answered(302, "https://www.example.com/"),
        answered(301, "/start"), answered(302, "http://[broken"), answered(200, "http://elsewhere.example/"),
        answered(200, address="198.18.0.7"),
    ],
    ids=str,
)  # fmt: skip
def test_the_page_itself_is_no_portal_however_it_is_answered(reply: Reply) -> None:
    assert judge_portal(reply) == ()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answered(511), "511"),
        (answered(302, "http://wifi.hotel.example/login"), "go to http://wifi.hotel.example/login"),
        (answered(307, "http://10.0.0.1:8080/"), "http://10.0.0.1:8080/"),
        (answered(302, "http://notexample.com/"), "notexample.com"),
        (answered(200, address="10.0.0.1"), "example.com is 10.0.0.1 here"),
    ],
)
def test_whoever_answers_in_its_place_is_a_portal(reply: Reply, words: str) -> None:
    (finding,) = judge_portal(reply)
    assert words in finding.evidence
    assert finding.severity is Severity.ERROR
    (finding,) = judge_portal(reply, works=True)
    assert finding.severity is Severity.WARNING


def test_what_a_portal_writes_does_nothing_to_the_terminal() -> None:
    (finding,) = judge_portal(answered(302, "http://x.example/\x1b[2J"))
    assert finding.evidence.isprintable()


def test_the_head_of_a_reply_is_read_and_what_is_none_is_not() -> None:
    reply = parse_head(PUBLIC, b"HTTP/1.1 302 Found\r\nLocation: http://a\r\nlocation: http://b\r\nodd\r\n\r\nbody: x")
    assert reply == Reply(address=PUBLIC, status=302, headers={"location": "http://a"})
    for data in (b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 \xb2 x\r\n\r\n"):
        assert parse_head(PUBLIC, data) is None


def test_what_a_cache_kept_is_as_old_as_it_says() -> None:
    date = {"date": "Sun, 06 Nov 1994 08:49:37 GMT"}
    at = Reply(address=PUBLIC, status=200, headers=date).time
    assert at == 784111777.0
    assert Reply(address=PUBLIC, status=200, headers={**date, "age": "60"}).time == at + 60
    assert Reply(address=PUBLIC, status=200, headers={**date, "age": "-5"}).time == at
    for nonsense in ("", "yesterday", "Sun, 99 Nov 1994 08:49:37 GMT"):
        assert Reply(address=PUBLIC, status=200, headers={"date": nonsense}).time is None


@pytest.mark.parametrize(
    ("ahead", "title"),
    [
        ((299.0,), ""), ((-299.0,), ""), ((301.0, 20.0), ""), ((4000.0, -4000.0), ""), ((), ""),
        ((301.0,), "ahead by 5 minutes"), ((-7300.0, -7200.0), "behind by 2 hours"),
        ((86400.0 * 3,), "ahead by 3 days"),
    ],
)  # fmt: skip
def test_a_clock_is_wrong_only_where_all_who_tell_the_time_say_so(ahead: tuple[float, ...], title: str) -> None:
    found = judge_clock([Witness(who=f"w{number}", ahead=each) for number, each in enumerate(ahead)])
    assert [title in finding.title for finding in found] == [True] * bool(title)
