"""A laptop whose names are in the hands of systemd-resolved."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pytest

from devlink.resolvers.resolv_conf import parse
from tests.system.holding import Held
from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.world import (
    Link,
    MachineSnapshot,
    address,
    devlink_without_login,
    leaks,
    machine,
    offer_dns,
    plug,
    plug_in,
    questions,
    snapshot,
    unplug,
    until,
    wait_for_link,
    wait_for_names,
)

pytestmark = pytest.mark.system

MATRIX = [pytest.param(name, marks=pytest.mark.matrix) for name in ("trixie", "sid")]
ALL = pytest.mark.parametrize("image", ["bookworm", *MATRIX])
NEWER = pytest.mark.parametrize("image", MATRIX)
HOME_WWW, OFFICE_WWW = (lan.ORDINARY[server][lan.WWW] for server in (lan.HOME_DNS, lan.OFFICE_DNS))
OFFICE_WIKI, OFFICE_WIKI_2 = (lan.ORDINARY[server][lan.WIKI] for server in (lan.OFFICE_DNS, lan.OFFICE_DNS_2))
PYTHON = "import socket, sys; print(*{each[4][0] for each in socket.getaddrinfo(sys.argv[1], 80)})"
UPLINKS = "/run/systemd/resolve/resolv.conf"
DROP_INS = ("/usr/lib/NetworkManager/conf.d/90-devlink.conf", "/usr/lib/systemd/network/00-devlink.network")
LINK = "devlink0"
LINK_LIMIT = 20.0
AGENT_LIMIT = 15.0
"""Seconds within which the agent has a new helper do everything again."""


def settled(laptop: Machine) -> MachineSnapshot:
    """Without the columns of `resolvectl status`, which move, and without what resolved found out of servers."""
    seen = snapshot(laptop)
    lines = (" ".join(line.split()) for line in seen.resolved)
    return replace(seen, resolved=tuple(line.replace("/supported", "/unsupported") for line in lines))


def found(laptop: Machine, *argv: str) -> str:
    """What it said, and nothing if it failed."""
    return laptop.run(*argv, check=False).stdout.strip()


def wait_for(laptop: Machine, name: str, expected: str, limit: float = 5.0) -> None:
    """libc finds it before long."""
    until(lambda: address(laptop, name), expected, limit)


def remove_drop_ins(laptop: Machine) -> None:
    """As where devlink was not installed by a package."""
    laptop.run("rm", *DROP_INS)
    laptop.run("sh", "-c", "if systemctl -q is-active NetworkManager; then nmcli general reload; fi")


def have_no_server_on_loopback(laptop: Machine) -> None:
    """Tell resolved as systemd before 252 is told, of which no image is built: a server on the link itself."""
    module = "/usr/share/devlink/devlink/resolvers/modes/resolved.py"
    laptop.run("sed", "-i", "s/^LOOPBACK_SINCE = .*/LOOPBACK_SINCE = 9999/", module)


def no_leak(laptop: Machine) -> None:
    """The cluster's names went to no ordinary server, and ordinary names not to the cluster's."""
    for server in (lan.OFFICE_DNS, lan.OFFICE_DNS_2, lan.HOME_DNS):
        assert leaks(laptop, server) == []
    assert [each for each in questions(laptop, lan.CLUSTER_DNS) if not each.split()[0].endswith(lan.ENDS)] == []


def down(laptop: Machine, before: MachineSnapshot) -> None:
    """Nothing is left, and nothing got lost."""
    laptop.devlink("down", "qa")
    assert before.diff(settled(laptop)) == []
    assert "devlink" not in laptop.run("resolvectl", "--no-pager", "status").stdout
    assert address(laptop, lan.WWW) in (OFFICE_WWW, HOME_WWW)
    assert address(laptop, lan.WEB_NAME) == ""


@pytest.fixture
def boot() -> Iterator[Callable[..., Machine]]:
    """Boots a machine, for whose end the test need not care."""
    machines: list[Machine] = []

    def boot(image: str, link: Link = Link.NETWORKD, **given: object) -> Machine:
        machines.append(machine(image, link, **given))  # type: ignore[arg-type]
        laptop = machines[-1]
        wait_for(laptop, lan.WWW, OFFICE_WWW, LINK_LIMIT)
        return laptop

    yield boot
    for each in machines:
        each.close()


Boot = Callable[..., Machine]


@contextlib.contextmanager
def holding(laptop: Machine, *options: str, **given: object) -> Iterator[Held]:
    """The mode in force without devlink's routes, which go with a link and are the agent's affair."""
    held = Held(laptop, "systemd-resolved", *options)
    assert len(held.up(**given)) == 1 + len(options)
    yield held
    held.ask("restore")


@ALL
@pytest.mark.parametrize("link", [Link.NETWORKD, pytest.param(Link.NETWORK_MANAGER, marks=pytest.mark.matrix)])
def test_every_program_finds_the_names_and_all_is_as_it_was_afterwards(boot: Boot, image: str, link: Link) -> None:
    laptop = boot(image, link)
    before = settled(laptop)
    laptop.devlink("up", "qa")
    assert "systemd-resolved: libc asks systemd-resolved (nsswitch.conf)" in laptop.devlink("status").stdout
    name, reverse = lan.WEB_NAME, "10.10.254.10.in-addr.arpa"
    for argv in (
        ["getent", "hosts", name], ["getent", "-s", "dns", "ahosts", name], ["getent", "-s", "resolve", "hosts", name],
        ["resolvectl", "query", name], ["python3", "-c", PYTHON, name], ["dig", "+short", name],
        ["dig", "+short", "+tcp", name], ["dig", "+short", "+dnssec", "+bufsize=1232", name],
        ["dig", "+short", "+noedns", name], ["dig", "+short", "@127.0.0.54", name],
        ["dig", "+short", "+tcp", "@127.0.0.231", name],
    ):  # fmt: skip
        assert lan.WEB in found(laptop, *argv), argv
    assert lan.WEB in laptop.run("getent", "ahostsv4", name, user="bob").stdout
    assert laptop.run("curl", "-sS", f"http://{name}/").stdout == "web\n"
    for argv in (["getent", "hosts", lan.WEB], ["resolvectl", "query", lan.WEB], ["dig", "+short", reverse, "PTR"]):
        assert name in found(laptop, *argv), argv
    assert "100 80" in found(laptop, "dig", "+short", "_http._tcp.peers.default.svc.cluster.local", "SRV")
    assert address(laptop, f"nope.{name}") == ""
    assert (address(laptop, lan.WWW), address(laptop, lan.WIKI)) == (OFFICE_WWW, OFFICE_WIKI)
    assert f"{lan.WIKI}. A" in questions(laptop)
    no_leak(laptop)
    down(laptop, before)


@ALL
def test_names_that_programs_ask_the_forwarder_itself_make_no_loop(boot: Boot, image: str) -> None:
    laptop = boot(image)
    laptop.devlink("up", "qa")
    assert found(laptop, "dig", "+short", "@127.0.0.231", lan.WIKI) == OFFICE_WIKI
    asked = questions(laptop)
    assert asked.count(f"{lan.WIKI}. A") <= 3  # resolved tries out what a server can do
    # A cluster's name in the middle, as a search list makes it, is answered by the forwarder and goes no further.
    said = found(laptop, "dig", "@127.0.0.231", "web.default.svc.cluster.local.corp.example")
    assert "status: NXDOMAIN" in said
    for name in ("cluster.local", "nope.cluster.local", "254.10.in-addr.arpa", "cluster.local.example"):
        laptop.run("dig", "+tries=1", "+time=2", "@127.0.0.231", name)
        laptop.run("dig", "+tries=1", "+time=2", name)
    no_leak(laptop)
    assert [each for each in questions(laptop)[len(asked) :] if "svc.cluster.local" in each] == []


@ALL
def test_a_container_that_was_started_meanwhile_keeps_ordinary_names(boot: Boot, image: str) -> None:
    """Docker copies resolved's file of uplinks where resolv.conf names the stub, without the lines of loopback."""
    laptop = boot(image)
    before = parse(laptop.read(UPLINKS)).nameservers
    laptop.devlink("up", "qa")
    servers = [server for server in parse(laptop.read(UPLINKS)).nameservers if not server.is_loopback]
    assert [str(server) for server in servers] == [lan.OFFICE_DNS]
    laptop.devlink("down", "qa")
    assert parse(laptop.read(UPLINKS)).nameservers == before


@ALL
def test_a_killed_helper_takes_no_ordinary_name_along_and_the_cluster_s_are_back(boot: Boot, image: str) -> None:
    laptop = boot(image)
    before = settled(laptop)
    laptop.devlink("up", "qa")
    for part in ("helper", "helper", "forwarder"):
        laptop.kill_and_wait(f"devlink-{part}.service")
        assert address(laptop, lan.WWW) == OFFICE_WWW
        wait_for(laptop, lan.WEB_NAME, lan.WEB, AGENT_LIMIT)
        assert lan.WEB_NAME in found(laptop, "getent", "hosts", lan.WEB)
    # The agent hears of its session from the new helper in its own time.
    until(lambda: laptop.devlink("status", check=False).returncode, 0)
    down(laptop, before)


RESTARTS = {
    "killed": "systemctl kill -s KILL systemd-resolved; sleep .3; systemctl start systemd-resolved",
    "restarted": "systemctl restart systemd-resolved",
    "stopped for a while": "systemctl stop systemd-resolved; sleep .5; systemctl start systemd-resolved",
    "forgetful": "systemctl stop systemd-resolved; rm -rf /run/systemd/resolve/netif; systemctl start systemd-resolved",
}


@ALL
def test_resolved_comes_back_with_the_cluster_s_names(boot: Boot, image: str) -> None:
    laptop = boot(image)
    before = settled(laptop)
    laptop.devlink("up", "qa")
    for how, command in RESTARTS.items():
        laptop.run("sh", "-c", command)
        wait_for(laptop, lan.WEB_NAME, lan.WEB)
        assert address(laptop, lan.WWW) == OFFICE_WWW, how
    no_leak(laptop)
    down(laptop, before)


@ALL
def test_the_names_outlive_the_bus_and_go_without_it(boot: Boot, image: str) -> None:
    laptop = boot(image)
    laptop.devlink("up", "qa")
    laptop.run("systemctl", "kill", "-s", "KILL", "dbus.service")
    for _ in range(10):  # meanwhile the helper looks what has become of it
        assert (address(laptop, lan.WEB_NAME), address(laptop, lan.WWW)) == (lan.WEB, OFFICE_WWW)
        time.sleep(0.2)
    devlink_without_login(laptop, "down", "qa")
    assert "devlink0" not in laptop.run("ip", "-o", "link").stdout
    assert (address(laptop, lan.WEB_NAME), address(laptop, lan.WWW)) == ("", OFFICE_WWW)


@ALL
@pytest.mark.parametrize("has_drop_ins", [True, False])
def test_networkmanager_leaves_the_link_alone(boot: Boot, image: str, has_drop_ins: bool) -> None:
    laptop = boot(image, Link.NETWORK_MANAGER)
    if not has_drop_ins:
        remove_drop_ins(laptop)
    with holding(laptop) as held:
        for command in (
            "nmcli networking off; sleep .5; nmcli networking on",
            "systemctl kill -s KILL NetworkManager; sleep .3; systemctl start NetworkManager",
            "systemctl restart NetworkManager",
        ):
            laptop.run("sh", "-c", command)
            wait_for(laptop, lan.WWW, OFFICE_WWW, LINK_LIMIT)
            assert "devlink0:unmanaged" in laptop.run("nmcli", "-g", "DEVICE,STATE", "device").stdout.splitlines()
            assert held.ask("is_ours")
            wait_for(laptop, lan.WEB_NAME, lan.WEB)
        assert held.ordinary() == []
    assert address(laptop, lan.WWW) == OFFICE_WWW


EVERY_NAME = "[Match]\nName=*\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n"


@ALL
def test_networkd_leaves_the_link_alone_where_a_file_matches_every_name(boot: Boot, image: str) -> None:
    laptop = boot(image)
    laptop.write("/etc/systemd/network/90-all.network", EVERY_NAME)
    laptop.run("networkctl", "reload")
    with holding(laptop) as held:
        for command in (["networkctl", "reload"], ["systemctl", "restart", "systemd-networkd"]):
            laptop.run(*command)
            time.sleep(0.5)
            assert held.ask("is_ours")
            wait_for(laptop, lan.WEB_NAME, lan.WEB)


@ALL
def test_without_the_drop_in_networkd_s_claim_is_told(boot: Boot, image: str) -> None:
    laptop = boot(image)
    remove_drop_ins(laptop)
    laptop.write("/etc/systemd/network/90-all.network", EVERY_NAME)
    laptop.run("networkctl", "reload")
    before = settled(laptop)
    refused = laptop.devlink("up", "qa", check=False)
    assert refused.returncode == 6
    assert "systemd-networkd has taken the link" in refused.stderr
    assert before.diff(settled(laptop)) == []


MEDDLING = {
    "deleted": "ip link delete devlink0",
    "taken down": "ip link set devlink0 down",
    "its address taken": "ip address flush dev devlink0",
    "reverted": "resolvectl revert devlink0",
    "other domains": "resolvectl domain devlink0 other.example",
}


@ALL
@pytest.mark.parametrize("is_old", [False, True])
def test_what_others_do_to_the_link_is_mended(boot: Boot, image: str, is_old: bool) -> None:
    laptop = boot(image)
    if is_old:
        have_no_server_on_loopback(laptop)
    before = settled(laptop)
    laptop.devlink("up", "qa")
    assert (f"%{LINK}:53" in laptop.run("ss", "-uln").stdout) is is_old
    for command in MEDDLING.values():
        laptop.run("sh", "-c", command)
        wait_for(laptop, lan.WEB_NAME, lan.WEB)
        assert address(laptop, lan.WWW) == OFFICE_WWW
    no_leak(laptop)
    down(laptop, before)


@ALL
@pytest.mark.parametrize("link", [Link.NETWORKD, pytest.param(Link.NETWORK_MANAGER, marks=pytest.mark.matrix)])
def test_other_servers_by_dhcp_and_a_second_uplink_are_resolved_s_affair(boot: Boot, image: str, link: Link) -> None:
    laptop = boot(image, link)
    with holding(laptop) as held:
        assert held.ask("read_ways") == [lan.OFFICE_DNS]
        offer_dns(laptop, lan.OFFICE_DNS_2)
        unplug(laptop)
        wait_for(laptop, lan.WEB_NAME, lan.WEB)
        time.sleep(6 if link is Link.NETWORK_MANAGER else 0.5)  # it waits for 5 s whether the cable comes back
        plug_in(laptop)
        wait_for(laptop, lan.WIKI, OFFICE_WIKI_2, LINK_LIMIT)
        assert held.ask("read_ways") == [lan.OFFICE_DNS_2]
        plug(laptop)
        wait_for_link(laptop, "eth1")
        until(lambda: set(held.ask("read_ways")), {lan.OFFICE_DNS_2, lan.HOME_DNS}, LINK_LIMIT)
        assert held.ask("is_ours")
        assert address(laptop, lan.WEB_NAME) == lan.WEB
        assert lan.WEB_NAME in found(laptop, "getent", "hosts", lan.WEB)
        assert held.ordinary() == []
        no_leak(laptop)
    wait_for(laptop, lan.WIKI, OFFICE_WIKI_2)


@ALL
@pytest.mark.parametrize("options", [(), ("--old",)])
@pytest.mark.parametrize(
    "setting",
    [
        "DNSSEC=yes",
        *(
            pytest.param(text, marks=pytest.mark.matrix)
            for text in ("DNSSEC=allow-downgrade", "DNSOverTLS=yes", "DNSOverTLS=opportunistic", "LLMNR=no",
                         "MulticastDNS=yes", "Domains=~.\nDNS=172.16.0.54",
                         "Cache=no", "DNSStubListenerExtra=127.0.0.99")
        ),
    ],
)  # fmt: skip
def test_resolved_s_own_settings_stop_no_name_of_the_cluster(
    boot: Boot, image: str, setting: str, options: tuple[str, ...]
) -> None:
    """Ordinary names may fail by them, and do without us. `--old`: as systemd before 252 is told."""
    laptop = machine_with(boot, image, {"/etc/systemd/resolved.conf.d/50-test.conf": f"[Resolve]\n{setting}\n"})
    # A zone outside .local has no negative trust anchor of resolved's.
    domains = ["cluster.local", "corp-cluster.example", "254.10.in-addr.arpa"]
    with holding(laptop, *options, domains=domains) as held:
        for argv in (
            ["getent", "hosts", lan.WEB_NAME], ["resolvectl", "query", lan.WEB_NAME], ["dig", "+short", lan.WEB_NAME],
            ["dig", "+short", "+tcp", lan.WEB_NAME], ["dig", "+short", "+dnssec", lan.WEB_NAME],
        ):  # fmt: skip
            assert lan.WEB in found(laptop, *argv), argv
        assert lan.WEB_NAME in found(laptop, "getent", "hosts", lan.WEB)
        assert "REFUSED" in found(laptop, "dig", "nope.corp-cluster.example")
        address(laptop, lan.WWW)
        assert held.ordinary() == ["udp nope.corp-cluster.example. A"]
        assert leaks(laptop) == []
    assert address(laptop, lan.WEB_NAME) == ""


def machine_with(boot: Boot, image: str, files: Mapping[str, str]) -> Machine:
    """One whose ordinary names may not work."""
    laptop = boot(image)
    for path, text in files.items():
        laptop.write(path, text)
    laptop.run("systemctl", "restart", "systemd-resolved")
    return laptop


@ALL
def test_a_name_without_a_dot_makes_no_loop_where_resolved_asks_every_link(boot: Boot, image: str) -> None:
    settings = {"/etc/systemd/resolved.conf.d/50-test.conf": "[Resolve]\nResolveUnicastSingleLabel=yes\nLLMNR=no\n"}
    laptop = machine_with(boot, image, settings)
    with holding(laptop) as held:
        start = time.monotonic()
        assert address(laptop, "printer") == ""
        assert time.monotonic() - start < 4.0  # not the 5 s for which resolved waits for an answer
        ours, office = held.ordinary(), [each for each in questions(laptop) if each.startswith("printer.")]
        assert set(ours) <= {"udp printer. A", "udp printer. AAAA"}
        assert ours
        assert len(ours) <= 6
        assert len(office) <= 12


@NEWER
@pytest.mark.parametrize("options", [(), ("--old",)])
def test_for_a_cluster_of_ipv6_the_link_has_that_alone(boot: Boot, image: str, options: tuple[str, ...]) -> None:
    laptop = boot(image)
    with holding(laptop, *options, families=[6]) as held:
        shown = laptop.run("ip", "-o", "address", "show", "dev", "devlink0").stdout
        assert [line.split()[3] for line in shown.splitlines()] == ["fd00:5353::53/128"]
        assert lan.WEB in found(laptop, "resolvectl", "query", lan.WEB_NAME)
        assert address(laptop, lan.WWW) == OFFICE_WWW
        assert held.ordinary() == []


@ALL
def test_libc_that_asks_resolved_no_more_is_seen(boot: Boot, image: str) -> None:
    laptop = boot(image)
    laptop.run("sed", "-i", "s/^hosts:.*/hosts: files dns/", "/etc/nsswitch.conf")
    with holding(laptop) as held:
        assert held.ask("detect")[0] == ["systemd-resolved", "resolv.conf names systemd-resolved's stub"]
        wait_for(laptop, lan.WEB_NAME, lan.WEB)
        laptop.write("/etc/resolv.conf", f"nameserver {lan.OFFICE_DNS}\n")
        assert not held.ask("is_ours")
        assert held.ask("detect")[0][0] == "direct"
        laptop.run("ln", "-sfn", "/run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf")
        assert held.ask("is_ours")


@ALL
def test_without_a_stub_the_cluster_s_names_are_libc_s_alone(boot: Boot, image: str) -> None:
    """Who reads resolv.conf by itself goes to the uplinks, as it does without us; libc asks resolved."""
    settings = {"/etc/systemd/resolved.conf.d/50-test.conf": "[Resolve]\nDNSStubListener=no\n"}
    laptop = machine_with(boot, image, settings)
    laptop.run("ln", "-sfn", UPLINKS, "/etc/resolv.conf")
    before = settled(laptop)
    laptop.devlink("up", "qa")
    assert (address(laptop, lan.WEB_NAME), address(laptop, lan.WWW)) == (lan.WEB, OFFICE_WWW)
    assert found(laptop, "dig", "+short", "@127.0.0.231", lan.WIKI) == OFFICE_WIKI
    down(laptop, before)


@ALL
def test_after_a_power_cut_nothing_is_left(boot: Boot, image: str) -> None:
    laptop = boot(image)
    before = settled(laptop)
    laptop.devlink("up", "qa")
    laptop.power_cut()
    laptop.boot()
    wait_for_link(laptop)
    wait_for(laptop, lan.WWW, OFFICE_WWW, LINK_LIMIT)
    assert "devlink0" not in laptop.run("ip", "-o", "link").stdout
    assert before.diff(settled(laptop)) == []
    laptop.devlink("up", "qa")
    wait_for_names(laptop, lan.WEB_NAME, lan.WEB)
