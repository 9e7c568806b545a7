"""kubeconfig files, merged as kubectl merges them, and what one context of them comes down to.

After client-go's `tools/clientcmd`: the first file that sets a value or a name wins, inline data goes before files,
relative paths start at the file that names them.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import yaml

from devlink.cluster.access import Access, Credentials, ExecPlugin
from devlink.cluster.entries import MAX_BYTES, VIEW, Entry, file_text, flag, mapping, pem, text, texts
from devlink.core.text import printable
from devlink.errors import UsageError, reason

EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
INTERACTIVE_MODES = ("Never", "IfAvailable", "Always")
HEADER_NAME = "!#$&'*+-.^_`|~"
"""What a header's name may have beside letters and digits (RFC 9110 section 5.6.2), without the `%` of escapes."""
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its own account."""
SET = "KUBECONFIG names the files: set it to the right ones"
CORRECT = "Correct the file, or have whoever made it write it anew; kubectl config view says what kubectl makes of it"
PROXY_SCHEMES = ("http", "https", "socks5")
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]  # its base is one of two
    """Safe, and `2026-11-20` is a text, as to kubectl: a context may be called so."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {
        first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
        for first, known in _BASE.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubeconfig:
    """All files as one."""

    tried: tuple[Path, ...]
    """Those that were looked for, in their order."""
    files: tuple[Path, ...]
    """Those of them that are there."""
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
    tried = paths(environ)
    for path in tried:
        tree = _read_file(path)
        if tree is None:
            continue
        files.append(path)
        current = current or text(tree, "current-context")
        for kind, entries in found.items():
            for name, values in _entries(tree, kind, path):
                entries.setdefault(name, Entry(values=values, folder=path.absolute().parent))
    return Kubeconfig(tried=tried, files=tuple(files), current=current, **found)


def access_of(config: Kubeconfig, context: str | None) -> Access:
    """What a context (None: the current one) says of its cluster and its user.

    Raises UsageError: no file, no such context, a part missing, a file that cannot be read, what is not supported.
    """
    name = context or config.current
    if not config.files:
        raise UsageError(
            "There is no kubeconfig.",
            why=f"Looked for {', '.join(map(str, config.tried)) or 'KUBECONFIG and HOME, which are not set'}.",
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
    cluster = _part(config.clusters, text(chosen, "cluster"), "cluster", name)
    wanted_user = text(chosen, "user")
    user = _part(config.users, wanted_user, "user", name) if wanted_user else Entry(values={}, folder=Path())
    server = _server(cluster, name)
    in_the_clear = server.startswith("http://")
    insecure, ca = flag(cluster.values, "insecure-skip-tls-verify"), pem(cluster, "certificate-authority")
    if insecure and ca and not in_the_clear:
        raise UsageError(
            f"The cluster of context {name} has a CA, and says that nothing is checked with it; kubectl refuses that.",
            next_step="Take insecure-skip-tls-verify out: kubectl config unset clusters.NAME.insecure-skip-tls-verify",
        )
    return Access(
        name=name,
        server=server,
        ca=ca or None,
        server_name=text(cluster.values, "tls-server-name"),
        insecure=in_the_clear or insecure,
        proxy=_proxy(cluster, name),
        # As client-go: what is sent in the clear is no place for a credential (`kubectl proxy` needs none).
        credentials=Credentials(impersonate=_impersonation(user.values, wanted_user))
        if in_the_clear
        else _credentials(user, cluster, wanted_user),
        namespace=text(chosen, "namespace"),
    )


def in_cluster_access(environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Access | None:
    """What a pod's own account may do; None where this is no pod. Raises UsageError where its files cannot be read."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (folder / "token").exists():
        return None
    return Access(
        name="in-cluster",
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ca=file_text(folder / "ca.crt"),
        credentials=Credentials(token_file=folder / "token"),
    )


def _read_file(path: Path) -> Mapping[str, Any] | None:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(
            f"The kubeconfig {path} cannot be read.", why=reason(error), next_step=f"Look at it: ls -ld {path}; {SET}"
        ) from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"The kubeconfig {path} is larger than {MAX_BYTES} octets.", next_step=SET)
    try:
        tree = yaml.load(content, _Loader)  # noqa: S506  # a safe one
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise UsageError(  # the parser's own words would repeat the line, and a token may stand in it
            f"The kubeconfig {path} is no YAML{where}.", next_step=VIEW
        ) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or tree.get("kind") not in (None, "", "Config"):
        raise UsageError(f"The kubeconfig {path} is something else: its kind is not Config.", next_step=VIEW)
    return tree


def _entries(tree: Mapping[str, Any], kind: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    singular = kind.removesuffix("s")
    listed = tree.get(kind) or []
    if not isinstance(listed, list):
        raise UsageError(f"The kubeconfig {path} is damaged: {kind} is not a list.", next_step=CORRECT)
    seen = set()
    for item in listed:
        values = (item.get(singular) or {}) if isinstance(item, dict) else None
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not isinstance(values, dict):
            raise UsageError(
                f"The kubeconfig {path} is damaged: an entry of {kind} has no name or no {singular}.", next_step=CORRECT
            )
        if name in seen:  # kubectl refuses the file too: which one is meant?
            raise UsageError(
                f"The kubeconfig {path} has two {kind} of the name {name}.",
                next_step=f"Take one out: kubectl config delete-{singular} {name}",
            )
        seen.add(name)
        yield name, values


def _part(entries: Mapping[str, Entry], name: str, kind: str, context: str) -> Entry:
    if name not in entries:
        raise UsageError(
            f"The context {context} names {kind} {name or '(none)'}, which is not in the kubeconfig.",
            why=f"Known: {', '.join(sorted(entries)) or 'none'}.",
            next_step=VIEW,
        )
    return entries[name]


def _server(cluster: Entry, context: str) -> str:
    server = text(cluster.values, "server")
    if server and "://" not in server:
        server = f"http://{server}"  # as client-go does
    correct = "Correct it: kubectl config set-cluster NAME --server=https://HOST:6443"
    try:
        parts = urlsplit(server)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not server.isprintable() or " " in server:
        shown = printable(server).rpartition("@")[2] or "none"
        raise UsageError(
            f"The cluster of context {context} has no server that can be asked: {shown}.",
            why="It must be a URL: https://HOST:PORT.",
            next_step=correct,
        )
    if parts.username is not None:
        raise UsageError(
            f"The cluster of context {context} has a name or password in its server's URL.",
            why="It would show up in messages; credentials belong to the user.",
            next_step=correct,
        )
    return parts._replace(query="", fragment="", path=parts.path.rstrip("/")).geturl()


def _proxy(cluster: Entry, context: str) -> str:
    proxy = text(cluster.values, "proxy-url")
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if proxy and not usable:
        raise UsageError(
            f"The proxy-url of context {context} in the kubeconfig cannot be used.",  # it may hold a password
            why=f"It must be a URL with one of the schemes {', '.join(PROXY_SCHEMES)}.",
            next_step="Correct it: kubectl config set-cluster NAME --proxy-url=http://HOST:PORT",
        )
    return proxy


def _credentials(user: Entry, cluster: Entry, name: str) -> Credentials:
    values = user.values
    if mapping(values, "auth-provider"):
        raise UsageError(
            f"The user {name} of the kubeconfig signs in by auth-provider, which Kubernetes removed in 1.26.",
            next_step="Use an exec plugin: its vendor's command writes one into the kubeconfig.",
        )
    certificate, key = pem(user, "client-certificate"), pem(user, "client-key")
    if bool(certificate) != bool(key):
        lacking = "client-key" if certificate else "client-certificate"
        raise UsageError(
            f"The user {name} of the kubeconfig has no {lacking} to go with the other half.",
            next_step=f"Add it: kubectl config set-credentials {name} --{lacking}=FILE --embed-certs",
        )
    token, token_file = text(values, "token"), text(values, "tokenFile")
    username = text(values, "username")
    if token and username:
        raise UsageError(
            f"The user {name} of the kubeconfig has both a token and a username; kubectl takes neither then.",
            next_step=VIEW,
        )
    plugin = _plugin(user, cluster, name)
    return Credentials(
        token=token,
        token_file=user.folder / token_file if token_file else None,
        certificate=certificate,
        key=key,
        username=username,
        password=text(values, "password"),
        # As client-go: who has something of his own to show asks no program.
        plugin=None if token or token_file or username or certificate else plugin,
        impersonate=_impersonation(values, name),
    )


def _plugin(user: Entry, cluster: Entry, name: str) -> ExecPlugin | None:
    values = mapping(user.values, "exec")
    if not values:
        return None
    version, command = text(values, "apiVersion"), text(values, "command")
    mode = text(values, "interactiveMode") or ("IfAvailable" if version != EXEC_VERSIONS[0] else "")
    env = values.get("env") or []
    wrong = (
        f"its apiVersion is {version or 'missing'}; known: {', '.join(EXEC_VERSIONS)}"
        if version not in EXEC_VERSIONS
        else "it has no command"
        if not command
        else f"its interactiveMode is {mode or 'missing'}; known: {', '.join(INTERACTIVE_MODES)}"
        if mode not in INTERACTIVE_MODES
        else "an entry of its env has no name"
        if not isinstance(env, list) or not all(isinstance(each, dict) and each.get("name") for each in env)
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
    extensions = cluster.values.get("extensions")
    return ExecPlugin(
        api_version=version,
        command=command,
        args=texts(values, "args"),
        env={text(each, "name"): text(each, "value") for each in env},
        install_hint=text(values, "installHint"),
        provide_cluster_info=flag(values, "provideClusterInfo"),
        interactive_mode=mode,
        config=next(
            (
                each.get("extension")
                for each in (extensions if isinstance(extensions, list) else ())
                if isinstance(each, dict) and each.get("name") == "client.authentication.k8s.io/exec"
            ),
            None,
        ),
    )


def _impersonation(values: Mapping[str, Any], name: str) -> Mapping[str, tuple[str, ...]]:
    """Headers as in `k8s.io/client-go/transport`."""
    person, uid = text(values, "as"), text(values, "as-uid")
    extra = mapping(values, "as-user-extra")
    found = {
        "Impersonate-User": (person,) if person else (),
        "Impersonate-Uid": (uid,) if uid else (),
        "Impersonate-Group": texts(values, "as-groups"),
        # letters that a header's name cannot carry are escaped; the API undoes it
        **{f"Impersonate-Extra-{quote(str(key), safe=HEADER_NAME)}": texts(extra, key) for key in extra},
    }
    found = {header: texts for header, texts in found.items() if texts}
    if found and not person:
        raise UsageError(
            f"The user {name} of the kubeconfig acts with another's groups, but as nobody: `as` is missing.",
            next_step=VIEW,
        )
    if not all(text.isprintable() for texts in found.values() for text in texts):
        raise UsageError(
            f"The user {name} of the kubeconfig acts as somebody whose name no header can carry.",
            next_step=f"Correct what it says beside `as`. {VIEW}",
        )
    return found
