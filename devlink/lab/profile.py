"""The bridge profile that fits a world, as its cluster would publish it."""

from devlink.lab.spec import WorldSpec


def profile_text(spec: WorldSpec, ca: str | None = None) -> str:
    """The profile as YAML, with `routing: auto`; `ca` is the cluster's, PEM."""
    import yaml

    cluster = spec.cluster
    tree = {
        "apiVersion": "devlink/v1alpha1",
        "kind": "BridgeProfile",
        "metadata": {"name": spec.name, "revision": "2026-11-20T09:00:00Z"},
        "spec": {
            "pods": [str(prefix) for prefix in cluster.pods],
            "services": [str(prefix) for prefix in cluster.services],
            "routing": "auto",
            "gateways": [
                {"address": str(address), "role": cluster.gateway_role, "priority": 10 * number}
                for number, name in enumerate(cluster.gateways, 1)
                for address in spec.host(name).addresses
            ],
            "nodes": [
                {
                    "address": str(address),
                    "pods": [str(prefix) for prefix in node.pods if prefix.version == address.version],
                }
                for node in cluster.nodes
                for address in spec.host(node.host).addresses
            ],
            **({"mtu": cluster.pod_mtu} if cluster.pod_mtu < 1500 else {}),
            "dns": {
                "domain": str(cluster.domain),
                "servers": [{"address": str(address), "transport": "auto"} for address in spec.cluster_dns.cluster_ips],
                "reverse": True,
            },
            **({"identity": {"ca": ca}} if ca else {}),
        },
        "provenance": {"spec": f"devlink lab, world {spec.name}"},
    }
    text: str = yaml.safe_dump(tree, sort_keys=False)
    return text
