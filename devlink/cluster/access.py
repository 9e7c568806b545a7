"""How a cluster's API is reached and as whom: what a kubeconfig's context, a login, a pod's account come down to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecPlugin:
    """A program that prints credentials (client.authentication.k8s.io/v1 and v1beta1, `users[].user.exec`)."""

    api_version: str
    command: str
    """A name for PATH, or an absolute path: one relative to the kubeconfig's folder is made so."""
    args: tuple[str, ...] = field(default=(), repr=False)
    """A secret may stand in them, as in `env`, `config` and a proxy's URL: no repr shows those."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the environment that the program gets."""
    install_hint: str = ""
    """What the kubeconfig tells a person who lacks the program."""
    provide_cluster_info: bool = False
    interactive_mode: str = "IfAvailable"
    """Never, IfAvailable or Always: whether the program gets the terminal."""
    config: Any = field(default=None, repr=False)
    """The cluster's extension `client.authentication.k8s.io/exec`, handed on as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who we are to the API. Empty: nobody (`system:anonymous`). No repr shows a secret."""

    token: str = field(default="", repr=False)
    token_file: Path | None = None
    """Read again for each request: others renew it. Goes before `token`."""
    certificate: str = ""
    """The client's certificates, PEM."""
    key: str = field(default="", repr=False)
    """The client's private key, PEM. Never written to a file of ours."""
    username: str = ""
    password: str = field(default="", repr=False)
    plugin: ExecPlugin | None = None
    impersonate: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Headers `Impersonate-...` with their values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One cluster's API, and who we are there."""

    name: str
    """What people call it: the context's name, the login's, or `in-cluster`."""
    server: str
    """https://HOST[:PORT][/PATH]"""
    ca: str | None = None
    """PEM certificates that the server's is checked with; None: the system's store."""
    server_name: str = ""
    """The name that the server's certificate is checked for, where it is not the URL's host (`tls-server-name`)."""
    insecure: bool = False
    """The server's certificate is not checked at all: what it says may be anyone's words."""
    proxy: str = field(default="", repr=False)
    """`proxy-url`: http, https or socks5. Empty: as HTTPS_PROXY and NO_PROXY of the environment say."""
    credentials: Credentials = field(default_factory=Credentials)
    namespace: str = ""
    """That commands without one mean: the context's, or a pod's own. Empty: `default`."""
