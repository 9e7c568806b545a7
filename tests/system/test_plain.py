"""A laptop whose /etc/resolv.conf is a plain file that nobody else writes."""

import pytest

from tests.system.inside import lan
from tests.system.world import PLAIN, Link, leaks, machine, questions, snapshot

pytestmark = pytest.mark.system


def test_names_work_while_it_is_up_and_all_is_as_it_was_afterwards() -> None:
    with machine("bookworm", Link.STATIC, resolv_conf=PLAIN) as laptop:
        before = snapshot(laptop)
        laptop.devlink("up", "qa")
        assert laptop.run("getent", "hosts", lan.WEB_NAME, user="bob").stdout.split()[0] == lan.WEB
        assert laptop.run("getent", "hosts", lan.WIKI).stdout.split()[0] == lan.ORDINARY[lan.OFFICE_DNS][lan.WIKI]
        assert laptop.run("curl", "-sS", f"http://{lan.WEB_NAME}/").stdout == "web\n"
        laptop.devlink("down", "qa")
        assert before.diff(snapshot(laptop)) == []
        assert f"{lan.WIKI}. A" in questions(laptop)
        assert leaks(laptop) == []
