"""Mode direct: what libc asked before us, and whose file it is."""

import ipaddress
from pathlib import Path

import pytest

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.resolvers.direct import Direct
from devlink.resolvers.files.client import FilesClient
from devlink.resolvers.files.worker import Worker
from devlink.resolvers.mode import ResolverMode
from devlink.resolvers.resolvconf_text import BACKUP_NAME

OURS = ipaddress.ip_address("169.254.53.53")


class WorkerClient(FilesClient):
    """Does the work in this process."""

    def __init__(self, folder: Path) -> None:
        self._worker = Worker(str(folder))

    def write(self, address: IPAddress) -> None:
        self._worker.write(address)

    def restore(self, address: IPAddress | None = None) -> None:
        self._worker.restore(address)


class DeafClient(WorkerClient):
    """Says that it wrote, and did not."""

    def write(self, address: IPAddress) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def direct(folder: Path, *, own: tuple[IPAddress, ...] = ()) -> Direct:
    return Direct(WorkerClient(folder), own=own, folder=folder)


def upstreams(resolver: ResolverMode) -> list[str]:
    return [str(upstream.address) for upstream in resolver.read_upstreams()]


def test_the_upstreams_are_those_from_before_however_often_they_are_asked_for(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 192.0.2.1\n")
    resolver: ResolverMode = direct(folder)
    expected = ["192.0.2.1", "fe80::1%eth0"]
    assert upstreams(resolver) == expected
    resolver.apply(OURS)
    assert resolver.is_ours()
    assert upstreams(resolver) == expected
    resolver.apply(OURS)
    assert upstreams(resolver) == expected
    resolver.restore()
    assert not resolver.is_ours()
    assert upstreams(resolver) == expected


def test_the_upstreams_outlive_the_backup(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    resolver = direct(folder)
    resolver.apply(OURS)
    (folder / BACKUP_NAME).unlink()
    assert upstreams(resolver) == ["192.0.2.1", "192.0.2.2"]


def test_no_address_of_ours_is_ever_an_upstream(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 169.254.53.53\nnameserver 127.0.0.54\nnameserver 192.0.2.1\n")
    resolver = direct(folder, own=(ipaddress.ip_address("127.0.0.54"), OURS))
    assert upstreams(resolver) == ["192.0.2.1"]
    resolver = direct(folder, own=(ipaddress.ip_address("127.0.0.54"),))
    resolver.apply(OURS)
    assert upstreams(resolver) == ["192.0.2.1"]


def test_a_newer_file_of_another_program_gives_the_upstreams(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    resolver = direct(folder)
    resolver.apply(OURS)
    (folder / "resolv.conf").write_text("nameserver 192.0.2.99\n")
    assert not resolver.is_ours()
    assert upstreams(resolver) == ["192.0.2.99"]


def test_only_as_many_upstreams_as_libc_asks_are_told(folder: Path) -> None:
    (folder / "resolv.conf").write_text("".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 6)))
    assert upstreams(direct(folder)) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


def test_where_no_nameserver_is_named_libc_asks_the_machine_itself(folder: Path) -> None:
    resolver = direct(folder)
    assert upstreams(resolver) == ["127.0.0.1"]
    resolver.apply(OURS)
    assert upstreams(resolver) == ["127.0.0.1"]
    resolver.restore()
    (folder / "resolv.conf").symlink_to("nowhere")
    assert upstreams(resolver) == ["127.0.0.1"]
    assert upstreams(direct(folder, own=(ipaddress.ip_address("127.0.0.1"),))) == []


def test_a_symlink_to_a_file_of_ours_is_not_ours(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    resolver = direct(folder)
    resolver.apply(OURS)
    (folder / "resolv.conf").rename(folder / "moved")
    (folder / "resolv.conf").symlink_to("moved")
    assert not resolver.is_ours()


def test_a_file_that_does_not_name_us_after_the_write_is_an_error(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    with pytest.raises(HelperError, match="Another program"):
        Direct(DeafClient(folder), folder=folder).apply(OURS)


def test_a_file_that_cannot_be_read_is_an_error(folder: Path) -> None:
    (folder / "resolv.conf").mkdir()
    with pytest.raises(HelperError, match="could not be read"):
        direct(folder).read_upstreams()


@pytest.mark.parametrize("stub", ["127.0.0.53", "127.0.0.54"])
def test_a_machine_of_systemd_resolved_is_left_alone_because_it_would_ask_us_back(folder: Path, stub: str) -> None:
    before = f"nameserver {stub}\noptions edns0 trust-ad\n"
    (folder / "resolv.conf").write_text(before)
    with pytest.raises(HelperError, match="loop") as caught:
        direct(folder).apply(OURS)
    assert "--no-dns" in caught.value.next_step
    assert (folder / "resolv.conf").read_text() == before
