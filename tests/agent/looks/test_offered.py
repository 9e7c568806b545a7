"""What can be brought up, as the agent lists it."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from devlink.agent import cache
from devlink.agent.cache import Origin
from devlink.agent.looks.offered import offered
from devlink.core.profile_document import decode_profile
from tests.core.profiles import SAMPLE

KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: prod
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
contexts: [{name: dev, context: {cluster: c, user: u}}, {name: prod, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: t}}]
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One who has nothing yet."""
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "XDG_CONFIG_HOME" / "devlink" / "profiles").mkdir(parents=True)
    return tmp_path


def put(user: Path, file: str, text: str) -> str:
    path = user / "XDG_CONFIG_HOME" / "devlink" / file
    path.write_text(text)
    return str(path)


def by_name(told: Mapping[str, Any]) -> dict[str, Any]:
    return {each["name"]: each for each in told["profiles"]}


def test_who_has_nothing_is_offered_nothing(user: Path) -> None:
    assert offered({}) == {"profiles": [], "default": "", "contexts": []}


def test_files_and_what_clusters_gave_are_told_apart_and_a_broken_one_says_why(user: Path) -> None:
    path = put(user, "profiles/qa.yaml", SAMPLE)
    put(user, "profiles/broken.yaml", "a: [")
    put(user, "config.toml", 'default = "qa"')
    profile = decode_profile(SAMPLE.replace("name: qa", "name: prod"))
    cache.keep(Origin(context="prod-context", server="https://192.0.2.1:6443"), profile, "1", time.time() - 100.7)
    told = offered({})
    known = by_name(told)
    assert known["qa"] == {"name": "qa", "file": path, "context": "", "age": 0, "error": None}
    assert (known["prod"]["file"], known["prod"]["context"]) == ("", "prod-context")
    assert (type(known["prod"]["age"]), known["prod"]["age"] >= 100) == (int, True)
    assert known["broken"]["error"]
    assert told["default"] == "qa"


def test_the_only_file_is_the_default(user: Path) -> None:
    put(user, "profiles/qa.yaml", SAMPLE)
    assert offered({})["default"] == "qa"


def test_contexts_are_those_of_the_callers_kubeconfig_and_the_current_one_is_first(user: Path) -> None:
    kubeconfig = user / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    assert offered({"KUBECONFIG": str(kubeconfig)})["contexts"] == ["prod", "dev"]
    assert offered({"KUBECONFIG": str(user / "none")})["contexts"] == []


def test_a_broken_kubeconfig_or_config_toml_hides_no_profile(user: Path) -> None:
    put(user, "profiles/qa.yaml", SAMPLE)
    put(user, "config.toml", "default = [")
    kubeconfig = user / "kubeconfig"
    kubeconfig.write_text("{")
    told = offered({"KUBECONFIG": str(kubeconfig)})
    assert (list(by_name(told)), told["default"], told["contexts"]) == (["qa"], "", [])


def test_what_others_wrote_does_nothing_to_a_terminal(user: Path) -> None:
    put(user, "profiles/a\x1b[2J.yaml", "a: [")
    (only,) = offered({})["profiles"]
    assert all(only[key].isprintable() for key in ("name", "file", "error"))
