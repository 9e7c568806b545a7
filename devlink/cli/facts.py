"""A profile's facts with their sources, and findings, in lines for people."""

from collections.abc import Iterable, Iterator

import click

from devlink.cli.output import MARKS
from devlink.core.findings import Finding
from devlink.core.profile import BridgeProfile
from devlink.core.text import listed


def facts_of(profile: BridgeProfile) -> Iterator[tuple[str, str, str]]:
    """Key, value in short and source of each fact; the source is empty where the profile names none."""
    for key, value in _values(profile):
        sources = (profile.provenance.get(place, "") for place in (key, key.partition(".")[0]))
        yield key, value, next(filter(None, sources), "")


def _values(profile: BridgeProfile) -> Iterator[tuple[str, str]]:
    spec = profile.spec
    for key, prefixes in (("pods", spec.pods), ("services", spec.services)):
        if prefixes is not None:
            yield key, listed(prefixes)
    if spec.gateways is not None:
        yield "gateways", listed(each.address for each in spec.gateways)
    if spec.nodes is not None:
        addresses, blocks = len({each.address for each in spec.nodes}), sum(len(each.pods) for each in spec.nodes)
        yield "nodes", f"{blocks} pod block{'s' * (blocks != 1)} of {addresses} node{'s' * (addresses != 1)}"
    if spec.mtu is not None:
        yield "mtu", str(spec.mtu)
    if spec.dns is not None:
        yield "dns.domain", str(spec.dns.domain)
        yield "dns.servers", listed(f"{each.address} ({each.transport.value})" for each in spec.dns.servers)
        if spec.dns.namespaces is not None:
            yield "dns.namespaces", listed(spec.dns.namespaces)
        if spec.dns.search is not None:
            yield "dns.search", listed(spec.dns.search)
    if spec.identity is not None:
        yield "identity.ca", f"sha256 {spec.identity.ca_hash[:16]}…"


def table(rows: Iterable[tuple[str, ...]], indent: str = "") -> str:
    """Rows as columns; the last one is as wide as it is."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)][:-1]
    return "\n".join(
        indent + "  ".join([*map(str.ljust, line, widths), line[-1]]) for line in lines
    )  # fmt: skip


def show_findings(findings: Iterable[Finding]) -> None:
    """On stderr: what was seen, and what to do."""
    for finding in findings:
        mark, colour = MARKS[finding.severity.value]
        click.echo(f"  {click.style(mark, fg=colour)} {finding.title} [{finding.code}]", err=True)
        for text in filter(None, (finding.evidence, finding.fix)):
            click.echo(f"      {text}", err=True)
