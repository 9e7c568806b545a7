"""`devlink dns`: how a name is answered and by whom, what is asked at this moment, and how well it goes."""

import ipaddress
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from devlink.cli.output import emit, json_text, output_option
from devlink.core.text import printable
from devlink.errors import HelperError, ProtocolError, UsageError, VerificationError
from devlink.helper.client import ORDINARY, ask_quickly, connect
from devlink.helper.client import ask as ask_helper

if TYPE_CHECKING:  # a DNS library takes longer to import than most commands may take to start
    from devlink.core.names import DomainName
    from devlink.dns.client import Answer

PORT = 53
ANSWER_LIMIT = 6.0
"""Seconds. The forwarder itself gives up after less."""
RULES = {ORDINARY: "ordinary names"}
SOURCES = {
    "upstream": "asked just now",
    "cache": "kept from before",
    "stale": "kept from before, and too old: no server answers",
    "local": "the forwarder itself",
    "failed": "nobody",
}
"""What the forwarder's word for an answer's source means."""


@click.group()
def dns() -> None:
    """Names: ask and see why, watch what is asked, forget what is kept, count."""


@dns.command(short_help="Ask for a name, and show rule, server and time.")
@click.argument("name", metavar="NAME|IP")
@click.argument("qtype", metavar="[TYPE]", required=False)
@click.option("--tcp", is_flag=True, help="Ask over TCP. Without it TCP is used where the answer is too long for UDP.")
@output_option("json", "yaml")
def query(name: str, qtype: str | None, tcp: bool, output: str) -> int:
    """Ask devlink's forwarder for NAME, and show how it came to its answer: rule, server, time.

    NAME is a whole name, no search list is applied; of an IP the name is asked for (PTR). TYPE is A where it is left
    out; others are AAAA, SRV, TXT, HTTPS, TYPE65280 and the like. Exit code: 0 there is an answer, also that there is
    no such name or record; 3 nothing is up; 4 the answer is a failure, or there is none; 6 the helper or the forwarder
    does not answer.
    """
    from devlink.dns.client import ask

    wanted, kind = _question(name, qtype)
    address = ask_helper("GetDnsStats")["nameserver"]
    server = ipaddress.ip_address(address)
    try:
        answer = ask(server, wanted, kind, port=PORT, transport="tcp" if tcp else "udp", trace=True,
                     timeout=ANSWER_LIMIT)  # fmt: skip
        if answer.truncated and not tcp:
            answer = ask(server, wanted, kind, port=PORT, transport="tcp", trace=True, timeout=ANSWER_LIMIT)
    except ValueError as error:
        raise UsageError(f"{error}.", next_step="Such as A, AAAA, SRV, TXT, PTR, or TYPE and its number.") from None
    except OSError as error:
        raise VerificationError(
            f"The forwarder at {address} gave no usable answer for {wanted} {kind}.",
            why="It is silent." if isinstance(error, TimeoutError) else printable(f"{error.strerror or error}."),
            next_step="See what the helper says of it: devlink helper status",
        ) from error
    if output != "text":
        emit(_tree(wanted, kind, address, answer), output)
    else:
        _show(wanted, kind, answer)
    if answer.rcode not in ("NOERROR", "NXDOMAIN"):
        raise VerificationError(
            f"The answer for {wanted} {kind} is {answer.rcode}.",
            why=" ".join(f"{text} (extended error {code}).".lstrip() for code, text in answer.extended_errors),
            next_step=printable(_advice(kind, answer)),
        )
    return 0


def _question(name: str, qtype: str | None) -> "tuple[DomainName, str]":
    """The name and the type to ask for. Raises UsageError."""
    from devlink.core.names import DomainName

    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        if qtype is not None and qtype.upper() != "PTR":
            raise UsageError(
                f"{name} is an address, and has no {qtype.upper()} record.",
                next_step=f"Ask for its name: devlink dns query {name}",
            )
        plain = ipaddress.ip_address(name.partition("%")[0])  # a name has no link
        return DomainName.parse(plain.reverse_pointer), "PTR"
    try:
        return DomainName.parse(name), (qtype or "A").upper()
    except ValueError as error:
        raise UsageError(
            f"That is no name to ask for: {error}.", next_step="Such as web.default.svc.cluster.local"
        ) from None


def _tree(name: "DomainName", qtype: str, nameserver: str, answer: "Answer") -> dict[str, Any]:
    return {
        "name": str(name),
        "type": qtype,
        "nameserver": nameserver,
        "status": "NODATA" if answer.is_nodata else answer.rcode,
        "ms": round(answer.took * 1000, 3),
        "trace": answer.trace,
        "extended_errors": [{"code": code, "text": text} for code, text in answer.extended_errors],
        "answers": list(answer.records),
    }


def _show(name: "DomainName", qtype: str, answer: "Answer") -> None:
    from devlink.cli.facts import table

    status = "NODATA" if answer.is_nodata else answer.rcode
    said = {"NODATA": f"the name is there, and has no {qtype} record", "NXDOMAIN": "there is no such name"}
    click.echo(f"{name} {qtype}  {status}" + (f": {said[status]}" if status in said else ""))
    rows = []
    trace = answer.trace
    inside = f", {trace['ms']:.1f} of them in the forwarder" if trace is not None else ""
    if trace is not None:
        rows.append(("rule", RULES.get(trace["zone"], f"zone {trace['zone']}")))
        rows.append(("source", SOURCES.get(trace["source"], trace["source"])))
        if trace["server"]:
            transport = f" over {trace['transport'].upper()}" if trace["transport"] else ""
            rows.append(("server", f"{trace['server']}{transport}"))
        if trace["reason"]:
            rows.append(("reason", trace["reason"]))
    rows.append(("time", f"{answer.took * 1000:.1f} ms{inside}"))
    rows += [("error", f"{code} {text}".rstrip()) for code, text in answer.extended_errors]
    click.echo(table([(key, printable(value)) for key, value in rows], "  "))
    for record in answer.records:
        click.echo(printable(record))
    if trace is None:
        click.echo("Who answered did not say how: it is no forwarder of this version of devlink.", err=True)


def _advice(qtype: str, answer: "Answer") -> str:
    """What to do about a failure: that depends on whose word it is, and on why."""
    from devlink.dns.wire import Ede

    trace = answer.trace
    if trace is None:
        return "Who answered is not this version's forwarder. See which versions run: devlink --version"
    if trace["source"] not in ("local", "failed"):
        return f"That is a server's own word ({trace['server'] or 'kept from before'}): ask whoever runs it."
    codes = {code for code, _ in answer.extended_errors}
    if trace["source"] == "local":
        if Ede.BLOCKED in codes:
            return "The machine's owner wants that: rebinding_protection in /etc/devlink/policy.toml, [dns]"
        if qtype in ("AXFR", "IXFR"):
            return "Ask the server itself, dig has @SERVER for that; which ones there are: devlink dns stats"
        return "The profile says which names are asked for: devlink profile show"
    said = " ".join((trace["reason"], *(text for _, text in answer.extended_errors)))
    if "no server is known" in said:
        return "Name one: nameserver in /etc/resolv.conf, or upstreams in /etc/devlink/policy.toml, [dns]"
    if "certificate" in said:
        return "Whose certificate it must be, and who vouches: tls_name and tls_ca in /etc/devlink/policy.toml, [dns]"
    if Ede.NETWORK_ERROR in codes:
        return "See which server fails, and why: devlink dns stats"
    return "See which server is silent: devlink dns stats"


@dns.command(short_help="Show which names are asked from now on.")
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C, which it does anyway: no past is kept.")
@output_option("json")
def log(follow: bool, output: str) -> int:
    """Show which names are asked from now on, until Ctrl-C.

    You see the names in the zones of your own sessions, and more where policy.toml allows it (query_log); root sees
    all. Nothing is noted anywhere, and nothing at all while nobody looks. With -o json each line is one object.
    """
    with connect() as client:
        ask_quickly(client, "org.varlink.service.GetInfo")  # from then on it may be silent as long as it likes
        client.bound(None)
        try:
            for number, reply in enumerate(client.stream("io.devlink.Helper.FollowDnsLog")):
                if number == 0:
                    click.echo("Showing what is asked from now on; Ctrl-C ends it.", err=True)
                    if reply.get("zones") == []:
                        click.echo("No session of yours is up with names: until one is, there is nothing.", err=True)
                if reply["restarted"]:
                    click.echo("The forwarder was started anew: some questions are missing here.", err=True)
                if reply["lost"]:
                    click.echo(f"{reply['lost']} questions are missing here: there were too many at once.", err=True)
                _show_records(reply["records"], output)
        except KeyboardInterrupt:
            pass
        except ProtocolError as error:
            raise HelperError(
                "The devlink helper went away, and the log of questions ends here.",
                why="It was stopped, or it failed.",
                next_step="When it is there again: devlink dns log",
            ) from error
    return 0


def _show_records(records: Iterable[Mapping[str, Any]], output: str) -> None:
    if output == "json":
        for record in records:
            click.echo(json_text(record))
        return
    from dnslib import QTYPE, RCODE

    for record in records:
        clock = time.strftime("%H:%M:%S", time.localtime(record["time"]))
        qtype = QTYPE.forward.get(record["qtype"], f"TYPE{record['qtype']}")
        rcode = RCODE.forward.get(record["rcode"], str(record["rcode"]))
        source = " ".join(filter(None, (record["source"], record.get("server"))))
        reason = f"  ({record['reason']})" if record.get("reason") else ""
        milliseconds = int(record["time"] * 1000) % 1000
        line = f"{clock}.{milliseconds:03}  {rcode:8}  {record['ms']:7.1f} ms  {source:24}  {qtype:5}  {record['name']}"
        click.echo(printable(line + reason))


@dns.command(short_help="Forget every answer that is kept.")
def flush() -> int:
    """Forget every answer that the forwarder keeps: each name is asked anew."""
    entries = ask_helper("FlushDns")["entries"]
    click.echo(f"{_count(entries, 'answer')} forgotten.", err=True)
    return 0


@dns.command(short_help="Count what was asked, by zone and by server.")
@output_option("json", "yaml")
def stats(output: str) -> int:
    """Count what was asked since the forwarder's start, by zone and by server.

    P50 and P99: half, and 99 of 100, of the last questions that a server answered took no longer; what was kept, or
    failed, is not among them. FAILURES: unreachable, refused or closed as a connection, malformed, or with another's
    certificate; a server that says SERVFAIL or REFUSED has answered. You see the zones of your own sessions and the
    ordinary names; root sees all. The totals, and the figures of a server that is asked for others too, are of all
    users. Reverse zones that nobody has asked for are left out, but with -o.
    """
    said = ask_helper("GetDnsStats")
    if output != "text":
        emit({key: said[key] for key in ("nameserver", "stats")}, output)
        return 0
    from devlink.cli.facts import table
    from devlink.core.text import listed

    counts, cache = said["stats"], said["stats"]["cache"]
    answered = ("answered", "upstream"), ("cached", "cache"), ("stale", "stale"), ("local", "itself")
    others = ("refused", "malformed", "overloads", "dropped", "servfails", "timeouts", "mismatched")
    rows = [
        ("forwarder", f"{said['nameserver']}, port {PORT}"),
        ("questions", f"{counts['queries']}, and {counts['in_flight']} in flight"),
        ("answered by", ", ".join(f"{words} {counts[key]}" for key, words in answered)),
        ("saved", f"asked ahead {counts['prefetched']}, asked once for several {counts['coalesced']}"),
        ("trouble", ", ".join(f"{key} {counts[key]}" for key in others if counts[key]) or "none"),
        ("kept", f"{_count(cache['entries'], 'answer')}, {cache['bytes'] >> 10} of {cache['limit'] >> 10} KiB"),
    ]
    click.echo(table(rows))
    zones = [("ZONE", "QUERIES", "CACHED", "STALE", "LOCAL", "FAILED", "P50", "P99")]
    for zone in counts["zones"]:
        if zone["suffix"].endswith(".arpa") and not zone["queries"]:
            continue  # a network may have a hundred of them
        numbers = (str(zone[key]) for key in ("queries", "cached", "stale", "local", "failed"))
        suffix = RULES.get(zone["suffix"], zone["suffix"])
        zones.append((suffix, *numbers, _ms(zone, "p50_ms"), _ms(zone, "p99_ms")))
    servers = [("SERVER", "STATE", "ASKED", "ANSWERED", "TIMEOUTS", "FAILURES", "RTT", "P50", "P99", "FOR")]
    for server in counts["servers"]:
        numbers = (str(server[key]) for key in ("asked", "answered", "timeouts", "failures"))
        times = (_ms(server, key) for key in ("rtt_ms", "p50_ms", "p99_ms"))
        whose = listed(RULES.get(zone, zone) for zone in server["zones"])
        servers.append((server["server"], server["state"], *numbers, *times, whose))
    failed = [
        (server["server"], f"failed last: {server['reason']}") for server in counts["servers"] if server.get("reason")
    ]
    for lines in (zones, servers, failed):
        if lines:
            click.echo("\n" + table([tuple(map(printable, line)) for line in lines]))
    return 0


def _ms(counts: Mapping[str, Any], key: str) -> str:
    value = counts.get(key)
    return f"{value:.1f} ms" if value is not None else "-"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
