"""A login whose token is in a keyring that is locked at login: the agent waits for it, and comes up when it is open.

GNOME Keyring on the session's bus, without a desktop: its password comes from a pipe instead of a window.
"""

import json
import time
from collections.abc import Iterator

import pytest

from tests.certificates import Authority
from tests.system.inside import lan
from tests.system.logins import AT_ONCE, RETRIED, log_out_everywhere, logged_in
from tests.system.machine import Machine
from tests.system.world import PROFILE, Link, add_user, address, machine, until

pytestmark = pytest.mark.system
FOLDER = f"{lan.SETTINGS}/api"
CA_FILE = "/etc/ssl/lab-ca.pem"
SERVER = f"{lan.NODE}:6443"
TOKEN = "sesame"
PROMPTER = ".local/share/dbus-1/services/org.gnome.keyring.SystemPrompter.service"
NOBODY_ANSWERS = "[D-BUS Service]\nName=org.gnome.keyring.SystemPrompter\nExec=/usr/bin/sleep 1000\n"
"""A window that waits for its password where nobody sits."""
QUICK = 5.0
"""Seconds in which `status` must have answered, whatever the keyring does."""


def files() -> dict[str, str]:
    authority = Authority()
    issued = authority.issue(lan.NODE)
    return {
        **AT_ONCE,
        "/etc/devlink/policy.toml": "lease_grace = 0.3\n",
        CA_FILE: authority.pem,
        f"{FOLDER}/cert.pem": issued.certificate,
        f"{FOLDER}/key.pem": issued.key,
        f"{FOLDER}/token": TOKEN,
        f"{FOLDER}/profile.yaml": PROFILE,
    }


@pytest.fixture(scope="module", params=["bookworm", pytest.param("trixie", marks=pytest.mark.matrix)])
def laptop(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """carol has logged in to a cluster, with the token in her keyring, and has the service; now she is not there."""
    api = ("/usr/bin/python3", "/usr/lib/devlink-lab/api.py", FOLDER)
    with machine(request.param, Link.NETWORKD, files=files()) as booted:
        booted.run("systemd-run", "--quiet", "nsenter", "--net=/run/netns/node", *api)
        booted.run("sh", "-c", "until ip netns exec node ss -Hlnt | grep -q ':6443 '; do sleep .02; done")
        add_user(booted, "carol", {})
        with logged_in(booted, "carol"):
            unlock(booted)
            login = ("login", SERVER, "--name", "lab", "--ca-file", CA_FILE, "--token-stdin")
            booted.run("/usr/bin/devlink", *login, user="carol", input=TOKEN)
            booted.devlink("service", "install", "--no-start", user="carol")
            log_out_everywhere(booted, "carol")
        yield booted


@pytest.fixture(autouse=True)
def gone(laptop: Machine) -> Iterator[None]:
    yield
    log_out_everywhere(laptop, "carol")
    until(lambda: address(laptop, lan.WEB_NAME), "")
    # What the cluster gave once would do without the keyring.
    laptop.run("rm", "-rf", "/home/carol/.cache/devlink", f"/home/carol/{PROMPTER}")


def unlock(laptop: Machine) -> None:
    """carol opens her keyring, which is made where there is none: by another program in place of the one that had it,
    so that an agent which was asking at that moment waits for an answer that never comes."""
    text = "printf moria | gnome-keyring-daemon --replace --unlock --components=secrets"
    laptop.run("sh", "-c", text, user="carol")


def waits_for(laptop: Machine) -> str:
    """What the agent waits for, as `status` says it; empty while it waits for nothing."""
    began = time.monotonic()
    done = laptop.devlink("status", "-o", "json", user="carol", check=False)
    assert time.monotonic() - began < QUICK
    waiting: list[dict[str, str]] = json.loads(done.stdout)["waiting"]
    return " ".join(f"{each['why']} {each['next_step']}" for each in waiting)


def test_while_the_keyring_is_locked_it_waits_and_then_comes_up_by_itself(laptop: Machine) -> None:
    with logged_in(laptop, "carol"):
        until(lambda: "keyring" in waits_for(laptop).lower())
        told = waits_for(laptop)
        assert "locked" in told
        assert "Unlock it" in told
        assert TOKEN not in told
        assert address(laptop, lan.WEB_NAME) == ""
        unlock(laptop)
        until(lambda: address(laptop, lan.WEB_NAME), lan.WEB, RETRIED)
        assert waits_for(laptop) == ""
        found = laptop.run("grep", "-r", "--files-with-matches", TOKEN, "/home/carol", "/run/user", check=False)
        assert found.stdout == ""
        assert TOKEN not in laptop.journal()


@pytest.mark.matrix
def test_what_the_cluster_gave_before_comes_up_without_the_keyring(laptop: Machine) -> None:
    with logged_in(laptop, "carol"):
        unlock(laptop)
        until(lambda: address(laptop, lan.WEB_NAME), lan.WEB, RETRIED)
        log_out_everywhere(laptop, "carol")
    with logged_in(laptop, "carol"):
        until(lambda: address(laptop, lan.WEB_NAME), lan.WEB)


@pytest.mark.matrix
def test_a_window_that_nobody_answers_hangs_nothing(laptop: Machine) -> None:
    laptop.write(f"/home/carol/{PROMPTER}", NOBODY_ANSWERS)
    with logged_in(laptop, "carol"):
        until(lambda: "keyring" in waits_for(laptop).lower(), limit=40)
        assert "locked" not in waits_for(laptop)
        began = time.monotonic()
        laptop.run("systemctl", "stop", f"user@{laptop.run('id', '-u', 'carol').stdout.strip()}.service")
        assert time.monotonic() - began < QUICK
