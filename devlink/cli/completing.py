"""What a shell is answered at TAB: the words that fit, from the commands themselves. Never an error.

The scripts in shells/ ask by environment variables, not by arguments: should another program of our name be asked, it
is run without any, and does nothing.
"""

import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devlink.cli.streams import flush

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

ASKED = "_DEVLINK_COMPLETE"
"""Which shell asks: bash, zsh, fish, or kubectl, which gives the words as arguments."""
SEPARATOR = "\x1f"
BARE = frozenset("_@%+=:,./-")
"""What bash reads as itself, beside letters and digits; anything else gets a backslash."""
WITHOUT_FILES = 4
"""Of a completer of kubectl's (cobra's ShellCompDirectiveNoFileComp): no file is meant."""


def answer(environ: Mapping[str, str], arguments: Sequence[str]) -> str:
    """The lines that the script of the shell in `environ` reads: kind, word and what it is, parted by TABs.

    kubectl's are those of cobra: word and what it is, then a directive. Empty where the question is not understood.
    """
    logging.getLogger("devlink").addHandler(logging.NullHandler())  # a damaged file is no news at this moment
    shell = environ[ASKED]
    if shell == "kubectl":
        return _for_kubectl(arguments)
    if shell == "bash":
        line = split(environ["_DEVLINK_LINE"], environ.get("_DEVLINK_BREAKS", ""))
        return _for_bash(fitting(line.words), line)
    words = environ["_DEVLINK_WORDS"].split(SEPARATOR)
    return "".join(f"{item.type}\t{item.value}\t{item.help or ''}\n" for item in fitting(words))


def fitting(words: Sequence[str]) -> "list[CompletionItem]":
    """What fits in the place of the last of `words`; the first one is the command's name.

    Where that is `--option=` with a beginning of its value, the items are whole words too.
    """
    from click.shell_completion import CompletionItem, ShellComplete

    from devlink.cli.root import devlink

    *before, last = words[1:]
    option, equals, _ = last.partition("=") if last.startswith("--") else ("", "", "")
    items = ShellComplete(devlink, {}, "devlink", ASKED).get_completions(list(before), last)
    return [
        item if not equals else CompletionItem(f"{option}={item.value}", type=item.type, help=item.help)
        for item in items
        if str(item.value).isprintable() and (item.help or "").isprintable()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A command's line as bash reads it, up to the place where its user types."""

    words: tuple[str, ...]
    """Without their quotes and backslashes. The last one is being typed; empty behind a blank."""
    kept: str
    """What of the last one bash does not replace: all up to one of its COMP_WORDBREAKS, an `=` or a `:`, say."""
    is_quoted: bool
    """Whether the last one has quotes."""


def split(line: str, breaks: str) -> Line:
    """Read a line. Of what bash knows, only quotes and backslashes are known here, and the COMP_WORDBREAKS `breaks`."""
    words: list[str] = []
    word, kept, within, quoted, quote, escaped = "", "", False, False, "", False
    for c in line:
        if c.isspace() and not quote and not escaped:
            if within:
                words.append(word)
            word, kept, within, quoted = "", "", False, False
            continue
        within = True
        if escaped:
            word, escaped = word + c, False
        elif c == "\\" and quote != "'":
            escaped = True
        elif c == quote:
            quote = ""
        elif c in "'\"" and not quote:
            quote, quoted = c, True
        else:
            word += c
            if c in breaks and not quote:
                kept = word
    return Line(words=(*words, word), kept=kept, is_quoted=quoted)


def _for_bash(items: "Iterable[CompletionItem]", line: Line) -> str:
    lines = []
    for item in items:
        rest = str(item.value).removeprefix(line.kept)
        escaped = "".join(c if c in BARE or c.isalnum() else f"\\{c}" for c in rest)
        if item.type != "plain":
            lines.append(f"{item.type}\t\n")
        elif escaped == rest or not line.is_quoted:
            lines.append(f"plain\t{escaped}\n")
    return "".join(lines)


def _for_kubectl(arguments: Sequence[str]) -> str:
    import click

    from devlink.cli.offers import contexts, files
    from devlink.cli.plugin import NAME, VALUED, translated
    from devlink.cli.root import devlink

    *before, last = arguments or [""]
    flag = VALUED.get(before[-1], "") if before else ""
    words = translated(devlink, before[:-1] if flag else before, os.environ, is_whole=False)
    if flag in ("context", "kubeconfig"):
        ctx = click.Context(devlink, info_name=NAME)
        items = {"context": contexts, "kubeconfig": files}[flag](ctx, devlink.params[0], last)
    else:
        items = fitting(["devlink", *words, *([before[-1]] if flag else []), last])
    plain = [item for item in items if item.type == "plain"]
    lines = [f"{item.value}\t{item.help}\n" if item.help else f"{item.value}\n" for item in plain]
    directive = WITHOUT_FILES if len(plain) == len(items) else 0
    return f"{''.join(lines)}:{directive}\n"


def main() -> int:
    """Answer the shell that asks. Always 0: at TAB nobody wants to hear what is wrong."""
    try:
        text = answer(os.environ, sys.argv[1:])
    except (Exception, SystemExit, KeyboardInterrupt):
        return 0
    sys.stdout.write(text)
    flush()  # where nobody reads it any more, that is no error either
    return 0
