"""The worlds that there are: the five networks that devlink is built for, each as data in a file of its own,
and one whose laptop is out of reach of any route."""

from devlink.lab.worlds.calico_ebgp import Attachment, Peering, network_e
from devlink.lab.worlds.calico_overlay import network_b
from devlink.lab.worlds.calico_rr import LaptopPlace, network_a
from devlink.lab.worlds.common import ORDINARY_NAME
from devlink.lab.worlds.far import far
from devlink.lab.worlds.flannel_hostgw import network_c
from devlink.lab.worlds.macvlan_underlay import network_d

__all__ = (
    "ORDINARY_NAME",
    "Attachment",
    "LaptopPlace",
    "Peering",
    "far",
    "network_a",
    "network_b",
    "network_c",
    "network_d",
    "network_e",
)
