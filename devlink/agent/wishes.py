"""What is up, on disk: for an agent that is started again."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from devlink.agent.session import Wish
from devlink.core.codec import decode, encode
from devlink.core.plan import Detour
from devlink.private_files import write_private

log = logging.getLogger(__name__)

SET_ASIDE = "set-aside"
WAYS = ".ways"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptDetours:
    """Who carries a session's packets, where it is not whom the routes prefer."""

    detours: tuple[Detour, ...] = ()
    by_hand: tuple[Detour, ...] = ()
    """Those of them that their user chose."""


class KeptWishes:
    """The wishes of the sessions that are up, one file for each, in a folder of their user's alone; those of which
    nothing is installed at this moment in a folder in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._aside = folder / SET_ASIDE
        self._detours: dict[str, KeptDetours] = {}
        """As they are on disk, as far as it is known."""

    def keep(self, name: str, wish: Wish | None, *, is_set_aside: bool = False) -> None:
        """Note what is wanted of a session; None: nothing any more. `is_set_aside`: the helper has nothing of it."""
        path, other = self._folder / f"{name}.json", self._aside / f"{name}.json"
        if is_set_aside:
            path, other = other, path
        try:
            if wish is None:
                path.unlink(missing_ok=True)
                self.keep_detours(name, KeptDetours())
            else:
                write_private(path, json.dumps(encode(wish)))
            if other.exists():  # only now: a crash in between must not lose it
                other.unlink()
            if self._aside.is_dir() and not any(self._aside.iterdir()):
                self._aside.rmdir()
        except OSError as error:  # no reason to take a working session down
            log.error("an agent that is started again will not know of %s: %s", name, error)

    def read(self) -> dict[str, Wish]:
        """All that is noted, by name. What cannot be read is dropped."""
        return {**self._read(self._aside), **self._read(self._folder)}

    def is_set_aside(self, name: str) -> bool:
        """Whether the helper had nothing of it when it was noted."""
        return not (self._folder / f"{name}.json").exists() and (self._aside / f"{name}.json").exists()

    def keep_detours(self, name: str, detours: KeptDetours) -> None:
        """Note by whom a session's packets go: an agent that is started again shall not lead them elsewhere."""
        if self._detours.get(name) == detours:
            return
        path = self._folder / f"{name}{WAYS}"
        try:
            if detours == KeptDetours():
                path.unlink(missing_ok=True)
            else:
                write_private(path, json.dumps(encode(detours)))
            self._detours[name] = detours
        except OSError as error:
            log.error("an agent that is started again will not know who carries the packets of %s: %s", name, error)

    def detours(self, name: str) -> KeptDetours:
        """What is noted of that; nothing where it cannot be read."""
        path = self._folder / f"{name}{WAYS}"
        try:
            return decode(KeptDetours, json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return KeptDetours()
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read: %s", path, error)
            return KeptDetours()

    @staticmethod
    def _read(folder: Path) -> dict[str, Wish]:
        kept = {}
        for path in sorted(folder.glob("*.json")):
            try:
                kept[path.stem] = decode(Wish, json.loads(path.read_text("utf-8")))
            except (OSError, ValueError) as error:
                log.warning("%s cannot be read: %s", path, error)
                path.unlink(missing_ok=True)
        return kept
