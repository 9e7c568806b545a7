"""The laptops that devlink must serve: who sets up the link, who manages the names, and which mode that means."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

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
    is_chosen: bool = False
    """Whether it is in the set of every run; the others are for `make test-system`."""

    def boot(self) -> Machine:
        """Running, in the office."""
        return machine(self.image, self.link, resolv_conf=self.resolv_conf, files=self.files)


def network_manager(dns: str) -> dict[str, str]:
    """Its configuration without systemd-resolved. By itself it takes the images' resolvconf, which is resolved's in
    disguise and fails without that one."""
    return {"/etc/NetworkManager/conf.d/lab.conf": f"[main]\ndns={dns}\nrc-manager=symlink\n"}


RESOLVED, MANAGER = "systemd-resolved.service", "NetworkManager.service"
SETUPS: dict[str, Setup] = {}
for _image in ("bookworm", "trixie", "sid"):
    SETUPS |= {
        f"{_image}-resolved": Setup(
            image=_image,
            link=Link.NETWORKD,
            mode="systemd-resolved",
            services=(RESOLVED,),
            can_split=True,
            is_chosen=_image == "bookworm",
        ),
        f"{_image}-resolved-nm": Setup(
            image=_image,
            link=Link.NETWORK_MANAGER,
            mode="systemd-resolved",
            services=(RESOLVED, MANAGER),
            can_split=True,
            is_chosen=_image == "trixie",
        ),
        f"{_image}-nm-dnsmasq": Setup(
            image=_image,
            link=Link.NETWORK_MANAGER,
            mode="NetworkManager-dnsmasq",
            resolv_conf="",
            files=network_manager("dnsmasq"),
            services=(MANAGER,),
            can_split=True,
            is_chosen=_image == "bookworm",
        ),
        f"{_image}-nm": Setup(
            image=_image,
            link=Link.NETWORK_MANAGER,
            mode="direct",
            resolv_conf="",
            files=network_manager("default"),
            services=(MANAGER,),
        ),
    }
SETUPS |= {
    "openresolv": Setup(image="openresolv", link=Link.DHCPCD, mode="openresolv", is_chosen=True),
    "resolvconf": Setup(image="resolvconf", link=Link.DHCLIENT, mode="direct"),
    "plain": Setup(image="bookworm", link=Link.STATIC, mode="direct", resolv_conf=PLAIN, is_chosen=True),
}


def params(*names: str) -> list[object]:
    """These setups as parameters of tests; without names all."""
    return [pytest.param(name, marks=() if SETUPS[name].is_chosen else pytest.mark.matrix) for name in names or SETUPS]
