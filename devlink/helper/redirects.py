"""What leads programs to relays, kept in the kernel: our link, to which their routes lead, and the nftables table."""

import ipaddress
import logging
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError, reason
from devlink.helper.listeners import LOOPBACK
from devlink.kernel.nft import Nft
from devlink.kernel.redirect import TABLE, Relayed, ruleset
from devlink.kernel.tun import Hold, SharedTun

log = logging.getLogger(__name__)

ADDRESSES: dict[int, IPAddress] = {
    4: ipaddress.ip_address("169.254.53.55"),
    6: ipaddress.ip_address("fd00:5353::55"),
}
"""The source of what is redirected, by IP version: the link's own, and no server of names."""
PROOF_LIMIT = 1.0
"""Seconds for a connection to oneself, which takes microseconds."""
PROOF_TRY = 0.1
_COUNTED = re.compile(r"counter refused-(\d+) \{\s*packets (\d+)")


class Redirects:
    """Those of all sessions together. Blocking; one call at a time. Every method but `close` raises HelperError."""

    def __init__(self, link: SharedTun, forwarder_uid: Callable[[], int]) -> None:
        """`forwarder_uid`: whose program asks the listeners for names."""
        self._link, self._forwarder_uid = link, forwarder_uid
        self._hold: Hold | None = None
        self._nft: Nft | None = None
        self._loaded: tuple[Relayed, ...] = ()
        self._proved: set[IPAddress] = set()
        """Those addresses of the link from which connections arrive."""
        self._counted: Counter[str] = Counter()
        """By session, what was refused under earlier tables."""

    def widen(self, target: tuple[Relayed, ...]) -> None:
        """Have what shall be redirected, and what was until now: before the routes change."""
        if not target and not self._loaded:
            return
        self._have_link(target + self._loaded)
        before = {each.session: each for each in self._loaded}
        both = [_with_those_of(each, before.pop(each.session, None)) for each in target]
        self._load((*both, *before.values()))

    def settle(self, target: tuple[Relayed, ...]) -> None:
        """Have just this: once the routes are as they shall be."""
        if not target:
            self.close()
            return
        self._load(target)
        self._have_link(target)

    def mend(self) -> bool:
        """Put back what others took away: the link, which an administrator may delete, and the table. Whether
        something was gone."""
        if not self._loaded:
            return False
        is_link_gone = self._hold is None or not self._hold.exists()
        if is_link_gone:
            self._have_link(self._loaded)
        try:
            self._read()
        except HelperError:
            log.warning("the table inet %s is gone, and made anew", TABLE)
            self._renew()
            return True
        return is_link_gone

    def _renew(self) -> None:
        loaded, old = self._loaded, self._nft
        self._loaded, self._nft = (), None
        if old is not None:
            old.close()
        try:
            self._load(loaded)
        finally:
            self._loaded = loaded  # the next look tries again

    def refused(self, session: str) -> int:
        """How many packets of a session were refused because they were no TCP."""
        return (self._counted + self._read())[session]

    def close(self) -> None:
        """Redirect nothing any more. May be repeated."""
        if self._nft is not None:
            self._nft.close()
            log.info("nft delete table inet %s", TABLE)
        if self._hold is not None:
            self._hold.close()
        self._nft = self._hold = None
        self._loaded, self._proved, self._counted = (), set(), Counter()

    def _have_link(self, relayed: Iterable[Relayed]) -> None:
        addresses = {ADDRESSES[version] for each in relayed for version in each.ports}
        if self._hold is None or not self._hold.exists():
            if self._hold is not None:
                self._hold.close()
            self._hold = self._link.hold(known=False)
        self._hold.set_addresses(addresses)
        for address in addresses - self._proved:
            _prove_loopback(address)
        self._proved = addresses

    def _load(self, relayed: tuple[Relayed, ...]) -> None:
        if relayed == self._loaded:
            return
        body = ruleset(relayed, forwarder_uid=self._forwarder_uid())
        table = f"table inet {TABLE} {{\nflags owner;\n{body}}}"
        if self._nft is None:
            nft = Nft(_cannot)
            try:
                # Fails where there is one: it would be somebody else's, as ours ends with its owner.
                nft.run(f"create table inet {TABLE} {{\nflags owner;\n}}\n{table}")
            except HelperError as error:
                nft.close()
                raise _taken() if "File exists" in error.why or "not permitted" in error.why else error from None
            self._nft = nft
        else:
            self._counted += self._read()
            # One transaction: no packet meets a moment without it, and a chain of type nat is always there.
            self._nft.run(f"delete table inet {TABLE}\n{table}")
        self._loaded = relayed
        log.info("nft table inet %s: %s", TABLE, "; ".join(map(_described, relayed)))

    def _read(self) -> Counter[str]:
        if self._nft is None:
            if self._loaded:
                raise _cannot("Its table is not there any more.")
            return Counter()
        found = _COUNTED.findall(self._nft.run(f"list counters table inet {TABLE}"))
        if len(found) != len(self._loaded):
            raise _cannot("Its table is not there any more.")
        return Counter({self._loaded[int(number)].session: int(packets) for number, packets in found})


def _with_those_of(each: Relayed, before: Relayed | None) -> Relayed:
    if before is None or each.destinations == before.destinations:
        return each
    return Relayed(
        session=each.session,
        uid=each.uid,
        destinations=tuple(dict.fromkeys((*each.destinations, *before.destinations))),
        ports={**before.ports, **each.ports},
        names_port=each.names_port or before.names_port,
        entrances=each.entrances or before.entrances,
    )


def _described(each: Relayed) -> str:
    what = ", ".join(map(str, each.destinations[:3])) + (" ..." if len(each.destinations) > 3 else "")
    return f"{each.session} of uid {each.uid}: {what or 'drains'}"


def _prove_loopback(address: IPAddress) -> None:
    """Raise HelperError unless what is redirected can arrive: a firewall may drop it, and programs would just wait."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    there = LOOPBACK[address.version]
    deadline = time.monotonic() + PROOF_LIMIT
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.bind((str(there), 0))
            listener.listen()
            while not _connects(address, listener):
                if time.monotonic() > deadline:
                    raise TimeoutError
    except OSError as error:
        raise HelperError(
            f"What is redirected to a relay does not arrive: {address} cannot connect to {there} on this machine.",
            why="A firewall drops what goes by the interface lo." if isinstance(error, TimeoutError) else reason(error),
            next_step="Let it pass: nft list ruleset, chains with `hook input` or `hook output`; "
            "a rule `iifname lo accept` is what firewalld and ufw have.",
        ) from error


def _connects(address: IPAddress, listener: socket.socket) -> bool:
    """Tried more than once: of an IPv6 address that is new, the kernel makes the local route a little later."""
    with socket.socket(listener.family, socket.SOCK_STREAM) as sock:
        sock.settimeout(PROOF_TRY)
        sock.bind((str(address), 0))
        try:
            sock.connect(listener.getsockname())
        except TimeoutError:
            return False
        return True


def _taken() -> HelperError:
    return HelperError(
        f"The nftables table `inet {TABLE}` is there already, and it is not this helper's.",
        why="devlink's own ends with its process, so another program has made this one.",
        next_step=f"See `nft list table inet {TABLE}`; if nobody needs it: nft delete table inet {TABLE}",
    )


def _cannot(why: str) -> HelperError:
    return HelperError(
        "TCP cannot be redirected to a relay on this machine.",
        why=why,
        next_step="It takes the library libnftables (package libnftables1), and Linux 5.12 or later with nftables, "
        "its NAT and tables that have an owner.",
    )
