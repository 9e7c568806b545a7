"""The file of hosts is read as libc reads it, however long it is."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from devlink.doctor.names import hosts
from devlink.doctor.names.hosts import addresses_in, addresses_in_file

TEXT = """
127.0.0.1 localhost  # 10.7.7.7 web.default
10.9.9.9\tdb Web.Default. # web.qa
# 10.8.8.8 web.default
nonsense web.default
fd00::9 web.default web.qa.
10.9.9.9 web.default x.web.default
"""


def test_it_is_read_as_libc_reads_it() -> None:
    found = addresses_in(TEXT, lambda name: name.startswith("web."))
    assert {name: sorted(map(str, addresses)) for name, addresses in found.items()} == {
        "web.default": ["10.9.9.9", "fd00::9"],
        "web.qa": ["fd00::9"],
    }


def test_what_stands_at_the_end_of_a_long_list_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "HOSTS", tmp_path / "hosts")
    assert addresses_in_file("web.qa".__eq__) == {}
    hosts.HOSTS.write_text("0.0.0.0 ads.example.com\n" * 10_000 + "10.9.9.9 web.qa\n")
    assert addresses_in_file("web.qa".__eq__) == {"web.qa": frozenset({ip_address("10.9.9.9")})}
