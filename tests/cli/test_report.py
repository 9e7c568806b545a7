"""What `devlink report` takes for names, and when it does not begin."""

import sys
from pathlib import Path

import pytest

from devlink.cli import report, root
from devlink.core.profile_document import decode_profile, encode_profile
from devlink.doctor.case import Case, Subject
from devlink.doctor.report.collecting import Piece
from tests.core.profiles import SAMPLE


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with nothing of devlink's."""
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "empty"))


def test_names_are_found_wherever_they_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "empty" / "devlink"
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles" / "of-a-file.yaml").touch()
    (folder / "config.toml").write_text('default = "of-config"\n[profiles.of-table]\nexclude = []\n')
    (tmp_path / "kube").write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: a-context\n"
        "clusters: [{name: a-cluster, cluster: {server: 'https://apiserver:6443'}}]\n"
        "contexts: [{name: a-context, context: {cluster: a-cluster, user: a-user, namespace: a-namespace}}]\n"
        "users: [{name: a-user, user: {token: canary}}]\n"
    )
    profile = decode_profile(SAMPLE)
    case = Case(
        environ={"USER": "login", "HOME": "/data/home-folder", "KUBECONFIG": str(tmp_path / "kube")},
        subjects=(Subject(profile=profile),),
    )
    pieces = [
        Piece(path="resolver/resolv.conf", what="", text="search suffix-one suffix-two\nnameserver 10.0.0.1\n"),
        Piece(
            path="resolver/nmcli.txt", what="", text="GENERAL.CONNECTION:     Office WiFi\nIP4.DOMAIN[1]:   branch\n"
        ),
        Piece(path="resolver/resolvectl.txt", what="", text="Link 3 (eth0)\n    DNS Domain: ~suffix-three\n"),
        Piece(
            path="network/links.txt",
            what="",
            text="1: lo: <UP>\n2: enp0s31f6: <UP>\n3: br-0a1b2c: <UP>\n4: hq-vpn: <UP>\n5: veth9@hq-b: <UP>\n",
        ),
        Piece(path="settings/trust.d/trusted.json", what="", text=""),
    ]
    names = report.names_of(case, pieces)
    wanted = {
        "of-a-file", "of-config", "of-table", "a-context", "a-cluster", "a-user", "apiserver", "kube", "login",
        "home-folder", "suffix-one", "suffix-two", "Office WiFi", "branch", "trusted", profile.metadata.name,
        "a-namespace", "suffix-three", "hq-vpn",
    }  # fmt: skip
    assert wanted <= names
    assert (
        not {"suffix-one suffix-two", "Office", "canary", "10.0.0.1", "config", "lo", "enp0s31f6", "br-0a1b2c", "veth9"}
        & names
    )


def test_a_kubeconfig_that_cannot_be_read_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "kube").write_text("{")
    assert "login" in report.names_of(Case(environ={"USER": "login", "KUBECONFIG": str(tmp_path / "kube")}), [])


def test_where_no_profile_is_known_the_reason_goes_in() -> None:
    from devlink.doctor.examination import Examination
    from devlink.errors import UsageError

    case = Case(obstacle=UsageError("Nothing is known.", next_step="Name one."))
    texts = {piece.path: piece.text for piece in report._of_devlink(case, Examination(steps=()))}
    assert texts["sessions/none.txt"] == "Nothing is known. Name one.\n"


def test_a_profile_that_is_not_up_goes_in_with_its_origin() -> None:
    profile = decode_profile(SAMPLE)
    texts = {piece.path: piece.text for piece in report._of_subject(Subject(profile=profile, origin="from a file"))}
    folder = f"sessions/{profile.metadata.name}"
    assert "It is not up" in texts[f"{folder}/about.txt"]
    assert texts[f"{folder}/profile.yaml"] == encode_profile(profile)


def test_it_begins_nothing_where_the_file_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "gather", None)  # would fail
    (tmp_path / "taken").touch()
    for place in ("taken", "none/r.tar.gz"):
        monkeypatch.setattr(sys, "argv", ["devlink", "report", str(tmp_path / place)])
        assert root.run() == 2
        assert "Looking" not in capsys.readouterr().err
