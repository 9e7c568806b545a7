"""The command in a piece of advice."""

import pytest

from devlink.cli.root import COMMANDS
from devlink.tui.words.commands import OWN, command_of

PATCH = """kubectl patch felixconfiguration default --type=merge -p '{"spec": {"a": "b; c"}}'"""


@pytest.mark.parametrize(
    ("advice", "command"),
    [
        ("to go back: devlink failover 172.16.0.13", "devlink failover 172.16.0.13"),
        ("devlink up staging --replace", "devlink up staging --replace"),
        ("`devlink up` with qa puts them back", "devlink up"),
        ("run devlink doctor again; if it is so again, something hangs (devlink logs)", "devlink doctor"),
        ("devlink doctor looks at each part of that way; see `hosts:` in /etc/nsswitch.conf", "devlink doctor"),
        ("tell its publisher: devlink profile fetch shows the faults", "devlink profile fetch"),
        ("look at it and trust it, then go over to it: devlink trust b; devlink up b", "devlink trust b"),
        ("put its own route back: devlink up qa. If it goes away again, something deletes it", "devlink up qa"),
        ("is it spelled as it should be? If it is a cluster's: devlink up", "devlink up"),
        ("plug it in, or switch it on: sudo ip link set eth0 up", "sudo ip link set eth0 up"),
        ("let them in: sudo sysctl -w a.b=2 (keep it in /etc/sysctl.d); or not", "sudo sysctl -w a.b=2"),
        ("let it go on: kill -CONT 12; else end it: kill -KILL 12, then: devlink up", "kill -CONT 12"),
        ("`ip address` and `ip route` show what there is", "ip address"),
        ("see which networks there are (kubectl get servicecidrs), and add them", "kubectl get servicecidrs"),
        ("does a firewall drop it? sudo nft list ruleset", "sudo nft list ruleset"),
        ("Start it: sudo /opt/devlink/bin/devlink helper run", "sudo /opt/devlink/bin/devlink helper run"),
        ("/opt/devlink/bin/devlink helper restore", "/opt/devlink/bin/devlink helper restore"),
        (f"{PATCH}; then again", PATCH),
        ("put the folder of this one first: export PATH=/opt:$PATH", "export PATH=/opt:$PATH"),
        ("`devlink\nup`", "devlink up"),
        ("Take everything down with it (devlink down --all), and bring it up again.", "devlink down --all"),
        ("Is it ready? kubectl -n kube-system get pods. Else not.", "kubectl -n kube-system get pods"),
        ("sudo /usr/bin/devlink trust /x.yaml --hash a", "sudo /usr/bin/devlink trust /x.yaml --hash a"),
    ],
)
def test_the_first_command_is_copied_and_nothing_of_the_sentence_around_it(advice: str, command: str) -> None:
    assert command_of(advice) == command


@pytest.mark.parametrize(
    "advice",
    [
        "", "correct it in the profile", "devlink keeps the laptop's own network and says so", "sudo", "see `hosts:`",
        "the IP is up to you, or see whether ip is there", "devlink", "restart what runs it",
    ],
)  # fmt: skip
def test_advice_without_a_command_gives_none(advice: str) -> None:
    assert command_of(advice) == ""


def test_what_is_copied_is_one_line_without_what_a_terminal_would_obey() -> None:
    assert command_of("do: devlink up \x1b]0;evil\x07 qa\nrm -rf x") == "devlink up ?]0"


def test_each_command_of_ours_is_known_as_one() -> None:
    assert COMMANDS.keys() == OWN
