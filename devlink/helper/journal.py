"""The undo journal: what we changed that carries no mark of its own, written before it is changed.

Routes need no line here: the kernel keeps our protocol number with each of them, set in the same instant as the route.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from devlink.core.codec import decode, encode
from devlink.core.prefixes import IPAddress
from devlink.helper.store import is_there, remove, write_atomically

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What must be undone."""

    resolver: str
    """The resolver mode that was, or was about to be, applied."""
    nameserver: IPAddress
    """The address that it was pointed at."""


class Journal:
    """One entry on disk, or none."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Entry | None:
        """The entry. One that cannot be read is as good as none, and is logged: the resolver's own file still tells."""
        try:
            return decode(Entry, json.loads(self.path.read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.error("the journal %s cannot be read: %s", self.path, error)
            return None

    @property
    def is_there(self) -> bool:
        """Whether there is something to clear: an entry, or what cannot be read as one."""
        return is_there(self.path)

    def write(self, entry: Entry) -> None:
        """Before the change. Raises OSError: then nothing must be changed."""
        write_atomically(self.path, json.dumps(encode(entry)) + "\n", mode=0o600)

    def clear(self) -> None:
        """After the undo."""
        remove(self.path)
