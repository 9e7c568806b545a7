"""NetworkManager without systemd-resolved: with a dnsmasq of its own, and alone; each on three of its versions."""

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.system.holding import Held
from tests.system.inside import lan
from tests.system.machine import Machine
from tests.system.modes import nameservers
from tests.system.setups import network_manager
from tests.system.world import (
    Link,
    address,
    leaks,
    machine,
    make_etc_read_only,
    offer_dns,
    plug,
    questions,
    snapshot,
    until,
    wait_for_names,
)

pytestmark = pytest.mark.system
DNSMASQ, ALONE = "dnsmasq", "default"
"""As its configuration has it: `main.dns`."""
MODES = {DNSMASQ: "NetworkManager-dnsmasq", ALONE: "NetworkManager"}
CHOSEN = (("bookworm", DNSMASQ), ("sid", ALONE))
"""These two are for every run: the oldest and the newest."""
SYSTEMS = [
    pytest.param((image, dns), id=f"{image}-{dns}", marks=() if (image, dns) in CHOSEN else pytest.mark.matrix)
    for image in ("bookworm", "trixie", "sid")
    for dns in (DNSMASQ, ALONE)
]
DROP_IN = "/usr/lib/NetworkManager/conf.d/90-devlink.conf"
OURS = ["127.0.0.231", "127.53.53.54", "127.53.53.55"]


class Laptop:
    """A machine whose DNS is NetworkManager's, with the mode held on it."""

    def __init__(self, machine: Machine, dns: str) -> None:
        self.machine, self.dns = machine, dns
        self.held = Held(machine, MODES[dns])

    @property
    def nameservers(self) -> list[str]:
        return nameservers(self.machine)

    def look_up(self, name: str) -> str:
        return address(self.machine, name)

    def check(self, wiki: str = lan.ORDINARY[lan.OFFICE_DNS][lan.WIKI]) -> None:
        """All names are found, by whatever program, and each where it belongs."""
        run = self.machine.run
        assert self.look_up(lan.WEB_NAME) == lan.WEB
        assert run("getent", "hosts", lan.WEB).stdout.split() == [lan.WEB, lan.WEB_NAME]
        for option in ("+notcp", "+tcp"):
            assert run("dig", "+short", option, lan.WEB_NAME).stdout.split() == [lan.WEB]
        by_python = run("python3", "-c", f"import socket; print(socket.gethostbyname('{lan.WEB_NAME}'))")
        assert by_python.stdout.strip() == lan.WEB
        assert self.look_up(lan.WIKI) == wiki
        if self.dns == DNSMASQ:
            assert self.nameservers == ["127.0.0.1"]
            assert [each for each in self.held.ordinary() if "other.test" not in each] == []
        else:
            assert self.nameservers[:3] == OURS
        assert self.machine.run("grep", "^search", "/etc/resolv.conf").stdout.split()[1] == "corp.example"
        assert leaks(self.machine) == []


@contextlib.contextmanager
def boot(image: str, dns: str) -> Iterator[Machine]:
    with machine(image, Link.NETWORK_MANAGER, resolv_conf="", files=network_manager(dns)) as booted:
        booted.run("sh", "-c", "until grep -q ^nameserver /etc/resolv.conf; do sleep .05; done")
        yield booted


@pytest.fixture(params=SYSTEMS)
def laptop(request: pytest.FixtureRequest) -> Iterator[Laptop]:
    image, dns = request.param
    with boot(image, dns) as booted:
        yield Laptop(booted, dns)


def test_every_program_finds_the_names_and_all_is_as_it_was_afterwards(laptop: Laptop) -> None:
    before = snapshot(laptop.machine)
    assert MODES[laptop.dns] in [name for name, _ in laptop.held.ask("detect")]
    assert laptop.held.ask("read_upstreams") == [lan.OFFICE_DNS]
    laptop.held.up()
    laptop.check()
    if laptop.dns == ALONE:  # what Docker leaves of it is what containers had before
        assert laptop.nameservers == [*OURS, lan.OFFICE_DNS]
    assert laptop.held.ask("is_ours")
    assert laptop.held.ask("read_upstreams") == [lan.OFFICE_DNS]
    assert laptop.held.ask("read_ways") == [lan.OFFICE_DNS]
    # A second cluster comes, and goes again.
    laptop.held.up(domains=[*lan.ZONES, "other.test"])
    assert laptop.look_up("a.other.test") == ""
    assert any(each.split()[1] == "a.other.test." for each in laptop.held.questions())
    laptop.held.up()
    laptop.check()
    laptop.held.ask("restore")
    assert not laptop.held.ask("has_remains")
    left = before.diff(snapshot(laptop.machine))
    assert [each for each in left if not each.startswith("listening: +")] == []  # the stand-in for the forwarder


def test_a_killed_helper_leaves_nothing_and_its_successor_is_told_again(laptop: Laptop) -> None:
    before = snapshot(laptop.machine)
    laptop.held.up()
    laptop.held.kill()
    assert laptop.look_up(lan.WIKI) == lan.ORDINARY[lan.OFFICE_DNS][lan.WIKI]
    assert before.diff(snapshot(laptop.machine)) == []
    laptop.held.start()
    assert not laptop.held.ask("has_remains")
    laptop.held.up()
    assert laptop.look_up(lan.WEB_NAME) == lan.WEB


@pytest.mark.matrix
def test_networkmanager_that_forgot_us_is_told_again(laptop: Laptop) -> None:
    def restart() -> None:
        laptop.machine.run("systemctl", "restart", "NetworkManager")

    def kill() -> None:
        laptop.machine.kill("NetworkManager.service")
        time.sleep(0.5)

    def switch_off_and_on() -> None:
        laptop.machine.run("nm-online", "-s", "-q")
        laptop.machine.run("nmcli", "networking", "off")
        with pytest.raises(AssertionError, match="networking is switched off"):
            laptop.held.ask("up")
        laptop.machine.run("nmcli", "networking", "on")

    laptop.held.up()
    for forget in (restart, kill, switch_off_and_on):
        forget()
        until(lambda: laptop.look_up(lan.WIKI) != "")
        assert not laptop.held.ask("is_ours")
        laptop.held.up()
        assert laptop.held.ask("is_ours")
        until(lambda: laptop.held.ask("read_upstreams") == [lan.OFFICE_DNS])
        assert laptop.look_up(lan.WEB_NAME) == lan.WEB
        assert laptop.look_up(lan.WIKI) == lan.ORDINARY[lan.OFFICE_DNS][lan.WIKI]


@pytest.mark.matrix
def test_other_servers_and_other_links_are_followed(laptop: Laptop) -> None:
    laptop.held.up()
    offer_dns(laptop.machine, lan.OFFICE_DNS_2)
    laptop.machine.run("nmcli", "device", "connect", "eth0", timeout=30)
    until(lambda: laptop.held.ask("read_upstreams") == [lan.OFFICE_DNS_2])
    assert laptop.held.ask("is_ours")
    laptop.check(wiki=lan.ORDINARY[lan.OFFICE_DNS_2][lan.WIKI])
    before = snapshot(laptop.machine)
    plug(laptop.machine)
    until(lambda: laptop.held.ask("read_upstreams") == [lan.OFFICE_DNS_2, lan.HOME_DNS])
    assert laptop.held.ask("is_ours")
    assert laptop.look_up(lan.WEB_NAME) == lan.WEB
    laptop.machine.run("ip", "link", "del", "eth1")
    until(lambda: laptop.held.ask("read_upstreams") == [lan.OFFICE_DNS_2])
    until(lambda: before.diff(snapshot(laptop.machine)) == [])
    assert laptop.look_up(lan.WEB_NAME) == lan.WEB
    assert leaks(laptop.machine, lan.OFFICE_DNS_2) == leaks(laptop.machine, lan.HOME_DNS) == []


@pytest.mark.matrix
def test_a_connection_that_excludes_all_others_excludes_not_us(laptop: Laptop) -> None:
    """As a VPN does that wants every question for itself."""
    laptop.held.up()
    name = laptop.machine.run("nmcli", "-g", "GENERAL.CONNECTION", "device", "show", "eth0").stdout.strip()
    laptop.machine.run("nmcli", "connection", "modify", name, "ipv4.dns-priority", "-50")
    laptop.machine.run("nmcli", "connection", "up", name)
    until(lambda: not laptop.held.ask("is_ours"))
    laptop.held.up()
    assert laptop.held.ask("is_ours")
    laptop.check()
    assert laptop.held.ask("read_upstreams") == [lan.OFFICE_DNS]
    laptop.machine.run("nmcli", "connection", "modify", name, "ipv4.dns-priority", "0")
    laptop.machine.run("nmcli", "connection", "up", name)
    until(lambda: not laptop.held.ask("is_ours"))
    laptop.held.up()
    laptop.check()


@pytest.mark.matrix
def test_without_the_drop_in_that_keeps_it_off_the_link_it_is_told_as_well(laptop: Laptop) -> None:
    laptop.machine.run("rm", DROP_IN)
    laptop.machine.run("nmcli", "general", "reload")
    wait_for_names(laptop.machine)  # its dnsmasq may be a new one
    before = snapshot(laptop.machine)
    laptop.held.up()
    laptop.check()
    laptop.held.kill()
    assert before.diff(snapshot(laptop.machine)) == []


@pytest.mark.matrix
def test_on_a_cluster_of_ipv6_alone_the_link_has_no_ipv4(laptop: Laptop) -> None:
    laptop.held.up(families=[6])
    assert laptop.machine.run("ip", "-4", "-o", "address", "show", "dev", "devlink0").stdout == ""
    laptop.check()
    assert questions(laptop.machine) != []


# With the whole of devlink


@pytest.fixture(params=SYSTEMS)
def booted(request: pytest.FixtureRequest) -> Iterator[tuple[Machine, str]]:
    image, dns = request.param
    with boot(image, dns) as machine:
        yield machine, MODES[dns]


def keep_direct_out(laptop: Machine, mode: str) -> None:
    """Where `direct` can write it comes before NetworkManager's own writing."""
    if mode == MODES[ALONE]:
        laptop.run("ln", "-sf", "/run/NetworkManager/resolv.conf", "/etc/resolv.conf")
        make_etc_read_only(laptop)


def test_devlink_comes_up_by_it_follows_what_happens_to_it_and_goes(booted: tuple[Machine, str]) -> None:
    laptop, mode = booted
    keep_direct_out(laptop, mode)
    switch = "nmcli networking off; sleep .3; nmcli networking on"
    laptop.run("sh", "-c", switch)  # it leaves `lo` in another state than the kernel did
    wait_for_names(laptop)
    before = snapshot(laptop)
    laptop.devlink("up", "qa")
    assert mode in laptop.devlink("status").stdout
    assert laptop.run("curl", "-sS", f"http://{lan.WEB_NAME}/").stdout == "web\n"
    assert laptop.run("getent", "hosts", lan.WIKI).stdout.split()[0] == lan.ORDINARY[lan.OFFICE_DNS][lan.WIKI]
    assert leaks(laptop) == []
    laptop.kill_and_wait("devlink-helper.service")
    wait_for_names(laptop, lan.WEB_NAME, lan.WEB)
    laptop.run("systemctl", "restart", "NetworkManager")
    wait_for_names(laptop, lan.WEB_NAME, lan.WEB)
    laptop.run("nm-online", "-s", "-q")  # 1.42 may hang where it is switched off while it starts, without us too
    laptop.run("sh", "-c", switch)
    wait_for_names(laptop)
    until(
        lambda: laptop.devlink("status", check=False).returncode, 0, limit=40
    )  # the routes went with the link, and come back
    wait_for_names(laptop, lan.WEB_NAME, lan.WEB)
    laptop.devlink("down", "qa")
    assert before.diff(snapshot(laptop)) == []


@pytest.mark.matrix
@pytest.mark.parametrize("image", ["bookworm", "sid"])
def test_without_networkmanager_down_says_that_it_must_be_started_and_names_go_on_until_then(image: str) -> None:
    with boot(image, ALONE) as laptop:
        keep_direct_out(laptop, MODES[ALONE])
        laptop.run("systemctl", "restart", "NetworkManager")  # it leaves `lo` in another state than the kernel did
        wait_for_names(laptop)
        before = snapshot(laptop)
        laptop.devlink("up", "qa")
        laptop.run("systemctl", "stop", "NetworkManager")
        down = laptop.devlink("down", "qa", check=False)
        assert down.returncode != 0
        assert "does not write it again: does it run?" in down.stderr
        assert address(laptop, lan.WIKI), "at once: nothing has to be mended first"
        laptop.run("systemctl", "start", "NetworkManager")
        laptop.run("nm-online", "-s", "-q")
        laptop.devlink("down", "qa")
        assert "untouched" in laptop.devlink("helper", "status").stdout
        wait_for_names(laptop)
        until(lambda: before.diff(snapshot(laptop)) == [])


@pytest.mark.matrix
def test_a_link_that_somebody_deletes_or_takes_down_is_back_and_ordinary_names_go_on(
    booted: tuple[Machine, str],
) -> None:
    laptop, mode = booted
    keep_direct_out(laptop, mode)
    laptop.devlink("up", "qa")
    for command in ("ip link delete devlink0", "nmcli device disconnect devlink0", "ip link delete devlink0"):
        laptop.run(*command.split())
        assert laptop.run("getent", "hosts", lan.WIKI).returncode == 0
        wait_for_names(laptop, lan.WEB_NAME, lan.WEB)
    assert f"{mode}:" in laptop.devlink("status").stdout
    laptop.devlink("down", "qa")


@pytest.mark.matrix
def test_after_a_power_cut_names_work_and_nothing_of_ours_is_left(booted: tuple[Machine, str]) -> None:
    laptop, _ = booted
    before = snapshot(laptop)
    laptop.devlink("up", "qa")
    wait_for_names(laptop, lan.WEB_NAME, lan.WEB)
    laptop.run("rm", "/var/lib/systemd/linger/alice")  # nobody of hers is there at the next boot
    laptop.run("sync")
    laptop.power_cut()
    laptop.boot()
    wait_for_names(laptop)
    until(lambda: before.diff(snapshot(laptop)) == [])
    assert laptop.pid("devlink-helper.service") == 0


@pytest.mark.matrix
@pytest.mark.parametrize(
    "settings",
    [
        "[keyfile]\nunmanaged-devices=interface-name:devlink*\n",
        f"[global-dns-domain-*]\nservers={lan.OFFICE_DNS}\n",
    ],
    ids=["unmanaged-devices", "global-dns"],
)
def test_where_it_may_not_heed_our_link_the_file_is_written_by_us(booted: tuple[Machine, str], settings: str) -> None:
    laptop, _ = booted
    laptop.write("/etc/NetworkManager/conf.d/more.conf", settings)
    laptop.run("systemctl", "restart", "NetworkManager")
    laptop.run("nm-online", "-s", "-q")
    wait_for_names(laptop)
    before = snapshot(laptop)
    laptop.devlink("up", "qa")
    assert "direct:" in laptop.devlink("status").stdout
    wait_for_names(laptop, lan.WEB_NAME, lan.WEB)
    wait_for_names(laptop)
    laptop.devlink("down", "qa")
    assert before.diff(snapshot(laptop)) == []
