"""Modes openresolv and debian-resolvconf: what is told to the program, and what is made of what it says."""

import fcntl
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devlink.core.prefixes import IPAddress
from devlink.errors import HelperError
from devlink.faults import POINTS
from devlink.resolvers import resolvconf
from devlink.resolvers.detect import detect
from devlink.resolvers.facts import Facts, Program, ResolvConfFile
from devlink.resolvers.files import tools as tools_module
from devlink.resolvers.files.client import FilesClient
from devlink.resolvers.files.tools import ResolvconfProgram
from devlink.resolvers.managers.bus import wait
from devlink.resolvers.managers.recorded import RecordedMode
from devlink.resolvers.mode import Telling, Tools
from devlink.resolvers.modes.debian_resolvconf import DebianResolvconf
from devlink.resolvers.modes.direct import Direct
from devlink.resolvers.modes.openresolv import Openresolv
from devlink.resolvers.programs import find_program
from devlink.resolvers.resolv_conf import parse
from devlink.resolvers.resolvconf import RECORDS, own_addresses
from tests.processes import has_ended, wait_until_ended
from tests.resolvers.modes.resolvconf_programs import install
from tests.resolvers.modes.test_direct import OURS, TELLING, upstreams

pytestmark = pytest.mark.slow
DHCP = "search corp.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions edns0 rotate\n"
NEWER = "search new.example\nnameserver 192.0.2.7\n"


class ToolClient(FilesClient):
    """Does the work in this process, below a root of the test's."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, address: IPAddress, *, mode: str = "direct") -> None:
        ResolvconfProgram(mode, root=str(self._root)).write(address)

    def restore(self, address: IPAddress | None = None, *, mode: str = "direct") -> None:
        ResolvconfProgram(mode, root=str(self._root)).restore(address)


class Laptop:
    """A root with one of the two programs, and a network that has told it of servers."""

    def __init__(self, root: Path, kind: type[RecordedMode]) -> None:
        self.root = root
        install(root, debian=kind is DebianResolvconf)
        self.mode = kind(Tools(nameserver=OURS, files=ToolClient(root)), root=root)
        self.hear(DHCP)

    def hear(self, text: str, record: str = "eth0.dhcp") -> None:
        subprocess.run([self.root / "usr/sbin/resolvconf", "-a", record], input=text, text=True, check=True)

    def update(self) -> None:
        subprocess.run([self.root / "usr/sbin/resolvconf", "-u"], check=True)

    @property
    def file(self) -> Path:
        return self.root / "etc/resolv.conf"

    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()


@pytest.fixture(params=[Openresolv, DebianResolvconf])
def laptop(request: pytest.FixtureRequest, tmp_path: Path) -> Laptop:
    return Laptop(tmp_path / "root", request.param)


def test_the_forwarder_is_named_alone_with_all_else_and_forgotten_again(laptop: Laptop) -> None:
    before = laptop.file.read_text()
    for _ in range(2):
        laptop.mode.apply(TELLING)
        found = parse(laptop.file.read_text())
        assert found.nameservers == own_addresses(laptop.mode.name, OURS)
        assert found.kept == ("search corp.example", "options edns0 rotate")
        assert laptop.mode.is_ours()
        assert laptop.mode.has_remains()
        assert upstreams(laptop.mode) == ["192.0.2.1", "192.0.2.2"]
    for _ in range(2):
        laptop.mode.restore()
        assert laptop.file.read_text() == before
        assert not laptop.mode.is_ours()
        assert not laptop.mode.has_remains()
        assert upstreams(laptop.mode) == ["192.0.2.1", "192.0.2.2"]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def addresses(laptop: Laptop) -> list[str]:
    return [str(server) for server in parse(laptop.file.read_text()).nameservers]


@pytest.fixture
def openresolv(tmp_path: Path) -> tuple[Laptop, Clock]:
    """On which nothing rotates, and a clock for the mode."""
    laptop, clock = Laptop(tmp_path / "root", Openresolv), Clock()
    laptop.hear(NEWER)
    laptop.mode = Openresolv(Tools(nameserver=OURS, files=ToolClient(laptop.root)), root=laptop.root, clock=clock)
    return laptop, clock


THREE = [str(address) for address in own_addresses(Openresolv.name, OURS)]


def test_behind_three_of_ours_containers_find_the_servers_from_before(openresolv: tuple[Laptop, Clock]) -> None:
    laptop, _ = openresolv
    laptop.mode.apply(TELLING)
    assert len(THREE) == 3
    assert addresses(laptop) == [*THREE, "192.0.2.7"]
    assert upstreams(laptop.mode) == ["192.0.2.7"]
    (laptop.root / "run/resolvconf/interfaces/devlink").unlink()  # as after a power cut
    assert upstreams(laptop.mode) == ["192.0.2.7"]


def test_what_another_program_s_update_takes_out_is_put_there_again_but_not_in_a_circle(
    openresolv: tuple[Laptop, Clock],
) -> None:
    laptop, clock = openresolv
    laptop.mode.apply(TELLING)
    for _ in range(3):
        clock.now += 60
        laptop.update()
        assert addresses(laptop) == THREE
        assert not laptop.mode.is_ours()
        laptop.mode.apply(TELLING)
        assert addresses(laptop) == [*THREE, "192.0.2.7"]
        assert laptop.mode.is_ours()
    clock.now += 1
    laptop.update()
    assert not laptop.mode.is_ours()
    laptop.mode.apply(TELLING)
    laptop.update()
    assert addresses(laptop) == THREE
    assert laptop.mode.is_ours(), "given up"
    laptop.hear(DHCP.replace(" rotate", ""))
    assert not laptop.mode.is_ours()
    laptop.mode.apply(TELLING)
    assert addresses(laptop) == [*THREE, "192.0.2.1", "192.0.2.2"], "another record, another attempt"


def test_where_the_program_is_set_to_name_none_behind_a_local_one_that_is_taken(
    openresolv: tuple[Laptop, Clock],
) -> None:
    laptop, _ = openresolv
    program = laptop.root / "usr/sbin/resolvconf"
    program.write_text(program.read_text().replace("$resolv_conf_local_only", "YES"))
    laptop.mode.apply(TELLING)
    assert addresses(laptop) == THREE
    assert laptop.mode.is_ours()


def test_other_servers_are_followed_and_so_is_the_search_list(laptop: Laptop) -> None:
    laptop.mode.apply(TELLING)
    laptop.hear(NEWER)
    assert upstreams(laptop.mode) == ["192.0.2.7"]
    assert [str(way) for way in laptop.mode.read_ways()] == ["192.0.2.7"]
    if not laptop.mode.is_ours():
        laptop.mode.apply(TELLING)
    assert laptop.mode.is_ours()
    assert parse(laptop.file.read_text()).kept == ("search new.example",)
    laptop.mode.restore()
    assert [str(server) for server in parse(laptop.file.read_text()).nameservers] == ["192.0.2.7"]


def test_beside_debians_the_administrators_own_servers_are_upstreams_too(tmp_path: Path) -> None:
    laptop = Laptop(tmp_path, DebianResolvconf)
    (tmp_path / "etc/resolvconf/resolv.conf.d").mkdir(parents=True)
    (tmp_path / "etc/resolvconf/resolv.conf.d/base").write_text("nameserver 192.0.2.53\n")
    laptop.mode.apply(TELLING)
    assert upstreams(laptop.mode) == ["192.0.2.1", "192.0.2.2", "192.0.2.53"]


def test_a_record_without_servers_is_known_from_one_that_names_this_machine(laptop: Laptop) -> None:
    laptop.mode.apply(TELLING)
    laptop.hear("search corp.example\n")
    assert upstreams(laptop.mode) == []
    laptop.hear("nameserver 127.0.0.1\n")
    assert upstreams(laptop.mode) == ["127.0.0.1"]


def test_a_newer_file_of_another_program_is_left_alone_and_gives_the_upstreams(laptop: Laptop) -> None:
    laptop.mode.apply(TELLING)
    laptop.file.unlink()
    laptop.file.write_text("nameserver 192.0.2.99\n")
    assert not laptop.mode.is_ours()
    assert upstreams(laptop.mode) == ["192.0.2.99"]
    with pytest.raises(HelperError, match="not written by"):
        laptop.mode.apply(TELLING)
    laptop.mode.restore()
    assert laptop.file.read_text() == "nameserver 192.0.2.99\n"
    assert not laptop.mode.has_remains()


def test_where_another_server_stays_beside_ours_nothing_is_left_of_the_attempt(laptop: Laptop) -> None:
    program = laptop.root / "usr/sbin/resolvconf"
    if isinstance(laptop.mode, Openresolv):
        program.write_text(program.read_text().replace('by resolvconf"', 'by resolvconf"; echo "nameserver 192.0.2.5"'))
    else:
        program.write_text(program.read_text().replace("/^127/", "/^never/"))
    laptop.hear(NEWER)
    before = laptop.file.read_text()
    with pytest.raises(HelperError, match="only nameserver"):
        laptop.mode.apply(TELLING)
    assert laptop.file.read_text() == before
    assert not laptop.mode.has_remains()


def test_a_plain_file_that_outlived_its_records_is_made_anew(tmp_path: Path) -> None:
    laptop = Laptop(tmp_path, Openresolv)
    laptop.mode.apply(TELLING)
    for record in (tmp_path / "run/resolvconf/interfaces").iterdir():
        record.unlink()
    assert laptop.mode.has_remains()
    assert not laptop.mode.is_ours()
    laptop.mode.restore()
    assert not laptop.mode.has_remains()
    assert parse(laptop.file.read_text()).nameservers == ()


def test_a_program_that_does_not_forget_us_is_told_of(laptop: Laptop) -> None:
    laptop.mode.apply(TELLING)
    program = laptop.root / "usr/sbin/resolvconf"
    program.write_text(program.read_text().replace("rm $I/", "true "))
    with pytest.raises(HelperError, match="did not forget devlink's forwarder"):
        laptop.mode.restore()
    assert laptop.mode.has_remains()


@pytest.mark.parametrize("folder", Openresolv.folders)
def test_a_record_is_found_where_either_version_of_openresolv_keeps_it(tmp_path: Path, folder: str) -> None:
    laptop = Laptop(tmp_path, Openresolv)
    (tmp_path / folder).mkdir(exist_ok=True)
    assert not laptop.mode.has_remains()
    (tmp_path / folder / RECORDS[Openresolv.name]).write_text(f"nameserver {OURS}\n")
    assert laptop.mode.has_remains()


@pytest.mark.parametrize("verb", ["write", "restore"])
@pytest.mark.parametrize("point", sorted(point for point in POINTS if point.startswith("files.tool.")))
def test_killed_at_any_step_the_next_one_completes_it(laptop: Laptop, verb: str, point: str) -> None:
    before = laptop.file.read_text()
    if verb == "restore":
        laptop.mode.apply(TELLING)
    kill_at(point, getattr(ResolvconfProgram(laptop.mode.name, root=str(laptop.root)), verb))
    if verb == "write":
        laptop.mode.apply(TELLING)
        assert laptop.mode.is_ours()
    laptop.mode.restore()
    assert laptop.file.read_text() == before
    assert not laptop.mode.has_remains()


def kill_at(point: str, call: Callable[[IPAddress], None]) -> None:
    child = os.fork()
    if child == 0:

        def stop(name: str) -> None:
            if name == point:
                os.kill(os.getpid(), signal.SIGKILL)

        vars(tools_module)["fault_point"] = stop
        call(OURS)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, f"{point} was not reached"


@pytest.mark.parametrize("verb", ["write", "restore"])
def test_killed_with_the_program_between_record_and_file_the_next_one_has_the_file_made(
    laptop: Laptop, verb: str
) -> None:
    before = laptop.file.read_text()
    if verb == "restore":
        laptop.mode.apply(TELLING)
    program = laptop.root / "usr/sbin/resolvconf"
    whole = program.read_text()
    program.write_text(whole.replace("update() {", "update() { kill -9 $PPID $$;"))
    kill_at("", getattr(ResolvconfProgram(laptop.mode.name, root=str(laptop.root)), verb))
    program.write_text(whole)
    assert laptop.mode.has_remains()
    if verb == "write":
        laptop.mode.apply(TELLING)
        assert laptop.mode.is_ours()
    laptop.mode.restore()
    assert laptop.file.read_text() == before
    assert not laptop.mode.has_remains()


def test_a_resolv_conf_that_leads_in_a_circle_is_not_the_programs(laptop: Laptop) -> None:
    laptop.file.unlink()
    laptop.file.symlink_to("resolv.conf")
    assert not laptop.mode.has_remains()


def test_what_changes_with_the_records_is_watched(laptop: Laptop) -> None:
    watched = laptop.mode.watched().files
    assert laptop.file in watched
    assert laptop.root / laptop.mode.lock in watched
    assert (laptop.root / "run/resolvconf/resolv.conf" in watched) is isinstance(laptop.mode, DebianResolvconf)
    assert any(path.name == "eth0.dhcp" for path in watched)
    assert not any(path.name == RECORDS[laptop.mode.name] for path in watched)


@pytest.mark.parametrize("limit", ["LIMIT", "CALL_LIMIT"])
def test_a_program_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    laptop = Laptop(tmp_path, DebianResolvconf)
    script = f"trap 'echo >{tmp_path}/told; exit' TERM; sleep 60 & echo $! >{tmp_path}/pid; wait"
    (tmp_path / "usr/sbin/resolvconf").write_text(f"#!/bin/sh\n{script}\n")
    monkeypatch.setattr(resolvconf if limit == "LIMIT" else tools_module, limit, 1.0)
    began = time.monotonic()
    with pytest.raises(HelperError, match="did not end"):
        laptop.mode.restore()
    assert time.monotonic() - began < 5
    assert (tmp_path / "told").exists(), "so that it gives its lock back"
    wait_until_ended(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("changeable", ["usr/sbin", "usr/sbin/resolvconf"])
def test_a_program_that_others_than_root_may_change_is_not_run(tmp_path: Path, changeable: str) -> None:
    laptop = Laptop(tmp_path, DebianResolvconf)
    (tmp_path / changeable).chmod(0o777)
    calls = laptop.calls()
    with pytest.raises(HelperError, match="not there"):
        laptop.mode.apply(TELLING)
    assert laptop.calls() == calls


def test_where_the_program_was_removed_meanwhile_it_is_missed_only_while_something_of_ours_is_left(
    laptop: Laptop,
) -> None:
    laptop.mode.apply(TELLING)
    (laptop.root / "usr/sbin/resolvconf").unlink()
    with pytest.raises(HelperError, match="not there any more"):
        laptop.mode.restore()
    shutil.rmtree(laptop.root / "run/resolvconf")
    laptop.file.unlink(missing_ok=True)
    laptop.file.write_text(NEWER)
    laptop.mode.restore()
    assert laptop.file.read_text() == NEWER


def test_the_program_hears_nothing_of_who_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = Laptop(tmp_path, DebianResolvconf)
    monkeypatch.setenv("resolv_conf", "/elsewhere")
    (tmp_path / "usr/sbin/resolvconf").write_text("#!/bin/sh\npwd; export -p\n")
    output = resolvconf.run(resolvconf.program_path(laptop.root), ["--version"])
    assert output.startswith("/\n")
    assert "LC_ALL" in output
    assert "elsewhere" not in output


def test_the_program_that_is_run_is_the_one_that_was_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = Laptop(tmp_path, DebianResolvconf)
    link, program = tmp_path / "usr/sbin/resolvconf", tmp_path / "usr/sbin/real"
    link.rename(program)
    link.symlink_to(program)

    def find(name: str, root: Path) -> Path | None:
        found = find_program(name, root)
        link.unlink()
        link.symlink_to("/bin/false")
        return found

    monkeypatch.setattr(resolvconf, "find_program", find)
    assert resolvconf.program_path(laptop.root) == str(program)


def test_systemds_program_in_disguise_is_not_run(tmp_path: Path) -> None:
    laptop = Laptop(tmp_path, DebianResolvconf)
    (tmp_path / "usr/sbin/resolvconf").rename(tmp_path / "usr/sbin/resolvectl")
    (tmp_path / "usr/sbin/resolvconf").symlink_to("resolvectl")
    with pytest.raises(HelperError, match="not there"):
        laptop.mode.apply(TELLING)


def delay(laptop: Laptop) -> None:
    """Have the program take a while over adding a record, and leave a file behind when it has."""
    program = laptop.root / "usr/sbin/resolvconf"
    slow = f'case "$*" in *"-a "*) echo >{laptop.root}/begun; sleep 0.5; trap "echo >{laptop.root}/ended" EXIT ;; esac'
    program.write_text(program.read_text().replace("#!/bin/sh", f"#!/bin/sh\n{slow}"))


def begin_writing(laptop: Laptop) -> int:
    """The id of a process that has called the slow program."""
    delay(laptop)
    child = os.fork()
    if child == 0:
        ResolvconfProgram(laptop.mode.name, root=str(laptop.root)).write(OURS)
        os._exit(0)
    assert wait(lambda: (laptop.root / "begun").exists(), 10)
    return child


def test_what_the_program_still_does_for_a_process_that_was_killed_is_undone_as_well(laptop: Laptop) -> None:
    before = laptop.file.read_text()
    child = begin_writing(laptop)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    laptop.mode.restore()
    assert wait(lambda: (laptop.root / "ended").exists(), 10)
    assert laptop.file.read_text() == before
    assert not laptop.mode.has_remains()


def test_a_second_process_waits_for_the_first(laptop: Laptop) -> None:
    child = begin_writing(laptop)
    calls = len(laptop.calls())
    laptop.mode.restore()
    assert (laptop.root / "ended").exists()
    assert os.waitpid(child, 0) == (child, 0)
    assert len(laptop.calls()) > calls
    assert not laptop.mode.has_remains()


def test_nothing_that_another_user_can_open_is_what_a_process_waits_for(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    laptop.mode.apply(TELLING)
    monkeypatch.setattr(tools_module, "LOCK_LIMIT", 0.1)
    held = [os.open(path, os.O_RDONLY) for path in laptop.root.rglob("*") if path.stat().st_mode & 0o004]
    for each in held:
        fcntl.flock(each, fcntl.LOCK_SH)
    laptop.mode.restore()
    for each in held:
        os.close(each)
    assert "waited" not in caplog.text


def test_a_lock_that_a_daemon_of_a_killed_one_keeps_is_waited_for_once(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tools_module, "LOCK_LIMIT", 0.1)
    daemon = os.open(laptop.root / tools_module.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(daemon, fcntl.LOCK_EX)
    laptop.mode.apply(TELLING)
    laptop.mode.restore()
    os.close(daemon)
    assert caplog.text.count("waited") == 1


def test_of_two_that_wait_for_a_lock_that_is_kept_the_second_waits_for_the_first(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = laptop.root / tools_module.LOCK, tools_module._lock
    kept = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    current = path.stat()
    has_opened, is_inside, has_opened_again = threading.Event(), threading.Event(), threading.Event()
    found: list[bool] = []

    def lock(file: int, limit: float) -> bool:
        is_kept = os.path.samestat(os.fstat(file), os.fstat(kept))
        if threading.current_thread() is not second:
            has_opened.wait(30)
        elif is_kept:
            has_opened.set()
            is_inside.wait(30)
        else:
            found.append(os.path.samestat(os.fstat(file), current))
            has_opened_again.set()
        return not is_kept and real(file, 30)

    def fault_point(name: str) -> None:
        if name == "files.tool.locked" and threading.current_thread() is not second:
            nonlocal current
            current = path.stat()
            is_inside.set()
            has_opened_again.wait(30)

    monkeypatch.setattr(tools_module, "_lock", lock)
    monkeypatch.setattr(tools_module, "fault_point", fault_point)
    second = threading.Thread(target=laptop.mode.restore)
    second.start()
    laptop.mode.restore()
    second.join(30)
    os.close(kept)
    assert found == [True]


def test_a_daemon_that_the_program_has_started_keeps_nobody_waiting(
    laptop: Laptop, caplog: pytest.LogCaptureFixture
) -> None:
    program = laptop.root / "usr/sbin/resolvconf"
    whole = program.read_text()
    program.write_text(whole.replace("update() {", f"update() {{ sleep 60 & echo $! >{laptop.root}/pid;"))
    laptop.mode.apply(TELLING)
    program.write_text(whole)
    laptop.mode.restore()
    pid = int((laptop.root / "pid").read_text())
    assert not has_ended(pid)
    os.kill(pid, signal.SIGKILL)
    assert "waited" not in caplog.text


def test_a_symlink_in_the_place_of_the_lock_is_not_followed(laptop: Laptop) -> None:
    (laptop.root / tools_module.LOCK).symlink_to(laptop.root / "elsewhere")
    laptop.mode.apply(TELLING)
    laptop.mode.restore()
    assert not (laptop.root / "elsewhere").exists()


def test_where_no_lock_can_be_made_names_are_given_back_all_the_same(laptop: Laptop) -> None:
    (laptop.root / tools_module.LOCK).mkdir()
    before = laptop.file.read_text()
    laptop.mode.apply(TELLING)
    laptop.mode.restore()
    assert laptop.file.read_text() == before


def test_nothing_is_run_for_a_caller_that_has_died(tmp_path: Path) -> None:
    laptop = Laptop(tmp_path, DebianResolvconf)
    calls = laptop.calls()
    tool = ResolvconfProgram(DebianResolvconf.name, root=str(tmp_path), is_called_off=lambda: True)
    for call in (tool.write, tool.restore):
        with pytest.raises(HelperError, match="has ended"):
            call(OURS)
    assert laptop.calls() == calls


def found(output: str, *, code: int | None = 0) -> dict[str, Program]:
    return {
        "resolvconf": Program(path="/usr/sbin/resolvconf", exit_code=code, output=output),
    }


OPENRESOLV = found("openresolv 3.13.2\n")
DEBIAN = found("Debian resolvconf 1.91+nmu1\n")
OLD_DEBIAN = found("resolvconf: Error: Command not recognized\n", code=99)
BY_RESOLVCONF = ResolvConfFile(owner="resolvconf")
LED = ResolvConfFile(owner="systemd-resolved", leads_to="/run/resolvconf/resolv.conf")
"""As Debian's: the stub is spoken of in its leading comments."""


@pytest.mark.parametrize(
    ("facts", "names"),
    [
        (Facts(programs=OPENRESOLV, file=BY_RESOLVCONF), ["openresolv", "direct"]),
        (Facts(programs=OPENRESOLV, file=ResolvConfFile()), ["direct"]),
        (Facts(programs=DEBIAN, file=LED), ["direct", "debian-resolvconf"]),
        (Facts(programs=OLD_DEBIAN, file=LED), ["direct", "debian-resolvconf"]),
        (Facts(programs=DEBIAN, file=BY_RESOLVCONF), ["direct"]),
        (Facts(programs={}, file=LED), ["direct"]),
        (Facts(programs={}, file=BY_RESOLVCONF), ["direct"]),
    ],
)
def test_it_takes_the_program_and_its_file(facts: Facts, names: list[str]) -> None:
    choices = detect(facts, [Direct, Openresolv, DebianResolvconf])
    assert [choice.mode.name for choice in choices] == names
    assert all(choice.reason for choice in choices)


def test_the_forwarder_listens_on_loopback_alone(laptop: Laptop) -> None:
    assert [place.address for place in laptop.mode.prepare(Telling(domains=(), families=frozenset([4])))] == [
        *own_addresses(laptop.mode.name, OURS)
    ]
    assert laptop.mode.nss_services() == ()
