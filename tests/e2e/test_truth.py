"""What status says is what is there; and nobody's command takes away what is another's."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from devlink import lab
from devlink.core.network import METRIC
from tests.e2e.link import BACKUP, PROFILE, RESOLV_CONF, Link

pytestmark = pytest.mark.lab

OTHER_AGENT = {"XDG_RUNTIME_DIR": "/run/user/other"}
CACHE = """
import re, socket, sys
# A local cache as dnsmasq is by default: its servers are those of /etc/resolv.conf, whoever wrote it, less itself.
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
while True:
    question, client = listener.recvfrom(4096)
    named = re.findall(r"^nameserver (\\S+)", open("/etc/resolv.conf").read(), re.M)
    server = next((s for s in named if s != "127.0.0.1"), None)
    if server is None:
        continue
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
        upstream.settimeout(0.5)
        try:
            upstream.sendto(question, (server, 53))
            listener.sendto(upstream.recv(4096), client)
        except OSError:
            pass
"""


def link_of_laptop(link: Link) -> tuple[Callable[[], object], Callable[[], object]]:
    """What has the laptop's link go down, and what brings it up as whoever manages it would."""
    kept = link.run("ip", "route", "show", "default").strip()

    def up() -> None:
        link.run("ip", "link", "set", "eth0", "up")
        link.run("ip", "route", "replace", *kept.split())

    return lambda: link.run("ip", "link", "set", "eth0", "down"), up


def codes(link: Link) -> set[str]:
    """Of the findings that status shows."""
    return {finding["code"] for session in link.status()["sessions"] for finding in session["findings"]}


def test_status_sees_what_is_gone_while_nothing_can_put_it_back(link: Link) -> None:
    link.up()
    link.kill("helper", number=signal.SIGSTOP)
    link.run("ip", "route", "del", "10.254.0.0/16")
    link.thaw()
    link.wait_until(lambda: link.devlink("status").returncode == 0, "it is put back")
    down, up = link_of_laptop(link)
    down()
    link.wait_until(lambda: link.devlink("status").returncode == 4, "it is told")
    up()
    link.wait_until(lambda: link.devlink("status").returncode == 0, "it is up again")
    link.down()


@pytest.mark.parametrize(
    ("route", "code"),
    [("10.254.0.0/16 via 172.16.0.1", "DL-ROUTE-TAKEN"), ("10.20.0.0/16 via 172.16.0.1 table 52", "DL-POLICY-WINS")],
)
def test_status_sees_who_wins_over_a_network_after_up_until_that_one_goes(link: Link, route: str, code: str) -> None:
    link.run("ip", "rule", "add", "pref", "5270", "lookup", "52")
    try:
        link.up()
        link.run("ip", "route", "add", *route.split())
        assert "via 172.16.0.1 " in link.run("ip", "route", "get", route.replace("0.0/16", "9.9").split()[0])
        assert link.devlink("status").returncode == 4
        assert code in codes(link)
        link.run("ip", "route", "delete", *route.split())
        link.wait_until(lambda: link.devlink("status").returncode == 0, "it is up again")
        assert code not in codes(link)
    finally:
        link.run("ip", "rule", "delete", "pref", "5270")
    link.down()


def test_who_takes_our_routes_away_ten_times_a_minute_gets_them_and_it_is_told(link: Link) -> None:
    link.up()
    for _ in range(9):
        link.run("ip", "route", "del", "10.254.0.0/16")
        link.wait_until(lambda: "10.254.0.0/16" in link.run("ip", "route"), "it is put back")
    done = link.devlink("status")
    assert done.returncode == 0, done.stdout + link.logs()
    link.run("ip", "route", "del", "10.254.0.0/16")
    link.wait_until(lambda: "DL-ROUTES-FOUGHT" in codes(link), "it is left alone, and told")
    assert link.devlink("status").returncode == 4
    assert "10 times" in link.devlink("status").stdout
    link.up()
    assert link.devlink("status").returncode == 0
    link.run("ip", "nexthop", "flush", "proto", "231")
    link.wait_until(lambda: "10.254.0.0/16" in link.run("ip", "route"), "what is applied anew is kept anew")
    link.down()


def test_a_place_that_another_program_took_is_told_as_that_and_taken_back_when_it_is_free(link: Link) -> None:
    link.up()
    block = next(line.split()[0] for line in link.run("ip", "route").splitlines() if "/26" in line)
    place = (block, "metric", str(METRIC))
    link.run("ip", "route", "replace", *place, "via", "172.16.0.1", "proto", "static")
    link.wait_until(lambda: "DL-ROUTES-HELD" in codes(link), "it is told")
    (told,) = (f for session in link.status()["sessions"] for f in session["findings"] if f["code"] == "DL-ROUTES-HELD")
    assert "of the administrator's configuration (protocol static)" in told["evidence"]
    assert link.devlink("up", PROFILE).returncode == 5, "so that is no cure"
    link.run("ip", "route", "delete", *place)
    link.wait_until(lambda: link.devlink("status").returncode == 0, "it is put back")
    link.down()


def test_a_file_that_another_program_writes_over_ours_is_written_again_and_at_the_tenth_time_left_alone(
    link: Link,
) -> None:
    original = link.run("cat", RESOLV_CONF)
    link.up()
    for _ in range(9):
        link.run("sh", "-c", f"echo nameserver 192.0.2.53 > /tmp/r && mv /tmp/r {RESOLV_CONF}")
        link.wait_until(lambda: "devlink" in link.run("cat", RESOLV_CONF), "it is ours again")
    assert link.devlink("status").returncode == 0
    link.run("sh", "-c", f"echo nameserver 192.0.2.53 > /tmp/r && mv /tmp/r {RESOLV_CONF}")
    link.wait_until(lambda: link.devlink("status").returncode == 4, "it is left alone, and told")
    assert "DL-RESOLVER-GONE" in codes(link)
    assert "10 times" in link.devlink("status").stdout
    link.up()
    assert link.devlink("status").returncode == 0
    assert link.run("getent", "hosts", link.world.spec.service_name("web")).split()
    link.down()
    assert link.run("cat", RESOLV_CONF) == "nameserver 192.0.2.53\n", "the newest of theirs"
    link.run("sh", "-c", f"printf %s '{original}' > {RESOLV_CONF}")


def test_what_root_restored_is_not_shown_as_up(link: Link) -> None:
    before = link.world.snapshot()
    link.up()
    link.run("devlink", "helper", "restore")
    link.assert_equal(before)
    assert link.devlink("status").returncode == 3
    link.up()
    assert link.devlink("status").returncode == 0
    link.down()


def test_an_up_that_is_refused_leaves_the_session_of_another_agent_and_down_ends_it(link: Link) -> None:
    link.run("mkdir", "-p", "-m", "700", OTHER_AGENT["XDG_RUNTIME_DIR"])
    try:
        link.up()
        during = link.world.snapshot().routes
        refused = link.devlink("up", PROFILE, env=OTHER_AGENT)
        assert refused.returncode == 5, refused.stderr
        assert link.world.snapshot().routes == during
        assert link.devlink("status").returncode == 0
        ended = link.devlink("down", "calico-rr", env=OTHER_AGENT)  # as the error's next step says
        assert ended.returncode == 0, ended.stderr
        assert link.devlink("status").returncode == 3
    finally:
        link.wait_until(lambda: not link.pids("agent"), "the agents end")
        link.run("rm", "-r", OTHER_AGENT["XDG_RUNTIME_DIR"])


def test_two_sessions_go_down_one_by_one_though_the_link_is_down(link: Link) -> None:
    def only(*prefixes: str) -> "object":
        def change(spec: dict[str, object]) -> None:
            spec.update(services=list(prefixes), routing="gateway")
            for key in ("pods", "nodes", "dns"):
                spec.pop(key, None)

        return change

    first = link.write_profile("first", only("10.100.0.0/16"))  # type: ignore[arg-type]
    second = link.write_profile("second", only("10.101.0.0/16"))  # type: ignore[arg-type]
    kept = link.run("ip", "route", "show", "default").strip()
    link.up(first)
    link.up(second)
    try:
        link.run("ip", "link", "set", "eth0", "down")
        link.down("first")
        assert list(link.states()) == ["second"]
        link.down("--all")
        assert link.states() == {}
    finally:
        link.run("ip", "link", "set", "eth0", "up")
        link.run("ip", "route", "replace", *kept.split())
    for name in ("first", "second"):
        link.run("devlink", "trust", "revoke", name)
        link.run("rm", f"/root/{name}.yaml")


def test_a_local_cache_that_would_ask_us_back_is_found_and_everything_taken_back(link: Link) -> None:
    before = link.world.snapshot()
    text = link.world.read_file(lab.LAPTOP, RESOLV_CONF)
    link.world.write_file(lab.LAPTOP, RESOLV_CONF, "nameserver 127.0.0.1\nnameserver 192.0.2.53\n")
    with link.world.popen(lab.LAPTOP, [sys.executable, "-c", CACHE, "53"]) as cache:
        try:
            assert cache.stdout is not None
            assert cache.stdout.readline() == "ready\n"
            assert link.run("getent", "hosts", lab.ORDINARY_NAME)
            said = link.up(expect=4)
            assert "a loop" in said
            assert "127.0.0.1" in said
            assert link.run("getent", "hosts", lab.ORDINARY_NAME), "ordinary names go on"
        finally:
            cache.kill()
    link.world.write_file(lab.LAPTOP, RESOLV_CONF, text)
    link.await_equal(before)


def test_a_state_folder_that_turns_read_only_keeps_no_route(link: Link) -> None:
    before = link.world.snapshot()
    link.up()
    link.run("mount", "--bind", "/var/lib/devlink", "/var/lib/devlink")
    link.run("mount", "-o", "remount,ro,bind", "/var/lib/devlink")
    try:
        link.down()
        assert "231" not in link.run("ip", "route", "show")
        assert link.world.read_file(lab.LAPTOP, RESOLV_CONF).startswith("nameserver 192.0.2.53")
        link.restart_helper()  # it must start
    finally:
        link.run("umount", "/var/lib/devlink")
    link.restart_helper()
    link.await_equal(before)


def test_an_up_without_a_helper_leaves_no_agent(link: Link) -> None:
    link.stop_helper()
    try:
        link.up(expect=6)
        link.wait_until(lambda: not link.pids("agent"), "the agent ends")
    finally:
        link.start_helper()


def test_a_watched_status_tells_of_what_happens_while_nothing_is_asked_of_devlink(link: Link) -> None:
    link.up()
    down, up = link_of_laptop(link)
    with link.world.popen(
        lab.LAPTOP, ["devlink", "status", "--watch", "-o", "json"], stderr=subprocess.DEVNULL
    ) as watching:
        assert watching.stdout is not None
        try:
            while '"state": "up"' not in watching.stdout.readline():
                pass
            down()
            deadline = time.monotonic() + 15
            while '"state": "degraded"' not in watching.stdout.readline():
                assert time.monotonic() < deadline
            up()
            while '"state": "up"' not in watching.stdout.readline():
                assert time.monotonic() < deadline + 15
        finally:
            watching.kill()
    link.down()


def test_after_a_repair_that_failed_status_claims_nothing_and_the_next_up_brings_it_back(link: Link) -> None:
    kept = link.run("ip", "route", "show", "default").strip()
    link.up()
    link.run("ip", "link", "set", "eth0", "down")
    try:
        said = link.up(expect=4)
        assert "no way there at all" in said
        assert link.devlink("status").returncode == 4
        assert link.status()["sessions"][0]["routes"] == []
    finally:
        link.run("ip", "link", "set", "eth0", "up")
        link.run("ip", "route", "replace", *kept.split())
    link.wait_until(lambda: link.devlink("status").returncode == 0, "it comes back by itself")
    link.run("getent", "hosts", link.world.spec.service_name("web"))
    link.down()


def test_a_replacement_that_fails_and_cannot_be_taken_back_does_not_lose_the_other(link: Link) -> None:
    kept = link.run("ip", "route", "show", "default").strip()
    second = link.write_profile("second")
    link.up()
    link.run("ip", "link", "set", "eth0", "down")
    try:
        said = link.up(second, "--replace", expect=4)
        assert "cannot be brought back" in said
        assert link.states()["calico-rr"] in ("degraded", "connecting", "suspended")
    finally:
        link.run("ip", "link", "set", "eth0", "up")
        link.run("ip", "route", "replace", *kept.split())
    link.up()
    assert link.states() == {"calico-rr": "up"}
    link.down()
    link.run("devlink", "trust", "revoke", "second")
    link.run("rm", second)


def test_a_forwarder_that_hangs_is_found_and_replaced(link: Link) -> None:
    link.up()
    (frozen,) = link.pids("forwarder")
    link.kill("forwarder", number=signal.SIGSTOP)
    assert link.devlink("status").returncode == 4
    link.wait_until(lambda: link.devlink("status").returncode == 0, "another forwarder serves")
    assert frozen not in link.pids("forwarder")
    assert link.run("getent", "hosts", lab.ORDINARY_NAME)
    link.kill("forwarder", number=signal.SIGSTOP)
    link.up()  # at once, without a look
    assert link.run("getent", "hosts", lab.ORDINARY_NAME)
    link.kill("forwarder", number=signal.SIGSTOP)
    link.down()
    assert not link.pids("forwarder")
    link.up()
    link.down()


def test_a_helper_that_hangs_makes_nobody_say_that_all_is_well(link: Link) -> None:
    link.up()
    link.kill("helper", number=signal.SIGSTOP)
    try:
        first = link.start("status")
        second = link.devlink("status")
        assert second.returncode == 4, second.stdout
        assert link.await_end(first, thaw=False)[0] == 4
        assert "does not answer" in link.up(expect=6)
        asking = link.start("up", PROFILE)
        assert asking.stdout is not None
        assert "profile" in asking.stdout.readline(), "it has been read, and the helper is to say something"
        link.run("pkill", "-INT", "-f", "devlink up")
        code, said = link.await_end(asking, thaw=False)
        assert (code, "cancelled before anything was changed" in said) == (130, True), said
    finally:
        link.thaw()
    link.wait_until(lambda: link.devlink("status").returncode == 0, "it is known again that all is well")
    link.kill("helper", number=signal.SIGSTOP)
    try:
        assert "does not answer" in link.down(expect=6)
        assert link.devlink("status").returncode == 4
    finally:
        link.thaw()
    link.wait_until(lambda: link.devlink("status").returncode == 3, "the down has come true")


def test_a_down_over_which_the_helper_dies_is_shown_until_a_helper_is_there_to_do_it(link: Link) -> None:
    before = link.world.snapshot()
    link.up()
    link.kill("helper", number=signal.SIGSTOP)
    ending = link.start("down")
    link.wait_until(lambda: link.pids("agent") and ending.poll() is None, "it asks")
    time.sleep(0.5)
    link.stop_helper(signal.SIGKILL)
    code, said = link.await_end(ending)
    assert code == 6, said
    assert link.devlink("status").returncode == 4
    link.start_helper()
    link.await_equal(before)
    link.wait_until(lambda: link.devlink("status").returncode == 3, "it is gone, and said so")


def test_a_helper_that_returns_at_a_bad_moment_leaves_a_session_that_is_tried_again(link: Link) -> None:
    """The network was away while it did: nobody has to ask anew."""
    kept = link.run("ip", "route", "show", "default").strip()
    before = link.world.snapshot()
    link.up()
    link.run("ip", "link", "set", "eth0", "down")
    try:
        link.restart_helper()

        def says_why() -> bool:
            """Not that the helper was away, which degrades it too."""
            (session,) = link.status()["sessions"]
            titles = " ".join(finding["title"] for finding in session["findings"])
            return session["state"] == "suspended" and "cluster's DNS does not answer" in titles

        link.wait_until(says_why, "it was tried, to no avail, and says so")
    finally:
        link.run("ip", "link", "set", "eth0", "up")
        link.run("ip", "route", "replace", *kept.split())
    link.wait_until(lambda: link.devlink("status").returncode == 0, "it is up again")
    link.run("getent", "hosts", link.world.spec.service_name("web"))
    link.down()
    link.assert_equal(before)


def test_a_lost_agents_session_is_not_nothing(link: Link) -> None:
    link.set_grace(30)
    link.restart_helper()
    before = link.world.snapshot()
    try:
        link.up()
        link.kill("agent")
        link.wait_until(lambda: not link.pids("agent"), "the agent is gone")
        done = link.devlink("status")
        assert done.returncode == 4, done.stdout
        assert "the agent is gone" in done.stderr
        link.up()
        assert link.devlink("status").returncode == 0
        link.kill("agent")
        link.wait_until(lambda: not link.pids("agent"), "the agent is gone")
        link.down()
        assert link.devlink("status").returncode == 3
        link.assert_equal(before)
    finally:
        link.set_grace(0.3)
        link.restart_helper()


def test_a_restore_that_cannot_give_the_resolver_back_leaves_ordinary_names_and_goes_on_trying(link: Link) -> None:
    before = link.world.snapshot()
    link.up()
    link.run("mount", "--bind", "/etc", "/etc")
    link.run("mount", "-o", "remount,ro,bind", "/etc")
    try:
        done = link.devlink("helper", "restore")
        assert done.returncode == 6
        assert "read-only" in done.stderr
        assert "231" not in link.run("ip", "route", "show")
        for killed in (False, True):
            if killed:
                link.kill("helper")
                link.wait_until(link.helper_answers, "the next helper is there")
            assert link.run("getent", "hosts", lab.ORDINARY_NAME)
            done = link.devlink("status")
            assert done.returncode == 4, done.stdout
            assert "not everything is taken back" in done.stderr
    finally:
        link.run("umount", "/etc")
    link.await_equal(before)
    assert link.devlink("status").returncode == 3


def test_a_lost_backup_of_resolv_conf_costs_no_name_and_keeps_nothing_from_going_down(link: Link) -> None:
    text = link.world.read_file(lab.LAPTOP, RESOLV_CONF)
    before = link.world.snapshot()
    link.up()
    link.run("rm", BACKUP)
    link.up()
    assert link.run("getent", "hosts", lab.ORDINARY_NAME)
    link.down()
    assert "nameserver 192.0.2.53" in link.world.read_file(lab.LAPTOP, RESOLV_CONF)
    assert link.run("getent", "hosts", lab.ORDINARY_NAME)
    link.world.write_file(lab.LAPTOP, RESOLV_CONF, text)
    link.await_equal(before)


def test_a_session_that_was_lost_stays_lost_when_a_later_up_fails_too(link: Link) -> None:
    kept = link.run("ip", "route", "show", "default").strip()
    block = ("nft", "add table inet broken; add chain inet broken out { type filter hook output priority 0; }; "
             "add rule inet broken out ip daddr 10.254.0.0/16 drop")  # fmt: skip
    before = link.world.snapshot()
    link.up()
    link.run("ip", "link", "set", "eth0", "down")
    link.up(expect=4)
    link.run("ip", "link", "set", "eth0", "up")
    link.run("ip", "route", "replace", *kept.split())
    link.run(*block)
    try:
        link.up(expect=4)
        assert link.states()["calico-rr"] != "up"

        def is_away() -> bool:
            """Between two tries that it makes by itself."""
            file = link.world.read_file(lab.LAPTOP, RESOLV_CONF)
            return not link.run("ip", "route", "show", "proto", "231") and not file.startswith("# Written by devlink")

        link.wait_until(is_away, "nothing of it stays")
    finally:
        link.run("nft", "delete table inet broken")
    link.wait_until(lambda: link.states() == {"calico-rr": "up"}, "it is brought up again")
    link.down()
    link.await_equal(before)


def test_our_file_put_back_by_another_program_after_down_costs_no_name(link: Link) -> None:
    link.up()
    ours = link.world.read_file(lab.LAPTOP, RESOLV_CONF)
    link.down()
    before = link.world.snapshot()
    text = link.world.read_file(lab.LAPTOP, RESOLV_CONF)
    link.world.write_file(lab.LAPTOP, RESOLV_CONF, ours)
    link.wait_until(lambda: "devlink: nameserver" not in link.run("cat", RESOLV_CONF), "the helper takes it back")
    assert link.devlink("status").returncode == 3
    assert link.run("getent", "hosts", lab.ORDINARY_NAME)
    link.world.write_file(lab.LAPTOP, RESOLV_CONF, text)
    link.await_equal(before)


def test_a_forwarder_that_hangs_as_it_starts_is_replaced_by_the_next_up(link: Link) -> None:
    link.up()
    (first,) = link.pids("forwarder")
    link.kill("forwarder")
    link.wait_until(lambda: link.pids("forwarder") not in ([], [first]), "a second one starts")
    link.kill("forwarder", number=signal.SIGSTOP)
    time.sleep(2)
    link.up()
    assert link.run("getent", "hosts", lab.ORDINARY_NAME)
    link.down()


def test_a_process_of_the_files_that_hangs_is_ended_and_keeps_no_lock(link: Link) -> None:
    before = link.world.snapshot()
    link.up()
    link.restart_helper("files.restore.locked")  # there, each one stops
    link.wait_until(lambda: set(link.states().values()) == {"up"}, "it is up again")
    code, said = link.await_end(link.start("down"), thaw=False)
    assert (code, "does not answer" in said) == (6, True), said
    link.wait_until(lambda: not link.pids("files"), "none is left")
    assert link.run("getent", "hosts", lab.ORDINARY_NAME)
    link.stop_helper(signal.SIGKILL)
    link.start_helper()
    link.wait_until(lambda: set(link.states().values()) == {"up"}, "it is up again")
    link.down()
    link.await_equal(before)
