"""`devlink demo`: the main job in a small private world, each step shown and checked."""

import click


class Terminal:
    """Tells the story on stdout."""

    def heading(self, text: str) -> None:
        click.echo("\n" + click.style(text, bold=True))

    def note(self, text: str) -> None:
        self._indented(text, "  ")

    def command(self, line: str) -> None:
        click.echo("  " + click.style("$ ", dim=True) + line)

    def output(self, text: str) -> None:
        self._indented(text, "    ")

    def proven(self, text: str) -> None:
        click.echo("  " + click.style("✓", fg="green") + f" {text}")

    @staticmethod
    def _indented(text: str, margin: str) -> None:
        for line in text.splitlines():
            click.echo(margin + line)


@click.command()
@click.option("--shell", is_flag=True, help="Stop after `devlink up`, in a shell on that laptop.")
@click.option(
    "--real", is_flag=True, help="With a real control plane, kube-proxy and CoreDNS, which `make kit` builds."
)
def demo(shell: bool, real: bool) -> int:
    """Show the main job in a private world: laptop, router, two nodes, pods, cluster DNS.

    Needs no root where ordinary users may make user namespaces. Exit code 0: every step was true.
    """
    from devlink.errors import HelperError
    from devlink.lab import available, demo_real
    from devlink.lab import demo as story

    reason = available()
    if reason is not None:
        raise HelperError(
            "The demo cannot run here.",
            why=f"{reason}.",
            next_step="See to that, or run it on a machine where that is allowed, such as a virtual one.",
        )
    terminal = Terminal()
    begun = demo_real.prepared(terminal) if real else story.prepared(terminal)
    if shell:
        story.shell(terminal, begun)
        return 0
    story.run(begun)
    click.echo("\n" + click.style("Every step was true.", bold=True))
    return 0
