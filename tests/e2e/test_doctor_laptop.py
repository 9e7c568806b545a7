"""`devlink doctor` on a laptop whose installation, profile or surroundings are broken in one way, and mended."""

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from devlink import lab
from tests.certificates import Authority
from tests.e2e.doctor import assert_names, assert_silent, examine
from tests.e2e.link import PROFILE, RESOLV_CONF, Link

pytestmark = pytest.mark.lab

CONFIG = "/root/.config/devlink/config.toml"
KUBECONFIG = "/root/kubeconfig"
WEB_SERVER = "192.0.2.80"
OTHER_VERSION = "import devlink; devlink.__version__ = '0.0.9'; from devlink.cli import main; main()"
STAND_IN = """
import http.server, os, ssl, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[2]))
        for name, value in zip(sys.argv[4::2], sys.argv[5::2]):
            self.send_header(name, value)
        self.end_headers()

    def date_time_string(self, timestamp=None):
        return super().date_time_string(time.time() + float(sys.argv[3]))

    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("", int(sys.argv[1])), Handler)
if os.path.exists("/tmp/server.pem"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/tmp/server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"""
"""A web server of its own: port, status, by how many seconds its clock is ahead, then headers. Over TLS where its host
has a certificate."""


KEEP = """
import sys, time
from devlink.agent.cache import Origin, keep
from devlink.agent.profiles import read_profile
from pathlib import Path
keep(Origin(context="qa", server=sys.argv[1]), read_profile(Path("/root/profile.yaml")), "1", time.time() - 86400 * 3)
"""


@contextmanager
def serving(link: Link, host: str, port: int, status: int, *headers: str, ahead: float = 0.0) -> Iterator[None]:
    """While the block runs there is such a web server."""
    argv = [sys.executable, "-c", STAND_IN, str(port), str(status), str(ahead), *headers]
    with link.world.popen(host, argv) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            server.send_signal(signal.SIGKILL)


@contextmanager
def intercepting(link: Link, status: int, *headers: str, ahead: float = 0.0) -> Iterator[None]:
    """While the block runs the router itself answers whatever is asked for on port 80 out there."""
    hook = "type nat hook prerouting priority -100; policy accept;"
    rules = f"table ip portal {{\n chain c {{ {hook} tcp dport 80 redirect to :8088; }}\n}}\n"
    with serving(link, lab.ROUTER, 8088, status, *headers, ahead=ahead):
        link.world.run(lab.ROUTER, ["nft", "-f", "-"], input=rules, check=True)
        try:
            yield
        finally:
            link.world.run(lab.ROUTER, ["nft", "delete table ip portal"], check=True)


def untrusted(link: Link, name: str, change: Callable[[dict[str, Any]], object] = lambda _: None) -> str:
    """A variant of the cluster's profile that nobody has trusted; its path."""
    tree = yaml.safe_load(link.world.profile())
    tree["metadata"]["name"] = name
    change(tree["spec"])
    path = f"/root/{name}.yaml"
    link.world.write_file(lab.LAPTOP, path, yaml.safe_dump(tree))
    return path


@pytest.fixture
def link(node_lan: Link) -> Iterator[Link]:
    """The module's laptop; the test must leave it as it found it, but for what it has trusted."""
    before = node_lan.world.snapshot()
    yield node_lan
    node_lan.thaw()
    node_lan.devlink("down", "--all")
    node_lan.run(
        "find", "/var/lib/devlink/trust", "-type", "f", "!", "-name", f"{node_lan.world.spec.name}.json", "-delete"
    )
    node_lan.await_equal(before, limit=5.0)


# The installation


def test_a_helper_that_does_not_run_is_missing_until_it_runs_and_a_policy_that_forbids_it_is_named(link: Link) -> None:
    link.stop_helper()
    finding = assert_names(link, "DL-HELPER-MISSING", PROFILE)
    assert "helper run" in finding["fix"]
    good = link.world.read_file(lab.LAPTOP, "/etc/devlink/policy.toml")
    link.world.write_file(lab.LAPTOP, "/etc/devlink/policy.toml", "lease_grace = 'long'\n")
    finding = assert_names(link, "DL-HELPER-MISSING", PROFILE)
    assert "lease_grace" in finding["evidence"]
    assert "Correct /etc/devlink/policy.toml" in finding["fix"]
    link.world.write_file(lab.LAPTOP, "/etc/devlink/policy.toml", good)
    link.start_helper()
    assert_silent(link, PROFILE)


def test_a_helper_that_is_stopped_is_silent_and_not_missing(link: Link) -> None:
    link.up()
    link.kill("helper", number=signal.SIGSTOP)
    assert_names(link, "DL-HELPER-SILENT", PROFILE)
    link.thaw()
    assert_silent(link)


def test_what_is_left_of_a_killed_helper_is_told_before_that_it_is_gone(link: Link) -> None:
    link.up()
    link.stop_helper(signal.SIGKILL)
    link.kill("agent")
    finding = assert_names(link, "DL-LEFT-BEHIND", PROFILE)
    assert "routes are left to" in finding["evidence"]
    assert RESOLV_CONF in finding["evidence"]
    done = link.world.run(lab.LAPTOP, shlex.split(finding["fix"]), timeout=20)
    assert done.returncode == 0, done.stderr
    assert_names(link, "DL-HELPER-MISSING", PROFILE)
    link.start_helper()


def test_a_session_whose_agent_is_gone_is_told_with_both_ways_out(link: Link) -> None:
    link.set_grace(60)
    link.restart_helper()
    link.up()
    link.kill("agent")
    link.wait_until(
        lambda: "DL-ORPHANED" in {each["code"] for each in examine(link, PROFILE)["findings"]}, "it is told"
    )
    link.down()
    link.set_grace(0.3)
    link.restart_helper()
    assert_silent(link, PROFILE)


@pytest.mark.system
def test_who_may_not_use_the_helper_is_told_the_line_that_lets_him(link: Link) -> None:
    link.run("chmod", "711", "/root")  # the interpreter may lie there
    link.world.write_file(lab.LAPTOP, "/tmp/profile.yaml", link.world.profile())
    finding = assert_names(link, "DL-NOT-PERMITTED", "/tmp/profile.yaml", user="mallory")
    assert "sudo usermod -aG devlink mallory" in finding["fix"]
    assert_silent(link, "/tmp/profile.yaml", user="alice")
    link.run("chmod", "700", "/root")


def test_an_agent_that_is_stopped_is_named_with_its_process(link: Link) -> None:
    link.up()
    link.kill("agent", number=signal.SIGSTOP)
    finding = assert_names(link, "DL-AGENT-SILENT", PROFILE)
    line = finding["fix"].partition("if it is stopped: ")[2].partition(";")[0]
    link.run("sh", "-c", line)
    assert_silent(link)


def test_without_a_place_for_the_agents_socket_it_says_so(link: Link) -> None:
    finding = assert_names(link, "DL-NO-RUNTIME-DIR", PROFILE, env={"XDG_RUNTIME_DIR": ""})
    assert "XDG_RUNTIME_DIR" in finding["title"]


def test_a_helper_of_another_version_is_named_until_it_is_replaced(link: Link) -> None:
    link.stop_helper()
    with link.world.popen(lab.LAPTOP, [sys.executable, "-P", "-c", OTHER_VERSION, "helper", "run"]) as other:
        link.wait_until(link.helper_answers, "the helper answers")
        finding = assert_names(link, "DL-VERSION-SKEW", PROFILE)
        assert "helper 0.0.9" in finding["evidence"]
        other.send_signal(signal.SIGTERM)
    link.start_helper()
    assert_silent(link, PROFILE)


def test_iproute2s_program_of_the_same_name_is_named_where_it_comes_first(link: Link) -> None:
    own = link.run("sh", "-c", "command -v devlink").strip()
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    finding = assert_names(link, "DL-SHADOWED", PROFILE, program=own, env={"PATH": path})
    assert "iproute2" in finding["title"]
    assert f"export PATH={Path(own).parent}:" in finding["fix"]
    assert_silent(link, PROFILE, program=own, env={"PATH": f"{Path(own).parent}:{path}"})
    assert_silent(link, PROFILE, program=own, env={"PATH": path, "SUDO_USER": "alice"})
    (seen,) = (check["seen"] for check in examine(link, PROFILE)["checks"] if check["check"] == "command")
    assert "after sudo it is iproute2's: /usr/sbin/devlink" in seen


# The profile


def test_where_no_profile_is_known_the_next_step_is_told_and_it_is_no_error(link: Link) -> None:
    said = examine(link)
    assert [each["code"] for each in said["findings"]] == ["DL-PROFILE-NONE"]
    assert said["findings"][0]["severity"] == "warning"
    assert "devlink profile fetch" in said["findings"][0]["fix"]
    assert assert_names(link, "DL-PROFILE-NONE", "nowhere")["severity"] == "error"


def test_a_cluster_that_gives_no_profile_is_no_error_before_anything_was_up(link: Link) -> None:
    link.world.write_file(lab.LAPTOP, KUBECONFIG, kubeconfig(f"http://{WEB_SERVER}:8001"))
    said = examine(link, env={"KUBECONFIG": KUBECONFIG})
    assert [(each["code"], each["severity"]) for each in said["findings"]] == [("DL-PROFILE-AWAY", "warning")]


def test_an_invalid_profile_is_told_with_its_faults_until_it_is_corrected(link: Link) -> None:
    path = untrusted(link, "broken", lambda spec: spec.update(pods=["127.0.0.0/8"]))
    finding = assert_names(link, "DL-PROFILE-INVALID", path)
    assert "127.0.0.0/8" in finding["evidence"]
    assert_silent(link, link.write_profile("broken"))


def test_a_profile_that_insists_on_next_hops_off_the_link_or_on_relaying_nothing_cannot_come_up(link: Link) -> None:
    def insist(spec: dict[str, Any]) -> None:
        spec.update(routing="gateway", gateways=[{"address": WEB_SERVER, "role": "far"}])

    finding = assert_names(link, "DL-R1-OFFLINK", link.write_profile("far", insist))
    assert f"{WEB_SERVER} is behind" in finding["evidence"]

    def relay_nothing(spec: dict[str, Any]) -> None:
        spec.update(routing="relay")
        del spec["pods"], spec["services"], spec["nodes"]

    assert_names(link, "DL-RELAY-NOTHING", link.write_profile("far", relay_nothing))
    assert_silent(link, link.write_profile("far"))


def test_choices_in_the_configuration_that_fit_no_network_of_the_profile_are_told(link: Link) -> None:
    name = link.world.spec.name
    link.run("mkdir", "-p", str(Path(CONFIG).parent))
    link.world.write_file(lab.LAPTOP, CONFIG, f'[profiles.{name}]\nexclude = ["192.168.99.0/24"]\n')
    assert_names(link, "DL-CHOICE-INVALID", PROFILE)
    link.run("rm", CONFIG)
    assert_silent(link, PROFILE)


def test_a_profile_that_nobody_has_trusted_is_a_warning_until_it_is(link: Link) -> None:
    path = untrusted(link, "grown")
    assert assert_names(link, "DL-NOT-TRUSTED", path)["severity"] == "warning"
    link.trust(path)
    assert_silent(link, path)
    untrusted(link, "grown", lambda spec: spec["services"].append("10.253.0.0/16"))
    assert "10.253.0.0/16" in assert_names(link, "DL-NOT-TRUSTED", path)["title"]


def test_a_copy_is_told_as_one_while_its_cluster_is_silent(link: Link) -> None:
    silence = "table ip silence {\n chain c { type filter hook input priority 0; tcp dport 8001 drop; }\n}\n"
    link.world.run(lab.UPSTREAM, ["nft", "-f", "-"], input=silence, check=True)
    link.world.write_file(lab.LAPTOP, KUBECONFIG, kubeconfig(f"http://{WEB_SERVER}:8001"))
    link.run("python", "-c", KEEP, f"http://{WEB_SERVER}:8001")
    env = {"KUBECONFIG": KUBECONFIG}
    assert assert_names(link, "DL-PROFILE-CACHED", env=env)["severity"] == "warning"
    link.world.run(lab.UPSTREAM, ["nft", "delete table ip silence"], check=True)
    assert_silent(link, PROFILE, env=env)


# What is around


def test_a_laptop_that_is_on_no_network_is_told_so_and_nothing_that_follows(link: Link) -> None:
    path = link.write_profile("insisting", lambda spec: spec.update(routing="gateway"))  # else R1 would follow
    link.run("ip", "link", "set", "eth0", "down")
    finding = assert_names(link, "DL-NO-NETWORK", path)
    assert "eth0" in finding["evidence"]
    link.run("sh", "-ec", "ip link set eth0 up; ip route add default via 172.16.0.1 proto static")
    link.wait_until(lambda: "UP" in link.run("ip", "-br", "link", "show", "eth0").split(), "it has its carrier")
    assert_silent(link, path)


def test_a_captive_portal_is_named_until_somebody_has_signed_in(link: Link) -> None:
    with intercepting(link, 302, "Location", "http://wifi.hotel.example/login", ahead=900):
        finding = assert_names(link, "DL-CAPTIVE-PORTAL", PROFILE)
        assert "http://wifi.hotel.example/login" in finding["evidence"]
    assert_silent(link, PROFILE)


def test_a_portal_is_a_warning_where_the_cluster_is_reached_all_the_same(link: Link) -> None:
    link.up()
    with intercepting(link, 511):
        assert assert_names(link, "DL-CAPTIVE-PORTAL")["severity"] == "warning"
    assert_silent(link)


def test_a_clock_that_differs_from_all_others_is_an_error_and_one_that_differs_alone_is_not_believed(
    link: Link,
) -> None:
    link.world.write_file(lab.LAPTOP, KUBECONFIG, kubeconfig(f"https://{WEB_SERVER}:6443"))
    server = Authority().issue(WEB_SERVER, expired=True)  # as it seems to a clock that is wrong
    link.world.write_file(lab.UPSTREAM, "/tmp/server.pem", server.key + server.certificate)
    env = {"KUBECONFIG": KUBECONFIG}
    with serving(link, lab.UPSTREAM, 6443, 401, ahead=900):
        assert_silent(link, PROFILE, env=env)
        with intercepting(link, 200, ahead=900):
            finding = assert_names(link, "DL-CLOCK", PROFILE, env=env)
            assert WEB_SERVER in finding["evidence"]
            assert "behind by 15 minutes" in finding["title"]


def test_a_proxy_that_would_get_the_clusters_urls_is_a_warning_until_the_exceptions_are_made(link: Link) -> None:
    env = {"http_proxy": "http://joe:secret@proxy.corp.example:3128", "NO_PROXY": "localhost,.corp.example"}
    finding = assert_names(link, "DL-PROXY-CATCHES", PROFILE, env=env)
    assert finding["severity"] == "warning"
    assert "secret" not in str(finding)
    exports = finding["fix"].partition(" (")[0].removeprefix("export ")
    assert_silent(link, PROFILE, env=env | dict(word.split("=", 1) for word in shlex.split(exports)))


def kubeconfig(server: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1", "kind": "Config", "current-context": "qa",
            "contexts": [{"name": "qa", "context": {"cluster": "qa", "user": "joe"}}],
            "clusters": [{"name": "qa", "cluster": {"server": server}}],
            "users": [{"name": "joe", "user": {}}],
        }
    )  # fmt: skip
