"""Whether the kit is there is said in one line."""

from pathlib import Path

import pytest

from devlink.lab import kit


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A kit of empty programs, and a machine that has openssl and no iptables."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(kit, "SYSTEM_FOLDERS", "")
    for program in (tmp_path / "openssl", *(kit.folder() / name for name in kit.PROGRAMS)):
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(0o755)
        program.with_name(f"{program.name}.version").write_text("1")
    return kit.folder()


def test_a_whole_kit_lacks_nothing(built: Path) -> None:
    assert kit.missing() is None
    assert kit.coredns() == built / "coredns"


@pytest.mark.parametrize("name", [*kit.PROGRAMS, *(f"{name}.version" for name in kit.PROGRAMS)])
def test_a_program_or_a_stamp_that_is_not_there_means_that_the_kit_is_to_be_built(built: Path, name: str) -> None:
    (built / name).unlink()
    assert "make kit" in (kit.missing() or "")


def test_the_mode_iptables_wants_the_program(built: Path) -> None:
    assert "apt install iptables" in (kit.missing(iptables=True) or "")


def test_without_openssl_there_is_no_control_plane(built: Path, tmp_path: Path) -> None:
    (tmp_path / "openssl").unlink()
    assert "apt install openssl" in (kit.missing() or "")
