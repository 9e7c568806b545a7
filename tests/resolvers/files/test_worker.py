"""resolv.conf replaced and given back: whatever it was, and whenever we are killed."""

import errno
import ipaddress
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devlink.errors import HelperError
from devlink.faults import POINTS, VARIABLE
from devlink.resolvers.files import worker as worker_module
from devlink.resolvers.files.worker import Worker
from devlink.resolvers.resolv_conf import BACKUP_NAME, MAX_NAMESERVERS, STAGE_NAME, parse
from tests.resolvers.files.before_after import snapshot

pytestmark = pytest.mark.slow

OURS = ipaddress.ip_address("169.254.53.53")
OTHER = ipaddress.ip_address("127.0.0.54")
TEXT = "# by hand\nsearch corp.example\nnameserver 192.0.2.1\noptions rotate timeout:1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    return folder


def plain(folder: Path) -> None:
    (folder / "resolv.conf").write_text(TEXT)
    (folder / "resolv.conf").chmod(0o640)


def symlink(folder: Path) -> None:
    target = folder.parent / "stub-resolv.conf"
    target.write_text(TEXT)
    (folder / "resolv.conf").symlink_to("../stub-resolv.conf")


def dangling(folder: Path) -> None:
    (folder / "resolv.conf").symlink_to("../nowhere")


def missing(folder: Path) -> None:
    (folder / "another.conf").write_text("not ours\n")


def ours_already(folder: Path) -> None:
    plain(folder)
    Worker(str(folder)).write(OTHER)


BEGINNINGS = (plain, symlink, dangling, missing)
Beginning = Callable[[Path], None]


def present(folder: Path) -> str:
    return (folder / "resolv.conf").read_text()


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_after_restore_all_is_as_before_write(folder: Path, begin: Beginning) -> None:
    begin(folder)
    before = snapshot(folder)
    worker = Worker(str(folder))
    worker.write(OURS)
    written = parse(present(folder))
    assert written.is_ours
    assert written.nameservers[:MAX_NAMESERVERS] == (OURS,) * MAX_NAMESERVERS
    assert not (folder / "resolv.conf").is_symlink()
    assert not (folder / STAGE_NAME).exists()
    worker.restore()
    assert snapshot(folder) == before


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_both_verbs_may_be_repeated(folder: Path, begin: Beginning) -> None:
    begin(folder)
    before = snapshot(folder)
    worker = Worker(str(folder))
    worker.restore()
    assert snapshot(folder) == before
    worker.write(OURS)
    once = snapshot(folder)
    worker.write(OURS)
    assert snapshot(folder) == once
    worker.write(OTHER)
    assert set(parse(present(folder)).nameservers[:MAX_NAMESERVERS]) == {OTHER}
    worker.restore()
    worker.restore()
    assert snapshot(folder) == before


def test_search_and_options_stay_and_so_do_mode_and_owner_of_a_plain_file(folder: Path) -> None:
    plain(folder)
    before = (folder / "resolv.conf").stat()
    Worker(str(folder)).write(OURS)
    assert parse(present(folder)).kept == ("search corp.example", "options rotate timeout:1")
    after = (folder / "resolv.conf").stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


@pytest.mark.parametrize("begin", [symlink, dangling, missing])
def test_in_place_of_anything_but_a_plain_file_ours_can_be_read_by_all(folder: Path, begin: Beginning) -> None:
    begin(folder)
    Worker(str(folder)).write(OURS)
    assert (folder / "resolv.conf").stat().st_mode & 0o777 == 0o644


def foreign_by_rename(folder: Path) -> None:
    (folder / "theirs").write_text("nameserver 192.0.2.99\n")
    (folder / "theirs").rename(folder / "resolv.conf")


def foreign_in_place(folder: Path) -> None:
    (folder / "resolv.conf").write_text("nameserver 192.0.2.99\n")


def foreign_symlink(folder: Path) -> None:
    (folder / "resolv.conf").unlink()
    (folder / "resolv.conf").symlink_to("theirs")


@pytest.mark.parametrize("begin", BEGINNINGS)
@pytest.mark.parametrize("overwrite", [foreign_by_rename, foreign_in_place, foreign_symlink])
def test_a_file_that_another_program_wrote_meanwhile_is_kept(
    folder: Path, begin: Beginning, overwrite: Beginning
) -> None:
    begin(folder)
    worker = Worker(str(folder))
    worker.write(OURS)
    overwrite(folder)
    newer = snapshot(folder)["resolv.conf"]
    worker.restore()
    assert snapshot(folder)["resolv.conf"] == newer
    assert not os.path.lexists(folder / BACKUP_NAME)


def test_a_file_that_another_program_wrote_meanwhile_becomes_the_one_to_give_back(folder: Path) -> None:
    plain(folder)
    worker = Worker(str(folder))
    worker.write(OURS)
    foreign_by_rename(folder)
    newer = snapshot(folder)
    del newer[BACKUP_NAME]
    worker.write(OURS)
    assert parse(present(folder)).is_ours
    worker.restore()
    assert snapshot(folder) == newer


def test_where_another_program_removed_ours_the_file_from_before_comes_back(folder: Path) -> None:
    plain(folder)
    before = snapshot(folder)
    worker = Worker(str(folder))
    worker.write(OURS)
    (folder / "resolv.conf").unlink()
    worker.restore()
    assert snapshot(folder) == before


@pytest.mark.parametrize("begin", [plain, symlink])
def test_where_another_program_removed_ours_writing_it_again_keeps_the_file_from_before(
    folder: Path, begin: Beginning
) -> None:
    begin(folder)
    before = snapshot(folder)
    worker = Worker(str(folder))
    worker.write(OURS)
    once = present(folder)
    (folder / "resolv.conf").unlink()
    worker.write(OURS)
    assert present(folder) == once
    worker.restore()
    assert snapshot(folder) == before


VPN = "#@VPNC_GENERATED@ -- this file is generated by vpnc\nnameserver 198.51.100.53\n"


@pytest.mark.parametrize("writes_between", [True, False])
def test_a_vpn_that_comes_and_goes_gives_the_servers_from_before_it_back(folder: Path, writes_between: bool) -> None:
    """It keeps what it finds, and puts that back at its end if the file has its mark."""
    plain(folder)
    servers = parse(present(folder)).nameservers
    worker = Worker(str(folder))
    worker.write(OURS)
    its_backup = present(folder)
    (folder / "resolv.conf").write_text(VPN)
    worker.write(OURS)
    assert "#@VPNC_GENERATED@" in present(folder), "else it would not undo what it did"
    (folder / "resolv.conf").write_text(its_backup)
    os.utime(folder / "resolv.conf")  # the kernel's clock for this is coarse
    if writes_between:
        worker.write(OURS)
        worker.write(OURS)
        assert parse(present(folder)).is_ours
    worker.restore()
    assert parse(present(folder)).nameservers == servers
    assert not (folder / "resolv.conf.before-devlink").exists()


def test_the_forwarder_of_now_is_named_where_a_vpn_puts_back_a_file_that_names_another(folder: Path) -> None:
    plain(folder)
    worker = Worker(str(folder))
    worker.write(OURS)
    its_backup = present(folder)
    (folder / "resolv.conf").write_text(VPN)
    worker.write(OURS)
    time.sleep(0.01)  # the kernel's clock for a change is coarse
    (folder / "resolv.conf").write_text(its_backup)
    worker.write(OTHER)
    assert set(parse(present(folder)).nameservers[:MAX_NAMESERVERS]) == {OTHER}
    worker.restore()
    assert parse(present(folder)).nameservers == parse(TEXT).nameservers


def test_a_vpn_that_moves_our_file_away_and_back_gives_them_back_too(folder: Path) -> None:
    plain(folder)
    servers = parse(present(folder)).nameservers
    worker = Worker(str(folder))
    worker.write(OURS)
    (folder / "resolv.conf").rename(folder / "resolv.conf.vpn-save")
    worker.write(OURS)
    (folder / "resolv.conf").write_text("nameserver 198.51.100.53\n")
    worker.write(OURS)
    (folder / "resolv.conf.vpn-save").rename(folder / "resolv.conf")
    worker.restore()
    assert parse(present(folder)).nameservers == servers


UNROTATED = TEXT.replace("rotate ", "")
EDITS: dict[str, Callable[[str], str]] = {
    "repeated lines dropped": lambda text: "\n".join(dict.fromkeys(text.split("\n"))),
    "one of ours dropped": lambda text: text.replace(f"nameserver {OURS}\n", "", 1),
    "theirs dropped": lambda text: text.replace("\nnameserver 192.0.2.1\n", "\n", 1),
    "a server put first": lambda text: "nameserver 198.51.100.53\n" + text,
    "a server put last": lambda text: text + "nameserver 198.51.100.53\n",
    "an option put last": lambda text: text + "options edns0\n",
}


@pytest.mark.parametrize("writes_between", [True, False])
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_whoever_edits_ours_and_leaves_its_header_costs_nobody_the_file_from_before(
    folder: Path, edit: Callable[[str], str], writes_between: bool
) -> None:
    (folder / "resolv.conf").write_text(UNROTATED)
    before = snapshot(folder)
    worker = Worker(str(folder))
    worker.write(OURS)
    once = present(folder)
    (folder / "resolv.conf").write_text(edit(once))
    assert present(folder) != once
    if writes_between:
        worker.write(OURS)
        assert present(folder) == once
    worker.restore()
    assert snapshot(folder) == before


@pytest.mark.parametrize("writes_between", [True, False])
def test_what_somebody_changes_in_the_file_from_before_meanwhile_is_kept(folder: Path, writes_between: bool) -> None:
    plain(folder)
    worker = Worker(str(folder))
    worker.write(OURS)
    time.sleep(0.01)  # the kernel's clock for a change is coarse
    (folder / BACKUP_NAME).write_text("nameserver 192.0.2.77\n")
    newer = snapshot(folder)[BACKUP_NAME]
    if writes_between:
        worker.write(OURS)
        assert parse(present(folder)).nameservers[MAX_NAMESERVERS:] == (ipaddress.ip_address("192.0.2.77"),)
    worker.restore()
    assert snapshot(folder) == {"resolv.conf": newer}


def test_a_comment_that_somebody_writes_into_the_file_from_before_does_not_cost_it(folder: Path) -> None:
    plain(folder)
    worker = Worker(str(folder))
    worker.write(OURS)
    with (folder / BACKUP_NAME).open("a") as file:
        file.write("# mine\n")
    newer = snapshot(folder)[BACKUP_NAME]
    time.sleep(0.01)  # the kernel's clock for a change is coarse
    (folder / "resolv.conf").chmod(0o644)  # which changes its ctime
    worker.restore()
    assert snapshot(folder) == {"resolv.conf": newer}


LEFT = "# Generated by NetworkManager\nsearch corp.example\nnameserver 169.254.53.54\nnameserver 192.0.2.1\n"
CLEANED = "# Generated by NetworkManager\nsearch corp.example\nnameserver 192.0.2.1\n"


def test_the_address_of_our_link_in_anothers_file_is_taken_out_while_we_write_it_and_when_we_do_not(
    folder: Path,
) -> None:
    worker = Worker(str(folder))
    (folder / "resolv.conf").write_text(LEFT)
    worker.write(OURS)
    assert "169.254.53.54" not in present(folder)
    worker.restore()
    assert present(folder) == CLEANED
    (folder / "resolv.conf").write_text(LEFT)
    worker.restore()
    assert present(folder) == CLEANED
    assert sorted(path.name for path in folder.iterdir()) == ["resolv.conf"]


def test_a_symlink_to_a_file_with_the_address_of_our_link_stays_a_symlink(folder: Path) -> None:
    symlink(folder)
    (folder.parent / "stub-resolv.conf").write_text(LEFT)
    before = snapshot(folder)
    worker = Worker(str(folder))
    worker.restore()
    assert snapshot(folder) == before
    for _ in range(2):
        worker.write(OTHER)
        assert parse(present(folder)).nameservers == (OTHER, OTHER, OTHER, ipaddress.ip_address("192.0.2.1"))
    worker.restore()
    assert snapshot(folder) == before
    assert (folder.parent / "stub-resolv.conf").read_text() == LEFT


def test_what_a_vpn_puts_back_of_ours_after_down_is_undone_as_well(folder: Path) -> None:
    plain(folder)
    servers = parse(present(folder)).nameservers
    worker = Worker(str(folder))
    worker.write(OURS)
    its_backup = present(folder)
    (folder / "resolv.conf").write_text(VPN)
    worker.restore()
    assert present(folder) == VPN
    (folder / "resolv.conf").write_text(its_backup)
    worker.restore()
    assert parse(present(folder)).nameservers == servers


def test_restore_for_one_address_leaves_a_file_that_names_another(folder: Path) -> None:
    plain(folder)
    before = snapshot(folder)
    worker = Worker(str(folder))
    worker.write(OTHER)
    written = snapshot(folder)
    worker.restore(OURS)
    assert snapshot(folder) == written
    worker.restore(OTHER)
    assert snapshot(folder) == before


@pytest.mark.parametrize("again", [False, True])
def test_in_place_of_a_lost_backup_comes_one_that_is_the_same_for_libc(folder: Path, again: bool) -> None:
    plain(folder)
    before = parse(present(folder))
    assert before.nameservers
    worker = Worker(str(folder))
    worker.write(OTHER)
    if again:  # what ours says of the file from before outlives a second one of ours
        worker.write(OURS)
    (folder / BACKUP_NAME).unlink()
    worker.restore()
    assert parse(present(folder)) == before
    assert BACKUP_NAME in present(folder), "it says why it is another file"
    written = snapshot(folder)
    worker.restore()
    assert snapshot(folder) == written


def test_a_folder_that_others_may_write_in_is_refused(folder: Path) -> None:
    plain(folder)
    before = snapshot(folder)
    folder.chmod(0o1777)
    with pytest.raises(HelperError, match="Others than root"):
        Worker(str(folder)).write(OURS)
    folder.chmod(0o777)
    with pytest.raises(HelperError, match="Others than root"):
        Worker(str(folder)).write(OURS)
    with pytest.raises(HelperError, match="Others than root"):
        Worker(str(folder)).restore()
    assert snapshot(folder) == before


def test_a_folder_below_one_that_others_may_write_in_or_behind_a_symlink_is_refused(folder: Path) -> None:
    plain(folder)
    (folder.parent / "link").symlink_to(folder.parent)
    with pytest.raises(HelperError):
        Worker(str(folder.parent / "link" / "etc")).write(OURS)
    folder.parent.chmod(0o777)
    with pytest.raises(HelperError, match="Others than root"):
        Worker(str(folder)).write(OURS)
    folder.parent.chmod(0o1777)  # as /tmp
    Worker(str(folder)).write(OURS)
    assert parse(present(folder)).is_ours


def test_other_names_of_the_file_from_before_and_its_attributes_stay(folder: Path) -> None:
    plain(folder)
    (folder / "the-same").hardlink_to(folder / "resolv.conf")
    try:
        os.setxattr(folder / "resolv.conf", "user.label", b"kept")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    before = snapshot(folder)
    worker = Worker(str(folder))
    worker.write(OURS)
    assert os.getxattr(folder / "resolv.conf", "user.label") == b"kept"
    assert (folder / "the-same").read_text() == TEXT
    worker.restore()
    assert snapshot(folder) == before


def test_what_speaks_of_one_files_content_is_not_given_to_ours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain(folder)
    given: list[str] = []
    monkeypatch.setattr(os, "listxattr", lambda *_, **__: ["security.capability", "security.ima", "security.label"])
    monkeypatch.setattr(os, "getxattr", lambda *_, **__: b"value")
    monkeypatch.setattr(os, "setxattr", lambda file, name, value: given.append(name))
    Worker(str(folder)).write(OURS)
    assert given == ["security.label"]


def test_a_disk_that_takes_a_part_at_a_time_gets_the_whole_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain(folder)
    Worker(str(folder)).write(OURS)
    whole = present(folder)
    Worker(str(folder)).restore()
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: real(file, data[:7], at))
    Worker(str(folder)).write(OURS)
    assert present(folder) == whole


@pytest.mark.parametrize("begin", [plain, ours_already])
def test_nothing_is_changed_for_a_caller_that_has_died(folder: Path, begin: Beginning) -> None:
    begin(folder)
    before = snapshot(folder)
    worker = Worker(str(folder), is_called_off=lambda: True)
    with pytest.raises(HelperError, match="has ended"):
        worker.write(OURS)
    if begin is ours_already:
        with pytest.raises(HelperError, match="has ended"):
            worker.restore()
    assert snapshot(folder) == before


def test_a_folder_that_is_a_symlink_is_refused(folder: Path) -> None:
    plain(folder)
    (folder.parent / "link").symlink_to(folder)
    with pytest.raises(HelperError):
        Worker(str(folder.parent / "link")).write(OURS)


def test_a_symlink_in_the_place_of_the_stage_is_not_followed(folder: Path) -> None:
    plain(folder)
    victim = folder.parent / "victim"
    victim.write_text("untouched\n")
    (folder / STAGE_NAME).symlink_to(victim)
    with pytest.raises(HelperError):
        Worker(str(folder)).write(OURS)
    assert victim.read_text() == "untouched\n"
    assert present(folder) == TEXT


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EBUSY, "mount"),
        (errno.EXDEV, "mount"),
        (errno.EROFS, "read-only"),
        (errno.EPERM, "immutable"),
        (errno.ENOSPC, "full"),
        (errno.EIO, "Input/output"),
    ],
)
@pytest.mark.parametrize("call", ["open", "link", "pwrite", "fsync", "rename"])
def test_a_refusal_at_any_step_changes_nothing_leaves_no_litter_and_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, words: str
) -> None:
    plain(folder)
    before = snapshot(folder)
    real = getattr(os, call)
    refused: list[str] = []

    def refuse(*args: object, **options: object) -> object:
        if not refused and (call != "open" or args[0] == STAGE_NAME):
            refused.append(call)
            raise OSError(number, os.strerror(number))
        return real(*args, **options)

    monkeypatch.setattr(worker_module.os, call, refuse)  # type: ignore[attr-defined]
    with pytest.raises(HelperError, match=words) as caught:
        Worker(str(folder)).write(OURS)
    assert refused == [call]
    assert caught.value.next_step
    assert snapshot(folder) == before


@pytest.mark.parametrize("begin", [plain, symlink, missing, ours_already])
@pytest.mark.parametrize("overwrite", [foreign_by_rename, foreign_in_place])
def test_a_program_that_writes_between_our_steps_is_not_overwritten_unseen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, begin: Beginning, overwrite: Beginning
) -> None:
    begin(folder)
    newer: dict[str, tuple[object, ...]] = {}

    def interrupt(name: str) -> None:
        if name == "files.write.staged" and not newer:
            overwrite(folder)
            newer["content"] = (present(folder),)

    monkeypatch.setattr(worker_module, "fault_point", interrupt)
    worker = Worker(str(folder))
    worker.write(OURS)
    assert parse(present(folder)).is_ours
    worker.restore()
    assert newer["content"] == (present(folder),) == ("nameserver 192.0.2.99\n",)
    assert not os.path.lexists(folder / BACKUP_NAME)


def ours_without_backup(folder: Path) -> None:
    ours_already(folder)
    (folder / BACKUP_NAME).unlink()


def left_by_our_link(folder: Path) -> None:
    (folder / "left").write_text(LEFT)
    (folder / "left").rename(folder / "resolv.conf")


def left_by_our_link_before_ours(folder: Path) -> None:
    left_by_our_link(folder)
    Worker(str(folder)).write(OURS)


def at_each_sync(folder: Path, monkeypatch: pytest.MonkeyPatch, actions: list[Beginning]) -> None:
    real, left = os.fsync, list(actions)

    def sync(file: int) -> None:
        if left:
            left.pop(0)(folder)
        real(file)

    monkeypatch.setattr(worker_module.os, "fsync", sync)  # type: ignore[attr-defined]


@pytest.mark.parametrize("begin", [ours_without_backup, left_by_our_link, left_by_our_link_before_ours])
@pytest.mark.parametrize("others", [[foreign_by_rename], [left_by_our_link, foreign_by_rename]])
def test_a_file_that_another_program_writes_while_restore_writes_one_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, begin: Beginning, others: list[Beginning]
) -> None:
    begin(folder)
    at_each_sync(folder, monkeypatch, others)
    Worker(str(folder)).restore()
    assert present(folder) == "nameserver 192.0.2.99\n"
    assert sorted(path.name for path in folder.iterdir()) == ["resolv.conf"]


def test_what_another_program_leaves_just_behind_what_restore_has_written_is_mended_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours_without_backup(folder)
    real, left = os.rename, [left_by_our_link]

    def rename(source: str, target: str, **folders: int) -> None:
        real(source, target, **folders)
        if left and target == "resolv.conf":
            left.pop()(folder)

    monkeypatch.setattr(worker_module.os, "rename", rename)  # type: ignore[attr-defined]
    Worker(str(folder)).restore()
    assert present(folder) == CLEANED


def test_a_file_that_is_written_again_and_again_while_restore_writes_one_is_left_and_told_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by_our_link(folder)
    at_each_sync(folder, monkeypatch, [left_by_our_link] * worker_module.RETRIES)
    with pytest.raises(HelperError, match="could not be written"):
        Worker(str(folder)).restore()
    assert present(folder) == LEFT
    Worker(str(folder)).restore()
    assert present(folder) == CLEANED


def test_a_second_process_waits_and_then_says_that_the_first_does_not_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain(folder)
    before = snapshot(folder)
    monkeypatch.setattr(worker_module, "LOCK_LIMIT", 0.1)
    held, done = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == "files.write.linked" and not held.is_set():
            held.set()
            done.wait(30)

    monkeypatch.setattr(worker_module, "fault_point", hold)
    first = threading.Thread(target=Worker(str(folder)).write, args=(OURS,))
    first.start()
    try:
        assert held.wait(30)
        with pytest.raises(HelperError, match="Another process"):
            Worker(str(folder)).write(OTHER)
        with pytest.raises(HelperError, match="Another process"):
            Worker(str(folder)).restore()
    finally:
        done.set()
        first.join()
    assert set(parse(present(folder)).nameservers[:MAX_NAMESERVERS]) == {OURS}
    Worker(str(folder)).restore()
    assert snapshot(folder) == before


POINTS_OF_WRITE = sorted(point for point in POINTS if point.startswith("files.write."))
POINTS_OF_RESTORE = sorted(point for point in POINTS if point.startswith("files.restore."))


def kill_at(point: str, folder: Path, call: str) -> None:
    """Run `call` on a worker in a process of its own, and SIGKILL that when it reaches `point`."""
    code = (
        "import ipaddress, sys; from devlink.resolvers.files.worker import Worker;"
        f"w = Worker(sys.argv[1]); a = ipaddress.ip_address({str(OURS)!r}); w.{call}"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(folder)], env={**os.environ, VARIABLE: point})
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    stopped = os.WIFSTOPPED(status)
    if stopped:
        child.send_signal(signal.SIGKILL)
        child.wait()
    else:
        child.returncode = os.waitstatus_to_exitcode(status)
    assert stopped, f"{point} was not reached"


@pytest.mark.parametrize("begin", [plain, symlink, missing])
@pytest.mark.parametrize("point", POINTS_OF_WRITE)
def test_killed_at_any_step_of_write_restore_gives_all_back(folder: Path, begin: Beginning, point: str) -> None:
    begin(folder)
    before = snapshot(folder)
    kill_at(point, folder, "write(a)")
    assert os.path.lexists(folder / "resolv.conf") == ("resolv.conf" in before or point == "files.write.renamed")
    Worker(str(folder)).restore()
    assert snapshot(folder) == before


@pytest.mark.parametrize("begin", [plain, symlink, missing])
@pytest.mark.parametrize("point", POINTS_OF_WRITE)
def test_killed_at_any_step_of_write_the_next_write_completes_it(folder: Path, begin: Beginning, point: str) -> None:
    begin(folder)
    before = snapshot(folder)
    kill_at(point, folder, "write(a)")
    Worker(str(folder)).write(OURS)
    assert parse(present(folder)).is_ours
    assert not (folder / STAGE_NAME).exists()
    Worker(str(folder)).restore()
    assert snapshot(folder) == before


@pytest.mark.parametrize("begin", [plain, symlink, missing])
@pytest.mark.parametrize("point", POINTS_OF_RESTORE)
def test_killed_at_any_step_of_restore_the_next_one_completes_it(folder: Path, begin: Beginning, point: str) -> None:
    begin(folder)
    before = snapshot(folder)
    Worker(str(folder)).write(OURS)
    kill_at(point, folder, "restore()")
    Worker(str(folder)).restore()
    assert snapshot(folder) == before
    Worker(str(folder)).write(OURS)
    Worker(str(folder)).restore()
    assert snapshot(folder) == before
