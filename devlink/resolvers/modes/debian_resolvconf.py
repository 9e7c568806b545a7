"""Mode `debian-resolvconf`: a record that comes before all others names the forwarder, by Debian's resolvconf(8)."""

import os
from typing import ClassVar

from devlink.resolvers.facts import Facts
from devlink.resolvers.managers.recorded import RecordedMode, is_debian
from devlink.resolvers.mode import Row, Watched
from devlink.resolvers.resolv_conf import render_record
from devlink.resolvers.resolvconf import DEBIAN, INTERFACES, PROGRAM

MADE = "run/resolvconf/resolv.conf"
"""What /etc/resolv.conf leads to where the program is in charge."""


def _reason(facts: Facts) -> str:
    found = facts.programs.get(PROGRAM)
    if found is None or not is_debian(found) or facts.file.leads_to != f"/{MADE}":
        return ""
    return "Debian's resolvconf makes what /etc/resolv.conf leads to"


class DebianResolvconf(RecordedMode):
    """For where `direct` cannot write, as /etc is read-only: the file that resolv.conf leads to is below /run.

    Elsewhere `direct` comes first. This program names no server after a loopback one, so ours comes to stand alone;
    told otherwise, it would still name three at most, and the servers from before cannot stand where libc does not
    look: a container's copy of the file has no server then, and Docker puts public ones there.
    """

    name: ClassVar[str] = DEBIAN
    rows: ClassVar[tuple[Row, ...]] = (Row(rank=95, reason=_reason),)
    folders: ClassVar[tuple[str, ...]] = (INTERFACES,)
    lock: ClassVar[str] = "run/resolvconf/run-lock"

    def is_programs_file(self) -> bool:
        """By where it leads: a plain file in its place is not touched by the program."""
        return self._file.is_symlink() and os.path.realpath(self._file) == os.path.realpath(self._root / MADE)

    def wanted_record(self) -> str:
        """The forwarder alone: the other records keep their say in everything else."""
        return render_record([self._nameserver])

    def watched(self) -> Watched:
        """What is made, too."""
        found = super().watched()
        return Watched(files=(*found.files, self._root / MADE))


MODE = DebianResolvconf
