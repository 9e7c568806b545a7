"""What of ours is on this laptop though no process of ours is there to have put it: by its marks, without the helper.

`status` pays for what this imports, each time.
"""

from pathlib import Path

from devlink.errors import DevlinkError

RESOLV_CONF = Path("/etc/resolv.conf")
MARK = b"# Written by devlink:"
"""How `resolvers.resolv_conf.render` begins; a test holds both together. Importing it would cost every `status`."""
SHOWN = 4
"""How many routes are named."""


def resolver_is_ours() -> bool:
    """Whether resolv.conf(5) names the forwarder. What cannot be read is nobody's."""
    try:
        with RESOLV_CONF.open("rb") as file:
            return file.read(len(MARK)) == MARK
    except OSError:
        return False


def remains() -> list[str]:
    """What is there that only the helper puts there, in clauses; none where the kernel does not tell."""
    names = f"{RESOLV_CONF} names devlink's forwarder, which is not there: names may not resolve"
    return ([names] if resolver_is_ours() else []) + in_kernel()


def in_kernel() -> list[str]:
    """The same of routes and rules."""
    from devlink.kernel.observe import observe

    try:
        observed = observe()
    except DevlinkError:
        return []
    found = []
    routes = list(dict.fromkeys(str(route.destination) for route in observed.routes if route.is_ours))
    if routes:
        more = f" and {len(routes) - SHOWN} more" if len(routes) > SHOWN else ""
        found.append(f"routes are left to {', '.join(routes[:SHOWN])}{more}")
    rules = list(dict.fromkeys(str(rule) for rule in observed.rules if rule.is_ours))
    if rules:
        found.append(f"rules are left: {', '.join(rules[:SHOWN])}")
    return found
