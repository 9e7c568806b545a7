"""`devlink profile`: data on stdout, talk on stderr, and the exit code of the error."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from devlink.cli.profile import profile as command
from devlink.core.profile_document import decode_profile
from devlink.core.profile_schema import schema
from devlink.errors import DevlinkError, ProfileError, UsageError
from tests.core.profiles import SAMPLE

SAMPLES = sorted((Path(__file__).parents[2] / "profiles").glob("*.yaml"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration folder of a user who has nothing yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    found = tmp_path / "devlink" / "profiles"
    found.mkdir(parents=True)
    return found


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(command, arguments, input=stdin)
    if result.exception is not None and not isinstance(result.exception, DevlinkError | SystemExit):
        raise result.exception
    return result


def test_every_sample_is_valid_in_one_call() -> None:
    result = run("validate", *map(str, SAMPLES))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{path}: ok" for path in SAMPLES]
    assert result.stderr == ""


def test_every_fault_of_every_file_is_told_and_the_good_ones_are_ok(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.yaml", tmp_path / "good.yaml"
    bad.write_text(SAMPLE.replace("mtu: 1480", "mtu: 1").replace("cluster.local", "local"))
    good.write_text(SAMPLE)
    result = run("validate", str(bad), str(good))
    assert result.stdout == f"{good}: ok\n"
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{bad}: spec.") for line in lines)
    assert isinstance(result.exception, ProfileError)
    assert result.exception.exit_code == 8


def test_a_file_that_is_not_there_is_a_matter_of_usage(tmp_path: Path) -> None:
    result = run("validate", str(tmp_path / "nope.yaml"), *map(str, SAMPLES))
    assert isinstance(result.exception, UsageError)
    assert "nope.yaml: cannot be read: No such file or directory" in result.stderr
    assert result.stdout.count(": ok") == len(SAMPLES)


def test_a_dash_is_standard_input() -> None:
    assert run("validate", "-", stdin=SAMPLE.encode()).stdout == "<stdin>: ok\n"
    assert isinstance(run("validate", "-", stdin=b"\xff").exception, ProfileError)


def test_the_result_as_json_has_the_faults(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [")
    result = run("validate", "-o", "json", str(bad), str(SAMPLES[0]))
    first, second = json.loads(result.stdout)
    assert (first["file"], first["ok"], first["error"]) == (str(bad), False, "invalid")
    assert "not YAML" in first["faults"][0]
    assert second == {"file": str(SAMPLES[0]), "ok": True, "error": None, "faults": []}
    assert isinstance(result.exception, ProfileError)


def test_show_prints_the_canonical_profile_in_either_form(folder: Path) -> None:
    (folder / "qa.yaml").write_text("# a remark\n" + SAMPLE)
    wanted = decode_profile(SAMPLE)
    for arguments in (["qa"], [str(folder / "qa.yaml")], []):
        assert decode_profile(run("show", *arguments).stdout) == wanted
        assert decode_profile(run("show", *arguments, "-o", "json").stdout) == wanted
    assert json.loads(run("show", "-o", "json").stdout)["spec"]["mtu"] == 1480
    assert isinstance(run("show", "qb").exception, UsageError)


def test_list_names_each_profile_the_default_and_the_first_fault_of_a_broken_one(folder: Path) -> None:
    (folder / "one.yaml").write_text(SAMPLE)
    (folder / "bad.yaml").write_text(SAMPLE.replace("mtu: 1480", "mtu: 1"))
    (folder.parent / "config.toml").write_text('default = "qa"\n')
    rows = json.loads(run("list", "-o", "json").stdout)
    assert rows == yaml.safe_load(run("list", "-o", "yaml").stdout)
    assert [(row["name"], row["default"], row["revision"]) for row in rows] == [
        ("bad", False, ""),
        ("qa", True, "2026-11-20T09:00:00Z"),
    ]
    assert rows[0]["fault"].startswith("spec.mtu: 1 is less than 576")
    assert rows[1]["fault"] is None
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "REVISION", "FROM"]
    assert lines[1].split() == ["bad", "-", str(folder / "bad.yaml")]
    assert lines[2].strip().startswith("invalid: spec.mtu: 1 is less than 576")
    assert lines[3].split() == ["*", "qa", "2026-11-20T09:00:00Z", str(folder / "one.yaml")]


def test_list_says_where_profiles_would_be_and_stays_data_for_programs(folder: Path) -> None:
    result = run("list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert str(folder) in result.stderr
    assert json.loads(run("list", "-o", "json").stdout) == []


def test_a_broken_config_hides_no_profile(folder: Path) -> None:
    (folder / "qa.yaml").write_text(SAMPLE)
    (folder.parent / "config.toml").write_text("default =")
    result = run("list")
    assert result.exit_code == 0
    assert "qa" in result.stdout
    assert "config.toml cannot be read" in result.stderr


def test_schema_prints_the_schema() -> None:
    assert json.loads(run("schema").stdout) == schema()
