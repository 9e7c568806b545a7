"""An install on a file system of the test's own: what is written, what is kept, and that nothing is left of it."""

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from devlink.errors import ConflictError, HelperError
from devlink.hints import as_root
from devlink.service import effects, laying, machine
from devlink.service.machine import Place
from devlink.service.manifest import read_manifest
from devlink.service.sources import Sources
from tests.service.test_laying import LAYOUT

pytestmark = pytest.mark.slow

ME = os.getuid()
FILES = {"devlink/__init__.py": b"", "devlink/run.py": b"print()\n", "yaml/__init__.py": b"y = 1\n"}
SOURCES = Sources(files=FILES, origin="/home/alice/venv/site", owners=(1000,))
PYTHON = "/usr/bin/python3"
UNIT = "/etc/systemd/system/devlink-helper.service"


@dataclass
class Programs:
    """Notes what is run, and makes and removes the users as the real ones would."""

    ran: list[str] = field(default_factory=list)
    people: set[tuple[str, str]] = field(default_factory=set)
    breaks_at: str = ""

    def run(self, program: str, *words: str, optional: bool = False) -> bool:
        line = " ".join((program, *words))
        self.ran.append(line)
        if self.breaks_at and line.startswith(self.breaks_at):
            raise HelperError("It failed.", next_step="Mend it.")
        if program == "systemd-sysusers":
            self.people |= {(kind, name) for name in ("devlink", "devlink-dns") for kind in ("passwd", "group")}
        if program in ("userdel", "groupdel"):
            self.people -= {("passwd" if program == "userdel" else "group", words[-1])}
        return True

    def who(self, kind: str, name: str) -> bool:
        return (kind, name) in self.people or name == "alice"

    def index(self, beginning: str) -> int:
        return next(number for number, line in enumerate(self.ran) if line.startswith(beginning))


@pytest.fixture
def programs() -> Programs:
    return Programs()


@pytest.fixture
def place(tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is cut here, and it takes most of the time
    tmp_path.chmod(0o755)
    for path in ("etc/systemd/system", "usr/local/lib", "run/systemd/system", "etc/polkit-1", "var/lib"):
        (tmp_path / path).mkdir(parents=True)
    for folder in tmp_path.rglob("*"):
        folder.chmod(0o755)
    return Place(tmp_path, owner=ME, run=programs.run, who=programs.who)


Install = Callable[..., machine.Plan]


@pytest.fixture
def install(place: Place) -> Install:
    def do(version: str = "1.0", *, sources: Sources = SOURCES, drop: str = "", member: str = "") -> machine.Plan:
        layout = {path: text for path, text in LAYOUT.items() if not drop or drop not in path}
        laid = laying.laid(layout, f"{laying.LIB}/{version}", PYTHON)
        machine.check_system(place, {})
        # the layout is handed over as the package has it
        plan = machine.plan(place, sources, layout, PYTHON, version=version, member=member)
        assert laid.items() <= plan.files.items()
        machine.install(place, plan)
        return plan

    return do


def tree(root: Path) -> list[str]:
    return sorted(
        f"{path.relative_to(root)} {path.lstat().st_mode:o} {path.read_text() if path.is_file() else ''}"
        for path in root.rglob("*")
    )


def test_after_uninstall_the_file_system_is_as_it_was(place: Place, install: Install, programs: Programs) -> None:
    before = tree(place.root)
    install()
    for folder in ("var/lib/devlink/trust", "run/devlink", "usr/local/lib/devlink/1.0/yaml/__pycache__"):
        (place.root / folder).mkdir(parents=True)
        (place.root / folder / "something").touch()
    assert machine.uninstall(place) == ()
    assert tree(place.root) == before
    assert programs.people == set()
    assert machine.uninstall(place) == (), "and once more"


@pytest.mark.parametrize("is_done_again", [False, True])
def test_what_a_kill_in_the_middle_of_writing_left_goes_too(
    place: Place, install: Install, is_done_again: bool
) -> None:
    before = tree(place.root)
    install()
    place.at(f"{laying.LIB}/.1.0.new/devlink").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as killed:
        killed.setattr(Path, "replace", lambda *_: None)
        for path in (f"{laying.LIB}/manifest.json", UNIT):
            effects.write(place.at(path), "half of it")
    if is_done_again:
        install()
    assert machine.uninstall(place) == ()
    assert tree(place.root) == before


def test_all_that_is_written_has_roots_modes_and_is_in_the_manifest(place: Place, install: Install) -> None:
    old = os.umask(0o077)
    try:
        install()
    finally:
        os.umask(old)
    manifest = read_manifest(place.root)
    assert manifest is not None
    written = {f"/{path.relative_to(place.root)}" for path in place.root.rglob("*") if path.is_file()}
    assert written == {*manifest.files, "/usr/local/lib/devlink/manifest.json"}
    for path in written:
        mode = place.at(path).stat().st_mode & 0o7777
        assert mode == (0o755 if path == laying.COMMAND else 0o644), path
    for folder in manifest.folders:
        assert place.at(folder).stat().st_mode & 0o7777 == 0o755, folder


def test_sockets_and_not_the_restore_are_started_after_users_are_made_and_units_known(
    install: Install, programs: Programs
) -> None:
    install(member="alice")
    assert programs.index("systemd-sysusers") < programs.index("usermod --append --groups devlink alice")
    assert programs.index("systemd-sysusers") < programs.index("systemctl daemon-reload")
    assert programs.index("systemctl daemon-reload") < programs.index("systemctl --quiet enable")
    (started,) = [line for line in programs.ran if line.startswith("systemctl start")]
    assert "devlink-helper.socket" in started
    assert "restore" not in started
    made = programs.index("systemd-tmpfiles --create /etc/tmpfiles.d/devlink.conf")
    assert programs.index("systemd-sysusers") < made < programs.index("systemctl start")


def test_an_upgrade_leaves_nothing_of_the_older_and_restarts_what_runs(
    place: Place, install: Install, programs: Programs
) -> None:
    before = tree(place.root)
    install("1.0", drop="forwarder")
    older = {**LAYOUT, "usr/lib/systemd/system/devlink-gone.service": "[Service]\nExecStart=/usr/bin/devlink\n"}
    machine.install(place, machine.plan(place, SOURCES, older, PYTHON, version="1.0"))
    programs.ran.clear()
    install("2.0")
    assert not place.at(f"{laying.LIB}/1.0").exists()
    assert not place.at("/etc/systemd/system/devlink-gone.service").exists()
    assert "2.0" in place.at("/etc/systemd/system/devlink-forwarder.service").read_text()
    assert programs.index("systemctl --quiet disable --now devlink-gone.service") < programs.index("systemctl daemon")
    assert "devlink-helper.service" in programs.ran[programs.index("systemctl try-restart")]
    machine.uninstall(place)
    assert tree(place.root) == before
    assert programs.people == set(), "those that the first one made"


def test_the_same_version_with_other_content_takes_the_others_place(place: Place, install: Install) -> None:
    install()
    other = Sources(files={**FILES, "yaml/__init__.py": b"y = 2\n"}, origin="/home", owners=(1000,))
    install(sources=other)
    folder = place.at(f"{laying.LIB}/1.0")
    assert (folder / "yaml/__init__.py").read_bytes() == b"y = 2\n"
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("step", ["systemd-sysusers", "systemctl daemon", "systemctl --quiet enable", f"{PYTHON} -I"])
def test_what_ended_half_done_can_be_taken_away_or_done_again(
    place: Place, install: Install, programs: Programs, step: str
) -> None:
    before = tree(place.root)
    programs.breaks_at = step
    with pytest.raises(HelperError):
        install()
    programs.breaks_at = ""
    machine.uninstall(place)
    assert tree(place.root) == before
    programs.breaks_at = step
    with pytest.raises(HelperError):
        install()
    programs.breaks_at = ""
    install()
    machine.uninstall(place)
    assert tree(place.root) == before
    assert programs.people == set()


def test_an_upgrade_that_ended_before_its_first_file_leaves_the_older_to_be_taken_away_whole(
    place: Place, install: Install, programs: Programs
) -> None:
    before = tree(place.root)
    install("1.0")
    programs.breaks_at = f"{PYTHON} -I -S -m compileall"
    with pytest.raises(HelperError):
        install("2.0")
    programs.breaks_at = ""
    assert machine.uninstall(place) == (), "nobody changed anything"
    assert programs.index(f"{PYTHON} -I -S {laying.LIB}/1.0/devlink/run.py devlink.cli helper restore") > 0
    assert tree(place.root) == before


def test_an_uninstall_that_ended_half_done_is_ended_by_the_next(
    place: Place, install: Install, programs: Programs
) -> None:
    before = tree(place.root)
    install()
    programs.breaks_at = "systemctl daemon-reload"
    with pytest.raises(HelperError):
        machine.uninstall(place)
    assert place.at(laying.COMMAND).exists(), "what it takes to do it again"
    programs.breaks_at = ""
    machine.uninstall(place)
    assert tree(place.root) == before


class KilledError(BaseException):
    """As by SIGKILL: nothing is caught."""


def test_an_uninstall_that_was_killed_at_any_file_is_ended_by_the_next(
    place: Place, install: Install, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(place.root)
    remove, left = effects.remove_file, 0

    def is_killed(path: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KilledError
        if path.exists() and path.is_relative_to(place.at(laying.LIB)):
            assert not programs.people, "programs that are half gone leave nothing else to be done"
        remove(path)

    def run(program: str, *words: str, optional: bool = False) -> bool:
        assert words != ("reset-failed",), "every unit's failure is forgotten"
        if "restore" in words:
            assert all(place.at(f"{laying.LIB}/1.0/{path}").exists() for path in FILES), "it cannot run"
        return programs.run(program, *words, optional=optional)

    place.run = run
    monkeypatch.setattr(effects, "remove_file", is_killed)
    for number in itertools.count():
        left = 1 << 30
        install()
        try:
            left = number
            machine.uninstall(place)
            break
        except KilledError:
            left = 1 << 30
            machine.uninstall(place)
        assert tree(place.root) == before, number
    assert number > len(LAYOUT)


def test_nothing_is_removed_while_the_machine_could_not_be_restored(
    place: Place, install: Install, programs: Programs
) -> None:
    install()
    before = tree(place.root)
    programs.breaks_at = f"{PYTHON} -I -S {laying.LIB}/1.0/devlink/run.py devlink.cli helper restore"
    with pytest.raises(HelperError):
        machine.uninstall(place)
    assert tree(place.root) == before
    assert programs.index("systemctl stop devlink-helper") < programs.index(programs.breaks_at)


def test_what_its_owner_changed_is_kept_beside_by_upgrade_and_uninstall(place: Place, install: Install) -> None:
    install()
    place.at(UNIT).write_text("[Service]\nNice=5\n")
    assert install().saved == (UNIT,)
    assert place.at(f"{UNIT}.save").read_text() == "[Service]\nNice=5\n"
    assert "Nice" not in place.at(UNIT).read_text()
    place.at(f"{UNIT}.save").unlink()
    place.at(UNIT).write_text("[Service]\nNice=6\n")
    (kept,) = machine.uninstall(place)
    assert kept.startswith(f"{UNIT}.save:")
    assert place.at(f"{UNIT}.save").read_text() == "[Service]\nNice=6\n"
    assert not place.at(UNIT).exists()


def test_who_reads_a_file_of_ours_is_told_that_it_is_gone(install: Install, place: Place, programs: Programs) -> None:
    install()
    programs.ran.clear()
    machine.uninstall(place)
    removed = programs.index("systemctl daemon-reload")
    assert programs.index("systemctl reset-failed devlink-files.service") > removed
    assert programs.index("busctl call org.freedesktop.NetworkManager") > removed


def test_nothing_is_removed_from_where_another_could_have_put_it(place: Place, install: Install) -> None:
    install()
    before = tree(place.root)
    place.at(laying.UNITS).chmod(0o777)
    with pytest.raises(HelperError, match="another than root"):
        machine.uninstall(place)
    place.at(laying.UNITS).chmod(0o755)
    assert tree(place.root) == before


def test_an_owner_who_has_laid_nothing_down_has_no_folder_left(place: Place, install: Install) -> None:
    before = tree(place.root)
    install()
    place.at("/etc/devlink/trust.d").mkdir(parents=True)
    assert machine.uninstall(place) == ()
    assert tree(place.root) == before


def test_the_owners_policy_is_kept_and_said(place: Place, install: Install) -> None:
    install()
    place.at("/etc/devlink").mkdir()
    place.at("/etc/devlink/policy.toml").touch()
    (kept,) = machine.uninstall(place)
    assert kept.startswith("/etc/devlink:")
    assert place.at("/etc/devlink/policy.toml").exists()


def test_users_that_were_there_before_stay_and_a_member_is_taken_back(
    place: Place, install: Install, programs: Programs
) -> None:
    programs.people = {("passwd", "devlink"), ("group", "devlink")}
    install(member="alice")
    machine.uninstall(place)
    assert programs.people == {("passwd", "devlink"), ("group", "devlink")}
    assert "gpasswd --delete alice devlink" in programs.ran


def refused(place: Place, install: Install, kind: type[HelperError] | type[ConflictError]) -> str:
    before = tree(place.root)
    with pytest.raises(kind) as caught:
        install()
    assert tree(place.root) == before, "before anything is written"
    return str(caught.value)


@pytest.mark.parametrize(
    "folder", ["usr", "usr/local", "usr/local/lib", "etc", "etc/systemd", "etc/systemd/system", "etc/polkit-1"]
)
@pytest.mark.parametrize("mode", [0o2775, 0o1777])
def test_a_folder_on_the_way_that_others_may_write_is_refused(
    place: Place, install: Install, folder: str, mode: int
) -> None:
    (place.root / folder).chmod(mode)
    assert f"chmod {'g' if mode == 0o2775 else 'go'}-w /{folder};" in refused(place, install, HelperError)


@pytest.mark.parametrize("target", [UNIT, f"{laying.LIB}/manifest.json"])
def test_a_target_that_is_a_link_is_refused(place: Place, install: Install, target: str) -> None:
    place.at(laying.LIB).mkdir(mode=0o755)
    place.at(target).symlink_to("/nowhere/of/all")
    assert f"{target} is a symbolic link" in refused(place, install, HelperError)


def test_programs_that_another_may_have_changed_meanwhile_are_refused(place: Place, install: Install) -> None:
    install()
    place.at(f"{laying.LIB}/1.0").chmod(0o777)
    assert "1.0 may be written by everyone" in refused(place, install, HelperError)


def test_a_link_to_a_folder_that_others_may_write_is_refused(place: Place, install: Install) -> None:
    (place.root / "open").mkdir()
    (place.root / "open").chmod(0o777)
    place.at(laying.LIB).symlink_to("/open")
    assert "/open may be written by everyone" in refused(place, install, HelperError)


def test_a_unit_that_somebody_else_wrote_is_refused(place: Place, install: Install) -> None:
    place.at(UNIT).write_text("[Service]\n")
    assert "devlink did not write it" in refused(place, install, ConflictError)


@pytest.mark.parametrize("user", ["devlink", "devlink-dns"])
def test_the_services_do_not_run_as_a_person_of_that_name(place: Place, install: Install, user: str) -> None:
    place.logs_in = lambda name: name == user
    assert f"There is a user {user} already" in refused(place, install, ConflictError)


def test_what_a_purge_to_come_would_take_away_is_not_installed(place: Place, install: Install) -> None:
    place.at(machine.LEFT).parent.mkdir(parents=True)
    place.at(machine.LEFT).touch()
    assert "not purged yet" in refused(place, install, ConflictError)


@pytest.mark.parametrize("unit", machine.PACKAGED)
def test_beside_a_package_it_is_refused(place: Place, install: Install, unit: str) -> None:
    place.at(unit).parent.mkdir(parents=True)
    place.at(unit).touch()
    assert "by a package" in refused(place, install, ConflictError)


def test_without_systemd_it_is_refused_with_what_to_do_instead(place: Place, install: Install) -> None:
    place.at("/run/systemd/system").rmdir()
    assert as_root("helper", "run") in refused(place, install, HelperError)


def test_programs_that_no_manifest_knows_are_refused(place: Place, install: Install) -> None:
    place.at(f"{laying.LIB}/1.0").mkdir(parents=True)
    for folder in (place.at(laying.LIB), place.at(f"{laying.LIB}/1.0")):
        folder.chmod(0o755)
    assert "is there already" in refused(place, install, ConflictError)


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME"])
def test_modules_from_where_the_environment_says_are_refused(place: Place, name: str) -> None:
    with pytest.raises(HelperError) as caught:
        machine.check_system(place, {name: "/home/alice/evil"})
    assert f"unset {name}" in caught.value.next_step


def test_a_manifest_that_is_not_ours_is_refused_and_not_taken_for_none(place: Place, install: Install) -> None:
    install()
    path = place.at(f"{laying.LIB}/manifest.json")
    path.write_text(json.dumps({"files": {"/etc/passwd": []}}))
    with pytest.raises(HelperError, match="not what devlink wrote"):
        machine.uninstall(place)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("files", {"/etc/passwd": []}),
        ("files", {"/etc/systemd/system/sshd.service": []}),
        ("files", {"/etc/systemd/system/devlink/../../../passwd": []}),
        ("files", {f"{laying.LIB}x/devlink/run.py": []}),
        ("programs", "/usr"),
        ("folders", ["/var/empty"]),
        ("units", ["ssh.service"]),
        ("users", ["alice"]),
        ("groups", ["sudo"]),
    ],
)
def test_what_no_install_writes_is_not_removed_whatever_the_manifest_says(
    place: Place, install: Install, programs: Programs, key: str, value: object
) -> None:
    install()
    path = place.at(f"{laying.LIB}/manifest.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    before = tree(place.root)
    programs.ran.clear()
    with pytest.raises(HelperError, match="no install writes"):
        machine.uninstall(place)
    assert (tree(place.root), programs.ran) == (before, [])


@pytest.mark.parametrize("part", ["usr/local/lib", "usr/local/lib/devlink", "usr/local/lib/devlink/manifest.json"])
def test_a_manifest_that_another_could_have_written_is_not_believed(
    place: Place, install: Install, programs: Programs, part: str
) -> None:
    install()
    (place.root / part).chmod(0o775)
    programs.ran.clear()
    with pytest.raises(HelperError, match="not believed"):
        machine.uninstall(place)
    assert programs.ran == []
