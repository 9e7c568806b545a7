"""Who may do what in a world's cluster: the least rights that devlink's roles need, and CoreDNS'. PURE."""

from typing import Any

from devlink.lab.credentials import GROUPS, OBSERVER, PUBLISHER, RELAYER, TENANT

Object = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
PROFILE = "devlink-profile"
DISCOVER = "devlink-discover"
RELAY = "devlink-relay"
TENANTS_NAMESPACE = "qa"
CALICO_RESOURCES = ["ippools", "blockaffinities", "bgpconfigurations", "bgppeers", "bgpfilters", "felixconfigurations"]


def rights() -> tuple[Object, ...]:
    """Roles and their bindings."""
    discoverers = [_group(name) for user in (PUBLISHER, OBSERVER) for name in GROUPS[user]]
    publishers = [_group(name) for name in GROUPS[PUBLISHER]]
    everybody = [_group("system:authenticated"), _group("system:unauthenticated")]
    return (
        # These are packaging/kubernetes/rights/publishers.yaml, which an installation need not have; a test holds them
        # together.
        *_role(
            DISCOVER, None, discoverers,
            _rule("", ["nodes"], ["list"]),
            _rule("networking.k8s.io", ["servicecidrs"], ["list"]),
            _rule(["crd.projectcalico.org", "projectcalico.org"], CALICO_RESOURCES, ["list"]),
            _rule("cilium.io", ["ciliumnodes"], ["list"]),
            _rule("", ["configmaps"], ["get"], [
                "kube-root-ca.crt", "kube-flannel-cfg", "canal-config", "rke2-canal-config", "cilium-config",
            ]),
        ),
        *_role(
            DISCOVER, "kube-system", discoverers,
            _rule("", ["configmaps"], ["get"], [
                "kubeadm-config", "kubelet-config", "kube-proxy", "coredns", "rke2-coredns-rke2-coredns",
            ]),
            _rule("", ["services", "pods"], ["list"]),
            _rule("discovery.k8s.io", ["endpointslices"], ["list"]),
        ),
        *_role(DISCOVER, "default", discoverers, _rule("", ["services"], ["get"], ["kubernetes"])),
        *_role(
            "devlink-publish", "kube-public", publishers,
            _rule("", ["configmaps"], ["get", "watch", "create", "patch"], [PROFILE]),
            _rule(RBAC, ["roles", "rolebindings"], ["create", "patch"], [PROFILE]),
        ),
        *_role(
            "system:coredns", None, [_user("coredns")],
            _rule("", ["endpoints", "services", "pods", "namespaces"], ["list", "watch"]),
            _rule("discovery.k8s.io", ["endpointslices"], ["list", "watch"]),
        ),
        # And these are rights/relay.yaml and rights/relay-namespace.yaml.
        *_role(
            RELAY, None, [_group(name) for name in GROUPS[RELAYER]],
            *_relay(), _rule("networking.k8s.io", ["ipaddresses"], ["get"]),
        ),
        *_role(RELAY, TENANTS_NAMESPACE, [_group(name) for name in GROUPS[TENANT]], *_relay()),
        # As kubeadm does, so that a stranger can learn which CA to compare with a hash.
        *_role("cluster-info", "kube-public", everybody, _rule("", ["configmaps"], ["get"], ["cluster-info"])),
    )  # fmt: skip


def _relay() -> tuple[Object, ...]:
    """What a relay needs where it may find and reach pods."""
    return (
        _rule("", ["pods/portforward"], ["get", "create"]),
        _rule("", ["services", "pods"], ["get", "list"]),
        _rule("discovery.k8s.io", ["endpointslices"], ["get", "list"]),
        _rule("", ["configmaps"], ["get"], ["kube-root-ca.crt"]),
    )


def _rule(
    group: str | list[str], resources: list[str], verbs: list[str], names: list[str] | None = None
) -> Object:  # fmt: skip
    groups = group if isinstance(group, list) else [group]
    rule: Object = {"apiGroups": groups, "resources": resources, "verbs": verbs}
    return {**rule, "resourceNames": names} if names else rule


def _role(name: str, namespace: str | None, subjects: list[Object], *rules: Object) -> tuple[Object, Object]:
    """The role and its binding; without a namespace for the whole cluster."""
    scope = "Cluster" if namespace is None else ""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    role = {"apiVersion": f"{RBAC}/v1", "kind": f"{scope}Role", "metadata": metadata, "rules": list(rules)}
    binding = {
        "apiVersion": f"{RBAC}/v1", "kind": f"{scope}RoleBinding", "metadata": metadata, "subjects": subjects,
        "roleRef": {"apiGroup": RBAC, "kind": f"{scope}Role", "name": name},
    }  # fmt: skip
    return role, binding


def _group(name: str) -> Object:
    return {"apiGroup": RBAC, "kind": "Group", "name": name}


def _user(name: str) -> Object:
    return {"apiGroup": RBAC, "kind": "User", "name": name}
