"""What 10,000 routes cost: changed beside `ip -batch`, read beside `ip route`, and turned to another gateway.

`make bench` runs it, in a network of its own. Deeds are done in turn (A B A B ...), so that a machine whose speed
drifts is fair to both; what counts is the ratio of the medians: of wall time, and of CPU where other work is going on.
"""

import asyncio
import json
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

from devlink.core.network import FIRST_NEXTHOP_ID, Change, Holding, Nexthop, Route, RouteDiff
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
from tests.benchmarks.limits import Limit, verdict
from tests.benchmarks.options import options
from tests.helper.fakes import Nameless
from tests.kernel.private_network import in_private_network, make_links

GATEWAY, SPARE = ip_address("192.0.2.9"), ip_address("192.0.2.10")
COUNT = 10_000
FIRST, SECOND = (
    Nexthop(id=FIRST_NEXTHOP_ID + place, next_hop=hop, oif="v0") for place, hop in enumerate((GATEWAY, SPARE))
)
"""The objects by which a session installs its routes."""
CHANGED, READ, SWITCHED = 1.0, 2.5, 2.7
"""The most of `ip -batch`, of `ip route`, and of the one message."""
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


def by_object(nexthop: Nexthop) -> tuple[Route, ...]:
    """The same, as a session installs them: by one nexthop object."""
    return tuple(replace(each, next_hop=None, oif="", nexthop_id=nexthop.id) for each in plain())


def batch(verb: str, routes: tuple[Route, ...], nexthop: str = "") -> Deed:
    """The same by iproute2; the object is made first or deleted last."""
    lines = [f"route {verb} {route}\n" for route in routes]
    text = "".join([*lines, nexthop] if verb == "del" else [nexthop, *lines])
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
    """Added, replaced and deleted, with the object by which they go."""
    first, second = by_object(FIRST), by_object(SECOND)
    both = (FIRST.id, SECOND.id)
    gone = "".join(f"nexthop del id {number}\n" for number in both)
    figures = in_turn(
        rounds,
        ("add", lambda: apply(Change(nexthops=(FIRST,), routes=RouteDiff(add=first)))),
        ("replace", lambda: apply(Change(nexthops=(SECOND,), routes=RouteDiff(replace=second)))),
        ("delete", lambda: apply(Change(routes=RouteDiff(delete=second), unwanted_nexthops=both))),
        ("ip add", batch("add", first, f"nexthop add {FIRST}\n")),
        ("ip replace", batch("replace", second, f"nexthop add {SECOND}\n")),
        ("ip delete", batch("del", second, gone)),
    )
    return [
        row(f"{COUNT} routes by object, {v}, over ip -batch", figures, v, f"ip {v}", most=CHANGED)
        for v in ("add", "replace", "delete")
    ]


def reads(rounds: int) -> list[dict[str, object]]:
    """What is ours, where all are ours."""
    routes = by_object(FIRST)
    desired = Holding(routes=routes, nexthops=(FIRST,))
    apply(Change(nexthops=(FIRST,), routes=RouteDiff(add=routes)))
    assert not observe_ours().change_to(desired)
    figures = in_turn(
        rounds,
        ("read", lambda: _forget(observe_ours())),
        ("read and compared", lambda: _forget(observe_ours().change_to(desired))),
        ("ip", lambda: _run(["ip", "route", "show"])),
    )
    apply(Change(unwanted_nexthops=(FIRST.id,)))
    return [
        row(f"{COUNT} by object, read, over ip route", figures, "read", "ip", most=READ),
        row(f"{COUNT} by object, read and compared, over ip route", figures, "read and compared", "ip"),
    ]


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
        row(f"{COUNT} routes switched, over the message alone", figures, "ours", "raw", most=SWITCHED),
        row(f"{COUNT} routes switched, over a replace of each", figures, "ours", "replace"),
    ]


def _send(raw: socket.socket, nexthop: Nexthop) -> None:
    """The one message, with nothing around it."""
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    body = encode_nexthop(nexthop, socket.if_nametoindex(nexthop.oif))
    raw.send(pack_message(Request(RTM_NEWNEXTHOP, flags, body), 1))
    raw.recv(4096)


def row(what: str, figures: Figures, ours: str, other: str, *, most: float | None = None) -> dict[str, object]:
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
        "limit": most,
    }


def limits(rows: Sequence[Mapping[str, object]]) -> list[Limit]:
    """What each ratio of wall time is held to."""
    return [
        Limit(what=str(row["what"]), value=float(str(row["ratio"])), unit="x", most=float(str(row["limit"])))
        for row in rows
        if row["limit"] is not None
    ]


def main() -> int:
    """Print the figures; 1 where one is over its limit."""
    arguments = options("routes", __doc__, runs=9)
    if arguments is None:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures"

        def body() -> None:
            make_links()
            print(RULE.format("median", "devlink", "beside", "ratio", "of CPU"))
            rows = [*changes(arguments.runs), *reads(arguments.runs), *switches(arguments.runs)]
            figures.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
            print(end="", flush=True)

        in_private_network(body)  # in a process of its own
        text = figures.read_text("utf-8")
    if arguments.json:
        arguments.json.write_text(text, "utf-8")
    return verdict(limits(json.loads(text)))


if __name__ == "__main__":
    sys.exit(main())
