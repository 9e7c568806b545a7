"""`kubectl devlink ...`: this command as a plugin of kubectl's, which hands over all that stands behind `devlink`.

`--context` goes to the command that is meant, wherever it stands; `--kubeconfig` becomes KUBECONFIG; `--namespace` is
for the commands that have one, and nothing to the others: a link is of a whole cluster. kubectl itself refuses flags
that stand before a plugin's name.
"""

import os
from collections.abc import MutableMapping, Sequence
from typing import Any

import click

NAME = "kubectl devlink"
"""As it is called in usage lines."""
VALUED = {"--context": "context", "--kubeconfig": "kubeconfig", "--namespace": "namespace", "-n": "namespace"}
"""The flags of kubectl's that are understood, all with a value."""
MEANINGS = (
    ("--context C", "The kubeconfig context, or login, for the command that is meant."),
    ("--kubeconfig FILE", "The kubeconfig, in place of what KUBECONFIG says."),
    (
        "-n, --namespace NS",
        "For a command that has --namespace, such as `profile discover`. Makes no difference to others, which say so: "
        "a link is of a whole cluster.",
    ),
)
"""The same for the manual."""
REFUSED = frozenset({
    "--as", "--as-group", "--as-uid", "--as-user-extra", "--certificate-authority", "--client-certificate",
    "--client-key", "--cluster", "--insecure-skip-tls-verify", "--password", "--proxy-url", "--server", "-s",
    "--tls-server-name", "--token", "--user", "--username",
})  # fmt: skip
"""Those that would make another access of what a context says (kubectl options), but for what it does by itself."""


def translated(
    root: click.Command, arguments: Sequence[str], environ: MutableMapping[str, str], *, is_whole: bool = True
) -> list[str]:
    """The arguments of `root`, our whole command, for those behind `kubectl devlink`.

    Sets KUBECONFIG in `environ` where they name it.
    `is_whole`: whether no word is to come. Raises click.UsageError for a flag of kubectl's that has no value, or that
    the command which is meant cannot heed.
    """
    reading = _Reading(root)
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            reading.words += [word, *rest]
            break
        flag, equals, value = word.partition("=")
        if word.startswith("-n") and not word.startswith("--") and len(word) > 2:
            flag, equals, value = "-n", "=", word[2:].removeprefix("=")
        if flag in REFUSED:
            raise click.UsageError(
                f"{flag} is kubectl's, and cannot be heeded here. Make a context that says so (kubectl config "
                "set-context), and name it: --context NAME"
            )
        if flag not in VALUED or (flag == "-n" and reading.knows(flag)):
            reading.take(word)
            continue
        if not equals:
            if not rest:
                raise click.UsageError(f"{flag} needs a value.")
            value = rest.pop(0)
        reading.flags[VALUED[flag]] = [*reading.flags.get(VALUED[flag], []), value]
    return reading.finished(environ, is_whole=is_whole)


class _Reading:
    """What was read of a line: the command that is meant, the words for it, and kubectl's flags."""

    def __init__(self, root: click.Command) -> None:
        self.words: list[str] = []
        self.flags: dict[str, list[str]] = {}
        self._context = click.Context(root, info_name=NAME)
        self._place = 0
        """In `words`, behind the command's name."""
        self._is_named = False

    def take(self, word: str) -> None:
        self.words.append(word)
        command = self._context.command
        if word.startswith("-") or self._is_named or not isinstance(command, click.Group):
            return
        found = command.get_command(self._context, word)
        if found is None:
            self._is_named = True
            return
        self._context = click.Context(found, info_name=word, parent=self._context)
        self._place = len(self.words)

    def knows(self, flag: str) -> bool:
        return any(flag in parameter.opts for parameter in self._parameters())

    def finished(self, environ: MutableMapping[str, str], *, is_whole: bool) -> list[str]:
        words = []
        for kind, values in self.flags.items():
            option = f"--{kind}"
            if kind == "kubeconfig":
                if values[-1]:  # an empty one is none, as for kubectl
                    environ["KUBECONFIG"] = os.path.abspath(values[-1])
            elif self.knows(option):
                words += [word for value in values for word in (option, value)]
            elif not is_whole or isinstance(self._context.command, click.Group):
                continue  # nobody knows yet what it is for, or never will: the group says which commands it has
            elif kind == "context":
                raise click.UsageError(
                    f"`{self._context.command_path}` takes no --context: leave it out.", self._context
                )
            else:
                named = self._context.command_path
                click.echo(f"! --namespace makes no difference to `{named}`: a link is of a whole cluster.", err=True)
        return [*self.words[: self._place], *words, *self.words[self._place :]]

    def _parameters(self) -> list[click.Parameter]:
        command: Any = self._context.command
        hidden = [each for each in command.commands.values() if each.hidden] if hasattr(command, "commands") else []
        return [parameter for each in (command, *hidden) for parameter in each.params]  # `trust PROFILE` is hidden
