"""Whose CA it is, and whose token: over real TLS, with strangers on the way."""

import asyncio
import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from devlink.cluster.access import Access, Credentials
from devlink.cluster.signing_in import CLUSTER_INFO, REVIEWS, pinned_ca, whoami
from devlink.errors import ClusterError
from tests.certificates import Authority
from tests.cluster.talker import Talker

pytestmark = pytest.mark.slow

CLUSTER, STRANGER = Authority(), Authority.another()
PIN = f"sha256:{hashlib.sha256(CLUSTER.public_key).hexdigest()}"
TOKEN = "a-token-that-no-message-shows"


def info(*authorities: str) -> dict[str, Any]:
    """ConfigMap cluster-info as kubeadm makes it."""
    encoded = [base64.b64encode(each.encode()).decode() for each in authorities]
    clusters = [
        {"name": "", "cluster": {"certificate-authority-data": each, "server": "https://evil:1"}} for each in encoded
    ]
    return {"kind": "ConfigMap", "data": {"kubeconfig": yaml.safe_dump({"kind": "Config", "clusters": clusters})}}


def review(name: object) -> dict[str, Any]:
    return {"kind": "SelfSubjectReview", "status": {"userInfo": {"username": name}}}


@pytest.fixture
def talker() -> Iterator[Talker]:
    with Talker(CLUSTER, {}) as running:
        yield running


def authority_of(server: str, pin: str = PIN) -> str:
    return asyncio.run(pinned_ca("qa", server, pin, {}))


def user_of(talker: Talker, ca: str | None = CLUSTER.pem) -> str:
    access = Access(name="qa", server=talker.url, ca=ca, credentials=Credentials(token=TOKEN))
    return asyncio.run(whoami(access, {}))


def test_the_pinned_ca_is_believed_and_no_credential_is_shown_for_it(talker: Talker) -> None:
    talker.answers["GET", CLUSTER_INFO] = (200, info(CLUSTER.pem))
    assert authority_of(talker.url) == CLUSTER.pem
    assert talker.asked == [("GET", CLUSTER_INFO, "")]


def test_a_ca_that_somebody_adds_on_the_way_is_left_out(talker: Talker) -> None:
    talker.answers["GET", CLUSTER_INFO] = (200, info(STRANGER.pem + CLUSTER.pem))
    assert authority_of(talker.url) == CLUSTER.pem


def test_a_stranger_who_shows_the_right_ca_cannot_be_it() -> None:
    answers = {("GET", CLUSTER_INFO): (200, info(CLUSTER.pem)), ("POST", REVIEWS): (200, review("jane"))}
    with Talker(STRANGER, answers) as stranger:
        ca = authority_of(stranger.url)
        with pytest.raises(ClusterError, match="not the one that it must be"):
            user_of(stranger, ca)
        assert not any(TOKEN in authorization for *_, authorization in stranger.asked)


def test_another_cluster_is_not_the_one_with_that_hash(talker: Talker) -> None:
    talker.answers["GET", CLUSTER_INFO] = (200, info(STRANGER.pem))
    with pytest.raises(ClusterError, match="not the cluster with that hash") as caught:
        authority_of(talker.url)
    assert "in between" in caught.value.next_step


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"data": None},
        {"data": {"kubeconfig": 7}},
        {"data": {"kubeconfig": "a: ["}},
        {"data": {"kubeconfig": "[]"}},
        {"data": {"kubeconfig": "clusters: 7"}},
        {"data": {"kubeconfig": "clusters: [{cluster: {}}]"}},
        {"data": {"kubeconfig": "clusters: [{cluster: {certificate-authority-data: '%'}}]"}},
        {"data": {"kubeconfig": "clusters: [{cluster: {certificate-authority-data: /w==}}]"}},
    ],
)
def test_a_cluster_info_without_a_ca_is_told(talker: Talker, found: Mapping[str, Any]) -> None:
    talker.answers["GET", CLUSTER_INFO] = (200, found)
    with pytest.raises(ClusterError) as caught:
        authority_of(talker.url)
    assert "shows no CA" in caught.value.why


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_cluster_that_shows_its_ca_to_nobody_asks_for_a_file(talker: Talker, status: int) -> None:
    talker.answers["GET", CLUSTER_INFO] = (status, {"kind": "Status", "message": "no"})
    with pytest.raises(ClusterError, match="to strangers") as caught:
        authority_of(talker.url)
    assert "--ca-file" in caught.value.next_step


def test_the_user_is_named_as_the_cluster_knows_him(talker: Talker) -> None:
    talker.answers["POST", REVIEWS] = (201, review("jane\x1b[2J"))
    assert user_of(talker) == "jane[2J"
    assert talker.asked == [("POST", REVIEWS, f"Bearer {TOKEN}")]


def test_who_is_known_and_may_not_ask_who_he_is_passes(talker: Talker) -> None:
    talker.answers["POST", REVIEWS] = (403, {"kind": "Status", "message": "no"})
    assert user_of(talker) == ""


def test_a_cluster_before_1_28_is_asked_in_another_way(talker: Talker) -> None:
    talker.answers["GET", "/api"] = (200, {"kind": "APIVersions"})
    assert user_of(talker) == ""
    talker.answers["GET", "/api"] = (401, {"kind": "Status", "message": "Unauthorized"})
    with pytest.raises(ClusterError, match="does not accept this token"):
        user_of(talker)


def test_a_wrong_token_is_told_and_not_shown(talker: Talker) -> None:
    talker.answers["POST", REVIEWS] = (401, {"kind": "Status", "message": "Unauthorized"})
    with pytest.raises(ClusterError, match="does not accept this token") as caught:
        user_of(talker)
    assert "Nothing was kept" in caught.value.next_step
    assert TOKEN not in str(caught.value)


def test_a_ca_that_the_system_does_not_know_leads_to_the_hash(talker: Talker) -> None:
    with pytest.raises(ClusterError, match="not the one that it must be") as caught:
        user_of(talker, None)
    assert "--ca-hash" in caught.value.next_step
    assert talker.asked == []
