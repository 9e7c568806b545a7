"""`devlink failover` beside an agent that answers as it should, or not at all."""

import json
from pathlib import Path

import pytest

from devlink.errors import UsageError
from devlink.rpc import varlink
from tests.cli.fakes import FakePeer
from tests.cli.test_session import Command, devlink, socket_path  # noqa: F401 - fixtures

ANSWER = {"session": "qa", "before": "172.16.0.13", "gateway": "172.16.0.16"}


def test_it_says_who_carries_the_packets_now_and_what_that_cost(devlink: Command, socket_path: Path) -> None:  # noqa: F811
    with FakePeer(socket_path, {"Failover": [varlink.reply(ANSWER)]}):
        code, out, err = devlink("failover")
    assert code == 0
    assert out == "qa goes by 172.16.0.16 now, and no more by 172.16.0.13.\n"
    assert "ClusterIPs" in err


def test_a_choice_that_is_so_already_cost_nothing(devlink: Command, socket_path: Path) -> None:  # noqa: F811
    with FakePeer(socket_path, {"Failover": [varlink.reply({**ANSWER, "before": "172.16.0.16"})]}):
        code, out, err = devlink("failover", "172.16.0.16")
    assert (code, out, err) == (0, "qa goes by 172.16.0.16 already.\n", "")


def test_json_is_what_the_agent_says(devlink: Command, socket_path: Path) -> None:  # noqa: F811
    with FakePeer(socket_path, {"Failover": [varlink.reply(ANSWER)]}):
        code, out, _ = devlink("failover", "-o", "json")
    assert (code, json.loads(out)) == (0, ANSWER)


@pytest.mark.parametrize("arguments", [(), ("172.16.0.16",)])
def test_without_an_agent_nothing_is_up(devlink: Command, arguments: tuple[str, ...]) -> None:  # noqa: F811
    code, out, err = devlink("failover", *arguments)
    assert (code, out) == (3, "")
    assert "devlink up" in err


def test_an_unknown_gateway_is_a_wrong_use(devlink: Command, socket_path: Path) -> None:  # noqa: F811
    refusal = UsageError("192.0.2.1 cannot carry anything of qa.", why="Next hops that it has here: 172.16.0.13.")
    with FakePeer(socket_path, {"Failover": [varlink.error_reply("io.devlink.Agent", refusal)]}):
        code, _, err = devlink("failover", "192.0.2.1")
    assert code == 2
    assert "172.16.0.13" in err
