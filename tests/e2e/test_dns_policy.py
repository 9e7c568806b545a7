"""What the machine's owner says of names in policy.toml holds on the laptop, from the file to the answer."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from devlink import lab
from tests.certificates import Authority
from tests.e2e.link import POLICY, PROFILE, RESOLV_CONF, Link, at_rest
from tests.e2e.test_dns_commands import OTHER_UPSTREAM, following, names, query
from tests.e2e.test_names import getent
from tests.e2e.test_truth import CACHE

pytestmark = pytest.mark.lab

WithPolicy = Callable[..., AbstractContextManager[None]]
ADDRESS = "127.0.0.9"
SERVER = """
import socket, ssl, sys
address, port, answer, *files = sys.argv[1:]
def reply(asked):
    end = asked.index(b"\\0", 12) + 5
    record = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4" + socket.inet_aton(answer)
    return asked[:2] + b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0" + asked[12:end] + record
if files:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    listener = socket.create_server((address, int(port)))
    print("ready", flush=True)
    while True:
        plain, _ = listener.accept()
        try:
            with context.wrap_socket(plain, server_side=True) as connection:
                while data := connection.recv(65535):
                    while data:
                        size = int.from_bytes(data[:2], "big")
                        message, data = reply(data[2 : 2 + size]), data[2 + size :]
                        connection.sendall(len(message).to_bytes(2, "big") + message)
        except OSError:
            pass
with socket.socket(type=socket.SOCK_DGRAM) as sock:
    sock.bind((address, int(port)))
    print("ready", flush=True)
    while True:
        asked, source = sock.recvfrom(4096)
        sock.sendto(reply(asked), source)
"""
"""A DNS server on the laptop that has one address for every name: over UDP, or with certificate and key over TLS."""


@pytest.fixture
def with_policy(link: Link) -> WithPolicy:
    """Has `[dns]` say something, with a profile up, while the block runs."""

    @contextmanager
    def holds(lines: str, profile: str = PROFILE) -> Iterator[None]:
        before = link.world.read_file(lab.LAPTOP, POLICY)
        link.world.write_file(lab.LAPTOP, POLICY, f"{before}[dns]\n{lines}\n")
        try:
            link.restart_helper()
            link.up(profile)
            yield
            link.down()
        finally:
            link.world.write_file(lab.LAPTOP, POLICY, before)
            link.restart_helper()

    return holds


@contextmanager
def serving(link: Link, port: int, answer: str, *files: str) -> Iterator[None]:
    """The server, while the block runs."""
    with link.world.popen(lab.LAPTOP, ["python", "-c", SERVER, ADDRESS, str(port), answer, *files]) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            server.kill()


def findings(link: Link) -> list[dict[str, Any]]:
    """Of the one session."""
    (session,) = link.status()["sessions"]
    found: list[dict[str, Any]] = session["findings"]
    return found


def test_it_says_whom_to_ask_what_to_keep_and_who_may_look(link: Link, with_policy: WithPolicy) -> None:
    with with_policy(f'upstreams = [{{address = "{OTHER_UPSTREAM}"}}]\ncache_bytes = 0\nquery_log = "off"'):
        for _ in range(2):
            said = query(link, lab.ORDINARY_NAME)
            assert (said["trace"]["server"], said["trace"]["source"]) == (f"{OTHER_UPSTREAM}#53", "upstream")
        with following(link) as records:
            query(link, lab.ORDINARY_NAME)
        assert names(records) == {lab.ORDINARY_NAME}, "root sees it all the same"


def test_an_ordinary_name_that_points_into_the_cluster_is_refused_where_the_owner_wants_that(
    link: Link, with_policy: WithPolicy
) -> None:
    inside, upstream = "10.20.73.65", f'upstreams = [{{address = "{ADDRESS}", port = 5353}}]'
    # What routes lead to is protected, whether there is a reverse zone for it or not.
    profile = link.write_profile("forward", lambda spec: spec["dns"].update(reverse=False))
    try:
        with serving(link, 5353, inside):
            with with_policy(upstream, profile):
                (record,) = query(link, "rebound.example")["answers"]
                assert record.split()[-1] == inside
            with with_policy(f"{upstream}\nrebinding_protection = true", profile):
                refused = query(link, "rebound.example", expect=4)
                assert refused["status"] == "REFUSED"
                assert [error["code"] for error in refused["extended_errors"]] == [15]
                name, address = link.world.spec.service_name("web"), str(link.world.spec.service("web").address)
                (record,) = query(link, name)["answers"]
                assert record.split()[-1] == address, "the cluster's own names point there, of course"
    finally:
        link.run("devlink", "trust", "revoke", "forward")
        link.run("rm", profile)


def test_over_tls_only_who_proves_to_be_the_server_is_asked(link: Link, with_policy: WithPolicy) -> None:
    authority = Authority("resolvers")
    issued = authority.issue("dns.example")
    for path, text in (("ca.pem", authority.pem), ("own.pem", issued.certificate), ("own.key", issued.key)):
        link.world.write_file(lab.LAPTOP, f"/root/{path}", text)

    def upstream(name: str) -> str:
        return f'tls_ca = "/root/ca.pem"\nupstreams = [{{address = "{ADDRESS}", tls_name = "{name}"}}]'

    try:
        with serving(link, 853, "192.0.2.7", "/root/own.pem", "/root/own.key"):
            with with_policy(upstream("dns.example")):
                said = query(link, lab.ORDINARY_NAME)
                assert [record.split()[-1] for record in said["answers"]] == ["192.0.2.7"]
                assert (said["trace"]["server"], said["trace"]["transport"]) == (f"{ADDRESS}#853 tls", "tls")
                assert "DL-DNS-ORDINARY" not in {each["code"] for each in findings(link)}
            with with_policy(upstream("other.example")):
                (finding,) = [each for each in findings(link) if each["code"] == "DL-DNS-ORDINARY"]
                assert finding["severity"] == "warning"
                assert "certificate" in finding["evidence"]
                assert query(link, lab.ORDINARY_NAME, expect=4)["status"] == "SERVFAIL"
                assert "tls_name and tls_ca" in link.devlink("dns", "query", lab.ORDINARY_NAME).stderr
                assert "certificate" in link.run("devlink", "dns", "stats")
    finally:
        link.run("rm", "/root/ca.pem", "/root/own.pem", "/root/own.key")


def test_servers_that_do_not_answer_are_told_at_up_and_keep_nothing_from_coming_up(
    link: Link, with_policy: WithPolicy
) -> None:
    with with_policy(f'upstreams = [{{address = "{ADDRESS}"}}]'):
        (finding,) = [each for each in findings(link) if each["code"] == "DL-DNS-ORDINARY"]
        assert "SERVFAIL" in finding["evidence"], "nobody has the port"
        assert link.devlink("status").returncode == 0
        link.up()


@contextmanager
def caching(link: Link, port: int) -> Iterator[None]:
    """A local cache whose servers are those of resolv.conf, while the block runs."""
    with link.world.popen(lab.LAPTOP, ["python", "-c", CACHE, str(port)]) as cache:
        assert cache.stdout is not None
        assert cache.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            cache.kill()


def test_a_cache_that_it_names_and_that_would_ask_us_back_is_found_on_its_port(link: Link) -> None:
    before = link.world.read_file(lab.LAPTOP, POLICY)
    policy = '[dns]\nupstreams = [{address = "127.0.0.1", port = 5353}]\n'
    link.world.write_file(lab.LAPTOP, POLICY, before + policy)
    try:
        link.restart_helper()
        with caching(link, 5353):
            said = link.up(expect=4)
        assert "127.0.0.1#5353" in said
        assert "a loop" in said
    finally:
        link.world.write_file(lab.LAPTOP, POLICY, before)
        link.restart_helper()


def test_a_cache_that_would_ask_us_back_does_no_harm_where_it_names_other_servers(
    link: Link, with_policy: WithPolicy
) -> None:
    before = link.world.read_file(lab.LAPTOP, RESOLV_CONF)
    link.world.write_file(lab.LAPTOP, RESOLV_CONF, "nameserver 127.0.0.1\nnameserver 192.0.2.53\n")
    try:
        with caching(link, 53), with_policy(f'upstreams = [{{address = "{OTHER_UPSTREAM}"}}]'):
            assert query(link, lab.ORDINARY_NAME)["trace"]["server"] == f"{OTHER_UPSTREAM}#53"
    finally:
        link.world.write_file(lab.LAPTOP, RESOLV_CONF, before)


def test_certificates_that_are_not_there_keep_it_from_coming_up_and_say_why(link: Link) -> None:
    before = link.world.read_file(lab.LAPTOP, POLICY)
    policy = (
        f'[dns]\nupstreams = [{{address = "{OTHER_UPSTREAM}", tls_name = "dns.example"}}]\ntls_ca = "/root/ca.pem"\n'
    )
    link.world.write_file(lab.LAPTOP, POLICY, before + policy)
    try:
        link.restart_helper()
        said = link.up(expect=6)
        assert "/root/ca.pem" in said
        assert "tls_ca in policy.toml" in said
    finally:
        link.world.write_file(lab.LAPTOP, POLICY, before)
        link.restart_helper()


def test_a_helper_that_cannot_use_the_file_takes_back_what_is_there_before_it_says_so(link: Link) -> None:
    address = '"127.0.0.77"'  # not the one that undoing without a policy would think of
    policy, before = link.world.read_file(lab.LAPTOP, POLICY), at_rest(link.world.snapshot())
    try:
        link.world.write_file(lab.LAPTOP, POLICY, f"nameserver = {address}\n{policy}")
        link.restart_helper()
        link.up()
        assert "127.0.0.77" in link.world.read_file(lab.LAPTOP, RESOLV_CONF)
        link.world.write_file(lab.LAPTOP, POLICY, f"nameserver = {address}\n{policy}[dns]\nquery_log = 'none'\n")
        link.stop_helper(signal.SIGKILL)
        refused = link.devlink("helper", "run")
        assert refused.returncode == 6
        assert "query_log" in refused.stderr
        assert "Correct the file, then restart the helper." in refused.stderr
        assert "helper restore" not in refused.stderr, "there is nothing left to restore"
        link.world.write_file(lab.LAPTOP, POLICY, policy)  # it is a part of the snapshot
        link.kill("agent")  # as are its log and its socket
        assert not [line for line in before.diff(at_rest(link.world.snapshot())) if "devlink" not in line]
        assert getent(link, lab.ORDINARY_NAME, "ahostsv4")
    finally:
        link.world.write_file(lab.LAPTOP, POLICY, policy)
        link.restart_helper()
