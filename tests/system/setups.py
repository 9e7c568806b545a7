"""The laptops that devlink must serve: who sets up the link, who manages the names, and which mode that means."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.system.machine import Machine
from tests.system.world import PLAIN, Link, machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One of them."""

    image: str
    link: Link
    mode: str
    """The resolver mode that `devlink status` must show."""
    resolv_conf: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    """The units that have a hand in its names, besides devlink's own."""
    can_split: bool = False

    def boot(self) -> Machine:
        return machine(self.image, self.link, resolv_conf=self.resolv_conf, files=self.files)


RESOLVED_SERVICES = ("systemd-resolved.service", "dbus.service")
SETUPS = {
    **{
        f"{image}-resolved": Setup(
            image=image,
            link=Link.NETWORKD,
            mode="systemd-resolved",
            services=RESOLVED_SERVICES,
            can_split=True,
        )
        for image in ("bookworm", "trixie", "sid")
    },
    **{
        f"{image}-resolved-nm": Setup(
            image=image,
            link=Link.NETWORK_MANAGER,
            mode="systemd-resolved",
            services=(*RESOLVED_SERVICES, "NetworkManager.service"),
            can_split=True,
        )
        for image in ("bookworm", "trixie", "sid")
    },
    "plain": Setup(image="bookworm", link=Link.STATIC, mode="direct", resolv_conf=PLAIN),
}
