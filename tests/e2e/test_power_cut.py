"""The power goes at any moment: at the next boot `devlink helper restore`, with no client, gives everything back."""

import signal
from collections.abc import Iterator

import pytest

from devlink.lab import LAPTOP
from devlink.lab.snapshot import Snapshot
from tests.e2e.faults import MET, run_into
from tests.e2e.link import BACKUP, RESOLV_CONF, ROLES, Link, at_rest

pytestmark = pytest.mark.lab

JOURNAL = "/var/lib/devlink/journal.json"
FROM_DHCP = "# from a lease\nnameserver 192.0.2.53\nsearch hotel.example\n"
HELPERS = [point for point in MET if not point.startswith("agent.")]
AT_BOOT = """
ip route flush proto 231; ip -6 route flush proto 231
find /run/devlink /run/user/0 -mindepth 1 -delete
"""
"""What a reboot does to what is not on a disk. The laptop's own routes come back with its network, as they were."""


@pytest.fixture
def before(node_lan: Link) -> Snapshot:
    return at_rest(node_lan.world.snapshot())


@pytest.fixture(autouse=True)
def a_helper_again(node_lan: Link, before: Snapshot) -> Iterator[None]:
    """Whatever a test leaves, the next one finds a helper and the resolver file of the beginning."""
    content = node_lan.world.read_file(LAPTOP, RESOLV_CONF)
    yield
    node_lan.world.write_file(LAPTOP, RESOLV_CONF, content)
    node_lan.start_helper()
    assert not before.diff(at_rest(node_lan.world.snapshot()))


def cut_power(link: Link) -> None:
    link.stop_helper(signal.SIGKILL)
    link.kill(*ROLES)
    link.wait_until(lambda: not link.remains(), "nothing of ours runs")
    link.run("sh", "-c", AT_BOOT)


def restore(link: Link) -> Snapshot:
    """The laptop after what the boot unit runs."""
    link.run("devlink", "helper", "restore")
    link.kill("files", number=signal.SIGTERM)  # it would end by itself after an idle second
    link.wait_until(lambda: not link.remains(), "nothing of ours runs")
    return at_rest(link.world.snapshot())


def dhcp_writes(link: Link, *, by_rename: bool) -> None:
    """What a DHCP client does to resolv.conf: some replace the file, some write into it."""
    if by_rename:
        link.world.write_file(LAPTOP, "/etc/from-dhcp", FROM_DHCP)
        link.run("mv", "/etc/from-dhcp", RESOLV_CONF)
    else:
        link.world.write_file(LAPTOP, RESOLV_CONF, FROM_DHCP)


def assert_only_the_resolver_is_newer(link: Link, before: Snapshot, after: Snapshot) -> None:
    assert link.world.read_file(LAPTOP, RESOLV_CONF) == FROM_DHCP
    assert not [line for line in before.diff(after) if not line.startswith("resolver: ")]


@pytest.mark.parametrize("point", HELPERS)
def test_at_every_step(node_lan: Link, before: Snapshot, point: str) -> None:
    running = run_into(node_lan, point)
    running.kill()
    cut_power(node_lan)
    node_lan.await_end(running)
    assert not before.diff(restore(node_lan))


@pytest.mark.parametrize("by_rename", [True, False], ids=["replaced", "rewritten"])
def test_a_file_that_dhcp_wrote_meanwhile_is_kept(node_lan: Link, before: Snapshot, by_rename: bool) -> None:
    node_lan.up()
    cut_power(node_lan)
    dhcp_writes(node_lan, by_rename=by_rename)
    assert_only_the_resolver_is_newer(node_lan, before, restore(node_lan))


def test_a_file_that_dhcp_wrote_before_the_cut_is_kept(node_lan: Link, before: Snapshot) -> None:
    node_lan.up()
    dhcp_writes(node_lan, by_rename=True)
    cut_power(node_lan)
    assert_only_the_resolver_is_newer(node_lan, before, restore(node_lan))


OTHERWISE_UNREADABLE = [
    pytest.param(text, marks=pytest.mark.matrix) for text in ("{", "\0" * 64, '{"resolver": 3}', "[]")
]
"""As an empty one to whoever reads it, which tests/helper/test_journal.py shows."""


@pytest.mark.parametrize("text", ["", *OTHERWISE_UNREADABLE, None], ids=repr)
def test_a_journal_that_cannot_be_read_loses_nothing(node_lan: Link, before: Snapshot, text: str | None) -> None:
    node_lan.up()
    cut_power(node_lan)
    spoil(node_lan, text)
    assert not before.diff(restore(node_lan))


@pytest.mark.parametrize("text", ["", None], ids=repr)
def test_a_journal_that_cannot_be_read_and_a_newer_file(node_lan: Link, before: Snapshot, text: str | None) -> None:
    node_lan.up()
    cut_power(node_lan)
    dhcp_writes(node_lan, by_rename=True)
    spoil(node_lan, text)
    assert_only_the_resolver_is_newer(node_lan, before, restore(node_lan))


def spoil(link: Link, text: str | None) -> None:
    """What a disk may hold of the journal after all; None: nothing."""
    if text is None:
        link.run("rm", JOURNAL)
    else:
        link.world.write_file(LAPTOP, JOURNAL, text)


@pytest.mark.parametrize("text", ["", *OTHERWISE_UNREADABLE], ids=repr)
def test_a_journal_that_cannot_be_read_and_nothing_to_undo(node_lan: Link, before: Snapshot, text: str) -> None:
    cut_power(node_lan)
    spoil(node_lan, text)
    assert not before.diff(restore(node_lan))


def test_a_cut_in_the_middle_of_writing_the_journal(node_lan: Link, before: Snapshot) -> None:
    node_lan.up()
    cut_power(node_lan)
    node_lan.run("mv", JOURNAL, "/var/lib/devlink/.journal.json.new")  # the name that it grows under
    assert not before.diff(restore(node_lan))


def test_restore_of_an_untouched_laptop_changes_nothing_and_may_be_repeated(node_lan: Link, before: Snapshot) -> None:
    cut_power(node_lan)
    for _ in range(2):
        assert not before.diff(restore(node_lan))


def test_where_somebody_removed_the_backup_restore_writes_the_same_servers_again(
    node_lan: Link, before: Snapshot
) -> None:
    content = node_lan.world.read_file(LAPTOP, RESOLV_CONF)
    node_lan.up()
    node_lan.stop_helper(signal.SIGKILL)
    node_lan.kill(*ROLES)
    node_lan.run("rm", BACKUP)
    restored = restore(node_lan)
    assert restored.routes == before.routes
    written = node_lan.world.read_file(LAPTOP, RESOLV_CONF)
    assert [line for line in written.splitlines() if not line.startswith("#")] == content.splitlines()
    node_lan.world.write_file(LAPTOP, RESOLV_CONF, content)
