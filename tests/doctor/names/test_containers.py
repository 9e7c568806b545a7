"""What doctor says of the resolv.conf files of containers, and what it finds of them."""

import io
import math
import os
import tarfile
from ipaddress import ip_address
from pathlib import Path

import pytest

from devlink.doctor.names import containers
from devlink.doctor.names.containers import Container, first_file, in_docker, judge

OWN = frozenset(map(ip_address, ("127.0.0.231", "169.254.53.53")))
ORDINARY = frozenset({ip_address("192.0.2.53")})


@pytest.mark.parametrize(
    ("servers", "has_network", "is_up", "code"),
    [
        (("192.0.2.53",), True, False, ""),
        (("192.0.2.53",), True, True, "DL-CONTAINER-NO-NAMES"),
        (("192.0.2.53",), False, True, ""),
        (("10.43.0.10",), True, True, ""),  # a cluster of the laptop's own, whose pods ask its DNS
        (("127.0.0.11",), True, True, ""),  # Docker's own server, which asks this laptop
        ((), True, True, ""),
        (("169.254.53.53", "192.0.2.53"), True, False, "DL-CONTAINER-STALE-DNS"),
        (("169.254.53.53", "192.0.2.53"), False, True, ""),
        (("169.254.53.53", "192.0.2.53"), False, False, "DL-CONTAINER-STALE-DNS"),
        (("127.0.0.231",) * 3, False, False, "DL-CONTAINER-STALE-DNS"),
        (("127.0.0.231",) * 3, False, True, ""),
        (("127.0.0.231",), True, True, "DL-CONTAINER-STALE-DNS"),
        (("127.0.0.231", "192.0.2.53"), True, False, ""),  # refused at once, and the next one is asked
        (("192.0.2.7", "192.0.2.8", "192.0.2.9", "169.254.53.53"), True, False, ""),  # out of libc's reach
    ],
)
def test_what_it_asks_decides(servers: tuple[str, ...], has_network: bool, is_up: bool, code: str) -> None:
    one = Container(name="c", nameservers=tuple(map(ip_address, servers)), has_network=has_network)
    found = judge([one], own=OWN, ordinary=ORDINARY, is_up=is_up).findings
    assert [finding.code for finding in found] == ([code] if code else [])
    assert all(servers[0] in finding.evidence for finding in found)


def test_the_file_is_read_out_of_what_an_engine_copies() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        folder = tarfile.TarInfo("etc")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        member = tarfile.TarInfo("resolv.conf")
        member.size = 21
        archive.addfile(member, io.BytesIO(b"nameserver 192.0.2.1\n"))
    assert first_file(packed.getvalue()) == "nameserver 192.0.2.1\n"
    assert first_file(b"") == first_file(b"no archive") == ""


DOCKER = """#!/bin/sh
[ "$1" = ps ] && echo "12ab web bridge" && exit
tar -C "${0%/*}" -c resolv.conf; echo "$DOCKER_HOST" >>"${0%/*}/asked"
"""


def test_dockers_of_this_laptop_is_asked_within_its_time_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    environ = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "DOCKER_HOST": "ssh://elsewhere",
        "DOCKER_CONTEXT": "elsewhere",
    }
    monkeypatch.setattr(containers, "SOCKET", tmp_path / "docker.sock")
    assert list(in_docker(environ, math.inf)) == []
    containers.SOCKET.touch()
    (found,) = in_docker(environ, math.inf)
    assert (found.name, list(map(str, found.nameservers)), found.has_network) == ("docker web", ["192.0.2.1"], True)
    assert list(in_docker(environ, 0.0)) == []
    assert (tmp_path / "asked").read_text() == f"unix://{containers.SOCKET}\n"
