"""The system calls that Python 3.11 does not wrap and the lab needs: unshare, mount, pivot_root, prctl."""

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWNET = 0x40000000
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_BIND = 0x1000
MS_REC = 0x4000
MNT_DETACH = 0x2
PR_SET_NAME = 15
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "i686": 217, "armv7l": 218}
SYS_MOUNT_SETATTR = 442
"""The same on every architecture, as all system calls since Linux 5.1 are; this one came with 5.12."""
AT_FDCWD = -100
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 0x1

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` name for new ones (unshare(2)). Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    _check(
        _libc.mount(
            source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), data.encode()
        ),
        target,
    )


def make_read_only(target: str) -> None:
    """Make a mount and all below it read-only (mount_setattr(2)), keeping their other flags. Raises OSError."""
    attr = _MountAttr(attr_set=MOUNT_ATTR_RDONLY)
    _check(
        _libc.syscall(
            ctypes.c_long(SYS_MOUNT_SETATTR), AT_FDCWD, target.encode(), AT_RECURSIVE, ctypes.byref(attr),
            ctypes.c_size_t(ctypes.sizeof(attr)),
        ),
        target,
    )  # fmt: skip


def pivot_root(new_root: str) -> None:
    """Make `new_root`, a mount, the root of this mount namespace, and let go of the old one. Raises OSError."""
    os.chdir(new_root)
    # Both arguments the same: the old root comes to lie on top of the new one, and needs no folder (pivot_root(2)).
    _check(_libc.syscall(ctypes.c_long(SYS_PIVOT_ROOT[os.uname().machine]), b".", b"."), new_root)
    _check(_libc.umount2(b".", MNT_DETACH), "the old root")
    os.chdir("/")


def sethostname(name: str) -> None:
    """Name the machine, in this UTS namespace. Raises OSError."""
    encoded = name.encode()
    _check(_libc.sethostname(encoded, ctypes.c_size_t(len(encoded))), name)


def set_process_name(name: str) -> None:
    """What `ps -o comm` shows; the kernel keeps 15 octets."""
    _libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
