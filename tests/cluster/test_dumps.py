"""What kubectl printed instead of an API: the command for all of it, what is kept of it, and what is told to lack."""

import json
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from devlink.cluster.discovery import Wishes, discover
from devlink.cluster.dumps import KUBECTL, RESOURCES, Dump, read_dumps
from devlink.cluster.reads import READS
from devlink.core.findings import Finding, Severity
from devlink.errors import UsageError
from tests.cluster.discovery import networks
from tests.cluster.discovery.networks import Object, thing
from tests.cluster.test_reads import CLUSTERS


def listed(objects: list[Object]) -> bytes:
    return json.dumps({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": objects}, indent=4).encode()


def dumped(*octets: bytes) -> Dump:
    texts = {f"dump {number}": each for number, each in enumerate(octets)}
    return read_dumps(texts, texts.__getitem__)


def told(dump: Dump, code: str) -> list[Finding]:
    return [finding for finding in dump.findings if finding.code == code]


@pytest.mark.parametrize("objects", CLUSTERS, ids=lambda f: f.__name__)
def test_what_is_kept_of_a_dump_tells_discovery_all_that_the_whole_does(objects: Callable[[], list[Object]]) -> None:
    whole = discover(objects(), Wishes(name="qa"))
    assert whole.profile is not None
    for octets in (listed(objects()), yaml.safe_dump_all(objects()).encode()):
        assert discover(dumped(octets).objects, Wishes(name="qa")) == whole


def test_what_discovery_does_not_look_at_is_dropped() -> None:
    node = networks.node("n1", "172.16.0.11")
    node["status"]["images"] = [{"names": ["registry.example/x"]}]
    bare = {key: value for key, value in node.items() if key not in ("kind", "apiVersion")}
    of_a_list = json.dumps({"kind": "NodeList", "apiVersion": "v1", "items": [bare]}).encode()
    for octets in (listed([node]), of_a_list):
        (kept,) = dumped(octets).objects
        assert kept["status"]["addresses"] == node["status"]["addresses"]
        assert "images" not in kept["status"]


def test_what_the_table_of_reads_does_not_know_stays_whole() -> None:
    block = thing(
        "crd.projectcalico.org/v1", "IPAMBlock", "10-20-0-0-26", spec={"cidr": "10.20.0.0/26", "affinity": "host:n1"}
    )
    assert dumped(listed([block])).objects == (block,)


@pytest.mark.slow
def test_never_is_the_whole_of_a_dump_in_memory_as_objects() -> None:
    nodes = []
    for number in range(200):
        node = networks.node(f"n{number}", f"172.16.1.{number}")
        node["status"]["images"] = [{"names": [f"image-{number}-{each}"], "sizeBytes": each} for each in range(100)]
        nodes.append(node)
    octets = listed(nodes)
    tracemalloc.start()
    try:
        texts: Mapping[str, Callable[[], bytes]] = {"dump": lambda: bytes(bytearray(octets))}
        before = tracemalloc.get_traced_memory()[0]
        dump = read_dumps(texts, lambda name: texts[name]())
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert len(dump.objects) == len(nodes)
    assert peak < 2.5 * len(octets), "the octets and their text, or the text and what is kept"


def test_the_command_asks_for_everything_that_the_table_of_reads_has() -> None:
    asked = KUBECTL.removeprefix("for kind in ").partition(";")[0].split()
    assert tuple(asked) == RESOURCES
    assert len(set(asked)) == len(asked)
    plurals = {
        path.partition("/namespaces/")[2].partition("/")[2] or path.rpartition("/")[2]
        for r in READS
        for path in r.paths
    }
    assert {each.partition("/")[0] for each in plurals} == {each.partition(".")[0] for each in asked}
    for name in ("nodes", "configmaps", "servicecidrs.networking.k8s.io", "ippools.crd.projectcalico.org"):
        assert name in asked


def test_the_operators_page_has_the_same_command() -> None:
    page = Path(__file__).parents[2] / "docs/operators.md"
    assert " ".join(KUBECTL.split()) in " ".join(page.read_text().replace("\\\n", " ").split())


def test_kinds_that_every_cluster_has_are_missed_aloud() -> None:
    some = [each for each in networks.network_a() if each["kind"] in ("Node", "ConfigMap")]
    (finding,) = told(dumped(listed(some)), "DL-NOT-IN-DUMP")
    assert finding.severity is Severity.WARNING
    for name in ("ippools.crd.projectcalico.org", "pods", "services"):
        assert name in finding.evidence.removeprefix("no ").split(", ")
    assert "nodes" not in finding.evidence.removeprefix("no ").split(", ")
    assert KUBECTL in finding.fix


def everything() -> list[Object]:
    """One object of each kind that is read."""
    version = {"": "v1", "crd.projectcalico.org": "crd.projectcalico.org/v1"}
    kinds = {
        "nodes": "Node", "configmaps": "ConfigMap", "services": "Service", "pods": "Pod", "ippools": "IPPool",
        "servicecidrs": "ServiceCIDR", "blockaffinities": "BlockAffinity", "bgpconfigurations": "BGPConfiguration",
        "bgppeers": "BGPPeer", "bgpfilters": "BGPFilter", "felixconfigurations": "FelixConfiguration",
        "ciliumnodes": "CiliumNode", "endpointslices": "EndpointSlice",
    }  # fmt: skip
    names = (name.partition(".") for name in RESOURCES)
    return [thing(version.get(group, f"{group}/v1"), kinds[plural], "x", "y") for plural, _, group in names]


def test_kinds_that_not_every_cluster_has_are_noted_and_nothing_is_where_none_lacks() -> None:
    whole = everything()
    assert dumped(listed(whole)).findings == ()
    for item in whole:
        (finding,) = told(dumped(listed([each for each in whole if each is not item])), "DL-NOT-IN-DUMP")
        assert finding.severity is (Severity.WARNING if item["apiVersion"] == "v1" else Severity.INFO)
        assert finding.evidence.count(",") == 0


def test_calicos_own_api_serves_the_same_and_anothers_kind_of_that_name_is_none_of_it() -> None:
    rest = [each for each in everything() if each["kind"] != "BGPPeer"]
    assert dumped(listed([*rest, thing("projectcalico.org/v3", "BGPPeer", "x")])).findings == ()
    (finding,) = dumped(listed([*rest, thing("metallb.io/v1beta2", "BGPPeer", "x")])).findings
    assert finding.evidence == "no bgppeers.crd.projectcalico.org"


def test_a_failed_call_in_a_dump_is_told_with_its_words() -> None:
    refusal = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 403}
    octets = json.dumps({**refusal, "message": "nodes is forbidden: \x1b[31muser x" + "y" * 1000}).encode()
    (finding,) = told(dumped(octets), "DL-DUMP-FAILED")
    assert finding.severity is Severity.WARNING
    assert finding.evidence.startswith("nodes is forbidden:  [31muser x")
    assert len(finding.evidence) < 400
    assert finding.fix
    assert told(dumped(listed([networks.refusal("10.96.0.0/12")])), "DL-DUMP-FAILED") == [], "it is a source"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_what_windows_has_written_is_read_as_well(encoding: str) -> None:
    marks = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
    octets = marks.get(encoding, b"") + listed(networks.network_a()).decode().encode(encoding)
    assert dumped(octets).objects == dumped(listed(networks.network_a())).objects


def test_a_mark_of_windows_before_several_documents_is_no_part_of_the_first() -> None:
    documents = "\n".join(json.dumps(each) for each in networks.network_a())
    assert dumped(documents.encode("utf-8-sig")).objects == dumped(listed(networks.network_a())).objects


def test_objects_that_do_not_say_their_version_are_of_their_kind() -> None:
    whole = [{key: value for key, value in each.items() if key != "apiVersion"} for each in everything()]
    assert dumped(listed(whole)).findings == ()


@pytest.mark.parametrize("octets", [b"\xff\xfea", b"kind: \xe4", b"\x1f\x8b\x08\x00\xff"])
def test_what_is_no_text_is_an_error_without_a_codec_in_it(octets: bytes) -> None:
    with pytest.raises(UsageError, match="no text") as caught:
        dumped(octets)
    assert "codec" not in str(caught.value)
    assert caught.value.next_step


def test_odd_shapes_are_passed_over() -> None:
    odd: list[Any] = [
        {"kind": "Node", "apiVersion": [], "metadata": {"name": "n"}},
        7,
        None,
        {"kind": 5, "metadata": {}},
        {"kind": "Node", "metadata": None},
        {"kind": "Pod", "apiVersion": 3, "metadata": {}},
    ]
    assert len(dumped(json.dumps(odd).encode()).objects) == 4
