"""What the profile's rules refuse costs that part, never the rest; what nothing is left of is no profile."""

from typing import Any

import pytest

from devlink.cluster.discovery.admission import admit
from devlink.core.profile_document import encode_profile


def tree(**spec: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "pods": ["10.20.0.0/16"],
        "services": ["10.254.0.0/16"],
        "gateways": [{"address": "172.16.0.13", "role": "gateway", "priority": 10}],
        "nodes": [{"address": "172.16.0.13", "pods": ["10.20.1.0/26"]}],
        "mtu": 1480,
        "dns": {"domain": "cluster.local", "servers": [{"address": "10.254.0.2"}]},
    }
    return {
        "apiVersion": "devlink/v1alpha1", "kind": "BridgeProfile", "metadata": {"name": "qa"}, "spec": usual | spec,
        "provenance": {"pods": "somewhere"},
    }  # fmt: skip


NODE = {"address": "172.16.0.13", "pods": ["10.20.1.0/26"]}


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"pods": ["10.20.0.0/16", "10.20.128.0/17"]}, "10.20.128.0/17"),
        ({"pods": ["0.0.0.0/0"]}, "nodes"),
        ({"pods": ["10.20.0.0/16", "169.254.0.0/16"]}, "169.254"),
        ({"services": ["10.20.128.0/17"]}, "services"),
        ({"services": ["127.0.0.0/8"]}, "services"),
        ({"gateways": [{"address": "10.20.0.1"}]}, "gateways"),
        ({"gateways": [{"address": "172.16.0.13"}, {"address": "127.0.0.1"}]}, "127.0.0.1"),
        ({"nodes": [NODE, {"address": "172.16.0.14", "pods": ["10.99.0.0/26"]}]}, "172.16.0.14"),
        ({"nodes": [NODE, {"address": "172.16.0.14", "pods": ["10.20.1.0/26", "10.20.2.0/26"]}]}, "10.20.1.0/26, "),
        ({"nodes": [NODE, NODE]}, "nodes[1]"),
        ({"nodes": [{"address": "10.20.0.7", "pods": ["10.20.1.0/26"]}]}, "nodes"),
        ({"mtu": 70000}, "mtu"),
        ({"dns": {"domain": "local", "servers": [{"address": "10.254.0.2"}]}}, "dns"),
        ({"dns": {"domain": "cluster.local", "servers": [{"address": "169.254.20.10"}]}}, "dns"),
        ({"identity": {"ca": "-----BEGIN RSA PRIVATE KEY-----"}}, "identity"),
        ({"identity": {"ca": "x" * 300_000}}, "identity"),
    ],
)
def test_a_bad_part_goes_and_the_rest_stays(change: dict[str, Any], gone: str) -> None:
    profile, findings = admit(tree(**change))
    assert profile is not None
    assert gone not in encode_profile(profile)
    assert profile.spec.prefixes
    assert [finding.code for finding in findings] == ["DL-FOUND-REFUSED"]
    assert findings[0].evidence


def test_what_is_good_is_not_touched() -> None:
    profile, findings = admit(tree())
    assert profile is not None
    assert profile.spec.nodes is not None
    assert findings == ()


@pytest.mark.slow
def test_a_thousand_bad_entries_cost_their_own_part_in_time() -> None:
    bad = [
        {"address": f"10.20.{n // 200}.{n % 200 + 1}", "pods": [f"10.20.{n // 200}.{n % 200}/32"]} for n in range(2000)
    ]
    profile, _ = admit(tree(nodes=[NODE, *bad]))
    assert profile is not None
    assert profile.spec.pods is not None
    assert profile.spec.nodes is None


def test_nothing_left_is_no_profile() -> None:
    profile, findings = admit({**tree(), "spec": {"pods": ["0.0.0.0/0"], "services": ["224.0.0.0/8"]}})
    assert profile is None
    assert findings
