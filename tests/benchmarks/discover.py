"""Discovery of a large cluster: our own CPU beside json.loads of the same bytes, and the most memory that it takes.

`python tests/benchmarks/discover.py [NODES BLOCKS]` prints one JSON object. The answers come from a file, page by page
as an API server gives them, to a process that does nothing else; a test holds the same figures to their bounds.
"""

import argparse
import asyncio
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

PAGE = 500
NODES, BLOCKS = 5000, 20000


def node(number: int) -> dict[str, Any]:
    """A Node of about 8 KB, most of it images and managedFields, as real ones are."""
    name, address = f"node-{number}", f"172.{16 + number // 65536}.{number // 256 % 256}.{number % 256}"
    image = "registry.example/team/service-{}@sha256:9f2c64cb7a2a4f2e9d0bb8c4f1d56e63a7f0c9b1d1f4bb1e9b8a3c2d4e5f6a7b"
    parts = ("addresses", "allocatable", "capacity", "conditions", "images", "nodeInfo")
    fields: dict[str, Any] = {f"f:{key}": {} for key in parts}
    return {
        "metadata": {
            "name": name,
            "uid": "5f0c1f6e-7a51-4d5b-9d9f-0d0d5b8a6f10",
            "resourceVersion": str(10_000_000 + number),
            "labels": {
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": f"zone-{number % 3}", "node.kubernetes.io/instance-type": "m6.2xlarge",
                **({"route-reflector": "true"} if number < 3 else {}),
            },
            "annotations": {
                "projectcalico.org/IPv4Address": f"{address}/16",
                "projectcalico.org/IPv4IPIPTunnelAddr": "10.20.73.82",
                "csi.volume.kubernetes.io/nodeid": json.dumps({"driver.example": name}),
                **({"projectcalico.org/RouteReflectorClusterID": "244.0.0.1"} if number < 3 else {}),
            },
            "managedFields": [
                {"manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:status": fields}}
                for manager in ("kubelet", "kube-controller-manager", "calico-node")
            ],
        },
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "102625208Ki"},
            "conditions": [
                {
                    "type": kind, "status": "True" if kind == "Ready" else "False", "reason": f"Kubelet{kind}",
                    "lastHeartbeatTime": "2024-03-05T08:00:00Z", "lastTransitionTime": "2024-03-05T08:00:00Z",
                    "message": "kubelet has sufficient memory available",
                }
                for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
            ],
            "images": [
                {"names": [image.format(i), f"registry.example/team/service-{i}:1.{i}"], "sizeBytes": 12345678 + i}
                for i in range(30)
            ],
            "nodeInfo": {"kubeletVersion": "v1.31.4", "osImage": "Debian GNU/Linux 12 (bookworm)"},
        },
    }  # fmt: skip


def block(number: int, nodes: int) -> dict[str, Any]:
    """A BlockAffinity; the blocks are of /26."""
    owner = f"node-{number % nodes}"
    cidr = f"10.{64 + number // 1024}.{number // 4 % 256}.{number % 4 * 64}/26"
    return {
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "BlockAffinity",
        "metadata": {
            "name": f"{owner}-{cidr.replace('.', '-').replace('/', '-')}", "generation": 2,
            "uid": "5f0c1f6e-7a51-4d5b-9d9f-0d0d5b8a6f10", "resourceVersion": str(20_000_000 + number),
            "annotations": {"projectcalico.org/metadata": '{"creationTimestamp":null}'},
            "managedFields": [
                {"manager": "calico-node", "operation": "Update", "fieldsV1": {"f:spec": {"f:cidr": {}, "f:node": {}}}}
            ],
        },
        "spec": {"cidr": cidr, "node": owner, "state": "confirmed", "deleted": "false"},
    }  # fmt: skip


def answers(nodes: int, blocks: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each answer with its path: pages of lists, and single objects."""
    for start in range(0, nodes, PAGE):
        items = [node(number) for number in range(start, min(start + PAGE, nodes))]
        yield "/api/v1/nodes", {"kind": "NodeList", "apiVersion": "v1", "items": items}
    api = "crd.projectcalico.org/v1"
    for start in range(0, blocks, PAGE):
        items = [block(number, nodes) for number in range(start, min(start + PAGE, blocks))]
        yield f"/apis/{api}/blockaffinities", {"kind": "BlockAffinityList", "apiVersion": api, "items": items}
    pool = {"metadata": {"name": "pool"}, "spec": {"cidr": "10.64.0.0/10", "ipipMode": "CrossSubnet"}}
    yield f"/apis/{api}/ippools", {"kind": "IPPoolList", "apiVersion": api, "items": [pool]}
    cidr = {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.254.0.0/16"]}}
    group = "networking.k8s.io/v1"
    yield f"/apis/{group}/servicecidrs", {"kind": "ServiceCIDRList", "apiVersion": group, "items": [cidr]}


class FileApi:
    """An API whose answers stand in a file; what parsing alone takes of our time is measured by the way."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._places: dict[str, list[tuple[int, int]]] = {}
        for line in iter(self._file.readline, b""):
            name, size = line.decode().split()
            self._places.setdefault(name, []).append((self._file.tell(), int(size)))
            self._file.seek(int(size), 1)

    def close(self) -> None:
        self._file.close()

    def pages(self, path: str) -> Iterator[bytes]:
        """The bytes of each page of a list."""
        for place, size in self._places.get(path, ()):
            self._file.seek(place)
            yield self._file.read(size)

    def all_pages(self) -> Iterator[bytes]:
        """The bytes of everything."""
        return (page for path in self._places for page in self.pages(path))

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, limit: int = 0) -> dict[str, Any]:
        raise _missing(path)

    async def items(
        self, path: str, params: Mapping[str, str] | None = None, *, page: int = PAGE
    ) -> AsyncIterator[dict[str, Any]]:
        if path not in self._places:
            raise _missing(path)
        for text in self.pages(path):
            found = json.loads(text)
            common = {"kind": found["kind"].removesuffix("List"), "apiVersion": found["apiVersion"]}
            for item in found["items"]:
                yield {**common, **item}
            await asyncio.sleep(0)

    async def create(self, path: str, body: dict[str, Any], params: Mapping[str, str] | None = None) -> dict[str, Any]:
        raise _missing(path)


def _missing(path: str) -> Exception:
    from devlink.errors import ClusterError

    return ClusterError(f"There is no {path}.", status=404)


def write(path: Path, nodes: int, blocks: int) -> None:
    """The file of a FileApi: for each answer its path and size, then itself."""
    with path.open("wb") as file:
        for name, answer in answers(nodes, blocks):
            text = json.dumps(answer, separators=(",", ":")).encode()
            file.write(f"{name} {len(text)}\n".encode() + text)


def measure(path: Path) -> dict[str, Any]:
    """One discovery out of a file, in this process: CPU in seconds, memory in MB."""
    from devlink.cluster.discovery import Wishes, discover
    from devlink.cluster.reads import collect

    api = FileApi(path)
    began = time.process_time()
    collected = asyncio.run(collect(api))
    read = time.process_time()
    found = discover(collected.objects, Wishes(name="large"), unread=collected.unread)
    ended = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert found.profile is not None
    spec = found.profile.spec
    del collected, found
    gc.collect()
    parsing = time.process_time()
    for text in api.all_pages():
        json.loads(text)
    parsed = time.process_time()
    size = path.stat().st_size
    api.close()
    return {
        "megabytes": round(size / 1e6, 1),
        "nodes": len({n.address for n in spec.nodes or ()}),
        "blocks": sum(len(n.pods) for n in spec.nodes or ()),
        "gateways": len(spec.gateways or ()),
        "collect_cpu_s": round(read - began, 3),
        "discover_cpu_s": round(ended - read, 3),
        "json_loads_cpu_s": round(parsed - parsing, 3),
        "ratio": round((ended - began) / (parsed - parsing), 2),
        "peak_mb": round(peak, 1),
    }


def run(nodes: int, blocks: int) -> dict[str, Any]:
    """The figures, of a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers"
        write(path, nodes, blocks)
        argv = [sys.executable, __file__, "--measure", str(path)]
        result: dict[str, Any] = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nodes", nargs="?", type=int, default=NODES)
    parser.add_argument("blocks", nargs="?", type=int, default=BLOCKS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    print(json.dumps(measure(given.measure) if given.measure else run(given.nodes, given.blocks)))


if __name__ == "__main__":
    main()
