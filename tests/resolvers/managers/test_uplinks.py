"""systemd-resolved's file of uplinks, when it names us."""

import ipaddress
import threading
from pathlib import Path

import pytest

from devlink.errors import HelperError
from devlink.resolvers.managers import uplinks

OURS = ipaddress.ip_address("127.0.0.231")
LATER = 0.02


class Link:
    """In the place of the TUN; resolved writes its file a moment after it has come and gone."""

    made = 0
    file: Path | None = None

    def __init__(self) -> None:
        type(self).made += 1

    def close(self) -> None:
        if self.file is not None:
            threading.Timer(LATER, self.file.write_text, ["nameserver 192.0.2.1\n"]).start()


class Refused(Link):
    def __init__(self) -> None:
        raise HelperError("The link devlink0 could not be made.")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(uplinks, "Tun", Link)
    monkeypatch.setattr(Link, "made", 0)
    monkeypatch.setattr(Link, "file", None)
    return tmp_path / "resolv.conf"


def test_a_link_comes_and_goes_until_the_file_names_us_no_more(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(f"nameserver {OURS}\nnameserver 192.0.2.9\n")
    monkeypatch.setattr(Link, "file", file)
    uplinks.renew(file, OURS)
    assert file.read_text() == "nameserver 192.0.2.1\n"
    assert Link.made == 1


@pytest.mark.parametrize("text", ["nameserver 192.0.2.9\n", "", None])
def test_a_file_that_does_not_name_us_is_left(file: Path, text: str | None) -> None:
    if text is not None:
        file.write_text(text)
    uplinks.renew(file, OURS)
    assert Link.made == 0


def test_one_who_does_not_write_it_is_no_error(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(uplinks, "LIMIT", 0.02)
    file.write_text(f"nameserver {OURS}\n")
    uplinks.renew(file, OURS)
    assert "still names 127.0.0.231" in caplog.text


def test_a_link_that_cannot_be_made_is_no_error(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(uplinks, "Tun", Refused)
    file.write_text(f"nameserver {OURS}\n")
    uplinks.renew(file, OURS)
    assert "could not be made" in caplog.text
