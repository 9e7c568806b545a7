"""Looks at how this machine resolves names: the files, the D-Bus services and the programs that the modes ask for."""

import logging
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from devlink.errors import HelperError
from devlink.resolvers.facts import Facts, Program, ResolvConfFile
from devlink.resolvers.managers.bus import SystemBus
from devlink.resolvers.mode import BusQuery, ResolverMode
from devlink.resolvers.programs import ENVIRONMENT, find_program
from devlink.resolvers.reading import read_text
from devlink.resolvers.resolv_conf import BACKUP_NAME, NAME, parse

log = logging.getLogger(__name__)

PROGRAM_LIMIT = 2.0
"""Seconds for `--version`."""
MAX_OUTPUT = 4096
OWNERS = ("systemd-resolved", "NetworkManager", "resolvconf")
"""Who may say in the leading comments that it writes the file; `resolvconf` is said by openresolv and by Debian's."""


def observe(modes: Iterable[type[ResolverMode]], root: Path = Path("/")) -> Facts:
    """Never raises: what cannot be seen is as what is not there, and is logged."""
    modes = tuple(modes)
    file = _file(root)
    return Facts(
        file=file,
        hosts=_hosts(root / "etc/nsswitch.conf"),
        services=_services(tuple(dict.fromkeys(query for mode in modes for query in mode.queries)), file),
        programs={
            name: program
            for name in dict.fromkeys(name for mode in modes for name in mode.programs)
            if (program := _program(name, root)) is not None
        },
    )


def _file(root: Path) -> ResolvConfFile:
    path = root / "etc" / NAME
    text = _text(path)
    if parse(text).is_ours and os.path.lexists(path.with_name(BACKUP_NAME)):
        path = path.with_name(BACKUP_NAME)
        text = _text(path)
    return ResolvConfFile(
        leads_to=os.path.realpath(path) if path.is_symlink() else "",
        content=parse(text),
        owner=owner_of(text),
    )


def owner_of(text: str) -> str:
    """Who writes a resolv.conf, by its leading comments: the first of them that names somebody counts.

    Debian's resolvconf names systemd-resolved in a later one, as what answers at 127.0.0.53.
    """
    for line in text.split("\n"):
        if not line.startswith(("#", ";")):
            break
        for name in OWNERS:
            if name in line:
                return name
    return ""


def _hosts(path: Path) -> tuple[str, ...]:
    for line in _text(path).split("\n"):
        database, separator, words = line.partition("#")[0].partition(":")
        if separator and database.strip() == "hosts":
            return tuple(re.findall(r"\[[^\]]*\]|[^\s\[]+", words))
    return ("files", "dns")  # nsswitch.conf(5), for glibc 2.33 and later


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except HelperError as error:
        log.warning("%s", error)
        return ""


def _services(queries: tuple[BusQuery, ...], file: ResolvConfFile) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    if not queries:
        return found
    try:
        with SystemBus() as bus:
            for query in queries:
                start = query.is_wanted(file)
                if not start and not bus.has(query.service):
                    continue
                try:
                    for name in query.properties:
                        value = bus.read(query.service, query.path, query.interface, name, start=start)
                        known = found.setdefault(query.service, {})
                        if value is not None:
                            known[f"{query.interface}.{name}"] = value
                except HelperError as error:
                    log.info("%s", error)
    except HelperError as error:
        log.info("%s", error)
    return found


def _program(name: str, root: Path) -> Program | None:
    path = find_program(name, root)
    if path is None:
        return None
    code, output = None, ""
    try:
        run = subprocess.run(
            [path, "--version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd="/",
            env=ENVIRONMENT,
            timeout=PROGRAM_LIMIT,
            check=False,
        )
        code, output = run.returncode, (run.stdout + run.stderr)[:MAX_OUTPUT].decode(errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        log.info("%s --version: %s", path, error)
    return Program(path=str(path), exit_code=code, output=output)
