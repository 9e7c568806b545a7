"""Names: the forwarder, the operating system's resolver, libc, containers, and who goes past all of them."""

from devlink.doctor.check import Check, LaptopCheck, LinkCheck
from devlink.doctor.names import browsers, bypass, containers, forwarder, nsswitch, resolver, upstreams

CHECKS: tuple[Check, ...] = (
    LinkCheck(
        name="forwarder", look=forwarder.look, after=("links", "routes", "rules", "rp_filter", "gateway", "services")
    ),
    LaptopCheck(name="upstreams", look=upstreams.look, limit=6.0, after=("portal", "links", "forwarder")),
    LaptopCheck(name="resolver", look=resolver.look, limit=6.0, after=("forwarder",)),
    LinkCheck(name="libc", look=nsswitch.look, limit=6.0, after=("forwarder", "resolver")),
    LaptopCheck(name="bypass", look=bypass.look, after=("resolver",)),
    LaptopCheck(name="containers", look=containers.look, limit=6.0),
    LaptopCheck(name="browsers", look=browsers.look),
)
"""In the order in which a question goes."""
