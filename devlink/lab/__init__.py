"""The lab: a laptop, a router, a cluster's nodes and pods in private namespaces, for the demo and for the tests."""

from devlink.lab.availability import available
from devlink.lab.capture import Capture, Question
from devlink.lab.snapshot import Snapshot
from devlink.lab.spec import (
    CONTROL_PLANE,
    LAPTOP,
    ROUTER,
    UPSTREAM,
    ClusterDnsProgram,
    Parts,
    ProxyMode,
    WorldSpec,
)
from devlink.lab.world import World
from devlink.lab.worlds import ORDINARY_NAME, LaptopPlace, network_a, network_c

__all__ = (
    "CONTROL_PLANE",
    "LAPTOP",
    "ORDINARY_NAME",
    "ROUTER",
    "UPSTREAM",
    "Capture",
    "ClusterDnsProgram",
    "LaptopPlace",
    "Parts",
    "ProxyMode",
    "Question",
    "Snapshot",
    "World",
    "WorldSpec",
    "available",
    "network_a",
    "network_c",
)
