"""What is told of exit codes, variables and files is what the code does."""

import os
import re
from pathlib import Path

import pytest

from devlink.agent import cache, config, places
from devlink.cli import settings
from devlink.cluster import kubeconfig, logins
from devlink.core.proxies import VARIABLES
from devlink.errors import BY_NAME
from devlink.helper.policy import Paths
from devlink.service import laying, user

SOURCES = Path(settings.__file__).parents[1]


def test_each_exit_code_of_an_error_is_told_and_no_other() -> None:
    told = {code for code in settings.EXIT_STATUS if code < 128}
    assert told == {0, *(cls.exit_code for cls in BY_NAME.values())}


def test_each_file_is_where_the_code_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = Paths()
    known = {
        config.config_folder() / "config.toml", config.config_folder() / "profiles", logins.folder(),
        cache._folder(), places.log_file(), user.file(), Path(laying.LIB),
        paths.policy, paths.trust_config, paths.trust, paths.journal, paths.socket,
    }  # fmt: skip
    assert {Path(told.replace("~", str(tmp_path), 1)) for told in settings.FILES} == known


def test_each_variable_that_is_told_is_one_that_the_code_looks_at() -> None:
    told = {name for names in settings.ENVIRONMENT for name in names.split(", ")}
    of_platformdirs = {"XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"}
    named = {*VARIABLES, "NO_PROXY", *of_platformdirs}
    source = "".join(path.read_text("utf-8") for path in SOURCES.rglob("*.py"))
    named |= set(re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', source))
    assert told <= named
    ours = {name for name in re.findall(r"\bDEVLINK_[A-Z]+\b", source) if not name.startswith("DEVLINK_FAULT")}
    assert ours == {name for name in told if name.startswith("DEVLINK")}, "and none of our own is kept to ourselves"
    assert str(kubeconfig.paths({"HOME": "/home/a"})[0]) == "/home/a/.kube/config"
