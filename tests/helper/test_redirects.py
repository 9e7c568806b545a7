"""Programs that are led to a relay, in a real kernel: who is, who is not, and what becomes of it."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from devlink.core.network import ObservedNetwork, Route, relay_table
from devlink.core.plan import Desired, Relaying
from devlink.errors import HelperError
from devlink.helper import redirects
from devlink.helper.installed import Installed
from devlink.helper.journal import Journal
from devlink.helper.lease import Lease, together
from devlink.helper.listeners import Listener
from devlink.helper.machine import Machine
from devlink.helper.parts import Parts
from devlink.helper.policy import Policy
from devlink.helper.relayed import relay_routes
from devlink.helper.relayverbs import RelayVerbs
from devlink.kernel.observe import observe
from devlink.kernel.redirect import Relayed
from devlink.relay.sockets import original_destination
from tests.helper.fakes import Nameless
from tests.kernel.private_network import in_private_network, ip, ip_json, make_links

pytestmark = pytest.mark.lab

ME, ANOTHER = 0, 4711
"""Uids: of this test within its namespace, and of nobody there."""
SERVICE, POD, SIX = "10.254.0.10", "10.20.1.3", "fd10:20::5"
PREFIXES = ("10.254.0.0/16", "10.20.0.0/16", "fd10:20::/64")
LIMIT = 5.0
"""Seconds for anything that must happen; a failure, not a figure."""


class World:
    """A machine without names, and sessions on it."""

    def __init__(self, folder: Path) -> None:
        journal = Journal(folder / "journal.json")
        self.machine = Machine(policy=Policy(), journal=journal, parts=Parts(folder, private=True))
        self.machine.names = Nameless()  # type: ignore[assignment]  # has what is used
        self.leases: dict[str, Lease] = {}
        self._runner = asyncio.Runner()

    def apply(self, desired: Desired, *, uid: int = ME, protected: tuple[str, ...] = ()) -> Lease:
        """As the verb of that name, without what it checks."""
        old = self.leases.get(desired.session)
        had = old.listeners if old is not None else ()
        lease = Lease(
            desired=desired,
            pinned=(),
            uid=uid,
            holder=None,
            relay_routes=relay_routes(desired, map(ip_address, protected)),
            listeners=RelayVerbs.listeners(desired, observe(), had),
        )
        others = [each for name, each in self.leases.items() if name != desired.session]
        self._converge([*others, lease], lease.installed)
        self.leases[desired.session] = lease
        return lease

    def end(self, session: str) -> None:
        del self.leases[session]
        self._converge([*self.leases.values()], together([]))

    def mend(self) -> None:
        async def mend() -> None:
            async with self.machine.lock:
                await self.machine.reassert((), await self.machine.lack())

        self._runner.run(mend())

    def _converge(self, leases: list[Lease], wanted: Installed) -> None:
        async def converge() -> None:
            async with self.machine.lock, asyncio.timeout(LIMIT):
                await self.machine.converge(together(leases), wanted=wanted)

        self._runner.run(converge())


def plan(*prefixes: str, session: str = "qa", uid: int = ME, containers: tuple[str, ...] = ()) -> Desired:
    routes = (Route(destination=ip_network(each), oif="devlink0", table=relay_table(uid)) for each in prefixes)
    return Desired(session=session, routes=tuple(routes), relay=Relaying(containers=containers))


def draining(session: str = "qa", *routes: Route) -> Desired:
    return Desired(session=session, routes=routes, relay=Relaying(draining=True))


Body = Callable[[World], None]
Run = Callable[[Body], None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a test's body in a network of its own, whose kernel is as strict about sources as distributions have it."""

    def runner(body: Body) -> None:
        def inside() -> None:
            make_links()
            for place in ("all", "default"):
                Path(f"/proc/sys/net/ipv4/conf/{place}/rp_filter").write_text("1")
            body(World(tmp_path))

        in_private_network(inside)

    return runner


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextlib.contextmanager
def led(lease: Lease, address: str, port: int, purpose: str = "redirected") -> Iterator[tuple[Any, Any]]:
    """A connection to an address, and the relay's end of it."""
    with socket.socket(family_of(address)) as ours:
        ours.settimeout(LIMIT)
        ours.connect((address, port))
        theirs, _ = accept(lease, address, purpose)
        with theirs:
            yield ours, theirs


def accept(lease: Lease, address: str, purpose: str = "redirected") -> tuple[socket.socket, Any]:
    sock = listener(lease, address, purpose).sock
    sock.settimeout(LIMIT)
    accepted, peer = sock.accept()
    accepted.settimeout(LIMIT)
    return accepted, peer


def listener(lease: Lease, address: str, purpose: str = "redirected") -> Listener:
    version = ip_address(address).version
    return next(x for x in lease.listeners if x.place.purpose == purpose and x.place.address.version == version)


def refusal(address: str, port: int, kind: int = socket.SOCK_STREAM) -> int:
    """The error number of a program that connects, or sends."""
    with socket.socket(family_of(address), kind) as sock:
        sock.settimeout(LIMIT)
        try:
            sock.connect((address, port))
            sock.send(b"x")
        except OSError as error:
            return error.errno or -1
    return 0


def tables() -> str:
    return subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout


def nft(commands: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=commands, text=True, check=True)


def test_tcp_of_the_sessions_user_comes_to_the_relay_which_learns_where_to(run: Run) -> None:
    def body(world: World) -> None:
        lease = world.apply(plan(*PREFIXES))
        for address, port in ((SERVICE, 80), (POD, 8080), (SIX, 443)):
            with led(lease, address, port) as (ours, theirs):
                assert original_destination(theirs) == (ip_address(address), port)
                assert ours.getpeername()[:2] == (address, port)
                theirs.sendall(b"answer")
                assert ours.recv(9) == b"answer"

    run(body)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_who_comes_to_a_listener_by_himself_was_going_nowhere_else(run: Run, address: str) -> None:
    def body(world: World) -> None:
        lease = world.apply(plan(*PREFIXES))
        with led(lease, address, listener(lease, address).port) as (_, theirs):
            assert original_destination(theirs) is None

    run(body)


def test_what_is_no_tcp_is_refused_at_once_and_counted(run: Run) -> None:
    def body(world: World) -> None:
        world.apply(plan(*PREFIXES))
        assert refusal(SERVICE, 53, socket.SOCK_DGRAM) == errno.EPERM
        assert refusal(SIX, 53, socket.SOCK_DGRAM) == errno.EPERM
        assert world.machine.redirects.refused("qa") == 2
        world.apply(plan("10.9.0.0/16", session="other"))  # the table is another one now
        assert refusal(SERVICE, 53, socket.SOCK_DGRAM) == errno.EPERM
        assert (world.machine.redirects.refused("qa"), world.machine.redirects.refused("other")) == (3, 0)

    run(body)


def test_of_another_users_session_nothing_is_redirected_and_no_way_is_changed(run: Run) -> None:
    def body(world: World) -> None:
        lease = world.apply(plan(*PREFIXES))
        each = together([lease]).relayed[0]
        theirs = Relayed(session="qa", uid=ANOTHER, destinations=each.destinations, ports=each.ports)
        world.machine.redirects.settle((theirs,))
        # The route is ours in this test; that nobody translates is what the packet that is lost in the link shows.
        with socket.socket() as sock:
            sock.settimeout(0.2)
            with pytest.raises(TimeoutError):
                sock.connect((SERVICE, 80))
        # Nor does another user reach the listener by its own address.
        port = listener(lease, SERVICE).port
        assert refusal("127.0.0.1", port) == errno.ECONNREFUSED
        (rule,) = (each for each in observe().rules if each.version == 4 and each.is_ours)
        assert (rule.uids, rule.iif) == ((ME, ME), "lo")

    run(body)


def test_of_two_sessions_of_a_user_the_longer_prefix_wins(run: Run) -> None:
    def body(world: World) -> None:
        wide = world.apply(plan("10.0.0.0/8", session="wide"))
        narrow = world.apply(plan("10.20.0.0/16", session="narrow"))
        with led(narrow, POD, 80), led(wide, SERVICE, 80):
            pass
        world.end("narrow")
        with led(wide, POD, 80):
            pass

    run(body)


def test_what_is_open_goes_on_while_it_drains_and_nothing_new_is_redirected(run: Run) -> None:
    def body(world: World) -> None:
        lease = world.apply(plan(*PREFIXES))
        home = Route(destination=ip_network("10.20.0.0/16"), next_hop=ip_address("192.0.2.9"), oif="v0")
        with led(lease, POD, 80) as (ours, theirs):
            world.apply(draining("qa", home))
            assert "redirect" not in tables()
            ours.sendall(b"still")
            assert theirs.recv(9) == b"still"
            theirs.sendall(b"here")
            assert ours.recv(9) == b"here"
            world.apply(plan(*PREFIXES))  # and away again, by the same listeners
            ours.sendall(b"too")
            assert theirs.recv(9) == b"too"
        with led(lease, POD, 81):
            pass
        world.end("qa")
        assert tables() == ""
        assert "devlink0" not in {each["ifname"] for each in ip_json("link", "show")}
        assert not observe().rules[1].is_ours

    run(body)


def test_what_another_session_does_disturbs_no_connection(run: Run) -> None:
    def body(world: World) -> None:
        lease = world.apply(plan(*PREFIXES))
        with led(lease, POD, 80) as (ours, theirs):
            for each in ("10.8.0.0/16", "10.9.0.0/16"):
                world.apply(plan(each, session="other"))
                ours.sendall(b"x")
                assert theirs.recv(9) == b"x"
            world.end("other")
            ours.sendall(b"y")
            assert theirs.recv(9) == b"y"

    run(body)


@contextlib.contextmanager
def elsewhere() -> Iterator[tuple[str, ...]]:
    """Another network, and what runs a program in it; its process's number is the third word."""
    process = subprocess.Popen(["unshare", "-n", "sleep", "60"])
    try:
        while os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            pass
        yield ("nsenter", "-t", str(process.pid), "-n")
    finally:
        process.kill()
        process.wait()


SERVER = """
import socket, sys
server = socket.create_server((sys.argv[1], 80)); print("listens", flush=True)
accepted, _ = server.accept(); accepted.recv(9)
"""


@pytest.mark.parametrize("is_ending", [False, True])
def test_while_its_routes_change_what_was_redirected_still_is(run: Run, is_ending: bool) -> None:
    def body(world: World) -> None:
        lease = world.apply(plan("10.20.0.0/16"))
        (before,) = together([lease]).relayed
        other = replace(before, destinations=(ip_network("10.254.0.0/16"),))
        world.machine.redirects.widen(() if is_ending else (other,))
        with led(lease, POD, 80):
            pass

    run(body)


def test_a_connection_from_before_is_reset_and_does_not_hang(run: Run) -> None:
    def body(world: World) -> None:
        with elsewhere() as there:
            ip("link", "set", "v1", "netns", there[2])
            for words in (f"address add {POD}/24 dev v1", "link set v1 up", "route add default dev v1"):
                subprocess.run([*there, "ip", *words.split()], check=True)
            ip("route", "add", "10.20.0.0/16", "dev", "v0")
            argv = [*there, sys.executable, "-c", SERVER, POD]
            with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
                assert server.stdout is not None
                assert server.stdout.readline()
                with socket.create_connection((POD, 80), LIMIT) as old:
                    world.apply(plan(*PREFIXES))
                    old.sendall(b"x")
                    with pytest.raises(ConnectionResetError):
                        old.recv(9)
                server.kill()

    run(body)


def test_the_protected_addresses_keep_their_way_and_are_not_redirected(run: Run) -> None:
    def body(world: World) -> None:
        world.apply(plan("10.20.0.0/16"), protected=("10.20.0.1", "203.0.113.1"))
        assert refusal("10.20.0.1", 80) == errno.ENETUNREACH  # as before: there is no other route here
        assert all(ip_address("10.20.0.1") not in r.destination for r in observe().routes if r.is_ours)

    run(body)


def test_a_link_deleted_by_hand_comes_back_with_its_routes_and_the_redirect_works(run: Run) -> None:
    def body(world: World) -> None:
        lease = world.apply(plan(*PREFIXES))
        before = {str(route) for route in observe().routes if route.is_ours}
        ip("link", "del", "devlink0")
        for _ in range(3):  # the kernel knows a new address a little later
            world.mend()
        assert {str(route) for route in observe().routes if route.is_ours} == before
        with led(lease, SERVICE, 80), led(lease, SIX, 80):
            pass

    run(body)


RULES_OF_OTHERS = """
table ip nat {
  chain OUTPUT { type nat hook output priority -100; policy accept;
    ip daddr != 127.0.0.0/8 fib daddr type local counter
  }
  chain PREROUTING { type nat hook prerouting priority -100; policy accept;
  }
}
table inet firewalld {
  chain filter_INPUT { type filter hook input priority 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    reject with icmpx admin-prohibited
  }
}
table ip filter {
  chain ufw-before-input { type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state { established, related } accept
  }
}
"""


def test_rulesets_of_others_stay_and_do_no_harm(run: Run) -> None:
    def body(world: World) -> None:
        nft(RULES_OF_OTHERS)
        before = tables()
        lease = world.apply(plan(*PREFIXES))
        with led(lease, SERVICE, 80), led(lease, SIX, 80):
            pass
        world.end("qa")
        assert tables() == before

    run(body)


def test_a_ruleset_flushed_by_another_program_is_none_of_ours(run: Run) -> None:
    def body(world: World) -> None:
        lease = world.apply(plan(*PREFIXES))
        nft("flush ruleset")
        with led(lease, SERVICE, 80):
            pass

    run(body)


def test_a_table_that_is_gone_is_made_anew(run: Run) -> None:
    def body(world: World) -> None:
        lease = world.apply(plan(*PREFIXES))
        held = world.machine.redirects._nft
        assert held is not None
        held.run("delete table inet devlink")
        assert tables() == ""
        world.mend()
        with led(lease, SERVICE, 80):
            pass

    run(body)


def test_a_table_that_cannot_be_made_anew_at_once_is_made_later(run: Run) -> None:
    def body(world: World) -> None:
        lease = world.apply(plan(*PREFIXES))
        held = world.machine.redirects._nft
        assert held is not None
        held.run("delete table inet devlink")
        nft("add table inet devlink")
        with pytest.raises(HelperError, match="not this helper's"):
            world.machine.redirects.mend()
        nft("delete table inet devlink")
        assert world.machine.redirects.mend()
        with led(lease, SERVICE, 80):
            pass

    run(body)


def test_somebody_elses_table_of_that_name_is_an_error_and_stays(run: Run) -> None:
    def body(world: World) -> None:
        nft("add table inet devlink\nadd chain inet devlink theirs")
        before = tables()
        with pytest.raises(HelperError, match="not this helper's"):
            world.apply(plan(*PREFIXES))
        assert tables() == before
        assert not any(route.is_ours for route in observe().routes)

    run(body)


def test_a_firewall_that_drops_what_goes_by_lo_is_told_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redirects, "PROOF_LIMIT", 0.05)
    monkeypatch.setattr(redirects, "PROOF_TRY", 0.05)

    def body(world: World) -> None:
        nft("add table ip strict\nadd chain ip strict input { type filter hook input priority 0; policy drop; }")
        before = tables()
        with pytest.raises(HelperError, match="does not arrive") as raised:
            world.apply(plan(*PREFIXES))
        assert "firewall" in raised.value.why
        assert tables() == before
        assert "devlink0" not in {each["ifname"] for each in ip_json("link", "show")}

    run(body)


def test_table_and_link_end_with_the_process_that_made_them_however_that_ends(run: Run) -> None:
    def body(world: World) -> None:
        child = os.fork()
        if child == 0:
            world.machine.redirects.widen((Relayed(session="qa", uid=ME, ports={4: 4000}),))
            os.kill(os.getpid(), signal.SIGKILL if "table inet devlink" in tables() else signal.SIGABRT)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert tables() == ""
        assert "devlink0" not in {each["ifname"] for each in ip_json("link", "show")}

    run(body)


CONTAINER = """
import socket, sys
sock = socket.socket(); sock.settimeout(9); sock.connect((sys.argv[1], 80)); print(sock.recv(9).decode())
asked = socket.socket(type=socket.SOCK_DGRAM); asked.settimeout(9); asked.connect((sys.argv[1], 53)); asked.send(b"x")
try:
    asked.recv(9)
except OSError as error:
    print(error.errno)
"""


def test_containers_are_let_in_by_their_bridge_alone_and_where_that_was_asked_for(run: Run) -> None:
    def body(world: World) -> None:
        ip("link", "add", "br7", "type", "bridge")
        ip("link", "set", "br7", "up")
        ip("address", "add", "172.30.0.1/24", "dev", "br7")
        ip("route", "add", "default", "via", "192.0.2.254")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        with elsewhere() as inside:
            ip("link", "add", "c0", "master", "br7", "up", "type", "veth", "peer", "name", "c1", "netns", inside[2])
            for words in ("address add 172.30.0.2/24 dev c1", "link set c1 up", "route add default via 172.30.0.1"):
                subprocess.run([*inside, "ip", *words.split()], check=True)
            lease = world.apply(plan("10.254.0.0/16", containers=("br7",)))
            asked = subprocess.Popen(
                [*inside, sys.executable, "-c", CONTAINER, SERVICE], stdout=subprocess.PIPE, text=True
            )
            theirs, peer = accept(lease, SERVICE, "containers")
            assert original_destination(theirs) == (ip_address(SERVICE), 80)
            assert peer[0] == "172.30.0.2"
            theirs.sendall(b"hello")
            said, _ = asked.communicate(timeout=LIMIT)
            assert said.split() == ["hello", str(errno.EHOSTUNREACH)]
            assert world.machine.redirects.refused("qa") == 1
            world.apply(plan("10.254.0.0/16"))
            assert "br7" not in tables()

    run(body)


def test_without_an_address_to_listen_on_it_is_an_error_and_nothing_stays(run: Run) -> None:
    def body(world: World) -> None:
        ip("address", "del", "::1/128", "dev", "lo")
        with pytest.raises(HelperError, match="::1 could not be made"):
            RelayVerbs.listeners(plan(*PREFIXES), ObservedNetwork(), ())

    run(body)
