"""What a network engineer does by hand on the laptop."""

from devlink import lab
from devlink.lab import World


def via(world: World, prefix: object, next_hop: object) -> None:
    """What a network engineer types on the laptop."""
    world.run(lab.LAPTOP, ["ip", "route", "add", str(prefix), "via", str(next_hop)], check=True)


def route_per_node(world: World) -> None:
    """All routes of the per-node mode: each pod block by the node that owns it, services by the gateway."""
    spec = world.spec
    for node in spec.cluster.nodes:
        for block, address in zip(node.pods, spec.host(node.host).addresses, strict=True):
            via(world, block, address)
    for prefix, address in zip(spec.cluster.services, spec.gateway.addresses, strict=True):
        via(world, prefix, address)


def curl(world: World, url: str, *more: str) -> str:
    """What curl says: the body, or its error."""
    done = world.run(lab.LAPTOP, ["curl", "-gsS", "--max-time", "3", *more, url])
    return (done.stdout or done.stderr).strip()
