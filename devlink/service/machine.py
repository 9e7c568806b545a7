"""The system services for a devlink that came by pip or pipx: what is laid down, laid down, and taken away.

Whatever a unit runs is root's own: a copy of the package, a Python, and every folder on the way to them.
"""

import hashlib
import pwd
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from devlink.errors import ConflictError, HelperError, reason
from devlink.helper.access import is_member
from devlink.hints import as_root
from devlink.service import effects, laying, owned
from devlink.service.laying import COMMAND, LIB
from devlink.service.manifest import PATH as MANIFEST
from devlink.service.manifest import Manifest, read_manifest, write_manifest
from devlink.service.sources import Sources

PACKAGED = ("/usr/lib/systemd/system/devlink-helper.service", "/lib/systemd/system/devlink-helper.service")
"""Where a distribution's package has the helper's unit."""
LEFT = "/var/lib/dpkg/info/devlink.postrm"
"""Is there until a package is purged, and then removes the users, the trust records and the sockets."""
POLKIT_USER = "polkitd"
"""Owns polkit's own folder of rules on some systems; it decides by them anyway."""
RULES = laying.PLACES["usr/share/polkit-1/rules.d/"]
STATE = ("/var/lib/devlink", "/run/devlink")
CONFIG = "/etc/devlink"
"""The machine's owner's: policy and trust records. Kept."""
UNINSTALL = f"sudo {COMMAND} helper uninstall"
"""The line that takes it away, also when the environment that it came from is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that an install will do: shown first, then done."""

    sources: Sources
    manifest: Manifest
    """As it will be when all is done."""
    old: Manifest | None
    """What is there already."""
    files: dict[str, str] = field(default_factory=dict)
    """The text of each file outside the folder of programs, by its absolute path."""
    saved: tuple[str, ...] = ()
    """Those of them that somebody changed since, whose present content is kept beside."""
    member: str = ""
    """Who will become a member of the group."""


class Place:
    """A machine's file system, or a folder that a test takes for one, and the programs that act on it."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        owner: int = 0,
        run: Callable[..., bool] = effects.run,
        who: Callable[[str, str], bool] = effects.is_known,
        logs_in: Callable[[str], bool] = effects.logs_in,
    ) -> None:
        self.root = root
        self.owner = owner
        self.run = run
        """Runs a program (effects.run)."""
        self.who = who
        """Whether there is a user or group of a name (effects.is_known)."""
        self.logs_in = logs_in
        """Whether there is a user of a name who may be a person (effects.logs_in)."""

    def at(self, path: str) -> Path:
        """Where an absolute path lies."""
        return self.root / path.lstrip("/")

    def digest(self, path: str) -> str:
        """The SHA-256 of what lies there; empty where nothing does, a dash for what is no ordinary file."""
        place = self.at(path)
        if place.is_symlink() or (place.exists() and not place.is_file()):
            return "-"
        try:
            return hashlib.sha256(place.read_bytes()).hexdigest()
        except (FileNotFoundError, NotADirectoryError):
            return ""


def check_system(place: Place, environment: Mapping[str, str]) -> None:
    """Raises where nothing of ours can be installed: no systemd, a package that has it, or modules from anywhere."""
    for name in ("PYTHONPATH", "PYTHONHOME"):
        if environment.get(name):
            raise HelperError(
                f"The environment says where this devlink has its modules from: {name} is set.",
                why="What is copied for root to run is what is installed, and nothing else.",
                next_step=f"Run it without: unset {name}",
            )
    if not place.at("/run/systemd/system").is_dir():
        raise HelperError(
            "The helper cannot be installed here as a service.",
            why="systemd does not manage this machine's services.",
            next_step=f"Run it in a terminal of its own: {as_root('helper', 'run')}",
        )
    for unit in PACKAGED:
        if place.at(unit).exists():
            raise ConflictError(
                "The helper is installed already, by a package.",
                why=f"{unit} is there.",
                next_step="Use it as it is: your own devlink speaks to it. Or remove the package first: sudo apt purge "
                "devlink",
            )
    if place.at(LEFT).exists():
        raise ConflictError(
            "A package of devlink was here, and is not purged yet.",
            why="When it is, it takes users and trust records away, whoever uses them then.",
            next_step="Purge it first: sudo apt purge devlink",
        )


def plan(
    place: Place, sources: Sources, layout: dict[str, str], python: str, *, version: str, member: str = ""
) -> Plan:  # fmt: skip
    """What is to be done on `place`. Nothing is written. Raises HelperError and ConflictError where it must not be.

    `layout` as laying.laid has it, `member` as Plan.member.
    """
    old = read_manifest(place.root, owner=place.owner)
    programs = f"{LIB}/{version}"
    files = {COMMAND: laying.command(programs, python), **laying.laid(layout, programs, python)}
    paths = [*files, *(f"{programs}/{path}" for path in sources.files)]
    for path in (*files, f"{programs}/devlink", MANIFEST):
        _check(place, path)
    known = {} if old is None else old.files
    for path in files:
        if path not in known and place.digest(path):
            raise ConflictError(
                f"{path} is there already, and devlink did not write it.",
                next_step=f"See whose it is; where nobody needs it: sudo rm {path}; then run this again.",
            )
    if old is None and place.at(programs).exists():
        raise ConflictError(
            f"{programs} is there already, and no list of what devlink has written.",
            next_step=f"See whose it is; where nobody needs it: sudo rm -r {programs}; then run this again.",
        )
    sums = {path: (_sum(text.encode()),) for path, text in files.items()}
    sums |= {f"{programs}/{path}": (_sum(content),) for path, content in sources.files.items()}
    users, groups = laying.names(files)
    for user in users:
        if place.logs_in(user):
            raise ConflictError(
                f"There is a user {user} already, who can log in.",
                why="The services would run as that user, who could do all that they may.",
                next_step=f"Give that user another name, or no shell: sudo usermod --shell /usr/sbin/nologin {user}",
            )
    new = Manifest(
        version=version, digest=sources.digest, python=python, programs=programs,
        units=laying.units(files),
        files=sums,
        folders=tuple(folder for folder in laying.folders_of(paths) if not place.at(folder).is_dir()),
        users=tuple(user for user in users if not place.who("passwd", user)),
        groups=tuple(group for group in groups if not place.who("group", group)),
        members=(member,) if member else (),
    )  # fmt: skip
    if old is not None:  # what an earlier install made is ours still
        both = new.with_old(old)
        new = replace(new, folders=both.folders, users=both.users, groups=both.groups, members=both.members)
    saved = [path for path, sums in known.items() if path in files and place.digest(path) not in ("", *sums)]
    return Plan(sources=sources, manifest=new, old=old, files=files, saved=tuple(saved), member=member)


def install(place: Place, plan: Plan) -> None:
    """Do it. Raises HelperError; done again, it goes on from there, and `uninstall` takes away what is there."""
    old, new = plan.old, plan.manifest
    try:
        write_manifest(new.with_old(old), place.root)
        for path in plan.saved:
            place.at(path).replace(place.at(f"{path}.save"))
        effects.lay_programs(place.at(new.programs), plan.sources.files, lambda folder: _compile(place, new, folder))
        for path, text in plan.files.items():
            effects.write(place.at(path), text, mode=0o755 if path == COMMAND else 0o644)
    except OSError as error:
        raise _failed(error) from error
    for path in plan.files:
        if path.startswith(laying.PLACES["usr/lib/sysusers.d/"]):
            place.run("systemd-sysusers", path)
    for path in plan.files:
        if path.startswith(laying.PLACES["usr/lib/tmpfiles.d/"]):
            place.run("systemd-tmpfiles", "--create", path)
    if plan.member:
        place.run("usermod", "--append", "--groups", laying.GROUP, plan.member)
    stale = [unit for unit in (old.units if old is not None else ()) if unit not in new.units]
    if stale:
        place.run("systemctl", "--quiet", "disable", "--now", *stale, optional=True)
    place.run("systemctl", "daemon-reload")
    place.run("systemctl", "--quiet", "enable", *laying.enabled(plan.files))
    place.run("systemctl", "start", *laying.sockets(plan.files))
    place.run("systemctl", "try-restart", *laying.services(plan.files))
    _tell_network_manager(place)
    try:
        if old is not None:
            list(_remove(place, {path: sums for path, sums in old.files.items() if path not in new.files}))
            _remove_folders(place, [folder for folder in old.folders if not _leads_to(folder, new.files)])
            kept = tuple(folder for folder in new.folders if place.at(folder).is_dir())
            new = replace(new, folders=kept)
        write_manifest(new, place.root)
    except OSError as error:
        raise _failed(error) from error


def uninstall(place: Place) -> tuple[str, ...]:
    """Take all of it away, and give what was kept, each with the reason. Raises HelperError; done again, it goes on.

    The machine's network comes first: without the helper's state nobody could put it back.
    """
    manifest = read_manifest(place.root, owner=place.owner)
    if manifest is None:
        return ()
    for path in manifest.files:
        _check(place, path)
    units = [unit for unit in manifest.units if place.at(f"{laying.UNITS}{unit}").exists()]
    helpers = [unit for unit in units if unit.startswith("devlink-helper.")]
    if helpers:
        place.run("systemctl", "stop", *helpers)
    # of two, where an upgrade ended half done, either serves; without units this was done by one that ended half done
    programs = [path for path in manifest.files if path.endswith("/devlink/run.py") and place.at(path).exists()]
    for run in programs[-1:] if units else ():
        place.run(manifest.python, "-I", "-S", run, "devlink.cli", "helper", "restore", "--no-helper")
    if units:
        place.run("systemctl", "--quiet", "disable", "--now", *units)
    kept: list[str] = []
    try:
        own = {path: sums for path, sums in manifest.files.items() if path.startswith(f"{LIB}/")}
        kept += _remove(place, {path: sums for path, sums in manifest.files.items() if path not in own})
        effects.remove_unfinished(place.at(manifest.programs), map(place.at, (*manifest.files, MANIFEST)))
        place.run("systemctl", "daemon-reload")
        if units:  # without names it forgets every unit's failure
            place.run("systemctl", "reset-failed", *units, optional=True)
        for path in STATE:
            effects.remove_tree(place.at(path))
        kept += _remove_people(place, manifest)
        _tell_network_manager(place)
        config = place.at(CONFIG)
        if config.is_dir():
            effects.remove_empty(config / "trust.d")
            effects.remove_empty(config)
            kept += [f"{CONFIG}: the policy and the trust records of this machine's owner"] if config.is_dir() else []
        # last, what it takes to do this again, and nothing else is left where that is no more
        kept += _remove(place, own)
        effects.remove_file(place.at(MANIFEST))
        _remove_folders(place, manifest.folders)
        effects.remove_empty(place.at(LIB))
    except OSError as error:
        raise _failed(error) from error
    return tuple(kept)


def new_member(uid: int) -> str:
    """The name of that user, where the group devlink does not have them yet; else empty."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
    return "" if is_member(uid, laying.GROUP) else name


def _check(place: Place, path: str) -> None:
    """That nobody but root can change it, or what it will lie in. Raises HelperError."""
    folder = path.rpartition("/")[0]
    also: list[int] = []
    if path.startswith(RULES):
        try:
            also = [pwd.getpwnam(POLKIT_USER).pw_uid]
        except KeyError:
            pass
    try:
        found = owned.weakness(folder, root=place.root, owner=place.owner, also=also)
    except OSError as error:
        raise HelperError(f"{folder} cannot be looked at.", why=reason(error), next_step="Mend that first.") from error
    if found is None and place.at(path).is_symlink():
        found = owned.Weakness(part=path, why=f"{path} is a symbolic link.", fix=f"sudo rm {path}")
    if found is not None:
        raise found.error(f"{path} is not written: another than root could change it.")


def _compile(place: Place, manifest: Manifest, folder: Path) -> None:
    shown = "/" + str(folder.relative_to(place.root))
    place.run(
        manifest.python, "-I", "-S", "-m", "compileall", "-q", "-s", shown, "-p", manifest.programs, shown
    )  # fmt: skip


def _remove(place: Place, files: "dict[str, tuple[str, ...]]") -> Iterator[str]:
    """Remove those that are as they were written; what somebody changed stays beside, where nothing reads it."""
    for path, sums in files.items():
        found = place.digest(path)
        if found and found not in sums:
            place.at(path).replace(place.at(f"{path}.save"))
            yield f"{path}.save: it was changed since it was installed"
        elif found:
            effects.remove_file(place.at(path))
    for programs in {path.removesuffix("/devlink/run.py") for path in files if path.endswith("/devlink/run.py")}:
        effects.remove_bytecode(place.at(programs))


def _remove_folders(place: Place, folders: Iterable[str]) -> None:
    for folder in sorted(folders, reverse=True):
        effects.remove_empty(place.at(folder))


def _remove_people(place: Place, manifest: Manifest) -> Iterator[str]:
    """The users and groups that were made, and the memberships in a group that stays."""
    for member in manifest.members:
        if laying.GROUP not in manifest.groups and place.who("passwd", member):
            place.run("gpasswd", "--delete", member, laying.GROUP, optional=True)
    for user in manifest.users:
        if place.who("passwd", user) and not place.run("userdel", user, optional=True):
            yield f"the user {user}, who cannot be removed: sudo userdel {user}"
    for group in manifest.groups:
        if place.who("group", group) and not place.run("groupdel", group, optional=True):
            yield f"the group {group}, which cannot be removed: sudo groupdel {group}"


def _tell_network_manager(place: Place) -> None:
    """That a file of its configuration is there or not: it looks by itself only when it starts."""
    if place.run("systemctl", "--quiet", "is-active", "NetworkManager.service", optional=True):
        name, path = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
        place.run("busctl", "call", name, path, name, "Reload", "u", "1", optional=True)


def _leads_to(folder: str, files: Iterable[str]) -> bool:
    return any(path.startswith(f"{folder}/") for path in files)


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _failed(error: OSError) -> HelperError:
    return HelperError(
        f"{error.filename or 'A file'} could not be written or removed.",
        why=reason(error),
        next_step=f"Mend that and run it again: it goes on from there. To take away what is there: {UNINSTALL}",
    )
