"""What the user chose against the profile: parts that get no route, and parts that win over everybody else's routes.

Routes that shall win are in a table of their own, which a rule has asked before others (facts: "Main table or a table
of our own"). There the kernel sees no more specific route of another table, so what shall be kept needs a `throw`.
"""

import dataclasses
import ipaddress
from collections.abc import Iterable

from devlink.core.codec import parse_prefix
from devlink.core.network import LOCAL_TABLE, OVERRIDE_TABLE, ObservedNetwork, ObservedRoute, Route
from devlink.core.prefixes import Cover, IPNetwork, PrefixTable, collapse, key_of, overlap, subtract
from devlink.core.profile import BridgeProfile
from devlink.core.text import listed
from devlink.errors import UsageError

ALL: tuple[IPNetwork, ...] = (ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0"))
"""What `--override all` stands for."""


def parse_exclude(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Prefixes in CIDR form. Raises UsageError."""
    return collapse(_parse(text, "--exclude") for text in texts)


def parse_override(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Prefixes in CIDR form, or `all`. Raises UsageError."""
    texts = tuple(texts)
    named = dict.fromkeys(_parse(text, "--override") for text in texts if text != "all")
    return (*(ALL if "all" in texts else ()), *named)


def _parse(text: str, option: str) -> IPNetwork:
    try:
        return parse_prefix(text)
    except ValueError as error:
        problem, *hint = error.args
        also = ", or all" if option == "--override" else ""
        raise UsageError(
            f"{option}: {problem}.",
            why=f"It takes a prefix of the cluster's networks{also}.",
            next_step=f"{hint[0][0].upper()}{hint[0][1:]}." if hint else "Write it as in 10.20.0.0/16.",
        ) from None


def show_override(prefixes: tuple[IPNetwork, ...]) -> list[str]:
    """As the user writes them."""
    named = [str(prefix) for prefix in prefixes if prefix not in ALL]
    return ["all", *named] if set(ALL) <= set(prefixes) else [str(prefix) for prefix in prefixes]


def check_choices(profile: BridgeProfile, exclude: Iterable[IPNetwork], override: Iterable[IPNetwork]) -> None:
    """Raise UsageError for a choice that is about nothing of the profile: most likely a typing error."""
    for option, prefixes in (("--exclude", exclude), ("--override", override)):
        for prefix in prefixes:
            if prefix not in ALL and not any(overlap(prefix, each) for each in profile.spec.prefixes):
                raise UsageError(
                    f"{option} {prefix}: profile {profile.metadata.name} has nothing there.",
                    why=f"Its networks are {listed(profile.spec.prefixes)}.",
                    next_step="Name one of them or a part of one, or leave it out.",
                )


def override_routes(
    routes: tuple[Route, ...], override: tuple[IPNetwork, ...], exclude: Iterable[IPNetwork], observed: ObservedNetwork
) -> tuple[Route, ...]:
    """`routes`, with those for `override` in the table that wins, and a `throw` for what others keep of it.

    A part of a route gets one of its own there, by the same next hop. Kept is what is on a link by itself and what is
    for one host, unless its very prefix is to be overridden: the laptop's other networks, a VPN's server. Nothing of
    ours is left inside of that, were it a narrower block: its addresses may be hosts of that network.
    """
    if not override:
        return routes
    wanted, table = Cover(override), PrefixTable((route.destination, route) for route in routes)
    winning = {
        key_of(r.destination): dataclasses.replace(r, table=OVERRIDE_TABLE)
        for r in routes
        if wanted.find(r.destination) is not None
    }
    rest = tuple(r for r in routes if key_of(r.destination) not in winning)
    for part in subtract(collapse(override), exclude):
        around = next(table.around(part), None)
        if around is not None and key_of(part) not in winning:
            winning[key_of(part)] = dataclasses.replace(around, destination=part, table=OVERRIDE_TABLE)
    kept = _kept([route.destination for route in winning.values()], override, observed)
    if kept:
        cover = Cover(kept)
        # What is named is overridden also where it is a part of what is kept.
        named = Cover(prefix for prefix in override if prefix not in ALL and cover.find(prefix) is not None)
        winning = {
            key: route
            for key, route in winning.items()
            if cover.find(route.destination) is None or named.find(route.destination) is not None
        }
        for part in subtract((prefix for prefix in override if named.find(prefix) is not None), exclude):
            around = next(table.around(part), None)
            if around is not None:
                winning.setdefault(key_of(part), dataclasses.replace(around, destination=part, table=OVERRIDE_TABLE))
    # Where nothing of ours is left around what is kept, there is nothing to take it out of.
    left = PrefixTable((route.destination, route) for route in winning.values())
    throws = tuple(
        Route(destination=prefix, oif="", table=OVERRIDE_TABLE, kind="throw")
        for prefix in kept
        if left.holding(prefix, strictly=True) is not None
    )
    # First what is kept: else its packets would be ours for a moment.
    return throws + tuple(winning.values()) + rest


def _kept(
    destinations: Iterable[IPNetwork], override: Iterable[IPNetwork], observed: ObservedNetwork
) -> tuple[IPNetwork, ...]:
    """What others keep of `destinations`."""
    inside = PrefixTable((destination, destination) for destination in destinations)
    named = {key_of(prefix) for prefix in override}
    return collapse(
        theirs.destination
        for theirs in observed.foreign
        if _stays(theirs)
        and key_of(theirs.destination) not in named
        and next(inside.around(theirs.destination), None) is not None
    )


def _stays(route: ObservedRoute) -> bool:
    """Whether others' route is kept though a wider prefix is overridden."""
    if route.kind != "unicast" or route.table in (LOCAL_TABLE, OVERRIDE_TABLE):
        return False
    return route.is_connected or route.destination.prefixlen == route.destination.max_prefixlen
