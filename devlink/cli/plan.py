"""`up --dry-run`: the plan in words that a network engineer can type."""

import click

from devlink.agent.profiles import choose
from devlink.core.plan import addresses_of_interest, make_plan, pins
from devlink.kernel.observe import observe


def show_plan(profile: str, *, with_dns: bool, with_routes: bool) -> int:
    """Print what `up` would install. Needs neither agent nor helper, and changes nothing."""
    wanted = choose(profile)
    observed = observe(addresses_of_interest(wanted))
    plan = make_plan(wanted, observed, with_dns=with_dns, with_routes=with_routes)
    click.echo(f"# routing {plan.mode.value}: {plan.reason}")
    hops = tuple(r.next_hop for r in plan.desired.routes if r.next_hop is not None)
    for route in plan.desired.routes + pins(plan.desired.routes, observed.default_gateways + hops, observed):
        click.echo(f"ip route add {route}")
    for zone in plan.desired.zones:
        servers = ", ".join(f"{s.address} ({s.transport.value})" for s in zone.servers)
        click.echo(f"# names in {zone.suffix} to {servers}")
    for finding in plan.findings:
        click.echo(f"# {finding.severity.value} {finding.code}: {finding.title} {finding.evidence}".rstrip())
    return 0
