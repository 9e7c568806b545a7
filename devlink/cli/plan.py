"""`up --dry-run`: the plan in words that a network engineer can type."""

import asyncio
import os
import socket
from collections.abc import Iterable, Mapping
from typing import Any

import click

from devlink.agent.config import choices, routing_choices
from devlink.agent.sources import obtain
from devlink.core.codec import decode
from devlink.core.network import OVERRIDE_PREFERENCE, OVERRIDE_TABLE, PROTOCOL, RELAY_PREFERENCE, relay_table
from devlink.core.plan import addresses_of_interest, make_plan, protect
from devlink.core.prefixes import IPAddress
from devlink.core.profile import RoutingMode
from devlink.core.relay import RelayOptions
from devlink.errors import HelperError
from devlink.helper.admission import check_foreign, check_form, check_protected
from devlink.helper.forwarding import protected_ways
from devlink.helper.journal import Journal
from devlink.helper.policy import Paths, read_policy
from devlink.helper.resolver import Resolver
from devlink.kernel.observe import observe
from devlink.resolvers.files.client import FilesClient
from devlink.resolvers.mode import Tools


def show_plan(
    profile: str,
    context: str,
    *,
    with_dns: bool,
    with_routes: bool,
    exclude: Iterable[str] = (),
    override: Iterable[str] = (),
    routing: str | None = None,
    relay: Mapping[str, Any] | None = None,
) -> int:
    """Print what `up` would install. Needs neither agent nor helper, and changes nothing of the machine's network.

    Raises ConflictError where the helper would refuse the plan for the routes of others, or for who keeps their way.
    """
    obtained = asyncio.run(obtain(profile, context, os.environ))
    excluded, overridden = choices(obtained.profile, exclude, override)
    asked = RoutingMode(routing) if routing else None
    mode, options = routing_choices(obtained.profile.metadata.name, asked, decode(RelayOptions, relay or {}))
    observed = observe(addresses_of_interest(obtained.profile))
    plan = make_plan(
        obtained.profile, observed, with_dns=with_dns, with_routes=with_routes, pins=obtained.pins,
        exclude=excluded, override=overridden, uid=os.getuid(), routing=mode, containers=options.containers,
    )  # fmt: skip
    desired = plan.desired
    check_form(desired)
    check_foreign(desired.routes, observed, uid=os.getuid())
    ways, unread = _upstreams() if desired.routes else ((), "")
    check_protected(desired, ways, observed)
    click.echo(f"# routing {plan.mode.value}: {plan.reason}")
    if excluded:
        click.echo(f"# no route to {', '.join(map(str, excluded))}: you excluded it")
    for version in sorted({r.destination.version for r in desired.routes if r.table == OVERRIDE_TABLE}):
        click.echo(f"ip -{version} rule add pref {OVERRIDE_PREFERENCE} lookup {OVERRIDE_TABLE} protocol {PROTOCOL}")
    uid = os.getuid()
    if desired.relay is not None:
        for version in sorted({route.destination.version for route in desired.routes}):
            selected = f"iif lo uidrange {uid}-{uid} lookup {relay_table(uid)}"
            click.echo(f"ip -{version} rule add pref {RELAY_PREFERENCE} {selected} protocol {PROTOCOL}")
        click.echo(f"# TCP of user {uid} to these is redirected to a relay; all else to them is refused")
        for bridge in desired.relay.containers:
            click.echo(f"# and that of the containers on {bridge}")
    for route in desired.routes:
        click.echo(f"ip route add {route}{'  # stays with who has it' if route.kind == 'throw' else ''}")
    if desired.routes:
        if unread:
            click.echo(f"# the ordinary DNS servers cannot be read, so what keeps their ways is not shown: {unread}")
        for pin in protect(desired, ways, observed):
            click.echo(f"ip route add {pin}  # keeps the way that it has")
    for zone in desired.zones:
        servers = ", ".join(f"{s.address} ({s.transport.value})" for s in zone.servers)
        click.echo(f"# names in {zone.suffix} to {servers}")
        for namespace in zone.search:
            click.echo(f"# names like NAME.{namespace} as NAME.{namespace}.svc.{zone.suffix}")
    for finding in (*obtained.findings, *plan.findings):
        click.echo(f"# {finding.severity.value} {finding.code}: {finding.title} {finding.evidence}".rstrip())
        if finding.fix:
            click.echo(f"#   {finding.fix}")
    return 0


def _upstreams() -> tuple[tuple[IPAddress, ...], str]:
    """The servers on which ordinary names depend, as the helper reads them; or why this user may not read them."""
    try:
        policy = read_policy(Paths().policy)
        tools = Tools(nameserver=policy.nameserver, files=FilesClient(_no_process))
        return tuple(protected_ways(policy, Resolver(tools, Journal(Paths().journal)).ways())), ""
    except HelperError as error:
        return (), error.what


def _no_process() -> socket.socket:
    raise AssertionError("reading needs no process")
