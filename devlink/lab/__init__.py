"""The lab: a laptop, a router, a cluster's nodes and pods in private namespaces, for the demo and for the tests."""

from devlink.lab.availability import available
from devlink.lab.capture import Capture, Packet, Question
from devlink.lab.snapshot import Snapshot
from devlink.lab.spec import (
    CONTROL_PLANE,
    LAPTOP,
    ROUTER,
    UPSTREAM,
    ClusterDnsProgram,
    Parts,
    ProxyMode,
    Routes,
    WorldSpec,
)
from devlink.lab.world import World
from devlink.lab.worlds import (
    ORDINARY_NAME,
    Attachment,
    LaptopPlace,
    Peering,
    far,
    network_a,
    network_b,
    network_c,
    network_d,
    network_e,
)

__all__ = (
    "CONTROL_PLANE",
    "LAPTOP",
    "ORDINARY_NAME",
    "ROUTER",
    "UPSTREAM",
    "Attachment",
    "Capture",
    "ClusterDnsProgram",
    "LaptopPlace",
    "Packet",
    "Parts",
    "Peering",
    "ProxyMode",
    "Question",
    "Routes",
    "Snapshot",
    "World",
    "WorldSpec",
    "available",
    "far",
    "network_a",
    "network_b",
    "network_c",
    "network_d",
    "network_e",
)
