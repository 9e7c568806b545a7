"""The bridge profile that fits a world, as its cluster would publish it."""

from devlink.core.prefixes import Cover
from devlink.lab.spec import WorldSpec


def _on_first_link(spec: WorldSpec, host: str) -> list[str]:
    """The addresses of a gateway or a node that its cluster knows: a switch has others on its other links."""
    return [str(a.address) for a in spec.host(host).interfaces[0].addresses]


def _nodes(spec: WorldSpec) -> list[dict[str, object]]:
    """Each node's address with its blocks, one entry for each family."""
    return [
        {"address": address, "pods": [str(prefix) for prefix in node.pods if (":" in address) == (prefix.version == 6)]}
        for node in spec.cluster.nodes
        for address in _on_first_link(spec, node.host)
    ]


def profile_text(spec: WorldSpec, ca: str | None = None) -> str:
    """The profile as YAML, with `routing: auto`; `ca` is the cluster's, PEM."""
    import yaml

    cluster = spec.cluster
    tree = {
        "apiVersion": "devlink/v1alpha1",
        "kind": "BridgeProfile",
        "metadata": {"name": spec.name, "revision": "2026-11-20T09:00:00Z"},
        "spec": {
            **({"pods": [str(prefix) for prefix in cluster.pods]} if cluster.underlay is None else {}),
            "services": [str(prefix) for prefix in cluster.services],
            "routing": "auto",
            "gateways": [
                {"address": address, "role": cluster.gateway_role, "priority": 10 * number}
                for number, name in enumerate(cluster.gateways, 1)
                for address in _on_first_link(spec, name)
            ],
            **({"nodes": _nodes(spec)} if cluster.names_nodes else {}),
            **({"mtu": cluster.pod_mtu} if cluster.pod_mtu < 1500 else {}),
            "dns": {
                "domain": str(cluster.domain),
                "servers": [{"address": str(address), "transport": "auto"} for address in spec.dns_servers],
                "reverse": True,
                **({"endpoints": pods} if (pods := _dns_pods(spec)) else {}),
            },
            **({"identity": {"ca": ca}} if ca else {}),
        },
        "provenance": {"spec": f"devlink lab, world {spec.name}"},
    }
    text: str = yaml.safe_dump(tree, sort_keys=False)
    return text


def _dns_pods(spec: WorldSpec) -> list[str]:
    """The pods that answer for the cluster's names, as far as they are in its pod network."""
    pods = Cover(spec.cluster.pods)
    return [str(a) for a in spec.endpoint_addresses(spec.cluster_dns) if pods.find_address(a) is not None]
