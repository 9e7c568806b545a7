"""`devlink doctor` on names: each part of their way broken by itself, named, and mended."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import devlink.dns
from devlink import lab
from tests.e2e.doctor import assert_names, assert_silent, examine
from tests.e2e.link import BACKUP, PROFILE, RESOLV_CONF, Link, linked
from tests.e2e.test_conflict import silenced
from tests.e2e.test_dns_commands import OTHER_UPSTREAM
from tests.e2e.test_dns_policy import SERVER
from tests.e2e.test_truth import CACHE

pytestmark = pytest.mark.lab

NAME = "kubernetes.default.svc.cluster.local"
WEB = "web.default.svc.cluster.local"
FORWARDER = "127.0.0.231"
HOSTS, NSSWITCH = "/etc/hosts", "/etc/nsswitch.conf"
SERVERS = "/root/servers"
OUTPUT = "type filter hook output priority 0;"
ORDER = "passwd: files\ngroup: files\nhosts: {}\n"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """Network A with a search domain, and devlink up; each test leaves it so."""
    with linked(lab.network_a(search=("corp.example",)), tmp_path_factory.mktemp("names") / "helper.log") as link:
        link.up()
        yield link
        link.down()


@pytest.fixture
def well(up: Link) -> Iterator[Link]:
    """The same, on which doctor finds nothing when the test has mended what it broke."""
    yield up
    assert_silent(up)


def read(link: Link, path: str) -> str | None:
    done = link.world.run(lab.LAPTOP, ["cat", path])
    return done.stdout if done.returncode == 0 else None


@contextmanager
def holding(link: Link, path: str, text: str) -> Iterator[None]:
    """A file of the laptop says this while the block runs."""
    before = read(link, path)
    link.run("mkdir", "-p", path.rpartition("/")[0])
    link.world.write_file(lab.LAPTOP, path, text)
    try:
        yield
    finally:
        if before is None:
            link.run("rm", path)
        else:
            link.world.write_file(lab.LAPTOP, path, before)


@contextmanager
def filtering(link: Link, chain: str, rule: str) -> Iterator[None]:
    """A firewall of the laptop has this rule while the block runs."""
    link.run("nft", f"add table ip broken; add chain ip broken it {{ {chain} }}; add rule ip broken it {rule}")
    try:
        yield
    finally:
        link.run("nft", "delete table ip broken")


@contextmanager
def running(link: Link, *argv: str) -> Iterator[None]:
    """A program of the laptop that says `ready` runs while the block does."""
    with link.world.popen(lab.LAPTOP, argv) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            yield
        finally:
            program.kill()


def test_a_healthy_laptop_is_looked_at_all_over_and_has_nothing_to_mend_or_to_know(up: Link) -> None:
    said = examine(up)
    names = [each for each in said["findings"] if each["code"] != "DL-UNAUTHENTICATED"]
    assert names == []
    outcomes = {each["check"]: each["outcome"] for each in said["checks"]}
    assert {outcomes[each] for each in ("forwarder", "upstreams", "resolver", "libc", "browsers")} == {"ok"}


# The forwarder


@contextmanager
def covered(link: Link, path: Path) -> Iterator[None]:
    """A file of the laptop is empty while the block runs."""
    link.run("mount", "--bind", "/dev/null", str(path))
    try:
        yield
    finally:
        link.run("umount", str(path))


def test_a_forwarder_that_cannot_start_is_named_and_what_follows_from_it_is_not(well: Link) -> None:
    with covered(well, Path(devlink.dns.__path__[0], "__main__.py")):
        well.kill("forwarder")
        well.wait_until(lambda: FORWARDER not in (read(well, RESOLV_CONF) or ""), "the resolver is given back")
        # Not by assert_names: the helper opens its sockets again and again meanwhile, so no two looks are equal.
        said = json.loads(well.devlink("doctor", "-o", "json").stdout)
        assert [each["code"] for each in said["findings"] if each["severity"] == "error"] == ["DL-FORWARDER-AWAY"]
    well.wait_until(lambda: FORWARDER in (read(well, RESOLV_CONF) or ""), "the forwarder is back")


def test_a_firewall_between_programs_and_the_forwarder_is_named(well: Link) -> None:
    with filtering(well, OUTPUT, f"ip daddr {FORWARDER} udp dport 53 drop"):
        assert f"{FORWARDER}, port 53, over UDP" in assert_names(well, "DL-FORWARDER-SILENT")["evidence"]
    with filtering(well, OUTPUT, f"ip daddr {FORWARDER} tcp dport 53 reject"):
        assert assert_names(well, "DL-FORWARDER-SILENT")["severity"] == "warning"


def test_who_answers_in_the_forwarders_place_is_named(well: Link) -> None:
    redirect = f"ip daddr {FORWARDER} udp dport 53 redirect to :5300"
    with (
        running(well, sys.executable, "-c", SERVER, "0.0.0.0", "5300", "192.0.2.66"),
        filtering(well, "type nat hook output priority -100;", redirect),
    ):
        assert "192.0.2.66" in assert_names(well, "DL-DNS-INTERCEPTED")["evidence"]


# The servers for all other names


def test_ordinary_names_that_nobody_answers_are_a_warning(well: Link) -> None:
    with silenced(well.world, lab.UPSTREAM):
        assert "example.com" in assert_names(well, "DL-DNS-ORDINARY")["evidence"]


def test_a_local_cache_that_begins_to_ask_us_back_is_named_and_so_is_a_silent_server(well: Link) -> None:
    well.down()
    named = f"nameserver 127.0.0.1\nnameserver {OTHER_UPSTREAM}\n"
    with (
        running(well, sys.executable, "-c", CACHE.replace(RESOLV_CONF, SERVERS), "53"),
        holding(well, SERVERS, "nameserver 192.0.2.53\n"),
        holding(well, RESOLV_CONF, named),
    ):
        well.up()
        with filtering(well, OUTPUT, f"ip daddr {OTHER_UPSTREAM} drop"):
            assert f"{OTHER_UPSTREAM}#53" in assert_names(well, "DL-UPSTREAM-SILENT")["evidence"]
        assert_silent(well)
        with holding(well, SERVERS, f"nameserver {FORWARDER}\n"):
            assert "127.0.0.1#53" in assert_names(well, "DL-DNS-LOOP")["title"]
        well.down()
    well.up()


# The operating system's resolver, and libc


def test_a_program_that_will_not_leave_resolv_conf_to_us_is_named(well: Link) -> None:
    before = read(well, BACKUP) or ""

    def is_given_up() -> bool:
        if FORWARDER in (read(well, RESOLV_CONF) or ""):
            well.world.write_file(lab.LAPTOP, RESOLV_CONF, before)
        return "overwritten" in well.run("devlink", "helper", "status")

    well.wait_until(is_given_up, "the helper leaves it to the other program")
    assert "overwritten" in assert_names(well, "DL-RESOLVER-GONE")["evidence"]
    well.up()


@pytest.mark.parametrize(
    ("order", "code", "evidence"),
    [
        ("files", "DL-NSS-NO-DNS", "hosts: files; getent says that there is no such name"),
        ("files [NOTFOUND=return] dns", "DL-LIBC-NAMES", "at files [NOTFOUND=return] it ends"),
    ],
)
def test_a_libc_that_is_told_not_to_ask_is_named(well: Link, order: str, code: str, evidence: str) -> None:
    with holding(well, NSSWITCH, ORDER.format(order)):
        assert evidence in assert_names(well, code)["evidence"]


def test_a_hosts_file_with_a_name_of_the_cluster_is_named(well: Link) -> None:
    before = read(well, HOSTS) or ""
    with holding(well, HOSTS, f"{before}127.1.27.1 kubernetes.default {NAME}\n"):
        finding = assert_names(well, "DL-HOSTS-FILE")
        assert finding["severity"] == "error"
        assert f"{NAME} is 127.1.27.1, in the cluster it is 10.254.0.1" in finding["evidence"]
    with holding(well, HOSTS, f"{before}127.1.27.2 {WEB}\n"):
        assert assert_names(well, "DL-HOSTS-FILE")["severity"] == "warning"
    with holding(well, HOSTS, f"{before}10.254.0.10 {WEB}\n127.1.27.3 gone.default.svc.cluster.local\n"):
        assert_silent(well)


# Who goes past all of them

CONTAINER = """
set -e
printf '%s\\n' "$1" >/root/container.conf
exec unshare --mount --net sh -ec '
ip link add eth0 type veth peer name eth1
ip address add 172.17.0.2/16 dev eth0
ip link set eth0 up
$1 route add default via 172.17.0.1 dev eth0
mount -t tmpfs none /etc
cp /root/container.conf /etc/resolv.conf
echo ready
exec sleep 1000' sh "$2"
"""


@contextmanager
def container(link: Link, conf: str, *, goes_out: bool = True) -> Iterator[None]:
    """A process with a network and a resolv.conf of its own."""
    with running(link, "sh", "-c", CONTAINER, "sh", conf, "ip" if goes_out else "true"):
        yield
    link.run("rm", "/root/container.conf")


def test_a_container_that_asks_where_we_are_no_more_is_named(well: Link) -> None:
    with container(well, "nameserver 169.254.53.53\nnameserver 192.0.2.53"):
        well.down()
        assert "nameserver 169.254.53.53" in assert_names(well, "DL-CONTAINER-STALE-DNS", PROFILE)["evidence"]
        well.up()
    with container(well, "nameserver 192.0.2.7"):
        well.down()
        assert_silent(well, PROFILE)
        well.up()


def test_a_sandbox_is_no_container(well: Link) -> None:
    with (
        running(
            well, "unshare", "--mount", "--net", "sh", "-c", "echo ready; exec sleep 1000"
        ),  # the laptop's own file
        container(well, f"nameserver {FORWARDER}", goes_out=False),
    ):
        assert_silent(well)


def test_a_container_that_asks_the_laptops_servers_is_told_to_have_no_cluster_names(well: Link) -> None:
    with container(well, "nameserver 192.0.2.53"):
        (finding,) = [each for each in examine(well)["findings"] if each["code"] == "DL-CONTAINER-NO-NAMES"]
        assert finding["severity"] == "info"


@pytest.fixture(scope="module")
def other_domain(up: Link) -> str:
    """A profile whose domain is not in .local, which no browser asks over HTTPS; its path."""
    return up.write_profile("other", lambda spec: spec["dns"].update(domain="k8s.example"))


FIREFOX, CHROME = "/root/.mozilla/firefox/ab12.default", "/root/.config/google-chrome"
ALONE, FIRST = 'user_pref("network.trr.mode", 3);\n', 'user_pref("network.trr.mode", 2);\n'


@pytest.mark.parametrize(
    ("path", "text", "severity"),
    [
        (f"{FIREFOX}/user.js", FIRST, "info"),
        (f"{CHROME}/Local State", '{"dns_over_https": {"mode": "secure"}}', "warning"),
    ],
    ids=["Firefox", "Chrome"],
)
def test_a_browser_that_asks_over_https_is_named(
    up: Link, other_domain: str, path: str, text: str, severity: str
) -> None:
    with holding(up, path, text):
        (finding,) = [each for each in examine(up, other_domain)["findings"] if each["code"] == "DL-BROWSER-DOH"]
        assert (finding["severity"], path in finding["evidence"]) == (severity, True)


def test_a_browser_is_not_named_where_it_does_no_harm(well: Link, other_domain: str) -> None:
    excluded = 'user_pref("network.trr.excluded-domains", "intranet, k8s.example");\n'
    with holding(well, f"{FIREFOX}/prefs.js", ALONE):
        assert_silent(well)  # cluster.local is in .local
    with holding(well, f"{FIREFOX}/prefs.js", ALONE + excluded):
        found = examine(well, other_domain)["findings"]
        assert "DL-BROWSER-DOH" not in {each["code"] for each in found}
