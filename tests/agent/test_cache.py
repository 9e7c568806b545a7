"""What clusters gave last: kept by server, found by name, and with the edition that came up here beside it."""

import dataclasses
import json
import stat
from pathlib import Path

import pytest

from devlink.agent import cache
from devlink.agent.cache import Origin
from devlink.core.profile import BridgeProfile
from devlink.core.profile_document import decode_profile
from tests.core.profiles import SAMPLE

QA = decode_profile(SAMPLE)
OFFICE = Origin(context="office", server="https://172.16.0.1:6443")
OTHER = Origin(context="other", server="https://192.0.2.1:6443")


def edition(revision: str, name: str = "qa") -> BridgeProfile:
    return dataclasses.replace(QA, metadata=dataclasses.replace(QA.metadata, name=name, revision=revision))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "devlink" / "profiles"


def test_what_is_kept_is_found_by_its_server_and_by_its_name() -> None:
    assert (cache.of_server(OFFICE.server), cache.named("qa"), cache.every()) == (None, None, ())
    kept = cache.keep(OFFICE, QA, "17", 100.0)
    assert (kept.profile, kept.version, kept.fetched, kept.good) == (QA, "17", 100.0, None)
    assert cache.of_server(OFFICE.server) == cache.named("qa") == kept
    assert cache.of_server(OTHER.server) is None


def test_of_two_clusters_with_one_name_the_one_that_was_asked_last_is_meant() -> None:
    cache.keep(OFFICE, edition("a"), "1", 100.0)
    cache.keep(OTHER, edition("b"), "1", 200.0)
    named = cache.named("qa")
    assert named is not None
    assert named.origin == OTHER
    assert len(cache.every()) == 2


def test_the_edition_that_came_up_stays_until_a_newer_one_has() -> None:
    cache.keep(OFFICE, edition("1"), "1", 1.0)
    cache.note_good(OFFICE, edition("1"))
    for revision in ("2", "3"):
        kept = cache.keep(OFFICE, edition(revision), revision, 2.0)
        assert (kept.profile, kept.last_good) == (edition(revision), edition("1"))
    cache.note_good(OFFICE, edition("1"))  # a session went on with the older one
    assert cache.named("qa") == kept
    cache.note_good(OFFICE, edition("3"))
    after = cache.named("qa")
    assert after is not None
    assert (after.profile, after.good) == (edition("3"), None)


def test_a_profile_that_its_cluster_renamed_keeps_what_came_up_by_both_names() -> None:
    cache.keep(OFFICE, edition("1"), "1", 1.0)
    cache.note_good(OFFICE, edition("1"))
    kept = cache.keep(OFFICE, edition("2", name="prod"), "2", 2.0)
    assert (cache.named("prod"), kept.good) == (kept, edition("1"))
    old = cache.named("qa")
    assert old is not None
    assert (old.profile, old.good, old.origin) == (edition("1"), None, OFFICE)
    cache.note_good(OFFICE, edition("2", name="prod"))
    assert cache.named("qa") is None


@pytest.mark.parametrize("content", [b"", b"[1,", b'{"origin": 1}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_copy_is_none_and_hides_no_other(folder: Path, content: bytes) -> None:
    cache.keep(OFFICE, QA, "1", 1.0)
    (folder / "damaged.json").write_bytes(content)
    assert [kept.name for kept in cache.every()] == ["qa"]
    (folder / "damaged.json").replace(next(path for path in folder.iterdir() if path.name != "damaged.json"))
    assert cache.of_server(OFFICE.server) is None
    cache.keep(OFFICE, QA, "1", 1.0)
    assert cache.of_server(OFFICE.server) is not None


def test_a_copy_that_was_edited_into_nonsense_is_not_used(folder: Path) -> None:
    kept = cache.keep(OFFICE, QA, "1", 1.0)
    tree = json.loads(cache.path_of(kept).read_text())
    tree["profile"]["spec"]["pods"] = ["0.0.0.0/0"]
    cache.path_of(kept).write_text(json.dumps(tree))
    assert cache.of_server(OFFICE.server) is None


def test_the_folder_is_its_users_alone(folder: Path) -> None:
    cache.keep(OFFICE, QA, "1", 1.0)
    assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0


def test_a_cache_that_cannot_be_written_costs_nothing_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache.keep(OFFICE, QA, "1", 1.0).profile == QA


@pytest.mark.parametrize("fetched", ["-Infinity", "NaN", "1e308", "-1"])
def test_a_copy_from_no_time_that_can_be_is_not_used(folder: Path, fetched: str) -> None:
    kept = cache.keep(OFFICE, QA, "1", 17.0)
    path = cache.path_of(kept)
    path.write_text(path.read_text().replace("17.0", fetched))
    assert cache.of_server(OFFICE.server) is None
