"""Runs a kubeconfig's exec plugin: a program that prints credentials (client.authentication.k8s.io v1 and v1beta1)."""

import asyncio
import datetime
import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devlink.cluster.access import Access, Credentials, ExecPlugin
from devlink.errors import ClusterError, UsageError, reason

LIMIT = 15.0
"""Seconds for a program that asks nobody."""
LIMIT_AT_TERMINAL = 120.0
"""Seconds where a person may have to answer."""
MAX_OUTPUT = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Granted:
    credentials: Credentials
    expires: datetime.datetime | None
    """None: as long as this process lives, or until the API says 401."""


_granted: dict[str, _Granted] = {}
"""By plugin and cluster; in this process's memory only."""


async def credentials_of(
    access: Access, plugin: ExecPlugin, environ: Mapping[str, str], *, terminal: bool
) -> Credentials:
    """What the program grants, asked once until it expires. `terminal`: it may ask the person at this one.

    Raises UsageError where it cannot be run, ClusterError where it grants nothing.
    """
    key = _key(access, plugin)
    held = _granted.get(key)
    if held is None or (held.expires is not None and held.expires <= datetime.datetime.now(datetime.UTC)):
        printed = await _run(access, plugin, environ, terminal=terminal)
        held = _granted[key] = _parse(plugin, printed)
    return held.credentials


def forget(access: Access, plugin: ExecPlugin) -> None:
    """The API did not accept what it granted."""
    _granted.pop(_key(access, plugin), None)


def _key(access: Access, plugin: ExecPlugin) -> str:
    return repr((access.server, access.name, plugin))


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
            next_step=" ".join(plugin.install_hint.split())[:300] or f"Install {plugin.command}.",
        )
    limit = LIMIT_AT_TERMINAL if interactive else LIMIT
    environment = {**environ, **plugin.env, "KUBERNETES_EXEC_INFO": json.dumps(_request(access, plugin, interactive))}
    try:
        child = await asyncio.create_subprocess_exec(
            program,
            *plugin.args,
            stdin=None if interactive else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=sys.stderr if interactive else asyncio.subprocess.PIPE,
            env=environment,
            limit=MAX_OUTPUT,
            # One that asks at the terminal must stay in its foreground group.
            start_new_session=not interactive,
        )
    except OSError as error:
        raise UsageError(f"{program} cannot be run.", why=reason(error)) from error
    try:
        async with asyncio.timeout(limit):
            printed, said = await child.communicate()
    except TimeoutError:
        raise ClusterError(
            f"{plugin.command}, which signs in to {access.name}, does not end within {limit:g} s.",
            next_step="Run it by hand to see what it waits for: kubectl get --raw /version",
        ) from None
    finally:
        if child.returncode is None:
            _kill(child, group=not interactive)
            await asyncio.shield(child.wait())
    if child.returncode:
        last = (said or b"").decode("utf-8", "replace").strip().splitlines()[-1:] or ["It said nothing."]
        words = "".join(c if c.isprintable() else " " for c in last[0])[:300]
        raise ClusterError(
            f"{plugin.command} did not sign in to {access.name}: it ended with {child.returncode}.",
            why=words,
            next_step="Sign in by its own command, then try again.",
        )
    return printed


def _kill(child: asyncio.subprocess.Process, *, group: bool) -> None:
    try:
        if group:
            os.killpg(child.pid, signal.SIGKILL)  # what it started waits with it
        else:
            child.kill()
    except ProcessLookupError:
        pass


def _request(access: Access, plugin: ExecPlugin, interactive: bool) -> Mapping[str, Any]:
    """The ExecCredential that the program finds in KUBERNETES_EXEC_INFO."""
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.provide_cluster_info:
        import base64

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
    return {"kind": "ExecCredential", "apiVersion": plugin.api_version, "spec": spec}


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
    except (ValueError, KeyError, TypeError, AttributeError) as error:
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
