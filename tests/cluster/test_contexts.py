"""Which cluster is meant: contexts, logins, and pods."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from devlink.cluster import contexts, kubeconfig, logins
from devlink.cluster.access import Access
from devlink.cluster.contexts import choose_access
from devlink.cluster.logins import Login
from devlink.errors import ClusterError, UsageError
from tests.cluster.test_credentials import Wallet
from tests.cluster.test_logins import wallet as wallet  # a fixture

KUBECONFIG = """\
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: t}}]
contexts:
- {name: office, context: {cluster: c, user: u}}
- {name: home, context: {cluster: c, user: u}}
"""
POD = Access(name="in-cluster", server="https://10.254.0.1")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A user without a kubeconfig."""
    return {"KUBECONFIG": str(tmp_path / "config"), "HOME": str(tmp_path)}


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """We run in a cluster."""

    def account(environ: Mapping[str, str]) -> Access:
        return POD

    monkeypatch.setattr(contexts, "in_cluster_access", account)


def write(environ: Mapping[str, str], current: str = "") -> None:
    Path(environ["KUBECONFIG"]).write_text(KUBECONFIG + (f"current-context: {current}\n" if current else ""))


def sign_in(*names: str) -> None:
    for name in names:
        logins.keep(Login(name=name, server=f"https://{name}.example.com"), f"token of {name}")


def test_the_kubeconfig_goes_first_by_name_or_by_its_current_context(
    environ: dict[str, str], wallet: Wallet, pod: None
) -> None:
    write(environ, "office")
    sign_in("home", "away")
    assert choose_access(None, environ).name == "office"
    assert choose_access("home", environ).server == "https://192.0.2.1:6443"


def test_a_login_is_a_context_too(environ: dict[str, str], wallet: Wallet) -> None:
    write(environ, "office")
    sign_in("away", "far")
    found = choose_access("far", environ)
    assert (found.server, found.credentials.token) == ("https://far.example.com", "token of far")


@pytest.mark.parametrize("with_file", [False, True])
def test_the_only_login_is_meant_where_no_context_is_current(
    environ: dict[str, str], wallet: Wallet, pod: None, with_file: bool
) -> None:
    if with_file:
        write(environ)
    sign_in("away")
    assert choose_access(None, environ).name == "away"


def test_of_several_logins_one_must_be_named(environ: dict[str, str], wallet: Wallet) -> None:
    sign_in("away", "far")
    with pytest.raises(UsageError, match="no kubeconfig") as caught:
        choose_access(None, environ)
    assert "Logins: away, far" in caught.value.why
    assert "--context away" in caught.value.next_step


def test_a_pod_uses_its_own_account_also_by_that_name(environ: dict[str, str], wallet: Wallet, pod: None) -> None:
    assert choose_access(None, environ) is POD
    write(environ, "office")
    assert choose_access("in-cluster", environ) is POD


def test_where_there_is_nothing_both_ways_are_named(environ: dict[str, str], wallet: Wallet) -> None:
    with pytest.raises(UsageError, match="no kubeconfig") as caught:
        choose_access(None, environ)
    assert "KUBECONFIG" in caught.value.next_step
    assert "devlink login" in caught.value.next_step


def test_an_unknown_name_lists_contexts_and_logins(environ: dict[str, str], wallet: Wallet) -> None:
    write(environ, "office")
    sign_in("away")
    with pytest.raises(UsageError, match="no context nowhere") as caught:
        choose_access("nowhere", environ)
    assert "home, office" in caught.value.why
    assert "Logins: away" in caught.value.why


def test_a_current_context_that_is_gone_is_not_replaced_by_a_login(environ: dict[str, str], wallet: Wallet) -> None:
    write(environ, "gone")
    sign_in("away")
    with pytest.raises(UsageError, match="no context gone"):
        choose_access(None, environ)


def test_a_login_whose_token_is_out_of_reach_is_no_matter_of_usage(environ: dict[str, str], wallet: Wallet) -> None:
    sign_in("away")
    wallet.held.clear()
    with pytest.raises(ClusterError):
        choose_access(None, environ)


@pytest.mark.parametrize("context", [None, "office", "away"])
def test_the_kubeconfig_is_read_once_for_one_answer(
    environ: dict[str, str], wallet: Wallet, monkeypatch: pytest.MonkeyPatch, context: str | None
) -> None:
    """Else the context could be of one file, and its cluster of what somebody has written over it."""
    write(environ, "office")
    sign_in("away")
    read = kubeconfig._read_file
    reads: list[Path] = []

    def counted(path: Path) -> Mapping[str, Any] | None:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(kubeconfig, "_read_file", counted)
    choose_access(context, environ)
    assert len(reads) == len(set(reads)) == 1
