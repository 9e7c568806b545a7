"""The path as a picture in text: each leg, where it is cut, who could take over or what is relayed. PURE, and without
Textual."""

from collections import Counter
from collections.abc import Sequence

from devlink.core import relay_words as words
from devlink.core.relay import RelayState
from devlink.core.text import MARKS
from devlink.tui.records import Gateway, Leg, Path, SessionStatus
from devlink.tui.words.lines import Line, Span, cells, clipped, cut, hanging, padded

TONES = {"ok": "ok", "slow": "warning", "silent": "error", "down": "error", "unknown": "off"}
GATEWAY_TONES = {
    "healthy": "ok", "returning": "info", "suspect": "warning", "silent": "error", "unknown": "off",
}  # fmt: skip
SIGNS = {**MARKS, "off": "?"}
"""Of a leg: of one that is not known nobody says that it is off."""
CUT = ("silent", "down")
"""States in which nothing gets through."""
RTT = 8
"""Cells of a round-trip time with its unit: `999.9 ms`."""
ROLE = 16
"""Cells of a gateway's role, at most."""
WIDE = 64
"""Cells from which a line has more than sign, name, address, state and time."""
TREND = 60
"""Looks of which the trend is."""
BARS = "▁▂▃▄▅▆▇█"
GATEWAYS = 6
"""Lines of gateways, or of what is relayed, at most."""
REFUSALS = 2
"""Lines of what a relay refuses, at most."""


def draw_path(
    path: Path, trend: Sequence[float | None], width: int, height: int = 0, relay: RelayState | None = None
) -> list[Line]:
    """The picture in `width` cells and at most `height` lines (0: as many as it takes).

    `trend`: round-trip times to the cluster in ms, the oldest first, None where there was no answer. `relay`: of what
    is relayed, whose pods are told where others have gateways.
    """
    lines = [*_chain(path.legs, width), *_legs(path.legs, width)]
    if height and len(lines) > height:  # the legs say all that the chain does
        lines = lines[len(lines) - len(_legs(path.legs, width)) :]
    room = height - len(lines) if height else GATEWAYS
    if relay is not None and room > 0:
        lines += _relay(relay, width, room)
    elif len(path.gateways) > 1 and room > 0:
        told = _gateways(path.gateways, width, min(room, GATEWAYS))
        lines += [(Span("gateways", "off"),), *told] if told and (len(told) < room or not height) else told
    if sum(each is not None for each in trend) > 1 and (not height or len(lines) < height):
        lines += _trend(trend, width)
    return [clipped(line, width) for line in (lines[:height] if height else lines)]


def draw_no_path(session: SessionStatus | None, why: str, width: int) -> list[Line]:
    """What is said where no path is seen: `why`, as the agent has it."""
    if session is None:
        return hanging((Span(f"{MARKS['off']} ", "off"),), why or "Nothing is up.", width)
    if session.state == "connecting":
        said, tone = "It is on its way up.", "busy"
    elif session.state == "suspended":
        said, tone = "Suspended: it comes back by itself where its gateways can be reached.", "warning"
    else:
        said, tone = ("", "warning") if why else ("Looking at the path.", "busy")
    grave = next((each.title for each in session.findings if each.severity != "info"), "")
    lines = hanging((Span(f"{MARKS[tone]} ", tone),), said or why, width)
    for more in dict.fromkeys((why if said else "", grave)):
        if more:
            lines += hanging((Span("  "),), more, width, "off")
    return lines


def tone_of(leg: Leg) -> str:
    """ok, warning, error or off."""
    return TONES.get(leg.state, "off")


# Laptop ── next hop ── gateway ── cluster


def _chain(legs: Sequence[Leg], width: int) -> list[Line]:
    """All legs in one line, each joined to the one before it by what gets through; nothing where they do not fit."""
    room = width - sum(cells(leg.name) for leg in legs)
    joints = len(legs) - 1
    if joints < 1 or room < 3 * joints:
        return []
    each, more = divmod(min(room, 24 * joints), joints)
    spans, is_cut = [Span(legs[0].name, _name_tone(legs[0]))], legs[0].state in CUT
    for number, leg in enumerate(legs[1:]):
        is_first_cut = leg.state in CUT and not is_cut
        is_cut = is_cut or is_first_cut
        spans.append(_joint(leg, each + (number < more), is_first_cut, is_cut))
        spans.append(Span(leg.name, _name_tone(leg)))
    return [tuple(spans)]


def _name_tone(leg: Leg) -> str:
    return "off" if leg.state == "unknown" else "error" if leg.state in CUT else "strong"


def _joint(leg: Leg, width: int, is_first_cut: bool, is_cut: bool) -> Span:
    tone = tone_of(leg)
    said = SIGNS[tone]
    if is_cut:
        more = f"{said} {leg.state}" if is_first_cut else said
    else:
        more = f"{said} {_time(leg.rtt_ms)}" if leg.rtt_ms is not None else f"{said} {leg.state}"
    if cells(more) + 6 <= width:
        said = more
    around = width - cells(said)
    margin = 1 if around >= 4 else 0
    before = (around - 2 * margin) // 2
    after = around - 2 * margin - before
    if is_first_cut:  # what leaves reaches the sign, and nothing is behind it
        line = "─" * before + said + " " * after
    elif is_cut:
        line = "╌" * before + said + "╌" * after
    else:
        line = "─" * before + said + "─" * after
    return Span(" " * margin + line + " " * margin, tone)


# One line for each leg


def _legs(legs: Sequence[Leg], width: int) -> list[Line]:
    names = max((cells(leg.name) for leg in legs), default=0)
    states = max((cells(leg.state) for leg in legs), default=0)
    left = width - names - states - RTT - 5
    abouts = min(max((cells(leg.about) for leg in legs), default=0), left if width < WIDE else left // 2)
    lines: list[Line] = []
    for leg in legs:
        tone = tone_of(leg)
        spans = [
            Span(f"{SIGNS[tone]} ", tone), Span(f"{padded(leg.name, names)} "), Span(f"{padded(leg.about, abouts)} "),
            Span(padded(leg.state, states), tone), Span(f" {padded(_time(leg.rtt_ms), RTT, right=True)}"),
        ]  # fmt: skip
        room = left - abouts - 2
        is_told = width >= WIDE and (cells(leg.text) <= room or leg.state not in CUT)
        if is_told and leg.text:
            spans.append(Span(f"  {cut(leg.text, room)}", "off"))
        lines.append(tuple(spans))
        if leg.state in CUT and not is_told:
            lines.append((Span(f"  {cut(leg.text, width - 2)}", "error"),))
    return lines


def _time(ms: float | None) -> str:
    if ms is None:
        return ""
    return f"{ms:.2f} ms" if ms < 10 else f"{ms:.1f} ms" if ms < 1000 else f"{ms:.0f} ms"


# Who carries, and who could


def _gateways(gateways: Sequence[Gateway], width: int, room: int) -> list[Line]:
    carrying = [each for each in gateways if each.carries]
    others = [each for each in gateways if not each.carries]
    shown = [*carrying, *others]
    if len(shown) > room:  # the legs name who carries; that it was chosen by hand they do not
        shown = [*(each for each in carrying if each.by_hand), *others]
    if len(shown) <= room:
        return _gateway_lines(shown, width)
    lines = _gateway_lines(shown[: room - 1], width)
    states = Counter(each.state for each in shown[room - 1 :])
    said = ", ".join(f"{count} {state}" for state, count in states.items())
    return [*lines, (Span(cut(f"  and {len(shown) - room + 1} more gateways: {said}", width), "off"),)]


def _gateway_lines(gateways: Sequence[Gateway], width: int) -> list[Line]:
    states = max((cells(each.state) for each in gateways), default=0)
    roles = min(max((cells(each.role) for each in gateways), default=0), ROLE) + 1 if width >= WIDE else 0
    left = width - states - RTT - roles - 12
    addresses = min(max((len(str(each.address)) for each in gateways), default=0), left)
    lines: list[Line] = []
    for each in gateways:
        tone = GATEWAY_TONES.get(each.state, "off")
        words = [word for word, is_so in (("carries", each.carries), ("by hand", each.by_hand)) if is_so]
        note = ", ".join(words) if width >= WIDE else "".join(words[-1:])
        spans = [
            Span(f"{SIGNS[tone]} ", tone), Span(f"{padded(str(each.address), addresses)} "),
            Span(padded(each.role, roles), "off"), Span(padded(each.state, states), tone),
            Span(f" {padded(_time(each.rtt_ms), RTT, right=True)}"), Span(f" {note}", "strong"),
        ]  # fmt: skip
        lines.append(tuple(span for span in spans if span.text))
    return lines


# What is relayed, and where to


def _relay(relay: RelayState, width: int, room: int) -> list[Line]:
    """How much goes through first, then what is refused, because somebody misses it, then the busiest pods."""
    told: list[Line] = [(Span("relay   ", "off"), Span(cut(words.traffic(relay), width - 8)))]
    refused = sorted(relay.refused, key=lambda each: -each.count)
    told += [(Span(f"{SIGNS['warning']} ", "warning"), Span(cut(f"refused {words.refusal(each)}", width - 2)))
             for each in refused[:REFUSALS]]  # fmt: skip
    pods = words.busiest(relay.pods)
    left = room - len(told)
    shown = pods if len(pods) <= left else pods[: max(0, left - 1)]
    for pod in shown:
        tone = "ok" if pod.streams else "off"
        mark = SIGNS["ok"] if pod.streams else MARKS["off"]
        told.append((Span(f"{mark} ", tone), Span(cut(words.pod_in_use(pod), width - 2), "" if pod.streams else "off")))
    if len(shown) < len(pods) and left > 0:
        told.append((Span(cut(f"  and {len(pods) - len(shown)} more pods", width), "off"),))
    return told[:room]


# How long it took, lately


def _trend(trend: Sequence[float | None], width: int) -> list[Line]:
    """Bars from nothing to the longest time; a gap where no answer came."""
    known = [each for each in trend if each is not None]
    low, high = min(known), max(known)
    times = f"{low:.2f}-{high:.2f} ms" if high < 10 else f"{low:.0f}-{high:.0f} ms"
    room = min(TREND, width - cells(times) - 10)
    if room < 8:
        return []
    bars = "".join("·" if each is None else BARS[min(int(each / (high or 1) * 7.99), 7)] for each in trend[-room:])
    return [(Span("cluster ", "off"), Span(bars, "info"), Span(f" {times}", "off"))]
