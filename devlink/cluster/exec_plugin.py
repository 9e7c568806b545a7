"""Runs a kubeconfig's exec plugin: a program that prints credentials (client.authentication.k8s.io v1 and v1beta1)."""

import asyncio
import base64
import dataclasses
import datetime
import hashlib
import json
import os
import re
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devlink.cluster.access import Access, Credentials, ExecPlugin
from devlink.errors import ClusterError, UsageError, reason

LIMIT = 15.0
"""Seconds for a program that asks nobody."""
LIMIT_AT_TERMINAL = 60.0
"""Seconds where a person may have to answer."""
MAX_OUTPUT = 1024 * 1024
MAX_GRANTED = 64
"""Grants that are kept; beyond that the oldest is asked for again."""
OF_THE_PLACE = re.compile(
    r"PWD|OLDPWD|SHLVL|_|COLUMNS|LINES|WINDOWID|DISPLAY|WAYLAND_DISPLAY|DESKTOP_STARTUP_ID|COLORTERM|(SSH|GPG)_TTY|"
    r"SSH_(CLIENT|CONNECTION)|STY|WINDOW|INVOCATION_ID|JOURNAL_STREAM|TERM|TERM(CAP|INFO|INAL_EMULATOR)|TMUX|"
    r"(TERM_PROGRAM|TERM_SESSION|TMUX_PANE|VTE|KITTY|ALACRITTY|WEZTERM|KONSOLE|GNOME_TERMINAL|XDG_SESSION|XDG_SEAT|"
    r"XDG_VTNR|XDG_ACTIVATION)(_.*)?"
)
"""Variables that say in which folder, terminal or window one is, and nothing of who one is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Granted:
    credentials: Credentials
    expires: datetime.datetime | None
    """None: as long as this process lives, or until the API says 401."""


_granted: dict[str, _Granted] = {}
"""By plugin, cluster and environment; in this process's memory only."""


class _SignInError(ClusterError):
    """The program ran, and gave nothing."""


def is_of_sign_in(error: Exception) -> bool:
    """Whether the API was not asked because a program that signs in did not."""
    return isinstance(error, _SignInError)


async def credentials_of(
    access: Access, plugin: ExecPlugin, environ: Mapping[str, str], *, terminal: bool
) -> Credentials:
    """What the program grants, asked once until it expires. `terminal`: it may ask the person at this one.

    Raises UsageError where it cannot be run, ClusterError where it grants nothing.
    """
    key = _key(access, plugin, environ)
    held = _granted.get(key)
    if held is None or _is_over(held):
        printed = await _run(access, plugin, environ, terminal=terminal)
        for old in [key for key, each in _granted.items() if _is_over(each)]:
            del _granted[old]
        while len(_granted) >= MAX_GRANTED:
            del _granted[next(iter(_granted))]
        held = _granted[key] = _parse(plugin, printed)
    return held.credentials


def forget(access: Access, plugin: ExecPlugin, environ: Mapping[str, str], refused: Credentials) -> None:
    """The API did not accept what it granted; what it may have granted since stays."""
    key = _key(access, plugin, environ)
    held = _granted.get(key)
    if held is not None and held.credentials == refused:
        del _granted[key]


def _is_over(granted: _Granted) -> bool:
    return granted.expires is not None and granted.expires <= datetime.datetime.now(datetime.UTC)


def _key(access: Access, plugin: ExecPlugin, environ: Mapping[str, str]) -> str:
    """A hash: an environment may hold secrets. It decides who one is (AWS_PROFILE and the like), but for the place.

    What is left in by mistake costs a question too many; what is left out by mistake would grant one's rights to
    another. So all counts but what is known to decide nothing.
    """
    deciding = sorted((name, value) for name, value in environ.items() if not OF_THE_PLACE.fullmatch(name))
    way = [getattr(plugin, each.name) for each in dataclasses.fields(plugin)]  # its repr leaves out what may be secret
    parts = (access.server, access.name, way, deciding)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


async def _run(access: Access, plugin: ExecPlugin, environ: Mapping[str, str], *, terminal: bool) -> bytes:
    interactive = terminal and plugin.interactive_mode != "Never"
    if plugin.interactive_mode == "Always" and not terminal:
        raise UsageError(
            f"{plugin.command} asks for something at the terminal, and here is none.",
            why=f"The kubeconfig says so for {access.name} (interactiveMode Always).",
            next_step="Fetch the profile where there is one, then bring it up: devlink profile fetch; devlink up",
        )
    program = shutil.which(plugin.command, path=environ.get("PATH", os.defpath))
    if program is None:
        raise UsageError(
            f"The program {plugin.command}, which signs in to {access.name}, is not there.",
            why="It is not on PATH, or cannot be run.",
            next_step=_words(plugin.install_hint) or f"Install {plugin.command}.",
        )
    limit = LIMIT_AT_TERMINAL if interactive else LIMIT
    environment = {**environ, **plugin.env, "KUBERNETES_EXEC_INFO": _request(access, plugin, interactive)}
    try:
        child = await asyncio.create_subprocess_exec(
            program,
            *plugin.args,
            stdin=None if interactive else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=None if interactive else asyncio.subprocess.PIPE,
            env=environment,
            # One that asks at the terminal must stay in its foreground group.
            start_new_session=not interactive,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
        raise UsageError(
            f"{program} cannot be run.", why=reason(error), next_step=f"Install it anew, or try it by hand: {program}"
        ) from error
    try:
        async with asyncio.timeout(limit):
            printed, said, _ = await asyncio.gather(_all_of(child.stdout), _all_of(child.stderr), child.wait())
    except TimeoutError:
        raise _SignInError(
            f"{plugin.command}, which signs in to {access.name}, does not end within {limit:g} s.",
            next_step="Run it by hand to see what it waits for: kubectl get --raw /version",
        ) from None
    finally:
        _end(child, group=not interactive)
        await asyncio.shield(child.wait())
    if child.returncode:
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise _SignInError(
            f"{plugin.command} did not sign in to {access.name}: it ended with {child.returncode}.",
            why=_words(last[0]) if last else "It said above why." if interactive else "It said nothing.",
            next_step="Sign in by its own command, then try again.",
        )
    if len(printed) > MAX_OUTPUT:
        raise _useless(plugin, f"it printed more than {MAX_OUTPUT} octets")
    return printed


async def _all_of(stream: asyncio.StreamReader | None) -> bytes:
    """What comes; of more than MAX_OUTPUT octets the last ones, and one more than that."""
    kept = b""
    while stream is not None and (part := await stream.read(65536)):
        kept = (kept + part)[-MAX_OUTPUT - 1 :]
    return kept


def _end(child: asyncio.subprocess.Process, *, group: bool) -> None:
    """Nothing that it started is left waiting, nor are its pipes. One that has ended well may leave a daemon."""
    if child.returncode is None:
        _kill(child, group=group)
    transport = getattr(child, "_transport", None)
    if transport is not None:
        transport.close()


def _kill(child: asyncio.subprocess.Process, *, group: bool) -> None:
    try:
        if group:
            os.killpg(child.pid, signal.SIGKILL)  # what it started waits with it
        else:
            child.kill()
    except ProcessLookupError:
        pass


def _request(access: Access, plugin: ExecPlugin, interactive: bool) -> str:
    """The ExecCredential that the program finds in KUBERNETES_EXEC_INFO."""
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.provide_cluster_info:
        cluster: dict[str, Any] = {"server": access.server}
        for key, value in (
            ("tls-server-name", access.server_name),
            ("insecure-skip-tls-verify", access.insecure),
            ("certificate-authority-data", base64.b64encode((access.ca or "").encode()).decode()),
            ("proxy-url", access.proxy),
            ("config", plugin.config),
        ):
            if value:
                cluster[key] = value
        spec["cluster"] = cluster
    tree = {"kind": "ExecCredential", "apiVersion": plugin.api_version, "spec": spec}
    try:
        return json.dumps(tree, default=str)
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(
            f"What the kubeconfig hands on to {plugin.command} is no JSON.",
            why=reason(error),
            next_step="Correct the cluster's extension client.authentication.k8s.io/exec: kubectl config view",
        ) from None


def _parse(plugin: ExecPlugin, printed: bytes) -> _Granted:
    """Raises ClusterError, which repeats nothing of it: it may be a secret."""
    try:
        tree = json.loads(printed)
        status = tree["status"]
        if tree["kind"] != "ExecCredential" or tree["apiVersion"] != plugin.api_version:
            raise _useless(plugin, f"its answer is not an ExecCredential of {plugin.api_version}")
        token = status.get("token") or ""
        certificate, key = status.get("clientCertificateData") or "", status.get("clientKeyData") or ""
        expires = _time(status["expirationTimestamp"]) if status.get("expirationTimestamp") else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _useless(plugin, f"its answer cannot be understood ({type(error).__name__})") from None
    if not all(isinstance(value, str) for value in (token, certificate, key)) or bool(certificate) != bool(key):
        raise _useless(plugin, "its answer has half a certificate, or something that is no text")
    if not token and not certificate:
        raise _useless(plugin, "its answer has neither a token nor a certificate")
    return _Granted(credentials=Credentials(token=token, certificate=certificate, key=key), expires=expires)


def _time(text: str) -> datetime.datetime:
    time = datetime.datetime.fromisoformat(text)
    return time if time.tzinfo is not None else time.replace(tzinfo=datetime.UTC)


def _useless(plugin: ExecPlugin, why: str) -> ClusterError:
    return ClusterError(
        f"{plugin.command} granted nothing that can be used.",
        why=f"{why[0].upper()}{why[1:]}.",
        next_step="Sign in by its own command, then try again.",
    )


def _words(text: str) -> str:
    """Fit for a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]
