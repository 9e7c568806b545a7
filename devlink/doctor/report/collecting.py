"""What a report tells of a laptop: what programs say and files hold, each within its limits of time and size.

Nothing is changed, and nothing is started that does not run. What cannot be had is noted, and is no error.
"""

import asyncio
import glob
import importlib.metadata
import os
import platform
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from devlink.doctor.report import logs
from devlink.kernel.traffic import TABLE
from devlink.resolvers.resolv_conf import BACKUP_NAME, NAME
from devlink.run import argv
from devlink.service.unit import NAME as USER_UNIT

COMMAND_LIMIT = 5.0
"""Seconds for each command."""
SIZE_LIMIT = 1 << 20
"""Octets of each text."""
AT_ONCE = 4
"""How many commands run side by side."""
LOG_LINES = 2000
RESOLV_CONF = f"/etc/{NAME}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One file of a report."""

    path: str
    """In the archive."""
    what: str
    """In a few words."""
    text: str
    note: str = ""
    """Why it is not whole, or not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One whose output goes in."""

    path: str
    what: str
    argv: tuple[str, ...]


def own(*words: str) -> tuple[str, ...]:
    """This program's command `words`."""
    return argv("devlink.cli", *words)


def _ip(path: str, what: str, *words: str) -> Command:
    return Command(path=f"network/{path}.txt", what=what, argv=("ip", *words))


def _version(name: str, *argv: str) -> Command:
    return Command(path=f"versions/{name}.txt", what=f"the version of {name}", argv=argv)


def _journal(unit: str, what: str, *choice: str) -> Command:
    return Command(
        path=f"logs/{unit.removesuffix('.service')}.journal.txt",
        what=f"what {what} said, from the journal: the last {LOG_LINES} lines",
        argv=(
            "journalctl", *choice, unit, "--no-pager", "--quiet", "--no-hostname", "--output=short-iso-precise",
            f"--lines={LOG_LINES}",
        ),
    )  # fmt: skip


COMMANDS = (
    Command(path="devlink/status.txt", what="devlink status", argv=own("status")),
    Command(path="devlink/dns-stats.txt", what="devlink dns stats", argv=own("dns", "stats")),
    Command(path="versions/devlink.txt", what="devlink's parts and their versions", argv=own("--version")),
    _ip("links", "links", "-d", "link"),
    _ip("addresses", "addresses", "-d", "address"),
    _ip("routes4", "IPv4 routes of all tables", "-d", "-4", "route", "show", "table", "all"),
    _ip("routes6", "IPv6 routes of all tables", "-d", "-6", "route", "show", "table", "all"),
    _ip("rules4", "IPv4 rules", "-d", "-4", "rule"),
    _ip("rules6", "IPv6 rules", "-d", "-6", "rule"),
    _ip("nexthops", "nexthop objects", "-d", "nexthop"),
    _ip("neighbours", "ARP and neighbour entries", "-d", "neigh"),
    *(
        Command(
            path=f"network/nft-{family}.txt",
            what=f"devlink's nftables table of {family}",
            argv=("nft", "list", "table", family, TABLE),
        )
        for family in ("ip", "ip6")
    ),
    Command(
        path="network/nft-relay.txt",
        what="devlink's nftables table that leads connections to a relay",
        argv=("nft", "list", "table", "inet", "devlink"),
    ),
    Command(path="network/listening.txt", what="listening sockets", argv=("ss", "-lntu")),
    Command(
        path="resolver/resolvectl.txt",
        what="systemd-resolved's state",
        # Asked by D-Bus it would be started where it does not run.
        argv=("sh", "-c", "systemctl is-active --quiet systemd-resolved && exec resolvectl --no-pager status"),
    ),
    Command(path="resolver/nmcli.txt", what="NetworkManager's devices", argv=("nmcli", "device", "show")),
    _version("kernel", "uname", "-srvm"),
    _version("systemd", "systemctl", "--version"),
    _version("iproute2", "ip", "-V"),
    _version("nftables", "nft", "--version"),
    _version("NetworkManager", "nmcli", "--version"),
    _version("docker", "docker", "--version"),
    *(_journal(unit, what, "--unit") for unit, what in logs.SYSTEM_UNITS.items()),
    _journal(USER_UNIT, "the agent", "--user-unit"),
)
FILES = {
    "resolver/before-devlink.conf": ("resolv.conf as it was before devlink", f"/etc/{BACKUP_NAME}"),
    "resolver/resolved.conf": ("the servers that systemd-resolved knows", "/run/systemd/resolve/resolv.conf"),
    "settings/policy.toml": ("what this machine's owner allows", "/etc/devlink/policy.toml"),
    "versions/os-release.txt": ("the operating system", "/etc/os-release"),
}
TRUST = ("/var/lib/devlink/trust/*.json", "/etc/devlink/trust.d/*.json")
SYSCTLS = (
    "net/ipv4/ip_forward", "net/ipv4/tcp_mtu_probing", "net/ipv4/ping_group_range", "net/ipv4/ip_no_pmtu_disc",
    "net/ipv4/ip_unprivileged_port_start", "net/ipv4/fib_multipath_*", "net/ipv4/nexthop_compat_mode",
    "net/ipv4/conf/*/rp_filter", "net/ipv4/conf/*/forwarding", "net/ipv4/conf/*/accept_redirects",
    "net/ipv4/conf/*/arp_ignore", "net/ipv4/conf/*/arp_filter", "net/ipv4/conf/*/route_localnet",
    "net/ipv4/conf/*/src_valid_mark", "net/ipv6/conf/*/disable_ipv6", "net/ipv6/conf/*/forwarding",
    "net/ipv6/conf/*/accept_ra", "net/ipv6/conf/*/accept_redirects", "net/ipv6/conf/*/use_tempaddr",
    "net/ipv6/conf/*/mtu", "net/netfilter/nf_conntrack_tcp_be_liberal",
)  # fmt: skip
"""Below /proc/sys: what decides over packets (Documentation/networking/ip-sysctl of the kernel)."""
ENVIRONMENT = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "KUBECONFIG", "KUBE_CONTEXT", "PATH", "LANG", "LC_ALL",
    "SHELL", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "DBUS_SESSION_BUS_ADDRESS",
    "RES_OPTIONS", "LOCALDOMAIN", "GODEBUG", "SSL_CERT_FILE", "SSL_CERT_DIR", "VIRTUAL_ENV", "PYTHONPATH",
    "WSL_DISTRO_NAME",
)  # fmt: skip
"""Variables that change what devlink, or a program beside it, does. The proxies are looked for in both cases."""


async def collect(environ: Mapping[str, str], commands: Iterable[Command] = COMMANDS) -> list[Piece]:
    """Everything that needs no Case. Takes at most as long as `COMMAND_LIMIT` times the commands by `AT_ONCE`."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def bounded(command: Command) -> Piece:
        async with slots:
            return await run(command, environ)

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(bounded(command)) for command in commands]
        files = group.create_task(asyncio.to_thread(_read_all, environ))
    return [*(task.result() for task in running), *files.result()]


async def run(command: Command, environ: Mapping[str, str], *, limit: float = COMMAND_LIMIT) -> Piece:
    """What a command says, on both outputs. `limit`: seconds."""
    plain = {"LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", "NO_COLOR": "1"}
    path = f"{environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # Debian leaves these out of a user's
    shown = f"$ {' '.join(word if word != sys.executable else 'python' for word in command.argv)}\n"
    try:
        process = await asyncio.create_subprocess_exec(
            *command.argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, env={**environ, **plain, "PATH": path}, start_new_session=True, cwd="/",
        )  # fmt: skip
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        note = "not installed" if missing else f"cannot be run: {error.strerror}"
        return Piece(path=command.path, what=command.what, text="", note=note)
    assert process.stdout is not None
    said, note = bytearray(), ""
    try:
        async with asyncio.timeout(limit):
            while chunk := await process.stdout.read(1 << 16):
                said += chunk
                if len(said) > SIZE_LIMIT:
                    note = "cut off: it is too long"
                    break
            else:
                code = await process.wait()
                note = f"it ended with exit code {code}" if code else "" if said else "it said nothing"
    except TimeoutError:
        note = f"cut off: it took more than {limit:g} s"
    finally:
        if process.returncode is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            await asyncio.shield(process.wait())
    return Piece(path=command.path, what=command.what, text=shown + _text(bytes(said)), note=note)


def read(path: str, what: str, place: str) -> Piece:
    """A file, its end where it is too long; a note where it cannot be read."""
    try:
        with open(place, "rb", opener=_without_waiting) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - SIZE_LIMIT))
            data = file.read(SIZE_LIMIT)
            if size > SIZE_LIMIT:
                data = data.partition(b"\n")[2]  # else what is left of a line may be the half of a secret
    except FileNotFoundError:
        return Piece(path=path, what=what, text="", note=f"not there: {place}")
    except OSError as error:
        return Piece(path=path, what=what, text="", note=f"cannot be read: {place}: {error.strerror}")
    note = "cut off: it is too long, and this is its end" if size > SIZE_LIMIT else ""
    return Piece(path=path, what=what, text=_text(data), note=note)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO in its place would never open


def _read_all(environ: Mapping[str, str]) -> list[Piece]:
    pieces = [read(path, what, place) for path, (what, place) in FILES.items()]
    for place in sorted(found for pattern in TRUST for found in glob.glob(pattern)):
        folder, _, name = place.rpartition("/")
        pieces.append(read(f"settings/{os.path.basename(folder)}/{name}", "what is trusted", place))
    sysctls = sorted(found for pattern in SYSCTLS for found in glob.glob(f"/proc/sys/{pattern}"))
    return [
        *pieces,
        _resolv_conf(),
        _nsswitch(),
        Piece(path="network/sysctls.txt", what="the kernel's settings", text="".join(map(_sysctl, sysctls))),
        Piece(path="versions/python.txt", what="Python and its packages", text=_packages()),
        Piece(path="environment.txt", what="what the environment says", text=_environment(environ)),
    ]


def _resolv_conf() -> Piece:
    """With what it leads to: that says who writes it."""
    piece = read("resolver/resolv.conf", "who is asked for names, and where that file leads", RESOLV_CONF)
    chain: list[str] = []
    place = RESOLV_CONF
    while os.path.islink(place) and len(chain) < 8:
        target = os.readlink(place)
        chain.append(f"# {place} is a symbolic link to {target}\n")
        place = os.path.normpath(os.path.join(os.path.dirname(place), target))
    return Piece(path=piece.path, what=piece.what, text="".join(chain) + piece.text, note=piece.note)


def _nsswitch() -> Piece:
    """What it says of hosts: the rest is of users and their passwords."""
    piece = read("resolver/nsswitch.conf", "where libc looks names up", "/etc/nsswitch.conf")
    lines = [line for line in piece.text.splitlines(keepends=True) if line.lstrip().startswith("hosts")]
    return Piece(path=piece.path, what=piece.what, text="".join(lines), note=piece.note)


def _sysctl(place: str) -> str:
    try:
        with open(place) as file:
            value = " ".join(file.read().split())
    except OSError:
        return ""
    return f"{place.removeprefix('/proc/sys/').replace('/', '.')} = {value}\n"


def packages() -> dict[str, str]:
    """The versions of Python's packages, by name."""
    found = ((one.metadata["Name"], one.version) for one in importlib.metadata.distributions())
    return {str(name): version for name, version in sorted(found, key=str)}


def _packages() -> str:
    lines = [f"{name} {version}" for name, version in packages().items()]
    return "\n".join([f"Python {platform.python_version()} ({sys.executable})", *lines, ""])


def _environment(environ: Mapping[str, str]) -> str:
    names = (each for name in ENVIRONMENT for each in dict.fromkeys((name, name.lower())))
    return "".join(f"{name}={environ[name]}\n" for name in names if name in environ)


def _text(data: bytes) -> str:
    """UTF-16 is read as far as it is ASCII: with a NUL beside each letter no secret would be known as one."""
    nothing = b"" if 3 * data.count(0) > len(data) else b"\n"
    return data.replace(b"\0", nothing).decode("utf-8", "replace")
