"""What is told of the link in words. PURE, and without Textual."""

from typing import NamedTuple

from devlink.tui.records import AgentStatus


class Told(NamedTuple):
    """One line with its tone: ok, info, warning, error, off, busy."""

    tone: str
    text: str
    next_step: str = ""


def headline(status: AgentStatus) -> Told:
    """Am I connected, to what, and what do I do: of an agent that is here."""
    if not status.sessions:
        asking = " and ".join(wanted or "the default profile" for wanted in status.asking)
        if asking:
            return Told("busy", f"Asking for {asking}.")
        return Told("off", "Nothing is up.", "Press u to bring a profile up.")
    names = ", ".join(f"{session.name} {session.state}" for session in status.sessions)
    is_well = all(session.state == "up" for session in status.sessions)
    return Told("ok" if is_well else "warning", names)
