"""What 10,000 routes cost: changed beside `ip -batch`, read beside `ip route`, and turned to another gateway.

`make bench` runs it, in a network of its own. Deeds are done in turn (A B A B ...), so that a machine whose speed
drifts is fair to both; what counts is the ratio of the medians: of wall time, and of CPU where other work is going on.
"""

import argparse
import asyncio
import json
import resource
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

from devlink.core.network import Change, Holding, Nexthop, Route, RouteDiff
from devlink.core.plan import Detour
from devlink.helper.installed import Installed, SessionRoutes
from devlink.helper.journal import Journal
from devlink.helper.machine import Machine
from devlink.helper.parts import Parts
from devlink.helper.policy import Policy
from devlink.kernel.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, Request, pack_message
from devlink.kernel.nexthops import RTM_NEWNEXTHOP, encode_nexthop
from devlink.kernel.ours import observe_ours
from devlink.kernel.routes import apply
from devlink.lab import availability
from tests.helper.fakes import Nameless
from tests.kernel.private_network import in_private_network, make_links

GATEWAY, SPARE = ip_address("192.0.2.9"), ip_address("192.0.2.10")
COUNT = 10_000
RULE = "{:<56} {:>9} {:>9} {:>7} {:>7}"
Deed = Callable[[], None]
Figures = dict[str, list[tuple[float, float]]]
"""Milliseconds of wall time and of CPU, ours and our programs', by deed."""


def plain(hop: object = GATEWAY) -> tuple[Route, ...]:
    """COUNT routes by one next hop."""
    assert hop in (GATEWAY, SPARE)
    via = GATEWAY if hop is GATEWAY else SPARE
    return tuple(
        Route(destination=ip_network(f"10.{n >> 8}.{n & 255}.0/24"), next_hop=via, oif="v0") for n in range(COUNT)
    )


def batch(verb: str, routes: tuple[Route, ...], *, foreign: bool = False) -> Deed:
    """The same by iproute2."""
    text = "".join(f"route {verb} {route}\n" for route in routes)
    if foreign:
        text = text.replace("proto 231", "proto bird")
    return lambda: _run(["ip", "-batch", "-"], text)


def _run(argv: list[str], text: str = "") -> None:
    subprocess.run(argv, input=text, text=True, check=True, stdout=subprocess.DEVNULL)


def measured(figures: Figures, name: str, deed: Deed) -> None:
    before, began = _cpu(), time.perf_counter()
    deed()
    took = time.perf_counter() - began
    figures.setdefault(name, []).append((took * 1000, (_cpu() - before) * 1000))


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def in_turn(rounds: int, *deeds: tuple[str, Deed]) -> Figures:
    """The figures of each deed, done in turn, after one round that does not count."""
    figures: Figures = {}
    for number in range(rounds + 1):
        for name, deed in deeds:
            if number:
                measured(figures, name, deed)
            else:
                deed()
    return figures


def changes(rounds: int) -> list[dict[str, object]]:
    """Added, replaced and deleted."""
    first, second = plain(), plain(SPARE)
    figures = in_turn(
        rounds,
        ("add", lambda: apply(Change(routes=RouteDiff(add=first)))),
        ("replace", lambda: apply(Change(routes=RouteDiff(replace=second)))),
        ("delete", lambda: apply(Change(routes=RouteDiff(delete=second)))),
        ("ip add", batch("add", first)),
        ("ip replace", batch("replace", second)),
        ("ip delete", batch("del", second)),
    )
    return [row(f"{COUNT} routes, {v}, over ip -batch", figures, v, f"ip {v}") for v in ("add", "replace", "delete")]


def reads(rounds: int) -> list[dict[str, object]]:
    """What is ours, among as many routes of others and where all are ours."""
    routes, few = plain(), tuple(replace(each, metric=51) for each in plain()[:10])
    rows = []
    desired = Holding(routes=routes + few)
    for what, foreign in ((f"ours read among {COUNT}", True), (f"{COUNT} of ours read", False)):
        batch("add", routes, foreign=foreign)()
        apply(Change(routes=RouteDiff(add=few)))
        figures = in_turn(
            rounds, ("ours", lambda: _forget(observe_ours())), ("ip", lambda: _run(["ip", "route", "show"]))
        )
        rows.append(row(f"{what}, over ip route", figures, "ours", "ip"))
        if not foreign:
            figures = in_turn(
                rounds,
                ("ours", lambda: _forget(observe_ours().change_to(desired))),
                ("ip", lambda: _run(["ip", "route", "show"])),
            )
            rows.append(row(f"{what} and compared, over ip route", figures, "ours", "ip"))
        batch("del", routes, foreign=foreign)()
        apply(Change(routes=RouteDiff(delete=few)))
    return rows


def _forget(_: object) -> None:
    """What a deed makes is of no matter."""


def switches(rounds: int) -> list[dict[str, object]]:
    """All of them turned to another gateway: by one message, by that message alone, and by a replace of each."""
    first, second = plain(), plain(SPARE)
    apply(Change(routes=RouteDiff(add=first)))
    figures = in_turn(
        rounds,
        ("there", lambda: apply(Change(routes=RouteDiff(replace=second)))),
        ("back", lambda: apply(Change(routes=RouteDiff(replace=first)))),
    )
    apply(Change(routes=RouteDiff(delete=first)))
    by_replace = figures["there"] + figures["back"]
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        place = Path(folder)
        machine = Machine(policy=Policy(), journal=Journal(place / "journal"), parts=Parts(place, private=True))
        machine.names = Nameless()  # type: ignore[assignment]  # has what is used
        installed = Installed(sessions=(SessionRoutes(session="qa", routes=first),))
        runner.run(machine.converge(installed, wanted=installed))
        (nexthop,) = observe_ours().nexthops
        to = Detour(next_hop=GATEWAY, via=SPARE, oif="v0")
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as raw:
            figures = in_turn(
                rounds,
                ("ours", lambda: runner.run(machine.switch("qa", GATEWAY, to))),
                ("raw", lambda: _send(raw, nexthop)),
                ("ours", lambda: runner.run(machine.switch("qa", GATEWAY, to))),
                ("raw", lambda: _send(raw, nexthop)),
            )
    figures["replace"] = by_replace
    return [
        row(f"{COUNT} routes switched, over the message alone", figures, "ours", "raw"),
        row(f"{COUNT} routes switched, over a replace of each", figures, "ours", "replace"),
    ]


def _send(raw: socket.socket, nexthop: Nexthop) -> None:
    """The one message, with nothing around it."""
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    body = encode_nexthop(nexthop, socket.if_nametoindex(nexthop.oif))
    raw.send(pack_message(Request(RTM_NEWNEXTHOP, flags, body), 1))
    raw.recv(4096)


def row(what: str, figures: Figures, ours: str, other: str) -> dict[str, object]:
    """One line of the table."""
    (wall, cpu), (other_wall, other_cpu) = (
        [statistics.median(column) for column in zip(*figures[name], strict=True)] for name in (ours, other)
    )
    ratio, of_cpu = wall / other_wall, cpu / max(other_cpu, 0.01)
    print(RULE.format(what, f"{wall:.1f} ms", f"{other_wall:.1f} ms", f"{ratio:.2f} x", f"{of_cpu:.2f} x"))
    return {
        "what": what,
        "ours_ms": round(wall, 2),
        "other_ms": round(other_wall, 2),
        "ratio": round(ratio, 2),
        "cpu_ratio": round(of_cpu, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    arguments = parser.parse_args()
    why_not = availability.available()
    if why_not is not None:
        print(f"routes: not measured: {why_not}")
        return

    def body() -> None:
        make_links()
        print(RULE.format("median", "devlink", "beside", "ratio", "of CPU"))
        rows = [*changes(arguments.runs), *reads(arguments.runs), *switches(arguments.runs)]
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
        print(end="", flush=True)

    in_private_network(body)


if __name__ == "__main__":
    main()
