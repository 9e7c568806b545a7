"""The path as a picture in text."""

import ipaddress
from typing import Any

import pytest

from devlink.core.codec import decode
from devlink.core.findings import Finding, Severity
from devlink.core.relay import RelayState
from devlink.tui.records import Gateway, Path, SessionStatus
from devlink.tui.words.drawing import draw_no_path, draw_path
from devlink.tui.words.lines import cells, plain
from tests.tui.scripted import gateway, path, relay, relayed_path, session

NARROW = 44


def cut_path(at: int, state: str = "silent", **changes: Any) -> Path:
    told = path(**changes)
    told["legs"][at].update(state=state, text="no answer for 6 s", rtt_ms=None)
    for leg in told["legs"][at + 1 :]:
        leg.update(state="unknown", text="not asked", rtt_ms=None)
    return decode(Path, told)


def whole_path(**changes: Any) -> Path:
    return decode(Path, path(**changes))


def standby(*numbers: int) -> list[dict[str, Any]]:
    return [gateway(), *(gateway(f"172.16.0.{n}", carries=False) for n in numbers)]


def drawn(seen: Path, width: int = NARROW, height: int = 0, trend: tuple[float | None, ...] = ()) -> list[str]:
    return plain(draw_path(seen, trend, width, height)).split("\n")


def test_a_whole_path_is_one_line_without_a_gap_and_a_line_for_each_leg() -> None:
    lines = drawn(whole_path(gateways=[gateway()]))
    assert lines[0] == "laptop ─✓── next hop ─✓─ gateway ─✓─ cluster"
    assert [line[2:10].strip() for line in lines[1:]] == ["laptop", "next hop", "gateway", "cluster"]
    assert lines[2].split() == ["✓", "next", "hop", "172.16.0.13", "ok", "0.31", "ms"]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_the_line_ends_at_the_first_leg_that_is_silent_with_its_sign_and_its_words(at: int) -> None:
    lines = drawn(cut_path(at))
    before, _, after = lines[0].partition("─✗ ")
    assert "✗" not in before
    assert before.count("✓") == at - 1
    assert "─" not in after
    assert after.count("?") == 3 - at
    assert any(line.startswith("✗") and "silent" in line for line in lines)
    assert "  no answer for 6 s" in lines


def test_behind_the_cut_nothing_but_a_sign_stands_on_the_line() -> None:
    line = drawn(cut_path(1), 120)[0]
    assert (line.count("silent"), line.count("unknown"), line.count("?")) == (1, 0, 2)


def test_a_link_that_is_down_cuts_the_line_right_behind_the_laptop() -> None:
    seen = decode(Path, path(gateways=[]))
    down = cut_path(0, "down", gateways=[])
    assert drawn(seen)[0].count("─") > 0
    assert "─" not in drawn(down)[0]
    assert drawn(down)[1].startswith("✗ laptop")


def test_a_wide_picture_has_times_on_the_line_and_what_was_seen_behind_each_leg() -> None:
    lines = drawn(whole_path(), 110)
    assert "─✓ 0.31 ms─" in lines[0]
    assert lines[2].endswith("answers")
    assert "✗ silent" in drawn(cut_path(2), 110)[0]


@pytest.mark.parametrize("width", [12, 30, 44, 63, 64, 80, 140, 230])
@pytest.mark.parametrize("height", [0, 4, 7, 20])
def test_nothing_is_drawn_beyond_the_room_however_long_the_names_are(width: int, height: int) -> None:
    told = path(gateways=[gateway(), gateway("fd00:1234:5678:9abc:def0:1234:5678:9abc", carries=False, role="r" * 255)])
    for leg in told["legs"]:
        leg.update(about="網" * 255, text="\x1b[31m" + "t" * 255)
    told["legs"][2]["state"] = "silent"
    lines = drawn(decode(Path, told), width, height, (1.0, None, 2.0))
    assert max(map(cells, lines)) <= width, lines
    assert not height or len(lines) <= height
    assert "\x1b" not in "".join(lines)


def test_where_lines_are_few_the_legs_stay_and_the_rest_goes() -> None:
    lines = drawn(whole_path(), height=4)
    assert [line[2:10].strip() for line in lines] == ["laptop", "next hop", "gateway", "cluster"]


def test_a_gateway_alone_is_not_said_twice_and_standbys_are_listed() -> None:
    assert len(drawn(whole_path(gateways=[gateway()]))) == 5
    lines = drawn(whole_path(gateways=standby(14)))
    assert lines[-1].split() == ["✓", "172.16.0.14", "healthy", "0.84", "ms"]
    assert lines[-2].endswith("carries")


def test_standbys_beyond_the_room_are_counted_with_their_states() -> None:
    many = standby(14, 15, 16, 17)
    many[4]["state"] = "silent"
    lines = drawn(whole_path(gateways=many), 60, height=7)
    assert lines[5].split()[1] == "172.16.0.14"
    assert lines[6] == "  and 3 more gateways: 2 healthy, 1 silent"


def test_nothing_is_headed_where_there_is_no_room_for_any() -> None:
    all_carry = [gateway(f"172.16.0.{n}") for n in (13, 14, 15)]
    assert "gateways" not in drawn(whole_path(gateways=all_carry), height=6)


def test_who_was_chosen_by_hand_is_said_also_where_room_is_short() -> None:
    many = [gateway(by_hand=True), *standby(14, 15, 16)[1:]]
    assert drawn(whole_path(gateways=many), height=7)[5].endswith("by hand")
    assert drawn(whole_path(gateways=many), 90)[-4].endswith("carries, by hand")


def test_a_role_is_told_where_there_is_room() -> None:
    assert "route-reflector" not in drawn(whole_path())[-1]
    assert "route-reflector" in drawn(whole_path(), 80)[-1]


def test_the_trend_has_a_gap_where_no_answer_came_and_its_least_and_longest_time() -> None:
    line = drawn(whole_path(), trend=(1.0, None, 4.0))[-1]
    assert line == "cluster ▂·█ 1.00-4.00 ms"
    assert not drawn(whole_path(), trend=(None, 1.0))[-1].startswith("cluster")


# Without a path


def status(**changes: Any) -> SessionStatus:
    return decode(SessionStatus, session(**changes))


def said(wanted: SessionStatus | None, why: str = "") -> str:
    return plain(draw_no_path(wanted, why, NARROW))


def test_without_a_session_nothing_is_up() -> None:
    assert said(None) == "○ Nothing is up."


def test_a_session_that_is_not_up_says_why() -> None:
    assert said(status(state="connecting")) == "… It is on its way up."
    finding = {"code": "DL-X", "severity": "warning", "title": "This laptop is elsewhere.", "evidence": "", "fix": ""}
    text = said(status(state="suspended", findings=[finding]), "It has ended.")
    assert text.startswith("! Suspended: it comes back by itself")
    assert text.endswith("  It has ended.\n  This laptop is elsewhere.")


def test_a_session_that_is_up_has_a_path_soon_or_the_reason_why_it_has_none() -> None:
    assert said(status()) == "… Looking at the path."
    assert said(status(), "It has ended.") == "! It has ended."


def test_records_of_the_tests_are_what_the_agent_tells() -> None:
    known = decode(Gateway, gateway())
    assert known.address == ipaddress.ip_address("172.16.0.13")
    assert Finding(code="DL-X", severity=Severity.INFO, title="T").fix == ""


# What is relayed


def relayed(width: int, height: int = 0, **changes: Any) -> list[str]:
    state = decode(RelayState, relay(**changes))
    return plain(draw_path(decode(Path, relayed_path()), (), width, height, state)).split("\n")


def test_what_is_relayed_goes_from_the_laptop_by_the_api_server_and_a_node_to_a_pod() -> None:
    lines = relayed(110)
    assert [word for word in ("laptop", "API server", "node", "pod") if word in lines[0]] == [
        "laptop", "API server", "node", "pod",
    ]  # fmt: skip
    assert "✓ 8.40 ms" in lines[0]
    assert "relay   3 streams open of 120, 1.2 MB sent, 310 MB received" in lines
    assert "! refused 3 times: nobody listens on that port in the pod; last 10.20.0.7:81" in lines
    assert lines[-3:] == [
        "✓ default/web-1 on node-a: 2 streams", "✓ qa/db-0 on node-b: 1 stream",
        "○ kube-system/coredns-7c on node-a: kept warm",
    ]  # fmt: skip


def test_of_many_pods_the_busiest_are_named_and_the_others_counted() -> None:
    pods = [{"namespace": "qa", "name": f"p{n}", "node": "a", "streams": n, "sessions": 1} for n in range(1, 21)]
    lines = relayed(80, 12, pods=pods)
    assert len(lines) <= 12
    assert any("qa/p20" in line for line in lines)
    named = sum("qa/p" in line for line in lines)
    assert lines[-1] == f"  and {20 - named} more pods"


@pytest.mark.parametrize("width", [12, 30, 44, 80, 140])
@pytest.mark.parametrize("height", [0, 4, 5, 6, 7, 9, 20])
def test_what_is_relayed_is_not_drawn_beyond_the_room(width: int, height: int) -> None:
    refused = [{"reason": "rights", "count": n, "last": "x" * 255} for n in range(1, 12)]
    pods = [{"namespace": "n" * 63, "name": "p" * 255, "node": "k" * 255, "streams": 1, "sessions": 9}] * 9
    lines = relayed(width, height, refused=refused, pods=pods)
    assert max(map(cells, lines)) <= width
    assert len(lines) <= (height or 100)
