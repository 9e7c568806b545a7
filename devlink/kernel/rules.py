"""Policy rules (`ip rule`): their messages as octets and back, and those of ours added and deleted.

Numbers and layouts are those of linux/fib_rules.h and rtnetlink.h.
"""

import errno
import ipaddress
import logging
import socket
import struct
from collections.abc import Mapping

from devlink.core.network import Rule
from devlink.core.prefixes import IPNetwork
from devlink.errors import HelperError
from devlink.kernel.netlink import (
    FAMILIES,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NetlinkSocket,
    Request,
    attribute,
    attribute_u32,
    parse_attributes,
    u32,
)
from devlink.kernel.rtnetlink import RT_TABLE_COMPAT

log = logging.getLogger(__name__)

RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_GOTO, FRA_PRIORITY, FRA_FWMARK = 1, 2, 3, 4, 6, 10
FRA_TUN_ID, FRA_SUPPRESS_IFGROUP, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_FWMASK = 12, 13, 14, 15, 16
FRA_OIFNAME, FRA_L3MDEV, FRA_UID_RANGE, FRA_PROTOCOL, FRA_IP_PROTO = 17, 19, 20, 21, 22
FRA_SPORT_RANGE, FRA_DPORT_RANGE, FRA_DSCP, FRA_FLOWLABEL = 23, 24, 25, 26
FIB_RULE_INVERT = 0x2
FR_ACT_TO_TBL = 1
NO_PREFIX_LENGTH = 0xFFFFFFFF
"""What the kernel tells as FRA_SUPPRESS_PREFIXLEN of a rule that suppresses nothing."""
ALL_BITS = 0xFFFFFFFF
"""The mask of a rule that compares all of a packet's mark."""

ACTIONS = {FR_ACT_TO_TBL: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
"""`action` by number."""
_DONE = {"add": "added", "delete": "deleted"}
_NUMBERS = {name: number for number, name in ACTIONS.items()}
_OTHERS = {FRA_TUN_ID, FRA_L3MDEV, FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE, FRA_DSCP, FRA_FLOWLABEL}
"""What `Rule` has no word for."""

_FIB_RULE_HDR = struct.Struct("=8BI")
_UID_RANGE = struct.Struct("=II")


def add(rule: Rule) -> None:
    """Add `rule`, which must be ours; one that is there already, exactly the same, is fine. Raises HelperError."""
    _change("add", RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule, errno.EEXIST)


def delete(rule: Rule) -> None:
    """Delete `rule`, which must be ours, and no other's; one that is gone already is fine. Raises HelperError."""
    _change("delete", RTM_DELRULE, 0, rule, errno.ENOENT)


def _change(verb: str, kind: int, flags: int, rule: Rule, done_already: int) -> None:
    assert rule.is_ours
    try:
        with NetlinkSocket() as netlink:
            refusals = netlink.batch([Request(kind, flags, encode_rule(rule))])
    except OSError as error:
        number, text = error.errno, error.strerror or str(error)
    else:
        if not refusals:
            log.info("ip rule %s %s", verb, rule)
            return
        number, text = refusals[0]
    # A kernel without IPv6 has no rule of it to delete.
    if number == done_already or (kind == RTM_DELRULE and number in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP)):
        return
    next_step = "Try again; if it stays, see the helper's log."
    if number == errno.EPERM:
        next_step = "Run the helper with CAP_NET_ADMIN; the unit of the package does."
    raise HelperError(
        f"The policy rule {rule} could not be {_DONE[verb]}.",
        why=f"The kernel said: {text.rstrip('.')}.",
        next_step=next_step,
    )


def dump_rules(netlink: NetlinkSocket) -> tuple[Rule, ...]:
    """The rules of both families, anyone's, in the order in which the kernel asks them. Raises OSError."""
    found: list[Rule] = []
    for family in FAMILIES.values():
        try:
            bodies = netlink.dump(RTM_GETRULE, encode_rule_dump(family), RTM_NEWRULE)
        except OSError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):  # this kernel lacks the family, or all rules
                continue
            raise
        # A kernel without IPv6 answers a dump of it with what every family has.
        found += [decode_rule(body) for body in bodies if body[0] == family]
    return tuple(sorted(found, key=lambda rule: rule.priority))


def encode_rule_dump(family: int) -> bytes:
    """The body that asks for all rules of a family."""
    return _FIB_RULE_HDR.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)


def encode_rule(rule: Rule) -> bytes:
    """The body that adds `rule`, or deletes it and no other: the kernel compares whatever is named."""
    destination_length, destination = _network(FRA_DST, rule.destination)
    source_length, source = _network(FRA_SRC, rule.source)
    goto = rule.action == "goto"
    table = 0 if goto else rule.table if rule.table < 256 else RT_TABLE_COMPAT
    flags = FIB_RULE_INVERT if rule.inverted else 0
    header = (FAMILIES[rule.version], destination_length, source_length, 0, table, 0, 0, _NUMBERS[rule.action], flags)
    body = _FIB_RULE_HDR.pack(*header) + attribute_u32(FRA_PRIORITY, rule.priority) + destination + source
    body += attribute(FRA_PROTOCOL, bytes([rule.protocol]))
    if goto:
        body += attribute_u32(FRA_GOTO, rule.table)
    elif rule.table:
        body += attribute_u32(FRA_TABLE, rule.table)
    for kind, name in ((FRA_IIFNAME, rule.iif), (FRA_OIFNAME, rule.oif)):
        if name is not None:
            body += attribute(kind, name.encode(errors="surrogateescape") + b"\0")
    if rule.mark is not None:
        body += attribute_u32(FRA_FWMARK, rule.mark) + attribute_u32(FRA_FWMASK, rule.mask)
    if rule.uids is not None:
        body += attribute(FRA_UID_RANGE, _UID_RANGE.pack(*rule.uids))
    if rule.suppress_prefix_length is not None:
        body += attribute_u32(FRA_SUPPRESS_PREFIXLEN, rule.suppress_prefix_length)
    return body


def decode_rule(body: bytes) -> Rule:
    """The rule of an RTM_NEWRULE."""
    header = _FIB_RULE_HDR.unpack_from(body)
    family, destination_length, source_length, tos, table, _, _, action, flags = header
    found = parse_attributes(body, _FIB_RULE_HDR.size)
    name = ACTIONS.get(action, f"action {action}")
    if name == "goto":
        table = _number(found, FRA_GOTO)
    elif FRA_TABLE in found:
        table = _number(found, FRA_TABLE)
    suppressed = _number(found, FRA_SUPPRESS_PREFIXLEN, NO_PREFIX_LENGTH)
    has_mark = FRA_FWMARK in found or FRA_FWMASK in found
    uids = _UID_RANGE.unpack(found[FRA_UID_RANGE]) if FRA_UID_RANGE in found else None
    return Rule(
        version=4 if family == socket.AF_INET else 6,
        priority=_number(found, FRA_PRIORITY),
        action=name,
        table=table,
        inverted=bool(flags & FIB_RULE_INVERT),
        source=_to_network(found.get(FRA_SRC), source_length),
        destination=_to_network(found.get(FRA_DST), destination_length),
        iif=_to_name(found.get(FRA_IIFNAME)),
        oif=_to_name(found.get(FRA_OIFNAME)),
        mark=_number(found, FRA_FWMARK) if has_mark else None,
        mask=_number(found, FRA_FWMASK, ALL_BITS),
        uids=uids,
        other_selectors=bool(tos) or not _OTHERS.isdisjoint(found),
        suppress_prefix_length=None if suppressed == NO_PREFIX_LENGTH else suppressed,
        protocol=found.get(FRA_PROTOCOL, b"\0")[0],
    )


def _network(kind: int, network: IPNetwork | None) -> tuple[int, bytes]:
    if network is None or not network.prefixlen:
        return 0, b""
    return network.prefixlen, attribute(kind, network.network_address.packed)


def _to_network(octets: bytes | None, length: int) -> IPNetwork | None:
    return ipaddress.ip_network((octets, length)) if octets is not None else None


def _to_name(octets: bytes | None) -> str | None:
    return octets.rstrip(b"\0").decode(errors="surrogateescape") if octets is not None else None


def _number(found: Mapping[int, bytes], kind: int, default: int = 0) -> int:
    return u32(found[kind]) if kind in found else default
