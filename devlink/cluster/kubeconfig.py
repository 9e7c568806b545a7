"""kubeconfig files, merged as kubectl merges them, and what one context of them comes down to.

After client-go's `tools/clientcmd`: the first file that sets a value or a name wins, inline data goes before files,
relative paths start at the file that names them.
"""

import base64
import binascii
import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from devlink.cluster.access import Access, Credentials, ExecPlugin
from devlink.errors import UsageError, reason

MAX_BYTES = 16 * 1024 * 1024
"""Octets of one file."""
EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
INTERACTIVE_MODES = ("Never", "IfAvailable", "Always")
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its own account."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One named cluster, user or context, with the folder of the file that it stands in."""

    values: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubeconfig:
    """All files as one."""

    files: tuple[Path, ...]
    """Those that are there, in their order."""
    current: str = ""
    clusters: Mapping[str, Entry] = field(default_factory=dict)
    users: Mapping[str, Entry] = field(default_factory=dict)
    contexts: Mapping[str, Entry] = field(default_factory=dict)


def paths(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The files that KUBECONFIG lists, else the one in the home folder; they need not exist."""
    listed = environ.get("KUBECONFIG", "")
    if listed:
        return tuple(dict.fromkeys(Path(part) for part in listed.split(os.pathsep) if part))
    home = environ.get("HOME", "")
    return (Path(home) / ".kube" / "config",) if home else ()


def read(environ: Mapping[str, str]) -> Kubeconfig:
    """The files of the environment as one. Raises UsageError for one that cannot be read or understood."""
    files = []
    current = ""
    found: dict[str, dict[str, Entry]] = {"clusters": {}, "users": {}, "contexts": {}}
    for path in paths(environ):
        tree = _read_file(path)
        if tree is None:
            continue
        files.append(path)
        current = current or _text(tree, "current-context")
        for kind, entries in found.items():
            for name, values in _entries(tree, kind, path):
                entries.setdefault(name, Entry(values=values, folder=path.absolute().parent))
    return Kubeconfig(files=tuple(files), current=current, **found)


def load_access(context: str | None, environ: Mapping[str, str]) -> Access:
    """What a context (None: the current one) says of its cluster and its user.

    Raises UsageError: no file, no such context, a part missing, a file that cannot be read, what is not supported.
    """
    config = read(environ)
    name = context or config.current
    if not config.files:
        raise UsageError(
            "There is no kubeconfig.",
            why=f"Looked for {', '.join(map(str, paths(environ))) or 'KUBECONFIG and HOME, which are not set'}.",
            next_step="Set KUBECONFIG, or sign in without one: devlink login SERVER",
        )
    known = ", ".join(sorted(config.contexts)) or "none"
    if not name:
        raise UsageError(
            "The kubeconfig has no current context.",
            why=f"Contexts: {known}.",
            next_step="Choose one: kubectl config use-context NAME, or --context NAME",
        )
    if name not in config.contexts:
        near = difflib.get_close_matches(name, config.contexts, 1)
        raise UsageError(
            f"The kubeconfig has no context {name}.",
            why=f"Contexts: {known}.",
            next_step=f"Did you mean {near[0]}?" if near else "See: kubectl config get-contexts",
        )
    chosen = config.contexts[name].values
    cluster = _part(config.clusters, _text(chosen, "cluster"), "cluster", name)
    wanted_user = _text(chosen, "user")
    user = _part(config.users, wanted_user, "user", name) if wanted_user else Entry(values={}, folder=Path())
    server = _server(cluster, name)
    in_the_clear = server.startswith("http://")
    return Access(
        name=name,
        server=server,
        ca=_pem(cluster, "certificate-authority") or None,
        server_name=_text(cluster.values, "tls-server-name"),
        insecure=in_the_clear or cluster.values.get("insecure-skip-tls-verify") is True,
        proxy=_text(cluster.values, "proxy-url"),
        # As client-go: what is sent in the clear is no place for a credential (`kubectl proxy` needs none).
        credentials=Credentials() if in_the_clear else _credentials(user, cluster, wanted_user),
    )


def in_cluster_access(environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Access | None:
    """What a pod's own account may do; None where this is no pod. Raises UsageError where its files cannot be read."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (folder / "token").exists():
        return None
    return Access(
        name="in-cluster",
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ca=_file_text(folder / "ca.crt"),
        credentials=Credentials(token_file=folder / "token"),
    )


def _read_file(path: Path) -> Mapping[str, Any] | None:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"The kubeconfig {path} cannot be read.", why=reason(error)) from error
    if len(text) > MAX_BYTES:
        raise UsageError(f"The kubeconfig {path} is larger than {MAX_BYTES} octets.")
    try:
        tree = yaml.load(text, _LOADER)  # noqa: S506  # one of the safe loaders
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise UsageError(  # the parser's own words would repeat the line, and a token may stand in it
            f"The kubeconfig {path} is no YAML{where}.", next_step="See: kubectl config view"
        ) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UsageError(f"The kubeconfig {path} is not a mapping.", next_step="See: kubectl config view")
    return tree


def _entries(tree: Mapping[str, Any], kind: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    singular = kind.removesuffix("s")
    listed = tree.get(kind) or []
    if not isinstance(listed, list):
        raise UsageError(f"The kubeconfig {path} is damaged: {kind} is not a list.")
    for item in listed:
        values = item.get(singular) if isinstance(item, dict) else None
        if isinstance(item, dict) and isinstance(item.get("name"), str) and isinstance(values or {}, dict):
            yield item["name"], values or {}
        else:
            raise UsageError(f"The kubeconfig {path} is damaged: an entry of {kind} has no name or no {singular}.")


def _part(entries: Mapping[str, Entry], name: str, kind: str, context: str) -> Entry:
    if name not in entries:
        raise UsageError(
            f"The context {context} names {kind} {name or '(none)'}, which is not in the kubeconfig.",
            why=f"Known: {', '.join(sorted(entries)) or 'none'}.",
            next_step="See: kubectl config view",
        )
    return entries[name]


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""


def _server(cluster: Entry, context: str) -> str:
    server = _text(cluster.values, "server").rstrip("/")
    if server and "://" not in server:
        server = f"http://{server}"  # as client-go does
    try:
        parts = urlsplit(server)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            f"The cluster of context {context} has no server that can be asked: {server or 'none'}.",
            why="It must be a URL: https://HOST:PORT.",
            next_step="Correct it: kubectl config set-cluster NAME --server=https://HOST:6443",
        )
    return server


def _credentials(user: Entry, cluster: Entry, name: str) -> Credentials:
    values = user.values
    if "auth-provider" in values:
        raise UsageError(
            f"The user {name} of the kubeconfig signs in by auth-provider, which Kubernetes removed in 1.26.",
            next_step="Use an exec plugin: its vendor's command writes one into the kubeconfig.",
        )
    certificate, key = _pem(user, "client-certificate"), _pem(user, "client-key")
    if bool(certificate) != bool(key):
        lacking = "client-key" if certificate else "client-certificate"
        raise UsageError(f"The user {name} of the kubeconfig has no {lacking} to go with the other half.")
    token_file = _text(values, "tokenFile")
    return Credentials(
        token=_text(values, "token"),
        token_file=user.folder / token_file if token_file else None,
        certificate=certificate,
        key=key,
        username=_text(values, "username"),
        password=_text(values, "password"),
        plugin=_plugin(user, cluster, name),
        impersonate=dict(_impersonation(values)),
    )


def _plugin(user: Entry, cluster: Entry, name: str) -> ExecPlugin | None:
    values = user.values.get("exec")
    if not isinstance(values, dict):
        return None
    version, command = _text(values, "apiVersion"), _text(values, "command")
    mode = _text(values, "interactiveMode") or ("IfAvailable" if version != EXEC_VERSIONS[0] else "")
    wrong = (
        f"its apiVersion is {version or 'missing'}; known: {', '.join(EXEC_VERSIONS)}"
        if version not in EXEC_VERSIONS
        else "it has no command"
        if not command
        else f"its interactiveMode is {mode or 'missing'}; known: {', '.join(INTERACTIVE_MODES)}"
        if mode not in INTERACTIVE_MODES
        else ""
    )
    if wrong:
        raise UsageError(
            f"The exec plugin of user {name} in the kubeconfig cannot be used.",
            why=f"{wrong[0].upper()}{wrong[1:]}.",
            next_step="Have its vendor's command write it anew, or correct the kubeconfig.",
        )
    if os.sep in command and not os.path.isabs(command):
        command = str(user.folder / command)
    env = values.get("env") or []
    extensions = cluster.values.get("extensions") or []
    return ExecPlugin(
        api_version=version,
        command=command,
        args=tuple(str(each) for each in values.get("args") or ()),
        env={str(each.get("name", "")): str(each.get("value", "")) for each in env if isinstance(each, dict)},
        install_hint=_text(values, "installHint"),
        provide_cluster_info=values.get("provideClusterInfo") is True,
        interactive_mode=mode,
        config=next(
            (
                each.get("extension")
                for each in extensions
                if isinstance(each, dict) and each.get("name") == "client.authentication.k8s.io/exec"
            ),
            None,
        ),
    )


def _impersonation(values: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Headers as in `k8s.io/client-go/transport`."""
    for key, header in (("as", "Impersonate-User"), ("as-uid", "Impersonate-Uid")):
        if _text(values, key):
            yield header, (_text(values, key),)
    if groups := values.get("as-groups"):
        yield "Impersonate-Group", tuple(map(str, groups))
    for key, texts in (values.get("as-user-extra") or {}).items():
        yield f"Impersonate-Extra-{key}", tuple(map(str, texts))


def _pem(entry: Entry, key: str) -> str:
    """Inline data, else the file's content, else nothing."""
    data, path = _text(entry.values, f"{key}-data"), _text(entry.values, key)
    if data:
        try:
            return base64.b64decode(data, validate=False).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            raise UsageError(
                f"The kubeconfig's {key}-data is damaged.",
                why="It is not base64 of a PEM text.",
                next_step="Write it anew: kubectl config set-cluster or set-credentials, with --embed-certs",
            ) from None
    return _file_text(entry.folder / path) if path else ""


def _file_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("ascii")
    except OSError as error:
        raise UsageError(
            f"The kubeconfig names {path}, which cannot be read.",
            why=reason(error),
            next_step="See: kubectl config view",
        ) from error
    except UnicodeDecodeError:
        raise UsageError(f"The kubeconfig names {path}, which is no PEM text.") from None
