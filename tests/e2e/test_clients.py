"""Clients that mean harm: whatever comes over its socket, the helper refuses or bounds it, lives on, and serves."""

import contextlib
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devlink import __version__, lab
from devlink.errors import ConflictError, DevlinkError, NotPermittedError, ProfileError, ProtocolError, UsageError
from devlink.rpc import varlink
from devlink.rpc.client import Client
from devlink.rpc.framing import pack
from devlink.rpc.server import MAX_CONNECTIONS_PER_UID, MAX_UNANSWERED, PARTIAL_FRAME_LIMIT
from tests.e2e.link import PROFILE, Link

pytestmark = pytest.mark.lab

LIST = pack(varlink.call("io.devlink.Helper.List"))
ROOM = 96 << 20
"""Octets that the helper may grow by under attack: its bound on unanswered messages, and what Python makes of them."""


def path_of(link: Link) -> str:
    """The helper's socket as this process reaches it, through the laptop's root folder."""
    return f"/proc/{link.world.anchor(lab.LAPTOP)}/root/run/devlink/helper"


def connect(link: Link) -> Client:
    return Client.connect(path_of(link))


@contextlib.contextmanager
def raw(link: Link) -> Iterator[socket.socket]:
    """A connection that keeps to no protocol."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(3 * PARTIAL_FRAME_LIMIT)
        sock.connect(path_of(link))
        yield sock


def was_closed(sock: socket.socket) -> bool:
    """Whether the helper ends the connection; replies before that are read over."""
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


def send_until_refused(sock: socket.socket, octets: int, chunk: bytes = b"x" * (1 << 16)) -> int:
    """Send that many octets; how many were taken before the helper closed the connection."""
    sent = 0
    try:
        while sent < octets:
            sent += sock.send(chunk)
    except ConnectionError:
        pass
    return sent


def memory(pid: int) -> int:
    """The resident octets of a process at their highest (VmHWM, proc(5))."""
    (line,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(line) << 10


@pytest.fixture
def helper(link: Link) -> Iterator[int]:
    """The helper's PID. After the test that very process must serve another client, and must not have grown."""
    (pid,) = link.pids("helper")
    before = memory(pid)
    yield pid
    assert link.pids("helper") == [pid], "the helper did not live on"
    with connect(link) as client:
        assert client.call("io.devlink.Helper.List")["sessions"] == []
    assert memory(pid) - before < ROOM
    assert "Traceback" not in link.helper_log


@pytest.mark.parametrize(
    "frame",
    [
        b"hello",
        b"",
        b"[]",
        b'"io.devlink.Helper.List"',
        b"\xff\xfe\x80",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 10_000,
        b"{}",
        b'{"method":1}',
        b'{"method":"List"}',
        b'{"method":null,"parameters":{}}',
        b'{"method":"io.devlink.Helper.List","parameters":[1]}',
        b'{"method":"io.devlink.Helper.List","parameters":"x"}',
    ],
    ids=lambda frame: repr(frame[:24]),
)
def test_a_malformed_frame_ends_its_connection_and_nothing_else(link: Link, helper: int, frame: bytes) -> None:
    with connect(link) as bystander, raw(link) as sock:
        sock.sendall(frame + b"\0")
        assert was_closed(sock)
        assert bystander.call("io.devlink.Helper.List")["sessions"] == []


def test_a_frame_of_100_mb_is_cut_off(link: Link, helper: int) -> None:
    with raw(link) as sock:
        sent = send_until_refused(sock, 100 << 20)
        assert sent < 10 << 20
        assert was_closed(sock)


def test_many_large_frames_at_once_are_bounded_together(link: Link, helper: int) -> None:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(raw(link)) for _ in range(24)]
        for sock in socks:
            send_until_refused(sock, 7 << 20)
            sock.settimeout(0.01)
        held = sum(not was_closed(sock) for sock in socks)
        assert 1 <= held <= MAX_UNANSWERED // (7 << 20)


def test_large_calls_that_wait_for_their_answers_are_bounded_too(link: Link, helper: int) -> None:
    call = pack(varlink.call("io.devlink.Helper.Nothing", {"filling": "x" * (6 << 20)}))
    with contextlib.ExitStack() as stack:
        for _ in range(12):  # nobody reads what they are answered
            sock = stack.enter_context(raw(link))
            send_until_refused(sock, len(call), call)


def test_two_hundred_connections_leave_those_served_that_are_within_the_bound(link: Link, helper: int) -> None:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(raw(link)) for _ in range(200)]
        for sock in socks:
            with contextlib.suppress(ConnectionError):
                sock.sendall(LIST)
        answered = 0
        for sock in socks:
            with contextlib.suppress(ConnectionError):
                answered += bool(sock.recv(1 << 16))
        assert answered == MAX_CONNECTIONS_PER_UID
    link.wait_until(link.helper_answers, "there is room again")


def test_connections_that_stall_are_closed_in_the_end_and_meanwhile_others_are_served(link: Link, helper: int) -> None:
    with raw(link) as half, raw(link) as trickling, raw(link) as deaf:
        half.sendall(LIST[:10])
        deaf.setblocking(False)
        # A reply is larger than its question here, so the helper has to stop first.
        question = pack(varlink.call("org.varlink.service.GetInterfaceDescription", {"interface": "io.devlink.Helper"}))
        with contextlib.suppress(BlockingIOError):
            for _ in range(100_000):
                deaf.sendall(question)
        began = time.monotonic()
        open_still = True
        position = 0
        while open_still and time.monotonic() < began + 2 * PARTIAL_FRAME_LIMIT:
            with connect(link) as client:
                assert client.call("io.devlink.Helper.List")["sessions"] == []
            try:
                trickling.sendall(LIST[position : position + 1])
            except ConnectionError:
                open_still = False
            position = min(position + 1, len(LIST) - 2)
            time.sleep(PARTIAL_FRAME_LIMIT / 20)
        assert not open_still, "one octet now and then keeps a connection for ever"
        assert was_closed(half)
        deaf.settimeout(PARTIAL_FRAME_LIMIT)
        assert was_closed(deaf)


@pytest.mark.parametrize(
    "method",
    ["io.devlink.Helper.Nothing", "io.devlink.Helper.apply", "io.devlink.Agent.Up", "io.devlink.Helper._apply", "a.b"],
)
def test_an_unknown_method_is_named_in_the_standard_error(link: Link, helper: int, method: str) -> None:
    with connect(link) as client:
        with pytest.raises(ProtocolError, match=rf"MethodNotFound.*{method}"):
            client.call(method)
        assert client.call("io.devlink.Helper.List")["sessions"] == [], "the connection goes on"


def test_the_helper_describes_itself_as_every_varlink_service_does(link: Link, helper: int) -> None:
    with connect(link) as client:
        info = client.call("org.varlink.service.GetInfo")
        assert info["version"] == __version__
        assert info["interfaces"] == ["org.varlink.service", "io.devlink.Helper"]
        described = client.call("org.varlink.service.GetInterfaceDescription", {"interface": "io.devlink.Helper"})
        assert described["description"] == varlink.interface_description("io.devlink.Helper")
        with pytest.raises(ProtocolError, match="InterfaceNotFound"):
            client.call("org.varlink.service.GetInterfaceDescription", {"interface": "io.devlink.Forwarder"})


WRONG: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    "",
    "x",
    "\ud800",
    "a\0b",
    [],
    {},
    [[]],
    [None],
    {"x": 1},
    [{}],
)
PLAN: dict[str, Any] = {
    "session": "stranger",
    "routes": [{"destination": "10.20.0.0/16", "next_hop": "172.16.0.13", "oif": "eth0", "metric": 50, "mtu": 1480}],
    "zones": [
        {
            "suffix": "cluster.local",
            "servers": [{"address": "10.254.0.2", "port": 53, "transport": "auto"}],
            "namespaces": ["default"],
        }
    ],
    "pins": ["192.0.2.1"],
    "ca": "",
}
"""A plan of the right form that nobody trusts: whatever becomes of it, it must not be applied."""


FAILOVER: dict[str, dict[str, str]] = {
    "Switch": {"session": "qa", "next_hop": "172.16.0.13", "via": "172.16.0.16"},
    "OpenProbe": {"session": "qa", "via": "172.16.0.13", "target": "10.254.0.2", "kind": "udp"},
    "AskNeighbour": {"session": "qa", "via": "172.16.0.13"},
    "FollowTraffic": {"session": "qa"},
    "OpenRelay": {"session": "qa"},
    "CountRelay": {"session": "qa"},
}
"""Calls of the right form for a session that is not up."""


def spoilt(tree: Any) -> Iterator[Any]:
    """The tree with each of its parts in turn, itself included, replaced by each wrong value."""
    yield from WRONG
    if isinstance(tree, dict):
        yield {**tree, "surplus": 1}
        for key, value in tree.items():
            yield {other: tree[other] for other in tree if other != key}
            for wrong in spoilt(value):
                yield {**tree, key: wrong}
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            for wrong in spoilt(value):
                yield [*tree[:index], wrong, *tree[index + 1 :]]


def test_wrong_types_in_every_parameter_of_every_verb_are_told_and_change_nothing(link: Link, helper: int) -> None:
    before = link.world.snapshot()
    calls: list[tuple[str, dict[str, Any]]] = [("Apply", {"plan": plan}) for plan in spoilt(PLAN)]
    calls += [("Apply", {"plan": PLAN, "replace": wrong}) for wrong in spoilt(["other"])]
    calls += [
        (verb, {key: wrong})
        for verb, key in (("Confirm", "session"), ("Release", "session"), ("Trust", "profile"), ("Revoke", "name"))
        for wrong in WRONG
    ]
    calls += [(verb, {**whole, key: wrong}) for verb, whole in FAILOVER.items() for key in whole for wrong in WRONG]
    calls += [(verb, {}) for verb in ("Apply", "Confirm", "Release", "Trust", "Revoke", *FAILOVER)]
    expected = {"UsageError", "NotTrustedError", "NotUpError", "ProfileError"}
    with connect(link) as client:
        for verb, parameters in calls:
            with pytest.raises(DevlinkError) as refused:
                client.call(f"io.devlink.Helper.{verb}", parameters)
            assert type(refused.value).__name__ in expected, f"{verb} {parameters}: {refused.value}"
            assert "/etc" not in str(refused.value)
        for verb in ("List", "ListTrust"):
            for wrong in WRONG:
                client.call(f"io.devlink.Helper.{verb}", {"surplus": wrong})
    link.assert_equal(before)


def test_every_verb_that_takes_parameters_is_among_those_tried() -> None:
    description = varlink.interface_description("io.devlink.Helper")
    found = re.findall(r"^method (\w+)\((.*?)\) ->", description, re.MULTILINE)
    assert {verb: re.findall(r"(\w+):", parameters) for verb, parameters in found} == {
        "Apply": ["plan", "replace"],
        "Confirm": ["session"],
        "Release": ["session", "take"],
        "List": [],
        "Restore": [],
        "Trust": ["profile"],
        "Revoke": ["name"],
        "ListTrust": [],
        "GetDnsStats": [],
        "FlushDns": [],
        "FollowDnsLog": [],
        **{verb: list(whole) for verb, whole in FAILOVER.items()},
    }


@pytest.mark.parametrize(
    "name",
    ["../../etc/x", "../x", "/etc/x", "..", ".", "a/b", "a\0b", "A", "a" * 64, "-a", "a b", "x.json", "\ud800", "a\n"],
)
def test_a_session_or_profile_name_that_is_no_dns_label_reaches_no_file(link: Link, helper: int, name: str) -> None:
    record = json.dumps({"name": name.encode("ascii", "replace").decode(), "prefixes": ["10.0.0.0/8"]})
    for path in ("/etc/x.json", "/etc/devlink/x.json", "/var/lib/devlink/x.json", "/var/lib/etc/x.json"):
        link.run("mkdir", "-p", str(Path(path).parent))
        link.world.write_file(lab.LAPTOP, path, record)
    before = link.world.snapshot()
    try:
        with connect(link) as client:
            with pytest.raises(UsageError, match="is not the name of a profile"):
                client.call("io.devlink.Helper.Apply", {"plan": {**PLAN, "session": name}})
            with pytest.raises(UsageError, match="is not the name of a profile"):
                client.call("io.devlink.Helper.Revoke", {"name": name})
            profile = json.dumps(
                {"metadata": {"name": name}, "apiVersion": "devlink/v1alpha1", "kind": "BridgeProfile"}
            )
            with pytest.raises(ProfileError):
                client.call("io.devlink.Helper.Trust", {"profile": profile})
        link.assert_equal(before)
    finally:
        link.run("rm", "-r", "/etc/x.json", "/etc/devlink/x.json", "/var/lib/devlink/x.json", "/var/lib/etc")


ASK = """
import sys
from devlink.errors import DevlinkError
from devlink.rpc.client import Client
with Client.connect("/run/devlink/helper") as client:
    for line in sys.stdin:
        method, _, parameters = line.strip().partition(" ")
        try:
            print("ok", client.call("io.devlink.Helper." + method, eval(parameters or "{}")), flush=True)
        except DevlinkError as error:
            print(type(error).__name__, error, flush=True)
"""
"""A client that asks what it reads, each line over the same connection."""


@pytest.fixture
def people(link: Link) -> Iterator[Link]:
    """A laptop whose other users can run devlink too: in a root of the lab, its interpreter may lie in root's home."""
    link.run("chmod", "711", "/root")
    yield link
    link.run("chmod", "700", "/root")


def ask(link: Link, user: str, *lines: str) -> list[str]:
    """What the helper says to a user's calls."""
    done = link.world.run(lab.LAPTOP, ["python", "-c", ASK], user=user, input="".join(line + "\n" for line in lines))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.system
def test_a_user_outside_the_group_is_refused_with_a_way_in(people: Link, helper: int) -> None:
    people.world.write_file(lab.LAPTOP, "/home/mallory/profile.yaml", people.world.profile())
    for command in (["helper", "status"], ["up", "/home/mallory/profile.yaml"], ["trust", "list"]):
        done = people.world.run(lab.LAPTOP, ["devlink", *command], user="mallory")
        assert done.returncode == NotPermittedError.exit_code == 6, done.stderr
        assert "mallory may not use the devlink helper" in done.stderr
        assert "Next: An administrator can add you: sudo usermod -aG devlink mallory" in done.stderr
    verbs = ("List", "ListTrust", "Restore", f"Apply {{'plan': {PLAN!r}}}", "Release {'session': 'x'}")
    assert all(answer.startswith("NotPermittedError") for answer in ask(people, "mallory", *verbs))


@pytest.mark.system
def test_what_a_stranger_may_send_is_small(people: Link, helper: int) -> None:
    script = (
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('/run/devlink/helper')\nn = 0\n"
        "try:\n    while n < 4 << 20: n += s.send(b'x' * 65536)\nexcept ConnectionError:\n    pass\nprint(n)"
    )
    sent = {
        user: int(people.world.run(lab.LAPTOP, ["python", "-c", script], user=user).stdout)
        for user in ("alice", "mallory")
    }
    assert sent["alice"] >= 4 << 20
    assert sent["mallory"] < 1 << 20


@pytest.mark.system
def test_a_user_added_to_the_group_need_not_log_in_again(people: Link, helper: int) -> None:
    group = people.world.read_file(lab.LAPTOP, "/etc/group")
    argv = people.world.enter_argv(lab.LAPTOP, ["python", "-c", ASK], user="mallory")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdin is not None
        assert asking.stdout is not None
        try:
            asking.stdin.write("List\n")
            asking.stdin.flush()
            assert asking.stdout.readline()  # it runs: what started it has read the groups
            for members, expected in (
                ("alice", "NotPermittedError"),
                ("alice,mallory", "ok"),
                ("alice", "NotPermitted"),
            ):
                changed = re.sub(r"^(devlink:x:\d+:).*$", rf"\g<1>{members}", group, flags=re.MULTILINE)
                people.world.write_file(lab.LAPTOP, "/etc/group", changed)
                asking.stdin.write("List\n")
                asking.stdin.flush()
                assert asking.stdout.readline().startswith(expected)
        finally:
            asking.stdin.close()
            people.world.write_file(lab.LAPTOP, "/etc/group", group)


@pytest.mark.system
def test_a_member_brings_a_trusted_profile_up_and_down_and_does_nothing_else(people: Link) -> None:
    before = people.world.snapshot()
    people.world.write_file(lab.LAPTOP, "/home/alice/profile.yaml", people.world.profile())
    up = people.world.run(lab.LAPTOP, ["devlink", "up", "/home/alice/profile.yaml"], user="alice")
    assert up.returncode == 0, up.stderr + people.logs()
    name = json.loads(people.world.run(lab.LAPTOP, ["devlink", "status", "-o", "json"], user="alice").stdout)[
        "sessions"
    ][0]["name"]
    trust = f"Trust {{'profile': {people.world.profile()!r}}}"
    answers = ask(people, "alice", trust, f"Revoke {{'name': {name!r}}}", "Restore")
    # Without polkit nobody is asked who could say yes.
    assert [answer.partition(" ")[0] for answer in answers] == [*["NotAuthorizedError"] * 2, "NotPermittedError"]
    assert ["is for the machine's owner" in answer for answer in answers] == [True, True, False]
    assert "is for root" in answers[2]
    other = people.world.run(lab.LAPTOP, ["devlink", "up", PROFILE])
    assert other.returncode == ConflictError.exit_code
    assert "alice" in other.stderr
    down = people.world.run(lab.LAPTOP, ["devlink", "down"], user="alice")
    assert down.returncode == 0, down.stderr
    people.await_equal(before)


@pytest.mark.system
def test_another_users_session_is_not_seen_not_taken_and_not_taken_down(people: Link) -> None:
    people.up()
    (name,) = people.states()
    people.world.write_file(lab.LAPTOP, "/home/alice/profile.yaml", people.world.profile())
    taken = people.world.run(lab.LAPTOP, ["devlink", "up", "/home/alice/profile.yaml"], user="alice")
    assert taken.returncode == ConflictError.exit_code == 5
    assert "root" in taken.stderr
    answers = ask(people, "alice", "List", f"Release {{'session': {name!r}}}", f"Confirm {{'session': {name!r}}}")
    assert "'sessions': []" in answers[0]
    assert answers[1].startswith("NotPermittedError")
    assert "root" in answers[1]
    assert answers[2].startswith("NotUpError")
    (replaced,) = ask(people, "alice", f"Apply {{'plan': {PLAN!r}, 'replace': [{name!r}]}}")
    assert replaced.startswith("NotPermittedError")
    assert people.states() == {name: "up"}


@pytest.mark.system
def test_one_users_connections_do_not_keep_another_out(people: Link, helper: int) -> None:
    script = (
        "import socket, sys\nheld = []\nfor _ in range(200):\n    s = socket.socket(socket.AF_UNIX)\n"
        "    s.connect('/run/devlink/helper')\n    held.append(s)\nprint('held', flush=True)\nsys.stdin.read()"
    )
    argv = people.world.enter_argv(lab.LAPTOP, ["python", "-c", script], user="mallory")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holding:
        assert holding.stdin is not None
        assert holding.stdout is not None
        assert holding.stdout.readline() == "held\n"
        assert ask(people, "alice", "List")[0].startswith("ok")
        holding.stdin.close()
