"""Profiles and networks for the tests of planning: who is on the link, and who else routes."""

import ipaddress
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from devlink.core.network import Link, ObservedNetwork, ObservedRoute, Path
from devlink.core.plan import Plan, addresses_of_interest
from devlink.core.prefixes import IPAddress
from devlink.core.profile import BridgeProfile, Node
from devlink.core.profile_document import decode_profile
from tests.core.profiles import SAMPLE

ON_LINK = Path(oif="eth0")
ROUTED = Path(oif="eth0", next_hop=ip_address("172.16.0.1"))
LOCAL = Path(oif="lo", kind="local")
NOWHERE = Path()

PROFILE = decode_profile(SAMPLE)
GATEWAY, GATEWAY6 = ip_address("172.16.0.13"), ip_address("fd00:16::13")
"""Both the sample's gateways and its nodes."""
ETH0 = Link(
    index=2, name="eth0", mtu=1500, up=True,
    addresses=((ip_address("172.16.0.5"), 24), (ip_address("fd00:16::5"), 64)),
)  # fmt: skip


def seen(*on_link: IPAddress, routes: tuple[ObservedRoute, ...] = ()) -> ObservedNetwork:
    """A network where these addresses are on the link and every other one is behind a router."""
    paths = {address: ON_LINK if address in on_link else ROUTED for address in addresses_of_interest(PROFILE)}
    return ObservedNetwork(paths=paths, routes=routes, links=(ETH0,))


def altered(**changes: Any) -> BridgeProfile:
    """The sample with other values in its spec."""
    return replace(PROFILE, spec=replace(PROFILE.spec, **changes))


def theirs(destination: str, **more: Any) -> ObservedRoute:
    return ObservedRoute(**{"destination": ip_network(destination), "oif": "eth0", "protocol": 16, **more})


def via(plan: Plan) -> dict[str, str]:
    return {str(route.destination): str(route.next_hop) for route in plan.desired.routes}


def large(count: int) -> tuple[BridgeProfile, ObservedNetwork]:
    """A cluster of that many nodes, each with a block, and as many routes of others inside and around them."""
    blocks = list(ipaddress.IPv4Network("10.0.0.0/11").subnets(new_prefix=26))[:count]
    first = ip_address("172.16.0.1")
    nodes = tuple(Node(address=first + number, pods=(block,)) for number, block in enumerate(blocks))
    observed = ObservedNetwork(
        routes=(theirs("10.0.0.0/8"), *(theirs(f"{block.network_address + 32}/28") for block in blocks)),
        paths={node.address: ON_LINK for node in nodes},
    )
    return altered(pods=(ip_network("10.0.0.0/11"),), nodes=nodes), observed
