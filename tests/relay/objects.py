"""Objects of the API as the tests of the relay need them."""

from typing import Any

Object = dict[str, Any]


def service(
    name: str = "web", *addresses: str, ports: Any = None, namespace: str = "default", **spec: Any
) -> Object:  # fmt: skip
    """With one ClusterIP, one port named http (80) and a selector, unless told."""
    given = list(addresses or ("10.96.0.10",))
    return {
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "clusterIP": given[0], "clusterIPs": given, "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}] if ports is None else ports, **spec,
        },
    }  # fmt: skip


def entry(address: str, pod: str = "", *, namespace: str = "default", **conditions: bool) -> Object:
    """An endpoint of a slice, and the pod that it names."""
    target = {"targetRef": {"kind": "Pod", "name": pod, "namespace": namespace}} if pod else {}
    return {"addresses": [address], "conditions": conditions, "nodeName": "node1", **target}


def endpoint_slice(*entries: Object, of: str = "web", ports: Any = None, namespace: str = "default") -> Object:
    """With one port, http at 8080, unless told."""
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": f"{of}-1", "namespace": namespace, "labels": {"kubernetes.io/service-name": of}},
        "ports": [{"name": "http", "port": 8080}] if ports is None else ports,
        "endpoints": list(entries),
    }


def pod(name: str, *addresses: str, namespace: str = "default", ports: Any = (), **spec: Any) -> Object:
    """One that runs; `ports`: numbers that its container declares."""
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nodeName": "node1",
            "containers": [{"name": "app", "ports": [{"containerPort": number} for number in ports]}],
            **spec,
        },
        "status": {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": each} for each in addresses]},
    }
