"""The files of macOS's /etc/resolver, as resolver(5) describes them. None of it was run there."""

from ipaddress import ip_address, ip_network

import pytest

from devlink.core.names import DomainName, reverse_zones
from devlink.errors import ConflictError
from devlink.resolvers.macos import MARK, changes, wanted

DOMAIN = DomainName.parse("cluster.local")
LOOPBACK = ip_address("127.0.0.1")


def test_each_domain_and_reverse_zone_has_its_file_with_server_and_port() -> None:
    files = wanted([DOMAIN, *reverse_zones(ip_network("10.20.0.0/15"))], LOOPBACK, 5310)
    assert list(files) == ["20.10.in-addr.arpa", "21.10.in-addr.arpa", "cluster.local"]
    assert set(files.values()) == {f"{MARK}nameserver 127.0.0.1\nport 5310\ntimeout 5\n"}


@pytest.mark.parametrize("labels", [(), (b"..",), (b"..", b"passwd"), (b"a/b",), (b".hidden",), (b"a\xffb",)])
def test_what_is_no_name_of_a_file_in_that_folder_gets_none(labels: tuple[bytes, ...]) -> None:
    assert wanted([DomainName(labels)], LOOPBACK, 5310) == {}


def test_only_what_differs_is_written_and_only_ours_is_removed() -> None:
    files = wanted([DOMAIN, DomainName.parse("qa.example")], LOOPBACK, 5310)
    old = f"{MARK}nameserver 127.0.0.1\nport 99\n"
    present = {"cluster.local": old, "qa.example": files["qa.example"], "gone.example": old, "corp.example": "port 1\n"}
    done = changes(files, present)
    assert done.write == {"cluster.local": files["cluster.local"]}
    assert done.remove == ("gone.example",)
    assert changes({}, present).remove == ("cluster.local", "qa.example", "gone.example")


def test_a_file_of_another_program_is_a_conflict_that_names_it() -> None:
    theirs = {"cluster.local": "# by another program\nnameserver 127.0.0.53\n"}
    with pytest.raises(ConflictError, match=r"cluster\.local") as conflict:
        changes(wanted([DOMAIN], LOOPBACK, 5310), theirs)
    assert "/etc/resolver/cluster.local" in conflict.value.why
