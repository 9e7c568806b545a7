"""What the engine tells people: the trace of one answer, the log of all, the counts."""

from dataclasses import replace

import pytest

from devlink.dns.counts import RecentQueries
from tests.dns.messages import CLUSTER, SPLIT, zone
from tests.dns.moved_engine import (
    BEGIN,
    TRACE_OPTION,
    WEB,
    WWW,
    Bench,
    data_of,
    edns_of,
    parse,
    query,
    trace_of,
)

COOKIE = 10
SEARCH = replace(SPLIT, zones=(replace(zone("cluster.local"), search=("default", "qa")),))


def test_the_trace_tells_how_an_answer_came_to_be() -> None:
    bench = Bench(replace(SEARCH, zones=(replace(SEARCH.zones[0], namespaces=("default", "qa")),)))

    def traced(qname: str, *, do: bool = False) -> dict[str, object]:
        bench.ask(query(qname, payload=1232, do=do, options=[(TRACE_OPTION, b"")]))
        if bench.open:
            bench.now += 0.0125
            bench.serve("@ 300 A 10.20.0.1")
        return trace_of(bench.last_answer)

    server = f"{CLUSTER}#53"
    assert traced(WEB) == {
        "zone": "cluster.local", "source": "upstream", "server": server, "transport": "udp", "ms": 12.5, "reason": ""
    }  # fmt: skip
    nobody = {"server": None, "transport": None, "ms": 0.0}
    assert traced(WEB) == {"zone": "cluster.local", "source": "cache", "reason": "", **nobody}
    assert traced("web.default")["source"] == "cache"
    assert traced(WWW)["zone"] == "."
    local = traced("web.kube-system.svc.cluster.local")
    assert local["reason"]
    assert (local["source"], local["zone"]) == ("local", "cluster.local")
    bench.change(upstreams=())
    failed = traced(WWW)
    assert failed["reason"]
    assert (failed["source"], failed["zone"]) == ("failed", ".")
    bench.query("other.example", payload=1232)
    assert TRACE_OPTION not in edns_of(bench.last_answer)


def test_a_trace_is_neither_cached_nor_passed_on() -> None:
    bench = Bench()
    for _ in range(3):
        bench.ask(query(WWW, payload=1232, options=[(TRACE_OPTION, b"x"), (COOKIE, b"12345678")]))
        if bench.open:
            assert not parse(bench.asked[0].packet).options
            bench.serve("@ 300 A 192.0.2.80", opt=[(TRACE_OPTION, b"theirs")])
        assert edns_of(bench.last_answer).keys() == {TRACE_OPTION}
        assert b"theirs" not in bench.last_answer
        bench.query(WWW, payload=1232)
        assert not edns_of(bench.last_answer)


def test_the_log_notes_each_answer_while_it_is_on_and_nothing_is_found_by_packet_alone() -> None:
    bench = Bench(SEARCH)
    bench.fill()
    hot = query(WWW)[2:]
    assert hot in bench.engine.hot
    bench.engine.log = RecentQueries()
    assert hot not in bench.engine.hot
    bench.query()
    bench.query("Redis.default", "AAAA")
    bench.now += 0.25
    bench.serve("@ 300 AAAA fd00::1")
    bench.query("a.cluster.local.corp")
    bench.query("silent.example")
    bench.give_up()
    records, lost = bench.engine.log.take()
    assert lost == 0
    seen = [(r.name, r.qtype, r.zone, r.source, r.server, r.rcode) for r in records]
    assert seen == [
        (b"\3www\7example\0", 1, ".", "cache", None, 0),
        (b"\5redis\7default\0", 28, "cluster.local", "upstream", f"{CLUSTER}#53", 0),
        (b"\1a\7cluster\5local\4corp\0", 1, ".", "local", None, 3),
        (b"\6silent\7example\0", 1, ".", "failed", None, 2),
    ]
    assert [bool(record.reason) for record in records] == [False, False, True, True]
    assert records[1].seconds == pytest.approx(0.25)
    assert records[1].at == pytest.approx(BEGIN + 0.25)
    bench.engine.log = None
    assert hot in bench.engine.hot
    bench.query()
    assert data_of(bench.last_answer) == ["192.0.2.80"]


def test_counts_add_up() -> None:
    bench = Bench()
    for qname in (WWW, WWW, WEB, "proof.devlink.example", "a.cluster.local.corp"):
        bench.query(qname)
    bench.serve("@ 300 A 192.0.2.80", asked=bench.asked[0])
    bench.query(WWW)
    bench.ask(b"")
    bench.give_up()
    counts = bench.engine.counts
    assert (counts.queries, bench.cached, counts.coalesced, counts.dropped) == (6, 1, 1, 1)
    assert (counts.answered, counts.local, counts.servfails, counts.refused) == (2, 2, 1, 0)
    zones = {name: (c.queries, c.local, c.failed, len(c.latencies)) for name, c in counts.zones.items()}
    assert zones["cluster.local"] == (1, 0, 1, 0)
    assert zones["."][1:] == (2, 0, 2)
    assert counts.timeouts == len(bench.asked) - 1
