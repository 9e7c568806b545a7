"""Behind a proxy that ends TLS: what the cluster says of its own CA, read by its API, shows whose it is."""

import asyncio
import base64
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from devlink.core.findings import Finding
from devlink.core.profile import Identity
from devlink.doctor.path.attested import has_its_ca
from tests.agent.fakes import QA
from tests.certificates import Authority
from tests.cluster.fake_api import AUTHORITY, Answer, Asked, serving

CLUSTERS, ANOTHERS = Authority().pem, Authority.another().pem
DENIED = Answer(status=403, body={"kind": "Status", "status": "Failure", "message": "no", "code": 403})
Attested = Callable[..., tuple[Finding | bool, list[str]]]


@pytest.fixture
def attested(tmp_path: Path) -> Attested:
    """What comes of it, and where it was read, with the ConfigMap of each namespace as given, and refused in others."""

    def run(
        readable: Mapping[str, Answer], *namespaces: str, insecure: bool = False
    ) -> tuple[Finding | bool, list[str]]:
        asked: list[str] = []

        def respond(request: Asked) -> Answer:
            *_, namespace, kind, name = request.path.split("/")
            assert (kind, name) == ("configmaps", "kube-root-ca.crt")
            asked.append(namespace)
            return readable.get(namespace, DENIED)

        with serving(respond, tmp_path) as server:
            check = {
                "certificate-authority-data": base64.b64encode(AUTHORITY.pem.encode()).decode()
            } if not insecure else {"insecure-skip-tls-verify": True}  # fmt: skip
            tree = {
                "current-context": "c", "users": [{"name": "u", "user": {"token": "t"}}],
                "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{server.port}", **check}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "mine"}}],
            }  # fmt: skip
            (tmp_path / "config").write_text(json.dumps(tree))
            spec = QA.spec
            assert spec.dns is not None
            dns = dataclasses.replace(spec.dns, namespaces=namespaces or None)
            spec = dataclasses.replace(spec, dns=dns, identity=Identity(ca=CLUSTERS))
            profile = dataclasses.replace(QA, spec=spec)
            told = asyncio.run(has_its_ca(profile, "", {"KUBECONFIG": str(tmp_path / "config")}))
        return told, asked

    return run


def holding(ca: str) -> Answer:
    return Answer(body={"data": {"ca.crt": ca}})


def test_the_profiles_ca_is_proof_and_anothers_is_none(attested: Attested) -> None:
    assert attested({"default": holding(CLUSTERS)}) == (True, ["default"])
    assert attested({"default": holding(ANOTHERS)}) == (False, ["default"])


def test_it_is_read_in_a_namespace_where_that_is_allowed(attested: Attested) -> None:
    assert attested({"kube-system": holding(CLUSTERS)}, "shop") == (True, ["default", "mine", "shop", "kube-system"])
    assert attested({"mine": holding(ANOTHERS), "kube-system": holding(CLUSTERS)}) == (False, ["default", "mine"])


@pytest.mark.parametrize(
    "answer", [DENIED, Answer(status=500), Answer(body={"data": {}}), holding("no certificate"), Answer(body=[])]
)
def test_where_it_cannot_be_read_nothing_is_proven_and_that_is_told(attested: Attested, answer: Answer) -> None:
    told, _ = attested({"default": answer})
    assert isinstance(told, Finding)
    assert told.code == "DL-UNAUTHENTICATED"


def test_an_api_whose_certificate_is_not_checked_proves_nothing_and_is_not_asked(attested: Attested) -> None:
    told, asked = attested({"default": holding(CLUSTERS)}, insecure=True)
    assert isinstance(told, Finding)
    assert "unchecked" in told.evidence
    assert not asked
