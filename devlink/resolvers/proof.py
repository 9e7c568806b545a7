"""Prove that names reach the forwarder the way that every program takes: through libc."""

import ipaddress
import subprocess
import time
from pathlib import Path

from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress
from devlink.errors import VerificationError
from devlink.resolvers.reading import NSSWITCH_CONF, RESOLV_CONF


def prove(name: DomainName, address: IPAddress, timeout: float, *, service: str = "") -> None:
    """Look `name` up through libc in a child, within `timeout` seconds; `address` must be the one answer.

    With `service` by this nsswitch service alone (`dns`), instead of the machine's own order.

    A child, since libc reads its configuration once in a process. Raises VerificationError with what was seen.
    """
    deadline = time.monotonic() + timeout
    # With the final dot, libc's search list cannot make another name of it.
    getent = ["getent", *(["-s", f"hosts:{service}"] if service else [])]
    commands = [[*getent, "ahostsv4" if address.version == 4 else "ahostsv6", f"{name}."]]
    # getent asks getaddrinfo(3) with AI_ADDRCONFIG, which hides a family that the machine has no address of; this one
    # asks gethostbyname2(3), by the same configuration.
    commands.append([*getent, "hosts", f"{name}."])
    for command in commands:
        run = _run(command, deadline - time.monotonic(), timeout)
        answers = {line.split()[0] for line in run.stdout.splitlines() if line.strip()}
        if answers:
            break
    if _addresses(answers) != {address}:
        said = f"said {', '.join(sorted(answers))}" if answers else "found nothing"
        if run.stderr.strip():
            said += f" ({run.stderr.strip()})"
        raise _failure(f"libc {said}, where {address} was expected", command)


def _run(command: list[str], left: float, timeout: float) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=max(left, 0.0), check=False
        )
    except subprocess.TimeoutExpired:
        raise _failure(f"libc gave no answer within {timeout:g} s", command) from None
    except OSError as error:
        raise VerificationError(
            "It could not be proved that names reach devlink's forwarder.",
            why=f"The program getent did not start: {error.strerror}.",
            next_step="Install getent (package libc-bin), then try again.",
        ) from error


def _addresses(answers: set[str]) -> set[IPAddress | None]:
    found: set[IPAddress | None] = set()
    for answer in answers:
        try:
            found.add(ipaddress.ip_address(answer))
        except ValueError:
            found.add(None)
    return found


def _failure(seen: str, command: list[str]) -> VerificationError:
    return VerificationError(
        "Names do not reach devlink's forwarder.",
        why=f"`{' '.join(command)}`: {seen}. {_lines(RESOLV_CONF, 'nameserver')} {_lines(NSSWITCH_CONF, 'hosts:')}",
        next_step="Let `dns` (or `resolve`) stand in the hosts line of /etc/nsswitch.conf, and see who writes "
        "/etc/resolv.conf; `devlink up --no-dns` goes without names.",
    )


def _lines(path: Path, keyword: str) -> str:
    try:
        with path.open(errors="replace") as file:
            found = [line.strip() for line in file.read(1 << 16).split("\n") if line.startswith(keyword)]
    except OSError as error:
        return f"{path}: {error.strerror}."
    return f"{path}: {'; '.join(found) or f'no {keyword} line'}."
