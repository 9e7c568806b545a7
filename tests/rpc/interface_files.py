"""What the interfaces' files declare."""

import re

from devlink.rpc.varlink import interface_description


def methods_of(interface: str) -> frozenset[str]:
    """The names of the methods."""
    return frozenset(re.findall(r"^method (\w+)", interface_description(interface), re.MULTILINE))
