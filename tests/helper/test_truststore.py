"""The trust records on disk: the machine's own, and those that configuration management drops."""

import json
import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from devlink.core.names import DomainName
from devlink.core.trust import TrustRecord
from devlink.errors import HelperError, UsageError
from devlink.helper.truststore import TrustStore

RECORD = TrustRecord(
    name="qa", prefixes=(ip_network("10.20.0.0/16"),), domains=(DomainName.parse("cluster.local"),), ca="1" * 64
)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own"


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    return tmp_path / "trust.d"


@pytest.fixture
def store(own: Path, configured: Path) -> TrustStore:
    return TrustStore(own, configured)


def drop(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(text)


def test_what_is_put_is_got_also_by_the_next_helper(store: TrustStore, own: Path, configured: Path) -> None:
    assert store.get("qa") is None
    store.put(RECORD)
    assert store.get("qa") == TrustStore(own, configured).get("qa") == RECORD
    assert store.all() == (RECORD,)
    assert not configured.exists()


def test_a_newer_record_takes_the_place_of_the_older(store: TrustStore) -> None:
    store.put(RECORD)
    narrow = TrustRecord(name="qa")
    store.put(narrow)
    assert store.get("qa") == narrow


def test_a_record_that_was_dropped_wins_even_if_it_gives_nothing(store: TrustStore, configured: Path) -> None:
    store.put(RECORD)
    drop(configured, "qa", '{"name": "qa"}')
    assert store.get("qa") == TrustRecord(name="qa")
    assert store.all() == (TrustRecord(name="qa"),)


def test_a_broken_record_that_was_dropped_does_not_fall_back_to_a_wider_one(
    store: TrustStore, configured: Path
) -> None:
    store.put(RECORD)
    drop(configured, "qa", "{")
    with pytest.raises(HelperError) as error:
        store.get("qa")
    assert "with the means that put it there" in error.value.next_step


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Expecting value"),
        ("[]", "is not a mapping"),
        ("{}", "name: missing"),
        ('{"name": "qa", "prefixes": ["10.20.0.1/16"]}', "host bits set"),
        ('{"name": "qa", "prefixs": []}', "did you mean prefixes?"),
        ('{"name": "other"}', "is for another profile, other"),
    ],
)
def test_a_broken_record_is_an_error_that_names_file_and_fault(
    store: TrustStore, own: Path, text: str, fault: str
) -> None:
    drop(own, "qa", text)
    with pytest.raises(HelperError, match=re.escape(str(own / "qa.json"))) as error:
        store.get("qa")
    assert fault in str(error.value)
    assert error.value.next_step == "Run: devlink trust PROFILE"


def test_a_record_that_cannot_be_read_is_an_error_and_not_the_absence_of_one(store: TrustStore, own: Path) -> None:
    (own / "qa.json").mkdir(parents=True)
    with pytest.raises(HelperError, match="cannot be read"):
        store.get("qa")


def test_a_broken_record_hides_no_other_from_the_list_and_is_logged(
    store: TrustStore, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.put(RECORD)
    drop(own, "broken", "{")
    assert store.all() == (RECORD,)
    assert "broken.json" in caplog.text


def test_a_revoked_record_is_gone(store: TrustStore) -> None:
    store.put(RECORD)
    store.revoke("qa")
    assert store.get("qa") is None
    with pytest.raises(UsageError, match="no trust record of qa"):
        store.revoke("qa")


def test_a_record_that_was_dropped_is_not_revoked_here_and_its_file_is_left(
    store: TrustStore, configured: Path
) -> None:
    drop(configured, "qa", json.dumps({"name": "qa"}))
    with pytest.raises(UsageError, match=re.escape(str(configured))):
        store.revoke("qa")
    assert (configured / "qa.json").exists()


def test_a_disk_that_takes_no_record_is_an_error_with_a_next_step(store: TrustStore, own: Path) -> None:
    own.write_text("a file where the folder should be")
    with pytest.raises(HelperError, match="cannot be written") as error:
        store.put(RECORD)
    assert error.value.next_step
