"""From what is known to the packet that one client gets: its own id, spelling, OPT and size."""

import json

from devlink.dns import wire
from devlink.dns.questions import Waiter
from devlink.dns.rules import Verdict
from devlink.dns.servers import Step


def answer_to(waiter: Waiter, body: bytes, options: bytes) -> bytes:
    """From the body that all share (`wire.Digest.body`); `options` only where the client sent OPT."""
    query = waiter.query
    if waiter.is_alias:
        body = wire.alias_body(body, query.octets)
    answer = wire.answer_of(body, waiter.packet, query, options)
    if body[0] & wire.TC:  # a part of an answer would only tempt a client to use it
        return wire.truncate(answer, query, options)
    if len(answer) <= wire.PLAIN_UDP_LIMIT:
        return answer
    if len(answer) > (wire.MAX_MESSAGE if waiter.client.stream else query.udp_limit):
        return wire.truncate(answer, query, options)
    return answer


def local_answer(waiter: Waiter, verdict: Verdict, trace: bytes) -> bytes:
    """What is answered without a server, with the reason; `trace` is an option besides."""
    rcode, records, ede, text, _ = verdict
    options = b"" if ede is None else wire.ede_option(ede, text)
    return wire.local_reply(waiter.packet, waiter.query, rcode, records=records, options=options + trace)


def trace(waiter: Waiter, zone: str, source: str, step: Step | None, now: float, reason: str = "") -> bytes:
    """How the answer came to be, as an option, where the client asked for that (`wire.TRACE_OPTION`)."""
    edns = waiter.query.edns
    if edns is None or not any(code == wire.TRACE_OPTION for code, _ in wire.options_of(edns.options)):
        return b""
    tree = {
        "zone": zone,
        "source": source,
        "server": None if step is None else str(step.server),
        "transport": None if step is None else step.transport,
        "ms": round(1000 * (now - waiter.began), 3),
        "reason": reason,
    }
    return wire.option(wire.TRACE_OPTION, json.dumps(tree).encode())
