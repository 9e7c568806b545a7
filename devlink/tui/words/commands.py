"""The command in a piece of advice: what a person would copy of it. PURE, and without Textual."""

import re

from devlink.core.text import printable

OWN = {
    "up", "down", "status", "dashboard", "failover", "doctor", "explain", "report", "logs", "profile", "dns", "login",
    "logout", "trust", "service", "completion", "helper", "demo",
}  # fmt: skip
"""The command line's own, which this room may not import; a test holds them to it."""
PROGRAMS = {
    "sudo", "pkexec", "ip", "nft", "iptables", "sysctl", "systemctl", "journalctl", "resolvectl", "nmcli", "kubectl",
    "cilium", "calicoctl", "kill", "export", "unset", "grep", "getent", "curl", "dig", "ps", "docker", "timedatectl",
    "apt", "dnf", "env",
}  # fmt: skip
"""What advice begins a line of a shell with. In the middle of a sentence the word may mean itself."""
QUOTED = re.compile(r"`([^`]+)`")
BEGINNINGS = re.compile(r"(?:^|[:;(]\s+|\(|\bor\s+|\brun\s+|\bsee\s+|[.?]\s+)(?=[\w/])", re.IGNORECASE)
OWN_ANYWHERE = re.compile(r"\bdevlink(?= [a-z])")
END = re.compile(r",(?=\s|$)|\)(?=[\s,;.]|$)|\.(?=\s+[A-Z]|\s*$)|[?](?=\s|$)|\s\(|;|:\s|\n")
PROSE = {
    "again", "and", "asks", "comes", "for", "goes", "has", "if", "is", "keeps", "looks", "or", "puts", "says", "shows",
    "takes", "tells", "then", "there", "to", "until", "when", "where", "which", "with",
}  # fmt: skip
"""Words at which a sentence goes on behind a command."""


def command_of(advice: str) -> str:
    """The first command that a fix names, on one line; empty where it names none."""
    for quoted in QUOTED.findall(advice):
        if _is_command(quoted):
            return printable(" ".join(quoted.split()))
    starts = {match.end() for match in BEGINNINGS.finditer(advice)}
    starts |= {match.start() for match in OWN_ANYWHERE.finditer(advice)}
    for start in sorted(starts):
        rest = advice[start:]
        if _is_command(rest):
            return _clipped(rest)
    return ""


def _is_command(text: str) -> bool:
    program, *words = text.split()[:2] or [""]
    if program == "devlink":
        return bool(words) and (words[0].rstrip(".,;:)") in OWN or words[0].startswith("--"))
    if program.startswith("/"):
        return bool(words) and (program.endswith("/devlink") or "/run.py devlink.cli " in text)
    return program in PROGRAMS and bool(words) and words[0] not in PROSE


def _clipped(text: str) -> str:
    """Up to where the sentence goes on. What stands in quotation marks belongs to the command."""
    kept: list[str] = []
    quote = ""
    for token in re.findall(r"\S+", text[: _end(text)]):
        if kept and not quote and token in PROSE:
            break
        kept.append(token)
        for mark in "'\"":
            if token.count(mark) % 2 and quote in ("", mark):
                quote = "" if quote else mark
    return printable(" ".join(kept))


def _end(text: str) -> int:
    for match in END.finditer(text):
        before = text[: match.start()]
        if before.count("'") % 2 == 0 and before.count('"') % 2 == 0:
            return match.start()
    return len(text)
