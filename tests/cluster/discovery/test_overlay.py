"""The route's MTU: what the overlay in use leaves, or what the cluster says itself; never more than Ethernet's."""

import json
from typing import Any

import pytest

from tests.cluster.discovery import networks
from tests.cluster.discovery.finds import profile, source
from tests.cluster.discovery.networks import CRD, Object, block, config_map, node, pool, thing

BASE = [networks.kube_dns("10.96.0.10"), networks.service_cidr("10.96.0.0/12"), node("n", "192.0.2.1")]
DISABLED = pool("10.30.0.0/16", "b", ipipMode="Always", disabled=True)


def felix(**spec: Any) -> Object:
    return thing(CRD, "FelixConfiguration", "default", spec=spec)


def flannel(backend: str, **options: Any) -> Object:
    conf = {"Network": "10.244.0.0/16", "Backend": {"Type": backend, **options}}
    return config_map("kube-flannel-cfg", {"net-conf.json": json.dumps(conf)}, "kube-flannel")


@pytest.mark.parametrize(
    ("objects", "mtu"),
    [
        ([pool("10.20.0.0/16")], None),
        ([pool("10.20.0.0/16", ipipMode="Always")], 1480),
        ([pool("10.20.0.0/16", ipipMode="CrossSubnet")], 1480),
        ([pool("10.20.0.0/16", vxlanMode="Always")], 1450),
        ([pool("10.20.0.0/16", ipipMode="Always"), pool("10.30.0.0/16", "b", vxlanMode="CrossSubnet")], 1450),
        ([pool("fd00:20::/48", vxlanMode="Always")], 1430),
        ([pool("10.20.0.0/16", ipipMode="Always"), felix(ipipMTU=1440)], 1440),
        ([pool("10.20.0.0/16", ipipMode="Always"), felix(ipipMTU=0)], 1480),
        ([pool("10.20.0.0/16", ipipMode="Always"), felix(vxlanMTU=1400)], 1480),
        ([pool("10.20.0.0/16", vxlanMode="Always"), felix(vxlanMTU=8951)], None),
        ([pool("10.20.0.0/16"), felix(wireguardEnabled=True)], 1440),
        ([pool("10.20.0.0/16"), felix(wireguardEnabledV6=True)], 1420),
        ([pool("10.20.0.0/16"), felix(wireguardEnabledV6=True, wireguardMTUV6=1400, wireguardMTU=1380)], 1400),
        ([pool("10.20.0.0/16"), felix(wireguardEnabled=True, wireguardEnabledV6=True)], 1420),
        ([pool("10.20.0.0/16"), DISABLED], None),
        ([pool("10.20.0.0/16"), DISABLED, block("n", "10.30.1.0/26")], 1480),
        ([flannel("host-gw")], None),
        ([flannel("vxlan")], 1450),
        ([flannel("VXLAN")], 1450),
        ([flannel("vxlan", MTU=1400)], 1400),
        ([flannel("wireguard")], 1420),
        ([flannel("ipip")], 1480),
        (networks.k3s(), 1450),
        (networks.rke2(), 1450),
        (networks.cilium(), 1450),
        (networks.cilium(routing_mode="native"), None),
        (networks.cilium(routing_mode="", tunnel="disabled"), None),
        (networks.cilium(mtu="1400"), 1400),
        (networks.cilium(routing_mode="native", enable_wireguard="true"), 1420),
    ],
)  # fmt: skip
def test_the_mtu(objects: list[Object], mtu: int | None) -> None:
    assert profile([*BASE, *objects]).spec.mtu == mtu


def test_an_mtu_that_somebody_set_has_that_as_its_source() -> None:
    objects = [*BASE, pool("10.20.0.0/16", ipipMode="Always")]
    assert source(objects, "mtu").endswith("(ipipMode Always)")
    assert source([*objects, felix(ipipMTU=1400)], "mtu") == "felixconfigurations (ipipMTU)"
