"""Exec plugins: real programs that print credentials, badly or well."""

import asyncio
import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devlink.cluster import exec_plugin as module
from devlink.cluster.access import Access, Credentials, ExecPlugin
from devlink.cluster.exec_plugin import credentials_of, forget
from devlink.errors import ClusterError, UsageError
from tests.processes import wait_until_ended

V1 = "client.authentication.k8s.io/v1"
V1BETA1 = "client.authentication.k8s.io/v1beta1"
ENVIRON = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
QA = Access(name="qa", server="https://192.0.2.6:6443", ca="the CA", server_name="kubernetes")


@pytest.fixture(autouse=True)
def nothing_held() -> Iterator[None]:
    module._granted.clear()
    yield
    module._granted.clear()


def program(folder: Path, script: str) -> str:
    path = folder / "sign-in"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def plugin(command: str, **changes: Any) -> ExecPlugin:
    given = {"api_version": V1, "command": command, "interactive_mode": "IfAvailable", **changes}
    return ExecPlugin(**given)


def prints(folder: Path, *, version: str = V1, kind: str = "ExecCredential", **status: Any) -> str:
    answer = json.dumps({"kind": kind, "apiVersion": version, "status": status})
    return program(folder, f"echo x >>{folder}/runs\ncat <<'END'\n{answer}\nEND")


def granted(wanted: ExecPlugin, *, terminal: bool = False) -> Credentials:
    return asyncio.run(credentials_of(QA, wanted, ENVIRON, terminal=terminal))


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text().splitlines())


@pytest.mark.parametrize("version", [V1, V1BETA1])
def test_a_token_is_asked_for_once_while_this_process_lives(tmp_path: Path, version: str) -> None:
    wanted = plugin(prints(tmp_path, version=version, token="t"), api_version=version)
    assert granted(wanted) == granted(wanted) == Credentials(token="t")
    assert runs(tmp_path) == 1
    forget(QA, wanted, ENVIRON, Credentials(token="older"))
    granted(wanted)
    assert runs(tmp_path) == 1, "what it granted since is not what was refused"
    forget(QA, wanted, ENVIRON, Credentials(token="t"))
    granted(wanted)
    assert runs(tmp_path) == 2


def test_another_environment_may_mean_another_person(tmp_path: Path) -> None:
    script = f"""printf '{{"kind":"ExecCredential","apiVersion":"{V1}","status":{{"token":"%s"}}}}' "$AWS_PROFILE" """
    wanted = plugin(program(tmp_path, script))
    for name in ("dev", "ops", "dev"):
        environ = {**ENVIRON, "AWS_PROFILE": name}
        assert asyncio.run(credentials_of(QA, wanted, environ, terminal=False)).token == name


def test_another_folder_or_terminal_is_the_same_person(tmp_path: Path) -> None:
    wanted = plugin(prints(tmp_path, token="t"))
    names = (
        "PWD", "OLDPWD", "SHLVL", "WINDOWID", "TERM", "TERM_SESSION_ID", "COLUMNS", "LINES", "_", "DISPLAY", "GPG_TTY",
        "SSH_TTY", "TMUX_PANE", "XDG_SESSION_ID",
    )  # fmt: skip
    for place in ({}, dict.fromkeys(names, "1"), dict.fromkeys(names, "2")):
        asyncio.run(credentials_of(QA, wanted, {**ENVIRON, **place}, terminal=False))
    assert runs(tmp_path) == 1


@pytest.mark.parametrize("name", ["AWS_PROFILE", "KUBECONFIG", "HOME", "PATH", "TERMINUS_TOKEN", "XDG_CONFIG_HOME"])
def test_what_may_decide_who_one_is_is_another_grant(name: str) -> None:
    keys = {module._key(QA, plugin("x"), {**ENVIRON, name: value}) for value in ("/a", "/b")}
    assert len(keys) == 2


def test_another_cluster_and_another_way_to_ask_are_another_grant() -> None:
    ways: list[dict[str, Any]] = [{}, {"args": ("--role", "ops")}, {"env": {"REGION": "eu"}}, {"config": {"a": 1}}]
    keys = [module._key(QA, plugin("x", **way), ENVIRON) for way in ways]
    keys += [module._key(Access(name="qa", server="https://192.0.2.7:6443"), plugin("x"), ENVIRON)]
    keys += [module._key(Access(name="dev", server=QA.server), plugin("x"), ENVIRON)]
    assert len(set(keys)) == len(keys)


def test_of_many_grants_without_an_end_the_oldest_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GRANTED", 2)
    wanted = plugin(prints(tmp_path, token="t"))
    for region, asked in (("a", 1), ("b", 2), ("c", 3), ("b", 3), ("a", 4)):
        asyncio.run(credentials_of(QA, wanted, {**ENVIRON, "REGION": region}, terminal=False))
        assert (runs(tmp_path), len(module._granted)) == (asked, min(asked, 2))


def test_what_is_held_shows_no_secret() -> None:
    assert "s3cret" not in module._key(QA, plugin("x", env={"KEY": "s3cret"}), {"TOKEN": "s3cret"})


@pytest.mark.parametrize(("minutes", "asked"), [(10, 1), (-1, 2)])
def test_what_expires_is_kept_until_then(tmp_path: Path, minutes: int, asked: int) -> None:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
    wanted = plugin(prints(tmp_path, token="t", expirationTimestamp=moment.strftime("%Y-%m-%dT%H:%M:%SZ")))
    granted(wanted)
    granted(wanted)
    assert runs(tmp_path) == asked


def test_a_certificate_is_granted_as_well(tmp_path: Path) -> None:
    found = granted(plugin(prints(tmp_path, clientCertificateData="CERT", clientKeyData="KEY")))
    assert (found.certificate, found.key) == ("CERT", "KEY")


def test_the_program_gets_its_arguments_environment_and_what_it_may_know(tmp_path: Path) -> None:
    script = f"""printf '%s\\n' "$KUBERNETES_EXEC_INFO" >{tmp_path}/info; echo "$1 $REGION $HOME" >{tmp_path}/given
printf '{{"kind":"ExecCredential","apiVersion":"{V1}","status":{{"token":"t"}}}}'"""
    command = program(tmp_path, script)
    granted(plugin(command, args=("--qa",), env={"REGION": "eu"}, provide_cluster_info=True, config={"a": 1}))
    assert (tmp_path / "given").read_text() == "--qa eu /nonexistent\n"
    assert json.loads((tmp_path / "info").read_text()) == {
        "kind": "ExecCredential", "apiVersion": V1,
        "spec": {
            "interactive": False,
            "cluster": {
                "server": QA.server, "tls-server-name": "kubernetes", "certificate-authority-data": "dGhlIENB",
                "config": {"a": 1},
            },
        },
    }  # fmt: skip


@pytest.mark.parametrize(("mode", "terminal", "interactive"), [
    ("Never", True, False), ("IfAvailable", True, True), ("IfAvailable", False, False), ("Always", True, True),
])  # fmt: skip
def test_whether_a_program_may_ask_is_its_mode_and_our_terminal(
    tmp_path: Path, mode: str, terminal: bool, interactive: bool
) -> None:
    script = f"""printf '%s' "$KUBERNETES_EXEC_INFO" >{tmp_path}/info
printf '{{"kind":"ExecCredential","apiVersion":"{V1}","status":{{"token":"t"}}}}'"""
    granted(plugin(program(tmp_path, script), interactive_mode=mode), terminal=terminal)
    assert json.loads((tmp_path / "info").read_text())["spec"]["interactive"] is interactive


def test_one_that_must_ask_and_cannot_says_where_it_can(tmp_path: Path) -> None:
    wanted = plugin(prints(tmp_path, token="t"), interactive_mode="Always")
    with pytest.raises(UsageError, match="here is none") as caught:
        granted(wanted)
    assert "devlink profile fetch" in caught.value.next_step
    assert not (tmp_path / "runs").exists()


def test_a_program_that_is_not_there_comes_with_its_own_hint() -> None:
    with pytest.raises(UsageError, match="no-such-program") as caught:
        granted(plugin("no-such-program", install_hint="Get it\n from there."))
    assert caught.value.next_step == "Get it from there."


def test_a_program_is_found_on_the_users_path_not_ours(tmp_path: Path) -> None:
    prints(tmp_path, token="t")
    environ = {**ENVIRON, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert asyncio.run(credentials_of(QA, plugin("sign-in"), environ, terminal=False)).token == "t"


def test_a_program_that_fails_is_told_by_its_last_line(tmp_path: Path) -> None:
    command = program(tmp_path, "echo one >&2; echo 'session\x1b[31m expired' >&2; exit 3")
    with pytest.raises(ClusterError, match="ended with 3") as caught:
        granted(plugin(command))
    assert caught.value.why == "session [31m expired"


def test_a_program_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT", 0.2)
    command = program(tmp_path, f"sleep 60 & echo $! >{tmp_path}/child; wait")
    with pytest.raises(ClusterError, match="does not end within"):
        granted(plugin(command))
    wait_until_ended(int((tmp_path / "child").read_text()))


def test_a_program_that_prints_without_end_is_not_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OUTPUT", 100_000)
    with pytest.raises(ClusterError, match="granted nothing") as caught:
        granted(plugin(program(tmp_path, "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2")))
    assert "more than 100000 octets" in caught.value.why


def test_a_program_that_says_nothing_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="ended with 1") as caught:
        granted(plugin(program(tmp_path, "exit 1")))
    assert caught.value.why == "It said nothing."


def test_what_is_handed_on_must_be_json(tmp_path: Path) -> None:
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(UsageError, match="is no JSON"):
        granted(plugin(prints(tmp_path, token="t"), provide_cluster_info=True, config=itself))


@pytest.mark.parametrize(
    "answer",
    [
        {"token": "s3cret", "clientCertificateData": "CERT"},
        {},
        {"token": 7},
        {"token": "s3cret", "expirationTimestamp": "soon"},
    ],
)
def test_half_an_answer_is_none(tmp_path: Path, answer: dict[str, Any]) -> None:
    with pytest.raises(ClusterError, match="granted nothing") as caught:
        granted(plugin(prints(tmp_path, **answer)))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "s3cret", "[]", '{"kind":"ExecCredential"}', '{"status":{"token":"s3cret"}}'])
def test_what_is_no_answer_is_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(ClusterError, match="granted nothing") as caught:
        granted(plugin(program(tmp_path, f"printf '%s' '{text}'")))
    assert "s3cret" not in str(caught.value)


def test_an_answer_of_another_version_is_none(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="granted nothing"):
        granted(plugin(prints(tmp_path, version=V1BETA1, token="t")))
    with pytest.raises(ClusterError, match="granted nothing"):
        granted(plugin(prints(tmp_path, kind="Secret", token="t")))
