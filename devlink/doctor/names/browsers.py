"""Browsers that ask a server of their own for names, over HTTPS, past all that this laptop says."""

import asyncio
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devlink.core.findings import Finding, Severity
from devlink.core.text import listed, printable
from devlink.doctor.case import Case
from devlink.doctor.check import Seen, skipped
from devlink.resolvers.reading import read

FIREFOX_FOLDERS = (
    ".mozilla/firefox",
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
)
"""Below the home: Debian's and Mozilla's packages, the newer place of theirs, snap, flatpak."""
FIREFOX_POLICIES = (
    "etc/firefox/policies/policies.json",
    "usr/lib/firefox/distribution/policies.json",
    "usr/lib/firefox-esr/distribution/policies.json",
    "usr/share/firefox-esr/distribution/policies.json",
    "opt/firefox/distribution/policies.json",
)
CHROMES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "Chrome": ((".config/google-chrome",), "etc/opt/chrome/policies/managed"),
    "Chromium": ((".config/chromium", "snap/chromium/common/chromium"), "etc/chromium/policies/managed"),
    "Edge": ((".config/microsoft-edge",), "etc/opt/edge/policies/managed"),
    "Brave": ((".config/BraveSoftware/Brave-Browser",), "etc/brave/policies/managed"),
}
"""By name: where its settings are below the home, and where those of the machine's owner are."""
NEVER_ASKED = ("local", "localhost")
"""Names that end so neither kind asks by HTTPS, in whatever mode: Firefox by network.trr.builtin-excluded-domains,
Chromium since they look like multicast DNS (host_resolver_manager.cc)."""
MODE, EXCLUDED, BUILT_IN = (f"network.trr.{each}" for each in ("mode", "excluded-domains", "builtin-excluded-domains"))
"""Firefox's: 2 asks by HTTPS first, 3 by HTTPS alone (Mozilla's wiki, Trusted Recursive Resolver)."""
FIRST, ALONE = 2, 3
_PREF = re.compile(r'^\s*(?:user_)?pref\(\s*"([^"]+)"\s*,\s*(.+?)\s*\)\s*;', re.MULTILINE)
_PROFILES = 50
"""More folders than that are not looked at."""
_MAX_SIZE = 4 << 20
"""Octets of a file that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What one browser is told, by its user or by the machine's owner."""

    browser: str
    where: str
    """The file, and what stands in it."""
    is_alone: bool
    """No name is asked in any other way; else the laptop's own way comes second."""
    excluded: tuple[str, ...] = NEVER_ASKED
    """Domains that it asks the laptop for all the same, with all below."""


async def look(case: Case) -> Seen:
    """Read what the user's browsers are told; what nobody has set is not guessed."""
    domains = [str(dns.domain) for subject in case.subjects if (dns := subject.profile.spec.dns) is not None]
    if not domains:
        return skipped("no names are wanted")
    home = case.environ.get("HOME", "")
    if not home.startswith("/"):
        return skipped("HOME is not set")
    settings = await asyncio.to_thread(lambda: (*firefoxes(Path(home), Path("/")), *chromes(Path(home), Path("/"))))
    return judge(settings, domains)


def judge(settings: Collection[Setting], domains: Collection[str]) -> Seen:
    """Pure. `domains` are the clusters'."""
    found = []
    for each in settings:
        lost = [domain for domain in domains if not _is_excluded(domain, each.excluded)]
        if lost:
            found.append(
                Finding(
                    code="DL-BROWSER-DOH",
                    severity=Severity.WARNING if each.is_alone else Severity.INFO,
                    title=f"{each.browser} asks a server of its own for names, "
                    + (
                        "and nobody else: it finds none of the cluster." if each.is_alone else "and this laptop second."
                    ),
                    evidence=each.where,
                    fix=f"except {listed(lost)} there, or switch DNS over HTTPS off: "
                    + ("about:preferences#privacy, " if each.browser == "Firefox" else "chrome://settings/security, ")
                    + "or in that file where it is a policy",
                )
            )
    found.sort(key=lambda finding: finding.severity is Severity.INFO)
    if not found:
        return Seen(text=f"none goes past this laptop for {listed(domains)}")
    return Seen(text=f"{len(found)} with DNS over HTTPS", findings=tuple(found))


def _is_excluded(domain: str, excluded: Collection[str]) -> bool:
    return any(f".{domain.lower()}".endswith(f".{each.strip('.').lower()}") for each in excluded if each.strip("."))


# Firefox


def firefoxes(home: Path, root: Path) -> Iterator[Setting]:
    """Each profile of its own that is told so, or the policy for all."""
    policy, is_locked = _firefox_policy(root)
    if is_locked:
        yield from () if policy is None else (policy,)
        return
    profiles = [each for folder in FIREFOX_FOLDERS for each in _folders(home / folder)]
    for folder in profiles:
        prefs: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for name in ("prefs.js", "user.js"):  # the latter is read last, at each start
            for key, value in _prefs(_text(folder / name)).items():
                prefs[key], sources[key] = value, name
        mode = prefs.get(MODE)
        if mode in (FIRST, ALONE):
            yield Setting(
                browser="Firefox",
                where=f'{folder / sources[MODE]}: user_pref("{MODE}", {mode})',
                is_alone=mode == ALONE,
                excluded=(*_words(prefs.get(EXCLUDED, "")), *_words(prefs.get(BUILT_IN, ",".join(NEVER_ASKED)))),
            )
        elif mode is None and policy is not None:
            yield policy
            policy = None  # once is enough


def _firefox_policy(root: Path) -> tuple[Setting | None, bool]:
    """What the policy says of it, and whether a user cannot change that."""
    for name in FIREFOX_POLICIES:
        path = root / name
        policies = _json(path).get("policies")
        told = policies.get("DNSOverHTTPS") if isinstance(policies, dict) else None
        if isinstance(told, dict):
            is_alone = told.get("Fallback") is False
            named = told.get("ExcludedDomains")
            setting = Setting(
                browser="Firefox",
                where=f"{path}: DNSOverHTTPS Enabled{', Fallback false' if is_alone else ''}",
                is_alone=is_alone,
                excluded=(*NEVER_ASKED, *(map(str, named) if isinstance(named, list) else ())),
            )
            return (setting if told.get("Enabled") is True else None), told.get("Locked") is True
    return None, False


def _prefs(text: str) -> dict[str, Any]:
    found = {}
    for key, value in _PREF.findall(text):
        try:
            found[key] = json.loads(value)
        except ValueError:
            continue
    return found


def _words(value: object) -> tuple[str, ...]:
    return tuple(word.strip() for word in str(value).split(",") if word.strip())


# Chromium and its kin


def chromes(home: Path, root: Path) -> Iterator[Setting]:
    """Each of them that is told so; `automatic` only with a server named, as it else asks whom the laptop asks."""
    for browser, (folders, managed) in CHROMES.items():
        policy = _chrome_policy(root / managed)
        if policy is not None:
            path, told = policy
            yield from _chrome(browser, f"{path}: DnsOverHttpsMode", told)
            continue
        for folder in folders:
            path = home / folder / "Local State"
            chosen = _json(path).get("dns_over_https")
            if isinstance(chosen, dict):
                yield from _chrome(browser, f"{path}: dns_over_https.mode", chosen)


def _chrome(browser: str, where: str, told: Mapping[str, Any]) -> Iterator[Setting]:
    mode = told.get("mode")
    if mode == "secure" or (mode == "automatic" and told.get("templates")):
        yield Setting(browser=browser, where=printable(f"{where} is {mode}"), is_alone=mode == "secure")


def _chrome_policy(folder: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """The file that says it for all users, with the mode and the servers."""
    for path in sorted(_listed(folder, "*.json")):
        said = _json(path)
        if "DnsOverHttpsMode" in said:
            return path, {"mode": said["DnsOverHttpsMode"], "templates": said.get("DnsOverHttpsTemplates")}
    return None


# Files


def _folders(folder: Path) -> list[Path]:
    return [each for each in _listed(folder, "*") if (each / "prefs.js").exists() or (each / "user.js").exists()]


def _listed(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))[:_PROFILES]
    except OSError:
        return []


def _json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(_text(path) or "{}")
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}


def _text(path: Path) -> str:
    try:
        return read(None, str(path), follow=True, size=_MAX_SIZE) or ""
    except OSError:
        return ""
