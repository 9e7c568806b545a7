"""policy.toml: what it may say, and each way in which it can be wrong."""

import re
from ipaddress import ip_address
from pathlib import Path

import pytest

from devlink.errors import HelperError
from devlink.helper.policy import Paths, Policy, TrustPolicy, read_policy


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


def test_without_a_file_the_defaults_hold(path: Path) -> None:
    policy = read_policy(path)
    assert policy == Policy()
    assert (policy.lease_grace, policy.trust, policy.group) == (10.0, TrustPolicy.RECORDS, "devlink")
    assert policy.nameserver.is_loopback


def test_all_that_it_may_say(path: Path) -> None:
    path.write_text('lease_grace = 0.3\ntrust = "group"\ngroup = "staff"\nnameserver = "127.0.0.9"\n')
    assert read_policy(path) == Policy(
        lease_grace=0.3, trust=TrustPolicy.GROUP, group="staff", nameserver=ip_address("127.0.0.9")
    )
    path.write_text("lease_grace = 3\n")
    assert read_policy(path).lease_grace == 3.0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("lease_grace", "Expected '='"),
        ("lease_grace = -1", "from 0 to 3600"),
        ("lease_grace = 3601", "from 0 to 3600"),
        ("lease_grace = nan", "from 0 to 3600"),
        ("lease_grace = inf", "from 0 to 3600"),
        ("lease_grace = true", "lease_grace: True is not a number"),
        ('lease_grace = "1"', "lease_grace: '1' is not a number"),
        ('trust = "groups"', "did you mean group?"),
        ("trust = []", "none of records, group"),
        ("group = 5", "group: 5 is not a text"),
        ('nameserver = "192.0.2.1"', "must be a loopback address"),
        ('nameserver = "localhost"', "is not an IP address"),
        ('trusts = "group"', "did you mean trust?"),
        ("[lease]\ngrace = 1", "unknown key"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(path: Path, text: str, fault: str) -> None:
    path.write_text(text)
    with pytest.raises(HelperError, match=re.escape(str(path))) as error:
        read_policy(path)
    assert fault in error.value.why
    assert "restart the helper" in error.value.next_step


def test_a_file_that_cannot_be_read_is_an_error_and_not_the_defaults(path: Path) -> None:
    path.write_bytes(b"\xff")
    with pytest.raises(HelperError, match=re.escape(str(path))):
        read_policy(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(HelperError, match=re.escape(str(path))):
        read_policy(path)


def test_the_places_are_those_of_the_system() -> None:
    paths = Paths()
    assert str(paths.socket) == "/run/devlink/helper"
    assert str(paths.policy) == "/etc/devlink/policy.toml"
    assert str(paths.trust_config) == "/etc/devlink/trust.d"
    assert paths.trust.is_relative_to(paths.state)
    assert paths.journal.is_relative_to(paths.state)
    assert paths.lock.is_relative_to(paths.run)
