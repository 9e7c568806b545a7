"""`devlink doctor`, as people and scripts meet it: silent where all is well, whatever is up."""

import signal
import time

import pytest

from devlink import lab
from tests.e2e.doctor import assert_silent, examine
from tests.e2e.link import PROFILE, Link
from tests.e2e.test_doctor_laptop import KUBECONFIG, kubeconfig

pytestmark = pytest.mark.lab


def test_it_is_silent_where_all_is_well_up_and_down(link: Link) -> None:
    assert_silent(link, PROFILE)
    link.up()
    assert_silent(link)
    link.down()


def test_without_a_profile_it_looks_at_the_laptop_all_the_same(link: Link) -> None:
    assert examine(link)["profiles"] == []


def test_its_text_fits_80_columns_and_has_no_colour_where_it_is_piped(link: Link) -> None:
    link.up()
    done = link.devlink("doctor")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_while_agent_api_and_names_are_silent_it_ends_within_ten_seconds_and_says_nothing_beside(link: Link) -> None:
    link.world.write_file(lab.LAPTOP, KUBECONFIG, kubeconfig("https://api.corp.example:6443"))
    link.up()
    hook = "type filter hook input priority 0;"
    link.world.run(
        lab.UPSTREAM, ["nft", f"table ip silence {{ chain c {{ {hook} udp dport 53 drop; }}; }}"], check=True
    )
    link.kill("agent", number=signal.SIGSTOP)
    began = time.monotonic()
    done = link.devlink("doctor", env={"KUBECONFIG": KUBECONFIG})
    took = time.monotonic() - began
    link.thaw()
    link.world.run(lab.UPSTREAM, ["nft", "delete table ip silence"], check=True)
    link.run("rm", KUBECONFIG)
    assert "DL-AGENT-SILENT" in done.stdout
    assert (done.returncode, done.stderr) == (4, "")
    assert took < 10.0
