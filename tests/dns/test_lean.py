"""What the forwarder's process does not import: it shall be back at once after a kill, and small."""

import subprocess
import sys

import pytest

HEAVY = [
    "asyncio",
    "concurrent",
    "dataclasses",
    "devlink.core",
    "dns",
    "dnslib",
    "email",
    "hashlib",
    "http",
    "inspect",
    "ipaddress",
    "logging",
    "msgspec",
    "pathlib",
    "random",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "typing_extensions",
    "urllib",
    "yaml",
]


@pytest.fixture(scope="module")
def imported() -> set[str]:
    code = "import sys; before = set(sys.modules); import devlink.dns.server; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.parametrize("module", HEAVY)
def test_the_forwarder_does_without(module: str, imported: set[str]) -> None:
    assert "devlink.dns.server" in imported
    assert module not in imported


def test_the_forwarder_imports_few_modules(imported: set[str]) -> None:
    assert len(imported) < 100, sorted(imported)
