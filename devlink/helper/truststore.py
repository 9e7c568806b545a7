"""The trust records on disk: ours, and those that configuration management drops."""

import json
import logging
from pathlib import Path

from devlink.core.codec import DecodeError, decode, encode
from devlink.core.trust import TrustRecord
from devlink.errors import HelperError, UsageError
from devlink.helper.store import remove, write_atomically

log = logging.getLogger(__name__)


class TrustStore:
    """Records by the profile's name."""

    def __init__(self, own: Path, configured: Path) -> None:
        """`own` is written by `put`; `configured` is only read, and wins."""
        self._own = own
        self._configured = configured

    def get(self, name: str) -> TrustRecord | None:
        """The record of a profile, or None. Raises HelperError where there is one that cannot be read."""
        return self._read(self._configured / f"{name}.json") or self._read(self._own / f"{name}.json")

    def all(self) -> tuple[TrustRecord, ...]:
        """All readable records, by name."""
        records = {}
        for folder in (self._own, self._configured):
            for path in sorted(folder.glob("*.json")):
                try:
                    record = self._read(path)
                except HelperError as error:
                    log.error("%s", error)
                    continue
                if record is not None:
                    records[record.name] = record
        return tuple(records[name] for name in sorted(records))

    def put(self, record: TrustRecord) -> None:
        """Write a record over any older one. Raises HelperError where the disk does not take it."""
        path = self._own / f"{record.name}.json"
        try:
            write_atomically(path, json.dumps(encode(record), indent=1) + "\n")
        except OSError as error:
            raise HelperError(
                f"The trust record {path} cannot be written.",
                why=f"{error.strerror}.",
                next_step="Make room on that disk, or mend its permissions.",
            ) from error

    def revoke(self, name: str) -> None:
        """Remove a record of ours. Raises UsageError where there is none to remove."""
        if (self._configured / f"{name}.json").exists():
            raise UsageError(
                f"The trust record of {name} is laid down in {self._configured}.",
                next_step="Remove it there, with the means that put it there.",
            )
        path = self._own / f"{name}.json"
        if not path.exists():
            raise UsageError(
                f"There is no trust record of {name}.", next_step="`devlink trust list` shows what there is."
            )
        remove(path)

    def _read(self, path: Path) -> TrustRecord | None:
        try:
            record = decode(TrustRecord, json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            why = "; ".join(str(f) for f in error.faults) if isinstance(error, DecodeError) else str(error)
            raise HelperError(
                f"The trust record {path} cannot be read.", why=f"{why}.", next_step=self._remedy(path)
            ) from error
        if record.name != path.stem:
            raise HelperError(
                f"The trust record {path} is for another profile, {record.name}.", next_step=self._remedy(path)
            )
        return record

    def _remedy(self, path: Path) -> str:
        if path.parent == self._configured:
            return "Mend it with the means that put it there."
        return "Run: devlink trust PROFILE"
