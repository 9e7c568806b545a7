"""What is up, on disk: for an agent that is started again."""

import json
import logging
from pathlib import Path

from devlink.agent.session import Wish
from devlink.core.codec import decode, encode
from devlink.private_files import write_private

log = logging.getLogger(__name__)


class KeptWishes:
    """The wishes of the sessions that are up, one file for each, in a folder of their user's alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, name: str, wish: Wish | None) -> None:
        """Note what is wanted of a session; None: nothing any more."""
        path = self._folder / f"{name}.json"
        try:
            if wish is None:
                path.unlink(missing_ok=True)
                return
            write_private(path, json.dumps(encode(wish)))
        except OSError as error:  # no reason to take a working session down
            log.error("an agent that is started again will not know of %s: %s", name, error)

    def read(self) -> dict[str, Wish]:
        """All that is noted, by name. What cannot be read is dropped."""
        kept = {}
        for path in sorted(self._folder.glob("*.json")):
            try:
                kept[path.stem] = decode(Wish, json.loads(path.read_text("utf-8")))
            except (OSError, ValueError) as error:
                log.warning("%s cannot be read: %s", path, error)
                path.unlink(missing_ok=True)
        return kept
