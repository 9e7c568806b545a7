"""The API server of the first cluster, as far as a relay asks it: objects, rights, and streams to its pods.

Beside it lies tests/relay/node.py. A pod's loopback is the node's address that the pod's server listens on.
"""

import asyncio

from tests.relay.node import ApiServer, PodStream, Server
from tests.system.inside import lan

PORT = 6443
SERVICES = {lan.CLUSTER_DNS: ("kube-system", "kube-dns", 53, 53), lan.WEB: ("default", "web", 80, 8080)}
"""Namespace and name, port and the pod's port, by ClusterIP."""
PODS = {
    "kube-system/kube-dns-0": ("10.20.73.2", {53: (lan.CLUSTER_DNS, 53)}),
    "default/web-0": (lan.WEB_POD, {8080: (lan.WEB_POD, 8080)}),
}
"""Its address, and where its ports are, by namespace and name."""


def joined(place: tuple[str, int]) -> Server:
    async def serve(stream: PodStream) -> None:
        reader, writer = await asyncio.open_connection(*place)

        async def there() -> None:
            while octets := await stream.read():
                writer.write(octets)

        async with asyncio.TaskGroup() as both:
            going = both.create_task(there())
            while octets := await reader.read(1 << 16):
                await stream.write(octets)
            stream.end()
            going.cancel()
        writer.close()

    return serve


class Api(ApiServer):
    """With services, of which each has one pod."""

    def answer(self, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, object]:
        wanted = query.get("fieldSelector", query.get("labelSelector", [""]))[0].rpartition("=")[2]
        if path == "/api/v1/services":
            return 200, {"items": [service(address) for address in SERVICES if address == wanted]}
        if path.endswith("/pods") and "/namespaces/" in path:
            name = f"{path.split('/')[4]}/{wanted}"
            return (200, {"items": [self._pod(name)]}) if name in self.pods else (404, {"kind": "Status", "code": 404})
        if path.endswith("/endpointslices"):
            return 200, {"items": [endpoints(address) for address, (_, name, *_) in SERVICES.items() if name == wanted]}
        return super().answer(path, query, body)


def service(address: str) -> object:
    namespace, name, port, target = SERVICES[address]
    return {
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "clusterIP": address, "clusterIPs": [address], "selector": {"app": name},
            "ports": [{"name": "main", "port": port, "targetPort": target}],
        },
    }  # fmt: skip


def endpoints(address: str) -> object:
    namespace, name, _, target = SERVICES[address]
    pod = f"{name}-0"
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "main", "port": target}],
        "endpoints": [
            {
                "addresses": [PODS[f"{namespace}/{pod}"][0]], "conditions": {"ready": True}, "nodeName": "node-1",
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod},
            }
        ],
    }  # fmt: skip


async def main() -> None:
    api = Api()
    for name, (address, places) in PODS.items():
        api.add(name, address, {port: joined(place) for port, place in places.items()})
    await api.start(PORT, lan.NODE)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
