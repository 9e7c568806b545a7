"""Whether a user may relay is asked in few requests, and said with what lacks and how to get it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from devlink.cluster.access import Access
from devlink.core.findings import Severity
from devlink.relay.rights import FORWARD, LOOK_UP, MANIFEST, REVIEWS, RIGHTS, ROLE, Right, Rights, check_rights

ROOT = Path(__file__).parents[2]
EVERYWHERE = ""
POST, GET = FORWARD


class Reviewing:
    """An API that allows what it was told, by namespace."""

    def __init__(self, allowed: Mapping[str, object], namespace: str = "") -> None:
        self.access = Access(name="qa", server="https://api.example", namespace=namespace)
        self.allowed: dict[str, set[Right]] = {name: set(rights) for name, rights in allowed.items()}  # type: ignore[call-overload]
        self.asked: list[tuple[str, Right]] = []

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        assert path == REVIEWS
        asked = body["spec"]["resourceAttributes"]
        resource = "/".join(part for part in (asked["resource"], asked["subresource"]) if part)
        right = Right(asked["verb"], resource, asked["group"])
        self.asked.append((asked["namespace"], right))
        held = self.allowed.get(EVERYWHERE, set()) | self.allowed.get(asked["namespace"], set())
        return {"status": {"allowed": right in held}}

    def check(self, *namespaces: str, known: Rights | None = None) -> Rights:
        self.asked.clear()
        return asyncio.run(check_rights(self, namespaces, known=known))


def test_who_may_everything_is_asked_once_for_each_right() -> None:
    api = Reviewing({EVERYWHERE: RIGHTS})
    rights = api.check("qa")
    assert rights.is_enough
    assert rights.reached == ()
    assert rights.finding() is None
    assert len(api.asked) == len(RIGHTS)


def test_a_right_of_one_namespace_is_enough_for_that() -> None:
    api = Reviewing({EVERYWHERE: LOOK_UP, "qa": FORWARD})
    rights = api.check("qa", "payroll")
    assert rights.is_enough
    assert rights.reached == ("qa",)
    assert rights.finding() is None
    assert [right for name, right in api.asked if name == "qa"] == list(FORWARD), "the others are known already"


def test_the_namespace_of_the_context_is_asked_too() -> None:
    assert Reviewing({"mine": RIGHTS}, namespace="mine").check().reached == ("mine",)
    assert Reviewing({"default": RIGHTS}).check("qa").reached == ("default",)


def test_without_the_rights_it_is_an_error_that_says_what_lacks_and_who_can_help() -> None:
    rights = Reviewing({EVERYWHERE: LOOK_UP}).check("qa")
    assert not rights.is_enough
    finding = rights.finding()
    assert finding is not None
    assert finding.severity is Severity.ERROR
    assert "create pods/portforward, get pods/portforward" in finding.evidence
    assert "kubectl auth can-i create pods --subresource=portforward" in finding.fix
    assert ROLE in finding.fix


@pytest.mark.parametrize("right", FORWARD)
def test_one_verb_of_port_forward_is_enough_and_the_other_is_a_warning(right: Right) -> None:
    rights = Reviewing({EVERYWHERE: (*LOOK_UP, right)}).check()
    finding = rights.finding()
    assert rights.is_enough
    assert finding is not None
    assert finding.severity is Severity.WARNING
    assert str(right) not in finding.evidence


@pytest.mark.parametrize("lacking", LOOK_UP)
def test_without_one_right_to_look_up_nothing_is_relayed(lacking: Right) -> None:
    assert not Reviewing({EVERYWHERE: set(RIGHTS) - {lacking}}).check().is_enough


def test_asked_again_only_port_forward_is_and_a_withdrawn_right_is_noticed() -> None:
    api = Reviewing({EVERYWHERE: RIGHTS})
    rights = api.check(known=api.check())
    assert rights.is_enough
    assert len(api.asked) == len(FORWARD)
    api.allowed[EVERYWHERE] -= {*FORWARD}
    assert not api.check(known=rights).is_enough


def test_asked_again_a_right_that_one_namespace_lost_is_noticed() -> None:
    api = Reviewing({EVERYWHERE: (*LOOK_UP, POST), "qa": {GET}, "dev": {GET}})
    before = api.check("qa", "dev")
    assert before.lacking == ()
    api.allowed[EVERYWHERE] -= {POST}
    api.allowed["qa"] -= {GET}
    after = api.check(known=before)
    assert after.reached == ("dev",)
    api.allowed["dev"] -= {GET}
    assert not api.check(known=after).is_enough


def test_an_odd_answer_allows_nothing() -> None:
    class Odd(Reviewing):
        async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
            return {"status": ["allowed"]}

    assert not Odd({}).check().is_enough


@pytest.mark.parametrize("file", ["relay.yaml", "relay-namespace.yaml"])
def test_the_manifests_give_what_is_asked_for(file: str) -> None:
    role = next(yaml.safe_load_all((ROOT / MANIFEST).with_name(file).read_text()))
    assert role["metadata"]["name"] == ROLE
    given = {
        Right(verb, resource, group)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
        for group in rule["apiGroups"]
    }
    assert given >= set(RIGHTS)
