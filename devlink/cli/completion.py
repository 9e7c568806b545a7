"""`devlink completion`: the script by which a shell completes the words of this command."""

from importlib import resources

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that has SHELL complete commands, options, profiles, contexts, gateways and codes by TAB.

    A package of a distribution has brought it along. Else:

    \b
    bash   eval "$(devlink completion bash)"   in ~/.bashrc
    zsh    eval "$(devlink completion zsh)"    in ~/.zshrc, below compinit
    fish   devlink completion fish >~/.config/fish/completions/devlink.fish
    """
    click.echo(script(shell), nl=False)


def script(shell: str) -> str:
    """The script for one of SHELLS."""
    return resources.files("devlink.cli").joinpath("shells", f"devlink.{shell}").read_text(encoding="utf-8")
