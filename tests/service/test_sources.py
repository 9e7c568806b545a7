"""What is copied for root to run: whose it may be, what of it, and that it needs nothing besides."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devlink.errors import HelperError
from devlink.service.sources import LAYOUT, LIBRARIES, Sources, read_sources

ME = os.getuid()
RUN = """
import importlib, sys
sys.path.insert(0, {place!r})
for name in ("devlink.cli.root", "devlink.cli.helper", "devlink.helper.server", "devlink.helper.verbs",
             "devlink.core.profile_document", "devlink.dns.server", "devlink.resolvers.files.__main__",
             "devlink.resolvers.watch", "devlink.resolvers.managers.bus"):
    importlib.import_module(name)
ours = {{name.partition(".")[0] for name, module in sys.modules.items()
         if (getattr(module, "__file__", None) or "").startswith({place!r})}}
print(*sorted(ours))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    top = tmp_path / "site/devlink"
    (top / "dns/__pycache__").mkdir(parents=True)
    (top / "__init__.py").write_text("here = 1\n")
    (top / "dns/wire.py").write_text("there = 2\n")
    (top / "dns/__pycache__/wire.pyc").write_text("evil")
    (top / "stray.pyc").write_text("evil")
    return top


def read(package: Path, *allowed: int, **more: Path) -> Sources:
    return read_sources(allowed or (ME,), [("devlink", package), *more.items()])


def test_files_are_read_by_their_path_and_nobodys_bytecode_is(package: Path) -> None:
    found = read(package)
    assert found.files == {"devlink/__init__.py": b"here = 1\n", "devlink/dns/wire.py": b"there = 2\n"}
    assert (found.origin, found.owners) == (str(package.parent), (ME,))


def test_a_library_may_be_one_file(package: Path) -> None:
    (package.parent / "inotify_simple.py").write_text("x = 1\n")
    found = read(package, inotify_simple=package.parent / "inotify_simple.py")
    assert found.files["inotify_simple.py"] == b"x = 1\n"


def test_more_than_a_package_can_be_is_not_read(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devlink.service.sources.LARGEST", 15)
    with pytest.raises(HelperError, match="larger"):
        read(package)


def test_the_digest_tells_a_byte_that_moved_from_one_file_to_another(package: Path) -> None:
    digests = {read(package).digest}
    (package / "dns/wire.py").write_text("there = 3\n")
    digests.add(read(package).digest)
    (package / "dns/wire.py").rename(package / "dns/wired.py")
    digests.add(read(package).digest)
    assert len(digests) == 3
    assert digests == {*digests, read(package).digest}


def test_a_file_of_anothers_is_refused_with_the_names(package: Path) -> None:
    with pytest.raises(HelperError) as caught:
        read(package, ME + 1)
    assert "__init__.py is not copied" in caught.value.what
    assert "belongs to" in caught.value.why


def test_a_file_that_everyone_may_write_is_refused(package: Path) -> None:
    (package / "dns/wire.py").chmod(0o666)
    with pytest.raises(HelperError, match="Everyone may write it"):
        read(package)


@pytest.mark.parametrize("target", ["/etc/shadow", "../devlink/dns"])
def test_a_link_is_refused_whether_to_a_file_or_to_a_folder(package: Path, target: str) -> None:
    (package / "linked").symlink_to(target)
    with pytest.raises(HelperError, match="symbolic link"):
        read(package)


def test_a_pipe_is_refused_and_hangs_nobody(package: Path) -> None:
    os.mkfifo(package / "pipe.py")
    with pytest.raises(HelperError, match="no ordinary file"):
        read(package)


def test_what_is_compiled_for_one_python_is_left_out_where_it_is_not_needed_and_else_refused(package: Path) -> None:
    for name in ("yaml", "click"):
        (package.parent / name).mkdir()
        (package.parent / name / "_fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"\x7fELF")
    assert "yaml" not in str(read(package, yaml=package.parent / "yaml").files)
    with pytest.raises(HelperError, match="compiled for one Python") as caught:
        read(package, click=package.parent / "click")
    assert "_fast.cpython-311" in caught.value.what


@pytest.mark.slow
def test_what_is_copied_is_all_that_the_services_import_and_no_library_is_in_it_for_nothing(tmp_path: Path) -> None:
    found = read_sources((0, ME, os.stat(os.__file__).st_uid))
    assert f"{LAYOUT}usr/lib/systemd/system/devlink-helper.service" in found.files
    for path, content in found.files.items():
        if not path.startswith(("devlink/tui/", "devlink/lab/", "devlink/agent/")):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
    run = [sys.executable, "-I", "-S", "-B"]
    done = subprocess.run([*run, "-c", RUN.format(place=str(tmp_path))], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert set(done.stdout.split()) == {"devlink", *LIBRARIES}
    words = [*run, str(tmp_path / "devlink/run.py"), "devlink.cli", "helper", "uninstall", "--help"]
    assert "Take away" in subprocess.run(words, capture_output=True, text=True, check=True).stdout
