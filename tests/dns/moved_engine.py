"""The engine moved by hand: packets and times in, effects out, no socket anywhere; replies are written by dnspython."""

import itertools
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from devlink.core.codec import encode
from devlink.core.plan import ForwarderConfig
from devlink.dns.config import Config, read_config
from devlink.dns.effects import Answer, Ask, Drop, Effect, Forget
from devlink.dns.engine import Engine
from devlink.dns.questions import Attempt
from tests.dns.messages import SPLIT

BEGIN = 1000.25
"""When each test begins, in monotonic seconds."""
OWN = ("127.0.0.53", 53)
WEB = "web.default.svc.cluster.local"
WWW = "www.example"
TRACE_OPTION = 65231
EDE_OPTION = 15
ID = b"\xa5\x5a"
"""Of every question to a server: the edge chooses it, the engine does not look at it."""


def config_of(config: ForwarderConfig) -> Config:
    """As the forwarder reads it when the helper feeds it."""
    return read_config(encode(config))


def parse(packet: bytes) -> dns.message.Message:
    return dns.message.from_wire(packet)


def query(
    qname: str,
    qtype: str = "A",
    *,
    ident: int = 0x1234,
    payload: int | None = None,
    do: bool = False,
    flags: int = dns.flags.RD,
    options: Sequence[tuple[int, bytes]] = (),
    rdclass: str = "IN",
) -> bytes:
    """A question as a client sends it, in the case that `qname` has; with OPT if `payload` is given."""
    message = dns.message.make_query(qname, qtype, rdclass, id=ident, flags=flags)
    if payload is not None:
        message.use_edns(0, dns.flags.DO if do else 0, payload, options=_options(options))
    return message.to_wire()


def _options(options: Sequence[tuple[int, bytes]]) -> list[dns.edns.Option]:
    return [dns.edns.GenericOption(dns.edns.OptionType.make(code), content) for code, content in options]


def respond(
    asked: bytes,
    *records: str,
    rcode: int = 0,
    authority: Sequence[str] = (),
    additional: Sequence[str] = (),
    aa: bool = False,
    tc: bool = False,
    ad: bool = False,
    opt: Sequence[tuple[int, bytes]] | None = (),
) -> bytes:
    """What a server answers to the packet `asked`; a record is `OWNER TTL TYPE DATA`, and `@` is the name asked for.

    `opt`: the options in its OPT; None: it sends no OPT, which it never does to who sent none.
    """
    question = parse(asked)
    reply = dns.message.make_response(question, recursion_available=True, our_payload=1232)
    if opt is None or question.edns < 0:
        reply.use_edns(False)
    else:
        reply.use_edns(0, question.ednsflags & dns.flags.DO, 1232, options=_options(opt))
    reply.flags |= (dns.flags.AA if aa else 0) | (dns.flags.TC if tc else 0) | (dns.flags.AD if ad else 0)
    for texts, section in ((records, reply.answer), (authority, reply.authority), (additional, reply.additional)):
        for text in texts:
            owner, ttl, rtype, data = text.split(maxsplit=3)
            name = question.question[0].name if owner == "@" else owner
            section.append(dns.rrset.from_text(name, int(ttl), "IN", rtype, data))
    reply.set_rcode(dns.rcode.Rcode.make(rcode))
    return reply.to_wire(max_size=65535)


def edns_of(packet: bytes) -> dict[int, bytes]:
    """The options of a reply's OPT."""
    return {int(option.otype): option.to_wire() or b"" for option in parse(packet).options}


def extended_error(packet: bytes) -> int | None:
    content = edns_of(packet).get(EDE_OPTION)
    return None if content is None else int.from_bytes(content[:2], "big")


def trace_of(packet: bytes) -> dict[str, object]:
    trace = json.loads(edns_of(packet)[TRACE_OPTION])
    assert isinstance(trace, dict)
    return trace


def data_of(packet: bytes) -> list[str]:
    """The data of the answer section's records."""
    return [str(rdata) for rrset in parse(packet).answer for rdata in rrset]


def ttls_of(packet: bytes) -> list[int]:
    message = parse(packet)
    return [rrset.ttl for section in (message.answer, message.authority, message.additional) for rrset in section]


@dataclass(eq=False)
class Client:
    """Who asks; each is another one."""

    stream: bool = False


@dataclass(frozen=True, eq=False)
class Asked:
    """A question to a server."""

    attempt: Attempt
    at: float

    @property
    def packet(self) -> bytes:
        return ID + self.attempt.packet

    @property
    def server(self) -> str:
        return self.attempt.step.server.host

    @property
    def transport(self) -> str:
        return self.attempt.step.transport

    @property
    def has_opt(self) -> bool:
        return parse(self.packet).edns >= 0

    @property
    def qname(self) -> str:
        return str(parse(self.packet).question[0].name)


@dataclass
class Bench:
    """An engine with what it did: questions to servers, answers to clients, drops."""

    config: ForwarderConfig = SPLIT
    max_in_flight: int = 100
    seed: int = 1
    now: float = BEGIN
    answers: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    """All that were ever asked, in order."""
    open: dict[Attempt, Asked] = field(default_factory=dict)
    drops: list[Drop] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = Engine(random.Random(self.seed).randbytes, max_in_flight=self.max_in_flight)
        self._idents = itertools.count(1)
        self.configure(self.config)

    def configure(self, config: ForwarderConfig, own: tuple[str, int] = OWN) -> None:
        self.config = config
        self._carry_out(self.engine.configure(config_of(config), frozenset({own}), self.now))

    def change(self, **fields: Any) -> None:
        """Configure what differs in some fields."""
        self.configure(replace(self.config, **fields))

    def ask(self, packet: bytes, client: Client | None = None) -> Client:
        client = client or Client()
        self._carry_out(self.engine.receive_query(packet, client, self.now))
        return client

    def query(self, qname: str = WWW, qtype: str = "A", *, stream: bool = False, payload: int | None = None) -> bytes:
        """Ask under an id of its own; the packet that was asked."""
        packet = query(qname, qtype, ident=next(self._idents), payload=payload)
        self.ask(packet, Client(stream))
        return packet

    def reply(self, asked: Asked, packet: bytes) -> None:
        self._carry_out(self.engine.receive_reply(asked.attempt, packet, self.now))
        if asked.attempt.transaction is None:
            self.open.pop(asked.attempt, None)

    def serve(self, *records: str, asked: Asked | None = None, **how: Any) -> None:
        """Have the latest open question, or `asked`, answered as `respond` does."""
        asked = asked or list(self.open.values())[-1]
        self.reply(asked, respond(asked.packet, *records, **how))

    def fail(self, asked: Asked) -> None:
        self._carry_out(self.engine.upstream_failed(asked.attempt, self.now))

    def fill(self, qname: str = WWW, *records: str, qtype: str = "A", **how: Any) -> None:
        """Have a name asked for and answered by its server."""
        self.query(qname, qtype)
        self.serve(*(records or ("@ 300 A 192.0.2.80",)), **how)
        assert self.quiet

    def step(self) -> None:
        """Sleep until something is due, and do it. The engine may wake up in vain, where what was due has ended."""
        before = self._done()
        while self._done() == before:
            due = self.engine.next_deadline()
            assert due is not None
            self.advance(max(due - self.now, 0.0))

    def _done(self) -> tuple[int, int, int]:
        return len(self.answers), len(self.asked), self.engine.counts.timeouts

    def advance(self, seconds: float) -> None:
        """Sleep, and do what is due then: in few rounds."""
        self.now += seconds
        for _ in range(20):
            self._carry_out(self.engine.handle_timer(self.now))
            due = self.engine.next_deadline()
            if due is None or due > self.now:
                return
        raise AssertionError("the engine wakes up for ever")

    def give_up(self) -> float:
        """Let all time-outs pass; the seconds that it took."""
        began = self.now
        while (due := self.engine.next_deadline()) is not None:
            self.advance(max(due - self.now, 0.0))
        return self.now - began

    @property
    def only_answer(self) -> bytes:
        (only,) = self.answers
        return only.packet

    @property
    def last_answer(self) -> bytes:
        return self.answers[-1].packet

    @property
    def hosts(self) -> list[str]:
        """The servers that were asked, in order."""
        return [asked.server for asked in self.asked]

    @property
    def quiet(self) -> bool:
        """Whether nothing is in flight or due."""
        return self.engine.next_deadline() is None and self.engine.in_flight == 0 and not self.open

    @property
    def cached(self) -> int:
        """Hits of the cache."""
        return sum(self.engine.cache.hits().values())

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Answer):
                self.answers.append(effect)
            elif isinstance(effect, Ask):
                assert effect.attempt not in self.open
                asked = Asked(effect.attempt, self.now)
                self.asked.append(asked)
                self.open[effect.attempt] = asked
            elif isinstance(effect, Forget):
                self.open.pop(effect.attempt, None)
            else:
                self.drops.append(effect)
