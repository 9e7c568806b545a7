"""Mode direct: what libc asked before us, and whose file it is."""

import ipaddress
import os
import stat
from pathlib import Path

import pytest

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.resolvers.files.client import FilesClient
from devlink.resolvers.files.worker import Worker
from devlink.resolvers.mode import ResolverMode, Telling, Tools
from devlink.resolvers.modes.direct import Direct
from devlink.resolvers.resolv_conf import BACKUP_NAME, parse
from tests.resolvers.files.before_after import snapshot

OURS = ipaddress.ip_address("127.0.0.231")
TELLING = Telling(domains=(), families=frozenset([4]))


class WorkerClient(FilesClient):
    """Does the work in this process."""

    def __init__(self, folder: Path) -> None:
        self._worker = Worker(str(folder))

    def write(self, address: IPAddress, *, mode: str = "direct") -> None:
        self._worker.write(address)

    def restore(self, address: IPAddress | None = None, *, mode: str = "direct") -> None:
        self._worker.restore(address)


class DeafClient(WorkerClient):
    """Says that it wrote, and did not."""

    def write(self, address: IPAddress, *, mode: str = "direct") -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def direct(folder: Path, *, nameserver: IPAddress = OURS, client: type[WorkerClient] = WorkerClient) -> Direct:
    tools = Tools(nameserver=nameserver, files=client(folder))
    return Direct(tools, folder=folder, uplinks_file=folder.parent / "uplinks.conf")


def upstreams(resolver: ResolverMode) -> list[str]:
    return [str(upstream.address) for upstream in resolver.read_upstreams()]


def test_the_upstreams_are_those_from_before_however_often_they_are_asked_for(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 192.0.2.1\n")
    resolver: ResolverMode = direct(folder)
    expected = ["192.0.2.1", "fe80::1%eth0"]
    assert upstreams(resolver) == expected
    resolver.apply(TELLING)
    assert resolver.is_ours()
    assert upstreams(resolver) == expected
    resolver.apply(TELLING)
    assert upstreams(resolver) == expected
    resolver.restore()
    assert not resolver.is_ours()
    assert upstreams(resolver) == expected


def test_the_upstreams_outlive_the_backup(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    resolver = direct(folder)
    resolver.apply(TELLING)
    (folder / BACKUP_NAME).unlink()
    assert upstreams(resolver) == ["192.0.2.1", "192.0.2.2"]


def test_no_address_of_ours_is_ever_an_upstream(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 127.0.0.231\nnameserver 192.0.2.1\n")
    assert upstreams(direct(folder)) == ["192.0.2.1"]


def test_an_address_of_an_earlier_policy_is_no_upstream_either(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 127.0.0.99\nnameserver 192.0.2.1\n")
    direct(folder, nameserver=ipaddress.ip_address("127.0.0.99")).apply(TELLING)
    assert upstreams(direct(folder)) == ["192.0.2.1"]


def test_a_newer_file_of_another_program_gives_the_upstreams(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    resolver = direct(folder)
    resolver.apply(TELLING)
    (folder / "resolv.conf").write_text("nameserver 192.0.2.99\n")
    assert not resolver.is_ours()
    assert upstreams(resolver) == ["192.0.2.99"]


def test_only_as_many_upstreams_as_libc_asks_are_told(folder: Path) -> None:
    (folder / "resolv.conf").write_text("".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 6)))
    assert upstreams(direct(folder)) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


def test_where_no_nameserver_is_named_there_is_no_upstream(folder: Path) -> None:
    resolver = direct(folder)
    assert upstreams(resolver) == []
    resolver.apply(TELLING)
    assert upstreams(resolver) == []
    resolver.restore()
    (folder / "resolv.conf").symlink_to("nowhere")
    assert upstreams(resolver) == []
    (folder / "resolv.conf").unlink()
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    assert upstreams(resolver) == ["127.0.0.1"]


def test_a_symlink_to_a_file_of_ours_is_not_ours(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    resolver = direct(folder)
    resolver.apply(TELLING)
    (folder / "resolv.conf").rename(folder / "moved")
    (folder / "resolv.conf").symlink_to("moved")
    assert not resolver.is_ours()


def test_a_file_that_does_not_name_us_after_the_write_is_an_error(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    with pytest.raises(HelperError, match="Another program"):
        direct(folder, client=DeafClient).apply(TELLING)


def test_a_file_that_cannot_be_read_is_an_error(folder: Path) -> None:
    (folder / "resolv.conf").mkdir()
    with pytest.raises(HelperError, match="could not be read"):
        direct(folder).read_upstreams()


@pytest.mark.parametrize("stub", ["127.0.0.53", "127.0.0.54"])
def test_a_machine_of_systemd_resolved_is_left_alone_because_it_would_ask_us_back(folder: Path, stub: str) -> None:
    before = f"nameserver {stub}\noptions edns0 trust-ad\n"
    (folder / "resolv.conf").write_text(before)
    with pytest.raises(HelperError, match="loop") as caught:
        direct(folder).apply(TELLING)
    assert "--no-dns" in caught.value.next_step
    assert (folder / "resolv.conf").read_text() == before


@pytest.mark.parametrize("stub", ["127.0.0.53", "127.0.0.54"])
def test_the_ways_are_those_behind_the_stub_and_never_ours(folder: Path, stub: str) -> None:
    (folder / "resolv.conf").write_text(f"nameserver {stub}\n")
    (folder.parent / "uplinks.conf").write_text("nameserver 127.0.0.231\nnameserver 127.0.0.53\nnameserver 192.0.2.7\n")
    resolver = direct(folder)
    assert upstreams(resolver) == [stub]
    assert [str(way) for way in resolver.read_ways()] == ["192.0.2.7"]


def test_a_file_from_before_that_comes_to_lead_to_the_stub_is_not_written_over_again(folder: Path) -> None:
    (folder / "made").write_text("nameserver 192.0.2.1\n")
    (folder / "resolv.conf").symlink_to("made")
    resolver = direct(folder)
    resolver.apply(TELLING)
    (folder / "made").write_text("nameserver 127.0.0.53\n")
    with pytest.raises(HelperError, match="loop"):
        resolver.apply(TELLING)


def test_a_file_of_uplinks_that_has_us_in_it_is_had_written_again_without_our_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uplinks = folder.parent / "uplinks.conf"
    uplinks.write_text("nameserver 192.0.2.1\n")
    (folder / "resolv.conf").symlink_to(uplinks)
    resolver = direct(folder)
    resolver.apply(TELLING)
    # As resolved writes it once it has read ours, and the network is another: what was left, and today's.
    uplinks.write_text("nameserver 127.0.0.231\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    assert upstreams(resolver) == ["192.0.2.1", "192.0.2.2"]
    assert not resolver.is_ours()
    present: list[bool] = []

    def renew(file: Path, address: IPAddress) -> None:
        present.append((folder / "resolv.conf").is_symlink())
        file.write_text("nameserver 192.0.2.2\n")

    monkeypatch.setattr("devlink.resolvers.managers.uplinks.renew", renew)
    resolver.apply(TELLING)
    assert present == [True]
    assert upstreams(resolver) == ["192.0.2.2"]
    assert resolver.is_ours()
    resolver.restore()
    assert present == [True, True]
    assert (folder / "resolv.conf").readlink() == uplinks


def test_a_file_of_uplinks_that_is_written_again_with_the_same_servers_and_us_is_no_change(folder: Path) -> None:
    uplinks = folder.parent / "uplinks.conf"
    uplinks.write_text("nameserver 192.0.2.1\n")
    (folder / "resolv.conf").symlink_to(uplinks)
    resolver = direct(folder)
    resolver.apply(TELLING)
    uplinks.write_text("nameserver 127.0.0.231\nnameserver 192.0.2.1\n")
    assert resolver.is_ours()


def test_the_address_of_our_link_is_what_is_left_of_us_in_a_plain_file_and_its_owners_affair_behind_a_symlink(
    folder: Path,
) -> None:
    (folder / "resolv.conf").write_text("nameserver fd00:5353::53\nnameserver 192.0.2.1\n")
    resolver = direct(folder)
    assert upstreams(resolver) == ["192.0.2.1"]
    resolver.apply(TELLING)
    assert resolver.is_ours()
    resolver.restore()
    assert (folder / "resolv.conf").read_text() == "nameserver 192.0.2.1\n"
    (folder / "made").write_text("nameserver fd00:5353::53\nnameserver 192.0.2.1\n")
    (folder / "made").rename(folder / "resolv.conf")
    assert resolver.has_remains()
    (folder / "resolv.conf").rename(folder / "made")
    (folder / "resolv.conf").symlink_to("made")
    assert not resolver.has_remains()
    resolver.apply(TELLING)
    assert resolver.is_ours()
    resolver.restore()
    assert (folder / "resolv.conf").is_symlink()
    assert not resolver.has_remains()


def test_what_a_symlink_leads_to_is_followed_into_ours(folder: Path) -> None:
    (folder / "made").write_text("search one.example\nnameserver 192.0.2.1\n")
    (folder / "resolv.conf").symlink_to("made")
    resolver = direct(folder)
    resolver.apply(TELLING)
    assert resolver.is_ours()
    (folder / "made").write_text("search two.example\nnameserver 192.0.2.2\n")
    assert not resolver.is_ours(), "it is to be applied again"
    resolver.apply(TELLING)
    assert resolver.is_ours()
    found = parse((folder / "resolv.conf").read_text())
    assert found.search == ("two.example",)
    assert found.nameservers[3:] == (ipaddress.ip_address("192.0.2.2"),)
    resolver.restore()
    assert (folder / "resolv.conf").readlink() == Path("made")


@pytest.mark.parametrize("target", ["nowhere/resolv.conf", "file/resolv.conf", "resolv.conf"])
def test_a_symlink_that_leads_nowhere_is_as_no_file(folder: Path, target: str) -> None:
    (folder / "file").touch()
    (folder / "resolv.conf").symlink_to(target)
    resolver = direct(folder)
    assert upstreams(resolver) == []
    resolver.apply(TELLING)
    assert resolver.is_ours()
    resolver.restore()
    assert str((folder / "resolv.conf").readlink()) == target


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK])
def test_what_is_no_regular_file_is_as_none_nobody_waits_for_it_and_it_comes_back(folder: Path, kind: int) -> None:
    os.mknod(folder / "resolv.conf", kind | 0o644)
    before = snapshot(folder)
    resolver = direct(folder)
    assert upstreams(resolver) == []
    resolver.apply(TELLING)
    assert resolver.is_ours()
    resolver.restore()
    assert snapshot(folder) == before


def test_a_newer_file_of_another_program_is_what_comes_back_after_ours_was_applied_again(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    resolver = direct(folder)
    resolver.apply(TELLING)
    (folder / "resolv.conf").write_text("nameserver 192.0.2.99\n")
    resolver.apply(TELLING)
    assert upstreams(resolver) == ["192.0.2.99"]
    resolver.restore()
    assert (folder / "resolv.conf").read_text() == "nameserver 192.0.2.99\n"
    assert not resolver.has_remains()
