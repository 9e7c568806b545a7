"""Makes devlink's package for Debian, and prints its file's name: `make_deb.py [--output DIR] [--version V] [--quick]`.

By dpkg-deb alone. debhelper would have to be installed first, and would then do little: there is nothing to compile or
configure, and of its snippets only those for systemd and Python's bytecode matter, which stand in the maintainer
scripts with the reasons for what is done otherwise. The same sources give the same bytes.
"""

import argparse
import email.utils
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from pathlib import Path

import libraries
import licences

SOURCES = libraries.SOURCES
HERE = Path(__file__).parent
PROGRAMS = "usr/share/devlink"
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
NOT_SHIPPED = shutil.ignore_patterns(
    "__pycache__", "layout", "LICEN[CS]E*", "COPYING*", "NOTICE*", "RECORD", "INSTALLER", "REQUESTED",
)  # fmt: skip
"""layout/ lies where it belongs; the licences are in one file; what pip notes is of this machine alone."""
COMMAND = """\
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/{programs}")
from {module} import {function}

{function}()
"""
MAINTAINER = "devlink maintainers <maintainers@devlink.example>"
"""Unless DEBFULLNAME and DEBEMAIL say who builds it."""
RTUPDATE = """\
#!/bin/sh
# Debian's Python has another version: bytecode for it.
set -e
if [ "$1" = rtupdate ]; then
    py3clean -p devlink /{programs}
    py3compile -p devlink -X '.*/pygments/(lexers|styles)/.*' /{programs}
fi
"""


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Makes the package; prints where it is.")
    parser.add_argument("--output", type=Path, default=SOURCES / "dist", help="the folder for it (default: dist)")
    parser.add_argument("--version", default=_version(), help="the package's, for another build of the same devlink")
    parser.add_argument("--quick", action="store_true", help="hardly compressed, for a test")
    wanted = parser.parse_args()
    os.umask(0o022)
    os.environ["SOURCE_DATE_EPOCH"] = date = _date()
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        _lay_out(tree, wanted.version, int(date))
        _control(tree, wanted.version)
        wanted.output.mkdir(parents=True, exist_ok=True)
        target = wanted.output / f"devlink_{wanted.version}_all.deb"
        compression = ["-Zgzip", "-z1"] if wanted.quick else ["-Zxz"]
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", *compression, "--build", tree, target],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    print(target)


def _version() -> str:
    found: dict[str, str] = {}
    exec((SOURCES / "devlink/__init__.py").read_text(), found)  # it imports nothing
    return found["__version__"]


def _date() -> str:
    """In s since 1970: what the environment says (reproducible-builds.org), else of the last commit, else of now."""
    if said := os.environ.get("SOURCE_DATE_EPOCH"):
        return said
    git = ["git", "-C", str(SOURCES), "log", "-1", "--format=%ct"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or str(int((SOURCES / "CHANGELOG.md").stat().st_mtime))


def _lay_out(tree: Path, version: str, date: int) -> None:
    """Everything but the control files, with the modes and dates that it is to have."""
    programs, doc = tree / PROGRAMS, tree / "usr/share/doc/devlink"
    vendored = libraries.vendored()
    shutil.copytree(vendored, programs, ignore=NOT_SHIPPED)
    shutil.copytree(SOURCES / "devlink", programs / "devlink", ignore=NOT_SHIPPED)
    # What says its version is what was asked for, too: agent and helper tell each other by it.
    (programs / "devlink/__init__.py").write_text(
        (SOURCES / "devlink/__init__.py").read_text().replace(f'"{_version()}"', f'"{version}"')
    )
    shutil.copytree(HERE / "layout", tree, dirs_exist_ok=True)
    shutil.copytree(SOURCES / "devlink/service/layout", tree, dirs_exist_ok=True)
    doc.mkdir(parents=True)
    (doc / "copyright").write_text(licences.copyright_file(vendored, PROGRAMS))
    # The exact versions and hashes of what is inside, for whoever must know whether a library of this version is.
    shutil.copy(libraries.PINNED, doc / "libraries.txt")
    _compress(doc / "changelog.gz", _changelog(version, date))
    _compress(doc / "CHANGELOG.md.gz", (SOURCES / "CHANGELOG.md").read_text())
    _commands(tree)
    _generated(tree)
    runtime = tree / "usr/share/python3/runtime.d/devlink.rtupdate"
    runtime.parent.mkdir(parents=True)
    runtime.write_text(RTUPDATE.format(programs=PROGRAMS))
    for path in (tree, *tree.rglob("*")):
        if path.is_symlink():
            continue
        executable = path.is_dir() or path.parent == tree / "usr/bin" or path == runtime
        path.chmod(0o755 if executable else 0o644)
        # dpkg-deb takes younger ones back to the date; the libraries keep theirs, which is older.
        if path.is_dir() or path.stat().st_mtime > libraries.DATE:
            os.utime(path, (date, date))


def _commands(tree: Path) -> None:
    """What pyproject.toml calls scripts."""
    scripts = tomllib.loads((SOURCES / "pyproject.toml").read_text())["project"]["scripts"]
    (tree / "usr/bin").mkdir(parents=True, exist_ok=True)
    for name, where in scripts.items():
        module, function = where.split(":")
        (tree / "usr/bin" / name).write_text(COMMAND.format(programs=PROGRAMS, module=module, function=function))


def _generated(tree: Path) -> None:
    """Man pages and completions, which the program makes of itself."""
    run = (sys.executable, SOURCES / "devlink/run.py", "devlink.cli.packaged", tree)
    subprocess.run(run, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, check=True)


def _changelog(version: str, date: int) -> str:
    """As Debian has it; what changed is in CHANGELOG.md, which lies beside it."""
    when = email.utils.formatdate(date)
    return f"devlink ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- {_maintainer()}  {when}\n"


def _maintainer() -> str:
    if mail := os.environ.get("DEBEMAIL"):
        return f"{os.environ.get('DEBFULLNAME', 'devlink')} <{mail}>"
    return MAINTAINER


def _compress(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def _control(tree: Path, version: str) -> None:
    folder = tree / "DEBIAN"
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    settings = [path for path in files if path.is_relative_to(tree / "etc")]
    sizes = sum((path.stat().st_size + 1023) // 1024 for path in files)
    folder.mkdir()
    # What an administrator may change is dpkg's to watch in another way.
    watched = (path for path in files if path not in settings)
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in watched]
    (folder / "md5sums").write_text("".join(sums))
    if settings:
        (folder / "conffiles").write_text("".join(f"/{path.relative_to(tree)}\n" for path in settings))
    description = tomllib.loads((SOURCES / "pyproject.toml").read_text())["project"]["description"]
    (folder / "control").write_text(
        (HERE / "control").read_text().format(
            version=version,
            maintainer=_maintainer(),
            size=sizes,
            compiled=", ".join(filter(None, libraries.OF_DEBIAN.values())),
            description=textwrap.fill(description, 78, initial_indent=" ", subsequent_indent=" "),
        )
    )  # fmt: skip
    for name in SCRIPTS:
        shutil.copyfile(HERE / name, folder / name)
        (folder / name).chmod(0o755)


if __name__ == "__main__":
    main()
