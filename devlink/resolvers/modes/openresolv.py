"""Mode `openresolv`: a record that excludes all others names the forwarder, by openresolv(8)."""

from typing import ClassVar

from devlink.resolvers.facts import Facts
from devlink.resolvers.managers.recorded import RecordedMode, is_debian
from devlink.resolvers.mode import Row
from devlink.resolvers.reading import read_text
from devlink.resolvers.resolv_conf import OPENRESOLV_MARK
from devlink.resolvers.resolvconf import OPENRESOLV, PROGRAM, exclusive_record


def _reason(facts: Facts) -> str:
    found = facts.programs.get(PROGRAM)
    if found is None or is_debian(found) or facts.file.owner != "resolvconf" or facts.file.leads_to:
        return ""
    return "openresolv writes resolv.conf"


class Openresolv(RecordedMode):
    """Its file is a plain one, which outlives a power cut, as its records in /run do not."""

    name: ClassVar[str] = OPENRESOLV
    rows: ClassVar[tuple[Row, ...]] = (Row(rank=40, reason=_reason),)
    folders: ClassVar[tuple[str, ...]] = ("run/resolvconf/interfaces", "run/resolvconf/keys")
    lock: ClassVar[str] = "run/resolvconf/lock"

    def is_programs_file(self) -> bool:
        """By the first line, as openresolv itself knows it."""
        return read_text(self._file).startswith(OPENRESOLV_MARK)

    def wanted_record(self) -> str:
        """The forwarder, and what the excluded records say."""
        return exclusive_record(self._nameserver, self.others())


MODE = Openresolv
