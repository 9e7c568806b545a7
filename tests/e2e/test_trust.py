"""Trust: the helper itself, asked without any client of ours in between, installs what a record covers and no more."""

import hashlib
import ipaddress
import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from devlink import lab
from devlink.core.codec import encode
from devlink.core.names import DomainName
from devlink.core.network import ObservedNetwork, Path, Route
from devlink.core.plan import Desired, Upstream, addresses_of_interest, make_plan
from devlink.core.profile_document import decode_profile
from devlink.errors import HelperError, NotTrustedError, UsageError, VerificationError
from devlink.rpc.client import Client
from tests.e2e.link import POLICY, PROFILE, Link, linked

pytestmark = pytest.mark.lab

TRUST, CONFIGURED, KEPT = "/var/lib/devlink/trust", "/etc/devlink/trust.d", "/root/trust"


def connect(link: Link) -> Client:
    """Straight to the helper's socket, through the laptop's root folder."""
    return Client.connect(f"/proc/{link.world.anchor(lab.LAPTOP)}/root/run/devlink/helper")


def link_name(link: Link) -> str:
    return link.run("ip", "-o", "route", "get", str(link.world.spec.gateway.address)).partition(" dev ")[2].split()[0]


def plan_of(link: Link) -> Desired:
    """What the agent would ask for, for the profile that is trusted."""
    profile = decode_profile(link.world.profile())
    path = Path(oif=link_name(link))
    observed = ObservedNetwork(paths=dict.fromkeys(addresses_of_interest(profile), path))
    return make_plan(profile, observed).desired


def apply(link: Link, desired: Desired) -> None:
    """Ask the helper for it. It ends with the connection: this caller does not confirm."""
    with connect(link) as client:
        client.call("io.devlink.Helper.Apply", {"plan": encode(desired)})


@pytest.fixture
def trusted(link: Link) -> Iterator[Desired]:
    """The plan that the record on the laptop covers; afterwards there is this record again, and no other."""
    link.run("sh", "-ec", f"rm -rf {KEPT}; cp -a {TRUST} {KEPT}")
    yield plan_of(link)
    link.run("sh", "-ec", f"rm -rf {TRUST}/* {CONFIGURED}/*; cp -a {KEPT}/. {TRUST}")


def test_the_plan_that_trust_was_given_for_is_installed(link: Link, trusted: Desired) -> None:
    with connect(link) as client:
        applied = client.call("io.devlink.Helper.Apply", {"plan": encode(trusted)})
        assert len(applied["routes"]) == len(trusted.routes) > 0
        installed = link.run("ip", "route", "show", "proto", "231")
        assert all(str(route.destination) in installed for route in trusted.routes)
        client.call("io.devlink.Helper.Release", {"session": trusted.session})


SERVER = Upstream(address=ipaddress.ip_address("10.99.0.53"))


def prefix(desired: Desired, text: str) -> Desired:
    added = replace(desired.routes[0], destination=ipaddress.ip_network(text))
    if added.destination.version == 6:
        added = replace(added, next_hop=ipaddress.ip_address("fd16::13"))
    return replace(desired, routes=(*desired.routes, added))


def zone(desired: Desired, text: str) -> Desired:
    return replace(desired, zones=(*desired.zones, replace(desired.zones[0], suffix=DomainName.parse(text))))


def next_hop(desired: Desired, text: str) -> Desired:
    return replace(
        desired, routes=(*desired.routes[1:], replace(desired.routes[0], next_hop=ipaddress.ip_address(text)))
    )


@pytest.mark.parametrize(
    ("grow", "wants"),
    [
        (lambda d: replace(d, session="stranger"), "stranger is not trusted"),
        (lambda d: prefix(d, "10.99.0.0/16"), "prefix 10.99.0.0/16"),
        (lambda d: prefix(d, "10.16.0.0/12"), "prefix 10.16.0.0/12"),
        (lambda d: prefix(d, "fd99::/48"), "prefix fd99::/48"),
        (lambda d: zone(d, "corp.example"), "domain corp.example"),
        (lambda d: zone(d, "99.10.in-addr.arpa"), "prefix 10.99.0.0/16"),
        (lambda d: zone(d, "0.0.9.9.d.f.ip6.arpa"), "prefix fd99::/24"),
        (lambda d: next_hop(d, "10.10.0.9"), "next hop 10.10.0.9"),
        (lambda d: replace(d, ca="0" * 64), "another cluster CA"),
        (
            lambda d: replace(d, zones=tuple(replace(z, servers=(*z.servers, SERVER)) for z in d.zones)),
            "DNS server 10.99.0.53",
        ),
    ],
    ids=["name", "prefix", "wider", "ipv6", "domain", "reverse", "reverse6", "next-hop", "ca", "dns-server"],
)  # fmt: skip
def test_the_helper_refuses_what_grew_and_changes_nothing(
    link: Link, trusted: Desired, grow: Callable[[Desired], Desired], wants: str
) -> None:
    before = link.world.snapshot()
    with pytest.raises(NotTrustedError, match=wants) as refused:
        apply(link, grow(trusted))
    assert refused.value.next_step
    link.assert_equal(before)
    assert link.pids("forwarder") == []


@pytest.mark.parametrize(
    ("grow", "wants"),
    [
        (lambda s: s["pods"].append("10.99.0.0/16"), "prefix 10.99.0.0/16"),
        (lambda s: s["dns"].update(domain="corp.example"), "domain corp.example"),
        (lambda s: s["gateways"].insert(0, {"address": "198.18.0.9", "priority": 0}), "next hop 198.18.0.9"),
        (lambda s: s["dns"]["servers"].append({"address": "198.18.0.53"}), "DNS server 198.18.0.53"),
    ],
    ids=["prefix", "domain", "next-hop", "dns-server"],
)
def test_up_of_a_profile_that_grew_exits_6_and_changes_nothing(
    link: Link, trusted: Desired, grow: Callable[[dict[str, Any]], object], wants: str
) -> None:
    tree = yaml.safe_load(link.world.profile())
    grow(tree["spec"])
    link.world.write_file(lab.LAPTOP, "/root/grown.yaml", yaml.safe_dump(tree))
    oif = link_name(link)
    link.run("ip", "address", "add", "198.18.0.1/24", "dev", oif)  # a next hop elsewhere is on a link of its own
    try:
        before = link.world.snapshot()
        said = link.up("/root/grown.yaml", expect=6)
        assert wants in said
        assert "Next: If that is right, run: devlink trust /root/grown.yaml" in said
        link.assert_equal(before)
        link.run("devlink", "trust", "/root/grown.yaml", "--yes")
        assert link.devlink("up", "/root/grown.yaml").returncode != 6, "looked at again, it is trusted"
    finally:
        link.devlink("down", "--all")
        link.run("ip", "address", "del", "198.18.0.1/24", "dev", oif)


def test_up_of_an_untrusted_profile_exits_6_and_names_the_way_to_trust(link: Link, trusted: Desired) -> None:
    before = link.world.snapshot()
    link.run("devlink", "trust", "revoke", trusted.session)
    said = link.up(PROFILE, expect=6)
    assert f"Profile {trusted.session} is not trusted on this machine." in said
    assert f"Next: Run: devlink trust {PROFILE}" in said
    link.run("devlink", "trust", PROFILE, "--yes")
    link.assert_equal(before)
    link.up()
    link.down()


EVERYTHING = {
    "name": "greedy",
    "prefixes": ["0.0.0.0/0", "::/0"],
    "domains": ["."],
    "next_hops": ["0.0.0.0/0", "::/0"],
    "dns_servers": ["0.0.0.0/0", "::/0"],
}
"""A record that whoever made it meant to cover all there is."""


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "8.0.0.0/7", "127.0.0.0/8", "127.1.2.0/24", "169.254.0.0/16",
        "169.254.169.254/32", "224.0.0.0/4", "224.0.0.251/32", "240.0.0.0/8", "255.255.255.255/32", "0.0.0.0/8",
        "::/0", "2000::/3", "::1/128", "fe80::/64", "ff02::/16", "::ffff:10.0.0.0/104",
    ],
)  # fmt: skip
def test_no_record_gives_away_the_default_route_or_reserved_space(link: Link, trusted: Desired, text: str) -> None:
    link.world.write_file(lab.LAPTOP, f"{TRUST}/greedy.json", json.dumps(EVERYTHING))
    destination = ipaddress.ip_network(text)
    hop = ipaddress.ip_address("fd16::13") if destination.version == 6 else trusted.routes[0].next_hop
    greedy = Desired(session="greedy", routes=(replace(trusted.routes[0], destination=destination, next_hop=hop),))
    before = link.world.snapshot()
    with pytest.raises(NotTrustedError, match="claims what no profile may have"):
        apply(link, greedy)
    link.assert_equal(before)


def test_the_default_route_in_pieces_is_the_default_route(link: Link, trusted: Desired) -> None:
    link.world.write_file(lab.LAPTOP, f"{TRUST}/greedy.json", json.dumps(EVERYTHING))
    halves = [*ipaddress.ip_network("8.0.0.0/6").subnets(new_prefix=8)]
    routes = tuple(replace(trusted.routes[0], destination=half) for half in halves)
    with pytest.raises(NotTrustedError, match="claims what no profile may have"):
        apply(link, Desired(session="greedy", routes=routes))


@pytest.mark.parametrize("text", [".", "com", "local", "arpa", "in-addr.arpa", "ip6.arpa"])
def test_no_record_gives_away_the_root_or_a_whole_top_level_domain(link: Link, trusted: Desired, text: str) -> None:
    link.world.write_file(lab.LAPTOP, f"{TRUST}/greedy.json", json.dumps(EVERYTHING))
    greedy = Desired(session="greedy", zones=(replace(trusted.zones[0], suffix=DomainName.parse(text)),))
    before = link.world.snapshot()
    with pytest.raises(NotTrustedError, match="claims what no profile may have"):
        apply(link, greedy)
    link.assert_equal(before)


def test_the_same_record_gives_away_what_is_nobodys_default(link: Link, trusted: Desired) -> None:
    link.world.write_file(lab.LAPTOP, f"{TRUST}/greedy.json", json.dumps(EVERYTHING))
    with connect(link) as client:
        client.call("io.devlink.Helper.Apply", {"plan": encode(replace(trusted, session="greedy"))})
        client.call("io.devlink.Helper.Release", {"session": "greedy"})


@pytest.mark.parametrize(
    ("spoil", "wants"),
    [
        (lambda r: replace(r, metric=0), "metric"),
        (lambda r: replace(r, table=255), "table"),
        (lambda r: replace(r, next_hop=None), "needs a next hop"),
        (lambda r: replace(r, next_hop=ipaddress.ip_address("fd16::13")), "its own family"),
        (lambda r: replace(r, source=ipaddress.ip_address("10.254.0.1")), "source"),
        (lambda r: replace(r, mtu=100), "MTU"),
    ],
)
def test_a_route_of_another_kind_than_ours_is_refused_though_its_prefix_is_trusted(
    link: Link, trusted: Desired, spoil: Callable[[Route], Route], wants: str
) -> None:
    before = link.world.snapshot()
    with pytest.raises((UsageError, VerificationError), match=wants):
        apply(link, replace(trusted, routes=(spoil(trusted.routes[0]), *trusted.routes[1:])))
    link.assert_equal(before)


@pytest.fixture(scope="module")
def lab_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """Its members need no record within bounds."""
    with linked(lab.network_a(), tmp_path_factory.mktemp("group") / "helper.log") as link:
        policy = link.world.read_file(lab.LAPTOP, POLICY)
        link.stop_helper()
        link.world.write_file(lab.LAPTOP, POLICY, policy + 'trust = "group"\n')
        link.start_helper()
        yield link


@pytest.fixture
def group_policy(lab_machine: Link) -> Iterator[Desired]:
    """A plan that has no record under its name."""
    before = lab_machine.world.snapshot()
    yield replace(plan_of(lab_machine), session="newcomer")
    lab_machine.put_back(before)


def test_under_policy_group_private_space_and_cluster_local_need_no_record(
    lab_machine: Link, group_policy: Desired
) -> None:
    with connect(lab_machine) as client:
        client.call("io.devlink.Helper.Apply", {"plan": encode(group_policy)})
        client.call("io.devlink.Helper.Release", {"session": group_policy.session})


@pytest.mark.parametrize(
    "grow",
    [
        lambda d: prefix(d, "100.64.0.0/16"),
        lambda d: prefix(d, "34.118.224.0/20"),
        lambda d: prefix(d, "10.0.0.0/11"),
        lambda d: prefix(d, "2001:db8::/64"),
        lambda d: prefix(d, "fd00::/47"),
        lambda d: prefix(d, "0.0.0.0/0"),
        lambda d: zone(d, "corp.example"),
        lambda d: zone(d, "sub.cluster.local"),
        lambda d: zone(d, "113.0.203.in-addr.arpa"),
        lambda d: replace(
            d, zones=(replace(d.zones[0], servers=(Upstream(address=ipaddress.ip_address("203.0.113.53")),)),)
        ),
    ],
    ids=["cgnat", "public", "short", "public6", "short6", "default", "domain", "subdomain", "reverse", "dns-server"],
)
def test_under_policy_group_whatever_lies_beyond_needs_a_record(
    lab_machine: Link, group_policy: Desired, grow: Callable[[Desired], Desired]
) -> None:
    before = lab_machine.world.snapshot()
    with pytest.raises(NotTrustedError):
        apply(lab_machine, grow(group_policy))
    lab_machine.assert_equal(before)


def test_records_that_configuration_management_drops_count_and_are_never_written(link: Link, trusted: Desired) -> None:
    name = trusted.session
    record = link.world.read_file(lab.LAPTOP, f"{TRUST}/{name}.json")
    link.run("devlink", "trust", "revoke", name)
    link.up(PROFILE, expect=6)
    link.run("mkdir", "-p", CONFIGURED)
    link.world.write_file(lab.LAPTOP, f"{CONFIGURED}/{name}.json", record)
    link.up()
    link.down()
    refused = link.devlink("trust", "revoke", name)
    assert refused.returncode == 2
    assert CONFIGURED in refused.stderr
    # Narrower than the machine's own, it still wins, and trusting again does not touch it.
    narrow = json.dumps({"name": name, "domains": ["cluster.local"]})
    link.world.write_file(lab.LAPTOP, f"{CONFIGURED}/{name}.json", narrow)
    link.trust(PROFILE)
    assert link.world.read_file(lab.LAPTOP, f"{CONFIGURED}/{name}.json") == narrow
    assert "claims more than was trusted" in link.up(PROFILE, expect=6)
    link.run("rm", "-r", CONFIGURED)
    link.up()
    link.down()


BROKEN_RECORDS = {
    "{": "Expecting property name",
    "[]": "a list is not a mapping",
    '{"name": "NAME", "prefixes": ["10.0.0.1/8"]}': "host bits set",
    '{"name": "NAME", "prefices": []}': "did you mean prefixes?",
    '{"name": "another"}': "is for another profile, another",
    "\\377": "can't decode",
}


def test_a_broken_record_is_an_error_that_names_it_and_its_fault_until_trust_is_given_again(
    link: Link, trusted: Desired
) -> None:
    path = f"{TRUST}/{trusted.session}.json"
    for text, wants in BROKEN_RECORDS.items():
        link.run("sh", "-c", 'printf "$1" >"$2"', "write", text.replace("NAME", trusted.session), path)
        before = link.world.snapshot()
        said = link.up(PROFILE, expect=HelperError.exit_code)
        assert path in said
        assert wants in said
        assert f"devlink trust {PROFILE}" in said
        link.assert_equal(before)
        assert link.devlink("trust", "list").returncode == 0
    link.trust(PROFILE)
    link.up()
    link.down()


BROKEN_POLICIES = {
    "echo 'lease_grace = ' >FILE": "Invalid value",
    "echo 'lease_grace = -1' >FILE": "from 0 to 3600",
    "echo 'lease_grace = nan' >FILE": "from 0 to 3600",
    "echo 'trust = \"everyone\"' >FILE": "none of records, group",
    "echo 'lease_graze = 1' >FILE": "did you mean lease_grace?",
    "echo 'nameserver = \"192.0.2.1\"' >FILE": "must be a loopback address",
    "printf '\\377' >FILE": "can't decode",
    "rm FILE; mkdir FILE": "Is a directory",
}


def test_a_broken_policy_stops_the_helper_with_its_fault_and_not_the_undoing(link: Link) -> None:
    former = link.world.read_file(lab.LAPTOP, POLICY)
    link.stop_helper()
    try:
        before = link.world.snapshot()
        for make, wants in BROKEN_POLICIES.items():
            link.run("sh", "-c", make.replace("FILE", POLICY))
            started = link.devlink("helper", "run")
            assert started.returncode == HelperError.exit_code
            assert POLICY in started.stderr
            assert wants in started.stderr
            assert "Next: Correct the file" in started.stderr
            link.run("ip", "route", "add", "10.99.0.0/16", "dev", link_name(link), "proto", "231", "metric", "50")
            assert link.devlink("helper", "restore").returncode == 0
            link.assert_equal(replace(before, files=link.world.snapshot().files))
    finally:
        link.run("rm", "-rf", POLICY)
        link.world.write_file(lab.LAPTOP, POLICY, former)
        link.start_helper()


@pytest.mark.system
def test_an_ordinary_user_is_given_one_line_for_root_that_works_and_holds_only_for_what_was_shown(
    link: Link, trusted: Desired
) -> None:
    link.run("chmod", "711", "/root")
    link.run("devlink", "trust", "revoke", trusted.session)
    # A name with a blank: the line must survive a shell.
    mine = "/home/alice/my profile.yaml"
    link.world.write_file(lab.LAPTOP, mine, link.world.profile())
    shown = link.world.run(lab.LAPTOP, ["devlink", "trust", mine], user="alice")
    assert shown.returncode == 6
    assert all(text in shown.stderr for text in ("addresses", "names below", "next hops", "cluster.local"))
    (line,) = [text.partition("Next: ")[2] for text in shown.stderr.splitlines() if "Next: " in text]
    sudo, program, *arguments = shlex.split(line)
    assert sudo == "sudo"
    assert program.startswith("/")
    assert arguments[0] == "trust"
    path, digest = arguments[1], arguments[3]
    assert path.startswith("/")
    assert arguments[2] == "--sha256"
    assert digest == hashlib.sha256(link.world.read_file(lab.LAPTOP, path).encode()).hexdigest()

    tree = yaml.safe_load(link.world.read_file(lab.LAPTOP, path))
    tree["spec"]["pods"].append("10.99.0.0/16")
    original = link.world.read_file(lab.LAPTOP, path)
    link.world.write_file(lab.LAPTOP, path, yaml.safe_dump(tree))
    changed = link.world.run(lab.LAPTOP, [program, *arguments])
    assert changed.returncode == 2
    assert "is not the profile that was shown" in changed.stderr
    assert link.devlink("trust", "list").stdout == ""

    link.world.write_file(lab.LAPTOP, path, original)
    given = link.world.run(lab.LAPTOP, [program, *arguments])
    assert given.returncode == 0, given.stderr
    assert link.devlink("trust", "list").stdout.startswith(trusted.session)
    link.run("chmod", "700", "/root")


def test_trust_is_not_given_by_a_program_that_says_nothing(link: Link, trusted: Desired) -> None:
    link.run("devlink", "trust", "revoke", trusted.session)
    assert link.devlink("trust", PROFILE).returncode == 6, "neither a terminal nor --yes"
    assert link.devlink("trust", "list").stdout == ""
