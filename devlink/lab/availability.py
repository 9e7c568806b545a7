"""Whether this machine can hold a world, and if not, the one line that says why."""

import os
import shutil
import subprocess
from pathlib import Path

PROGRAMS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ip": "iproute2",
    "ss": "iproute2",
    "nft": "nftables",
}
"""What the lab runs, with the Debian package that has it."""
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where Debian keeps `nft`, and where an ordinary user's PATH does not lead."""
AS_ROOT = "run the same as root"
TIME_LIMIT = 10.0


def namespaces(*, root: bool) -> list[str]:
    """The `unshare` command up to the program: as an ordinary user a user namespace comes first."""
    user = [] if root else ["--user", "--map-root-user"]
    return [
        "unshare", *user, "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "--"
    ]  # fmt: skip


def available() -> str | None:
    """None where worlds can be built here, else one line: what is in the way, and what to do about it."""
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
        return f"the lab needs {', '.join(missing)}: install {packages} (apt install {packages})"
    try:
        tried = subprocess.run(
            [*namespaces(root=os.geteuid() == 0), "true"], capture_output=True, text=True, timeout=TIME_LIMIT,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "the lab cannot be built: unshare does not answer"
    if tried.returncode == 0:
        return None
    said = " ".join(tried.stderr.split()) or f"exit status {tried.returncode}"
    if os.geteuid() == 0:
        return f"root may not make namespaces here ({said}): a container wants --privileged, or at least CAP_SYS_ADMIN"
    return f"{_reason(Path('/proc/sys'))} ({said})"


def _reason(sysctls: Path) -> str:
    """Why an ordinary user may have no user namespace: the switch that forbids it."""
    if _value(sysctls, "kernel/apparmor_restrict_unprivileged_userns") == "1":
        switch = "AppArmor (kernel.apparmor_restrict_unprivileged_userns=1)"
    elif _value(sysctls, "kernel/unprivileged_userns_clone") == "0":
        switch = "kernel.unprivileged_userns_clone=0"
    elif _value(sysctls, "user/max_user_namespaces") == "0":
        switch = "user.max_user_namespaces=0"
    else:
        return f"an ordinary user may not make namespaces here: {AS_ROOT}"
    return f"{switch} forbids user namespaces to ordinary users: {AS_ROOT}"


def _value(sysctls: Path, name: str) -> str | None:
    try:
        return (sysctls / name).read_text().strip()
    except OSError:
        return None
