"""EXPERIMENTAL: how macOS is told of the forwarder: a file for each domain in /etc/resolver (resolver(5)). PURE.

Nothing here was ever run on macOS; docs/macos.md says what is missing. macOS splits by itself: it asks the server of
the file whose name is the longest domain that a name ends in. So it is no mode that is chosen from facts, as on Linux.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from devlink.core.names import DomainName
from devlink.core.prefixes import IPAddress
from devlink.errors import ConflictError

FOLDER = PurePosixPath("/etc/resolver")
MARK = "# Written by devlink: `devlink down` removes it.\n"
"""The first line of a file of ours."""
TIMEOUT = 5
"""Seconds that the forwarder is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChanges:
    """What is to be done in `FOLDER`, by the files' names."""

    write: Mapping[str, str]
    """Their text, new or anew; owned by root, mode 0644."""
    remove: tuple[str, ...]


def wanted(domains: Iterable[DomainName], nameserver: IPAddress, port: int) -> Mapping[str, str]:
    """The files that have the forwarder at `nameserver` and `port` asked for these domains, reverse zones among them.

    Any port will do: no other program's port 53 is in the way. The root domain would be the default resolver, and is
    left out.
    """
    text = f"{MARK}nameserver {nameserver}\nport {port}\ntimeout {TIMEOUT}\n"
    names = {str(domain) for domain in domains if domain.labels}
    return {name: text for name in sorted(names) if _is_file_name(name)}


def _is_file_name(name: str) -> bool:
    return "/" not in name and "\\" not in name and not name.startswith(".")


def changes(desired: Mapping[str, str], present: Mapping[str, str]) -> FileChanges:
    """What makes ours in the folder what is desired; `present` is all that is in it, by name.

    Raises ConflictError where a file that we did not write has the place of one. Others' files are never touched.
    """
    others = [name for name in desired if name in present and not present[name].startswith(MARK)]
    if others:
        raise ConflictError(
            f"Another program has {', '.join(others)} answered elsewhere.",
            why=f"{FOLDER / others[0]} is not devlink's.",
            next_step="Remove that program's file, or: devlink up --no-dns",
        )
    ours = [name for name, text in present.items() if text.startswith(MARK)]
    return FileChanges(
        write={name: text for name, text in desired.items() if present.get(name) != text},
        remove=tuple(name for name in ours if name not in desired),
    )
