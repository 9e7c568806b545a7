"""What of the layout the system services need, where it lies for a copy in /usr/local, and what it says there. PURE."""

import re
from collections.abc import Iterable, Mapping

LIB = "/usr/local/lib/devlink"
"""Where the copy lies: VERSION/ with the programs, the command, the manifest."""
COMMAND = f"{LIB}/devlink"
"""Root's own, and the same from version to version: it is the way to uninstall once a venv is gone."""
GROUP = "devlink"
"""Whose members may use the helper."""
UNITS = "/etc/systemd/system/"
PLACES = {
    "usr/lib/systemd/system/": UNITS,
    "usr/lib/sysusers.d/": "/etc/sysusers.d/",
    "usr/lib/tmpfiles.d/": "/etc/tmpfiles.d/",
    "usr/lib/NetworkManager/conf.d/": "/etc/NetworkManager/conf.d/",
    "usr/lib/systemd/network/": "/etc/systemd/network/",
    "usr/share/polkit-1/rules.d/": "/etc/polkit-1/rules.d/",
    # polkit before 126 reads actions nowhere else
    "usr/share/polkit-1/actions/": "/usr/share/polkit-1/actions/",
}
_RUN = re.compile(r"/usr/bin/python3 -I(?: -S)? /usr/share/devlink/devlink/run\.py")
_EXEC = re.compile(r"^(Exec\w+=[-+!@:|]*)/usr/bin/devlink(?![\w.-])", re.MULTILINE)
_COMMAND = re.compile(r"/usr/bin/devlink(?![\w.-])")


def laid(layout: Mapping[str, str], programs: str, python: str) -> dict[str, str]:
    """The files of the layout that a copy in `programs` needs, by their absolute path; `python` runs them.

    `layout` has the text of each by its path in the layout; a test holds `PLACES` to know all that is in it.
    """
    found = {}
    for path, text in layout.items():
        for prefix, place in PLACES.items():
            if path.startswith(prefix):
                found[place + path.removeprefix(prefix)] = _moved(text, programs, python)
    return found


def command(programs: str, python: str) -> str:
    """The text of `COMMAND`. Without the site module, or what lies in dist-packages would run as well."""
    return (
        f"#!{python} -IS\n"
        f"import sys\nsys.path.insert(0, {programs!r})\nfrom devlink.cli import main\nmain()\n"
    )  # fmt: skip


def units(files: Mapping[str, str]) -> tuple[str, ...]:
    """The systemd units among them, sorted."""
    return tuple(sorted(name for name, _ in _units(files)))


def enabled(files: Mapping[str, str]) -> tuple[str, ...]:
    """The units among them that something wants at boot, sorted."""
    return tuple(sorted(name for name, text in _units(files) if "\n[Install]\n" in text))


def services(files: Mapping[str, str]) -> tuple[str, ...]:
    """The units among them that run for long, sorted: they are restarted where they run."""
    running = (name for name, text in _units(files) if "Type=oneshot" not in text)
    return tuple(sorted(name for name in running if name.endswith(".service")))


def sockets(files: Mapping[str, str]) -> tuple[str, ...]:
    """The socket units among them, sorted."""
    return tuple(sorted(name for name, _ in _units(files) if name.endswith(".socket")))


def names(files: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The users and the groups that sysusers.d's files among them make (sysusers.d(5)); a user has a group, too."""
    users: list[str] = []
    groups: list[str] = []
    for path, text in files.items():
        if path.startswith(PLACES["usr/lib/sysusers.d/"]):
            for line in text.splitlines():
                kind, *words = line.split()[:2] or [""]
                if kind.startswith("u"):
                    users += words
                if kind[:1] in ("u", "g"):
                    groups += (word for word in words if word not in groups)
    return tuple(users), tuple(groups)


def folders_of(paths: Iterable[str]) -> tuple[str, ...]:
    """Every folder on the way to them but the root, each before what lies in it."""
    found: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return tuple(sorted(found))


def _moved(text: str, programs: str, python: str) -> str:
    run = f"{python} -I -S {programs}/devlink/run.py"
    # by the Python, not by the script: SELinux tells what a service may run by the label of the program's folder
    text = _EXEC.sub(rf"\1{run} devlink.cli", _RUN.sub(run, text))
    return _COMMAND.sub(COMMAND, text).replace("/usr/share/devlink/", f"{programs}/")


def _units(files: Mapping[str, str]) -> list[tuple[str, str]]:
    found = ((path.removeprefix(UNITS), text) for path, text in files.items() if path.startswith(UNITS))
    return [(name, text) for name, text in found if "/" not in name]
