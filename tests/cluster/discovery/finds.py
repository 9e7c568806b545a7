"""Short ways to say what was found of some objects."""

from typing import Any

from devlink.cluster.discovery import Discovery, Wishes, discover
from devlink.core.findings import Finding
from devlink.core.profile import BridgeProfile
from tests.cluster.discovery.networks import Object


def found(objects: list[Object], **wishes: Any) -> Discovery:
    """What the objects give under the name qa."""
    return discover(objects, Wishes(name="qa", **wishes))


def profile(objects: list[Object], **wishes: Any) -> BridgeProfile:
    """The profile, which must be there."""
    result = found(objects, **wishes).profile
    assert result is not None
    return result


def pods(objects: list[Object]) -> list[str]:
    return list(map(str, profile(objects).spec.pods or ()))


def services(objects: list[Object]) -> list[str]:
    return list(map(str, profile(objects).spec.services or ()))


def owners(objects: list[Object]) -> dict[str, list[str]]:
    """Blocks by the node's address."""
    return {str(node.address): list(map(str, node.pods)) for node in profile(objects).spec.nodes or ()}


def gateways(objects: list[Object], **wishes: Any) -> list[tuple[str, str, int]]:
    return [(str(g.address), g.role, g.priority) for g in profile(objects, **wishes).spec.gateways or ()]


def servers(objects: list[Object]) -> list[str]:
    dns = profile(objects).spec.dns
    return [str(server.address) for server in dns.servers] if dns else []


def dns_pods(objects: list[Object]) -> list[str]:
    """The endpoints of the cluster's DNS."""
    dns = profile(objects).spec.dns
    return [str(address) for address in dns.endpoints or ()] if dns else []


def source(objects: list[Object], fact: str) -> str:
    return profile(objects).provenance[fact]


def finding(objects: list[Object], code: str) -> Finding | None:
    """The first finding of that code; None where there is none."""
    return next((one for one in found(objects).findings if one.code == code), None)
