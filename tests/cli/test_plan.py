"""`up --dry-run` tells what `up` would do: routes, pins, findings, and the conflict that would stop it."""

import ipaddress
import sys
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from devlink.cli import root
from devlink.core.network import ObservedNetwork, ObservedRoute
from devlink.core.network import Path as Way
from devlink.errors import ConflictError, HelperError
from devlink.helper.admission import check_foreign
from devlink.resolvers.facts import Facts
from tests.core.model_kernel import as_route
from tests.core.profiles import SAMPLE

DryRun = Callable[..., tuple[int, str, str]]
GATEWAYS = (ip_address("172.16.0.13"), ip_address("fd00:16::13"))
DEFAULT = ObservedRoute(destination=ip_network("0.0.0.0/0"), next_hop=ip_address("10.20.0.1"), oif="eth0", protocol=16)
LAN = ObservedRoute(destination=ip_network("10.0.0.0/8"), oif="eth0", protocol=2)


@pytest.fixture
def dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> DryRun:
    """Plans the sample on a laptop with these routes of others and these DNS servers: exit code, stdout, stderr."""
    path = tmp_path / "qa.yaml"
    path.write_text(SAMPLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def run(
        *routes: ObservedRoute, upstreams: tuple[str, ...] | HelperError = (), options: tuple[str, ...] = ()
    ) -> tuple[int, str, str]:
        def read_ways(_: object) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
            if isinstance(upstreams, HelperError):
                raise upstreams
            return tuple(map(ip_address, upstreams))

        observed = ObservedNetwork(routes=routes, paths=dict.fromkeys(GATEWAYS, Way(oif="eth0")))
        monkeypatch.setattr("devlink.cli.plan.observe", lambda _: observed)
        monkeypatch.setattr("devlink.helper.resolver.observe", lambda _: Facts())
        monkeypatch.setattr("devlink.resolvers.modes.direct.Direct.read_ways", read_ways)
        monkeypatch.setattr(sys, "argv", ["devlink", "up", str(path), "--dry-run", *options])
        code = root.run()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def pins(out: str) -> list[str]:
    return [line.split()[3] for line in out.splitlines() if line.endswith("# keeps the way that it has")]


def test_a_route_of_another_ends_it_as_it_would_end_up(dry_run: DryRun, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = ObservedRoute(destination=ip_network("10.20.0.0/16"), oif="tun0", protocol=4)
    monkeypatch.setattr("devlink.kernel.owners.link_kind", lambda _: "tun")
    code, out, err = dry_run(taken)
    assert (code, out) == (5, "")
    with pytest.raises(ConflictError) as conflict:
        check_foreign([as_route(replace(taken, metric=50))], ObservedNetwork(routes=(taken,)), uid=1000)
    for words in (conflict.value.what, conflict.value.why, conflict.value.next_step):
        assert words in err
    assert dry_run(taken, options=("--no-routes",))[0] == 0


def test_a_route_to_just_an_ordinary_dns_server_is_refused_as_up_would(dry_run: DryRun, tmp_path: Path) -> None:
    profile = tmp_path / "qa.yaml"
    profile.write_text(SAMPLE.replace("10.254.0.0/16", "10.254.0.10/32", 1))
    code, out, err = dry_run(upstreams=("10.254.0.10",))
    assert (code, out) == (5, "")
    assert "10.254.0.10 must keep the way that it has" in err
    assert dry_run(upstreams=("10.254.0.10",), options=("--no-routes",))[0] == 0


def test_the_ways_of_default_gateway_and_upstreams_are_kept_as_up_would_keep_them(dry_run: DryRun) -> None:
    code, out, _ = dry_run(DEFAULT, LAN, upstreams=("10.20.0.53", "10.254.0.53", "192.0.2.53"))
    assert code == 0
    assert pins(out) == ["10.20.0.1/32", "10.20.0.53/32", "10.254.0.53/32"]
    assert pins(dry_run(DEFAULT, LAN, upstreams=("10.20.0.53",), options=("--no-routes",))[1]) == []


def test_upstreams_that_this_user_may_not_read_are_said_to_be_missing(dry_run: DryRun) -> None:
    code, out, _ = dry_run(DEFAULT, LAN, upstreams=HelperError("the-file could not be read."))
    assert code == 0
    assert pins(out) == ["10.20.0.1/32"]
    assert "# the ordinary DNS servers cannot be read" in out
    assert "the-file could not be read." in out


def test_the_findings_are_told_with_what_to_do(dry_run: DryRun) -> None:
    inside = ObservedRoute(destination=ip_network("10.20.5.0/24"), oif="docker0", protocol=2)
    _, out, _ = dry_run(inside)
    (line,) = [line for line in out.splitlines() if "DL-ROUTE-KEPT" in line]
    assert "10.20.5.0/24 dev docker0" in line
    assert "#   if their addresses should be the cluster's: remove these routes" in out


def test_what_is_overridden_is_shown_with_the_rule_and_with_what_others_keep(dry_run: DryRun) -> None:
    bridge = ObservedRoute(destination=ip_network("10.20.5.0/24"), oif="docker0", protocol=2)
    taken = ObservedRoute(destination=ip_network("10.20.0.0/16"), oif="tun0", protocol=4)
    code, out, _ = dry_run(DEFAULT, taken, bridge, options=("--override", "10.20.0.0/16"))
    assert code == 0
    assert "ip -4 rule add pref 5200 lookup 5230 protocol 231\n" in out
    assert "ip -6 rule" not in out
    assert "ip route add throw 10.20.5.0/24 proto 231 metric 50 table 5230  # stays with who has it" in out
    assert "ip route add 10.20.0.0/16 via 172.16.0.13 dev eth0 proto 231 metric 50 table 5230 mtu 1480" in out
    assert "ip route add throw 10.20.0.1/32 proto 231 metric 50 table 5230  # keeps the way that it has" in out
    assert "DL-ROUTE-OVERRIDDEN" in out


def test_what_is_excluded_is_no_conflict_and_gets_no_route(dry_run: DryRun) -> None:
    taken = ObservedRoute(destination=ip_network("10.20.0.0/16"), oif="tun0", protocol=4)
    code, out, _ = dry_run(taken, options=("--exclude", "10.20.0.0/16"))
    assert code == 0
    assert "# no route to 10.20.0.0/16: you excluded it" in out
    assert "ip route add 10.20." not in out
    assert "ip route add 10.254.0.0/16" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--exclude", "10.20.0.1/16"), "'10.20.0.1/16' has host bits set"),
        (("--exclude", "all"), "--exclude: 'all'"),
        (("--override", "everything"), "--override: 'everything'"),
        (("--override", "10.30.0.0/16"), "--override 10.30.0.0/16: profile qa has nothing there."),
    ],
)
def test_a_choice_that_is_no_prefix_of_the_profile_is_refused_in_words(
    dry_run: DryRun, options: tuple[str, ...], words: str
) -> None:
    code, out, err = dry_run(options=options)
    assert (code, out) == (2, "")
    assert words in err
    assert "Why: " in err
    assert "Next: " in err


def test_what_config_toml_says_of_the_profile_holds_too(dry_run: DryRun, tmp_path: Path) -> None:
    (tmp_path / "devlink").mkdir()
    (tmp_path / "devlink" / "config.toml").write_text('[profiles.qa]\nexclude = ["10.20.0.0/16"]\n')
    _, out, _ = dry_run(options=("--exclude", "10.254.0.0/16"))
    assert "# no route to 10.20.0.0/16, 10.254.0.0/16: you excluded it" in out
