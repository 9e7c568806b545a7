"""kubeconfig files: a table in which the official client must agree with us, and what is our own to say."""

import base64
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes.config import kube_config

from devlink.cluster.access import Access, Credentials
from devlink.cluster.kubeconfig import access_of, in_cluster_access, paths, read
from devlink.errors import UsageError
from tests.certificates import Authority

AUTHORITY, OTHER = Authority(), Authority("other")
CLIENT = AUTHORITY.issue("client", subject="alice")
Tree = dict[str, Any]


def data(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(cluster: Tree | None = None, user: Tree | None = None, **context: Any) -> Tree:
    """One cluster `c`, one user `u`, one context `x`, which is the current one."""
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.6:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", **context}}],
    }  # fmt: skip


def two(**second: Any) -> Tree:
    """Two of everything; `y` leads to the second."""
    tree = config({"certificate-authority-data": data(AUTHORITY.pem)}, {"token": "first"})
    tree["clusters"].append({"name": "d", "cluster": {"server": "https://192.0.2.7:6443"}})
    tree["users"].append({"name": "v", "user": {"token": "second"}})
    tree["contexts"].append({"name": "y", "context": {"cluster": "d", "user": "v"}})
    return {**tree, **second}


@dataclass(frozen=True)
class Case:
    """Files by name; those of `listed`, else all, stand in KUBECONFIG, in their order."""

    files: Mapping[str, Tree]
    context: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    """Other files, by path."""
    listed: tuple[str, ...] = ()


CASES: dict[str, Case] = {
    "nothing but a server": Case({"a": config()}),
    "a path behind the server": Case({"a": config({"server": "https://rancher.example.com/k8s/clusters/c-1"})}),
    "a server with a last slash": Case({"a": config({"server": "https://api.example.com:6443/"})}),
    "an IPv6 server": Case({"a": config({"server": "https://[2001:db8::6]:6443"})}),
    "plain http": Case({"a": config({"server": "http://127.0.0.1:8001"})}),
    "inline CA": Case({"a": config({"certificate-authority-data": data(AUTHORITY.pem)})}),
    "CA by absolute path": Case({"a": config({"certificate-authority": "{}/ca.crt"})}, extra={"ca.crt": AUTHORITY.pem}),
    "CA beside the file": Case({"a": config({"certificate-authority": "ca.crt"})}, extra={"ca.crt": AUTHORITY.pem}),
    "CA in a folder": Case({"k/a": config({"certificate-authority": "pki/ca.crt"})}, extra={"k/pki/ca.crt": OTHER.pem}),
    "CA above the file": Case({"k/a": config({"certificate-authority": "../ca.crt"})}, extra={"ca.crt": OTHER.pem}),
    "inline CA before a file": Case(
        {"a": config({"certificate-authority-data": data(AUTHORITY.pem), "certificate-authority": "ca.crt"})},
        extra={"ca.crt": OTHER.pem},
    ),
    "several CAs": Case({"a": config({"certificate-authority-data": data(AUTHORITY.pem + OTHER.pem)})}),
    "insecure": Case({"a": config({"insecure-skip-tls-verify": True})}),
    "insecure said to be false": Case({"a": config({"insecure-skip-tls-verify": False})}),
    "another name for TLS": Case({"a": config({"tls-server-name": "kubernetes.default.svc"})}),
    "a proxy": Case({"a": config({"proxy-url": "http://proxy.example.com:3128"})}),
    "a token": Case({"a": config(user={"token": "t0ken"})}),
    "a token file": Case({"a": config(user={"tokenFile": "{}/token"})}, extra={"token": "from-a-file\n"}),
    "basic": Case({"a": config(user={"username": "alice", "password": "s3cret"})}),
    "inline client certificate": Case(
        {"a": config(user={"client-certificate-data": data(CLIENT.certificate), "client-key-data": data(CLIENT.key)})}
    ),
    "client certificate in files": Case(
        {"k/a": config(user={"client-certificate": "c.crt", "client-key": "c.key"})},
        extra={"k/c.crt": CLIENT.certificate, "k/c.key": CLIENT.key},
    ),
    "client certificate half inline": Case(
        {"k/a": config(user={"client-certificate-data": data(CLIENT.certificate), "client-key": "c.key"})},
        extra={"k/c.key": CLIENT.key},
    ),
    "a token and a certificate": Case(
        {"a": config(user={"token": "t", "client-certificate-data": data(CLIENT.certificate),
                           "client-key-data": data(CLIENT.key)})}
    ),
    "another context by name": Case({"a": two()}, context="y"),
    "the current context of two": Case({"a": two()}),
    "two files": Case({"a": config(user={"token": "a"}), "b": two()}),
    "two files, the second's context": Case({"a": config(user={"token": "a"}), "b": two()}, context="y"),
    "two files, the first without a current context": Case(
        {"a": {**config(), "current-context": ""}, "b": two(**{"current-context": "y"})}
    ),
    "the parts of a context in three files": Case(
        {
            "a": {"contexts": config()["contexts"], "current-context": "x"},
            "k/b": {"clusters": config({"certificate-authority": "ca.crt"})["clusters"]},
            "l/c": {"users": config(user={"tokenFile": "token"})["users"]},
        },
        extra={"k/ca.crt": AUTHORITY.pem, "l/token": "beside-its-file"},
    ),
    "unknown keys": Case({"a": {**config(), "preferences": {"colors": True}, "x-comment": [1]}}),
    "a namespace and an extension": Case(
        {"a": config(namespace="qa", extensions=[{"name": "e", "extension": {"provider": "p"}}])}
    ),
}  # fmt: skip


def write(case: Case, folder: Path) -> dict[str, str]:
    """The files of a case; the environment in which they are looked for."""
    for name, content in {**{n: yaml.safe_dump(t) for n, t in case.files.items()}, **case.extra}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("{}/", f"{folder}/"))
    return {"KUBECONFIG": ":".join(str(folder / name) for name in case.listed or case.files), "HOME": "/nonexistent"}


@pytest.fixture
def oracle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The official client's reading; it lays inline keys down in files, which go with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def reading(case: Case, environ: Mapping[str, str]) -> client.Configuration:
        made = client.Configuration()
        made.proxy = None
        load_kube_config: Any = kube_config.load_kube_config  # without annotations
        load_kube_config(config_file=environ["KUBECONFIG"], context=case.context, client_configuration=made)
        return made

    yield reading
    clean: Any = kube_config._cleanup_temp_files
    clean()


def content(path: str | None) -> str:
    return Path(path).read_text() if path else ""


@pytest.mark.parametrize("name", CASES)
def test_the_official_client_reads_the_same(name: str, tmp_path: Path, oracle: Any) -> None:
    case = CASES[name]
    environ = write(case, tmp_path)
    theirs, ours = oracle(case, environ), access_of(read(environ), case.context)
    credentials = ours.credentials
    assert ours.server == theirs.host.rstrip("/")
    if ours.server.startswith("http://"):
        return  # client-go sends no credentials in the clear, and the Python client does
    assert ours.insecure is not theirs.verify_ssl
    assert (ours.ca or "") == content(theirs.ssl_ca_cert)
    assert credentials.certificate == content(theirs.cert_file)
    assert credentials.key == content(theirs.key_file)
    assert ours.server_name == (theirs.tls_server_name or "")
    assert ours.proxy == (theirs.proxy or "")
    token = credentials.token_file.read_text().strip() if credentials.token_file else credentials.token
    pair = f"{credentials.username}:{credentials.password}"
    ours_says = f"Bearer {token}" if token else f"Basic {data(pair)}" if credentials.username else ""
    assert ours_says == theirs.auth_settings().get("BearerToken", {}).get("value", "").strip()


def test_the_first_file_that_names_a_current_context_wins(tmp_path: Path) -> None:
    """As client-go has it; the Python client takes the last one's."""
    environ = write(Case({"a": config(user={"token": "a"}), "b": two(**{"current-context": "y"})}), tmp_path)
    assert access_of(read(environ), None).credentials.token == "a"


def test_a_missing_file_of_several_is_passed_over_and_the_first_that_says_something_wins(tmp_path: Path) -> None:
    case = Case({"a": config(user={"token": "a"}), "b": config(user={"token": "b"})}, listed=("none", "a", "b"))
    environ = write(case, tmp_path)
    environ["KUBECONFIG"] += "::"
    assert access_of(read(environ), None).credentials.token == "a"
    assert read(environ).files == (tmp_path / "a", tmp_path / "b")


def test_without_kubeconfig_in_the_environment_it_is_the_home_folders() -> None:
    assert paths({"HOME": "/home/alice"}) == (Path("/home/alice/.kube/config"),)
    assert paths({"KUBECONFIG": "/a::/b:/a", "HOME": "/home/alice"}) == (Path("/a"), Path("/b"))
    assert paths({}) == ()


def test_a_token_file_goes_before_a_token_and_is_named_not_read(tmp_path: Path) -> None:
    environ = write(Case({"a": config(user={"token": "old", "tokenFile": "token"})}), tmp_path)
    credentials = access_of(read(environ), None).credentials
    assert (credentials.token, credentials.token_file) == ("old", tmp_path / "token")


def test_impersonation_becomes_headers(tmp_path: Path) -> None:
    user = {"as": "alice", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": {"reason": ["audit"]}}
    environ = write(Case({"a": config(user=user)}), tmp_path)
    assert access_of(read(environ), None).credentials.impersonate == {
        "Impersonate-User": ("alice",), "Impersonate-Uid": ("7",), "Impersonate-Group": ("a", "b"),
        "Impersonate-Extra-reason": ("audit",),
    }  # fmt: skip


def test_what_a_header_name_cannot_carry_of_an_extra_is_escaped(tmp_path: Path) -> None:
    """As client-go does; the Python client knows no impersonation."""
    user = {"as": "Jürgen", "as-user-extra": {"example.com/scope %": ["read", "write"]}}
    environ = write(Case({"a": config(user=user)}), tmp_path)
    assert access_of(read(environ), None).credentials.impersonate == {
        "Impersonate-User": ("Jürgen",), "Impersonate-Extra-example.com%2Fscope%20%25": ("read", "write"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "own",
    [
        {"token": "t"}, {"tokenFile": "token"}, {"username": "a", "password": "b"},
        {"client-certificate-data": data(CLIENT.certificate), "client-key-data": data(CLIENT.key)},
    ],
)  # fmt: skip
def test_who_has_something_to_show_asks_no_plugin(tmp_path: Path, own: Tree) -> None:
    """As client-go; the Python client runs the plugin before it looks at a password or a certificate."""
    plugin = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws"}
    environ = write(Case({"a": config(user={**own, "exec": plugin})}), tmp_path)
    assert access_of(read(environ), None).credentials.plugin is None


def test_nothing_is_sent_in_the_clear_but_whom_one_acts_for(tmp_path: Path) -> None:
    """As client-go, which also takes a server without a scheme for http; the Python client sends tokens anywhere."""
    for server in ("http://127.0.0.1:8001", "127.0.0.1:8001"):
        environ = write(Case({"a": config({"server": server}, {"token": "s3cret", "as": "bob"})}), tmp_path)
        found = access_of(read(environ), None)
        assert (found.server, found.insecure) == ("http://127.0.0.1:8001", True)
        assert found.credentials == Credentials(impersonate={"Impersonate-User": ("bob",)})


def test_a_query_behind_the_server_is_left_out(tmp_path: Path) -> None:
    """As client-go; the Python client keeps it, and asks for paths behind it."""
    environ = write(Case({"a": config({"server": "https://api.example.com/k8s/?a=b#c"})}), tmp_path)
    assert access_of(read(environ), None).server == "https://api.example.com/k8s"


def test_the_empty_lists_that_kubectl_writes_are_empty(tmp_path: Path) -> None:
    """The Python client takes them for a broken file."""
    empty: Tree = {"apiVersion": "v1", "kind": "Config", "clusters": None, "contexts": None, "users": None,
             "current-context": "", "preferences": {}}  # fmt: skip
    environ = write(Case({"a": empty, "b": config(user={"token": "b"})}), tmp_path)
    assert access_of(read(environ), None).credentials.token == "b"


def test_a_context_may_be_called_like_a_day(tmp_path: Path) -> None:
    """As to kubectl; the Python client reads a date."""
    text = yaml.safe_dump(config()).replace("name: x", "name: 2026-11-20").replace("context: x", "context: 2026-11-20")
    (tmp_path / "a").write_text(text)
    assert access_of(read({"KUBECONFIG": str(tmp_path / "a")}), None).name == "2026-11-20"


def test_remarks_beside_certificates_may_be_in_any_script(tmp_path: Path) -> None:
    case = Case({"a": config({"certificate-authority": "ca.crt"})}, extra={"ca.crt": f"# Côte d'Ivoire\n{OTHER.pem}"})
    assert OTHER.pem in (access_of(read(write(case, tmp_path)), None).ca or "")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        access_of(read({"KUBECONFIG": str(tmp_path)}), None)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_an_exec_plugin_is_read_whole(tmp_path: Path, version: str) -> None:
    plugin = {
        "apiVersion": f"client.authentication.k8s.io/{version}", "command": "bin/sign-in", "args": ["--cluster", "qa"],
        "env": [{"name": "REGION", "value": "eu"}], "interactiveMode": "Never", "provideClusterInfo": True,
        "installHint": "Get it.",
    }  # fmt: skip
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "qa"}}
    environ = write(Case({"k/a": config({"extensions": [extension]}, {"exec": plugin})}), tmp_path)
    found = access_of(read(environ), None).credentials.plugin
    assert found is not None
    assert (found.command, found.args) == (str(tmp_path / "k/bin/sign-in"), ("--cluster", "qa"))
    assert (found.env, found.interactive_mode, found.provide_cluster_info) == ({"REGION": "eu"}, "Never", True)
    assert (found.config, found.install_hint) == ({"audience": "qa"}, "Get it.")


def test_a_bare_command_is_left_to_path(tmp_path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws"}
    environ = write(Case({"a": config(user={"exec": plugin})}), tmp_path)
    found = access_of(read(environ), None).credentials.plugin
    assert found is not None
    assert (found.command, found.interactive_mode) == ("aws", "IfAvailable")


WRONG: dict[str, tuple[Tree | str, str]] = {
    "no YAML": ("clusters: [\n  token: s3cret", "no YAML in line"),
    "a list": ("[1]", "something else"),
    "a manifest": ({"kind": "Deployment", "metadata": {"name": "x"}}, "something else"),
    "two of one name": (
        {**config(), "users": [{"name": "u", "user": {"token": "s3cret"}}, {"name": "u", "user": {}}]},
        "two users of the name u",
    ),
    "a token that is a list": (config(user={"token": ["s3cret"]}), "token is not a text"),
    "an insecure that is a text": (config({"insecure-skip-tls-verify": "yes please"}), "neither true nor false"),
    "a password in the server": (config({"server": "https://a:s3cret@x"}), "name or password in its server"),
    "a damaged server with a password": (config({"server": "https://a:s3cret@x:port"}), "no server that can be asked"),
    "a proxy of another kind": (config({"proxy-url": "gopher://a:s3cret@x"}), "http, https, socks5"),
    "a proxy without a scheme": (config({"proxy-url": "proxy.example.com:3128"}), "http, https, socks5"),
    "a CA, and no check by it": (
        config({"insecure-skip-tls-verify": True, "certificate-authority-data": data(AUTHORITY.pem)}), "kubectl ref",
    ),
    "a CA that is empty": (config({"certificate-authority": "/dev/null"}), "no PEM text"),
    "a token and a password": (config(user={"token": "t", "username": "a", "password": "s3cret"}), "both a token"),
    "another's groups, and nobody": (config(user={"as-groups": ["system:masters"]}), "`as` is missing"),
    "groups that are no list": (config(user={"as": "a", "as-groups": "system:masters"}), "as-groups is not a list"),
    "a name that no header can carry": (config(user={"as": "a\r\nX: y"}), "no header can carry"),
    "clusters that are no list": ({**config(), "clusters": {"c": 1}}, "clusters is not a list"),
    "an entry without a name": ({**config(), "users": [{"user": {"token": "s3cret"}}]}, "no name"),
    "no current context": ({**config(), "current-context": ""}, "no current context"),
    "an unknown context": ({**config(), "current-context": "y"}, "no context y"),
    "an unknown cluster": ({**config(), "clusters": []}, "names cluster c"),
    "an unknown user": ({**config(), "users": []}, "names user u"),
    "no server": (config({"server": ""}), "no server that can be asked"),
    "a server that speaks to a terminal": (config({"server": "ftp://\x1b[2J"}), "be asked: ftp://?[2J"),
    "a server of another kind": (config({"server": "ftp://x"}), "no server that can be asked"),
    "a CA that is not there": (config({"certificate-authority": "none.crt"}), "cannot be read"),
    "a CA that is no base64": (config({"certificate-authority-data": "abc"}), "damaged"),
    "half a certificate": (config(user={"client-certificate-data": data(CLIENT.certificate)}), "no client-key"),
    "an old plugin": (
        config(user={"exec": {"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "x"}}), "apiVersion is",
    ),
    "a plugin without a command": (
        config(user={"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1"}}), "no command",
    ),
    "a plugin that v1 would not take": (
        config(user={"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "x"}}),
        "interactiveMode is missing",
    ),
    "an auth-provider": (
        config(user={"auth-provider": {"name": "gcp", "config": {"token": "s3cret"}}}), "auth-provider",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_used_is_named_with_its_reason_and_no_secret(name: str, tmp_path: Path) -> None:
    tree, said = WRONG[name]
    (tmp_path / "a").write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    with pytest.raises(UsageError) as caught:
        access_of(read({"KUBECONFIG": str(tmp_path / "a")}), None)
    text = str(caught.value)
    assert said in text
    assert "s3cret" not in text


def test_the_lack_of_any_file_names_where_was_looked_and_the_way_without_one() -> None:
    with pytest.raises(UsageError, match="no kubeconfig") as caught:
        access_of(read({"HOME": "/nonexistent"}), None)
    assert "/nonexistent/.kube/config" in caught.value.why
    assert "devlink login" in caught.value.next_step


def test_a_near_name_of_a_context_is_offered(tmp_path: Path) -> None:
    environ = write(Case({"a": two()}), tmp_path)
    with pytest.raises(UsageError, match="no context yy") as caught:
        access_of(read(environ), "yy")
    assert caught.value.next_step == "Did you mean y?"


def test_no_text_of_an_access_shows_a_secret(tmp_path: Path) -> None:
    user = {
        "token": "s3cret", "password": "s3cret",
        "client-certificate-data": data(CLIENT.certificate), "client-key-data": data(CLIENT.key),
    }  # fmt: skip
    environ = write(Case({"a": config(user=user)}), tmp_path)
    shown = repr(access_of(read(environ), None))
    assert "s3cret" not in shown
    assert "PRIVATE KEY" not in shown


def test_no_text_of_an_access_shows_what_a_proxy_or_a_plugin_is_given(tmp_path: Path) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1beta1", "command": "sign-in", "args": ["--client-secret=s3cret"],
        "env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "s3cret"}],
    }  # fmt: skip
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"secret": "s3cret"}}
    cluster = {"proxy-url": "http://joe:s3cret@proxy.example.com:3128", "extensions": [extension]}
    found = access_of(read(write(Case({"a": config(cluster, {"exec": plugin})}), tmp_path)), None)
    assert "s3cret" in found.proxy
    assert found.credentials.plugin is not None
    assert "s3cret" not in repr(found)


def test_a_pod_has_an_account_of_its_own(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "fd00:254::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert in_cluster_access(environ, tmp_path) is None
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_text(AUTHORITY.pem)
    found = in_cluster_access(environ, tmp_path)
    assert isinstance(found, Access)
    assert (found.server, found.ca, found.insecure) == ("https://[fd00:254::1]:443", AUTHORITY.pem, False)
    assert in_cluster_access({}, tmp_path) is None


def test_the_certificates_of_this_table_are_real() -> None:
    ssl.create_default_context(cadata=AUTHORITY.pem + OTHER.pem)


def test_a_folder_and_a_damaged_list_come_with_a_next_step(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("contexts: 3")
    for path in (tmp_path, tmp_path / "a"):
        with pytest.raises(UsageError) as caught:
            read({"KUBECONFIG": str(path)})
        assert caught.value.next_step
