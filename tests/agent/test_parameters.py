"""What a caller passes along is of the type that the interface says, or refused."""

import os

import pytest

from devlink.agent.parameters import environment, parameter, texts
from devlink.errors import UsageError
from devlink.rpc.varlink import Call


def call(**parameters: object) -> Call:
    return Call(method="io.devlink.Agent.Up", parameters=parameters)


def test_what_is_not_given_is_the_default_and_what_is_given_is_itself() -> None:
    assert parameter(call(), "profile", str, "x") == parameter(call(profile=None), "profile", str, "x") == "x"
    assert parameter(call(profile=""), "profile", str, "x") == ""
    assert texts(call(exclude=["10.0.0.0/8"]), "exclude") == ["10.0.0.0/8"]
    assert texts(call(), "exclude") == []


def test_another_type_is_refused_by_its_name() -> None:
    with pytest.raises(UsageError, match=r"^io.devlink.Agent.Up: profile has the wrong type.") as caught:
        parameter(call(profile=["qa"]), "profile", str, "")
    assert caught.value.next_step == "Its types are in the interface io.devlink.Agent."
    with pytest.raises(UsageError, match="environment"):
        environment(call(environment=["PATH=/bin"]))


def test_the_environment_is_the_callers_else_our_own() -> None:
    assert environment(call(environment={"KUBECONFIG": "/k"})) == {"KUBECONFIG": "/k"}
    assert environment(call(environment={})) == {}
    assert environment(call()) == dict(os.environ)
