"""Whatever happens to links, addresses, routes and processes: afterwards all is as wanted, and then as before."""

import random
import time
from collections.abc import Callable, Iterator

import pytest

from devlink import lab
from tests.e2e.link import PROFILE, Link, linked

SEED = 231
DEFAULT = "ip route replace default via 172.16.0.1 proto static"
LONGEST_PAUSE = 0.6
"""Seconds between two blows, by chance."""
SETTLED = 60.0
"""Seconds for everything to be as wanted again; a failure, not a figure."""
THEFTS = 8
"""So often are our routes taken away in one run: the tenth time in a minute they would be left alone."""


@pytest.fixture(scope="module")
def node_lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    with linked(lab.network_a(), tmp_path_factory.mktemp("chaos") / "helper.log", grace=10.0) as link:
        yield link


class Chaos:
    """Blows by chance, each of which something on a laptop deals out now and then."""

    def __init__(self, link: Link, seed: int) -> None:
        self.link = link
        self.chance = random.Random(seed)
        self.thefts = 0
        self.dealt: list[str] = []
        self.is_there = True
        """Whether there is a session still: each agent that died was followed by one that has it."""
        self._blows: list[Callable[[], object]] = [
            self.link_goes, self.address_changes, self.foreign_routes, self.theft, self.death,
        ]  # fmt: skip

    def go_on(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            blow = self.chance.choice(self._blows)
            self.dealt.append(blow.__name__)
            blow()
            time.sleep(self.chance.uniform(0, LONGEST_PAUSE))

    def shell(self, script: str) -> None:
        self.link.world.run(lab.LAPTOP, ["sh", "-c", script], check=True)

    def link_goes(self) -> None:
        pause = self.chance.uniform(0.05, 1.0)
        self.shell(f"ip link set eth0 down; sleep {pause:.2f}; ip link set eth0 up; {DEFAULT}")

    def address_changes(self) -> None:
        pause = self.chance.uniform(0.05, 1.0)
        self.shell(
            "ip address add 10.66.0.9/24 dev eth0; ip address del 172.16.0.100/24 dev eth0; "
            f"sleep {pause:.2f}; "
            f"ip address add 172.16.0.100/24 dev eth0; ip address del 10.66.0.9/24 dev eth0; {DEFAULT}"
        )

    def foreign_routes(self) -> None:
        """Of another program, inside ours and outside; gone again."""
        prefix = self.chance.choice(["10.20.73.96/28", "10.254.7.0/24", "198.18.0.0/16", "10.0.0.0/8"])
        self.shell(f"ip route add {prefix} via 172.16.0.1 proto 186; ip route del {prefix} proto 186")

    def theft(self) -> None:
        if self.thefts < THEFTS:
            self.thefts += 1
            self.shell(
                self.chance.choice(
                    [
                        "ip route flush proto 231; true",
                        "ip nexthop flush proto 231; true",
                        "ip rule flush protocol 231; true",
                        "ip route del 10.254.0.0/16; true",
                    ]
                )
            )

    def death(self) -> None:
        role = self.chance.choice(["agent", "helper", "forwarder"])
        self.dealt[-1] += f" of the {role}"
        self.link.kill(role)
        if role == "agent":  # its service manager, or its user, starts another
            self.link.devlink("up", PROFILE, timeout=60)
            self.is_there = bool(self.link.states())


def is_well(link: Link) -> bool:
    """Whether all is up, by the word of our own and of libc."""
    web = link.world.spec.service_name("web")
    return (
        link.devlink("status", timeout=60).returncode == 0
        and link.world.run(lab.LAPTOP, ["getent", "hosts", web]).returncode == 0
    )


@pytest.mark.lab
@pytest.mark.parametrize("seconds", [8, pytest.param(60, marks=[pytest.mark.matrix])])
def test_after_all_of_it_everything_is_as_wanted_and_then_as_before(node_lan: Link, seconds: int) -> None:
    link = node_lan
    before = link.world.snapshot()
    link.up()
    wanted = link.run("ip", "route", "show", "proto", "231")
    chaos = Chaos(link, SEED + seconds)
    try:
        chaos.go_on(seconds)
        if not chaos.is_there:  # its agent died while it could not be brought up anew
            link.wait_until(lambda: link.devlink("up", PROFILE).returncode == 0, "it can be brought up", SETTLED)
        link.wait_until(lambda: is_well(link), "all is well again", SETTLED)
        assert link.run("ip", "route", "show", "proto", "231") == wanted
        link.down()
        link.await_equal(before)
    except BaseException as error:
        error.add_note(f"seed {SEED + seconds}: {', '.join(chaos.dealt)}")
        raise
