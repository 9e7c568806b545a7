"""`devlink trust`: what is shown, who may answer, and the one line for root."""

import hashlib
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml

from devlink.cli import root
from devlink.core.codec import encode
from devlink.core.network import ObservedNetwork
from devlink.core.profile import BridgeProfile
from devlink.core.profile_document import decode_profile, encode_profile
from devlink.core.trust import claim_of_profile, record_of
from devlink.errors import NobodyAskedError, NotAuthorizedError, NotPermittedError
from devlink.rpc import varlink
from tests.cli.fakes import FakePeer
from tests.core.profiles import SAMPLE

Command = Callable[..., tuple[int, str, str]]
RECORD = record_of(claim_of_profile(decode_profile(SAMPLE)), ObservedNetwork())


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the helper of this test listens."""
    monkeypatch.setattr("devlink.helper.client.SOCKET", str(tmp_path / "helper"))
    return tmp_path / "helper"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.yaml"
    path.write_text(SAMPLE)
    return path


@pytest.fixture
def devlink(
    helper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs the command in this process as the given user: exit code, stdout, stderr."""
    for key in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(key, str(tmp_path / key / "with a blank"))
    monkeypatch.setattr("devlink.kernel.observe.observe", lambda *_: ObservedNetwork())

    def run(*arguments: str, uid: int = 0) -> tuple[int, str, str]:
        monkeypatch.setattr("os.geteuid", lambda: uid)
        monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "devlink"), *arguments])
        code = root.run()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_what_the_profile_claims_is_shown_before_anything_is_asked(devlink: Command, profile: Path) -> None:
    _, out, err = devlink("trust", str(profile), uid=1000)
    assert out == ""
    for text in ("Profile qa claims", "10.20.0.0/16", "cluster.local", "172.16.0.13/32", "no cluster CA"):
        assert text in err


def test_root_with_yes_has_the_helper_write_the_record(devlink: Command, profile: Path, helper: Path) -> None:
    with FakePeer(helper, {"Trust": [varlink.reply({"record": encode(RECORD)})]}) as peer:
        code, _, err = devlink("trust", str(profile), "--yes")
    assert code == 0
    assert "Profile qa is trusted." in err
    assert decode_profile(peer.calls[0]["parameters"]["profile"]) == decode_profile(SAMPLE)


def test_a_record_that_is_not_what_was_shown_is_shown(devlink: Command, profile: Path, helper: Path) -> None:
    wider = replace(RECORD, next_hops=(ip_network("172.16.0.0/12"),))
    for recorded, differs in ((RECORD, False), (wider, True)):
        with FakePeer(helper, {"Trust": [varlink.reply({"record": encode(recorded)})]}):
            code, _, err = devlink("trust", str(profile), "--yes")
        helper.unlink()
        assert code == 0
        assert ("not what was shown" in err) is differs
        assert ("172.16.0.0/12" in err) is differs
        assert ("devlink trust revoke qa" in err) is differs


def test_without_an_answer_nothing_is_asked_of_the_helper(devlink: Command, profile: Path, helper: Path) -> None:
    with FakePeer(helper, {"Trust": [varlink.reply({"record": encode(RECORD)})]}) as peer:
        code, _, err = devlink("trust", str(profile))
    assert code == 6
    assert "Not trusted." in err
    assert "no terminal to ask at" in err
    assert "--yes" in err
    assert peer.calls == []


@pytest.mark.parametrize("given", [(), ("--context", "office"), ("--yes",), ("--sha256", "HASH")])
@pytest.mark.parametrize("answer", [True, False])
def test_the_options_go_without_a_profile(
    devlink: Command,
    helper: Path,
    profile: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[str, ...],
    answer: bool,
) -> None:
    asked = []

    def chosen(name: str) -> BridgeProfile:
        asked.append(name)
        return decode_profile(SAMPLE)

    def confirm(*_: object, **__: object) -> bool:
        asked.append("sure?")
        return answer

    monkeypatch.setattr("devlink.agent.profiles.given_by", chosen)
    monkeypatch.setattr("devlink.agent.profiles.choose", chosen)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", confirm)
    digest = hashlib.sha256(encode_profile(decode_profile(SAMPLE)).encode()).hexdigest()
    with FakePeer(helper, {"Trust": [varlink.reply({"record": encode(RECORD)})]}) as peer:
        code, _, err = devlink("trust", *(digest if each == "HASH" else each for each in given))
    is_asked = not {"--yes", "--sha256"} & {*given}
    assert asked == ["office" if "--context" in given else "", *(["sure?"] if is_asked else [])]
    assert code == (0 if answer or not is_asked else 6), err
    assert peer.methods == (["Trust"] if code == 0 else [])


def test_an_option_that_does_not_exist_is_told(devlink: Command) -> None:
    code, _, err = devlink("trust", "--contxt", "office")
    assert code == 2
    assert "--context" in err


def test_an_ordinary_user_is_given_one_line_that_holds_for_what_was_shown(
    devlink: Command, profile: Path, helper: Path, tmp_path: Path
) -> None:
    program_file = tmp_path / "bin" / "devlink"
    program_file.parent.mkdir(exist_ok=True)
    program_file.touch(0o755)
    with FakePeer(helper, {"Trust": [varlink.reply({"record": encode(RECORD)})]}) as peer:
        code, _, err = devlink("trust", str(profile), uid=1000)
        assert code == 6
        assert peer.calls == []
        (line,) = [text.partition("Next: ")[2] for text in err.splitlines() if "Next: " in text]
        sudo, program, verb, path, option, digest = shlex.split(line)
        assert (sudo, program, verb, option) == ("sudo", str(tmp_path / "bin" / "devlink"), "trust", "--sha256")
        assert Path(path).is_absolute()
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest

        tree = yaml.safe_load(Path(path).read_text())
        shown = Path(path).read_text()
        tree["spec"]["pods"] = ["10.0.0.0/8"]
        tree["spec"].pop("nodes")
        tree["spec"].pop("services")
        Path(path).write_text(yaml.safe_dump(tree))
        code, _, err = devlink(verb, path, option, digest)
        assert code == 2
        assert "is not the profile that was shown" in err
        assert peer.calls == []

        Path(path).write_text(shown)
        assert devlink(verb, path, option, digest)[0] == 0
        assert peer.methods == ["Trust"]


@pytest.mark.parametrize("kind", [NotAuthorizedError, NobodyAskedError])
def test_at_a_terminal_an_ordinary_user_is_asked_and_may_be_refused_with_the_line_for_root(
    devlink: Command, profile: Path, helper: Path, monkeypatch: pytest.MonkeyPatch, kind: type[NotAuthorizedError]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *_, **__: True)
    refused = varlink.error_reply("io.devlink.Helper", kind("No.", why="polkit said no.", next_step="Ask."))
    with FakePeer(helper, {"Trust": [refused]}) as peer:
        code, _, err = devlink("trust", str(profile), uid=1000)
    assert code == 6
    assert peer.methods == ["Trust"], "there is no terminal on stderr for an agent to ask at"
    assert "Why:  polkit said no." in err
    assert "Next: sudo " in err
    helper.unlink()
    with FakePeer(helper, {"Trust": [varlink.reply({"record": encode(RECORD)})]}) as peer:
        assert devlink("trust", str(profile), uid=1000)[0] == 0
    assert peer.methods == ["Trust"]


def test_who_may_not_revoke_is_given_the_line_for_root(devlink: Command, helper: Path) -> None:
    refused = varlink.error_reply("io.devlink.Helper", NotAuthorizedError("No.", why="Because.", next_step="Ask."))
    with FakePeer(helper, {"Revoke": [refused]}):
        code, _, err = devlink("trust", "revoke", "qa", uid=1000)
    assert code == 6
    assert re.search(r"Why:  Because.\n  Next: sudo \S+ .*trust revoke qa\n", err)


def test_a_cache_that_cannot_be_written_is_told(
    devlink: Command, profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    code, _, err = devlink("trust", str(profile), uid=1000)
    assert code == 2
    assert "cannot be laid down" in err


def test_names_of_two_labels_are_shown_before_they_are_trusted_and_in_the_list(
    devlink: Command, profile: Path, helper: Path
) -> None:
    profile.write_text(SAMPLE.replace("    reverse: true", "    search: [default, qa]"))
    _, _, err = devlink("trust", str(profile), uid=1000)
    assert "and names    NAME.default, NAME.qa" in err
    assert "! NAME.qa will go to the cluster" in err
    record = {"name": "qa", "domains": ["cluster.local"], "search": ["qa"]}
    with FakePeer(helper, {"ListTrust": [varlink.reply({"records": [record]})]}):
        assert devlink("trust", "list")[1] == "qa    cluster.local, NAME.qa\n"


def test_the_list_is_data(devlink: Command, helper: Path) -> None:
    record = {"name": "qa", "prefixes": ["10.20.0.0/16"], "domains": ["cluster.local"]}
    with FakePeer(helper, {"ListTrust": [varlink.reply({"records": [record, {"name": "bare"}]})]}):
        assert devlink("trust", "list")[:2] == (0, "qa  10.20.0.0/16  cluster.local\nbare    \n")
        _, out, _ = devlink("trust", "list", "-o", "yaml")
        assert yaml.safe_load(out) == {"records": [record, {"name": "bare"}]}


def test_an_empty_list_is_said_on_stderr(devlink: Command, helper: Path) -> None:
    with FakePeer(helper, {"ListTrust": [varlink.reply({"records": []})]}):
        assert devlink("trust", "list") == (0, "", "No profile is trusted.\n")


def test_a_refusal_of_the_helper_reaches_the_user_whole(devlink: Command, helper: Path) -> None:
    refused = varlink.error_reply("io.devlink.Helper", NotPermittedError("No.", why="Because.", next_step="Ask."))
    with FakePeer(helper, {"Revoke": [refused]}) as peer:
        assert devlink("trust", "revoke", "qa", uid=1000) == (6, "", "Error: No.\n  Why:  Because.\n  Next: Ask.\n")
    assert peer.calls[0]["parameters"] == {"name": "qa"}


@pytest.mark.parametrize("arguments", [("trust", "list"), ("trust", "revoke", "qa"), ("helper", "status")])
def test_without_a_helper_the_error_names_where_it_was_looked_for(
    devlink: Command, helper: Path, arguments: tuple[str, ...]
) -> None:
    code, out, err = devlink(*arguments)
    assert (code, out) == (6, "")
    assert str(helper) in err
    assert "Next: " in err


@pytest.mark.parametrize("arguments", [("trust", "--help"), ("trust", "qa", "--help")])
def test_the_help_shows_what_is_typed_with_its_options(devlink: Command, arguments: tuple[str, ...]) -> None:
    code, out, _ = devlink(*arguments)
    assert code == 0
    assert out.startswith("Usage: devlink trust [PROFILE | --context C] [--yes] [--sha256 HASH]\n")
    assert "Do not ask." in out
    assert "Refuse if the file is not the one with this hash." in out
    assert "give" not in out
    assert ("revoke" in out) is (arguments == ("trust", "--help"))
