"""Which names are whose: the longest suffix over wire labels, claimed domains inside of longer names, namespaces.

A name comes as `wire.Query` has it: its octets, and where its labels begin.
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

from devlink.dns.wire import offsets_in

T = TypeVar("T")

_REVERSE = (b"\7in-addr\4arpa\0", b"\3ip6\4arpa\0")


class SuffixTable(Generic[T]):
    """Values by domain; a look-up finds the longest domain that a name is at or below. One dict for each length."""

    def __init__(self, entries: Iterable[tuple[bytes, T]]) -> None:
        """Domains as octets, lower-cased. Of two entries for one domain the first counts."""
        tables: dict[int, dict[bytes, T]] = {}
        for domain, value in entries:
            tables.setdefault(len(offsets_in(domain)), {}).setdefault(domain, value)
        self._tables = sorted(tables.items(), reverse=True)

    def find(self, octets: bytes, offsets: tuple[int, ...]) -> tuple[T, int] | None:
        """The value, and how many labels of the name come before the suffix; None if no domain holds the name."""
        count = len(offsets)
        for length, table in self._tables:
            before = count - length
            if before < 0:
                continue
            value = table.get(octets[offsets[before] :] if length else b"\0")
            if value is not None:
                return value, before
        return None


class ClaimedDomains:
    """Finds a claimed domain that stands before the end of a name: libc's search expansion made such names.

    `x.svc.cluster.local.corp.example` names a service of the cluster to whoever serves `corp.example`.
    """

    def __init__(self, suffixes: Iterable[bytes]) -> None:
        """Reverse zones are no claim: nobody types them, and libc expands no PTR question."""
        self._domains = tuple(
            (len(offsets_in(suffix)), suffix[:-1])
            for suffix in dict.fromkeys(suffixes)
            if suffix != b"\0" and not suffix.endswith(_REVERSE)
        )

    def stands_before_the_end(self, octets: bytes, offsets: tuple[int, ...], before: int) -> bool:
        """Whether some claimed domain lies wholly in the first `before` labels of the name.

        `before` is what stands before the matched suffix, or all of a name that matched none: a zone whose own suffix
        happens to contain another's domain keeps working.
        """
        for length, domain in self._domains:
            if domain in octets:  # nearly always all that there is to do
                for start in range(before - length + 1):
                    if octets.startswith(domain, offsets[start]):
                        return True
        return False


def label_at(octets: bytes, offsets: tuple[int, ...], index: int) -> bytes:
    """One label of the name, lower-cased, counted from the left."""
    at = offsets[index]
    return octets[at + 1 : at + 1 + octets[at]]


def is_excluded(octets: bytes, offsets: tuple[int, ...], before: int, namespaces: frozenset[bytes]) -> bool:
    """Whether a name of a zone is in a namespace outside of `namespaces`.

    `NAME.NAMESPACE.svc.SUFFIX` and `NAME.NAMESPACE.pod.SUFFIX`, or anything below (Kubernetes DNS specification 1.1.0,
    sections 2.3 to 2.5); `before` labels stand before the suffix.
    """
    if before < 2 or label_at(octets, offsets, before - 1) not in (b"svc", b"pod"):
        return False
    return label_at(octets, offsets, before - 2) not in namespaces
