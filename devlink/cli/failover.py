"""`devlink failover`: another gateway carries the packets, by hand."""

import click

from devlink.agent.client import connect
from devlink.cli import offers
from devlink.cli.output import emit, output_option
from devlink.errors import NotUpError


@click.command()
@click.argument("gateway", required=False, shell_complete=offers.gateways)
@click.option(
    "--profile",
    default="",
    metavar="NAME",
    shell_complete=offers.sessions,
    help="Of this session; needed where more than one is up.",
)
@output_option("json", "yaml")
def failover(gateway: str | None, profile: str, output: str) -> None:
    """Have GATEWAY carry the packets of what is up; without it, the next one after the one that carries them now.

    GATEWAY is an address that `devlink status` shows. It stays so until that one dies, or until you choose the
    preferred one again. Without this command a gateway that dies is left, and gone back to, by itself.
    """
    agent = connect()
    if agent is None:
        raise NotUpError("Nothing is up.", next_step="Bring a profile up first: devlink up")
    with agent:
        answer = agent.call("io.devlink.Agent.Failover", {"session": profile, "gateway": gateway or ""})
    if output != "text":
        emit(answer, output)
        return
    before, now = answer["before"], answer["gateway"]
    if before == now:
        click.echo(f"{answer['session']} goes by {now} already.")
    else:
        click.echo(f"{answer['session']} goes by {now} now, and no more by {before}.")
        click.echo(
            "TCP connections to services (ClusterIPs) that were open are broken; those to pod addresses go on.",
            err=True,
        )
