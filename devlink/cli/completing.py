"""What a shell is answered at TAB: the words that fit, from the commands themselves. Never an error.

The scripts in shells/ ask by environment variables, not by arguments: should another program of our name be asked, it
is run without any, and does nothing.
"""

import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from devlink.cli.streams import flush

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

ASKED = "_DEVLINK_COMPLETE"
"""Which shell asks: bash, zsh, fish, or kubectl, which gives the words as arguments."""
SEPARATOR = "\x1f"
BACKSLASHED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")
"""What bash reads as itself; anything else gets a backslash."""
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
        words, raw = split(environ["_DEVLINK_LINE"])
        return _for_bash(fitting(words), raw, environ.get("_DEVLINK_BREAKS", ""))
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


def split(line: str) -> tuple[list[str], str]:
    """The words of a line as bash reads it, up to its end, where the last one is being typed; and that one unread.

    It is empty where the line ends in a blank. Of bash's words only quotes and backslashes are known.
    """
    words: list[str] = []
    word, start, within, quote, escaped = "", len(line), False, "", False
    for place, c in enumerate(line):
        if c.isspace() and not quote and not escaped:
            if within:
                words.append(word)
            word, start, within = "", len(line), False
            continue
        if not within:
            start, within = place, True
        if escaped:
            word, escaped = word + c, False
        elif c == "\\" and quote != "'":
            escaped = True
        elif c == quote:
            quote = ""
        elif c in "'\"" and not quote:
            quote = c
        else:
            word += c
    return [*words, word], line[start:]


def _for_bash(items: "Iterable[CompletionItem]", raw: str, breaks: str) -> str:
    """bash replaces no whole word, but what follows the last of its COMP_WORDBREAKS: an `=` or a `:`, say."""
    place = max((raw.rfind(c) for c in breaks if not c.isspace() and c not in "'\""), default=-1)
    kept = raw[: place + 1]
    lines = []
    for item in items:
        word = "".join(c if c in BACKSLASHED or c.isalnum() else f"\\{c}" for c in item.value)
        if item.type != "plain":
            lines.append(f"{item.type}\t\n")
        elif word.startswith(kept) and (word == item.value or not set(raw) & {"'", '"'}):
            lines.append(f"plain\t{word.removeprefix(kept)}\n")
    return "".join(lines)


def _for_kubectl(arguments: Sequence[str]) -> str:
    items = fitting(["devlink", *(arguments or [""])])
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
