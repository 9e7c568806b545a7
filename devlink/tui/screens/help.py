"""All keys, and what the panels mean."""

from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from devlink.tui.screens.dialog import Dialog


class Group(NamedTuple):
    """Keys that belong together."""

    name: str
    keys: tuple[tuple[str, str], ...]


GROUPS = (
    Group(
        "The link",
        (
            ("u", "bring a profile up; starts an agent where none runs"),
            ("d", "take a session down, or all (asks first)"),
            ("p", "another profile in the place of what is up (asks first)"),
            ("f", "have another gateway carry the packets (asks first)"),
            ("n", "forget every answer to a name that is kept"),
            ("a", "start the agent, where none runs"),
        ),
    ),
    Group(
        "What is wrong",
        (
            ("o", "examine everything, as devlink doctor does"),
            ("e", "explain the way to a name, an address or a URL"),
            ("y", "copy the command or the line of the panel that has the keys"),
            ("r", "save a report for a colleague"),
        ),
    ),
    Group(
        "The screen",
        (
            ("1-5", "findings, routes, DNS, queries, events"),
            ("Tab", "the next panel; Shift-Tab the one before"),
            ("arrows", "move, also j and k, PgUp, PgDn, Home, End; Enter opens"),
            ("/", "filter the lines; Esc shows all of them again"),
            ("t", "light or dark"),
            ("Ctrl-P", "all of this by its name"),
            ("q", "leave: nothing is taken down. Ctrl-C does the same"),
        ),
    ),
)
ABOUT = (
    "On top: whether you are connected, to what, and what to do. Below: your sessions and the path of the one under "
    "the cursor, from this laptop to the cluster. Then what is wrong (findings), which networks go there (routes), who "
    "answers names and how fast (DNS), each name that a program asks for (queries), and what happened (events)."
)


class Help(Dialog[None]):
    """Any of the keys that leave a dialog closes it."""

    DEFAULT_CSS = """
    Help VerticalScroll {
        height: auto;
        max-height: 100%;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("q,question_mark,f1,enter", "leave", "Close", show=False)]

    def __init__(self) -> None:
        super().__init__("devlink dashboard")

    def compose_body(self) -> ComposeResult:
        with VerticalScroll():
            for group in GROUPS:
                lines = [f"  {key:<7} {what}" for key, what in group.keys]
                yield Static("\n".join((group.name, *lines)), markup=False)
            yield Static(ABOUT, classes="keys", markup=False)
            yield Static("Esc closes", classes="keys", markup=False)
