"""How the command line reaches the agent: its socket, and starting one where there is none."""

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from devlink import run
from devlink.agent.places import agent_socket, log_file, runtime_folder
from devlink.errors import HelperError, ProtocolError, UnexpectedError, UsageError
from devlink.rpc.client import Client

START_LIMIT = 10.0
"""Seconds for a new agent to answer."""
GREETING_LIMIT = 10.0
"""Seconds for an agent to say its version: one that starts takes over first what it finds."""


def caller_environment() -> Mapping[str, str]:
    """This process's environment for the agent's verbs, as it means the same to the agent, which works elsewhere."""
    environ = dict(os.environ)
    files = environ.get("KUBECONFIG", "").split(os.pathsep)
    if any(files):
        environ["KUBECONFIG"] = os.pathsep.join(os.path.abspath(file) for file in files if file)
    return environ


def connect(*, timeout: float | None = 60.0, greeting: float | None = None) -> Client | None:
    """A connection to the running agent, or None where none runs. `timeout` (seconds) bounds each wait on it.

    Raises TimeoutError for one that is there and does not answer within `greeting` seconds (None: GREETING_LIMIT).
    """
    client, _ = _greet(greeting)
    if client is not None:
        client.bound(timeout)
    return client


def connect_or_start(*, timeout: float | None = 60.0) -> Client:
    """A connection to the running agent, else to a new one, checked for its version. Raises as `connect` does."""
    client, version = _greet()
    if client is None and _start_service():
        client, version = _greet()
    if client is None:
        path = log_file()
        child = _start(path)
        deadline = time.monotonic() + START_LIMIT
        while client is None:
            client, version = _greet()
            if client is None and (child.poll() not in (None, 0) or time.monotonic() > deadline):
                raise UnexpectedError("The agent does not start.", why=_last_line(path), next_step=f"Its log: {path}")
            if client is None and child.poll() == 0:  # it met one that was about to end
                child = _start(path)
            time.sleep(0.005)
    try:
        _check_version(version)
    except BaseException:
        client.close()
        raise
    client.bound(timeout)
    return client


def _greet(limit: float | None = None) -> tuple[Client | None, str]:
    """A connection to the running agent, with its version."""
    try:
        client = Client.connect(agent_socket(), timeout=GREETING_LIMIT if limit is None else limit)
    except (FileNotFoundError, ConnectionRefusedError):
        return None, ""
    except TimeoutError:
        raise
    except OSError as error:
        raise UnexpectedError(f"The agent's socket cannot be used: {error.strerror}: {agent_socket()}.") from error
    try:
        return client, str(client.call("org.varlink.service.GetInfo").get("version", ""))
    except ProtocolError:  # it was about to end
        client.close()
        return None, ""
    except BaseException:
        client.close()
        raise


def replace_agent() -> str:
    """How the running agent becomes that of the installed version."""
    from devlink.service.user import RESTART, is_managed  # who only looks need not wait for what it imports

    if is_managed():
        return f"What is up stays up: {RESTART}"
    return "Take everything down with it (devlink down --all), and bring it up again."


def _check_version(running: str) -> None:
    from devlink import __version__

    if running != __version__:
        raise HelperError(
            f"The running agent is version {running}, this command is {__version__}.",
            next_step=replace_agent(),
        )


def _start_service() -> bool:
    """Have the user's manager start the agent, where it is its service. Whether it runs then."""
    from devlink.service.user import is_managed, start

    return is_managed() and start()


def _start(log: Path) -> "subprocess.Popen[bytes]":
    try:
        runtime_folder().mkdir(exist_ok=True, mode=0o700)
        log.parent.mkdir(parents=True, exist_ok=True)
        out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            "The agent has no place for its socket or its log.",
            why=f"{error.filename}: {error.strerror}.",
            next_step="See that XDG_RUNTIME_DIR and XDG_STATE_HOME (else HOME) name folders of yours.",
        ) from error
    try:
        return subprocess.Popen(
            run.argv("devlink.agent"),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd="/",
            env={**os.environ},
        )
    finally:
        os.close(out)


def _last_line(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip().splitlines()[-1]
    except (OSError, IndexError):
        return ""
