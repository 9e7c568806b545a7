"""How libc is asked: in the environment of whoever wants to know."""

import asyncio
from pathlib import Path

import pytest

from devlink.doctor.names.libc import look_up


@pytest.fixture
def getent(tmp_path: Path) -> str:
    """A folder with a getent that says whether it has what a user's libc would heed."""
    program = tmp_path / "getent"
    program.write_text('#!/bin/sh\necho "${LOCALDOMAIN:-192.0.2.1} STREAM"\n')
    program.chmod(0o755)
    return str(tmp_path)


def test_libc_is_asked_in_the_environment_of_the_user_else_in_our_own(
    getent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = {"PATH": f"{getent}:/bin", "LOCALDOMAIN": "192.0.2.2"}
    assert str(asyncio.run(look_up("web", environ=user))) == "192.0.2.2"
    monkeypatch.setenv("PATH", f"{getent}:/bin")
    monkeypatch.setenv("LOCALDOMAIN", "192.0.2.3")
    assert str(asyncio.run(look_up("web"))) == str(asyncio.run(look_up("web", environ={}))) == "192.0.2.3"
