"""The zones of CoreDNS's kubernetes plugin, out of the Corefiles that there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devlink.cluster.discovery.corefile import kubernetes_zones
from tests.cluster.discovery.networks import COREFILE


@pytest.mark.parametrize(
    ("corefile", "zones"),
    [
        (COREFILE.format(zones="cluster.local"), ("cluster.local",)),
        (COREFILE.format(zones=" cluster.local  cluster.local"), ("cluster.local",)),
        (COREFILE.format(zones="cluster.kube. CLUSTER.LOCAL"), ("cluster.kube", "cluster.local")),
        ("cluster.kube:53 {\n kubernetes\n}\n", ("cluster.kube",)),
        ("dns://a.example:53,\nb.example {\n kubernetes {\n pods insecure\n }\n}", ("a.example", "b.example")),
        (".:53 {\n#  kubernetes old.local\n kubernetes new.local # kept\n}", ("new.local",)),
        (
            ".:53 {\n forward . 10.0.0.1 {\n kubernetes never.local\n }\n kubernetes cluster.local\n}",
            ("cluster.local",),
        ),
        ("corp.example {\n forward . 10.0.0.1\n}\n.:53 {\n kubernetes cluster.local\n}", ("cluster.local",)),
        (".:53 {\n kubernetes 10.0.0.0/8 10.in-addr.arpa cluster.local\n}", ("cluster.local",)),
        (".:53 {\n kubernetes {$ZONE} in-addr.arpa\n}", ()),
        (".:53 {\n kubernetes\n}", ()),
        ('.:53 {\n kubernetes "cluster.local"\n}', ("cluster.local",)),
        (".:53 {\n k8s_external example.org\n}", ()),
        ("(snippet) {\n kubernetes a.local\n}\n.:53 {\n import snippet\n}", ("a.local",)),
        ("kubernetes cluster.local", ()),
        ("}}\n}\n}", ()),
        ("", ()),
    ],
)
def test_the_zones_of_a_corefile(corefile: str, zones: tuple[str, ...]) -> None:
    assert kubernetes_zones(corefile) == zones


@given(st.text("kubernetes arpa{}\n#.:/", max_size=200))
def test_no_text_is_too_odd_for_it(text: str) -> None:
    zones = kubernetes_zones(text)
    assert all(zones)
    assert len(set(zones)) == len(zones)
    assert not any(zone.endswith(".arpa") for zone in zones)
