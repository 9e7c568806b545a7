"""`devlink report` and `devlink logs` on a laptop: what a colleague gets, and what nobody gets."""

import json
import re
import signal
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest

from devlink import lab
from tests.certificates import Authority
from tests.e2e.link import Link, linked

pytestmark = pytest.mark.lab

CANARY = "c4n4ryNobodyMaySee"
"""Part of each secret that is planted."""
TOKEN = f"eyJhbGciOiJSUzI1NiJ9.{CANARY}.{CANARY}"
AGENT_LOG = "/root/.local/state/devlink/log/agent.log"
ENVIRONMENT = {
    "HTTPS_PROXY": f"http://alice:{CANARY}@proxy.corp.example:3128",
    "NO_PROXY": "10.0.0.0/8,.corp.example",
    "MY_TOKEN": CANARY,
    "KUBECONFIG": "/root/.kube/acme-prod",
    "USER": "alice",
}
KUBECONFIG = f"""\
apiVersion: v1
kind: Config
current-context: acme-context
clusters: [{{name: acme, cluster: {{server: "https://api.acme.example:6443"}}}}]
contexts: [{{name: acme-context, context: {{cluster: acme, user: acme-admin}}}}]
users: [{{name: acme-admin, user: {{token: {CANARY}}}}}]
"""
NAMES = ("acme", "alice", "corp", "qa-team")
"""Parts of the names that are on this laptop."""
DUMP = """\
import json, pathlib
print(json.dumps({str(path): path.read_text() for path in pathlib.Path(".").rglob("*") if path.is_file()}))
"""


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """Network A with a session up, and secrets wherever a user may have put one."""
    with linked(lab.network_a(), tmp_path_factory.mktemp("report") / "helper.log") as link:
        ca = Authority("canary").pem

        def with_ca(spec: dict[str, object]) -> None:
            spec["identity"] = {"ca": ca}

        host = lab.LAPTOP
        link.run("mkdir", "-p", "/root/.kube", "/root/.config/devlink")
        link.world.write_file(host, "/root/.kube/acme-prod", KUBECONFIG)
        link.world.write_file(host, "/root/.config/devlink/config.toml", f"# token = {CANARY}\nrefresh_spread = 30.0\n")
        resolver = link.run("cat", "/etc/resolv.conf")
        link.world.write_file(host, "/etc/resolv.conf", f"# password: {CANARY}\nsearch corp.example\n{resolver}")
        link.up(link.write_profile("qa-team", with_ca), "--no-dns")
        link.world.write_file(host, f"/var/lib/devlink/trust/token-x:{CANARY}{CANARY}.json", "{}")
        said = [
            f"Authorization: Bearer {CANARY}",
            f"got {TOKEN}",
            *ca.splitlines(),
            "172.16.0.13 of acme-context\x1b[31m",
        ]
        lines = "".join(f"2026-11-22 10:00:0{index % 10},000 INFO test: {text}\n" for index, text in enumerate(said))
        link.run("sh", "-c", 'printf %s "$1" >>"$2"', "sh", lines, AGENT_LOG)
        yield link


def report(link: Link, folder: str, *options: str) -> dict[str, str]:
    """The texts of a report, by path, unpacked by tar; the laptop is what it was before."""
    before = link.world.snapshot()
    link.run("mkdir", folder)
    done = link.devlink("report", f"{folder}/r.tar.gz", *options, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr + link.logs()
    link.assert_equal(before)
    assert done.stdout == f"{folder}/r.tar.gz\n"
    assert "nothing" in done.stderr
    assert max(map(len, done.stderr.splitlines())) <= 80
    assert link.run("stat", "-c", "%a %n", f"{folder}/r.tar.gz").startswith("600 ")
    link.run("tar", "-xzf", f"{folder}/r.tar.gz", "-C", folder, "--strip-components=1")
    texts: dict[str, str] = json.loads(link.run("sh", "-c", f'cd {folder}; rm r.tar.gz; python3 -c "$1"', "sh", DUMP))
    link.run("rm", "-r", folder)
    return texts


@pytest.fixture(scope="module")
def plain(laptop: Link) -> dict[str, str]:
    return report(laptop, "/root/plain")


@pytest.fixture(scope="module")
def anonymized(laptop: Link) -> dict[str, str]:
    return report(laptop, "/root/anonymized", "--anonymize")


def certificate_lines(laptop: Link) -> list[str]:
    """The lines of the certificate in the profile."""
    text = laptop.run("cat", "/root/qa-team.yaml")
    return [line.strip() for line in text.splitlines() if re.fullmatch(r"\s*[A-Za-z0-9+/=]{60,}\s*", line)]


def test_no_secret_is_in_it(laptop: Link, plain: dict[str, str], anonymized: dict[str, str]) -> None:
    secrets = [CANARY, "BEGIN CERTIFICATE", *certificate_lines(laptop)]
    assert len(secrets) > 4
    for path in ("environment.txt", "logs/agent.txt", "resolver/resolv.conf", "settings/config.toml"):
        assert "<masked " in plain[path], path
    for texts in (plain, anonymized):
        for path, text in texts.items():
            assert not [secret for secret in secrets if secret in path or secret in text], path


def test_all_that_a_colleague_needs_is_in_it_and_the_readme_names_it(plain: dict[str, str]) -> None:
    assert "qa-team  up" in plain["devlink/status.txt"]
    assert json.loads(plain["devlink/agent-status.json"])["sessions"][0]["name"] == "qa-team"
    assert {check["check"] for check in json.loads(plain["devlink/doctor.json"])["checks"]}
    assert "session" in plain["devlink/doctor.txt"]
    assert "10.20.0.0/16" in plain["sessions/qa-team/profile.yaml"]
    assert json.loads(plain["sessions/qa-team/plan.json"])
    assert "10.20.0.0/16 nhid" in plain["network/routes4.txt"]
    assert "net.ipv4.conf.eth0.rp_filter = " in plain["network/sysctls.txt"]
    assert "search corp.example" in plain["resolver/resolv.conf"]
    assert "refresh_spread = 30.0" in plain["settings/config.toml"]
    assert "lease_grace" in plain["settings/policy.toml"]
    assert "proxy.corp.example:3128" in plain["environment.txt"]
    assert "acme-context" in plain["logs/agent.txt"]
    assert "Python 3" in plain["versions/python.txt"]
    for path in plain:
        assert path in plain["README.txt"]
    assert "NetworkManager's devices [not installed]" in plain["README.txt"] or plain["resolver/nmcli.txt"]


def test_anonymized_it_holds_none_of_the_addresses_and_names(
    laptop: Link, plain: dict[str, str], anonymized: dict[str, str]
) -> None:
    addresses = {"172.16.0.13", "172.16.0.100", "10.20.73", "10.254.0", "192.0.2.53"}
    hardware = set(re.findall(r"link/ether (\S+)", plain["network/links.txt"]))
    host = laptop.run("hostname").strip()
    assert hardware
    for path, text in anonymized.items():
        found = [each for each in (*addresses, *hardware, *NAMES) if each in path or each in text]
        assert not found, (path, text)
        assert not re.search(rf"\b{host}\b", text), path


def test_anonymized_what_belongs_together_still_does(anonymized: dict[str, str]) -> None:
    routes = anonymized["network/routes4.txt"]
    (lan,) = re.findall(r"unicast (\S+) dev eth0 table main proto kernel", routes)
    (gateway,) = set(re.findall(r"unicast \S+/16 nhid \d+ via (\S+) ", routes))
    pods = re.search(r"pods: \[(\S+)\]", anonymized["sessions/" + _session(anonymized) + "/profile.yaml"])
    assert pods is not None
    assert ip_address(gateway) in ip_network(lan)
    assert ip_network(lan).network_address in ip_network("172.16.0.0/12")
    assert f"unicast {pods[1]} nhid" in routes
    assert f"via {gateway}" in anonymized["devlink/status.txt"]
    assert _session(anonymized) in anonymized["devlink/status.txt"]
    assert "cluster.local" in anonymized["sessions/" + _session(anonymized) + "/profile.yaml"]


def _session(texts: dict[str, str]) -> str:
    (name,) = {path.split("/")[1] for path in texts if path.startswith("sessions/")}
    return name


def test_it_overwrites_nothing_and_says_where_it_cannot_write(laptop: Link) -> None:
    laptop.world.write_file(lab.LAPTOP, "/root/taken", "mine")
    done = laptop.devlink("report", "/root/taken")
    assert (done.returncode, laptop.run("cat", "/root/taken")) == (2, "mine")
    assert "there already" in done.stderr
    done = laptop.devlink("report", "/proc/r.tar.gz")
    assert done.returncode == 2
    assert "No file can be written in /proc" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, None)])
def test_one_that_is_interrupted_leaves_nothing(laptop: Link, number: signal.Signals, code: int | None) -> None:
    laptop.run("mkdir", "-p", "/root/empty")
    laptop.kill("helper", number=signal.SIGSTOP)  # so that it lasts
    try:
        running = laptop.start("report", "/root/empty")
        laptop.wait_until(lambda: laptop.world.run(lab.LAPTOP, ["pgrep", "-f", "devlink report"]).stdout, "it runs")
        time.sleep(0.3)
        running.send_signal(number)
        ended, said = laptop.await_end(running, thaw=False)
    finally:
        laptop.kill("helper", number=signal.SIGCONT)
    assert code is None or ended == code, said
    assert laptop.run("ls", "-A", "/root/empty") == ""


def test_logs_shows_the_agents_file_and_does_nothing_to_the_terminal(laptop: Link) -> None:
    done = laptop.devlink("logs", "-n", "3")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert "172.16.0.13 of acme-context?[31m" in done.stdout
    assert "\x1b" not in done.stdout


def test_logs_follows_through_a_rotation_until_ctrl_c(laptop: Link) -> None:
    running = laptop.start("logs", "--follow", "-n", "1")
    assert running.stdout is not None
    shown = iter(running.stdout)
    while "acme-context" not in next(shown):  # what it begins with
        pass
    laptop.run("sh", "-c", f"echo one >>{AGENT_LOG}; mv {AGENT_LOG} {AGENT_LOG}.1; echo two >{AGENT_LOG}")
    assert [next(shown).split()[-1], next(shown).split()[-1]] == ["one", "two"]
    running.send_signal(signal.SIGINT)
    code, said = laptop.await_end(running)
    assert (code, said) == (0, "")


def test_with_nothing_up_and_no_helper_it_is_written_all_the_same(laptop: Link) -> None:
    laptop.down("--all")
    laptop.stop_helper()
    try:
        texts = report(laptop, "/root/down")
    finally:
        laptop.start_helper()
    assert "Nothing is up" in texts["devlink/status.txt"]
    assert "devlink/helper-list.json" in texts["README.txt"]
