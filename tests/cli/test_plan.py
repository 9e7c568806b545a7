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
        check_foreign([replace(taken, metric=50).as_route()], ObservedNetwork(routes=(taken,)))
    for words in (conflict.value.what, conflict.value.why, conflict.value.next_step):
        assert words in err
    assert dry_run(taken, options=("--no-routes",))[0] == 0


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
    assert "#   remove these routes" in out
