"""Runs a piece of a test inside a network and mount namespace of its own, without root."""

import ctypes
import json
import os
import struct
import subprocess
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000


def in_private_network(body: Callable[[], None]) -> None:
    """Run `body` in a forked child that is root of new user, network and mount namespaces; its failure is
    this test's.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run(body, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        report = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"in the namespace:\n{report}"


def _run(body: Callable[[], None], writing: int) -> NoReturn:
    code = 1
    try:
        uid, gid = os.geteuid(), os.getegid()
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        body()
        code = 0
    except BaseException:
        os.write(writing, traceback.format_exc().encode())
    finally:
        os._exit(code)


def ip(*words: str) -> None:
    """Run one `ip` command."""
    subprocess.run(["ip", *words], check=True)


def ip_json(*words: str) -> list[dict[str, Any]]:
    """What one `ip -j` command tells."""
    text = subprocess.run(["ip", "-j", *words], check=True, capture_output=True, text=True).stdout
    shown: list[dict[str, Any]] = json.loads(text or "[]")
    return shown


def mount_empty(folder: str) -> None:
    """An empty file system in the place of `folder`, seen by this namespace alone."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder], check=True)


def make_links() -> None:
    """`lo` and the pair `v0`, `v1`, up, and known to be; `v0` has 192.0.2.1/24 and 2001:db8::1/64.

    Neither gets a link-local address: the kernel would add it, its route and its detection of duplicates
    in the middle of a test, seconds later, whenever it finds the time.
    """
    ip("link", "set", "lo", "up")
    ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    for name in ("v0", "v1"):
        ip("link", "set", name, "addrgenmode", "none")
    ip("address", "add", "192.0.2.1/24", "dev", "v0")
    ip("address", "add", "2001:db8::1/64", "dev", "v0", "nodad")
    ip("link", "set", "v1", "up")
    ip("link", "set", "v0", "up")
    # The kernel may hold back the news of a carrier for a second, and adds these routes with it.
    deadline = time.monotonic() + 10
    while {"v0", "v1"} - {each["dev"] for each in ip_json("-6", "route", "show", "table", "local", "ff00::/8")}:
        assert time.monotonic() < deadline, "the links are up"
        time.sleep(0.005)


def drop_capabilities() -> None:
    """Have this thread lose all of them."""
    header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    data = bytes(24)
    assert ctypes.CDLL(None).syscall(126, header, data) == 0
