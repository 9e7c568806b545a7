"""The table by which a mode is chosen, on what whole systems show (tests/system/inside/show_facts.py; a file each)."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devlink.resolvers import modes
from devlink.resolvers.detect import detect
from devlink.resolvers.facts import Facts, Program, ResolvConfFile
from devlink.resolvers.modes import all_modes, splits
from devlink.resolvers.observe import owner_of
from devlink.resolvers.resolv_conf import parse

SYSTEMS = Path(__file__).with_name("systems")
PLAIN_HOSTS = ("files", "mdns4_minimal", "[NOTFOUND=return]", "dns")


def file_of(text: str | None, leads_to: str = "") -> ResolvConfFile:
    content = text or ""
    return ResolvConfFile(
        leads_to=leads_to, content=parse(content), owner=owner_of(content)
    )  # fmt: skip


def facts_of(system: str) -> Facts:
    shown: dict[str, Any] = json.loads((SYSTEMS / f"{system}.json").read_text("utf-8"))
    return Facts(
        file=file_of(shown["resolv.conf"], shown["leads_to"]),
        hosts=tuple(shown["hosts"]),
        services=shown["services"],
        programs={name: Program(**each) for name, each in shown["programs"].items()},
    )


def chosen(facts: Facts) -> list[str]:
    return [choice.mode.name for choice in detect(facts, all_modes())]


EXPECTED = {
    "resolved": ["systemd-resolved", "direct"],
    "resolved-nm": ["systemd-resolved", "direct"],
    "nm-dnsmasq": ["NetworkManager-dnsmasq", "direct"],
    "nm": ["direct", "NetworkManager"],
    "openresolv": ["openresolv", "direct"],
    "resolvconf": ["direct", "debian-resolvconf"],
    "plain": ["direct"],
}


@pytest.mark.parametrize("system", sorted(path.stem for path in SYSTEMS.iterdir()))
def test_on_each_system_the_best_way_comes_first_and_the_file_itself_last(system: str) -> None:
    kind = system.split("-", 1)[1] if system.startswith(("bookworm-", "trixie-", "sid-")) else system
    assert chosen(facts_of(system)) == EXPECTED[kind]


def test_each_choice_has_its_reason_and_each_mode_comes_once() -> None:
    for path in SYSTEMS.iterdir():
        choices = detect(facts_of(path.stem), all_modes())
        assert all(choice.reason for choice in choices)
        assert len({choice.mode for choice in choices}) == len(choices)


Change = Callable[[Facts], Facts]


def without_services(facts: Facts) -> Facts:
    return replace(facts, services={})


def with_file(text: str | None, leads_to: str = "") -> Change:
    return lambda facts: replace(facts, file=file_of(text, leads_to))


def with_plain_hosts(facts: Facts) -> Facts:
    return replace(facts, hosts=PLAIN_HOSTS)


@pytest.mark.parametrize(
    ("system", "changes", "modes"),
    [
        pytest.param("trixie-resolved", [with_plain_hosts], ["systemd-resolved", "direct"], id="by the stub alone"),
        pytest.param(
            "trixie-resolved",
            [with_plain_hosts, with_file("nameserver 127.0.0.53\n")],
            ["systemd-resolved", "direct"],
            id="a stub that nobody has put a header over",
        ),
        pytest.param(
            "trixie-resolved",
            [with_plain_hosts, with_file("nameserver 192.0.2.1\n")],
            ["direct"],
            id="resolved runs, and nobody asks it",
        ),
        pytest.param(
            "trixie-resolved",
            [with_plain_hosts, with_file("nameserver 192.0.2.1\n", "/run/systemd/resolve/resolv.conf")],
            ["direct"],
            id="libc goes round resolved by the file of its servers",
        ),
        pytest.param("trixie-resolved", [without_services], ["direct"], id="resolved is stopped"),
        pytest.param(
            "sid-nm", [without_services], ["direct"], id="NetworkManager wrote the file once, and does not run"
        ),
        pytest.param(
            "sid-nm", [with_file("nameserver 192.0.2.1\n")], ["direct"], id="a person's file beside NetworkManager"
        ),
        pytest.param(
            "bookworm-nm-dnsmasq",
            [with_file("nameserver 192.0.2.1\n")],
            ["direct"],
            id="a person's file beside NetworkManager's dnsmasq",
        ),
        pytest.param("resolvconf", [with_file("nameserver 192.0.2.1\n")], ["direct"], id="resolvconf is passed by"),
        pytest.param("openresolv", [with_file(None)], ["direct"], id="there is no file"),
        pytest.param("plain", [with_file(None)], ["direct"], id="there is no file, and nobody"),
    ],
)
def test_what_is_installed_but_not_asked_is_passed_by(system: str, changes: list[Change], modes: list[str]) -> None:
    facts = facts_of(system)
    for change in changes:
        facts = change(facts)
    assert chosen(facts) == modes


def test_a_sixth_mode_is_a_file_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sixth.py").write_text(
        "from devlink.resolvers.modes.direct import Direct\n"
        "from devlink.resolvers.mode import Row\n"
        "class Sixth(Direct):\n"
        "    name = 'sixth'\n"
        "    rows = (Row(rank=5, reason=lambda facts: 'it comes before all'),)\n"
        "MODE = Sixth\n"
    )
    monkeypatch.setattr(modes, "__path__", [*modes.__path__, str(tmp_path)])
    all_modes.cache_clear()
    try:
        assert chosen(facts_of("trixie-resolved")) == ["sixth", "systemd-resolved", "direct"]
    finally:
        all_modes.cache_clear()
        sys.modules.pop("devlink.resolvers.modes.sixth")


def test_only_some_modes_split() -> None:
    assert splits("systemd-resolved")
    assert not splits("direct")
    assert not splits("")
