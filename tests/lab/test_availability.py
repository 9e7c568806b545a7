"""A machine that cannot hold a world says why in one line."""

from pathlib import Path

import pytest

from devlink.lab import availability


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("user/max_user_namespaces", "0"),
    ],
)
def test_the_switch_that_forbids_user_namespaces_is_named_with_the_way_out(
    tmp_path: Path, switch: str, value: str
) -> None:
    (tmp_path / switch).parent.mkdir(parents=True)
    (tmp_path / switch).write_text(f"{value}\n")
    said = availability._reason(tmp_path)
    assert f"{switch.replace('/', '.')}={value}" in said
    assert "as root" in said
    assert "\n" not in said


def test_switches_that_allow_are_not_blamed(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/apparmor_restrict_unprivileged_userns").write_text("0\n")
    (tmp_path / "kernel/unprivileged_userns_clone").write_text("1\n")
    assert "=" not in availability._reason(tmp_path)


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(availability, "SYSTEM_FOLDERS", "/nonexistent")
    said = availability.available()
    assert said is not None
    assert "nft" in said
    assert "apt install iproute2 nftables util-linux" in said


def test_nft_is_found_where_an_ordinary_users_path_does_not_lead(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    user, system = tmp_path / "bin", tmp_path / "sbin"
    for name in availability.PROGRAMS:
        program = (system if name == "nft" else user) / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\nexit 0\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(user))
    monkeypatch.setattr(availability, "SYSTEM_FOLDERS", str(system))
    assert availability.available() is None


def test_a_refusal_to_root_is_about_the_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in availability.PROGRAMS:
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho 'unshare: Operation not permitted' >&2; exit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "CAP_SYS_ADMIN" in str(availability.available())
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    said = str(availability.available())
    assert "Operation not permitted" in said
    assert "as root" in said


@pytest.mark.lab
def test_where_worlds_can_be_built_nothing_is_said() -> None:
    assert availability.available() is None
