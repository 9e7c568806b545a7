"""Doctor, explain and the profiles by the agent's socket: it says what the commands say, and changes nothing."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from devlink import lab
from devlink.core.codec import decode
from devlink.errors import ProtocolError, UsageError
from devlink.tui.records import Examined, Explained, Profiles
from tests.e2e.breakages import R2, dns_elsewhere, dropping
from tests.e2e.doctor import examine
from tests.e2e.link import PATIENCE, Link, linked
from tests.e2e.test_doctor_laptop import KUBECONFIG, kubeconfig

pytestmark = pytest.mark.lab

NAME, WEB = "by-gateway", "web.default.svc.cluster.local"
API = "https://192.0.2.80:6443"


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """Network A, whose DNS is not on the one gateway through which it is up; each test leaves it so."""
    with linked(dns_elsewhere(), tmp_path_factory.mktemp("looks") / "helper.log") as made:
        made.up(made.write_profile(NAME, lambda spec: spec.update(routing="gateway")))
        yield made


def environment(link: Link, **more: str) -> dict[str, str]:
    """Of a user's shell on that laptop."""
    pairs = (line.partition("=") for line in link.run("env", "-0").split("\0") if line)
    return {name: value for name, _, value in pairs} | more


def ask(link: Link, method: str, **parameters: Any) -> dict[str, Any]:
    """The answer; nothing is changed by it."""
    before = link.world.snapshot()
    with link.agent() as agent:
        said = agent.call(f"io.devlink.Agent.{method}", parameters)
    link.assert_equal(before)
    return said


class Asked(threading.Thread):
    """A call that goes on meanwhile."""

    def __init__(self, link: Link, method: str) -> None:
        super().__init__()
        self._method, self._agent = method, link.agent()
        self.said: dict[str, Any] = {}
        self.start()

    def run(self) -> None:
        with self._agent, suppress(ProtocolError):  # it ends so for who gives up
            self.said = self._agent.call(f"io.devlink.Agent.{self._method}")

    def give_up(self) -> None:
        self._agent.give_up()
        self.join(PATIENCE)


def outcomes(said: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What came of each check."""
    return [(check["check"], check["session"], check["outcome"]) for check in said["checks"]]


def wrong(said: dict[str, Any]) -> list[str]:
    """The codes of what is worth a warning."""
    return [finding["code"] for finding in said["findings"] if finding["severity"] != "info"]


def shape(tree: Any) -> Any:
    """Of which keys a tree is made."""
    if isinstance(tree, dict):
        return {key: shape(value) for key, value in tree.items()}
    return [shape(tree[0])] if isinstance(tree, list) and tree else type(tree).__name__


def test_the_agent_examines_as_the_command_does_and_finds_nothing_wrong(link: Link) -> None:
    said, command = ask(link, "Examine", environment=environment(link)), examine(link)
    assert wrong(said) == [], said
    assert said["profiles"] == command["profiles"] == [{"name": NAME, "up": True}]
    assert outcomes(said) == outcomes(command)
    assert shape(said["checks"]) == shape(command["checks"])
    assert decode(Examined, said).profiles[0].name == NAME


def test_what_is_broken_has_the_same_codes_by_either_way_and_meanwhile_others_are_answered(link: Link) -> None:
    states = []
    with dropping(link, R2):
        command, asked = link.start("doctor", "-o", "json"), Asked(link, "Examine")
        while asked.is_alive():
            states.append(link.states()[NAME])
        said = asked.said
        assert len(states) > 5, "it takes some seconds to see that packets do not come back"
        assert wrong(said) == wrong(json.loads(link.await_end(command)[1]))
        assert "DL-POD-HANGS" in wrong(said)
        assert shape(said["findings"][0]) == {
            "code": "str", "severity": "str", "title": "str", "evidence": "str", "fix": "str",
        }  # fmt: skip
    assert wrong(ask(link, "Examine", environment=environment(link))) == []


def test_who_goes_away_is_no_longer_looked_for_and_the_next_one_is_answered(link: Link) -> None:
    with dropping(link, R2):
        asked = Asked(link, "Examine")
        time.sleep(0.1)
        asked.give_up()
        assert (asked.is_alive(), asked.said) == (False, {})
    assert wrong(ask(link, "Examine", environment=environment(link))) == []


def test_a_name_is_explained_as_the_command_does_and_a_code_is_none(link: Link) -> None:
    proxied = environment(link, http_proxy="http://proxy.example:3128")
    said = ask(link, "Explain", what=WEB, environment=environment(link))
    done = link.devlink("explain", WEB, "-o", "json")
    assert done.returncode == 0, done.stdout
    command = json.loads(done.stdout)
    assert said["whole"]
    assert [link["link"] for link in said["links"]] == [link["link"] for link in command["links"]]
    assert (said["asked"], said["findings"]) == (command["asked"], command["findings"])
    assert shape(said["links"]) == shape(command["links"])
    assert decode(Explained, said).whole
    broken = ask(link, "Explain", what=f"http://{WEB}/", environment=proxied)
    assert [finding["code"] for finding in broken["findings"]] == ["DL-PROXY-CATCHES"]
    with link.agent() as agent, pytest.raises(UsageError, match="is the code of a finding"):
        agent.call("io.devlink.Agent.Explain", {"what": "DL-POD-HANGS"})


def test_where_nothing_is_up_it_is_said_what_up_would_mean_for_who_asks(link: Link) -> None:
    link.world.write_file(lab.LAPTOP, KUBECONFIG, kubeconfig(API))
    with link.agent():  # which keeps it from ending when nothing is up
        link.down()
        try:
            nothing = ask(link, "Examine", environment=environment(link))
            assert nothing["profiles"] == []
            assert wrong(nothing) == ["DL-PROFILE-NONE"]
            assert "devlink profile fetch" in nothing["findings"][0]["fix"]
            named = ask(link, "Examine", profile=f"/root/{NAME}.yaml", environment=environment(link))
            assert named["profiles"] == [{"name": NAME, "up": False}]
            assert wrong(named) == []
            away = ask(link, "Examine", environment=environment(link, KUBECONFIG=KUBECONFIG))
            assert wrong(away) == ["DL-PROFILE-AWAY"], "the caller's kubeconfig is asked, not the agent's"
            listed = ask(link, "ListProfiles", environment=environment(link, KUBECONFIG=KUBECONFIG))
            assert decode(Profiles, listed).contexts == tuple(listed["contexts"])
            assert (listed["profiles"], listed["default"], len(listed["contexts"])) == ([], "", 1)
            assert ask(link, "ListProfiles", environment=environment(link))["contexts"] == []
        finally:
            link.up(f"/root/{NAME}.yaml")
            link.run("rm", KUBECONFIG)
