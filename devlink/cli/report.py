"""`devlink report`: all that a colleague needs to help, in one file, without secrets."""

import contextlib
import io
import os
import pwd
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import click

from devlink import __version__
from devlink.agent.case import by_socket, gather, resolve_by_socket
from devlink.cli.doctor import show
from devlink.cli.output import Lines, json_text
from devlink.core.codec import encode
from devlink.doctor.case import Case, Subject
from devlink.doctor.checks import CHECKS
from devlink.doctor.examination import Examination, examine, tree
from devlink.doctor.report import logs as kept
from devlink.doctor.report.anonymizing import Anonymizer
from devlink.doctor.report.archive import Target, pack
from devlink.doctor.report.collecting import LOG_LINES, SIZE_LIMIT, Piece, collect, packages, read
from devlink.doctor.report.masking import Masker
from devlink.errors import DevlinkError, reason
from devlink.rpc.tasks import run

README = "README.txt"
_NAMING = re.compile(r"^GENERAL\.CONNECTION:[ \t]+(.*)", re.MULTILINE)
_DOMAINS = re.compile(r"^(?:search|domain|IP[46]\.DOMAIN\[\d+\]:|[ \t]*DNS Domain:)[ \t]+(.*)", re.MULTILINE)
"""Lines of resolv.conf, nmcli and resolvectl: one name, and domains between blanks, which may have a single label."""
_LINKS = re.compile(r"^\d+: ([^\s:@]+)", re.MULTILINE)
_COMMON_LINK = re.compile(
    r"(?:en|wl|ww)[opsx][\da-f]\w*|(?:lo|eth|wlan|wwan|usb|bond|team|dummy|tun|tap|wg|ppp|sit|gre|tunl|ip6tnl|vxlan|"
    r"vlan|br|virbr|vnet|veth|docker|podman|lxcbr|lxdbr|cni|cali|flannel|tailscale|devlink)[-.]?[\da-f]*(?:\.\d+)?|"
    r"zt\w+|kube-ipvs0|vxlan\.calico|cilium_(?:host|net|vxlan)|docker_gwbridge|nodelocaldns"
)
"""What programs and the kernel call links by themselves; others have a name that somebody gave them, as of a VPN."""


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=True, path_type=Path))
@click.option("--anonymize", is_flag=True, help="Replace addresses and names too, each always by the same.")
def report(file: Path | None, anonymize: bool) -> int:
    """Write all that a colleague needs to help into one archive; nothing is sent anywhere.

    FILE is new; without it: devlink-report-DATE-TIME.tar.gz in the present folder. In it are what status and doctor
    say, profiles and plans, routes, the resolver's state, settings, logs and versions. Tokens, keys, passwords and
    certificates are masked. Changes nothing on this laptop.
    """
    now = time.time()
    name = f"devlink-report-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}"
    path = file if file is not None else Path(f"{name}.tar.gz")
    if path.is_dir():
        path = path / f"{name}.tar.gz"
    with Target(path) as target:
        click.echo("Looking at everything, which takes some seconds.", err=True)
        pieces = run(_gather(anonymize=anonymize, now=now))
        data = pack(name, pieces, now)
        target.put(data)
    click.echo(str(path.absolute()))
    _tell(pieces, len(data), anonymize=anonymize)
    return 0


def _tell(pieces: Sequence[Piece], size: int, *, anonymize: bool) -> None:
    tell = Lines(err=True, elsewhere=80)
    missing = [piece for piece in pieces if not piece.text]
    topics = dict.fromkeys(piece.path.split("/")[0] for piece in pieces if "/" in piece.path)
    tell.line("  in it    ", f"{len(pieces) - len(missing)} texts ({', '.join(topics)}), {max(1, size >> 10)} KiB")
    tell.line("  masked   ", "tokens, keys, passwords, certificates" + (", addresses, names" if anonymize else ""))
    if not anonymize:
        tell.line("  readable ", "addresses and names; devlink report --anonymize replaces them too")
    tell.line("  sent     ", f"nothing: look into {README} in it, and give the file to whom you trust")


async def _gather(*, anonymize: bool, now: float) -> list[Piece]:
    """Everything that goes in, masked, with the README first."""
    case = await gather("", "", os.environ, by_socket(), resolve_by_socket())
    examination = await examine(case, CHECKS)
    # Not side by side with the checks: they would seem slow.
    pieces = [*_of_devlink(case, examination), *await collect(case.environ), *_of_user()]
    key = secrets.token_bytes(32)
    masker = Masker(key)
    pieces = [_changed(piece, masker.mask) for piece in pieces]
    if anonymize:
        anonymizer = Anonymizer(key, names_of(case, pieces), keep={*_modules(), *packages()})
        pieces = [_changed(piece, anonymizer.anonymize) for piece in pieces]
    return [_readme(pieces, anonymize=anonymize, now=now), *pieces]


def _changed(piece: Piece, change: Callable[[str], str]) -> Piece:
    return replace(piece, path=change(piece.path), text=change(piece.text), note=change(piece.note))


def _of_devlink(case: Case, examination: Examination) -> Iterator[Piece]:
    for part, said, what in (("agent", case.agent, "status"), ("helper", case.helper, "list")):
        note = reason(said.error) if said.error is not None else "it does not run"
        yield Piece(
            path=f"devlink/{part}-{what}.json", what=f"what the {part} says",
            text=_json(said.told) if said.told is not None else "", note="" if said.told is not None else note,
        )  # fmt: skip
    yield Piece(path="devlink/doctor.json", what="doctor's findings and checks", text=_json(tree(case, examination)))
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        show(case, examination)
    yield Piece(path="devlink/doctor.txt", what="the same to read", text=text.getvalue())
    if case.obstacle is not None:
        yield Piece(path="sessions/none.txt", what="why no profile is known", text=f"{case.obstacle}\n")
    for subject in case.subjects:
        yield from _of_subject(subject)


def _of_subject(subject: Subject) -> Iterator[Piece]:
    from devlink.core.profile_document import encode_profile

    folder = f"sessions/{re.sub(r'[^A-Za-z0-9._-]', '_', subject.name)}"
    about = [
        f"profile {subject.name}, {subject.origin}\n",
        "It is up.\n" if subject.is_installed else "It is not up; this is what `devlink up` would mean.\n",
    ]
    if subject.obstacle is not None:
        about.append(f"It cannot be planned: {subject.obstacle}\n")
    yield Piece(path=f"{folder}/about.txt", what="where it comes from", text="".join(about))
    yield Piece(path=f"{folder}/profile.yaml", what="its profile", text=encode_profile(subject.profile))
    if subject.plan is not None:
        yield Piece(path=f"{folder}/plan.json", what="what it wants installed", text=_json(encode(subject.plan)))


def _of_user() -> Iterator[Piece]:
    from devlink.agent.config import config_folder
    from devlink.agent.places import log_file

    yield read("settings/config.toml", "the user's settings", str(config_folder() / "config.toml"))
    path = log_file()
    lines = kept.tail(path, LOG_LINES, SIZE_LIMIT)
    what = f"what the agent said: the last {LOG_LINES} lines"
    note = "" if lines else f"no whole line is there: {path}"
    yield Piece(path="logs/agent.txt", what=what, text="".join(f"{line}\n" for line in lines), note=note)


def _readme(pieces: Iterable[Piece], *, anonymize: bool, now: float) -> Piece:
    clock = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(now))
    lines = [
        f"What `devlink report` of devlink {__version__} gathered on {clock}.",
        "",
        "Tokens, keys, passwords and certificates are masked: <masked KIND MARK>. Where two marks are",
        "equal, so is what they stand for; a certificate's is the beginning of its SHA-256 fingerprint.",
    ]
    if anonymize:
        lines += [
            "Addresses and names are replaced, each always by the same: x and seven letters stand for a",
            "name; two addresses share as many of their first bits as before, and a private one is private.",
        ]
    width = max(len(piece.path) for piece in pieces)
    lines += ["", f"{README:<{width}}  this text"]
    lines += [
        f"{piece.path:<{width}}  {piece.what}" + (f" [{piece.note.strip()}]" if piece.note else "") for piece in pieces
    ]
    return Piece(path=README, what="what is what", text="\n".join(lines) + "\n")


def names_of(case: Case, pieces: Iterable[Piece]) -> set[str]:
    """What is a name here, and does not look like one: of host, user, clusters, profiles, networks."""
    host = socket.gethostname()
    names = {host, host.partition(".")[0], *(case.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER"))}
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(case.uid)
        names |= {user.pw_name, user.pw_gecos.partition(",")[0]}
    names.add(os.path.basename(case.environ.get("HOME", "")))
    names |= _names_of_clusters(case)
    for subject in case.subjects:
        names.add(subject.name)
        if subject.session is not None:
            names.add(str(subject.session["context"]))
        if subject.profile.spec.dns is not None:
            names |= {*(subject.profile.spec.dns.namespaces or ())}
    for piece in pieces:
        if piece.path.startswith("settings/trust"):
            names.add(piece.path.rpartition("/")[2].removesuffix(".json"))
        if piece.path == "network/links.txt":
            names |= {name for name in _LINKS.findall(piece.text) if not _COMMON_LINK.fullmatch(name)}
        if piece.path.startswith("resolver/"):
            names |= {line.strip() for line in _NAMING.findall(piece.text)}
            names |= {word.lstrip("~") for line in _DOMAINS.findall(piece.text) for word in line.split()}
    return {name for name in names if not _is_number(name)}


def _names_of_clusters(case: Case) -> set[str]:
    """Of kubeconfig only names and servers are looked at."""
    from devlink.agent.config import config_folder, read_config
    from devlink.cluster import kubeconfig, logins

    names = {path.stem for path in (config_folder() / "profiles").glob("*.y*ml")}
    with contextlib.suppress(DevlinkError, OSError):
        names |= {*logins.names()}
    with contextlib.suppress(DevlinkError, OSError):
        config = read_config()
        names |= {config.default or "", *config.profiles}
    with contextlib.suppress(DevlinkError, OSError):
        found = kubeconfig.read(case.environ)
        names |= {*found.contexts, *found.clusters, *found.users, *(path.name for path in found.tried)}
        names |= {str(entry.values.get("namespace", "")) for entry in found.contexts.values()}
        names |= {urlsplit(str(entry.values.get("server", ""))).hostname or "" for entry in found.clusters.values()}
    return names - {"config"}


def _is_number(name: str) -> bool:
    """Addresses are replaced as such."""
    return re.fullmatch(r"[0-9a-fA-F.:/\[\]=, -]*|--|lo", name) is not None


def _modules() -> set[str]:
    """Our own, which logs name."""
    root = resources.files("devlink")
    found = set()
    with resources.as_file(root) as folder:
        for path in folder.rglob("*.py"):
            parts = ["devlink", *path.relative_to(folder).with_suffix("").parts]
            found.add(".".join(parts).removesuffix(".__init__"))
    return found


def _json(data: object) -> str:
    return json_text(data, indent=2) + "\n"
